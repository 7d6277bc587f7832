//! Layers, their trees, chains and members.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use rbx_oci::Digest;
use rbx_store::{BlobInfo, LayerId, NewLayer, Record, Store, StoreError};

use crate::{index, key, names, new_store, put_layer};

#[test]
fn a_layer_is_found_with_what_is_known_of_it() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let base = put_layer(&store, &lease, None, "base");
    let id = put_layer(&store, &lease, Some(base), "top");
    let diff_id = Digest::sha256_of(b"archive");
    let info =
        BlobInfo { digest: Digest::sha256_of(b"gzip"), size: 4, media_type: "application/x".to_owned() };
    store.set_diff_id(id, &diff_id).unwrap();
    store.set_layer_blob(id, "gzip-3", &info).unwrap();

    let other = Store::open(store.root()).unwrap();
    let lease = other.lease().unwrap();
    for _ in 0..2 {
        let layer = other.layer(&lease, id).unwrap().unwrap();
        assert_eq!((layer.id, layer.parent, layer.created, layer.size), (id, Some(base), 7, 3));
        assert_eq!((layer.has_tree, layer.diff_id), (false, Some(diff_id)));
        assert_eq!(layer.blobs, BTreeMap::from([("gzip-3".to_owned(), info.clone())]));
    }
    assert_eq!(other.layer_index(id).unwrap(), index("top"));

    let unknown: LayerId = "00000000000000000000000000000000".parse().unwrap();
    assert!(other.layer(&lease, unknown).unwrap().is_none());
    assert!(matches!(other.set_diff_id(unknown, &diff_id), Err(StoreError::NoLayer(_))));
    let orphan = NewLayer {
        parent: Some(unknown),
        index: index(""),
        tree: None,
        created: 0,
        description: String::new(),
    };
    assert!(matches!(other.put_layer(&lease, orphan), Err(StoreError::NoLayer(_))));
    assert!(names(&other, "tmp").is_empty());
}

#[test]
fn the_first_tree_of_a_layer_stays() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let id = put_layer(&store, &lease, None, "x");
    assert_eq!(store.tree(id), None);
    let [one, other, dropped] = ["one", "other", "dropped"].map(|name| {
        let tree = store.new_tree().unwrap();
        fs::write(tree.fs().join(name), "").unwrap();
        fs::create_dir(tree.work().join("work")).unwrap();
        fs::set_permissions(tree.work().join("work"), fs::Permissions::from_mode(0o000)).unwrap();
        tree
    });
    assert_eq!(one.fs().metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    drop(dropped);
    let path = store.commit_tree(&lease, id, one).unwrap();
    assert_eq!(store.commit_tree(&lease, id, other).unwrap(), path);
    assert_eq!(store.tree(id).unwrap(), path);
    assert_eq!(crate::list(&path), ["one"]);
    assert_eq!(crate::list(path.parent().unwrap()), ["fs"]);
    assert!(store.layer(&lease, id).unwrap().unwrap().has_tree);
    assert!(names(&store, "tmp").is_empty());
}

#[test]
fn a_layer_can_come_with_its_tree() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let tree = store.new_tree().unwrap();
    fs::write(tree.fs().join("file"), "x").unwrap();
    let new = NewLayer {
        parent: None,
        index: index("x"),
        tree: Some(tree),
        created: 1,
        description: String::new(),
    };
    let id = store.put_layer(&lease, new).unwrap();
    assert_eq!(fs::read_to_string(store.tree(id).unwrap().join("file")).unwrap(), "x");
    assert!(store.layer(&lease, id).unwrap().unwrap().has_tree);
}

#[test]
fn a_tree_that_nobody_recorded_gives_way() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let id = put_layer(&store, &lease, None, "x");
    let stale = store.root().join(format!("v1/trees/{id}/fs"));
    fs::create_dir_all(stale.join("stale")).unwrap();
    let path = store.commit_tree(&lease, id, store.new_tree().unwrap()).unwrap();
    assert_eq!((crate::list(&path), names(&store, "tmp")), (vec![], vec![]));
}

#[test]
fn chains_lead_to_the_first_layer() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let chain = Digest::sha256_of(b"chain");
    assert_eq!(store.layer_by_chain(&lease, &chain).unwrap(), None);
    let (first, second) = (put_layer(&store, &lease, None, "1"), put_layer(&store, &lease, None, "2"));
    assert_eq!(store.set_chain(&lease, &chain, first).unwrap(), first);
    assert_eq!(store.set_chain(&lease, &chain, second).unwrap(), first);
    assert_eq!(store.layer_by_chain(&lease, &chain).unwrap(), Some(first));
}

#[test]
fn forgetting_a_layer_forgets_what_is_built_on_it() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let base = put_layer(&store, &lease, None, "base");
    let middle = put_layer(&store, &lease, Some(base), "middle");
    let top = put_layer(&store, &lease, Some(middle), "top");
    for (name, layer) in [("base", base), ("middle", middle), ("top", top)] {
        let record = Record { layer: Some(layer), value: vec![], created: 0 };
        store.put_record(&lease, &key(name), &record, false).unwrap();
        store.set_chain(&lease, &Digest::sha256_of(name.as_bytes()), layer).unwrap();
    }
    store.forget_layer(middle).unwrap();
    let left = ["base", "middle", "top"].map(|name| {
        let record = store.record(&lease, &key(name)).unwrap().is_some();
        let chain = store.layer_by_chain(&lease, &Digest::sha256_of(name.as_bytes())).unwrap().is_some();
        (record, chain)
    });
    assert_eq!(left, [(true, true), (false, false), (false, false)]);
}

#[test]
fn a_layers_members_must_be_there() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let id = put_layer(&store, &lease, None, "x");
    store.put_member(&key("a"), b"a").unwrap();
    let error = store.set_layer_members(id, "gzip-3", &[key("a"), key("b")]).unwrap_err();
    assert!(matches!(error, StoreError::NoMembers { missing: 1, total: 2, .. }), "{error}");
    store.put_member(&key("b"), b"b").unwrap();
    store.set_layer_members(id, "gzip-3", &[key("b"), key("a"), key("b")]).unwrap();
    assert_eq!(store.layer_members(id, "gzip-3").unwrap().unwrap(), [key("b"), key("a"), key("b")]);
    assert_eq!(store.layer_members(id, "zstd-3").unwrap(), None);
}
