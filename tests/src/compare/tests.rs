//! The comparer sees each kind of difference, and no other.

use std::collections::BTreeMap;

use serde_json::json;

use super::images;
use crate::image::{Entry, Image, Kind};

fn entry(kind: Kind) -> Entry {
    Entry {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 1_580_000_000,
        size: 3,
        content: (kind == Kind::File).then(|| "abc".to_owned()),
        link: None,
        device: None,
        xattrs: BTreeMap::new(),
    }
}

fn image() -> Image {
    let link = Entry { link: Some("file".to_owned()), ..entry(Kind::Symlink) };
    let directory = Entry { mode: 0o755, ..entry(Kind::Directory) };
    let base = vec![
        ("etc".to_owned(), directory.clone()),
        ("etc/kept".to_owned(), entry(Kind::File)),
        ("etc/gone".to_owned(), entry(Kind::File)),
        ("var".to_owned(), directory.clone()),
        ("var/old".to_owned(), entry(Kind::File)),
    ];
    let top = vec![
        ("etc/.wh.gone".to_owned(), entry(Kind::File)),
        ("file".to_owned(), entry(Kind::File)),
        ("link".to_owned(), link),
        ("other".to_owned(), Entry { link: Some("file".to_owned()), ..entry(Kind::HardLink) }),
        ("var".to_owned(), directory),
        ("var/.wh..wh..opq".to_owned(), entry(Kind::File)),
        ("var/new".to_owned(), entry(Kind::File)),
    ];
    Image {
        descriptor: json!({ "platform": { "os": "linux", "architecture": "amd64" } }),
        manifest: json!({ "mediaType": "manifest", "layers": [{ "mediaType": "a" }, { "mediaType": "a" }] }),
        config: json!({
            "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["A=1", "B=2"], "Cmd": ["sh"] },
            "history": [
                { "created": "2026-01-01T00:00:00Z", "created_by": "COPY . .", "comment": "c" },
                { "created": "2026-01-01T00:00:00Z", "created_by": "ENV A=1", "empty_layer": true },
            ],
        }),
        layers: vec![base, top],
    }
}

/// The places in which the image differs from itself after a change.
fn places(change: impl FnOnce(&mut Image)) -> Vec<String> {
    let (left, mut right) = (image(), image());
    change(&mut right);
    images(&left, &right).into_iter().map(|difference| difference.place).collect()
}

fn change_top(change: impl FnOnce(&mut Entry)) -> Vec<String> {
    places(|image| change(&mut image.layers[1][1].1))
}

#[test]
fn an_image_equals_itself() {
    assert_eq!(places(|_| ()), Vec::<String>::new());
}

#[test]
fn layers_are_applied() {
    let root = image().root();
    let names: Vec<&str> = root.keys().map(String::as_str).collect();
    assert_eq!(names, ["etc", "etc/kept", "file", "link", "other", "var", "var/new"]);
    assert_eq!(root["other"].content, root["file"].content);
}

#[test]
fn times_of_the_build_are_equal_and_kept_times_are_not() {
    let later = |left, right| {
        let (mut one, mut two) = (image(), image());
        one.layers[1][1].1.mtime = left;
        two.layers[1][1].1.mtime = right;
        images(&one, &two).into_iter().map(|difference| difference.place).collect::<Vec<_>>()
    };
    assert_eq!(later(1_790_000_000, 1_790_000_100), Vec::<String>::new());
    assert_eq!(later(1_580_000_000, 1_790_000_100), ["root /file mtime", "root /other mtime"]);
    let created = places(|image| {
        image.config["created"] = "2027-01-01T00:00:00Z".into();
        image.config["history"][0]["created"] = "2027-01-01T00:00:00Z".into();
    });
    assert_eq!(created, Vec::<String>::new());
}

#[test]
fn attributes_of_files() {
    assert_eq!(
        change_top(|file| file.mode = 0o600),
        ["root /file mode", "root /other mode", "layer 1 /file mode"]
    );
    assert_eq!(change_top(|file| file.mode = 0o4644)[0], "root /file mode");
    assert_eq!(
        change_top(|file| file.uid = 5),
        ["root /file owner", "root /other owner", "layer 1 /file owner"]
    );
    assert_eq!(change_top(|file| file.gid = 5)[0], "root /file owner");
    assert_eq!(change_top(|file| file.size = 4), ["root /file size", "root /other size"]);
    assert_eq!(
        change_top(|file| file.content = Some("def".to_owned())),
        ["root /file content", "root /other content"]
    );
    let capability =
        |file: &mut Entry| drop(file.xattrs.insert("security.capability".to_owned(), vec![1, 0]));
    assert_eq!(
        change_top(capability),
        ["root /file xattr security.capability", "root /other xattr security.capability"]
    );
    assert_eq!(change_top(|file| file.kind = Kind::Fifo)[0], "root /file type");
}

#[test]
fn links() {
    let target = |image: &mut Image| image.layers[1][2].1.link = Some("elsewhere".to_owned());
    assert_eq!(places(target), ["root /link link", "layer 1 /link link"]);
    let copied = |image: &mut Image| image.layers[1][3].1 = entry(Kind::File);
    assert_eq!(
        places(copied),
        ["root /file link", "root /other link", "layer 1 /other type", "layer 1 /other link"]
    );
}

#[test]
fn missing_and_additional_files() {
    let missing = |image: &mut Image| drop(image.layers[1].remove(6));
    assert_eq!(places(missing), ["root /var/new", "layer 1 /var/new"]);
    let additional = |image: &mut Image| image.layers[1].push(("z".to_owned(), entry(Kind::File)));
    assert_eq!(places(additional), ["root /z", "layer 1 /z"]);
    let twice = |image: &mut Image| image.layers[1].push(("file".to_owned(), entry(Kind::File)));
    assert!(places(twice).contains(&"layer 1 /file".to_owned()));
}

#[test]
fn deletions() {
    let whiteout = |image: &mut Image| drop(image.layers[1].remove(0));
    assert_eq!(places(whiteout), ["root /etc/gone", "layer 1 /etc/.wh.gone"]);
    let opaque = |image: &mut Image| drop(image.layers[1].remove(5));
    assert_eq!(places(opaque), ["root /var/old", "layer 1 /var/.wh..wh..opq"]);
}

#[test]
fn configuration_history_and_manifest() {
    let config = |image: &mut Image| image.config["config"]["Env"][1] = "B=3".into();
    assert_eq!(places(config), ["config.config.Env[1]"]);
    let absent = |image: &mut Image| drop(image.config["config"].as_object_mut().unwrap().remove("Cmd"));
    assert_eq!(places(absent), ["config.config.Cmd"]);
    let created_by = |image: &mut Image| image.config["history"][0]["created_by"] = "COPY .".into();
    assert_eq!(places(created_by), ["config.history[0].created_by"]);
    let comment = |image: &mut Image| image.config["history"][0]["comment"] = "d".into();
    assert_eq!(places(comment), ["config.history[0].comment"]);
    let empty =
        |image: &mut Image| drop(image.config["history"][1].as_object_mut().unwrap().remove("empty_layer"));
    assert_eq!(places(empty), ["config.history[1].empty_layer"]);
    let shorter = |image: &mut Image| drop(image.config["history"].as_array_mut().unwrap().pop());
    assert_eq!(places(shorter), ["config.history"]);
    let media_type = |image: &mut Image| image.manifest["layers"][1]["mediaType"] = "b".into();
    assert_eq!(places(media_type), ["layers' media types"]);
    let layer = |image: &mut Image| image.layers.push(Vec::new());
    assert_eq!(places(layer), ["number of layers"]);
}
