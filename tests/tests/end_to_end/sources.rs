//! Sources and contexts from elsewhere, by real processes: killed, several at once, and over standard input.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, Server, rbx};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn(&Path, &Parts)| {
        Trial::test(format!("sources::{name}"), move || {
            let directory = tempfile::tempdir().expect("a temporary directory");
            test(directory.path(), &Parts::locate());
            Ok::<(), Failed>(())
        })
    };
    vec![
        trial("killed_in_the_middle_of_a_download", killed_in_the_middle_of_a_download),
        trial("one_repository_for_builds_at_once", one_repository_for_builds_at_once),
        trial("context_from_standard_input", context_from_standard_input),
    ]
}

/// A build of the `context` below a directory, whose result is `out` there.
fn build(directory: &Path, parts: &Parts, out: &str, context: &str) -> Command {
    let mut command = rbx(parts, directory);
    let output = format!("type=local,dest={}", directory.join(out).display());
    command.args(["build", "--progress=plain", "--output", &output, context]).current_dir(directory);
    command
}

fn finish(command: &mut Command) -> String {
    let output = command.output().expect("docker-rbx can be run");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn dockerfile(directory: &Path, text: &str) {
    fs::create_dir_all(directory.join("context")).expect("a context");
    fs::write(directory.join("context/Dockerfile"), text).expect("a Dockerfile");
}

fn killed_in_the_middle_of_a_download(directory: &Path, parts: &Parts) {
    const HALF: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, half_sent) = mpsc::channel();
    // The first answer stops half-way, for as long as anybody waits.
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n", 2 * HALF);
            let body = vec![b'x'; if number == 0 { HALF } else { 2 * HALF }];
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            let _ = sender.send(());
            kept.push(stream);
        }
    });
    dockerfile(directory, &format!("FROM scratch\nADD http://{address}/file /\n"));
    let mut killed = build(directory, parts, "out", "context")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-rbx can be run");
    half_sent.recv().expect("the server answers");
    killed.kill().expect("it can be killed");
    killed.wait().expect("it ends");
    finish(&mut build(directory, parts, "out", "context"));
    assert_eq!(fs::read(directory.join("out/file")).expect("the file"), vec![b'x'; 2 * HALF]);
    let left = fs::read_dir(directory.join("store/v1/tmp")).expect("a store").count();
    assert_eq!(left, 0, "nothing is left of the first");
}

fn repository(directory: &Path) {
    let script = "git init -q -b main work && cd work && seq 100000 >file && git add . && \
                  git -c user.name=n -c user.email=e commit -q -m one && cd .. && \
                  git clone -q --mirror work x.git && rm -r work";
    fs::create_dir(directory).expect("a directory");
    let made = Command::new("sh").args(["-ec", script]).current_dir(directory).status();
    assert!(made.expect("sh can be run").success());
}

fn one_repository_for_builds_at_once(directory: &Path, parts: &Parts) {
    let served = directory.join("served");
    repository(&served);
    let server = Server::start(&served);
    let git = server.names().into_iter().find(|(name, _)| name == "git.test").expect("git is served").1;
    dockerfile(directory, &format!("FROM scratch\nADD git://{git}/x.git /\n"));
    let outs = ["1", "2", "3"];
    let running: Vec<_> = outs
        .map(|out| {
            let mut command = build(directory, parts, out, "context");
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("docker-rbx can be run")
        })
        .into();
    for build in running {
        let output = build.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let texts = outs.map(|out| fs::read(directory.join(out).join("file")).expect("the file"));
    assert!(texts[0].ends_with(b"100000\n") && texts[0] == texts[1] && texts[1] == texts[2]);
    let caches = fs::read_dir(directory.join("store/v1/caches")).expect("a store").count();
    assert_eq!(caches, 1, "one repository for one remote");
    // The commit is known, the branch is asked for.
    drop(server);
    let output = build(directory, parts, "4", "context").output().expect("docker-rbx can be run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("failed to fetch remote git://{git}/x.git")), "{text}");
}

fn context_from_standard_input(directory: &Path, parts: &Parts) {
    dockerfile(directory, "FROM scratch\nCOPY file /\n");
    fs::write(directory.join("context/file"), "content").expect("a file");
    for (round, compression) in ["", "z", "J", "j", "--zstd"].iter().enumerate() {
        let option = if compression.starts_with('-') { *compression } else { &format!("-{compression}") };
        let mut tar = Command::new("tar");
        tar.arg("-c");
        if !compression.is_empty() {
            tar.arg(option);
        }
        let mut tar = tar
            .args(["-f", "-", "-C"])
            .arg(directory.join("context"))
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar can be run");
        let archive = tar.stdout.take().expect("a pipe");
        let text = finish(build(directory, parts, "out", "-").stdin(archive));
        assert!(tar.wait().expect("it ends").success(), "tar {option}");
        assert_eq!(fs::read_to_string(directory.join("out/file")).expect("the file"), "content");
        assert_eq!(round > 0, text.contains("COPY file /\n#4 CACHED"), "{text}");
        fs::remove_dir_all(directory.join("out")).expect("the output can be removed");
    }
}
