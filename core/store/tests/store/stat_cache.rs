//! The stat cache.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rbx_store::{ContentDigest, FileStat, Store};

use crate::{list, new_store};

fn stat(path: &Path) -> FileStat {
    FileStat::from(&fs::symlink_metadata(path).unwrap())
}

/// What a build does with one file: true if it had to be read.
fn read(store: &Store, root: &Path, names: &[&str]) -> Vec<bool> {
    let cache = store.stat_cache(root);
    let mut had_to = Vec::new();
    for name in names {
        let stat = stat(&root.join(name));
        let content = ContentDigest::of(&fs::read(root.join(name)).unwrap());
        let known = cache.lookup(name.as_bytes(), &stat);
        assert!(known.is_none_or(|known| known == content), "{name} has other content than remembered");
        had_to.push(known.is_none());
        if known.is_none() {
            cache.insert(name.as_bytes(), &stat, content);
        }
    }
    cache.save().unwrap();
    had_to
}

#[test]
fn unchanged_files_are_not_read_again() {
    let (directory, store) = new_store();
    let root = directory.path().join("context");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "1").unwrap();
    fs::write(root.join("b"), "1").unwrap();
    sleep(Duration::from_millis(60));
    assert_eq!(read(&store, &root, &["a", "b"]), [true, true]);
    let store = Store::open(store.root()).unwrap();
    assert_eq!(read(&store, &root, &["a", "b"]), [false, false]);
    fs::write(root.join("b"), "2").unwrap();
    sleep(Duration::from_millis(60));
    assert_eq!(read(&store, &root, &["a", "b"]), [false, true]);
    assert_eq!(read(&store, &root, &["a", "b"]), [false, false]);
    // The same content in another file is another file.
    fs::copy(root.join("b"), root.join("c")).unwrap();
    fs::rename(root.join("c"), root.join("b")).unwrap();
    sleep(Duration::from_millis(60));
    assert_eq!(read(&store, &root, &["a", "b"]), [false, true]);
}

#[test]
fn files_changed_just_before_or_after_opening_are_read_again() {
    let (directory, store) = new_store();
    let root = directory.path().join("context");
    fs::create_dir(&root).unwrap();
    // Written, read and written again within a tick, a file may have the same times throughout.
    for round in 0..200 {
        let content = format!("{round:03}");
        fs::write(root.join("a"), &content).unwrap();
        assert_eq!(read(&store, &root, &["a"]), [true], "round {round}");
    }
    let cache = store.stat_cache(&root);
    sleep(Duration::from_millis(60));
    fs::write(root.join("a"), "later").unwrap();
    sleep(Duration::from_millis(60));
    let stat = stat(&root.join("a"));
    cache.insert(b"a", &stat, ContentDigest::of(b"later"));
    assert_eq!(cache.lookup(b"a", &stat), None);
}

#[test]
fn times_of_whole_seconds_are_trusted_later() {
    let (directory, store) = new_store();
    let root = directory.path().join("context");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "1").unwrap();
    sleep(Duration::from_millis(60));
    let cache = store.stat_cache(&root);
    let stat = stat(&root.join("a"));
    // As a file system reports it that keeps whole seconds: the last one has not passed for certain.
    let coarse = FileStat { mtime_ns: stat.mtime_ns / 1_000_000_000 * 1_000_000_000, ..stat };
    cache.insert(b"a", &coarse, ContentDigest::of(b"1"));
    assert_eq!(cache.lookup(b"a", &coarse), None);
    cache.insert(b"a", &stat, ContentDigest::of(b"1"));
    assert_eq!(cache.lookup(b"a", &stat), Some(ContentDigest::of(b"1")));
    // A file on another device than the context's root is not trusted at all.
    let elsewhere = FileStat { dev: stat.dev + 1, ..stat };
    cache.insert(b"b", &elsewhere, ContentDigest::of(b"1"));
    assert_eq!(cache.lookup(b"b", &elsewhere), None);
}

#[test]
fn contexts_on_another_file_system_are_trusted_after_two_seconds() {
    let Ok(context) = tempfile::tempdir_in("/dev/shm") else { return };
    let (_directory, store) = new_store();
    let root = context.path();
    fs::write(root.join("a"), "1").unwrap();
    if stat(&root.join("a")).dev == stat(store.root()).dev {
        return;
    }
    sleep(Duration::from_millis(60));
    assert_eq!(read(&store, root, &["a"]), [true]);
    assert_eq!(read(&store, root, &["a"]), [true]);
    sleep(Duration::from_millis(2100));
    assert_eq!(read(&store, root, &["a"]), [true]);
    assert_eq!(read(&store, root, &["a"]), [false]);
}

#[test]
fn files_of_other_machines_are_never_trusted() {
    let (_directory, store) = new_store();
    // No FUSE or NFS is at hand, but what cannot be examined is treated alike.
    let cache = store.stat_cache(Path::new("/nonexistent/context"));
    let stat = FileStat { dev: 1, ino: 1, size: 1, mode: 0o100_644, mtime_ns: 1, ctime_ns: 1 };
    cache.insert(b"a", &stat, ContentDigest::of(b"1"));
    assert_eq!(cache.lookup(b"a", &stat), None);
    cache.save().unwrap();
    assert!(list(&store.root().join("v1/stat")).is_empty());
}

#[test]
fn paths_not_seen_for_long_are_dropped() {
    let (directory, store) = new_store();
    let root = directory.path().join("context");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("once"), "1").unwrap();
    fs::write(root.join("always"), "1").unwrap();
    sleep(Duration::from_millis(60));
    assert_eq!(read(&store, &root, &["once", "always"]), [true, true]);
    // Saves without anything new write nothing and do not count.
    for _ in 0..20 {
        assert_eq!(read(&store, &root, &["always"]), [false]);
    }
    let known =
        |name: &str| store.stat_cache(&root).lookup(name.as_bytes(), &stat(&root.join(name))).is_some();
    assert!(known("once"));
    for round in 0..16 {
        let name = format!("new-{round}");
        fs::write(root.join(&name), "1").unwrap();
        sleep(Duration::from_millis(60));
        assert_eq!(read(&store, &root, &["always", &name]), [false, true]);
        assert_eq!(known("once"), round < 15, "round {round}");
    }
    assert!(known("always"));
}

#[test]
fn a_damaged_cache_is_empty() {
    let (directory, store) = new_store();
    let root = directory.path().join("context");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "1").unwrap();
    sleep(Duration::from_millis(60));
    read(&store, &root, &["a"]);
    let directory = store.root().join("v1/stat");
    let path = directory.join(&list(&directory)[0]);
    let whole = fs::read(&path).unwrap();
    for length in [0, 7, 31, 40, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(read(&store, &root, &["a"]), [true], "of {length} bytes");
    }
    let mut changed = whole.clone();
    changed[whole.len() - 1] ^= 1;
    fs::write(&path, &changed).unwrap();
    assert_eq!(read(&store, &root, &["a"]), [true]);
    // A cache of another context under this one's name is not used either.
    fs::write(&path, &whole).unwrap();
    assert_eq!(read(&store, &root, &["a"]), [false]);
    fs::create_dir(root.join("other")).unwrap();
    fs::rename(root.join("a"), root.join("other/a")).unwrap();
    read(&store, &root.join("other"), &[]);
}
