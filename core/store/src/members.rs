//! Members: compressed pieces of layer archives, under a key of what they hold and how it is compressed.
//!
//! There are hundreds to a layer, so they are not in the database one by one: a layer's list of them is
//! ([`Store::set_layer_members`]). Collection leaves a member on no layer's list alone while it is younger than the
//! oldest lease, by its modification time, which look-ups bring up to date.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::blobs::Temporary;
use crate::store::Inner;
use crate::{Key, Store, StoreError};

/// What follows the member in its file: the first half of the member's BLAKE3, its length, and [`MAGIC`]. Files are
/// not synced one by one, so after a power failure there may be short ones.
const TRAILER: usize = 32;
const MAGIC: &[u8; 8] = b"rbxmemb1";

/// A member's modification time is brought up to date when it is this old, so collection allows for it.
pub(crate) const MEMBER_AGE: Duration = Duration::from_mins(10);

impl Store {
    /// Reads a member. A damaged one counts as missing.
    pub fn member(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.session()?;
        let path = self.inner.member_path(key);
        let Some((mut file, size)) = open(&path)? else { return Ok(None) };
        let Some(capacity) = size.checked_add(TRAILER as u64).and_then(|length| usize::try_from(length).ok())
        else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(capacity);
        let read = (&mut file).take(capacity as u64).read_to_end(&mut bytes);
        read.map_err(|source| StoreError::io("cannot read", &path, source))?;
        let payload = bytes.len().saturating_sub(TRAILER);
        if bytes.len() != capacity || trailer(&bytes[..payload]) != bytes[payload..] {
            tracing::warn!(path = %path.display(), "a damaged member counts as missing");
            // So that it is written anew.
            let _ = std::fs::remove_file(&path);
            return Ok(None);
        }
        bytes.truncate(payload);
        Ok(Some(bytes))
    }

    /// The size of a member, if it is there. It is not collected while this store is open, or while a lease that was
    /// taken before is alive.
    pub fn member_size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.inner.session()?;
        Ok(open(&self.inner.member_path(key))?.map(|(_, size)| size))
    }

    /// Stores a member. If there is one under this key, that one stays: equal keys mean equal bytes.
    pub fn put_member(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.inner.member_path(key);
        if open(&path)?.is_some() {
            return Ok(());
        }
        let temporary = Temporary::new(&self.inner)?;
        let write = || {
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
            let mut file = options.open(&temporary.path)?;
            file.write_all(bytes)?;
            file.write_all(&trailer(bytes))
        };
        write().map_err(|source| StoreError::io("cannot write", &temporary.path, source))?;
        self.inner.count(bytes.len() as u64);
        let Err(error) = temporary.rename(&path) else { return Ok(()) };
        // The directory is made when the first member needs it.
        let directory = path.parent().unwrap_or(&path);
        match std::fs::create_dir(directory) {
            Ok(()) => temporary.rename(&path),
            Err(exists) if exists.kind() == ErrorKind::AlreadyExists => {
                temporary.rename(&path).or(Err(error))
            }
            Err(source) => Err(StoreError::io("cannot create", directory, source)),
        }
    }
}

impl Inner {
    pub(crate) fn member_path(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        let mut path = PathBuf::with_capacity(self.v1.as_os_str().len() + 80);
        path.push(&self.v1);
        path.push("members");
        path.push(&name[..2]);
        path.push(&name);
        path
    }
}

/// Opens a member whose trailer fits its file, and brings its modification time up to date.
fn open(path: &Path) -> Result<Option<(File, u64)>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("cannot open", path, error)),
    };
    let examine = || -> io::Result<Option<u64>> {
        let metadata = file.metadata()?;
        let Some(size) = metadata.len().checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut end = [0; 16];
        file.read_exact_at(&mut end, size + 16)?;
        if end[..8] != size.to_le_bytes() || end[8..] != *MAGIC {
            return Ok(None);
        }
        let now = SystemTime::now();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.mtime().try_into().unwrap_or(0));
        if now.duration_since(modified).is_ok_and(|age| age > MEMBER_AGE / 2) {
            file.set_modified(now)?;
        }
        Ok(Some(size))
    };
    let size = examine().map_err(|source| StoreError::io("cannot examine", path, source))?;
    if size.is_none() {
        tracing::warn!(path = %path.display(), "a damaged member counts as missing");
    }
    Ok(size.map(|size| (file, size)))
}

fn trailer(bytes: &[u8]) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..16].copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    trailer[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    trailer[24..].copy_from_slice(MAGIC);
    trailer
}
