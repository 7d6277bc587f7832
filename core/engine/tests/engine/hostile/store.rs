//! Stores whose files are damaged: what is damaged counts as missing, or is an error that says what to do.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use rbx_engine::BuildError;

use super::sound;
use crate::fixture::{Fixture, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "hostile::damaged_files_of_a_store_count_as_missing",
            damaged_files_of_a_store_count_as_missing,
        ),
        trial("hostile::a_damaged_database_names_the_remedy", a_damaged_database_names_the_remedy),
    ]
}

/// All regular files below a directory of the store.
fn files(fixture: &Fixture, directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![fixture.directory.path().join("store/v1").join(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

/// Builds until nothing damaged is met any more: what cannot be made of what is left is said, layer by layer.
fn mended<T>(what: &str, mut build: impl FnMut() -> Result<T, BuildError>) -> T {
    for _ in 0..20 {
        match build() {
            Ok(built) => return built,
            Err(error) => {
                let told = error.to_string() + error.hint.as_deref().unwrap_or_default();
                assert!(told.contains("made anew"), "{what}: {told}");
            }
        }
    }
    panic!("{what}: the damage stays");
}

fn damaged_files_of_a_store_count_as_missing(fixture: &mut Fixture) {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("cut", |path| {
            let file = fs::File::options().write(true).open(path).expect("a file");
            file.set_len(file.metadata().expect("its length").len() / 2).expect("a cut");
        }),
        ("emptied", |path| fs::write(path, "").expect("a file")),
        ("overwritten", |path| {
            let length = fs::metadata(path).expect("its length").len();
            fs::write(path, vec![b'x'; usize::try_from(length).expect("small")]).expect("a file");
        }),
        ("removed", |path| fs::remove_file(path).expect("a file")),
    ];
    fixture.busybox();
    for number in 0..30 {
        fixture.write(&format!("d/f{number}"), &format!("{number} ").repeat(5_000));
    }
    fixture.write("large", &"content ".repeat(1 << 18));
    fixture.request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "1600000000".to_owned());
    fixture.dockerfile(
        "FROM scratch\nCOPY busybox /bin/\nCOPY d /d\nCOPY large /\nRUN [\"/bin/busybox\", \"cp\", \"/large\", \"/l\"]\n",
    );
    let (expected, _) = fixture.archive().expect("an archive");
    for directory in ["blobs", "members", "layers", "stat"] {
        for (how, damage) in &damages {
            let all = files(fixture, directory);
            assert!(!all.is_empty(), "{directory}");
            for path in &all {
                damage(path);
            }
            // The archive that is there would be found to be right already.
            fs::remove_file(fixture.directory.path().join("image.tar")).expect("the archive");
            let what = format!("{directory} {how}");
            let (result, _) = mended(&what, || fixture.archive());
            assert_eq!(result.config_digest.is_some(), expected.config_digest.is_some());
            let built = mended(&what, || fixture.build());
            assert_eq!(built.text("large"), "content ".repeat(1 << 18), "{what}");
            assert_eq!(built.text("l"), "content ".repeat(1 << 18), "{what}");
            assert_eq!(built.text("d/f7"), "7 ".repeat(5_000), "{what}");
        }
    }
    sound(fixture);
}

fn a_damaged_database_names_the_remedy(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\n");
    fixture.build().expect("a build");
    let v1 = fixture.directory.path().join("store/v1");
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        fs::write(v1.join(name), "no database, but text ".repeat(1000)).expect("a file");
    }
    let error = fixture.open().expect_err("an error");
    assert_eq!(
        error.to_string(),
        format!("file is not a database: cannot use the store's database {}", v1.join("store.db").display())
    );
    let remedy = format!("all that the store holds can be made again: remove {}", v1.display());
    assert_eq!(error.hint.as_deref(), Some(&*remedy));
    fs::remove_dir_all(v1).expect("the store");
    sound(fixture);
}
