//! Several processes on one store, some of which are killed.
//!
//! The child processes are this test binary again, running one ignored test that takes its orders from its standard
//! input.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rbx_oci::Digest;
use rbx_store::{NewLayer, Policy, Record, Store};

use crate::{index, key, list, names, new_store, put_layer};

pub(crate) struct Helper {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts a child process on a store.
    pub(crate) fn start(test: &str, root: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{}", root.display()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Waits until the child says `word`.
    pub(crate) fn expect(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the child ended before it said {word}");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn say(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The next order; none where this is run by hand.
pub(crate) fn order() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

pub(crate) fn child_store() -> Option<Store> {
    Some(Store::open(Path::new(&order()?)).unwrap())
}

/// Numbers that look random and are the same in every run.
fn pseudo_random(seed: u64) -> u64 {
    let bytes = blake3::hash(&seed.to_le_bytes());
    u64::from_le_bytes(bytes.as_bytes()[..8].try_into().unwrap())
}

#[test]
#[ignore = "a child process of a_killed_process_leaves_nothing_half_done"]
fn child_writes_until_killed() {
    let Some(store) = child_store() else { return };
    println!("started");
    for round in 0_u64.. {
        let number = pseudo_random(u64::from(std::process::id()) << 32 | round);
        let text = format!("{number}");
        let lease = store.lease().unwrap();
        let content = text.repeat(usize::try_from(number % 3000).unwrap());
        let mut writer = store.blob_writer().unwrap();
        for part in content.as_bytes().chunks(1000) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        let blob = writer.commit(None).unwrap();
        store.put_member(&key(&text), content.as_bytes()).unwrap();
        let tree = store.new_tree().unwrap();
        for name in 0..number % 7 {
            fs::write(tree.fs().join(name.to_string()), &text).unwrap();
        }
        fs::write(tree.fs().join("file"), &text).unwrap();
        let new = NewLayer {
            parent: None,
            index: index(&text),
            tree: Some(tree),
            created: 1,
            description: String::new(),
        };
        let base = store.put_layer(&lease, new).unwrap();
        let layer = put_layer(&store, &lease, Some(base), &content);
        let tree = store.new_tree().unwrap();
        fs::write(tree.fs().join("file"), &content).unwrap();
        store.commit_tree(&lease, layer, tree).unwrap();
        store.set_layer_members(layer, "gzip-3", &[key(&text)]).unwrap();
        let record = Record { layer: Some(layer), value: blob.to_string().into_bytes(), created: 1 };
        store.put_record(&lease, &key(&format!("record {}", number % 50)), &record, true).unwrap();
        if round % 10 == 9 {
            store.collect(&Policy { max_used_space: 1 << 20, ..Policy::default() }).unwrap();
        }
    }
}

/// Checks everything that a store says it has; answers how much that is.
fn verify(store: &Store) -> i64 {
    assert_eq!(store.check().unwrap().damaged, [] as [String; 0]);
    let count = "SELECT (SELECT count(*) FROM blobs) + (SELECT count(*) FROM layers)";
    crate::database(store).query_row(count, (), |row| row.get(0)).unwrap()
}

#[test]
fn a_killed_process_leaves_nothing_half_done() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    drop(store);
    let mut most = 0;
    for round in 0..20 {
        // Two at once: one is killed while the other goes on.
        let mut children = [
            Helper::start("processes::child_writes_until_killed", &root),
            Helper::start("processes::child_writes_until_killed", &root),
        ];
        for child in &mut children {
            child.expect("started");
        }
        std::thread::sleep(Duration::from_micros(20_000 + pseudo_random(round) % 130_000));
        let [first, second] = children;
        first.kill();
        let store = Store::open(&root).unwrap();
        drop(store);
        second.kill();

        let store = Store::open(&root).unwrap();
        assert_eq!(names(&store, "leases"), Vec::<String>::new(), "round {round}");
        assert_eq!(names(&store, "tmp"), Vec::<String>::new(), "round {round}");
        let pins = crate::database(&store).query_row("SELECT count(*) FROM pins", (), |row| row.get(0));
        assert_eq!(pins, Ok(0), "round {round}");
        most = most.max(verify(&store));
        drop(store);
        let store = Store::open(&root).unwrap();
        store.collect(&Policy { max_used_space: 4 << 20, ..Policy::default() }).unwrap();
        verify(&store);
        // After collection, what has a name has a record.
        assert_eq!(store.check().unwrap().left, [] as [String; 0]);
    }
    assert!(most > 20, "the children wrote hardly anything: {most}");
}

#[test]
#[ignore = "a child process of two_processes_agree_on_the_first_record"]
fn child_records() {
    let Some(store) = child_store() else { return };
    let lease = store.lease().unwrap();
    println!("ready");
    let Some(name) = order() else { return };
    for number in 0..200 {
        let layer = put_layer(&store, &lease, None, &name);
        let record = Record { layer: Some(layer), value: name.clone().into_bytes(), created: 0 };
        let recorded = store.put_record(&lease, &key(&number.to_string()), &record, false).unwrap();
        // Its layer is there for whoever lost, too.
        store.layer_index(recorded.layer.unwrap()).unwrap();
        println!("recorded {}", recorded.layer.unwrap());
    }
    println!("done");
}

#[test]
fn two_processes_agree_on_the_first_record() {
    let (_directory, store) = new_store();
    let mut children = [
        Helper::start("processes::child_records", store.root()),
        Helper::start("processes::child_records", store.root()),
    ];
    for child in &mut children {
        child.expect("ready");
    }
    for (child, name) in children.iter_mut().zip(["one", "other"]) {
        child.say(name);
    }
    let [one, other] = children.map(|mut child| {
        let recorded: Vec<String> = (0..200).map(|_| child.expect("recorded ")).collect();
        child.expect("done");
        assert!(child.child.wait().unwrap().success());
        recorded
    });
    assert_eq!(one, other);
    let lease = store.lease().unwrap();
    let winners: BTreeSet<Vec<u8>> = (0..200)
        .map(|number| store.record(&lease, &key(&number.to_string())).unwrap().unwrap().value)
        .collect();
    assert!(winners.len() <= 2 && !winners.is_empty());
}

#[test]
#[ignore = "a child process of a_lease_of_another_process_holds"]
fn child_holds_a_lease() {
    let Some(store) = child_store() else { return };
    let lease = store.lease().unwrap();
    let record = store.record(&lease, &key("a")).unwrap().unwrap();
    store.layer_index(record.layer.unwrap()).unwrap();
    store.blob(&Digest::sha256_of(b"held")).unwrap().unwrap();
    let temp = store.temp_dir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    println!("holding");
    // Until it is killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_lease_of_another_process_holds() {
    let (_directory, store) = new_store();
    let root = store.root().to_owned();
    let lease = store.lease().unwrap();
    let layer = put_layer(&store, &lease, None, "x");
    let record = Record { layer: Some(layer), value: vec![], created: 0 };
    store.put_record(&lease, &key("a"), &record, false).unwrap();
    put_layer(&store, &lease, None, "not held");
    store.put_blob(b"held").unwrap();
    store.put_blob(b"not held").unwrap();
    drop((lease, store));

    let mut child = Helper::start("processes::child_holds_a_lease", &root);
    child.expect("holding");
    let store = Store::open(&root).unwrap();
    let collected = store.collect(&Policy::default()).unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 1));
    assert_eq!(names(&store, "layers"), [layer.to_string()]);
    assert_eq!(names(&store, "tmp").len(), 1);
    child.kill();
    let collected = store.collect(&Policy::default()).unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 1));
    assert!(names(&store, "tmp").is_empty() && names(&store, "layers").is_empty());
    drop(store);
    assert!(list(&root.join("v1/leases")).is_empty());
}
