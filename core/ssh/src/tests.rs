//! With OpenSSH's own programs as clients, and as the user's agent.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use proptest::prelude::*;

use super::*;

/// A directory with keys, and a runtime for what listens.
struct World {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, runtime: tokio::runtime::Runtime::new().expect("a runtime") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a key as OpenSSH does.
    fn key(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let (no_passphrase, mut command) = (["-N", ""], Command::new("ssh-keygen"));
        let passphrase = if arguments.contains(&"-N") { &[][..] } else { &no_passphrase };
        let made = command.args(["-q", "-C", name, "-f"]).arg(&path).args(arguments).args(passphrase);
        let made = made.output().expect("ssh-keygen: run `cargo xtask setup`");
        assert!(made.status.success(), "{made:?}");
        path
    }

    /// A key that can be read. The library refuses one in a few hundred keys of ECDSA: those whose number happens to
    /// be shorter than the curve's.
    fn readable_key(&self, name: &str, arguments: &[&str]) -> PathBuf {
        for _ in 0..10 {
            let path = self.key(name, arguments);
            match Self::open(&[&path]) {
                Err(error) if error.ends_with("length invalid") => {
                    std::fs::remove_file(&path).expect("a key that is made anew");
                }
                _ => return path,
            }
        }
        panic!("no key of {name} can be read");
    }

    fn open(paths: &[&Path]) -> Result<Agent, String> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        Agent::open(&SshForward { id: "default".to_owned(), paths }).map_err(|error| error.to_string())
    }

    /// A socket at which an agent answers.
    fn forward(&self, agent: Agent) -> PathBuf {
        let socket = self.path("agent");
        let _entered = self.runtime.enter();
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let agent = Arc::new(agent);
        self.runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let agent = agent.clone();
                tokio::spawn(async move { agent.serve(client).await });
            }
        });
        socket
    }
}

/// A real agent, ended with the test.
struct RealAgent(Child, PathBuf);

impl RealAgent {
    fn start(socket: PathBuf) -> Self {
        let mut agent = Command::new("ssh-agent");
        let mut child =
            agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).spawn().expect("ssh-agent");
        // It says where it listens once it does.
        let mut line = [0; 1];
        child.stdout.as_mut().expect("output").read_exact(&mut line).expect("a line");
        Self(child, socket)
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(program: &str, socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.env("SSH_AUTH_SOCK", socket).args(arguments).stdin(Stdio::null()).output().expect(program)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The algorithm and the key of each line.
fn listed(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let output = text(&output.stdout);
    let words = output.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    words.collect()
}

#[test]
fn keys_list_and_sign() {
    let world = World::new();
    let kinds: [(&str, &[&str]); 8] = [
        ("ed25519", &["-t", "ed25519"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("pkcs1", &["-t", "rsa", "-b", "3072", "-m", "PEM"]),
        ("pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("rsa4096", &["-t", "rsa", "-b", "4096"]),
    ];
    let keys: Vec<PathBuf> =
        kinds.iter().map(|(name, arguments)| world.readable_key(name, arguments)).collect();
    let agent = World::open(&keys.iter().map(PathBuf::as_path).collect::<Vec<_>>()).expect("keys");
    let socket = world.forward(agent);
    let public = |key: &Path| {
        let line = std::fs::read_to_string(key.with_extension("pub")).expect("a public key");
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    let expected: Vec<String> = keys.iter().map(|key| public(key)).collect();
    assert_eq!(listed(&client("ssh-add", &socket, &["-L"])), expected);

    let message = world.path("message");
    std::fs::write(&message, "signed").expect("a file");
    for (key, (kind, _)) in keys.iter().zip(kinds) {
        let public = key.with_extension("pub");
        // Only the agent has it now.
        std::fs::remove_file(key).expect("removal");
        let signature = world.path("message.sig");
        let _ = std::fs::remove_file(&signature);
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let sign = ["-Y", "sign", "-n", "test", "-f", &path(&public), &path(&message)];
        let signed = client("ssh-keygen", &socket, &sign);
        assert!(signed.status.success(), "{kind}: {signed:?}");
        let signature = path(&signature);
        let check = ["-Y", "check-novalidate", "-n", "test", "-s", &signature];
        let checked = Command::new("ssh-keygen")
            .args(check)
            .stdin(std::fs::File::open(&message).expect("a file"))
            .output()
            .expect("ssh-keygen");
        assert!(checked.status.success(), "{kind}: {checked:?}");
    }
}

#[test]
fn of_the_users_agent_steps_list_and_sign_only() {
    let world = World::new();
    let (one, two) = (world.key("one", &["-t", "ed25519"]), world.key("two", &["-t", "ed25519"]));
    let real = RealAgent::start(world.path("real"));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    assert!(client("ssh-add", &real.1, &[&path(&one)]).status.success());
    let socket = world.forward(World::open(&[&real.1]).expect("a socket"));
    let before = listed(&client("ssh-add", &real.1, &["-L"]));
    assert_eq!(before.len(), 1);
    assert_eq!(listed(&client("ssh-add", &socket, &["-L"])), before);
    for arguments in [&["-D"][..], &["-d", &path(&one)], &[&path(&two)]] {
        let refused = client("ssh-add", &socket, arguments);
        assert!(!refused.status.success(), "{refused:?}");
    }
    // Lock, unlock, extension, and numbers that nobody has given out.
    for request in [22, 23, 27, 1, 0, 255] {
        let mut connection = UnixStream::connect(&socket).expect("a connection");
        connection.write_all(&[0, 0, 0, 1, request]).expect("a request");
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [0, 0, 0, 1, FAILURE], "{request}");
    }
    assert_eq!(listed(&client("ssh-add", &real.1, &["-L"])), before);
}

#[test]
fn nonsense_is_refused() {
    let world = World::new();
    let key = world.key("one", &["-t", "ed25519"]);
    let socket = world.forward(World::open(&[&key]).expect("a key"));
    let answer_to = |request: &[u8]| {
        let mut connection = UnixStream::connect(&socket).expect("a connection");
        connection.write_all(request).expect("a request");
        connection.shutdown(std::net::Shutdown::Write).expect("an end");
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        answer
    };
    let refused = [0, 0, 0, 1, FAILURE];
    assert_eq!(answer_to(&[0, 0, 0, 0]), refused, "an empty message");
    assert_eq!(answer_to(&[0, 0, 0, 1, SIGN_REQUEST]), refused);
    assert_eq!(answer_to(&[0, 0, 0, 9, SIGN_REQUEST, 255, 255, 255, 255, 0, 0, 0, 0]), refused);
    let mut unknown = vec![0, 0, 0, 15, SIGN_REQUEST, 0, 0, 0, 1, b'x', 0, 0, 0, 1, b'y'];
    unknown.extend([0; 4]);
    assert_eq!(answer_to(&unknown), refused, "no such key");
    assert_eq!(answer_to(&[255, 255, 255, 255, 11]), [0; 0], "a message that is too long");
    assert_eq!(answer_to(&[0, 0, 0, 9, 11]), [0; 0], "a message cut short");
    assert_eq!(answer_to(&[0, 0, 0, 1, 11, 0, 0, 0, 1, 11])[4], IDENTITIES_ANSWER);
}

#[test]
fn an_agent_that_is_gone_ends_the_connection() {
    let world = World::new();
    let socket = world.path("gone");
    drop(UnixListener::bind(&socket).expect("a socket"));
    let forwarded = world.forward(World::open(&[&socket]).expect("a socket"));
    let failed = client("ssh-add", &forwarded, &["-l"]);
    assert!(!failed.status.success(), "{failed:?}");
}

#[test]
fn what_cannot_be_used_is_said_in_buildxs_words() {
    let world = World::new();
    let key = world.key("key", &["-t", "ed25519"]);
    let junk = world.path("junk");
    std::fs::write(&junk, "junk\n").expect("a file");
    let binary = world.path("binary");
    std::fs::write(&binary, [0xff; 200]).expect("a file");
    let socket = world.path("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let other = world.path("other");
    std::fs::write(&other, "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n")
        .expect("a file");
    let cut = world.path("cut");
    std::fs::write(&cut, &std::fs::read(&key).expect("a key")[..100]).expect("a file");
    let damaged = world.path("damaged");
    std::fs::write(&damaged, "-----BEGIN RSA PRIVATE KEY-----\n!\n-----END RSA PRIVATE KEY-----\n")
        .expect("a file");
    let encrypted = world.key("encrypted", &["-t", "ed25519", "-N", "passphrase"]);
    let encrypted_pem = world.key("encrypted-pem", &["-t", "rsa", "-m", "PEM", "-N", "passphrase"]);
    let public = key.with_extension("pub");
    let shown = |path: &Path| path.display().to_string();
    let missing = world.path("none");
    for (paths, error) in [
        (vec![&missing], format!("stat {}: no such file or directory", shown(&missing))),
        (vec![&junk], format!("failed to parse {}: ssh: no key found", shown(&junk))),
        (vec![&binary], format!("failed to parse {}: ssh: no key found", shown(&binary))),
        (vec![&public], format!("failed to parse {}: ssh: no key found", shown(&public))),
        (vec![&cut], format!("failed to parse {}: ssh: no key found", shown(&cut))),
        (
            vec![&other],
            format!("failed to parse {}: ssh: unsupported key type \"EC PRIVATE KEY\"", shown(&other)),
        ),
        (
            vec![&key, &encrypted],
            format!("failed to parse {}: ssh: this private key is passphrase protected", shown(&encrypted)),
        ),
        (
            vec![&encrypted_pem],
            format!(
                "failed to parse {}: ssh: this private key is passphrase protected",
                shown(&encrypted_pem)
            ),
        ),
        (vec![&key, &socket], "invalid combination of keys and sockets: --ssh default".to_owned()),
        (
            vec![&socket, &key],
            format!("only single socket allowed: --ssh default={},{}", shown(&socket), shown(&key)),
        ),
    ] {
        let paths: Vec<&Path> = paths.into_iter().map(PathBuf::as_path).collect();
        assert_eq!(World::open(&paths).expect_err("an error"), error);
    }
    let twice = vec![SshForward { id: "x".to_owned(), paths: vec![key.clone()] }; 2];
    assert_eq!(Agent::open_all(&twice).expect_err("an error").to_string(), "duplicate agent ID \"x\"");
    let error = World::open(&[&damaged]).expect_err("an error");
    assert!(error.starts_with(&format!("failed to parse {}: ssh: ", shown(&damaged))), "{error}");
    let error = World::open(&[world.directory.path()]).expect_err("an error");
    assert!(error.ends_with("is a directory") && error.starts_with("failed to read "), "{error}");
}

#[test]
fn a_key_says_nothing_of_itself() {
    let world = World::new();
    let key = world.key("key", &["-t", "ed25519"]);
    let agent = World::open(&[&key]).expect("a key");
    assert_eq!(format!("{agent:?}"), "Keys([PrivateKey { .. }])");
}

/// What an agent with one key answers to bytes, and how it ended.
fn answers(bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    static KEY: std::sync::LazyLock<Agent> = std::sync::LazyLock::new(|| {
        let world = World::new();
        World::open(&[&world.key("key", &["-t", "ed25519"])]).expect("a key")
    });
    let agent: &Agent = &KEY;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut answers = Vec::new();
        let ended = agent.serve(tokio::io::join(bytes, &mut answers)).await;
        (answers, ended)
    })
}

proptest! {
    #[test]
    fn every_message_has_one_answer(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
        kinds in proptest::collection::vec(prop_oneof![Just(11_u8), Just(13), any::<u8>()], 6),
    ) {
        let mut bytes = Vec::new();
        for (message, kind) in messages.iter().zip(kinds) {
            put_string(&mut bytes, &[&[kind], message.as_slice()].concat());
        }
        let (answers, ended) = answers(&bytes);
        prop_assert!(ended.is_ok());
        let mut rest = answers.as_slice();
        for _ in &messages {
            let answer = take_string(&mut rest).expect("an answer");
            prop_assert!(matches!(answer.first(), Some(&(FAILURE | IDENTITIES_ANSWER))));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn nonsense_ends_it(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = answers(&bytes);
    }
}
