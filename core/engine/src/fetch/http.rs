//! Files over HTTP.
//!
//! A file is known by its digest. Whether the one at an address is still the one at hand is for the server to say, by
//! its `ETag`; a time alone says too little, so a file without one is fetched each time. With `--checksum` nobody is
//! asked for what is here.

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use rbx_oci::{Digest, Entry, EntryKind};
use rbx_source::{Authorization, HttpAnswer, redacted};
use rbx_store::{IndexEntry, Key, KeyHasher, LayerIndex, PreparedTree, Record, Store, UsageType};
use serde_json::{Value, json};

use super::{Fetched, Fetcher, blocking, is_name};
use crate::error::BuildError;
use crate::layer::{file_digest, hash_chunks, remember_chunks};
use crate::progress::Task;

/// Mode of files that come over HTTP, as in BuildKit.
const MODE: u32 = 0o600;

/// A file at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpSource {
    pub(crate) url: String,
    /// What the file is called.
    pub(crate) name: String,
    pub(crate) checksum: Option<Digest>,
}

/// What is known of the file at an address.
struct Known {
    etag: String,
    digest: Digest,
}

impl HttpSource {
    pub(super) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("http").field(&self.url).field(&self.name);
        hasher.field(self.checksum.map(|digest| digest.to_string()).unwrap_or_default());
    }

    /// The key of what the server last said.
    fn address_key(&self) -> Key {
        let mut hasher = Key::hasher("http address");
        hasher.field(redacted(&self.url)).field(&self.name);
        hasher.finish()
    }

    /// The key of the file.
    fn content_key(&self, digest: &Digest) -> Key {
        let mut hasher = Key::hasher("http content");
        hasher.field(redacted(&self.url)).field(&self.name).field(digest.to_string());
        hasher.finish()
    }

    fn check(&self, found: &Digest) -> Result<(), BuildError> {
        match &self.checksum {
            Some(wanted) if wanted != found => {
                Err(BuildError::invalid(format!("digest mismatch {found}: {wanted}")))
            }
            _ => Ok(()),
        }
    }
}

impl Known {
    fn of(record: &Record) -> Option<Self> {
        let value: Value = serde_json::from_slice(&record.value).ok()?;
        let etag = value.get("etag")?.as_str()?.to_owned();
        Some(Self { etag, digest: Digest::parse(value.get("digest")?.as_str()?).ok()? })
    }
}

impl Fetcher {
    pub(super) async fn http(&self, source: &HttpSource, task: &Task) -> Result<Fetched, BuildError> {
        if !is_name(&source.name) {
            return Err(BuildError::invalid(format!(
                "invalid file name {:?}: {}",
                source.name,
                redacted(&source.url)
            )));
        }
        if let Some(found) = self.pinned(source)? {
            return Ok(found);
        }
        let address_key = source.address_key();
        let known = self.store.record(&self.lease, &address_key)?.as_ref().and_then(Known::of);
        let at_hand = match &known {
            Some(known) => self.find(&source.content_key(&known.digest))?,
            None => None,
        };
        let etag = known.as_ref().filter(|_| at_hand.is_some()).map(|known| known.etag.as_str());
        let answer = self.http.get(&source.url, etag, self.authorization(&source.url).as_ref()).await?;
        let file = match answer {
            HttpAnswer::Same => {
                let (Some(known), Some(found)) = (&known, at_hand) else {
                    return Err(BuildError::failed("invalid not-modified ETag"));
                };
                source.check(&known.digest)?;
                return Ok(found);
            }
            HttpAnswer::File(file) => file,
        };
        let (etag, modified) = (file.etag.clone(), file.modified.unwrap_or(0));
        let part = task.part(&source.name, file.length.unwrap_or(0));
        let tree = self.store.new_tree()?;
        let path = tree.fs().join(&source.name);
        let created = File::options().write(true).create_new(true).open(&path);
        let out = created
            .map_err(|error| BuildError::failed(format!("{error}: failed to create {}", path.display())))?;
        let saved = file.save(out, |length| part.advance(length)).await?;
        part.done();
        source.check(&saved.digest)?;
        let key = source.content_key(&saved.digest);
        let kept = if let Some(found) = self.find(&key)? {
            found
        } else {
            let (store, name, size) = (self.store.clone(), source.name.clone(), saved.size);
            let settled = blocking(move || Ok((settle(&store, &tree, &name, size, modified)?, tree)));
            let (index, tree) = settled.await?;
            self.keep(&key, tree, index, format!("http url {}", redacted(&source.url)), UsageType::Regular)?
        };
        if let Some(etag) = etag {
            let value = json!({ "etag": etag, "digest": saved.digest.to_string() });
            let value = value.to_string().into_bytes();
            let record = Record { layer: Some(kept.layer), value, created: kept.created };
            self.store.put_record(&self.lease, &address_key, &record, true)?;
        } else {
            self.store.remove_record(&address_key)?;
        }
        Ok(kept)
    }

    /// The file of the digest that it must have, if there is one and the file is here: no server is asked.
    pub(crate) fn pinned(&self, source: &HttpSource) -> Result<Option<Fetched>, BuildError> {
        match &source.checksum {
            Some(checksum) => self.find(&source.content_key(checksum)),
            None => Ok(None),
        }
    }

    /// What the secrets of the build have for a server.
    fn authorization(&self, url: &str) -> Option<Authorization> {
        let (_, rest) = url.split_once("://")?;
        let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let token = self.secret(&format!("HTTP_AUTH_TOKEN_{name}")).and_then(Authorization::token);
        token.or_else(|| self.secret(&format!("HTTP_AUTH_HEADER_{name}")).and_then(Authorization::header))
    }
}

/// Gives a fetched file its mode and time, and lists it with its digest.
fn settle(
    store: &Store,
    tree: &PreparedTree,
    name: &str,
    size: u64,
    modified: i64,
) -> Result<LayerIndex, BuildError> {
    let path = tree.fs().join(name);
    let failed = |error: io::Error| BuildError::failed(format!("{error}: failed to read {}", path.display()));
    let file = File::open(&path).map_err(failed)?;
    let chunks = hash_chunks(&file, size, &mut Vec::new()).map_err(failed)?;
    remember_chunks(store, &chunks)?;
    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or(0));
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time)).map_err(failed)?;
    let entry = Entry { mode: MODE, mtime: modified, ..Entry::new(name, EntryKind::File { size }) };
    Ok(LayerIndex { entries: vec![IndexEntry { entry, content: Some(file_digest(&chunks)) }] })
}
