//! Collection of any store there can be: what is held stays whole, and nothing else stays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rbx_oci::Digest;
use rbx_store::{BlobInfo, BuiltImages, Key, LayerId, NewImage, NewLayer, Policy, Record, Store};

use crate::{index, key, list, names, new_store};

/// What one layer is made of, by numbers.
#[derive(Debug, Clone)]
struct NewNode {
    parent: Option<prop::sample::Index>,
    members: BTreeSet<u8>,
    blobs: BTreeSet<u8>,
    tree: bool,
    recorded: bool,
}

#[derive(Debug, Clone)]
struct World {
    layers: Vec<NewNode>,
    /// Built or not, layers, blobs.
    images: Vec<(bool, Vec<prop::sample::Index>, BTreeSet<u8>)>,
    /// Members and blobs that nothing holds.
    alone: BTreeSet<u8>,
    /// Layers and blobs that a lease of somebody else holds.
    pinned: Vec<prop::sample::Index>,
    pinned_blobs: BTreeSet<u8>,
}

fn world() -> impl Strategy<Value = World> {
    let parts = || prop::collection::btree_set(0_u8..12, 0..4);
    let layer = (any::<Option<prop::sample::Index>>(), parts(), parts(), any::<bool>(), any::<bool>());
    let layer = layer.prop_map(|(parent, members, blobs, tree, recorded)| NewNode {
        parent,
        members,
        blobs,
        tree,
        recorded,
    });
    let some = || prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let image = (any::<bool>(), some(), parts());
    (prop::collection::vec(layer, 1..10), prop::collection::vec(image, 0..4), parts(), some(), parts())
        .prop_map(|(layers, images, alone, pinned, pinned_blobs)| World {
            layers,
            images,
            alone,
            pinned,
            pinned_blobs,
        })
}

fn member(number: u8) -> Key {
    key(&format!("member {number}"))
}

fn content(number: u8) -> Vec<u8> {
    vec![number; 1000]
}

fn digest(number: u8) -> Digest {
    Digest::sha256_of(&content(number))
}

/// What is in a store, by what its files say.
#[derive(Debug, Default, PartialEq, Eq)]
struct There {
    layers: BTreeSet<LayerId>,
    trees: BTreeSet<LayerId>,
    members: BTreeSet<Key>,
    blobs: BTreeSet<Digest>,
    images: BTreeSet<String>,
}

impl There {
    fn of(store: &Store) -> Self {
        let v1 = store.root().join("v1");
        let ids = |directory| names(store, directory).iter().map(|name| name.parse().unwrap()).collect();
        Self {
            layers: ids("layers"),
            trees: ids("trees"),
            members: list(&v1.join("members"))
                .iter()
                .flat_map(|part| list(&v1.join("members").join(part)))
                .map(|name| name.parse().unwrap())
                .collect(),
            blobs: names(store, "blobs/sha256")
                .iter()
                .map(|hex| format!("sha256:{hex}").parse().unwrap())
                .collect(),
            images: store.images().unwrap().into_iter().map(|image| image.name).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_held_stays_whole_and_nothing_else(world in world(), all in any::<bool>()) {
        let (_directory, store) = new_store();
        let root = store.root().to_owned();
        let lease = store.lease().unwrap();
        for number in 0..12 {
            let used = world.layers.iter().any(|layer| layer.members.contains(&number));
            if used || world.alone.contains(&number) {
                store.put_member(&member(number), &content(number)).unwrap();
            }
            let used = world.layers.iter().any(|layer| layer.blobs.contains(&number))
                || world.images.iter().any(|image| image.2.contains(&number))
                || world.alone.contains(&number)
                || world.pinned_blobs.contains(&number);
            if used {
                store.put_blob(&content(number)).unwrap();
            }
        }
        let mut ids: Vec<LayerId> = Vec::new();
        for (at, layer) in world.layers.iter().enumerate() {
            let parent = layer.parent.filter(|_| at > 0).map(|parent| ids[parent.index(at)]);
            let tree = layer.tree.then(|| store.new_tree().unwrap());
            let description = format!("layer {at}");
            let new = NewLayer { parent, index: index("x"), tree, created: 0, description };
            let id = store.put_layer(&lease, new).unwrap();
            let members: Vec<Key> = layer.members.iter().map(|number| member(*number)).collect();
            store.set_layer_members(id, "gzip-3", &members).unwrap();
            for number in &layer.blobs {
                let info = BlobInfo { digest: digest(*number), size: 1000, media_type: String::new() };
                store.set_layer_blob(id, &number.to_string(), &info).unwrap();
            }
            if layer.recorded {
                let record = Record { layer: Some(id), value: vec![], created: 0 };
                store.put_record(&lease, &key(&format!("record {at}")), &record, false).unwrap();
            }
            ids.push(id);
        }
        let image_name = |at: usize| format!("image {at}");
        for (at, (built, layers, blobs)) in world.images.iter().enumerate() {
            let image = NewImage {
                target: "{}".into(),
                built: *built,
                blobs: blobs.iter().map(|number| digest(*number)).collect(),
                layers: layers.iter().map(|layer| ids[layer.index(ids.len())]).collect(),
            };
            store.set_image(&image_name(at), &image).unwrap();
        }
        drop((lease, store));

        // Somebody else is at work. All members are older than that.
        let v1 = root.join("v1/members");
        for path in list(&v1).iter().flat_map(|part| list(&v1.join(part)).into_iter().map(|name| v1.join(part).join(name)).collect::<Vec<_>>()) {
            let old = std::time::SystemTime::now() - std::time::Duration::from_hours(10);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        let user = Store::open(&root).unwrap();
        let lease = user.lease().unwrap();
        let pinned: Vec<LayerId> = world.pinned.iter().map(|layer| ids[layer.index(ids.len())]).collect();
        for id in &pinned {
            user.layer(&lease, *id).unwrap().unwrap();
        }
        for number in &world.pinned_blobs {
            user.blob(&digest(*number)).unwrap().unwrap();
        }

        // What is to be there afterwards.
        let mut wanted = There::default();
        let parents: BTreeMap<LayerId, Option<LayerId>> = ids.iter().enumerate().map(|(at, id)| {
            (*id, world.layers[at].parent.filter(|_| at > 0).map(|parent| ids[parent.index(at)]))
        }).collect();
        let mut held = pinned.clone();
        wanted.blobs.extend(world.pinned_blobs.iter().map(|number| digest(*number)));
        for (at, (built, layers, blobs)) in world.images.iter().enumerate() {
            if *built && !all {
                wanted.images.insert(image_name(at));
                held.extend(layers.iter().map(|layer| ids[layer.index(ids.len())]));
                wanted.blobs.extend(blobs.iter().map(|number| digest(*number)));
            }
        }
        while let Some(id) = held.pop() {
            if wanted.layers.insert(id) {
                let layer = &world.layers[ids.iter().position(|it| *it == id).unwrap()];
                wanted.trees.extend(layer.tree.then_some(id));
                wanted.members.extend(layer.members.iter().map(|number| member(*number)));
                wanted.blobs.extend(layer.blobs.iter().map(|number| digest(*number)));
                held.extend(parents[&id]);
            }
        }

        let store = Store::open(&root).unwrap();
        let before = store.disk_usage().unwrap();
        let sum = |records: &[rbx_store::UsageRecord]| -> u64 {
            records.iter().filter(|record| record.id != "store").map(|record| record.size).sum()
        };
        let built_images = if all { BuiltImages::Remove } else { BuiltImages::Keep };
        let mut removed = Vec::new();
        let collected = store
            .prune(&Policy { all, built_images, ..Policy::default() }, &|_| true, &mut |record| removed.push(record))
            .unwrap();
        prop_assert_eq!(There::of(&store), wanted);
        let after = store.disk_usage().unwrap();
        prop_assert_eq!(sum(&before) - sum(&after), collected.bytes);
        prop_assert_eq!(sum(&removed), collected.bytes);
        // What was to go has gone with the size that the list had, where nothing that stays shares its parts.
        for record in &removed {
            let listed = before.iter().find(|it| it.id == record.id).unwrap();
            prop_assert!(record.size <= listed.size, "{record:?} {listed:?}");
            prop_assert!(!listed.in_use);
        }
        prop_assert!(after.iter().all(|record| record.in_use || !all), "{:?}", after);
    }
}
