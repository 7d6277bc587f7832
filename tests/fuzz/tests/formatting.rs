//! Formatting keeps what Dockerfiles mean: those of the corpus, of the language's snippets and of the rules.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_dockerfile_of_the_corpus_means_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut count = 0;
    let mut check = |text: &str| {
        rbx_fuzz::run("format", text.as_bytes());
        count += 1;
    };
    for path in files(&root.join("tests/corpus")) {
        if path.file_name().is_some_and(|name| name == "Dockerfile") {
            check(&String::from_utf8_lossy(&fs::read(path).unwrap()));
        }
    }
    for directory in ["tests/language", "core/lint/rules", "core/lint/tests/rules"] {
        for path in files(&root.join(directory)) {
            let text = fs::read_to_string(path).unwrap().replace('␍', "\r").replace('␉', "\t");
            for block in text.split("\n```dockerfile\n").skip(1) {
                check(&format!("{}\n", block.split("\n```").next().unwrap_or_default()));
            }
        }
    }
    assert!(count > 1500, "{count} Dockerfiles");
}
