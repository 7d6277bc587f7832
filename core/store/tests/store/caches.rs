//! Caches: who gets which, what is listed, and what may go.

use std::fs;
use std::io::Write;

use rbx_store::{Cache, CacheSharing, CacheUse, Key, Policy, Store};

use crate::processes::{Helper, child_store, order};
use crate::{key, names, new_store};

use CacheSharing::{Locked, Private, Shared};

/// Takes a cache into use, making it if it is not there; `None` where it would have to wait.
fn take(store: &Store, key: &Key, sharing: CacheSharing) -> Option<Cache> {
    match store.use_cache(key, sharing).unwrap() {
        CacheUse::Ready(cache) => Some(cache),
        CacheUse::Wait => None,
        CacheUse::Make => match store.add_cache(key, sharing, "made", store.new_cache().unwrap()).unwrap() {
            CacheUse::Ready(cache) => Some(cache),
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn sharing_says_who_gets_which() {
    let (_directory, store) = new_store();
    let one = take(&store, &key("a"), Shared).unwrap();
    let two = take(&store, &key("a"), Shared).unwrap();
    assert_eq!(one.id(), two.id(), "shared by both");
    assert!(take(&store, &key("a"), Locked).is_none(), "in use");
    let other = take(&store, &key("b"), Locked).unwrap();
    assert_ne!(other.id(), one.id());

    let own = take(&store, &key("a"), Private).unwrap();
    let another = take(&store, &key("a"), Private).unwrap();
    let first = one.id();
    drop((one, two));
    assert_eq!(take(&store, &key("a"), Locked).unwrap().id(), first, "the free one");
    let ids = [own.id(), another.id()];
    assert!(!ids.contains(&first) && ids[0] != ids[1]);
    drop((own, another));

    let locked = take(&store, &key("a"), Locked).unwrap();
    assert_eq!(locked.id(), first, "the oldest of those that are free");
    assert!(ids.contains(&take(&store, &key("a"), Shared).unwrap().id()), "not the locked one");
    assert_eq!(store.caches().unwrap().len(), 4, "and no more were made");
}

#[test]
fn of_two_that_make_one_the_second_takes_the_first_ones() {
    let (_directory, store) = new_store();
    for (sharing, same) in [(Shared, Some(true)), (Private, Some(false)), (Locked, None)] {
        let key = key(&format!("{sharing:?}"));
        assert!(matches!(store.use_cache(&key, sharing).unwrap(), CacheUse::Make));
        let prepared = store.new_cache().unwrap();
        let first = take(&store, &key, sharing).unwrap();
        let second = match store.add_cache(&key, sharing, "second", prepared).unwrap() {
            CacheUse::Ready(cache) => Some(cache.id() == first.id()),
            CacheUse::Wait => None,
            CacheUse::Make => panic!("it was to be made"),
        };
        assert_eq!(second, same, "{sharing:?}");
    }
    drop(store.new_cache().unwrap());
    assert_eq!(names(&store, "tmp"), [""; 0], "what was not needed is gone");
}

#[test]
fn what_was_written_stays() {
    let (directory, store) = new_store();
    let cache = take(&store, &key("a"), Shared).unwrap();
    fs::write(cache.path().join("file"), "kept").unwrap();
    let id = cache.id();
    drop((cache, store));
    let store = Store::open(&directory.path().join("store")).unwrap();
    let cache = take(&store, &key("a"), Locked).unwrap();
    assert_eq!((cache.id(), fs::read_to_string(cache.path().join("file")).unwrap()), (id, "kept".to_owned()));
}

#[test]
fn records_tell_of_size_and_use() {
    let (_directory, store) = new_store();
    let cache = take(&store, &key("a"), Shared).unwrap();
    let [record] = &store.caches().unwrap()[..] else { panic!("one cache") };
    assert_eq!((record.id, record.uses, record.in_use), (cache.id(), 1, true));
    assert_eq!((&*record.description, record.created), ("made", record.last_used));
    fs::write(cache.path().join("file"), vec![1; 50_000]).unwrap();
    assert!(store.caches().unwrap()[0].bytes >= 50_000, "measured as it is");
    fs::remove_file(cache.path().join("file")).unwrap();
    drop(cache);
    let free = store.caches().unwrap()[0].clone();
    assert!(free.bytes < 50_000 && !free.in_use && free.last_used > free.created);
    // The measure is kept until the next use.
    let path = store.root().join(format!("v1/caches/{}/fs/file", free.id));
    fs::write(path, vec![1; 50_000]).unwrap();
    assert_eq!(store.caches().unwrap()[0].bytes, free.bytes);
    drop(take(&store, &key("a"), Shared));
    let again = store.caches().unwrap()[0].clone();
    assert!(again.bytes >= 50_000 && again.uses == 2);
}

#[test]
fn what_is_in_use_stays() {
    let (_directory, store) = new_store();
    let cache = take(&store, &key("a"), Shared).unwrap();
    let id = cache.id();
    assert!(!store.remove_cache(id).unwrap());
    assert!(cache.path().exists());
    drop(cache);
    assert!(store.remove_cache(id).unwrap());
    assert!(!store.remove_cache(id).unwrap(), "it is gone");
    assert_eq!((names(&store, "caches"), names(&store, "tmp")), (vec![], vec![]));
    assert!(store.caches().unwrap().is_empty());
}

#[test]
fn directories_and_records_without_each_other_go() {
    let (_directory, store) = new_store();
    let cache = take(&store, &key("a"), Shared).unwrap();
    let first = cache.id();
    drop(cache);
    fs::create_dir(store.root().join("v1/caches").join("0".repeat(32))).unwrap();
    store.collect(&Policy { max_used_space: u64::MAX, ..Policy::default() }).unwrap();
    assert_eq!(names(&store, "caches"), [first.to_string()]);
    fs::remove_dir_all(store.root().join("v1/caches").join(first.to_string())).unwrap();
    assert_ne!(take(&store, &key("a"), Locked).unwrap().id(), first);
    assert_eq!(store.caches().unwrap().len(), 1);
}

#[test]
#[ignore = "a child process of a_killed_process_leaves_its_caches_free"]
fn child_uses_a_cache_until_killed() {
    let Some(store) = child_store() else { return };
    let cache = take(&store, &key("a"), Locked).unwrap();
    fs::write(cache.path().join("file"), "half").unwrap();
    println!("in use: {}", cache.id());
    std::io::stdout().flush().unwrap();
    order();
}

#[test]
fn a_killed_process_leaves_its_caches_free() {
    let (_directory, store) = new_store();
    let mut child = Helper::start("caches::child_uses_a_cache_until_killed", store.root());
    let id = child.expect("in use:");
    assert!(take(&store, &key("a"), Locked).is_none());
    assert!(store.caches().unwrap()[0].in_use);
    child.kill();
    let cache = take(&store, &key("a"), Locked).unwrap();
    assert_eq!(cache.id().to_string(), id);
    assert_eq!(fs::read_to_string(cache.path().join("file")).unwrap(), "half");
}
