//! The caches that a step mounts.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rbx_store::{Cache, CacheUse, Key, LayerId, PreparedCache};
use rustix::fs::{Gid, Uid};

use crate::error::{BuildError, LayerError};
use crate::layer::lay_out;
use crate::plan::{CacheMount, RunMount, RunMountKind, RunOperation};
use crate::progress::{Part, Task};
use crate::solve::Solver;
use crate::tree::Node;

/// The directory of a source that a cache with an owner or a mode shows, as BuildKit has it.
const OWNED: &[u8] = b"cache";
/// Time until a step says that it waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Times between two tries to get a cache that is in use: they double up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(80);

/// Caches in use, by what identifies them: one that is mounted twice is there once.
pub(super) type Caches = BTreeMap<Key, Cache>;

/// What identifies a cache: its id, what it began with, and whom it belonged to at first.
pub(super) fn key(mount: &CacheMount, layers: &[LayerId]) -> Key {
    let mut hasher = Key::hasher("cache");
    hasher.field(&mount.id);
    super::super::hash_layers(&mut hasher, layers);
    if let Some(owner) = &mount.owner {
        hasher.field("owner");
        hasher.number(owner.mode.into()).number(owner.uid.into()).number(owner.gid.into());
    }
    hasher.finish()
}

impl Solver {
    /// Takes the caches of a step into use. Those that are used by others alone are waited for.
    pub(super) fn caches(
        &self,
        run: &RunOperation,
        mounts: &[(&RunMount, &[LayerId])],
        task: &Task,
    ) -> Result<Caches, BuildError> {
        let mut wanted = BTreeMap::new();
        for (mount, layers) in mounts {
            if let RunMountKind::Cache(cache) = &mount.kind {
                wanted.entry(key(cache, layers)).or_insert((&mount.target, cache, *layers));
            }
        }
        // In the order of their keys: so no two steps wait for what the other one has.
        let mut caches = Caches::new();
        for (key, (target, mount, layers)) in wanted {
            let command = run.args.join(" ");
            let description =
                format!("cached mount {target} from exec {command} with id {}", quoted(&mount.id));
            let wait = format!("waiting for the cache at {target}, which another step uses");
            caches.insert(key, self.cache(&key, mount, layers, &description, task, &wait)?);
        }
        Ok(caches)
    }

    fn cache(
        &self,
        key: &Key,
        mount: &CacheMount,
        layers: &[LayerId],
        description: &str,
        task: &Task,
        wait: &str,
    ) -> Result<Cache, BuildError> {
        let began = Instant::now();
        let mut pause = FIRST_WAIT;
        let mut waiting: Option<Part> = None;
        loop {
            self.cancel.check()?;
            let found = match self.store.use_cache(key, mount.sharing)? {
                CacheUse::Make => {
                    let prepared = self.new_cache(mount, layers)?;
                    self.store.add_cache(key, mount.sharing, description, prepared)?
                }
                found => found,
            };
            if let CacheUse::Ready(cache) = found {
                if let Some(waiting) = waiting {
                    waiting.done();
                }
                return Ok(cache);
            }
            if waiting.is_none() && began.elapsed() >= PATIENCE {
                waiting = Some(task.part(wait, 0));
            }
            std::thread::sleep(pause);
            pause = LONGEST_WAIT.min(pause * 2);
        }
    }

    /// A cache with what it begins with. It is copied: two steps that share a cache have one directory, and two
    /// overlays over one upper directory would be undefined.
    fn new_cache(&self, mount: &CacheMount, layers: &[LayerId]) -> Result<PreparedCache, BuildError> {
        let prepared = self.store.new_cache()?;
        let directory = prepared.fs();
        let tree = self.readable(layers)?;
        let ids = self.store.id_map();
        match &mount.owner {
            None => lay_out(&tree, b"", &ids, directory)?,
            Some(_) if tree.get(OWNED).is_some_and(Node::is_directory) => {
                lay_out(&tree, OWNED, &ids, directory)?;
            }
            Some(owner) => {
                own(directory, ids.user_or_root(owner.uid), ids.group_or_root(owner.gid), owner.mode)
                    .map_err(|error| BuildError::from(LayerError::write(OWNED, error)))?;
            }
        }
        Ok(prepared)
    }
}

fn own(directory: &Path, uid: u32, gid: u32, mode: u32) -> std::io::Result<()> {
    rustix::fs::chown(directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode & 0o7777))
}

/// A text in quotes, as Go's `%q` has those that need no escapes.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
