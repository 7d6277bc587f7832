//! 20,000 files of 377 MB, the same on every run.
//!
//! Names, directories and sizes come from a fixed sequence of numbers; the content is cut from the machine's own
//! libraries, headers and documents, so that it compresses as real files do.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A small file of the workload, which rows change.
pub(crate) const CHANGED: &str = "d000/changed.txt";

/// How many files there are, and how many bytes in all of them.
const FILES: usize = 20_000;
const BYTES: u64 = 377_000_000;
/// Files per directory, and directories per directory.
const FAN_OUT: usize = 40;
/// Changes when the workload does.
const RECIPE: &str = "workload 1";

/// Makes the workload unless it is there.
pub(crate) fn generate(directory: &Path) {
    let stamp = directory.with_extension("recipe");
    if fs::read_to_string(&stamp).is_ok_and(|recipe| recipe == RECIPE) {
        return;
    }
    let _ = fs::remove_dir_all(directory);
    write(directory).unwrap_or_else(|error| panic!("cannot make the workload: {error}"));
    fs::write(&stamp, RECIPE).expect("the recipe can be recorded");
}

fn write(directory: &Path) -> io::Result<()> {
    let sizes = sizes();
    let mut source = Source::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let (outer, inner) = (number / (FAN_OUT * FAN_OUT), number / FAN_OUT % FAN_OUT);
        let parent = directory.join(format!("d{outer:03}/d{inner:02}"));
        fs::create_dir_all(&parent)?;
        let mut file = File::create(parent.join(format!("file-{number:05}.dat")))?;
        source.copy(size, &mut file)?;
    }
    fs::write(directory.join(CHANGED), "as it was\n".repeat(300))
}

/// The size of every file: most are small, and most of the bytes are in few.
fn sizes() -> Vec<u64> {
    let mut numbers = Numbers(1);
    let mut sizes: Vec<u64> = (0..FILES - 1)
        .map(|_| match numbers.below(100) {
            0..50 => 200 + numbers.below(3_800),
            50..85 => 4_000 + numbers.below(16_000),
            85..98 => 20_000 + numbers.below(80_000),
            _ => 100_000 + numbers.below(400_000),
        })
        .collect();
    let total: u64 = sizes.iter().sum();
    for size in &mut sizes {
        *size = *size * BYTES / total;
    }
    sizes
}

/// `SplitMix64`: the same numbers for the same seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// The machine's files one after the other, in an order that mixes their kinds, over and over.
struct Source {
    files: Vec<PathBuf>,
    next: usize,
    open: Option<File>,
}

impl Source {
    fn new() -> Self {
        let mut files = Vec::new();
        let mut pending: Vec<PathBuf> =
            ["/usr/share", "/usr/lib", "/usr/include", "/usr/bin"].map(PathBuf::from).into();
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    pending.push(entry.path());
                } else if metadata.is_file() && (100..4_000_000).contains(&metadata.len()) {
                    files.push(entry.path());
                }
            }
        }
        assert!(!files.is_empty(), "the machine has files below /usr");
        // By the hash of the name: libraries, headers and documents alternate.
        files.sort_by_key(|path| {
            path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        });
        Self { files, next: 0, open: None }
    }

    /// Writes the next `size` bytes.
    fn copy(&mut self, size: u64, to: &mut impl Write) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            if self.open.is_none() {
                self.open = File::open(&self.files[self.next % self.files.len()]).ok();
                self.next += 1;
            }
            let Some(file) = &mut self.open else { continue };
            let copied = io::copy(&mut file.take(left), to)?;
            if copied < left {
                self.open = None;
            }
            left -= copied;
        }
        Ok(())
    }
}
