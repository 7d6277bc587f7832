//! Every fuzz target on its seeds and on mutations of them, the same ones each time: what a fuzzer found stays found,
//! and a new mistake near a seed is seen without one.
#![expect(clippy::unwrap_used, reason = "the lint lets only functions marked as tests, not their helpers")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Pieces that mean something to one target or another.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\n",
    b"\\\n",
    b"\"",
    b"'",
    b"${A:-",
    b"}",
    b"$A",
    b"**/",
    b"[a-",
    b"!",
    b"<<E\n",
    b"\nE\n",
    b"FROM a\n",
    b"RUN --mount=",
    b"ONBUILD ",
    b"../",
    b".wh.",
    b"ustar",
    b"77777777777",
    b"\xef\xbb\xbf",
    "é".as_bytes(),
    b"[[[[[[[[",
];

/// Numbers that are the same in every run: `SplitMix64`.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % limit.max(1) as u64).unwrap()
    }
}

fn mutate(numbers: &mut Numbers, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(data.len());
        let end = at + numbers.below(data.len() - at + 1).min(64);
        match numbers.below(7) {
            0 if !data.is_empty() => data[at] ^= 1 << numbers.below(8),
            1 if !data.is_empty() => data[at] = u8::try_from(numbers.below(256)).unwrap(),
            2 => drop(data.drain(at..end)),
            3 => data.extend_from_within(at..end),
            4 => data.truncate(at),
            5 => drop(data.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
            _ => {
                let from = numbers.below(other.len());
                let piece = &other[from..];
                data.splice(at.., piece.iter().copied());
            }
        }
    }
    data
}

/// Runs a target on each of its seeds, and on `mutations` of them in all.
fn check(target: &str, mutations: usize) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    // Where the target fails, the input is kept.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
    let holds = |data: &[u8]| {
        let outcome = catch_unwind(|| rbx_fuzz::run(target, data));
        outcome.is_ok() || fs::write(&kept, data).is_err()
    };
    let broken: Vec<&str> =
        seeds.iter().filter(|(_, seed)| !holds(seed)).map(|(name, _)| name.as_str()).collect();
    assert!(broken.is_empty(), "{target} fails on {broken:?}");
    let mut numbers = Numbers(1);
    for _ in 0..mutations {
        let (name, seed) = &seeds[numbers.below(seeds.len())];
        let (_, other) = &seeds[numbers.below(seeds.len())];
        let mutation = mutate(&mut numbers, seed, other);
        assert!(holds(&mutation), "{target} fails on a mutation of {name}, now in {}", kept.display());
    }
}

/// The seeds of a target by name. Those of the parser are in its crate, too: whole Dockerfiles.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories = vec![here.join("seeds").join(target)];
    if matches!(target, "parser" | "format") {
        directories.push(here.join("../../core/dockerfile/tests/corpus"));
    }
    let files = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let mut seeds: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_target_is_tested() {
    let names: Vec<&str> = rbx_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    let tested = [
        "parser",
        "expansion",
        "format",
        "ignore",
        "archives",
        "layers",
        "lint",
        "documents",
        "editor",
        "emulation",
        "builders",
        "daemons",
        "requests",
        "store",
        "transfers",
    ];
    assert_eq!(names, tested);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in names {
        assert!(here.join(format!("libfuzzer/targets/{name}.rs")).is_file(), "{name} has no fuzzer");
    }
}

#[test]
fn parser() {
    check("parser", 600);
}

#[test]
fn expansion() {
    check("expansion", 2000);
}

#[test]
fn format() {
    check("format", 500);
}

#[test]
fn ignore() {
    check("ignore", 1000);
}

#[test]
fn archives() {
    check("archives", 1000);
}

#[test]
fn layers() {
    check("layers", 600);
}

#[test]
fn lint() {
    check("lint", 500);
}

#[test]
fn documents() {
    check("documents", 2000);
}

#[test]
fn editor() {
    check("editor", 400);
}

#[test]
fn emulation() {
    check("emulation", 3000);
}

#[test]
fn builders() {
    check("builders", 3000);
}

#[test]
fn daemons() {
    check("daemons", 3000);
}

#[test]
fn requests() {
    check("requests", 3000);
}

#[test]
fn store() {
    check("store", 500);
}

#[test]
fn transfers() {
    check("transfers", 1000);
}
