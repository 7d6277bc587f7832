//! Opening, blobs, members, images, notes.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rbx_oci::Digest;
use rbx_store::{IdMap, NewImage, Store, StoreError};

use crate::{database, key, names, new_store};

#[test]
fn a_store_is_its_owners_only() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&root), mode(&root.join("v1"))), (0o700, 0o700));
    std::fs::set_permissions(root.join("v1"), std::fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(&root).unwrap();
    assert_eq!(mode(&root.join("v1")), 0o700);

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.join("v1"), Some(1234), None).unwrap();
        let error = Store::open(&root).unwrap_err();
        assert!(matches!(error, StoreError::Owner { owner: 1234, user: 0, .. }), "{error}");
    }
}

#[test]
fn a_store_of_another_format_is_refused() {
    let (_directory, store) = new_store();
    for format in [1, 3] {
        database(&store).pragma_update(None, "user_version", format).unwrap();
        let error = Store::open(store.root()).unwrap_err().to_string();
        let told = format!("the store is of another format ({format}, this program knows 2): ");
        assert!(error.starts_with(&told), "{error}");
    }
}

#[test]
fn a_store_keeps_its_id_map() {
    let (_directory, store) = new_store();
    let map = IdMap::parse("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n");
    assert!(store.id_map().is_whole());
    store.claim_id_map(map.clone()).unwrap();
    store.claim_id_map(map.clone()).unwrap();
    assert_eq!(*store.id_map(), map);
    let error = Store::open(store.root()).unwrap().claim_id_map(IdMap::whole()).unwrap_err();
    assert!(matches!(error, StoreError::IdMap { .. }), "{error}");
}

#[test]
fn blobs_are_stored_under_their_digest() {
    let (_directory, store) = new_store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hello ").unwrap();
    writer.write_all(b"world").unwrap();
    let digest = Digest::sha256_of(b"hello world");
    assert!(store.blob(&digest).unwrap().is_none());
    assert_eq!(writer.commit(Some((&digest, 11))).unwrap(), digest);
    let blob = Store::open(store.root()).unwrap().blob(&digest).unwrap().unwrap();
    assert_eq!(std::io::read_to_string(blob.file).unwrap(), "hello world");
    assert_eq!(store.read_blob(&digest, 11).unwrap().unwrap(), b"hello world");
    let error = store.read_blob(&digest, 10).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 11, limit: 10, .. }), "{error}");
    assert!(store.blob(&Digest::sha256_of(b"other")).unwrap().is_none());
}

#[test]
fn blobs_other_than_expected_are_refused() {
    let (_directory, store) = new_store();
    for (content, size) in [("other", 5), ("hello", 6)] {
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"hello").unwrap();
        let error = writer.commit(Some((&Digest::sha256_of(content.as_bytes()), size))).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    }
    let mut dropped = store.blob_writer().unwrap();
    dropped.write_all(b"half").unwrap();
    drop(dropped);
    assert!(names(&store, "tmp").is_empty());
    assert!(names(&store, "blobs/sha256").is_empty());
}

#[test]
fn two_writers_of_one_blob_both_succeed() {
    let (_directory, store) = new_store();
    let mut one = store.blob_writer().unwrap();
    let mut other = Store::open(store.root()).unwrap().blob_writer().unwrap();
    one.write_all(b"same").unwrap();
    other.write_all(b"same").unwrap();
    assert_eq!(one.commit(None).unwrap(), other.commit(None).unwrap());
    assert_eq!(store.put_blob(b"same").unwrap(), Digest::sha256_of(b"same"));
    assert_eq!(names(&store, "blobs/sha256").len(), 1);
}

#[test]
fn members_are_stored_under_their_key() {
    let (_directory, store) = new_store();
    assert_eq!(store.member(&key("a")).unwrap(), None);
    assert_eq!(store.member_size(&key("a")).unwrap(), None);
    store.put_member(&key("a"), b"compressed").unwrap();
    store.put_member(&key("a"), b"compressed").unwrap();
    store.put_member(&key("empty"), b"").unwrap();
    let store = Store::open(store.root()).unwrap();
    assert_eq!(store.member(&key("a")).unwrap().unwrap(), b"compressed");
    assert_eq!(store.member_size(&key("a")).unwrap(), Some(10));
    assert_eq!(store.member(&key("empty")).unwrap().unwrap(), b"");
}

#[test]
fn images_have_names() {
    let (_directory, store) = new_store();
    let image = |target: &str| NewImage {
        target: target.into(),
        built: true,
        blobs: [Digest::sha256_of(b"manifest")].into(),
        layers: [].into(),
    };
    store.set_image("docker.io/library/b:latest", &image("1")).unwrap();
    store.set_image("docker.io/library/a:latest", &image("2")).unwrap();
    store.set_image("docker.io/library/b:latest", &image("3")).unwrap();
    let images = store.images().unwrap();
    let images: Vec<_> = images.iter().map(|image| (image.name.as_str(), image.target.as_str())).collect();
    assert_eq!(images, [("docker.io/library/a:latest", "2"), ("docker.io/library/b:latest", "3")]);
    assert_eq!(store.image("docker.io/library/b:latest").unwrap().unwrap().target, "3");
    assert!(store.remove_image("docker.io/library/b:latest").unwrap());
    assert!(!store.remove_image("docker.io/library/b:latest").unwrap());
    assert_eq!(store.image("docker.io/library/b:latest").unwrap(), None);
}

#[test]
fn notes_are_kept() {
    let (_directory, store) = new_store();
    assert_eq!(store.note("boot").unwrap(), None);
    store.set_note("boot", Some(b"1")).unwrap();
    store.set_note("boot", Some(b"2")).unwrap();
    assert_eq!(Store::open(store.root()).unwrap().note("boot").unwrap().unwrap(), b"2");
    store.set_note("boot", None).unwrap();
    assert_eq!(store.note("boot").unwrap(), None);
}

#[test]
fn temporary_directories_go_when_dropped() {
    let (_directory, store) = new_store();
    let temp = store.temp_dir().unwrap();
    std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
    assert_eq!(temp.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    // Another process's opening leaves it alone.
    Store::open(store.root()).unwrap();
    assert!(temp.path().exists());
    drop(temp);
    assert!(names(&store, "tmp").is_empty());
    drop(store.lease().unwrap());
    let root = store.root().to_owned();
    drop(store);
    assert_eq!(crate::list(&root.join("v1/leases")), Vec::<String>::new());
}
