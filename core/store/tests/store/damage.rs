//! Files that are not what was written.

use std::fs;

use rbx_oci::Digest;
use rbx_store::{Faults, NewLayer, Policy, Record, Store, StoreError};

use crate::{key, list, new_store, put_layer};

#[test]
fn a_blob_of_another_size_is_missing_and_can_be_stored_again() {
    let (_directory, store) = new_store();
    let digest = store.put_blob(b"content").unwrap();
    let path = store.blob(&digest).unwrap().unwrap().path;
    fs::write(&path, "cont").unwrap();
    assert!(store.blob(&digest).unwrap().is_none());
    store.put_blob(b"content").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap().unwrap(), b"content");
    fs::remove_file(&path).unwrap();
    assert!(store.blob(&digest).unwrap().is_none());
}

#[test]
fn a_blob_with_other_content_is_removed_when_it_is_read() {
    let (_directory, store) = new_store();
    let digest = store.put_blob(b"content").unwrap();
    let path = store.blob(&digest).unwrap().unwrap().path;
    fs::write(&path, "c0ntent").unwrap();
    assert!(store.read_blob(&digest, 100).unwrap().is_none());
    assert!(!path.exists());
    assert!(store.blob(&Digest::sha256_of(b"content")).unwrap().is_none());
    store.put_blob(b"content").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap().unwrap(), b"content");
}

#[test]
fn a_damaged_member_is_missing_and_can_be_stored_again() {
    let (_directory, store) = new_store();
    let member = key("a");
    store.put_member(&member, b"compressed").unwrap();
    let path = store.root().join("v1/members").join(&member.to_string()[..2]).join(member.to_string());
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[0] ^= 1;
    for damaged in [&[][..], &whole[1..], &whole[..whole.len() - 1], &whole[..5], &changed] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(store.member(&member).unwrap(), None, "{damaged:?}");
        store.put_member(&member, b"compressed").unwrap();
        assert_eq!(store.member(&member).unwrap().unwrap(), b"compressed");
    }
}

#[test]
fn a_damaged_index_is_an_error_and_its_layer_made_anew() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let id = put_layer(&store, &lease, None, "x");
    let record = Record { layer: Some(id), value: vec![], created: 0 };
    store.put_record(&lease, &key("a"), &record, false).unwrap();
    let path = store.root().join("v1/layers").join(id.to_string());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let store = Store::open(store.root()).unwrap();
    let error = store.layer_index(id).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error}");
    assert_eq!(store.record(&store.lease().unwrap(), &key("a")).unwrap(), None);
}

#[test]
fn a_damaged_database_is_an_error_that_names_it() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    drop(store);
    for name in list(&root.join("v1")).iter().filter(|name| name.starts_with("store.db")) {
        fs::write(root.join("v1").join(name), "not a database at all").unwrap();
    }
    let error = Store::open(&root).unwrap_err();
    assert!(error.to_string().contains("v1/store.db"), "{error}");
}

#[test]
fn a_check_finds_every_kind_of_damage() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let v1 = store.root().join("v1");
    let digest = store.put_blob(b"content").unwrap();
    let tree = store.new_tree().unwrap();
    fs::write(tree.fs().join("file"), "text").unwrap();
    let new = NewLayer {
        parent: None,
        index: crate::index("text"),
        tree: Some(tree),
        created: 7,
        description: String::new(),
    };
    let layer = store.put_layer(&lease, new).unwrap();
    store.put_member(&key("a"), b"compressed").unwrap();
    store.set_layer_members(layer, "gzip-3", &[key("a")]).unwrap();
    assert_eq!(store.check().unwrap(), Faults::default());

    let member = key("a").to_string();
    for path in [
        format!("blobs/sha256/{}", digest.hex()),
        format!("layers/{layer}"),
        format!("trees/{layer}/fs/file"),
        format!("members/{}/{member}", &member[..2]),
    ] {
        let path = v1.join(path);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[1..]).unwrap();
        let faults = store.check().unwrap();
        assert!(faults.damaged.len() == 1 && faults.left.is_empty(), "{}: {faults:?}", path.display());
        let _ = fs::remove_file(&path);
        assert!(!store.check().unwrap().damaged.is_empty(), "{}", path.display());
        fs::write(&path, whole).unwrap();
        assert_eq!(store.check().unwrap(), Faults::default());
    }

    let strangers = ["blobs/sha256/00", "layers/00", "trees/00", "caches/00", "tmp/00.1"];
    for path in strangers {
        fs::write(v1.join(path), "").unwrap();
    }
    let lease = [7_u8; 16];
    crate::database(&store).execute("INSERT INTO pins VALUES (?1, 0, ?1)", [lease]).unwrap();
    let faults = store.check().unwrap();
    assert_eq!((faults.damaged.len(), faults.left.len()), (0, strangers.len() + 1), "{faults:?}");
    store.collect(&Policy { max_used_space: u64::MAX, ..Policy::default() }).unwrap();
    assert_eq!(store.check().unwrap(), Faults::default());
}
