//! Git repositories.
//!
//! The commit is found out first; what a commit held is known for good. Objects are fetched into one bare repository
//! for each remote, which is a cache of the store's: one build at a time uses it, it shows in `du`, and without it
//! the objects are fetched again.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rbx_source::{Checkout, GitAccess, GitAddress, GitCommit, SourceError, SshAccess};
use rbx_store::{Cache, CacheSharing, CacheUse, Key, KeyHasher, LayerIndex, UsageType};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::{Fetched, Fetcher, blocking};
use crate::error::BuildError;
use crate::layer::scan_upper;
use crate::progress::Task;

/// How long to wait before asking again for a repository that another build uses.
const WAIT: Duration = Duration::from_millis(50);
/// The id of `--ssh` that repositories are opened with.
const SSH_ID: &str = "default";

/// What of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitSource {
    pub(crate) address: GitAddress,
    pub(crate) keep_git_dir: bool,
}

impl GitSource {
    pub(super) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("git").field(format!("{self:?}"));
    }

    /// The key of the files of a commit.
    fn commit_key(&self, commit: &GitCommit) -> Key {
        let mut hasher = Key::hasher("git commit");
        let address = &self.address;
        // An annotated tag means its commit, unless the tag is kept in `.git`.
        let keep = self.keep_git_dir && address.directory.is_none();
        let (object, name) = match &commit.peeled {
            _ if keep => (&commit.object, commit.reference.as_str()),
            Some(peeled) => (peeled, ""),
            None => (&commit.object, ""),
        };
        hasher.field(address.shown()).field(object).field(name).number(u64::from(keep));
        hasher.field(address.directory.as_deref().unwrap_or_default());
        hasher.number(u64::from(address.submodules != Some(false)));
        hasher.number(u64::from(address.commit_times));
        hasher.finish()
    }
}

impl Fetcher {
    pub(super) async fn git(&self, source: &GitSource, task: &Task) -> Result<Fetched, BuildError> {
        let address = &source.address;
        let access = self.git_access(address)?;
        let scratch = self.store.temp_dir()?;
        let commit = self.git.resolve(address, &access, scratch.path()).await?;
        let key = source.commit_key(&commit);
        if let Some(found) = self.find(&key)? {
            return Ok(found);
        }
        let part = task.part(&format!("fetching {}", commit.object), 0);
        let repository = self.repository(address, &commit).await?;
        let mut checkout =
            self.check_out(source, &access, &commit, &repository, &scratch.path().join("1")).await;
        if checkout.as_ref().is_err_and(SourceError::blames_repository) {
            // It is damaged, or holds what cannot be beside what the remote has now.
            empty(&repository.path())?;
            checkout = self.check_out(source, &access, &commit, &repository, &scratch.path().join("2")).await;
        }
        let Checkout { root, time } = checkout?;
        drop(repository);
        part.done();
        let tree = self.store.new_tree()?;
        let ids = self.store.id_map();
        let (keep, times) = (source.keep_git_dir, address.commit_times.then_some(time));
        let (index, tree) = blocking(move || {
            let failed = |error: io::Error| BuildError::failed(format!("{error}: failed to keep a checkout"));
            fs::rename(&root, tree.fs()).map_err(failed)?;
            settle(tree.fs(), keep, times, true).map_err(failed)?;
            let mut index: LayerIndex = scan_upper(tree.fs(), &[], &ids)?;
            for item in &mut index.entries {
                (item.entry.uid, item.entry.gid) = (0, 0);
            }
            Ok((index, tree))
        })
        .await?;
        drop(scratch);
        let description = format!("git snapshot for {}#{}", address.shown(), commit.reference);
        self.keep(&key, tree, index, description, UsageType::GitCheckout)
    }

    async fn check_out(
        &self,
        source: &GitSource,
        access: &GitAccess,
        commit: &GitCommit,
        repository: &Cache,
        scratch: &Path,
    ) -> Result<Checkout, SourceError> {
        let (address, path) = (&source.address, repository.path());
        self.git.fetch(address, access, commit, &path).await?;
        self.git.check_out(address, access, commit, &path, source.keep_git_dir, scratch).await
    }

    /// The bare repository of a remote, for this build alone.
    async fn repository(&self, address: &GitAddress, commit: &GitCommit) -> Result<Cache, BuildError> {
        let shown = address.shown();
        let mut hasher = Key::hasher("git repository");
        hasher.field(&shown).number(commit.object.len() as u64);
        let key = hasher.finish();
        loop {
            let mut found = self.store.use_cache(&key, CacheSharing::Locked)?;
            if let CacheUse::Make = found {
                let prepared = self.store.new_cache()?;
                let description = format!("shared git repo for {shown}");
                found = self.store.add_cache(&key, CacheSharing::Locked, &description, prepared)?;
            }
            if let CacheUse::Ready(cache) = found {
                return Ok(cache);
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// What the build has to open a repository.
    fn git_access(&self, address: &GitAddress) -> Result<GitAccess, BuildError> {
        if address.is_ssh() {
            let forward = self.ssh.iter().find(|forward| forward.id == SSH_ID).ok_or_else(|| {
                BuildError::invalid(format!(
                    "no SSH key {SSH_ID:?} forwarded from the client: {}",
                    address.shown()
                ))
                .hint("give it with --ssh default")
            })?;
            let is_socket = |path: &Path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
            let access = match forward.paths.as_slice() {
                [one] if is_socket(one) => SshAccess::Agent(one.clone()),
                paths => SshAccess::Keys(paths.to_vec()),
            };
            return Ok(GitAccess { header: None, ssh: Some(access) });
        }
        let host = address.host();
        let text = |id: &str| self.secret(id).map(|value| String::from_utf8_lossy(value).trim().to_owned());
        for suffix in [format!(".{host}"), String::new()] {
            if let Some(header) = text(&format!("GIT_AUTH_HEADER{suffix}")) {
                return Ok(GitAccess { header: Some(header), ssh: None });
            }
            if let Some(token) = text(&format!("GIT_AUTH_TOKEN{suffix}")) {
                return Ok(GitAccess::token(&token));
            }
        }
        Ok(GitAccess::default())
    }
}

/// Empties a directory.
fn empty(path: &Path) -> Result<(), BuildError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| BuildError::failed(format!("{error}: failed to empty {}", path.display())))
}

/// Gives everything below a directory the modes that it has with a umask of 022, and `time` if there is one. Where
/// `.git` is not kept, the files of that name that submodules have go.
fn settle(path: &Path, keep_git_dir: bool, time: Option<i64>, is_root: bool) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_symlink() {
        let mode = found.permissions().mode();
        let wanted = mode & 0o700 | mode >> 3 & 0o050 | mode >> 6 & 0o005;
        if mode & 0o7777 != wanted {
            fs::set_permissions(path, Permissions::from_mode(wanted))?;
        }
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !keep_git_dir && entry.file_name() == ".git" && !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            } else {
                settle(&entry.path(), keep_git_dir, time, false)?;
            }
        }
    }
    if let Some(tv_sec) = time.filter(|_| !is_root) {
        let time = Timespec { tv_sec, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
