//! Contexts sent to a real Engine, beside what buildx sends it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbx_request::Cancel;
use rbx_tests::{Engine, Store, compare, read_root};
use tempfile::TempDir;

use super::{build, connect, dockerfile};
use crate::Client;
use crate::proto::control;
use crate::session::{Locals, Output, Outputs, Services, Session};
use crate::solve::Solve;

/// A context of our own: what git would not keep, and what the corpus has no case for.
const SPECIAL: &str = r#"
mkdir -p d/empty sub.d sub
echo 1 > d/first; ln d/first d/second; ln d/first a-link; ln d/first z-link
mkfifo d/fifo; ln d/fifo d/pipe
mknod d/null c 1 3; mknod d/loop b 7 0
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("d/socket")'
echo 2 > sub.d/x; echo 3 > sub/x; echo 4 > sub-x
printf 5 > "$(printf 'not-\377-text')"
ln -s target d/symlink; setfattr -h -n trusted.link -v 1 d/symlink
setfattr -n user.note -v kept d/first; setfattr -n trusted.note -v kept d/empty
cp /bin/true capable; setcap cap_net_raw+ep capable
chmod 6755 d/first; chmod 1777 d/empty; chmod 000 sub.d/x
touch -d '1969-12-31 23:59:58.5' sub-x; touch -h -d '2001-02-03 04:05:06.789' d/symlink
"#;

/// A context where links decide what is needed.
const LINKED: &str = "
mkdir -p real/dir other
echo 1 > real/dir/file; echo 2 > other/file; echo 3 > unused
ln -s real/dir link; ln -s /other absolute; ln -s ../../../other/file real/up; ln -s loop loop
ln -s ../other real/dir/inner
";

/// What a context is made of, and what is built of it.
struct Case {
    name: String,
    context: PathBuf,
    script: String,
    ignore: Option<PathBuf>,
    dockerfile: &'static str,
}

fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let everything = "FROM scratch\nCOPY . /\n";
    let mut cases = Vec::new();
    for case in fs::read_dir(&corpus).unwrap() {
        let directory = case.unwrap().path();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        let about_contexts =
            ["context-modes", "long-paths", "symlinks-in-context", "unicode-names", "capabilities"];
        if !name.starts_with("dockerignore")
            && !name.starts_with("copy-")
            && !about_contexts.contains(&&*name)
        {
            continue;
        }
        let ignore = Some(directory.join("Dockerfile.dockerignore")).filter(|file| file.exists());
        let script = fs::read_to_string(directory.join("prepare.sh")).unwrap_or_default();
        cases.push(Case { context: directory.join("context"), name, script, ignore, dockerfile: everything });
    }
    let own = |name: &str, script: &str, dockerfile| Case {
        name: name.to_owned(),
        context: PathBuf::new(),
        script: script.to_owned(),
        ignore: None,
        dockerfile,
    };
    cases.push(own("special", SPECIAL, everything));
    cases.push(own(
        "linked",
        LINKED,
        "FROM scratch\nCOPY link/file /a/\nCOPY absolute/* real/u* /b/\nCOPY l*/f* /c/\nCOPY --link link/inner /d\n",
    ));
    cases.push(own("loop", LINKED, "FROM scratch\nCOPY loop /a\n"));
    cases
}

/// A build of ours, to an archive.
async fn ours(client: &Client, context: &Path, file: &Path, archive: &Path) -> Result<(), String> {
    let locals = Locals::new([("context", context), ("dockerfile", file)]).unwrap();
    let outputs = Outputs::new([(0, Output::File(archive.to_owned()))]).unwrap();
    let solve = Solve {
        session: Session::new(
            "test",
            context.display().to_string(),
            Services { locals, outputs, ..Services::default() },
        ),
        inputs: HashMap::new(),
        attributes: [("no-cache".to_owned(), String::new())].into(),
        exporters: vec![control::Exporter { r#type: "tar".to_owned(), ..control::Exporter::default() }],
        ..dockerfile("")
    };
    build(client, solve, &Cancel::default()).await.0.map(drop).map_err(|failure| failure.reason)
}

#[tokio::test]
async fn contexts_arrive_as_those_of_buildx() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let mut built = 0;
    for case in cases() {
        let Case { name, context, script, ignore, dockerfile } = case;
        let directory = TempDir::new().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["context", "file"] {
            fs::create_dir(at(path)).unwrap();
        }
        if context.exists() {
            let copied = Command::new("cp").arg("-a").arg(context.join(".")).arg(at("context")).status();
            assert!(copied.unwrap().success(), "{name}");
        }
        let prepared =
            Command::new("sh").args(["-euc", &script]).current_dir(at("context")).output().unwrap();
        assert!(prepared.status.success(), "{name}: {}", String::from_utf8_lossy(&prepared.stderr));
        fs::write(at("file/Dockerfile"), dockerfile).unwrap();
        if let Some(ignore) = ignore {
            fs::copy(ignore, at("file/Dockerfile.dockerignore")).unwrap();
        }

        let mut buildx = engine.buildx();
        buildx.args(["build", "--progress=plain", "--no-cache", "--provenance=false", "--file"]);
        buildx.arg(at("file/Dockerfile")).arg(at("context"));
        buildx.arg(format!("--output=type=tar,dest={}", at("theirs.tar").display()));
        let theirs = buildx.output().unwrap();
        let said = String::from_utf8_lossy(&theirs.stderr);
        let ours = ours(&client, &at("context"), &at("file"), &at("ours.tar")).await;
        if !theirs.status.success() {
            let error = said.lines().rfind(|line| line.starts_with("ERROR: ")).unwrap_or(&said);
            let reason = ours.expect_err(&name);
            assert!(error.contains(&reason), "{name}: {reason}\n{error}");
            continue;
        }
        assert_eq!(ours, Ok(()), "{name}");
        let differences = compare::roots(&read_root(&at("theirs.tar")), &read_root(&at("ours.tar")));
        assert!(differences.is_empty(), "{name}: {differences:?}");
        built += 1;
    }
    assert!(built > 15, "{built}");
}
