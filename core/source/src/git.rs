//! Repositories, by the program git.
//!
//! A commit is found out first ([`Git::resolve`]), then brought into a bare repository that may hold others of the
//! same remote ([`Git::fetch`]), then laid out as files ([`Git::check_out`]). The bare repository is only ever
//! fetched into: each commit is under a reference of its own, so what other builds want does not disturb it.

mod command;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rbx_registry::Proxies;

use crate::address::GitAddress;
use crate::error::SourceError;
use command::{Command, Failed};

/// Where git is and what it may use.
#[derive(Debug, Clone, Default)]
pub struct GitConfig {
    /// The program; `None` if there is none.
    pub program: Option<PathBuf>,
    /// `PATH` for git's helpers and for ssh.
    pub path: OsString,
    /// Proxies for repositories over HTTP.
    pub proxies: Proxies,
    /// The user's known hosts of SSH. A key that differs from the one there is refused; hosts that are not in it are
    /// believed at first sight.
    pub known_hosts: Option<PathBuf>,
}

/// What opens a repository. It is in no message, and in no argument of a command.
#[derive(Clone, Default)]
pub struct GitAccess {
    /// The value of an `Authorization` header, for repositories over HTTP.
    pub header: Option<String>,
    /// For repositories over SSH.
    pub ssh: Option<SshAccess>,
}

impl std::fmt::Debug for GitAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = self.header.as_ref().map(|_| "…");
        f.debug_struct("GitAccess").field("header", &header).field("ssh", &self.ssh).finish()
    }
}

impl GitAccess {
    /// Access by a token, in the form in which hosts of repositories take them.
    pub fn token(token: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
        Self { header: Some(format!("basic {pair}")), ssh: None }
    }
}

/// Who to be over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshAccess {
    /// Whom the agent at this socket knows.
    Agent(PathBuf),
    /// The owner of these keys.
    Keys(Vec<PathBuf>),
}

/// The commit that an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCommit {
    /// The object's name: that of a commit, or of an annotated tag.
    pub object: String,
    /// The commit itself, where `object` is known to be a tag.
    pub peeled: Option<String>,
    /// What the address calls it: the reference as it is written, or the default branch.
    pub reference: String,
    /// The reference's full name; `None` if the address names a commit.
    full: Option<String>,
}

/// Where files were laid out.
#[derive(Debug)]
pub struct Checkout {
    /// The directory that has them.
    pub root: PathBuf,
    /// The commit's time, in seconds since 1970.
    pub time: i64,
}

/// Runs git.
#[derive(Debug, Clone)]
pub struct Git {
    config: GitConfig,
}

/// References that fetched objects are kept under.
const KEPT: &str = "refs/rbx/";
/// The name of the remote in commands, so that its address is no argument.
const REMOTE: &str = "origin";

impl Git {
    /// Runs the program of a configuration.
    pub fn new(config: GitConfig) -> Self {
        Self { config }
    }

    /// Finds out which commit an address means. Asks the repository unless the address itself says it. `directory`
    /// is an empty one to run in.
    pub async fn resolve(
        &self,
        address: &GitAddress,
        access: &GitAccess,
        directory: &Path,
    ) -> Result<GitCommit, SourceError> {
        if let Some(commit) = by_name(address)? {
            return Ok(commit);
        }
        let command = self.command(address, access, directory)?;
        let failed =
            |failed: Failed| failed.of(&format!("failed to fetch remote {}", address.shown()), address);
        let Some(reference) = &address.reference else {
            let out = command.run(&["ls-remote", "--symref", "--", REMOTE, "HEAD"]).await.map_err(failed)?;
            let branch = out.lines().find_map(|line| {
                let (target, name) = line.strip_prefix("ref: ")?.split_once('\t')?;
                (name == "HEAD").then_some(target).filter(|target| target.starts_with("refs/heads/"))
            });
            let object = out.lines().find_map(|line| line.strip_suffix("\tHEAD").filter(|it| is_object(it)));
            let (Some(full), Some(object)) = (branch, object) else {
                let reason = "could not find default branch for repository".to_owned();
                return Err(SourceError::Repository { reason, remote: address.shown() });
            };
            let name = full.trim_start_matches("refs/heads/").to_owned();
            let found = Found { full: full.to_owned(), object: object.to_owned(), peeled: None };
            return found.checked(address, name);
        };
        let peeled = format!("{reference}^{{}}");
        let out = command.run(&["ls-remote", "--", REMOTE, reference, &peeled]).await.map_err(failed)?;
        let found = Found::among(&out, reference).ok_or_else(|| SourceError::Repository {
            reason: format!("repository does not contain ref {reference}"),
            remote: address.shown(),
        })?;
        found.checked(address, reference.clone())
    }

    /// Brings a commit into a bare repository, which is made in `repository` if that is an empty directory. Nobody
    /// else may use it meanwhile.
    pub async fn fetch(
        &self,
        address: &GitAddress,
        access: &GitAccess,
        commit: &GitCommit,
        repository: &Path,
    ) -> Result<(), SourceError> {
        let command = self.command(address, access, repository)?;
        let task = format!("failed to fetch remote {}", address.shown());
        let failed = |failed: Failed| failed.of(&task, address);
        if !repository.join("HEAD").exists() {
            let format = object_format(&commit.object);
            command.run_here(&["init", "--quiet", "--bare", format, "."]).await.map_err(failed)?;
        }
        let object = commit.object.as_str();
        let kept = format!("{KEPT}{object}");
        if command.run_here(&["cat-file", "-e", &format!("{kept}^{{tree}}")]).await.is_ok() {
            return Ok(());
        }
        // A fetch that was killed leaves its lock, and nobody else is here.
        for lock in ["shallow.lock", "packed-refs.lock", "config.lock"] {
            let _ = fs::remove_file(repository.join(lock));
        }
        let name = commit.full.as_deref().unwrap_or(object);
        let mut fetched = self.fetch_one(&command, name, &kept).await;
        if fetched.as_ref().is_err_and(Failed::refuses_objects) {
            // The server gives only what it has a name for.
            let mut all = vec!["fetch", "--quiet", "--progress", "--force", "--no-tags"];
            if repository.join("shallow").exists() {
                all.push("--unshallow");
            }
            all.extend(["--", REMOTE, "+refs/heads/*:refs/rbx-heads/*", "+refs/tags/*:refs/rbx-tags/*"]);
            fetched = command.run(&all).await.map(drop);
        }
        fetched.map_err(failed)?;
        // What was asked for by its branch may be another commit by now.
        let is_there = |name: String| {
            let command = &command;
            async move { command.run_here(&["cat-file", "-e", &name]).await.is_ok() }
        };
        if !is_there(format!("{object}^{{tree}}")).await
            && self.fetch_one(&command, object, &kept).await.is_err()
        {
            let reason = format!(
                "fetched ref {} does not match expected commit {object} and commit can not be found in the \
                 repository",
                commit.reference
            );
            return Err(SourceError::Repository { reason, remote: address.shown() });
        }
        command.run_here(&["update-ref", "--no-deref", &kept, object]).await.map_err(failed)?;
        if let Some(checksum) = &address.checksum {
            let name = format!("{object}^{{commit}}");
            let peeled = command.run_here(&["rev-parse", "--verify", &name]).await.map_err(failed)?;
            if !object.starts_with(&**checksum) && !peeled.starts_with(&**checksum) {
                return Err(mismatch(address, checksum, object));
            }
        }
        Ok(())
    }

    async fn fetch_one(&self, command: &Command, name: &str, kept: &str) -> Result<(), Failed> {
        let refspec = format!("+{name}:{kept}");
        let mut words = vec!["fetch", "--quiet", "--progress", "--force", "--no-tags", "--depth=1"];
        words.extend(["--", REMOTE, &refspec]);
        match command.run(&words).await {
            Err(failed) if failed.refuses_depth() => {
                words.retain(|word| *word != "--depth=1");
                command.run(&words).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Lays the files of a commit out below `scratch`, a directory that is empty or not there yet, with its
    /// submodules. The directory that
    /// the address names becomes the root; `.git` is kept in it if `keep_git_dir` says so and it is all of the
    /// repository.
    pub async fn check_out(
        &self,
        address: &GitAddress,
        access: &GitAccess,
        commit: &GitCommit,
        repository: &Path,
        keep_git_dir: bool,
        scratch: &Path,
    ) -> Result<Checkout, SourceError> {
        let work = scratch.join("work");
        let git_dir = work.join(".git");
        let keep = keep_git_dir && address.directory.is_none();
        let broken = |error: io::Error| SourceError::Repository {
            reason: format!("{error}: failed to checkout"),
            remote: address.shown(),
        };
        fs::create_dir_all(&work).map_err(broken)?;
        let command = self.command(address, access, &work)?;
        let task = format!("failed to checkout remote {}", address.shown());
        let failed = |failed: Failed| failed.of(&task, address);
        let object = commit.object.as_str();
        let format = object_format(object);
        command.run_here(&["init", "--quiet", format, "."]).await.map_err(failed)?;
        if keep {
            let source = format!("file://{}", repository.display());
            let refspec = format!("{KEPT}{object}{}", self.kept_as(&command, commit, repository).await?);
            let words = ["fetch", "--quiet", "-u", "--depth=1", "--no-tags", "--", &source, &refspec];
            command.run_here(&words).await.map_err(failed)?;
        } else {
            // The objects are only looked at: they need not be copied.
            let objects = repository.join("objects");
            let list = [objects.as_os_str().as_encoded_bytes(), b"\n"].concat();
            fs::write(git_dir.join("objects/info/alternates"), list).map_err(broken)?;
            if repository.join("shallow").exists() {
                fs::copy(repository.join("shallow"), git_dir.join("shallow")).map_err(broken)?;
            }
        }
        let name = format!("{object}^{{commit}}");
        command.run_here(&["checkout", "--quiet", "--force", "--detach", &name]).await.map_err(failed)?;
        let time = command.run_here(&["log", "-1", "--format=%ct", "HEAD"]).await.map_err(failed)?;
        if address.submodules != Some(false) && work.join(".gitmodules").exists() {
            let task = format!("failed to update submodules for {}", address.shown());
            let words = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
            command.run(&words).await.map_err(|failed| failed.of(&task, address))?;
        }
        if keep {
            self.tidy(&command, address, &git_dir).await.map_err(failed)?;
        } else {
            fs::remove_dir_all(&git_dir).map_err(broken)?;
        }
        let root = match &address.directory {
            None => work,
            Some(directory) => below(&work, directory)
                .map_err(|reason| SourceError::Repository { reason, remote: address.shown() })?,
        };
        Ok(Checkout { root, time: time.trim().parse().unwrap_or(0) })
    }

    /// What a repository that is kept calls the commit, as the second half of a refspec: the same names as BuildKit.
    async fn kept_as(
        &self,
        command: &Command,
        commit: &GitCommit,
        repository: &Path,
    ) -> Result<String, SourceError> {
        if commit.full.is_none() {
            return Ok(String::new());
        }
        let bare = command.at(repository);
        let kind = bare.run_here(&["cat-file", "-t", &commit.object]).await.unwrap_or_default();
        let name = &commit.reference;
        Ok(match kind.trim() {
            "tag" if !name.starts_with("refs/tags/") => format!(":refs/tags/{name}"),
            _ => format!(":{name}"),
        })
    }

    /// Leaves a kept `.git` as BuildKit does: with the remote, without traces of how it was made.
    async fn tidy(&self, command: &Command, address: &GitAddress, git_dir: &Path) -> Result<(), Failed> {
        let plain = command.without_remote();
        let remote = format!("remote.{REMOTE}.url");
        let fetch = format!("remote.{REMOTE}.fetch");
        plain.run_here(&["config", "--local", &remote, &address.shown()]).await?;
        let refspec = format!("+refs/heads/*:refs/remotes/{REMOTE}/*");
        plain.run_here(&["config", "--local", &fetch, &refspec]).await?;
        plain.run_here(&["reflog", "expire", "--all", "--expire=now"]).await?;
        let _ = fs::remove_file(git_dir.join("FETCH_HEAD"));
        Ok(())
    }

    fn command(
        &self,
        address: &GitAddress,
        access: &GitAccess,
        directory: &Path,
    ) -> Result<Command, SourceError> {
        Command::new(&self.config, address, access, directory)
            .ok_or_else(|| SourceError::NoGit { remote: address.shown() })
    }
}

/// A reference that a repository has.
struct Found {
    full: String,
    object: String,
    peeled: Option<String>,
}

impl Found {
    /// Finds a reference in the output of `ls-remote`. A full name goes first, then a branch, then a tag.
    fn among(out: &str, reference: &str) -> Option<Self> {
        let lines: Vec<(&str, &str)> = out.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |full: &str| lines.iter().find(|(_, name)| *name == full).map(|(object, _)| *object);
        let under = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
        for (full, is_tag) in [
            (under("refs/"), reference.trim_start_matches("refs/").starts_with("tags/")),
            (under("refs/heads/"), false),
            (under("refs/tags/"), true),
        ] {
            if let Some(object) = find(&full).filter(|object| is_object(object)) {
                let peeled = if is_tag { find(&format!("{full}^{{}}")) } else { None };
                let peeled = peeled.filter(|object| is_object(object)).map(str::to_owned);
                return Some(Self { full, object: object.to_owned(), peeled });
            }
        }
        None
    }

    fn checked(self, address: &GitAddress, reference: String) -> Result<GitCommit, SourceError> {
        let Self { full, object, peeled } = self;
        if let Some(checksum) = &address.checksum
            && !object.starts_with(&**checksum)
            && !peeled.as_ref().is_some_and(|peeled| peeled.starts_with(&**checksum))
        {
            return Err(mismatch(address, checksum, &object));
        }
        Ok(GitCommit { object, peeled, reference, full: Some(full) })
    }
}

/// The commit of an address that names one.
fn by_name(address: &GitAddress) -> Result<Option<GitCommit>, SourceError> {
    let commit = |object: &str, reference: &str, full| GitCommit {
        object: object.to_owned(),
        peeled: None,
        reference: reference.to_owned(),
        full,
    };
    if let Some(object) = address.reference.as_deref().filter(|reference| is_object(reference)) {
        return match &address.checksum {
            Some(checksum) if !object.starts_with(&**checksum) => Err(mismatch(address, checksum, object)),
            _ => Ok(Some(commit(object, object, None))),
        };
    }
    if !address.fetch_by_commit {
        return Ok(None);
    }
    let reason = match address.checksum.as_deref() {
        None => "fetch-by-commit requires a checksum or a commit SHA ref".to_owned(),
        Some(checksum) if !is_object(checksum) => {
            format!("fetch-by-commit requires a full commit SHA checksum, got {checksum:?}")
        }
        Some(checksum) => {
            return Ok(Some(commit(checksum, address.reference.as_deref().unwrap_or(checksum), None)));
        }
    };
    Err(SourceError::Repository { reason, remote: address.shown() })
}

fn mismatch(address: &GitAddress, checksum: &str, object: &str) -> SourceError {
    let reason = format!("expected checksum to match {checksum}, got {object}");
    SourceError::Repository { reason, remote: address.shown() }
}

/// Whether a text is an object's whole name.
fn is_object(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn object_format(object: &str) -> &'static str {
    if object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" }
}

/// A directory of a repository's files. No link is followed on the way.
fn below(work: &Path, directory: &str) -> Result<PathBuf, String> {
    let mut at = work.to_owned();
    for part in directory.split('/') {
        at.push(part);
        let found = fs::symlink_metadata(&at)
            .map_err(|_| format!("failed to open subdir {directory}: no such file or directory"))?;
        if !found.is_dir() {
            return Err(format!("git subpath {directory:?} contains non-directory {part:?}"));
        }
    }
    Ok(at)
}
