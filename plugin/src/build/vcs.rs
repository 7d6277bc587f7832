//! Which commit of which repository a context is: what attestations and labels say of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rbx_request::{BuildRequest, ContextSource, DockerfileSource};

use super::results::{is_false, is_true};
use crate::env::Env;

/// Bytes of an answer of git that are read, at most.
const ANSWER: u64 = 1 << 20;
/// Variables that git is to know; nothing else of the environment directs it.
const KEPT: [&str; 6] =
    ["PATH", "HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "SUDO_UID"];
/// The annotations of images that say where they come from.
const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
const ENTRYPOINT: &str = "com.docker.image.source.entrypoint";

/// What is known of the repository of a context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Its directory, without links, where attestations are to know it.
    pub(crate) root: Option<PathBuf>,
    /// `vcs:…`: for attestations.
    pub(crate) attributes: BTreeMap<String, String>,
    /// For the image.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What the variables about git ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    info: bool,
    labels: bool,
    check_dirty: bool,
}

impl Wanted {
    /// Reads the variables. What is neither true nor false counts as unset.
    pub(crate) fn new(env: &Env) -> Self {
        let is = |name: &str| env.var(name).is_some_and(is_true);
        Self {
            info: !env.var("BUILDX_GIT_INFO").is_some_and(is_false),
            labels: is("BUILDX_GIT_LABELS") || env.var("BUILDX_GIT_LABELS") == Some("full"),
            check_dirty: is("BUILDX_GIT_CHECK_DIRTY"),
        }
    }
}

/// Asks git about the repository that a request's context lies in; an error is why what there is could not be learned.
pub(crate) fn read(wanted: Wanted, request: &BuildRequest, env: &Env) -> Result<Repository, String> {
    let mut found = Repository::default();
    let ContextSource::Directory(directory) = &request.context else { return Ok(found) };
    let directory = directory.canonicalize().ok().filter(|directory| is_in_repository(directory));
    let Some(directory) = directory.filter(|_| wanted.info || wanted.labels) else { return Ok(found) };
    let git = Git { program: program(env), directory: &directory, env };
    let own = directory.join(".git").is_dir();
    if git.program.is_none() {
        return if own { Err("git was not found in the system".to_owned()) } else { Ok(found) };
    }
    if git.ask(&["rev-parse", "--is-inside-work-tree"]).as_deref() != Ok("true") {
        let reason = "failed to read current commit information with git rev-parse --is-inside-work-tree";
        return if own { Err(reason.to_owned()) } else { Ok(found) };
    }
    let root = git
        .ask(&["rev-parse", "--show-toplevel"])
        .map_err(|error| format!("failed to get git root dir: {error}"))?;
    // A repository without a commit has none.
    if git.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_ok_and(|id| !id.is_empty()) {
        let mut commit = git
            .ask(&["show", "--format=%H", "HEAD", "--quiet", "--"])
            .map_err(|error| format!("failed to get git commit: {error}"))?;
        if wanted.check_dirty && git.is_dirty() {
            commit.push_str("-dirty");
        }
        found.add(wanted, REVISION, "vcs:revision", &commit);
    }
    if let Some(remote) = git.remote() {
        found.add(wanted, SOURCE, "vcs:source", &rbx_source::redacted(&remote));
    }
    let root = PathBuf::from(root);
    if wanted.labels
        && let DockerfileSource::Path(path) = &request.dockerfile
        && let Ok(path) = path.canonicalize()
        && let Some(path) = path.strip_prefix(&root).ok().and_then(Path::to_str)
    {
        found.labels.insert(ENTRYPOINT.to_owned(), path.to_owned());
    }
    found.root = wanted.info.then_some(root);
    Ok(found)
}

/// The labels that say where an image comes from, where the user asks for them.
pub(crate) fn labels(request: &BuildRequest, env: &Env) -> BTreeMap<String, String> {
    let wanted = Wanted { info: false, ..Wanted::new(env) };
    // What could not be learned is told with the attributes.
    read(wanted, request, env).map(|found| found.labels).unwrap_or_default()
}

impl Repository {
    fn add(&mut self, wanted: Wanted, label: &str, attribute: &str, value: &str) {
        if wanted.labels {
            self.labels.insert(label.to_owned(), value.to_owned());
        }
        if wanted.info {
            self.attributes.insert(attribute.to_owned(), value.to_owned());
        }
    }
}

/// Whether git would find a repository: it looks upwards. Most often there is none, and nothing need be started.
fn is_in_repository(directory: &Path) -> bool {
    directory.ancestors().any(|directory| fs::symlink_metadata(directory.join(".git")).is_ok())
}

/// The user's git.
fn program(env: &Env) -> Option<PathBuf> {
    let path = env.filled("PATH").unwrap_or_default();
    std::env::split_paths(path)
        .map(|directory| directory.join("git"))
        .find(|path| path.is_absolute() && path.is_file())
}

/// git, asked in a directory.
struct Git<'a> {
    program: Option<PathBuf>,
    directory: &'a Path,
    env: &'a Env,
}

impl Git<'_> {
    /// The first line of an answer.
    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let (answer, complaint) = self.run(words).map_err(|error| error.to_string())?;
        match answer {
            Some(answer) => Ok(answer.lines().next().unwrap_or_default().replace('\'', "")),
            None => Err(complaint.trim_end().to_owned()),
        }
    }

    fn is_dirty(&self) -> bool {
        let status = self.run(&["status", "--porcelain", "--ignored"]);
        !matches!(status, Ok((Some(changes), _)) if changes.trim().is_empty())
    }

    /// The address of the branch's remote, else of `origin`, else of `upstream`.
    fn remote(&self) -> Option<String> {
        let branch = self.ask(&["symbolic-ref", "-q", "HEAD"]).ok();
        let of_branch = branch
            .filter(|branch| !branch.is_empty())
            .and_then(|branch| self.ask(&["for-each-ref", "--format=%(upstream:remotename)", &branch]).ok());
        [of_branch.as_deref().unwrap_or_default(), "origin", "upstream"]
            .into_iter()
            .filter(|name| !name.is_empty() && !name.starts_with('-'))
            .find_map(|name| {
                self.ask(&["remote", "get-url", name]).ok().filter(|address| !address.is_empty())
            })
    }

    /// What it wrote, if it ended well, and what it complained about.
    fn run(&self, words: &[&str]) -> io::Result<(Option<String>, String)> {
        let program = self.program.as_deref().unwrap_or(Path::new("git"));
        let kept = KEPT.iter().filter_map(|name| Some((*name, self.env.var(name)?)));
        let mut child = Command::new(program)
            .args(["-c", "protocol.file.allow=user", "-c", "log.showSignature=false"])
            // A repository may name a program that is to tell what has changed.
            .args(["-c", "core.fsmonitor=false"])
            .args(words)
            .current_dir(self.directory)
            .env_clear()
            .envs(kept)
            .envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("LC_ALL", "C")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let read = |from: Option<Box<dyn Read + Send>>| {
            let mut text = Vec::new();
            let read = from.map(|from| from.take(ANSWER).read_to_end(&mut text));
            read.transpose().map(|_| String::from_utf8_lossy(&text).into_owned())
        };
        let errors = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let complaining = std::thread::spawn(move || read(errors));
        let answer = read(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
        let ended = child.wait()?;
        let complaint = complaining.join().unwrap_or_else(|_| Ok(String::new()))?;
        Ok((Some(answer?).filter(|_| ended.success()), complaint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with a Dockerfile in a directory, and an environment in which git is nobody's in particular.
    struct Fixture {
        directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("app")).unwrap();
            fs::write(directory.path().join("app/Dockerfile"), "FROM scratch\n").unwrap();
            Self { directory }
        }

        fn git(&self, words: &str) {
            let status = Command::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
                .args(words.split(' '))
                .current_dir(self.directory.path())
                .env("HOME", "/nonexistent")
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success(), "git {words}");
        }

        fn read(&self, variables: &[(&str, &str)]) -> Result<Repository, String> {
            let mut env = vec![("PATH", "/usr/local/bin:/usr/bin:/bin"), ("GIT_CONFIG_GLOBAL", "/dev/null")];
            env.extend(variables);
            let env = Env::with(&env);
            let request = BuildRequest {
                context: ContextSource::Directory(self.directory.path().join("app/.")),
                dockerfile: DockerfileSource::Path(self.directory.path().join("app/Dockerfile")),
                ..BuildRequest::default()
            };
            read(Wanted::new(&env), &request, &env)
        }
    }

    fn shown(map: &BTreeMap<String, String>) -> String {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_context_is_known_by_its_commit_and_remote() {
        let fixture = Fixture::new();
        assert_eq!(fixture.read(&[]), Ok(Repository::default()), "no repository");
        fixture.git("init -q");
        let empty = fixture.read(&[]).unwrap();
        assert_eq!(empty.root, fixture.directory.path().canonicalize().ok());
        assert!(empty.attributes.is_empty(), "no commit");

        fixture.git("add app");
        fixture.git("commit -q -m one");
        fixture.git("remote add upstream https://ann:secret@example.com/up.git");
        let found = fixture.read(&[]).unwrap();
        let (labels, revision) = (found.labels, found.attributes["vcs:revision"].clone());
        assert_eq!((labels.len(), revision.len()), (0, 40));
        assert_eq!(found.attributes["vcs:source"], "https://xxxxx:xxxxx@example.com/up.git");
        fixture.git("remote add origin git@example.com:a/b.git");
        assert_eq!(
            shown(&fixture.read(&[]).unwrap().attributes),
            format!("vcs:revision={revision} vcs:source=git@example.com:a/b.git")
        );

        // What is not committed counts where it is asked for.
        fs::write(fixture.directory.path().join("new"), "").unwrap();
        assert_eq!(fixture.read(&[]).unwrap().attributes["vcs:revision"], revision);
        let dirty = fixture.read(&[("BUILDX_GIT_CHECK_DIRTY", "1")]).unwrap();
        assert_eq!(dirty.attributes["vcs:revision"], format!("{revision}-dirty"));
    }

    #[test]
    fn variables_say_what_is_told() {
        let fixture = Fixture::new();
        fixture.git("init -q");
        fixture.git("add app");
        fixture.git("commit -q -m one");
        assert_eq!(fixture.read(&[("BUILDX_GIT_INFO", "false")]), Ok(Repository::default()));
        let both = fixture.read(&[("BUILDX_GIT_LABELS", "full"), ("BUILDX_GIT_INFO", "x")]).unwrap();
        let labels: Vec<&str> = both.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, [ENTRYPOINT, REVISION]);
        assert_eq!(both.labels[ENTRYPOINT], "app/Dockerfile");
        assert!(both.attributes.contains_key("vcs:revision"));
        let labels = fixture.read(&[("BUILDX_GIT_LABELS", "1"), ("BUILDX_GIT_INFO", "0")]).unwrap();
        assert!(labels.attributes.is_empty() && labels.labels.len() == 2 && labels.root.is_none());
    }

    #[test]
    fn what_git_cannot_tell_is_an_error_where_there_is_a_repository() {
        let fixture = Fixture::new();
        let git = fixture.directory.path().join("app/.git");
        fs::create_dir(&git).unwrap();
        let error = fixture.read(&[]).unwrap_err();
        assert!(error.ends_with("--is-inside-work-tree"), "{error}");
        assert_eq!(fixture.read(&[("PATH", "/nowhere")]).unwrap_err(), "git was not found in the system");
        assert_eq!(
            fixture.read(&[("PATH", "/nowhere"), ("BUILDX_GIT_INFO", "0")]),
            Ok(Repository::default())
        );
    }
}
