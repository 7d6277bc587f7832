//! Automatic collection.

use std::fs::File;
use std::time::{Duration, SystemTime};

use rbx_store::{CacheSharing, CacheUse, Limits, NewImage, Space, Store};

use crate::{database, key, new_store};

/// Limits that no disk sets off.
fn limits(reserved: u64, most: u64) -> Limits {
    Limits {
        reserved_space: Some(Space::Bytes(reserved)),
        max_used_space: Some(Space::Bytes(most)),
        min_free_space: Some(Space::Percent(0)),
    }
}

fn hours_ago(hours: u64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.checked_sub(Duration::from_hours(hours)).unwrap().as_nanos()).unwrap()
}

/// Writes blobs of 100 kB and lets go of them.
fn fill(store: Store, numbers: std::ops::Range<u32>) -> Store {
    for number in numbers {
        store.put_blob(&[&number.to_le_bytes()[..], &vec![0; 100_000]].concat()).unwrap();
    }
    let root = store.root().to_owned();
    // What was written is told to those who come after.
    store.collection_due(&Limits::default()).unwrap();
    drop(store);
    Store::open(&root).unwrap()
}

fn total(store: &Store) -> u64 {
    store.disk_usage().unwrap().iter().filter(|record| record.id != "store").map(|record| record.size).sum()
}

#[test]
fn a_store_that_grows_too_large_is_collected() {
    let (_directory, store) = new_store();
    let limits = limits(500_000, 2_000_000);
    let due = |store: &Store| store.collection_due(&limits).unwrap();
    assert!(!due(&store), "there is nothing");
    store.collect_automatically(&limits).unwrap().unwrap();
    let store = fill(store, 0..15);
    assert!(!due(&store), "not that much");
    let store = fill(store, 15..30);
    assert!(due(&store));
    let collected = store.collect_automatically(&limits).unwrap().unwrap();
    assert!(collected.blobs >= 10, "{collected:?}");
    let left = total(&store);
    assert!((1_800_000..=2_000_000).contains(&left), "{left}");
    assert!(!due(&store), "it was done");
    let store = fill(store, 30..35);
    assert!(due(&store), "it grew again");
    assert_eq!(store.collect_automatically(&limits).unwrap().unwrap().images, 0);
}

#[test]
fn what_is_reserved_stays_and_what_is_old_goes() {
    let (_directory, store) = new_store();
    let store = fill(store, 0..20);
    let all = total(&store);
    let collect = |limits: &Limits| store.collect_automatically(limits).unwrap().unwrap().blobs;
    assert_eq!(collect(&limits(all, 1)), 0, "as much as this is kept");
    assert_eq!(collect(&limits(0, 1_000_000_000)), 0);
    let old = database(&store).execute("UPDATE blobs SET last_used = ?1", [hours_ago(61 * 24)]).unwrap();
    assert_eq!(old, 20);
    assert_eq!(collect(&limits(all, 1_000_000_000)), 0, "as much as this is kept, however old");
    assert_eq!(collect(&limits(0, 1_000_000_000)), 20);
}

#[test]
fn every_day_somebody_looks() {
    let (_directory, store) = new_store();
    let store = fill(store, 0..20);
    let limits = limits(1_000_000, 1_000_000_000);
    assert!(store.collection_due(&limits).unwrap(), "nobody has looked yet");
    store.collect_automatically(&limits).unwrap().unwrap();
    assert!(!store.collection_due(&limits).unwrap());
    let later =
        database(&store).execute("UPDATE meta SET value = ?1 WHERE key = 'collected'", [hours_ago(25)]);
    assert_eq!(later, Ok(1));
    assert!(store.collection_due(&limits).unwrap());
}

#[test]
fn a_full_disk_is_a_reason_but_not_all_the_time() {
    let (_directory, store) = new_store();
    let store = fill(store, 0..20);
    let full = Limits { min_free_space: Some(Space::Bytes(u64::MAX)), ..limits(500_000, 1_000_000_000) };
    assert!(store.collection_due(&full).unwrap());
    assert!(store.collect_automatically(&full).unwrap().unwrap().blobs > 10);
    let store = fill(store, 20..40);
    assert!(!store.collection_due(&full).unwrap(), "others fill the disk");
    let little = Limits { reserved_space: Some(Space::Bytes(1_000_000_000)), ..full };
    database(&store).execute("DELETE FROM meta WHERE key = 'collected'", ()).unwrap();
    assert!(!store.collection_due(&little).unwrap(), "nothing would go");
    assert!(store.collection_due(&full).unwrap());
}

#[test]
fn one_process_collects_at_a_time() {
    let (_directory, store) = new_store();
    let lock = File::create(store.root().join("v1/collect.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(store.collect_automatically(&Limits::default()).unwrap(), None);
    drop(lock);
    assert!(store.collect_automatically(&Limits::default()).unwrap().is_some());
}

#[test]
fn caches_of_steps_go_first() {
    let (_directory, store) = new_store();
    let make = |name: &str| {
        let prepared = store.new_cache().unwrap();
        let file = File::create(prepared.fs().join("file")).unwrap();
        // Space that is taken and not written.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 260_000_000).unwrap();
        match store.add_cache(&key(name), CacheSharing::Shared, name, prepared).unwrap() {
            CacheUse::Ready(cache) => cache.id(),
            other => panic!("{other:?}"),
        }
    };
    let ids = [make("a"), make("b")];
    let store = fill(store.clone(), 0..3);
    let limits = limits(0, 1_000_000_000);
    let collect = || store.collect_automatically(&limits).unwrap().unwrap();
    assert_eq!(collect().caches, 0, "used lately");
    let age = |id: &rbx_store::CacheId| {
        let set = "UPDATE caches SET last_used = ?1 WHERE id = ?2";
        database(&store).execute(set, (hours_ago(49), id.as_bytes())).unwrap();
    };
    ids.iter().for_each(age);
    let collected = collect();
    assert_eq!((collected.caches, collected.blobs), (1, 0), "no more than is needed");
}

#[test]
fn built_images_stay_unless_they_are_elsewhere() {
    let (_directory, store) = new_store();
    let blob = store.put_blob(&vec![1; 100_000]).unwrap();
    let image = NewImage { target: "{}".into(), built: true, blobs: [blob].into(), layers: [].into() };
    store.set_image("image", &image).unwrap();
    let store = fill(store, 0..2);
    let collect = || store.collect_automatically(&limits(0, 1)).unwrap().unwrap();
    let collected = collect();
    assert_eq!((collected.images, collected.blobs), (0, 2));
    store.set_elsewhere("image").unwrap();
    let collected = collect();
    assert_eq!((collected.images, collected.blobs), (1, 1));
    // Another image of the name is nowhere else.
    store.put_blob(&vec![1; 100_000]).unwrap();
    store.set_image("image", &image).unwrap();
    assert_eq!(collect().images, 0);
}
