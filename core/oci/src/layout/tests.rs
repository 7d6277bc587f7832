use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rbx_platform::Platform;

use super::*;
use crate::config::ImageConfig;
use crate::manifest::Document;

fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    Platform {
        os: parts.next().unwrap(),
        architecture: parts.next().unwrap(),
        variant: parts.next(),
        os_version: None,
    }
}

/// Blobs of an image.
#[derive(Default)]
struct Blobs(Vec<(Descriptor, Vec<u8>)>);

impl Blobs {
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &content);
        self.0.push((descriptor.clone(), content));
        descriptor
    }

    fn image(&mut self, platform: &Platform, layer: &[u8]) -> (Manifest, Descriptor) {
        let config = self.add(media_type::OCI_CONFIG, ImageConfig::new(platform).to_bytes());
        let layer = self.add(media_type::OCI_LAYER, layer.to_vec());
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, vec![layer]);
        let descriptor = self.add(media_type::OCI_MANIFEST, manifest.to_bytes());
        (manifest, descriptor)
    }

    fn index(&mut self, manifests: Vec<Descriptor>) -> Descriptor {
        let index = Index::new(media_type::OCI_INDEX, manifests);
        self.add(media_type::OCI_INDEX, index.to_bytes())
    }

    /// The same layout as a directory and as an archive.
    fn write(&self, root: &Path, images: &[LayoutImage], docker: &[DockerImage]) -> [PathBuf; 2] {
        let paths = [root.join("layout"), root.join("layout.tar")];
        let directory = DirectoryWriter::create(&paths[0]).unwrap();
        let mut archive = ArchiveWriter::new(File::create(&paths[1]).unwrap(), 0).unwrap();
        for (blob, content) in &self.0 {
            directory.add_blob(blob, content.as_slice()).unwrap();
            archive.add_blob(blob, content.as_slice()).unwrap();
        }
        directory.finish(images).unwrap();
        archive.finish(images, docker).unwrap();
        paths
    }
}

fn named(descriptor: &Descriptor, names: &[&str]) -> LayoutImage {
    let names = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
    LayoutImage { descriptor: descriptor.clone(), names }
}

fn content(layout: &Layout, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let mut reader = layout.blob(blob).map_err(|error| error.to_string())?;
    reader.read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

/// Fails at the first read.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("network is down"))
    }
}

#[test]
fn what_is_written_is_read() {
    let root = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let amd64 = blobs.image(&platform("linux/amd64"), b"layer").1;
    let arm = blobs.image(&platform("linux/arm/v7"), b"arm's layer").1;
    let attestation = blobs.image(&platform("unknown/unknown"), b"statement").1;
    let nested = blobs.index(vec![arm.clone().with_platform(&platform("linux/arm/v7"))]);
    let index = blobs.index(vec![
        amd64.clone().with_platform(&platform("linux/amd64")),
        nested.clone(),
        attestation.with_platform(&platform("unknown/unknown")),
    ]);
    let images = [named(&index, &["x", "ghcr.io/user/x:2"]), named(&amd64, &["y:only"])];
    for path in blobs.write(root.path(), &images, &[]) {
        let layout = Layout::open(&path).unwrap();
        assert_eq!(layout.index().manifests.len(), 3);
        let digests = |chain: Vec<Descriptor>| chain.iter().map(|d| d.digest).collect::<Vec<_>>();
        let resolve = |name: Option<&str>, wanted: &str| {
            layout.resolve(name, &platform(wanted)).map(digests).map_err(|error| error.to_string())
        };
        let expected = Ok(vec![index.digest, amd64.digest]);
        for name in [None, Some("latest"), Some("2"), Some("docker.io/library/x:latest")] {
            assert_eq!(resolve(name, "linux/amd64"), expected, "{name:?}");
        }
        assert_eq!(resolve(Some(&index.digest.to_string()), "linux/amd64"), expected);
        assert_eq!(resolve(None, "linux/arm/v7"), Ok(vec![index.digest, nested.digest, arm.digest]));
        // A single image is taken for any platform.
        assert_eq!(resolve(Some("only"), "linux/s390x"), Ok(vec![amd64.digest]));
        assert_eq!(
            resolve(None, "linux/s390x"),
            Err(format!(
                "no image for platform linux/s390x in {}, which has: linux/amd64, linux/arm/v7, unknown/unknown",
                path.display()
            ))
        );
        let missing = format!("no image \"3\" in {}, which has: latest, 2, only", path.display());
        assert_eq!(resolve(Some("3"), "linux/amd64"), Err(missing));
        assert!(resolve(Some(&Digest::sha256_of(b"").to_string()), "linux/amd64").is_err());
        for (blob, expected) in &blobs.0 {
            assert_eq!(content(&layout, blob).as_ref(), Ok(expected));
        }
        assert!(matches!(layout.document(&index).unwrap(), Document::Index(_)));
        let absent = Descriptor::of("x", b"absent");
        assert!(content(&layout, &absent).unwrap_err().starts_with("blob is missing in "));
        let mut long = blobs.0[0].0.clone();
        long.size += 1;
        assert!(content(&layout, &long).unwrap_err().starts_with("blob has "));
    }
}

#[test]
fn archive_is_buildkit_s() {
    let mut blobs = Blobs::default();
    let (manifest, descriptor) = blobs.image(&platform("linux/amd64"), b"layer");
    let names = [Reference::parse("x").unwrap(), Reference::parse("ghcr.io/user/x:2").unwrap()];
    let image = LayoutImage { descriptor, names: names.to_vec() };
    let docker = DockerImage::new(&manifest, &names);
    let root = tempfile::tempdir().unwrap();
    let [_, path] = blobs.write(root.path(), &[image], &[docker]);
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&path).env("LC_ALL", "C").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!(run("tar", &["--utc", "--full-time", "--numeric-owner", "-tvf"]), @r#"
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 blobs/
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 blobs/sha256/
    -r--r--r-- 0/0              90 1970-01-01 00:00:00 blobs/sha256/7de68661d104d29da61b8707b27f3ea0f6b0ec900fe1a1cb452f850011637945
    -r--r--r-- 0/0               5 1970-01-01 00:00:00 blobs/sha256/dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85
    -r--r--r-- 0/0             468 1970-01-01 00:00:00 blobs/sha256/71ffea855212b91e8e5205b67485da1c8b8dcd0749f7a9d57728b736bb81ce79
    -rw-r--r-- 0/0             612 1970-01-01 00:00:00 index.json
    -rw-r--r-- 0/0             226 1970-01-01 00:00:00 manifest.json
    -r--r--r-- 0/0              30 1970-01-01 00:00:00 oci-layout
    "#);
    let program = "import sys,tarfile; t=tarfile.open(sys.argv[1]); [print(t.extractfile(n).read().decode()) for n in ('index.json','manifest.json','oci-layout')]";
    insta::assert_snapshot!(run("python3", &["-c", program]), @r#"
    {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:71ffea855212b91e8e5205b67485da1c8b8dcd0749f7a9d57728b736bb81ce79","size":468,"annotations":{"io.containerd.image.name":"docker.io/library/x:latest","org.opencontainers.image.ref.name":"latest"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:71ffea855212b91e8e5205b67485da1c8b8dcd0749f7a9d57728b736bb81ce79","size":468,"annotations":{"io.containerd.image.name":"ghcr.io/user/x:2","org.opencontainers.image.ref.name":"2"}}]}
    [{"Config":"blobs/sha256/7de68661d104d29da61b8707b27f3ea0f6b0ec900fe1a1cb452f850011637945","RepoTags":["x:latest","ghcr.io/user/x:2"],"Layers":["blobs/sha256/dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"]}]
    {"imageLayoutVersion":"1.0.0"}
    "#);
    assert_eq!(fs::metadata(&path).unwrap().len() % 512, 0);
}

#[test]
fn archive_checks_content_and_takes_it_once() {
    let blob = Descriptor::of("x", b"content");
    let mut archive = ArchiveWriter::new(Vec::new(), 0).unwrap();
    assert!(!archive.contains(blob.digest));
    assert!(archive.add_blob(&blob, &b"content"[..]).unwrap());
    assert!(archive.contains(blob.digest));
    assert!(!archive.add_blob(&blob, &b"not read"[..]).unwrap());
    let other = Descriptor::of("x", b"other..");
    let error = archive.add_blob(&other, &b"changed"[..]).unwrap_err();
    assert!(error.to_string().starts_with("digest mismatch"), "{error}");
}

#[test]
fn directory_keeps_images_and_leaves_nothing_of_failures() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("new/layout");
    let mut blobs = Blobs::default();
    let first = blobs.image(&platform("linux/amd64"), b"1").1;
    let second = blobs.image(&platform("linux/amd64"), b"2").1;
    let add = |images: &[LayoutImage]| {
        let writer = DirectoryWriter::create(&path).unwrap();
        let added = blobs
            .0
            .iter()
            .filter(|(blob, content)| writer.add_blob(blob, content.as_slice()).unwrap())
            .count();
        writer.finish(images).unwrap();
        added
    };
    assert_eq!(add(&[named(&first, &["x"]), named(&first, &["y"]), named(&first, &[])]), 5);
    assert_eq!(add(&[named(&second, &["x"]), named(&first, &[])]), 0);
    let layout = Layout::open(&path).unwrap();
    let listed = layout.index().manifests.iter().map(|image| {
        (
            image.digest == second.digest,
            image.annotations.get(ANNOTATION_IMAGE_NAME).map_or("", String::as_str),
        )
    });
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [(false, "docker.io/library/y:latest"), (true, "docker.io/library/x:latest"), (false, "")]
    );

    let writer = DirectoryWriter::create(&path).unwrap();
    let bad = Descriptor::of("x", b"announced");
    assert!(writer.add_blob(&bad, &b"delivered"[..]).is_err());
    assert_eq!(writer.add_blob(&bad, Broken).unwrap_err().to_string(), "network is down");
    assert!(!writer.contains(&bad));
    assert_eq!(fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 5);
}

#[test]
fn directory_takes_images_from_many_writers_at_once() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = root.path();
            scope.spawn(move || {
                let mut blobs = Blobs::default();
                let image = blobs.image(&platform("linux/amd64"), b"shared").1;
                let writer = DirectoryWriter::create(path).unwrap();
                for (blob, content) in &blobs.0 {
                    writer.add_blob(blob, content.as_slice()).unwrap();
                }
                writer.finish(&[named(&image, &[&format!("x:{n}")])]).unwrap();
            });
        }
    });
    assert_eq!(Layout::open(root.path()).unwrap().index().manifests.len(), 8);
}

#[test]
fn damaged_layouts_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let image = blobs.image(&platform("linux/amd64"), b"layer").1;
    let [directory, archive] = blobs.write(root.path(), &[named(&image, &["x"])], &[]);
    let error = |path: &Path| Layout::open(path).unwrap_err().to_string();

    // Changed content of the same size.
    let (layer, _) = &blobs.0[1];
    fs::write(directory.join(blob_path(layer.digest)), b"Layer").unwrap();
    let layout = Layout::open(&directory).unwrap();
    assert!(content(&layout, layer).unwrap_err().starts_with("digest mismatch"));

    // What is no regular file is not opened, which could block for ever.
    let path = directory.join(blob_path(layer.digest));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(content(&layout, layer).unwrap_err().starts_with("cannot read blob"));

    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(error(&directory).starts_with("not an OCI layout, its oci-layout names no known version"));
    assert!(error(root.path()).starts_with("not an OCI layout, it has no index.json"));
    assert!(error(&root.path().join("absent")).starts_with("cannot read "));

    let bytes = fs::read(&archive).unwrap();
    for (name, bytes) in [("cut", &bytes[..1800]), ("text", b"no archive"), ("empty", b"")] {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert!(Layout::open(&path).is_err(), "{name}");
    }
}

#[test]
fn nesting_is_bounded() {
    let root = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let mut descriptor = blobs.image(&platform("linux/amd64"), b"layer").1;
    for _ in 0..6 {
        descriptor = blobs.index(vec![descriptor]);
    }
    let mut wide = blobs.index(vec![]);
    for _ in 0..3 {
        wide = blobs.index(vec![wide; 100]);
    }
    let images = [named(&descriptor, &["deep"]), named(&wide, &["x:wide"])];
    let [path, _] = blobs.write(root.path(), &images, &[]);
    let layout = Layout::open(path).unwrap();
    for name in ["latest", "wide"] {
        let error = layout.resolve(Some(name), &platform("linux/amd64")).unwrap_err();
        assert!(matches!(error, LayoutError::TooComplex { .. }), "{name}: {error}");
    }
}

#[test]
fn what_killed_writers_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let make = |name: &str, age: u64| {
        let file = fs::File::create(blobs.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        file
    };
    make(".left.partial", 3600);
    make(".new.partial", 0);
    make("left.partial", 3600);
    let busy = make(".busy.partial", 3600);
    busy.lock().unwrap();
    let writer = DirectoryWriter::create(folder.path()).unwrap();
    let mut begun = writer.blob_writer().unwrap();
    begun.write_all(b"half").unwrap();
    let names = || {
        let names =
            fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(!names().contains(".left.partial"));
    assert!([".new.partial", "left.partial", ".busy.partial"].iter().all(|name| names().contains(*name)));
    assert_eq!(names().len(), 4);
    drop(begun);
    assert_eq!(names().len(), 3);
}

#[test]
fn the_index_is_written_when_buildkits_client_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let writer = DirectoryWriter::create(folder.path()).unwrap();
    let lock = folder.path().join("index.json.lock");
    // As it does: the file is locked, and removed in the end.
    let theirs = fs::File::create(&lock).unwrap();
    theirs.lock().unwrap();
    let written = std::thread::scope(|scope| {
        let image =
            LayoutImage { descriptor: Descriptor::of(media_type::OCI_MANIFEST, b"{}"), names: Vec::new() };
        let writing = scope.spawn(move || writer.finish(&[image]));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let early = folder.path().join("index.json").exists();
        drop(theirs);
        fs::remove_file(&lock).unwrap_or_default();
        writing.join().unwrap().unwrap();
        early
    });
    assert!(!written, "it did not wait");
    assert!(folder.path().join("index.json").exists() && !lock.exists());
}
