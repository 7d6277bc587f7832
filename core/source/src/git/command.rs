//! One command of git's, in an environment that holds nothing but what is given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::{GitAccess, GitConfig, REMOTE, SshAccess};
use crate::address::GitAddress;
use crate::error::SourceError;

/// Bytes of a command's output that are taken; more is an error.
const OUTPUT: usize = 16 << 20;
/// Bytes of a command's messages that are kept: the last ones.
const MESSAGES: usize = 64 << 10;
/// How long a command that speaks with a server may say nothing. git reports progress all the while.
const SILENCE: Duration = Duration::from_mins(5);

/// A way to run git in a directory.
#[derive(Debug)]
pub(super) struct Command {
    program: PathBuf,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// Configuration: the last of a name counts.
    settings: Vec<(String, String)>,
    /// The remote's address and its header.
    remote: Vec<(String, String)>,
    /// What must not be in a message, and what is shown in its place.
    secrets: Vec<(String, &'static str)>,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The program could not be run.
    Start(std::io::Error),
    /// It ended so, with these messages.
    Ended(ExitStatus, String),
    /// It was silent for too long.
    Silent,
    /// It wrote too much.
    Endless,
}

impl Command {
    /// `None` if there is no program.
    pub(super) fn new(
        config: &GitConfig,
        address: &GitAddress,
        access: &GitAccess,
        directory: &Path,
    ) -> Option<Self> {
        let program = config.program.clone()?;
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| environment.push((name.into(), value));
        set("PATH", config.path.clone());
        set("LC_ALL", "C".into());
        set("HOME", "/dev/null".into());
        set("GIT_CONFIG_NOSYSTEM", "1".into());
        set("GIT_CONFIG_GLOBAL", "/dev/null".into());
        set("GIT_TERMINAL_PROMPT", "0".into());
        set("GIT_ASKPASS", "true".into());
        set("SSH_ASKPASS", "true".into());
        // No repository above the directory is looked for.
        set("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(directory).into());
        set("GIT_SSH_COMMAND", ssh_command(config, access).into());
        set("GIT_SSH_VARIANT", "ssh".into());
        if let Some(SshAccess::Agent(socket)) = &access.ssh {
            set("SSH_AUTH_SOCK", socket.into());
        }
        let proxies = &config.proxies;
        for (name, value) in
            [("http_proxy", &proxies.http), ("https_proxy", &proxies.https), ("no_proxy", &proxies.no_proxy)]
        {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        let settings = [
            ("advice.detachedHead", "false"),
            ("core.autocrlf", "false"),
            ("core.fsmonitor", "false"),
            ("core.hooksPath", "/dev/null"),
            ("core.symlinks", "true"),
            ("gc.auto", "0"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
            ("init.defaultBranch", "master"),
            ("maintenance.auto", "false"),
            ("protocol.allow", "never"),
            ("protocol.git.allow", "always"),
            ("protocol.http.allow", "always"),
            ("protocol.https.allow", "always"),
            ("protocol.ssh.allow", "always"),
            // For our own repositories only: what a submodule names is not the user's word.
            ("protocol.file.allow", "user"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut remote = vec![(format!("remote.{REMOTE}.url"), address.remote.clone())];
        let mut secrets = vec![(address.remote.clone(), "")];
        if let Some(header) = &access.header {
            let name = format!("http.{}.extraHeader", scope(&address.remote));
            remote.push((name, format!("Authorization: {header}")));
            secrets.push((header.clone(), "xxxxx"));
        }
        secrets.retain(|(secret, _)| *secret != address.shown());
        secrets.extend(password(&address.remote).map(|password| (password, "xxxxx")));
        Some(Self { program, directory: directory.to_owned(), environment, settings, remote, secrets })
    }

    /// The same in another directory, for commands that reach no server.
    pub(super) fn at(&self, directory: &Path) -> Self {
        let mut environment = self.environment.clone();
        environment.push(("GIT_CEILING_DIRECTORIES".into(), directory.parent().unwrap_or(directory).into()));
        Self {
            program: self.program.clone(),
            directory: directory.to_owned(),
            environment,
            settings: self.settings.clone(),
            remote: Vec::new(),
            secrets: self.secrets.clone(),
        }
    }

    /// The same with no remote but what the repository itself names.
    pub(super) fn without_remote(&self) -> Self {
        self.at(&self.directory)
    }

    /// Runs a command that may speak with a server; answers what it wrote.
    pub(super) async fn run(&self, words: &[&str]) -> Result<String, Failed> {
        self.spawn(words, Some(SILENCE)).await
    }

    /// Runs a command that works on this machine alone.
    pub(super) async fn run_here(&self, words: &[&str]) -> Result<String, Failed> {
        self.spawn(words, None).await
    }

    async fn spawn(&self, words: &[&str], silence: Option<Duration>) -> Result<String, Failed> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(words)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It is ended together with its helpers.
            .process_group(0)
            .kill_on_drop(true);
        // As variables and not as arguments, which every user of the machine can read.
        let settings: Vec<_> = self.settings.iter().chain(&self.remote).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), name).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        let mut child = command.spawn().map_err(Failed::Start)?;
        let mut group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = read(stdout, stderr, silence);
        let (out, messages) = reading.await?;
        let status = child.wait().await.map_err(Failed::Start)?;
        group.ended();
        if status.success() {
            return Ok(String::from_utf8_lossy(&out).into_owned());
        }
        Err(Failed::Ended(status, self.redacted(&String::from_utf8_lossy(&messages))))
    }

    /// A text without what must not be in it.
    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (secret, shown) in self.secrets.iter().filter(|(secret, _)| !secret.is_empty()) {
            text = text.replace(secret.as_str(), shown);
        }
        text
    }
}

/// The processes of a command, ended when it is dropped before they are.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads both outputs to their ends: all of the first, the last part of the second.
async fn read(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
    silence: Option<Duration>,
) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let (mut stdout, mut stderr) = (stdout, stderr);
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    let (mut first, mut second) = (vec![0; 32 << 10], vec![0; 4 << 10]);
    while stdout.is_some() || stderr.is_some() {
        let next = async {
            tokio::select! {
                read = some(&mut stdout, &mut first) => (true, read),
                read = some(&mut stderr, &mut second) => (false, read),
            }
        };
        let (is_first, length) = match silence {
            Some(limit) => tokio::time::timeout(limit, next).await.map_err(|_| Failed::Silent)?,
            None => next.await,
        };
        match (is_first, length) {
            (true, 0) => stdout = None,
            (false, 0) => stderr = None,
            (true, length) => {
                out.extend_from_slice(&first[..length]);
                if out.len() > OUTPUT {
                    return Err(Failed::Endless);
                }
            }
            (false, length) => {
                messages.extend_from_slice(&second[..length]);
                let excess = messages.len().saturating_sub(MESSAGES);
                messages.drain(..excess);
            }
        }
    }
    Ok((out, messages))
}

/// Reads something; nothing ever comes of what has ended. An error is an end.
async fn some(from: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

impl Failed {
    /// The server has no shallow commits to give.
    pub(super) fn refuses_depth(&self) -> bool {
        self.says(&["--depth", "shallow"])
    }

    /// The server gives no objects by their names.
    pub(super) fn refuses_objects(&self) -> bool {
        self.says(&["not our ref", "unadvertised object"])
    }

    fn says(&self, any: &[&str]) -> bool {
        matches!(self, Self::Ended(_, messages) if any.iter().any(|text| messages.contains(text)))
    }

    /// The error it is.
    pub(super) fn of(self, task: &str, address: &GitAddress) -> SourceError {
        let remote = address.shown();
        match self {
            Self::Start(error) if error.kind() == std::io::ErrorKind::NotFound => {
                SourceError::NoGit { remote }
            }
            Self::Start(error) => {
                SourceError::Repository { reason: format!("{error}: failed to run git"), remote }
            }
            Self::Silent => {
                let reason = format!("nothing came for {} s", SILENCE.as_secs());
                SourceError::Repository { reason, remote }
            }
            Self::Endless => {
                let reason = format!("git answered with more than {OUTPUT} bytes");
                SourceError::Repository { reason, remote }
            }
            Self::Ended(status, stderr) => {
                let reason = reason(&stderr).unwrap_or_else(|| format!("git: {status}"));
                SourceError::Git { task: task.to_owned(), reason, stderr }
            }
        }
    }
}

/// The line of git's messages that says why it failed.
fn reason(messages: &str) -> Option<String> {
    let lines = || messages.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let marked = |marks: &[&str]| {
        lines().find_map(|line| marks.iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim))
    };
    let line = marked(&["fatal: remote error:", "fatal:"])
        .or_else(|| marked(&["error:"]))
        .or_else(|| lines().next_back())?;
    Some(line.chars().filter(|c| !c.is_control()).take(500).collect())
}

/// The remotes that an authorization is for: as BuildKit, all of GitHub, else this one alone.
fn scope(remote: &str) -> &str {
    ["https://github.com/", "https://www.github.com/"]
        .into_iter()
        .find(|host| remote.starts_with(host))
        .unwrap_or(remote)
}

/// The password in an address.
fn password(remote: &str) -> Option<String> {
    let (_, rest) = remote.split_once("://")?;
    let (user, _) = rest[..rest.find('/').unwrap_or(rest.len())].rsplit_once('@')?;
    let secret = user.split_once(':').map_or(user, |(_, password)| password);
    Some(secret.to_owned()).filter(|secret| secret.len() > 3)
}

/// ssh without the user's configuration, and without questions.
fn ssh_command(config: &GitConfig, access: &GitAccess) -> String {
    let mut line = "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 \
                    -o ServerAliveCountMax=8 -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null"
        .to_owned();
    if let Some(known) = &config.known_hosts {
        line += " -o ";
        line += &quoted(&format!("GlobalKnownHostsFile=\"{}\"", known.display()));
    }
    if let Some(SshAccess::Keys(keys)) = &access.ssh {
        line += " -o IdentitiesOnly=yes";
        for key in keys {
            line += " -i ";
            line += &quoted(&key.display().to_string());
        }
    }
    line
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_line_that_says_so() {
        for (messages, wanted) in [
            ("hint: x\nfatal: repository 'x' not found\nmore", "repository 'x' not found"),
            ("remote: Counting\rerror: no\n", "no"),
            ("fatal: remote error: access denied", "access denied"),
            ("something\nlast\n", "last"),
        ] {
            assert_eq!(reason(messages).as_deref(), Some(wanted));
        }
        assert_eq!(reason("\n"), None);
    }

    #[test]
    fn ssh_asks_nothing_and_takes_what_it_is_given() {
        let config = GitConfig { known_hosts: Some("/a b/known".into()), ..GitConfig::default() };
        let keys = SshAccess::Keys(vec!["/k'1".into(), "/k2".into()]);
        let line = ssh_command(&config, &GitAccess { header: None, ssh: Some(keys) });
        assert!(line.starts_with("ssh -F /dev/null -o BatchMode=yes"));
        let end = r#" -o 'GlobalKnownHostsFile="/a b/known"' -o IdentitiesOnly=yes -i '/k'\''1' -i '/k2'"#;
        assert!(line.ends_with(end), "{line}");
        let agent = GitAccess { header: None, ssh: Some(SshAccess::Agent("/s".into())) };
        assert!(ssh_command(&GitConfig::default(), &agent).ends_with("UserKnownHostsFile=/dev/null"));
    }

    #[test]
    fn passwords_are_found() {
        assert_eq!(password("https://u:secret@h/x.git").as_deref(), Some("secret"));
        assert_eq!(password("https://token@h/x.git").as_deref(), Some("token"));
        assert_eq!(password("https://h/a@b.git"), None);
    }

    #[test]
    fn authorization_is_for_one_remote_or_all_of_github() {
        assert_eq!(scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(scope("https://example.com/a/b.git"), "https://example.com/a/b.git");
    }
}
