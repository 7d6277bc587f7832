//! Build records.

use rbx_store::{LayerId, Lease, Record, Store, StoreError};

use crate::{database, key, new_store, put_layer};

#[test]
fn the_first_record_wins() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let layers = [put_layer(&store, &lease, None, "1"), put_layer(&store, &lease, None, "2")];
    let [first, second] =
        layers.map(|layer| Record { layer: Some(layer), value: layer.to_string().into(), created: 3 });
    assert_eq!(store.record(&lease, &key("a")).unwrap(), None);
    assert_eq!(store.put_record(&lease, &key("a"), &first, false).unwrap(), first);
    assert_eq!(store.put_record(&lease, &key("a"), &second, false).unwrap(), first);
    let other = Store::open(store.root()).unwrap();
    let other_lease = other.lease().unwrap();
    assert_eq!(other.record(&other_lease, &key("a")).unwrap().unwrap(), first);
    assert_eq!(store.put_record(&lease, &key("a"), &second, true).unwrap(), second);
    assert_eq!(other.record(&other_lease, &key("a")).unwrap().unwrap(), second);
    store.remove_record(&key("a")).unwrap();
    assert_eq!(store.record(&lease, &key("a")).unwrap(), None);
}

#[test]
fn threads_share_a_store() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, lease) = (store.clone(), &lease);
            scope.spawn(move || {
                for number in 0..50 {
                    store.put_blob(format!("{}", number % 7).as_bytes()).unwrap();
                    store.put_member(&key(&format!("{number}")), b"member").unwrap();
                    let layer = Some(put_layer(&store, lease, None, "x"));
                    let record = Record { layer, value: vec![thread], created: 0 };
                    let name = key(&format!("{number}"));
                    let recorded = store.put_record(lease, &name, &record, false).unwrap();
                    assert_eq!(store.record(lease, &name).unwrap().unwrap(), recorded);
                }
            });
        }
        for _ in 0..5 {
            Store::open(store.root()).unwrap().collect(&rbx_store::Policy::default()).unwrap();
        }
    });
    for number in 0..50 {
        let record = store.record(&lease, &key(&format!("{number}"))).unwrap().unwrap();
        assert_eq!(store.layer_index(record.layer.unwrap()).unwrap(), crate::index("x"));
        assert_eq!(store.member(&key(&format!("{number}"))).unwrap().unwrap(), b"member");
    }
}

#[test]
fn a_record_needs_its_layer() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let layer: LayerId = "00000000000000000000000000000000".parse().unwrap();
    let record = Record { layer: Some(layer), value: vec![], created: 0 };
    let error = store.put_record(&lease, &key("a"), &record, false).unwrap_err();
    assert!(matches!(error, StoreError::NoLayer(_)), "{error}");
}

#[test]
fn a_record_without_a_layer_is_a_value() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let record = Record { layer: None, value: b"{}".to_vec(), created: 5 };
    store.put_record(&lease, &key("a"), &record, false).unwrap();
    assert_eq!(store.record(&lease, &key("a")).unwrap().unwrap(), record);
}

#[test]
fn use_is_noted_once_for_each_lease_and_of_records_once_a_minute() {
    let (_directory, store) = new_store();
    let lease = store.lease().unwrap();
    let layer = put_layer(&store, &lease, None, "x");
    let record = Record { layer: Some(layer), value: vec![], created: 0 };
    store.put_record(&lease, &key("a"), &record, false).unwrap();
    let db = database(&store);
    let noted = || -> (i64, i64, i64) {
        let query =
            "SELECT records.last_used, layers.last_used, uses FROM records JOIN layers ON layers.id = layer";
        db.query_row(query, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
    };
    let look_up = |lease: &Lease| {
        store.record(lease, &key("a")).unwrap().unwrap();
        store.layer(lease, layer).unwrap().unwrap();
    };
    let first = noted();
    assert_eq!(first.2, 1);
    look_up(&lease);
    assert_eq!(noted(), first);
    let again = store.lease().unwrap();
    look_up(&again);
    look_up(&again);
    let second = noted();
    assert!(second.0 == first.0 && second.1 > first.1 && second.2 == 2, "{second:?}");
    db.execute_batch("UPDATE records SET last_used = 1").unwrap();
    look_up(&store.lease().unwrap());
    assert!(noted().0 >= first.0 && noted().2 == 3, "{:?}", noted());
}
