//! Collection in one process.

use std::fs;
use std::time::{Duration, SystemTime};

use rbx_oci::Digest;
use rbx_store::{
    BlobInfo, BuiltImages, Collected, NewImage, NewLayer, Policy, Record, Store, UsageRecord, UsageType,
};

use crate::{database, index, key, list, names, new_store, put_layer};

/// The space of some records.
fn removable(store: &Store, wanted: impl Fn(&UsageRecord) -> bool) -> u64 {
    store.disk_usage().unwrap().iter().filter(|record| wanted(record)).map(|record| record.size).sum()
}

#[test]
fn everything_goes_that_nothing_holds() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let tree = store.new_tree().unwrap();
    fs::write(tree.fs().join("file"), vec![1; 100_000]).unwrap();
    let base = NewLayer {
        parent: None,
        index: index("base"),
        tree: Some(tree),
        created: 0,
        description: String::new(),
    };
    let base = store.put_layer(&lease, base).unwrap();
    let top = put_layer(&store, &lease, Some(base), "top");
    let record = Record { layer: Some(top), value: vec![], created: 0 };
    store.put_record(&lease, &key("layer"), &record, false).unwrap();
    let value = Record { layer: None, value: vec![1], created: 0 };
    store.put_record(&lease, &key("value"), &value, false).unwrap();
    store.put_member(&key("member"), &[1; 5000]).unwrap();
    store.set_layer_members(top, "gzip-3", &[key("member")]).unwrap();
    store.put_member(&key("unlisted"), &[1; 5000]).unwrap();
    let digest = store.put_blob(&[1; 10_000]).unwrap();
    store.set_chain(&lease, &digest, base).unwrap();

    let everything = |store: &Store| {
        ["layers", "trees", "blobs/sha256"]
            .iter()
            .map(|directory| names(store, directory).len())
            .sum::<usize>()
    };
    assert_eq!(everything(&store), 4);
    assert_eq!(store.collect(&Policy::default()).unwrap(), Collected::default());
    let usage = store.disk_usage().unwrap();
    assert!(usage.iter().all(|record| record.in_use), "{usage:?}");
    assert!(removable(&store, |record| record.id != "store") >= 100_000 + 10_000 + 10_000, "{usage:?}");

    let root = store.root().to_owned();
    drop(lease);
    drop(store);
    let store = Store::open(&root).unwrap();
    let usage = removable(&store, |record| !record.in_use);
    let collected = store.collect(&Policy::default()).unwrap();
    assert_eq!((collected.layers, collected.records, collected.blobs, collected.members), (2, 1, 1, 2));
    assert_eq!(collected.bytes, usage);
    assert_eq!(everything(&store), 0);
    assert_eq!(removable(&store, |record| record.id != "store"), 0);
    let lease = store.lease().unwrap();
    assert_eq!(store.record(&lease, &key("layer")).unwrap(), None);
    assert_eq!(store.layer_by_chain(&lease, &digest).unwrap(), None);
}

#[test]
fn looking_up_holds() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let base = put_layer(&store, &lease, None, "base");
    let top = put_layer(&store, &lease, Some(base), "top");
    let record = Record { layer: Some(top), value: vec![], created: 0 };
    store.put_record(&lease, &key("a"), &record, false).unwrap();
    drop(lease);
    let lease = store.lease().unwrap();
    store.record(&lease, &key("a")).unwrap().unwrap();
    let other = Store::open(store.root()).unwrap();
    assert_eq!(other.collect(&Policy::default()).unwrap().layers, 0);
    assert!(store.layer_index(base).is_ok());
    drop(lease);
    assert_eq!(other.collect(&Policy::default()).unwrap().layers, 2);
}

#[test]
fn the_least_recently_used_goes_first_and_children_before_parents() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let old = put_layer(&store, &lease, None, "old");
    let base = put_layer(&store, &lease, None, "base");
    let top = put_layer(&store, &lease, Some(base), "top");
    let used = |id: rbx_store::LayerId, hours: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let time = i64::try_from(now.checked_sub(Duration::from_hours(hours)).unwrap().as_nanos()).unwrap();
        let set = "UPDATE layers SET last_used = ?2 WHERE id = ?1";
        database(&store).execute(set, (id.as_bytes(), time)).unwrap();
    };
    used(old, 5);
    // Used long ago by itself, but lately through the layer above.
    used(base, 9);
    used(top, 2);
    drop(lease);
    let there = || {
        let there = [old, base, top].map(|id| store.root().join(format!("v1/layers/{id}")).exists());
        (there[0], there[1], there[2])
    };
    let unused_for = |hours| Policy { unused_for: Some(Duration::from_hours(hours)), ..Policy::default() };
    store.collect(&unused_for(6)).unwrap();
    assert_eq!(there(), (true, true, true));
    store.collect(&unused_for(3)).unwrap();
    assert_eq!(there(), (false, true, true));
    let total = removable(&store, |record| !record.in_use);
    let at_most = |max_used_space| Policy { max_used_space, ..Policy::default() };
    store.collect(&at_most(total)).unwrap();
    assert_eq!(there(), (false, true, true));
    store.collect(&Policy { reserved_space: total, ..at_most(1) }).unwrap();
    assert_eq!(there(), (false, true, true));
    store.collect(&at_most(total - 1)).unwrap();
    assert_eq!(there(), (false, true, false));
    store.collect(&at_most(1)).unwrap();
    assert_eq!(there(), (false, false, false));
}

#[test]
fn built_images_stay_and_pulled_ones_go() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    let lease = store.lease().unwrap();
    let layer = put_layer(&store, &lease, None, "x");
    let manifest = store.put_blob(b"manifest").unwrap();
    let archive = store.put_blob(b"archive").unwrap();
    let info = BlobInfo { digest: archive, size: 7, media_type: String::new() };
    store.set_layer_blob(layer, "gzip-3", &info).unwrap();
    let image =
        |built| NewImage { target: "{}".into(), built, blobs: [manifest].into(), layers: [layer].into() };
    store.set_image("built", &image(true)).unwrap();
    store.set_image("pulled", &image(false)).unwrap();
    drop((lease, store));

    let store = Store::open(&root).unwrap();
    let collected = store.collect(&Policy::default()).unwrap();
    assert_eq!((collected.images, collected.layers, collected.blobs), (1, 0, 0));
    assert_eq!(store.images().unwrap().len(), 1);
    let all = |built_images| Policy { all: true, built_images, ..Policy::default() };
    for policy in [all(BuiltImages::Keep), all(BuiltImages::Copies)] {
        assert_eq!(store.collect(&policy).unwrap(), Collected::default());
    }
    store.set_elsewhere("built").unwrap();
    // Without `all` nothing that an image holds goes.
    let copies = Policy { built_images: BuiltImages::Copies, ..Policy::default() };
    assert_eq!(store.collect(&copies).unwrap(), Collected::default());
    let collected = store.collect(&all(BuiltImages::Copies)).unwrap();
    assert_eq!((collected.images, collected.layers, collected.blobs), (1, 1, 2));
}

#[test]
fn an_image_whose_name_is_removed_is_collected() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    let manifest = store.put_blob(b"manifest").unwrap();
    let image = NewImage { target: "{}".into(), built: true, blobs: [manifest].into(), layers: [].into() };
    store.set_image("one", &image).unwrap();
    store.set_image("other", &image).unwrap();
    drop(store);
    let store = Store::open(&root).unwrap();
    let collect = || store.collect(&Policy { all: true, ..Policy::default() }).unwrap().blobs;
    store.remove_image("one").unwrap();
    assert_eq!(collect(), 0);
    store.remove_image("other").unwrap();
    assert_eq!(collect(), 1);
    let removed =
        store.collect(&Policy { all: true, built_images: BuiltImages::Remove, ..Policy::default() });
    assert_eq!(removed.unwrap(), Collected::default());
}

#[test]
fn an_image_needs_its_layers() {
    let (_directory, store) = new_store();
    let layers = ["00000000000000000000000000000000".parse().unwrap()].into();
    let image = NewImage { target: "{}".into(), built: true, blobs: [].into(), layers };
    assert!(store.set_image("a", &image).is_err());
    assert_eq!(store.image("a").unwrap(), None);
}

#[test]
fn files_without_records_are_swept() {
    let (_directory, store) = new_store();
    let v1 = store.root().join("v1");
    let digest = store.put_blob(b"kept").unwrap();
    let lease = store.lease().unwrap();
    let layer = put_layer(&store, &lease, None, "kept");
    fs::write(v1.join("blobs/sha256").join(Digest::sha256_of(b"orphan").hex()), "orphan").unwrap();
    fs::write(v1.join("blobs/sha256/stray"), "").unwrap();
    fs::write(v1.join("layers/00000000000000000000000000000000"), "").unwrap();
    fs::create_dir_all(v1.join("trees/00000000000000000000000000000000/fs")).unwrap();
    // The layer is there, but was never recorded to have a tree.
    fs::create_dir_all(v1.join(format!("trees/{layer}/fs"))).unwrap();
    store.collect(&Policy::default()).unwrap();
    assert_eq!(names(&store, "blobs/sha256"), [digest.hex()]);
    assert_eq!(names(&store, "layers"), [layer.to_string()]);
    assert!(names(&store, "trees").is_empty() && names(&store, "tmp").is_empty());
}

#[test]
fn members_used_under_a_lease_stay() {
    let (_directory, store) = new_store();
    let paths = ["old", "used"].map(|name| {
        store.put_member(&key(name), b"x").unwrap();
        let name = key(name).to_string();
        let path = store.root().join("v1/members").join(&name[..2]).join(name);
        let age = SystemTime::now() - Duration::from_hours(10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(age).unwrap();
        path
    });
    let other = Store::open(store.root()).unwrap();
    assert_eq!(other.member_size(&key("used")).unwrap(), Some(1));
    assert_eq!(store.collect(&Policy::default()).unwrap().members, 1);
    assert_eq!(paths.map(|path| path.exists()), [false, true]);
}

#[test]
fn members_on_no_list_go_by_their_last_use() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    for (name, hours) in [("old", 5), ("new", 2)] {
        store.put_member(&key(name), &[1; 9000]).unwrap();
        let name = key(name).to_string();
        let path = root.join("v1/members").join(&name[..2]).join(name);
        let time = SystemTime::now().checked_sub(Duration::from_hours(hours)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    drop(store);
    let store = Store::open(&root).unwrap();
    let size = removable(&store, |record| record.id == "pieces") / 2;
    assert!(size >= 9000);
    let collect = |max_used_space, hours: Option<u64>| {
        let unused_for = hours.map(Duration::from_hours);
        store.collect(&Policy { max_used_space, unused_for, ..Policy::default() }).unwrap().members
    };
    assert_eq!(collect(2 * size, None), 0);
    assert_eq!(collect(0, Some(6)), 0);
    assert_eq!(collect(size, None), 1);
    assert_eq!(collect(0, Some(3)), 0);
    assert_eq!(collect(0, Some(1)), 1);
}

#[test]
fn what_may_not_be_removed_here_is_handed_on() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let (_directory, store) = new_store();
    // Not even root may remove it.
    let protect = |path: &std::path::Path, flag| {
        let file = fs::File::open(path).unwrap();
        rustix::fs::ioctl_setflags(&file, flag)
    };
    let temp = store.temp_dir().unwrap();
    let file = temp.path().join("protected");
    fs::write(&file, "").unwrap();
    if protect(&file, rustix::fs::IFlags::IMMUTABLE).is_err() {
        return;
    }
    drop(temp);
    assert!(file.exists());

    let removed = Arc::new(AtomicU32::new(0));
    let count = removed.clone();
    store.set_tree_remover(move |path| {
        count.fetch_add(1, Ordering::Relaxed);
        protect(&path.join("protected"), rustix::fs::IFlags::empty())?;
        fs::remove_dir_all(path)
    });
    let temp = store.temp_dir().unwrap();
    let other = temp.path().join("protected");
    fs::write(&other, "").unwrap();
    protect(&other, rustix::fs::IFlags::IMMUTABLE).unwrap();
    drop(temp);
    assert!(!other.exists());
    assert_eq!(removed.load(Ordering::Relaxed), 1);
    protect(&file, rustix::fs::IFlags::empty()).unwrap();
}

#[test]
fn layers_can_be_listed_as_what_they_were_made_of() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let [plain, checkout] = ["plain", "checkout"].map(|name| put_layer(&store, &lease, None, name));
    store.set_layer_kind(checkout, UsageType::GitCheckout).unwrap();
    let records = store.disk_usage().unwrap();
    let kind = |id: rbx_store::LayerId| {
        let record = records.iter().find(|record| record.id == id.to_string()).unwrap();
        record.kind.as_str()
    };
    assert_eq!((kind(plain), kind(checkout)), ("regular", "source.git.checkout"));
}

#[test]
fn several_collect_at_once() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    let lease = store.lease().unwrap();
    for number in 0..300_u32 {
        put_layer(&store, &lease, None, "x");
        store.put_blob(&number.to_le_bytes()).unwrap();
        store.put_member(&key(&number.to_string()), b"x").unwrap();
        // Left behind by processes that were killed.
        fs::write(root.join(format!("v1/layers/{number:032x}")), "").unwrap();
        fs::write(root.join(format!("v1/blobs/sha256/{number:064x}")), "").unwrap();
    }
    drop((lease, store));
    let collected = std::thread::scope(|scope| {
        let threads = [(); 4]
            .map(|()| scope.spawn(|| Store::open(&root).unwrap().collect(&Policy::default()).unwrap()));
        threads.map(|thread| thread.join().unwrap())
    });
    // Each record went once. The file of one may be found by another collection before that of the record.
    let sum = |count: fn(&Collected) -> u64| collected.iter().map(count).sum::<u64>();
    assert_eq!((sum(|it| it.layers), sum(|it| it.members)), (300, 300));
    assert!(sum(|it| it.blobs) <= 300);
    let store = Store::open(&root).unwrap();
    assert!(names(&store, "layers").is_empty() && names(&store, "blobs/sha256").is_empty());
    assert!(names(&store, "tmp").is_empty());
}

#[test]
fn stat_caches_unused_for_a_month_are_swept() {
    let (directory, store) = new_store();
    let cache = store.root().join("v1/stat/0123");
    fs::write(&cache, "").unwrap();
    store.collect(&Policy::default()).unwrap();
    assert!(cache.exists());
    let age = SystemTime::now() - Duration::from_hours(31 * 24);
    fs::File::options().write(true).open(&cache).unwrap().set_modified(age).unwrap();
    store.collect(&Policy::default()).unwrap();
    assert!(list(&store.root().join("v1/stat")).is_empty());
    drop(directory);
}
