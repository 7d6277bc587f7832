//! Secrets of this user's, one for each registry, in the file that all clients of `BuildKit` share.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

const FILE: &str = ".token_seed";
const LOCK_FILE: &str = ".token_seed.lock";
/// Bytes of a new seed.
const LENGTH: usize = 16;
/// Bytes of the file that are read.
const LONGEST: u64 = 1 << 20;
/// How long another client may take to write the file.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// The seeds of a directory. What is wrong with the files costs no more than that tokens are fetched anew.
pub(super) struct Seeds {
    directory: PathBuf,
    known: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl fmt::Debug for Seeds {
    // A seed never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seeds").field(&self.directory).finish()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    seed: String,
}

impl Seeds {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, known: Mutex::default() }
    }

    /// The seed of a host, which is made if there is none. Blocks on files.
    pub(super) fn get(&self, host: &str) -> Vec<u8> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seed) = known.get(host) {
            return seed.clone();
        }
        let seed = self.kept(host).unwrap_or_else(|error| {
            tracing::debug!("{error}: seeds are kept in memory only: {}", self.directory.display());
            new_seed()
        });
        known.insert(host.to_owned(), seed.clone());
        seed
    }

    fn kept(&self, host: &str) -> io::Result<Vec<u8>> {
        fs::create_dir_all(&self.directory)?;
        // The lock ends with the handle.
        let _lock = self.lock()?;
        let path = self.directory.join(FILE);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => drop(file.take(LONGEST).read_to_end(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // A client that was killed may have left half a file: then all are made anew.
        let mut seeds: BTreeMap<String, Entry> = serde_json::from_slice(&text).unwrap_or_default();
        let found = seeds.get(host).and_then(|entry| STANDARD.decode(&entry.seed).ok());
        if let Some(seed) = found.filter(|seed| !seed.is_empty()) {
            return Ok(seed);
        }
        let seed = new_seed();
        seeds.insert(host.to_owned(), Entry { seed: STANDARD.encode(&seed) });
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&serde_json::to_vec_pretty(&seeds)?)?;
        file.persist(&path)?;
        Ok(seed)
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.directory.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

fn new_seed() -> Vec<u8> {
    let mut seed = vec![0; LENGTH];
    SystemRandom::new().fill(&mut seed).expect("the system has random bytes");
    seed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_file_is_the_one_that_buildx_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let theirs = "{\n  \"ghcr.io\": {\n    \"Seed\": \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n  }\n}";
        fs::write(&path, theirs).unwrap();
        let seeds = Seeds::new(folder.path().to_owned());
        assert_eq!(seeds.get("ghcr.io"), b"0123456789abcdef");
        assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
        let new = seeds.get("docker.io");
        assert_eq!(new.len(), LENGTH);
        let ours = format!(
            "{{\n  \"docker.io\": {{\n    \"Seed\": \"{}\"\n  }},\n{}",
            STANDARD.encode(&new),
            &theirs[2..]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), ours);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{seeds:?}").contains("0123"));

        // Half a file is no reason to fail.
        fs::write(&path, &ours[..40]).unwrap();
        assert_eq!(Seeds::new(folder.path().to_owned()).get("ghcr.io").len(), LENGTH);
    }

    #[test]
    fn all_that_ask_at_once_get_one_answer() {
        let folder = tempfile::tempdir().unwrap();
        let asked: Vec<_> = (0..8)
            .map(|n| {
                let seeds = Seeds::new(folder.path().join("new"));
                std::thread::spawn(move || (seeds.get("a"), seeds.get(&format!("b{n}"))))
            })
            .collect();
        let got: Vec<_> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(got.iter().all(|(seed, _)| *seed == got[0].0));
        let again = Seeds::new(folder.path().join("new"));
        for (n, (_, seed)) in got.iter().enumerate() {
            assert_eq!(again.get(&format!("b{n}")), *seed);
        }
    }

    #[test]
    fn where_nothing_can_be_written_a_seed_lasts_as_long_as_the_session() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let seeds = Arc::new(Seeds::new(file.join("none")));
        assert_eq!(seeds.get("a"), seeds.get("a"));
        assert_ne!(seeds.get("a"), seeds.get("b"));
    }
}
