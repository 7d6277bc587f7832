//! Mounts that are more than one build: caches that several processes share, secrets, SSH agents.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, rbx};

/// How long a test waits for what should come soon, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

type Outcome = Result<(), String>;
type Test = fn() -> Outcome;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 8] = [
        ("locked_caches_are_waited_for", locked_caches_are_waited_for),
        ("locked_caches_are_never_waited_for_in_a_circle", locked_caches_are_never_waited_for_in_a_circle),
        ("private_caches_are_each_their_own", private_caches_are_each_their_own),
        ("shared_caches_are_used_at_once", shared_caches_are_used_at_once),
        ("a_killed_build_leaves_its_cache_free", a_killed_build_leaves_its_cache_free),
        ("caches_outlive_builds_and_no_cache", caches_outlive_builds_and_no_cache),
        ("secrets_are_nowhere", secrets_are_nowhere),
        ("steps_use_agents_and_keys", steps_use_agents_and_keys),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("mounts::{name}"), move || test().map_err(Failed::from)))
        .collect()
}

/// A store and contexts for builds on it.
struct World {
    parts: Parts,
    directory: tempfile::TempDir,
}

/// A build that is running. What it says on standard error is read as it comes.
struct Build {
    child: Child,
    output: BufReader<ChildStderr>,
    said: String,
}

impl World {
    fn new() -> Self {
        Self { parts: Parts::locate(), directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A build of a Dockerfile over busybox, in a context of its own.
    fn command(&self, name: &str, steps: &str, arguments: &[&str]) -> Command {
        let context = self.path(name);
        fs::create_dir_all(&context).expect("a context");
        fs::write(context.join("Dockerfile"), format!("FROM base\n{steps}")).expect("a Dockerfile");
        let layout = format!("base=oci-layout://{}", self.parts.layout("busybox").display());
        let home = self.path("home");
        fs::create_dir_all(&home).expect("a home");
        let mut command = rbx(&self.parts, &home);
        command.args(["build", "--progress=plain", "--build-context", &layout]).args(arguments).arg(&context);
        command
    }

    fn start(&self, name: &str, steps: &str, arguments: &[&str]) -> Build {
        let mut command = self.command(name, steps, arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-rbx runs");
        let output = BufReader::new(child.stderr.take().expect("a pipe"));
        Build { child, output, said: String::new() }
    }

    /// The directories that steps see as caches.
    fn caches(&self) -> Vec<PathBuf> {
        let Ok(caches) = fs::read_dir(self.path("home/store/v1/caches")) else { return Vec::new() };
        caches.map(|cache| cache.expect("an entry").path().join("fs")).collect()
    }

    /// Waits until as many caches hold a file of that name, and answers them.
    fn wait_for(&self, name: &str, caches: usize) -> Result<Vec<PathBuf>, String> {
        let began = Instant::now();
        loop {
            let found: Vec<PathBuf> =
                self.caches().into_iter().filter(|cache| cache.join(name).exists()).collect();
            if found.len() == caches {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{} of {caches} caches hold {name}", found.len()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn temporary_files(&self) -> usize {
        fs::read_dir(self.path("home/store/v1/tmp")).expect("a store").count()
    }
}

impl Build {
    /// Waits until it says a text.
    fn expect(&mut self, text: &str) -> Outcome {
        while !self.said.contains(text) {
            let length = self.output.read_line(&mut self.said).map_err(|error| error.to_string())?;
            if length == 0 {
                return Err(format!("it ended before it said {text:?}:\n{}", self.said));
            }
        }
        Ok(())
    }

    /// Waits for its end: its exit code, and all that it said.
    fn end(mut self) -> (Option<i32>, String) {
        let _ = self.output.read_to_string(&mut self.said);
        let status = self.child.wait().expect("it can be waited for");
        (status.code(), std::mem::take(&mut self.said))
    }

    fn succeed(self) -> Outcome {
        match self.end() {
            (Some(0), _) => Ok(()),
            (code, said) => Err(format!("{code:?}:\n{said}")),
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A step that has `/c` for itself until somebody puts a file `go` there.
fn holding(sharing: &str, own: &str) -> String {
    format!(
        "RUN --mount=type=cache,id=held,target=/c,sharing={sharing} echo {own}; mkdir /c/busy || exit 9; \
         while [ ! -e /c/go ]; do sleep 0.05; done; rm /c/go; rmdir /c/busy; echo {own} >> /c/log\n"
    )
}

fn locked_caches_are_waited_for() -> Outcome {
    let world = World::new();
    let first = world.start("one", &holding("locked", "one"), &[]);
    let cache = world.wait_for("busy", 1)?.remove(0);
    let mut second = world.start("two", &holding("locked", "two"), &[]);
    second.expect("waiting for the cache at /c, which another step uses")?;
    let mut third = world.start("three", &holding("locked", "three"), &[]);
    third.expect("waiting for the cache at /c")?;
    // One that waits can be interrupted.
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&third.child),
        rustix::process::Signal::INT,
    )
    .map_err(|error| error.to_string())?;
    let (code, said) = third.end();
    if code == Some(0) || !said.contains("CANCELED") {
        return Err(format!("an interrupted build ended with {code:?}:\n{said}"));
    }
    fs::write(cache.join("go"), "").expect("a file");
    first.succeed()?;
    world.wait_for("busy", 1)?;
    fs::write(cache.join("go"), "").expect("a file");
    second.succeed()?;
    let log = fs::read_to_string(cache.join("log")).expect("a log");
    if log != "one\ntwo\n" || world.caches().len() != 1 {
        return Err(format!("{log:?} in {} caches", world.caches().len()));
    }
    Ok(())
}

fn locked_caches_are_never_waited_for_in_a_circle() -> Outcome {
    let world = World::new();
    let step = |first: &str, second: &str, number: u32| {
        format!(
            "RUN --mount=type=cache,id={first},target=/a,sharing=locked \
             --mount=type=cache,id={second},target=/b,sharing=locked \
             mkdir /a/in /b/in && sleep 0.05 && rmdir /a/in /b/in && echo {number}\n"
        )
    };
    let steps = |first: &str, second: &str| -> String { (0..12).map(|n| step(first, second, n)).collect() };
    let one = world.start("one", &steps("x", "y"), &[]);
    let two = world.start("two", &steps("y", "x"), &[]);
    one.succeed()?;
    two.succeed()
}

fn private_caches_are_each_their_own() -> Outcome {
    let world = World::new();
    let first = world.start("one", &holding("private", "one"), &[]);
    world.wait_for("busy", 1)?;
    let second = world.start("two", &holding("private", "two"), &[]);
    for cache in world.wait_for("busy", 2)? {
        fs::write(cache.join("go"), "").expect("a file");
    }
    first.succeed()?;
    second.succeed()?;
    // The next one takes the first that is free.
    world
        .start("three", &holding("private", "three").replace("while", "touch /c/go; while"), &[])
        .succeed()?;
    let caches = world.caches();
    let log = |cache: &PathBuf| fs::read_to_string(cache.join("log")).unwrap_or_default();
    let logs: Vec<String> = caches.iter().map(log).collect();
    if caches.len() != 2 || !logs.contains(&"one\nthree\n".to_owned()) || !logs.contains(&"two\n".to_owned())
    {
        return Err(format!("{logs:?}"));
    }
    Ok(())
}

fn shared_caches_are_used_at_once() -> Outcome {
    let world = World::new();
    let step = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id=both,target=/c touch /c/{own}; \
             while [ ! -e /c/{other} ]; do sleep 0.05; done\n"
        )
    };
    let one = world.start("one", &step("one", "two"), &[]);
    let two = world.start("two", &step("two", "one"), &[]);
    one.succeed()?;
    two.succeed()
}

fn a_killed_build_leaves_its_cache_free() -> Outcome {
    let world = World::new();
    let mut first = world.start("one", &holding("locked", "one"), &[]);
    let cache = world.wait_for("busy", 1)?.remove(0);
    fs::write(cache.join("half"), "half").expect("a file");
    first.child.kill().expect("it can be killed");
    first.child.wait().expect("it has ended");
    let next = "RUN --mount=type=cache,id=held,target=/c,sharing=locked \
                cat /c/half && rmdir /c/busy && touch /c/whole\n";
    world.start("two", next, &[]).succeed()?;
    if !cache.join("whole").exists() || world.caches().len() != 1 || world.temporary_files() > 0 {
        return Err(format!("{} caches, {} temporary files", world.caches().len(), world.temporary_files()));
    }
    Ok(())
}

fn caches_outlive_builds_and_no_cache() -> Outcome {
    let world = World::new();
    let steps = "RUN --mount=type=cache,target=/c echo x >> /c/log; wc -l < /c/log > /lines\n";
    let output = world.path("out");
    let output = format!("type=local,dest={}", output.display());
    let lines = |arguments: &[&str]| -> Result<String, String> {
        let arguments: Vec<&str> = [&["--output", &output], arguments].concat();
        world.start("one", steps, &arguments).succeed()?;
        Ok(fs::read_to_string(world.path("out/lines")).expect("lines"))
    };
    let seen = [lines(&[])?, lines(&[])?, lines(&["--no-cache"])?].concat();
    let other = ["--no-cache", "--build-arg=BUILDKIT_CACHE_MOUNT_NS=other"];
    let (elsewhere, again) = (lines(&other)?, lines(&["--no-cache"])?);
    if (seen.as_str(), elsewhere.as_str(), again.as_str()) != ("1\n1\n2\n", "1\n", "3\n") {
        return Err(format!("{seen:?} {elsewhere:?} {again:?}"));
    }
    Ok(())
}

/// The value of a secret: long enough to be found nowhere by chance.
const VALUE: &str = "quercus-robur-4711-zirbelkiefer";

fn secrets_are_nowhere() -> Outcome {
    let world = World::new();
    let secret = world.path("secret");
    fs::write(&secret, VALUE).expect("a secret");
    let (file, variable) = (format!("id=file,src={}", secret.display()), "id=variable,env=MY_SECRET");
    let archive = world.path("home/image.tar");
    let output = format!("type=oci,compression=uncompressed,dest={}", archive.display());
    let steps = "RUN --mount=type=secret,id=file --mount=type=secret,id=file,env=FILE \
                 --mount=type=secret,id=variable,target=/deep/er/secret --mount=type=secret,id=variable,env=OTHER,mode=0755 \
                 test \"$(cat /run/secrets/file)\" = \"$FILE\" && test \"$OTHER\" = \"$(cat /deep/er/secret)\" \
                 && wc -c < /run/secrets/file > /length && set -x && echo ${#OTHER} >> /length\n\
                 RUN cat /length; ls -la / /run /deep 2>&1 | grep -v /; test ! -e /run/secrets\n";
    let failing = format!(
        "{steps}RUN --mount=type=secret,id=file,env=FILE --mount=type=secret,id=variable,required exit 3\n"
    );
    let missing = format!("{steps}RUN --mount=type=secret,id=none,required true\n");
    let mut said = Vec::new();
    for (name, steps, progress, code) in [
        ("good", steps, "rawjson", 0),
        ("cached", steps, "plain", 0),
        ("failing", &failing, "plain", 1),
        ("failing-raw", &failing, "rawjson", 1),
        ("missing", &missing, "plain", 1),
    ] {
        let metadata = world.path("home").join(format!("{name}.json"));
        let metadata = metadata.to_str().expect("UTF-8").to_owned();
        let mut command = world.command(
            name,
            steps,
            &["--secret", &file, "--secret", variable, "--output", &output, "--metadata-file", &metadata],
        );
        command.args(["--debug", "--progress", progress]).env("MY_SECRET", VALUE);
        let output = command.output().expect("docker-rbx runs");
        said.extend([output.stdout, output.stderr].concat());
        if output.status.code() != Some(code) {
            return Err(format!("{name}: {:?}\n{}", output.status, String::from_utf8_lossy(&said)));
        }
    }
    if contains(&said) {
        return Err(format!("it was said:\n{}", String::from_utf8_lossy(&said)));
    }
    // Everything that is kept: the store with its database, the image, the metadata.
    let mut looked_at = 0;
    look(&world.path("home"), &mut looked_at)?;
    if looked_at < 10 || !archive.exists() || !world.path("home/store/v1/store.db").exists() {
        return Err(format!("only {looked_at} files were looked at"));
    }
    Ok(())
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes())
}

/// Looks for the secret in every file below a directory, also in compressed ones.
fn look(directory: &Path, looked_at: &mut usize) -> Outcome {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        if metadata.is_dir() {
            look(&path, looked_at)?;
        } else if metadata.is_file() {
            let bytes = fs::read(&path).expect("a file");
            let mut inside = Vec::new();
            let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut inside);
            if contains(&bytes) || contains(&inside) {
                return Err(format!("the secret is in {}", path.display()));
            }
            *looked_at += 1;
        }
    }
    Ok(())
}

/// Copies a program of this machine into a context, with the libraries it is linked with.
fn copy_program(program: &str, context: &Path) -> Outcome {
    let output = Command::new("ldd").arg(program).output().map_err(|error| error.to_string())?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let to = context.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a directory")).map_err(|error| error.to_string())?;
        fs::copy(path, &to).map_err(|error| format!("{error}: {path}"))?;
    }
    Ok(())
}

/// A real agent, which ends with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn steps_use_agents_and_keys() -> Outcome {
    let world = World::new();
    let (key, socket) = (world.path("key"), world.path("socket"));
    let run = |command: &mut Command| -> Outcome {
        let output =
            command.output().map_err(|error| format!("{error}: {command:?}: run `cargo xtask setup`"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {output:?}")) }
    };
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "me", "-f"]).arg(&key))?;
    let mut agent = Command::new("ssh-agent");
    let mut agent = agent
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = BufReader::new(agent.stdout.take().expect("a pipe"));
    let _agent = Agent(agent);
    said.read_line(&mut String::new()).map_err(|error| error.to_string())?;
    run(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket))?;
    let public = fs::read_to_string(key.with_extension("pub")).expect("a public key");
    let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ");

    let context = world.path("one");
    copy_program("/usr/bin/ssh-add", &context.join("root"))?;
    let output = world.path("out");
    let output = format!("type=local,dest={}", output.display());
    let key_argument = format!("--ssh=default={}", key.display());
    let steps = "COPY root /\n\
                 RUN --mount=type=ssh,required ssh-add -L > /keys; ssh-add -D 2> /refused; ssh-add -L >> /keys\n\
                 RUN --mount=type=ssh,uid=5,mode=0600 stat -c '%u %a' $SSH_AUTH_SOCK > /owner\n\
                 USER 5\n\
                 RUN --mount=type=ssh,uid=5 ssh-add -L > /tmp/mine\n\
                 RUN --mount=type=ssh,id=default (sleep 1000; ssh-add -L) > /dev/null 2>&1 &\n";
    for (name, argument) in [("an agent", "--ssh=default"), ("a key", &key_argument)] {
        let mut command = world.command("one", steps, &[argument, "--no-cache", "--output", &output]);
        command.env("SSH_AUTH_SOCK", &socket);
        let built = command.output().expect("docker-rbx runs");
        if !built.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let read = |file: &str| fs::read_to_string(world.path("out").join(file)).unwrap_or_default();
        let keys = read("keys");
        let keys: Vec<String> =
            keys.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        if keys != [public.as_str(); 2] || read("refused").is_empty() || read("owner") != "5 600\n" {
            return Err(format!("{name}: {keys:?} {:?} {:?}", read("refused"), read("owner")));
        }
        if !read("tmp/mine").starts_with(&public) || world.path("out/run").exists() {
            return Err(format!("{name}: {:?}", read("tmp/mine")));
        }
        if world.temporary_files() > 0 {
            return Err(format!("{name}: sockets are left"));
        }
        fs::set_permissions(&output["type=local,dest=".len()..], fs::Permissions::from_mode(0o700))
            .and_then(|()| fs::remove_dir_all(&output["type=local,dest=".len()..]))
            .map_err(|error| error.to_string())?;
    }
    let mut command = world.command("one", steps, &["--ssh=default"]);
    let refused = command.output().expect("docker-rbx runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    if !said.contains("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set") {
        return Err(said);
    }
    Ok(())
}
