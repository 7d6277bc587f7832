//! Pushes to registries of several kinds: what goes over the wire, what fails in passing, and who reads the result.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::{Registered, Untouched};
use rbx_tests::{Engine, Fault, PASSWORD, Parts, Registry, RegistryOptions, Relay, Store, USER, rbx};
use serde_json::Value;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("registries::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("what_is_there_is_not_sent", what_is_there_is_not_sent),
        trial(
            "layers_of_a_base_are_taken_from_its_repository",
            layers_of_a_base_are_taken_from_its_repository,
        ),
        trial("passing_failures_pass", passing_failures_pass),
        trial("refusals_are_told_once", refusals_are_told_once),
        trial("tokens_open_registries", tokens_open_registries),
        trial("http_is_spoken_where_it_is_configured", http_is_spoken_where_it_is_configured),
        trial("two_platforms_run_elsewhere", two_platforms_run_elsewhere),
    ]
}

/// A context, and programs that build it.
struct Work {
    directory: tempfile::TempDir,
    parts: Parts,
}

impl Work {
    fn new(dockerfile: &str) -> Self {
        let work =
            Self { directory: tempfile::tempdir().expect("a temporary directory"), parts: Parts::locate() };
        fs::create_dir(work.path("context")).expect("a context");
        work.write("context/Dockerfile", dockerfile);
        work.write("context/file", "content\n");
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// A build that is pushed as `tag`.
    fn push(&self, tag: &str, more: &[&str]) -> Command {
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["build", "--builder=embedded", "--progress=plain", "--push"]).args(more);
        program
            .arg(format!("--tag={tag}"))
            .arg(format!("--metadata-file={}", self.path("metadata").display()));
        program.arg(self.path("context"));
        program
    }

    /// What the last build wrote of itself.
    fn metadata(&self) -> Value {
        let text = fs::read_to_string(self.path("metadata")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// `crane` with the credentials of the builds.
    fn crane(&self, registry: &Registry) -> Command {
        let mut crane = registry.crane();
        crane.env("DOCKER_CONFIG", self.path("config"));
        crane
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}:\n{printed}{errors}", output.status))
}

/// What a command that has to fail says on standard error.
fn refused(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Err(format!("{command:?} was a success"));
    }
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} where {wanted:?} should be")) }
}

const TWO: &str = "--platform=linux/amd64,linux/arm64";

/// Of a blob's upload, its beginning and its end.
const UPLOAD: &str = "/blobs/uploads/";

/// Of uploads and manifests: those begun, those sent, and the manifests.
fn sent(relay: &Relay) -> [usize; 3] {
    [relay.count("POST", UPLOAD), relay.count("PUT", UPLOAD), relay.count("PUT", "/manifests/")]
}

fn what_is_there_is_not_sent() -> Result<(), String> {
    let images = Registry::with_images();
    let work = Work::new(&format!("FROM {}/busybox\nCOPY file /\n", images.address()));
    let registry = Registry::start();
    // Nobody's upload goes on before another's has come: they are sent side by side, or this waits in vain.
    let uploads = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let waiting = uploads.clone();
    let relay = Relay::start(registry.address(), move |request, _| {
        if request.starts_with("PUT ") && request.contains(UPLOAD) {
            let (count, changed) = &*waiting;
            let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            changed.notify_all();
            drop(changed.wait_timeout_while(count, Duration::from_secs(20), |count| *count < 2));
        }
        None
    });
    let tag = format!("{}/team/app:1", relay.address());
    run(&mut work.push(&tag, &[TWO]))?;
    if relay.most_at_once() < 2 {
        return Err("blobs were sent one by one".to_owned());
    }
    // Two base layers, the one layer that both platforms have, two configurations; two manifests and the index.
    expect("what was sent", &sent(&relay), &[5, 5, 3])?;
    run(&mut work.push(&tag, &[TWO]))?;
    expect("what was sent again", &sent(&relay), &[5, 5, 3])?;
    run(&mut work.push(&format!("{}/team/app:2", relay.address()), &[TWO]))?;
    expect("what was sent for another tag", &sent(&relay), &[5, 5, 4])?;
    work.write("context/file", "other content\n");
    run(&mut work.push(&tag, &[TWO]))?;
    expect("what was sent of a change", &sent(&relay), &[8, 8, 7])?;
    let name = format!("{}/team/app:1", registry.address());
    run(registry.crane().args(["validate", "--remote", &name])).map(drop)
}

fn layers_of_a_base_are_taken_from_its_repository() -> Result<(), String> {
    let registry = Registry::start();
    let relay = Relay::start(registry.address(), |_, _| None);
    let work = Work::new(&format!("FROM {}/base/busybox:1\nCOPY file /\n", relay.address()));
    registry.push(&work.parts.layout("busybox"), "base/busybox:1");
    run(&mut work.push(&format!("{}/team/app", relay.address()), &[TWO]))?;
    expect("layers that were mounted", &relay.count("POST", "&from=base"), &2)?;
    expect("what was sent", &sent(&relay), &[5, 3, 3])?;
    // The store has the base by now, and still knows where it is from.
    run(&mut work.push(&format!("{}/team/other", relay.address()), &[TWO]))?;
    expect("layers that were mounted again", &relay.count("POST", "&from=base"), &4)?;
    run(registry.crane().args(["validate", "--remote", &format!("{}/team/app", registry.address())]))
        .map(drop)
}

fn passing_failures_pass() -> Result<(), String> {
    let work = Work::new("FROM scratch\nCOPY file /\n");
    let registry = Registry::start();
    let relay = Relay::start(registry.address(), |request, before| {
        let blob = request.contains("/blobs/");
        match (request.split(' ').next().unwrap_or_default(), before) {
            ("HEAD", 0) => Some(Fault::Status(500, "")),
            ("POST", 0) => Some(Fault::Status(429, "Retry-After: 1")),
            ("PUT", 0) if blob => Some(Fault::Cut),
            ("PUT", 1) if blob => Some(Fault::Status(502, "")),
            ("PUT", 5) => Some(Fault::Status(503, "")),
            _ => None,
        }
    });
    run(&mut work.push(&format!("{}/team/app", relay.address()), &[TWO]))?;
    let name = format!("{}/team/app", registry.address());
    let digest = run(registry.crane().args(["digest", &name]))?;
    expect("the digest", &work.metadata()["containerimage.digest"].as_str(), &Some(digest.trim()))?;
    run(registry.crane().args(["validate", "--remote", &name]))?;
    // Three blobs of which two were sent once more, three manifests of which one was.
    expect("what was sent", &(relay.count("PUT", UPLOAD), relay.count("PUT", "/manifests/")), &(5, 4))
}

fn refusals_are_told_once() -> Result<(), String> {
    let work = Work::new("FROM scratch\nCOPY file /\n");
    let registry = Registry::start();
    for (place, status, word) in [
        (UPLOAD, 403, "push access denied, repository does not exist or may require authorization"),
        (UPLOAD, 400, "unexpected status 400"),
        ("/manifests/", 400, "unexpected status 400"),
        ("/manifests/", 413, "unexpected status 413"),
    ] {
        let relay = Relay::start(registry.address(), move |request, _| {
            (request.starts_with("PUT ") && request.contains(place)).then_some(Fault::Status(status, ""))
        });
        let said =
            refused(&mut work.push(&format!("{}/team/app{status}", relay.address()), &["--no-cache"]))?;
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR: ")).collect();
        let [error] = errors[..] else { return Err(format!("{place} {status}: {said}")) };
        if !error.starts_with(&format!("ERROR: failed to build: {word}")) {
            return Err(format!("{place} {status}: {error}"));
        }
        let mut tried: Vec<String> = relay
            .seen()
            .into_iter()
            .filter(|line| line.starts_with("PUT ") && line.contains(place))
            .collect();
        tried.sort();
        let all = tried.len();
        tried.dedup();
        // Two blobs may be on their way at once, each of them once.
        if all == 0 || tried.len() != all || all > 2 {
            return Err(format!("{place} {status}: tried {tried:?}, {all} times"));
        }
    }
    Ok(())
}

fn tokens_open_registries() -> Result<(), String> {
    let images = Registry::with_images();
    let work = Work::new(&format!("FROM {}/busybox\nCOPY file /\n", images.address()));
    let registry = Registry::with(RegistryOptions { tokens: true, ..RegistryOptions::default() });
    let name = |name: &str| format!("{}/{name}", registry.address());
    let said = refused(&mut work.push(&name("team/app"), &[TWO]))?;
    if !said.contains("ERROR: failed to build: push access denied, repository does not exist or may require")
    {
        return Err(format!("without credentials: {said}"));
    }
    let login = ["auth", "login", registry.address(), "-u", USER, "-p", PASSWORD];
    run(work.crane(&registry).args(login))?;
    let before = registry.tokens_asked().len();
    run(&mut work.push(&name("team/app"), &[TWO]))?;
    let asked = registry.tokens_asked().split_off(before);
    // One token does for all that goes into a repository.
    expect("tokens", &asked, &vec![format!("{USER} repository:team/app:pull,push")])?;
    run(work.crane(&registry).args(["validate", "--remote", &name("team/app")]))?;

    // A private base: read with a token, and mounted with one for both repositories.
    work.write("context/Dockerfile", &format!("FROM {}\nCOPY file /more\n", name("team/app")));
    run(&mut work.push(&name("team/more"), &[TWO, "--pull"]))?;
    let asked = registry.tokens_asked();
    let both = |line: &&String| {
        line.contains("repository:team/more:pull,push") && line.contains("repository:team/app:pull")
    };
    if !asked.iter().any(|line| both(&line)) {
        return Err(format!("no token for both repositories: {asked:?}"));
    }
    run(work.crane(&registry).args(["validate", "--remote", &name("team/more")]))?;

    // A wrong password is not taken for none.
    work.write(
        "config/config.json",
        &format!(r#"{{"auths":{{"{}":{{"username":"{USER}","password":"wrong"}}}}}}"#, registry.address()),
    );
    let said = refused(&mut work.push(&name("team/other"), &[TWO]))?;
    let last = said.lines().rfind(|line| line.starts_with("ERROR: ")).unwrap_or_default();
    let as_user = format!("(as user {USER} from auths in ");
    if last.contains("incorrect username or password") && last.contains(&as_user) {
        Ok(())
    } else {
        Err(said)
    }
}

fn http_is_spoken_where_it_is_configured() -> Result<(), String> {
    let work = Work::new("FROM scratch\nCOPY file /\n");
    let registry = Registry::start();
    // A proxy, so that a registry can have a name that is not this machine's.
    let relay = Relay::start(registry.address(), |request, _| {
        request.starts_with("CONNECT ").then_some(Fault::Status(405, ""))
    });
    let proxy = format!("http://{}", relay.address());
    let push = || {
        let mut program = work.push("registry.example/team/app", &[]);
        program.env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy);
        program
    };
    refused(&mut push())?;
    if relay.seen().iter().any(|line| !line.starts_with("CONNECT registry.example:443")) {
        return Err(format!("without TLS, unasked: {:?}", relay.seen()));
    }
    work.write("config/rbx/config.json", r#"{"registries": {"registry.example": {"http": true}}}"#);
    run(&mut push())?;
    run(registry.crane().args(["validate", "--remote", &format!("{}/team/app", registry.address())]))
        .map(drop)
}

/// What is pushed for two platforms is what buildx and crane read, and what Engines with either store pull and run.
fn two_platforms_run_elsewhere() -> Result<(), String> {
    let images = Registry::with_images();
    let work = Work::new(&format!(
        "FROM {}/busybox\nCOPY file /\nCMD [\"sh\", \"-c\", \"uname -m; cat /file\"]\n",
        images.address()
    ));
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.address());
    {
        let _untouched = Untouched::hold();
        run(&mut work.push(&name, &[TWO]))?;
    }
    run(registry.crane().args(["validate", "--remote", &name]))?;
    let manifest = run(registry.crane().args(["manifest", &name]))?;
    let metadata = work.metadata();
    let descriptor = &metadata["containerimage.descriptor"];
    let digest = run(registry.crane().args(["digest", &name]))?;
    expect("the digest", &metadata["containerimage.digest"].as_str(), &Some(digest.trim()))?;
    expect("the descriptor's digest", &descriptor["digest"].as_str(), &Some(digest.trim()))?;
    expect("the descriptor's size", &descriptor["size"].as_u64(), &Some(manifest.len() as u64))?;
    let index: Value = serde_json::from_str(&manifest).map_err(|error| error.to_string())?;
    expect("the media type", &descriptor["mediaType"], &index["mediaType"])?;
    expect("a configuration's digest", &metadata.get("containerimage.config.digest"), &None)?;

    let _handlers = Registered::qemu(&[Architecture::Arm64]);
    for store in [Store::Containerd, Store::Graph] {
        let engine = Engine::start(store);
        let raw = run(engine.buildx().args(["imagetools", "inspect", "--raw", &name]))?;
        expect("what imagetools reads", &raw.trim_end(), &manifest.trim_end())?;
        let shown = run(engine.buildx().args(["imagetools", "inspect", &name]))?;
        for word in [digest.trim(), "linux/amd64", "linux/arm64"] {
            if !shown.contains(word) {
                return Err(format!("imagetools does not show {word}: {shown}"));
            }
        }
        for (platform, machine) in [("linux/arm64", "aarch64"), ("linux/amd64", "x86_64")] {
            run(engine.docker().args(["pull", "--quiet", "--platform", platform, &name]))?;
            let printed = run(engine.docker().args([
                "run",
                "--rm",
                "--network=none",
                "--pull=never",
                "--platform",
                platform,
                &name,
            ]))?;
            expect(platform, &printed, &format!("{machine}\ncontent\n"))?;
        }
    }
    Ok(())
}
