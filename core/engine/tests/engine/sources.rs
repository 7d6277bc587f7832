//! What comes from elsewhere: HTTP, git, archives, named contexts. Never a wrong hit, and no way out of a root.

use libtest_mimic::Trial;
use rbx_oci::{Entry, EntryKind, tar};
use rbx_request::{ArchiveStream, ContextSource, DockerfileSource, Secret, SecretSource};

use crate::fixture::{Fixture, trial};
use crate::servers::{Answer, Git, Http, git_config, gzip};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("http_file_is_revalidated_by_its_tag", http_file_is_revalidated_by_its_tag),
        trial("http_file_without_a_tag_is_fetched_each_time", http_file_without_a_tag_is_fetched_each_time),
        trial("http_file_of_the_same_content_is_the_same", http_file_of_the_same_content_is_the_same),
        trial("http_tag_that_the_server_does_not_heed", http_tag_that_the_server_does_not_heed),
        trial("http_checksum_is_checked_and_needs_no_server_then", http_checksum),
        trial("http_failures_are_told", http_failures_are_told),
        trial("http_transfer_that_breaks_off_leaves_nothing", http_transfer_that_breaks_off_leaves_nothing),
        trial("http_body_in_the_transfers_compression", http_body_in_the_transfers_compression),
        trial("http_secret_opens_a_server", http_secret_opens_a_server),
        trial("http_archive_is_unpacked_when_asked", http_archive_is_unpacked_when_asked),
        trial("sources_are_copied_in_their_order", sources_are_copied_in_their_order),
        trial("http_context_is_an_archive_or_a_dockerfile", http_context_is_an_archive_or_a_dockerfile),
        trial("dockerfile_from_an_address", dockerfile_from_an_address),
        trial("stream_context_in_every_compression", stream_context),
        trial("hostile_archives_stay_inside", hostile_archives_stay_inside),
        trial("git_branch_moves", git_branch_moves),
        trial("git_commit_needs_no_server_twice", git_commit_needs_no_server_twice),
        trial("git_names_of_commits", git_names_of_commits),
        trial("git_directory_is_inside", git_directory_is_inside),
        trial("git_dir_is_kept", git_dir_is_kept),
        trial("git_submodules", git_submodules),
        trial("git_context", git_context),
        trial("git_failures_are_told", git_failures_are_told),
        trial("git_secret_opens_a_server_and_is_not_shown", git_secret_opens_a_server),
        trial("git_repository_that_is_damaged_is_fetched_anew", git_repository_that_is_damaged),
        trial("git_repository_for_two_builds_at_once", git_repository_for_two_builds_at_once),
        trial("named_contexts_of_every_kind", named_contexts_of_every_kind),
        trial("named_directory_has_its_own_ignore_file", named_directory_has_its_own_ignore_file),
    ]
}

fn add(fixture: &mut Fixture, line: &str) {
    fixture.dockerfile(&format!("FROM scratch\n{line}\n"));
}

fn error(fixture: &mut Fixture) -> String {
    fixture.build().map(|_| ()).expect_err("a failure").reason.clone()
}

fn http_file_is_revalidated_by_its_tag(fixture: &mut Fixture) {
    const DATE: &str = "Mon, 03 Feb 2020 04:05:06 GMT";
    let server = Http::start();
    server.serve("/a.txt", Answer::file(b"one").with("ETag", "\"1\"").with("Last-Modified", DATE));
    add(fixture, &format!("ADD {} /x/", server.url("/a.txt")));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("x/a.txt"), "one");
    let entry = built.entry("x/a.txt");
    assert_eq!((entry.mode, entry.uid, entry.mtime), (0o600, 0, 1_580_702_706));
    assert!(!server.asked()[0].contains("if-none-match"));

    assert!(fixture.build().expect("a build").cached("ADD"));
    let asked = server.asked();
    assert!(asked.len() == 1 && asked[0].contains("if-none-match: \"1\""), "{asked:?}");

    // Of the same length and date.
    server.serve("/a.txt", Answer::file(b"two").with("ETag", "\"2\"").with("Last-Modified", DATE));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("x/a.txt"), "two");
    assert!(!built.cached("ADD"));
    assert_eq!(fixture.build().expect("a build").text("x/a.txt"), "two");
}

fn http_file_without_a_tag_is_fetched_each_time(fixture: &mut Fixture) {
    let server = Http::start();
    let date = "Mon, 03 Feb 2020 04:05:06 GMT";
    server.serve("/a", Answer::file(b"one").with("Last-Modified", date));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    assert_eq!(fixture.build().expect("a build").text("a"), "one");
    server.serve("/a", Answer::file(b"two").with("Last-Modified", date));
    assert_eq!(fixture.build().expect("a build").text("a"), "two");
    server.serve("/a", Answer::file(b"one"));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("a"), "one");
    assert!(built.cached("ADD"), "the file is one that was here");
}

fn http_file_of_the_same_content_is_the_same(fixture: &mut Fixture) {
    let server = Http::start();
    let file = |tag: &str, date: &str| Answer::file(b"one").with("ETag", tag).with("Last-Modified", date);
    server.serve("/a", file("\"1\"", "Mon, 03 Feb 2020 04:05:06 GMT"));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    fixture.build().expect("a build");
    server.serve("/a", file("W/\"2\"", "Tue, 04 Feb 2020 04:05:06 GMT"));
    let built = fixture.build().expect("a build");
    assert!(built.cached("ADD"));
    assert_eq!(built.entry("a").mtime, 1_580_702_706, "what was merely touched stays what it was");
    server.asked();
    fixture.build().expect("a build");
    assert!(server.asked()[0].contains("if-none-match: \"2\""), "the newer tag is known");
}

fn http_tag_that_the_server_does_not_heed(fixture: &mut Fixture) {
    let server = Http::start();
    // In another case than the test's server looks for it in.
    server.serve("/a", Answer::file(b"one").with("etag", "\"1\""));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    fixture.build().expect("a build");
    server.asked();
    assert!(fixture.build().expect("a build").cached("ADD"));
    assert!(server.asked()[0].contains("if-none-match"));
}

fn http_checksum(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/a", Answer::file(b"one"));
    let right = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let wrong = format!("sha256:{}", "0".repeat(64));
    add(fixture, &format!("ADD --checksum={wrong} {} /", server.url("/a")));
    assert_eq!(error(fixture), format!("digest mismatch {right}: {wrong}"));
    add(fixture, &format!("ADD --checksum={right} {} /", server.url("/a")));
    assert_eq!(fixture.build().expect("a build").text("a"), "one");
    server.serve("/a", Answer::status(500));
    server.asked();
    assert!(fixture.build().expect("a build").cached("ADD"));
    assert_eq!(server.asked(), Vec::<String>::new());
    add(fixture, &format!("ADD --checksum=sha256:12 {} /", server.url("/a")));
    assert_eq!(error(fixture), "invalid checksum digest length");
}

fn http_failures_are_told(fixture: &mut Fixture) {
    let server = Http::start();
    let url = server.url("/nothing");
    add(fixture, &format!("ADD {url} /"));
    assert_eq!(error(fixture), format!("invalid response status 404: failed to fetch {url}"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://u:secret@{}/x", listener.local_addr().expect("an address"));
    drop(listener);
    add(fixture, &format!("ADD {url} /"));
    let told = error(fixture);
    assert!(told.starts_with("connection refused: failed to fetch http://xxxxx:xxxxx@127.0.0.1:"), "{told}");
    server.serve("/loop", Answer::status(302).with("Location", "/loop"));
    add(fixture, &format!("ADD {} /", server.url("/loop")));
    assert!(error(fixture).starts_with("too many redirects"));
    // What was fetched before does not stand in for what cannot be asked.
    server.serve("/a", Answer::file(b"one").with("ETag", "\"1\""));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    fixture.build().expect("a build");
    server.serve("/a", Answer::status(403));
    assert!(error(fixture).starts_with("invalid response status 403"));
}

fn http_transfer_that_breaks_off_leaves_nothing(fixture: &mut Fixture) {
    let server = Http::start();
    let whole = Answer::file(&b"0123456789".repeat(1000)).with("ETag", "\"1\"");
    server.serve("/a", Answer { cut: Some(5000), ..whole.clone() });
    add(fixture, &format!("ADD {} /", server.url("/a")));
    assert!(error(fixture).ends_with(&format!("failed to fetch {}", server.url("/a"))));
    let left = std::fs::read_dir(fixture.directory.path().join("store/v1/tmp")).expect("a store").count();
    assert_eq!(left, 0);
    server.serve("/a", whole);
    server.asked();
    assert_eq!(fixture.build().expect("a build").text("a").len(), 10_000);
    assert!(!server.asked()[0].contains("if-none-match"));
}

fn http_body_in_the_transfers_compression(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/a", Answer::file(&gzip(b"plain")).with("Content-Encoding", "gzip"));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    assert_eq!(fixture.build().expect("a build").text("a"), "plain");
    let packed = gzip(b"plain");
    server.serve("/a", Answer::file(&packed[..packed.len() - 3]).with("Content-Encoding", "gzip"));
    assert!(fixture.build().is_err(), "a cut stream");
}

fn http_secret_opens_a_server(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/a", Answer::file(b"one"));
    add(fixture, &format!("ADD {} /", server.url("/a")));
    let value = SecretSource::Value(b"t0ken\n".to_vec());
    fixture.request.secrets = vec![Secret { id: "HTTP_AUTH_TOKEN_127.0.0.1".to_owned(), source: value }];
    fixture.build().expect("a build");
    assert!(server.asked()[0].contains("authorization: bearer t0ken\r\n"));
    fixture.request.secrets.clear();
    add(fixture, &format!("ADD {} /b", server.url("/a").replace("//", "//user:p%40ss@")));
    fixture.build().expect("a build");
    assert!(server.asked()[0].contains("authorization: basic dxnlcjpwqhnz"), "user:p@ss");
}

/// A tar of these entries; files hold their own paths.
fn archive(entries: &[(&str, EntryKind)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind) in entries {
        let kind = match kind {
            EntryKind::File { .. } => EntryKind::File { size: path.len() as u64 },
            kind => kind.clone(),
        };
        let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
        tar::write_header(&mut out, &Entry { mode, ..Entry::new(*path, kind.clone()) });
        if let EntryKind::File { size } = kind {
            out.extend_from_slice(path.as_bytes());
            out.resize(out.len() + tar::padding(size), 0);
        }
    }
    out.extend_from_slice(&tar::TRAILER);
    out
}

const FILE: EntryKind = EntryKind::File { size: 0 };

/// An archive of one file, which may be a Dockerfile.
fn archive_of(path: &str, content: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let size = content.len() as u64;
    tar::write_header(&mut out, &Entry { mode: 0o644, ..Entry::new(path, EntryKind::File { size }) });
    out.extend_from_slice(content.as_bytes());
    out.resize(out.len() + tar::padding(size), 0);
    out
}

fn http_archive_is_unpacked_when_asked(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/a.tar", Answer::file(&archive(&[("in/side", FILE)])));
    let url = server.url("/a.tar");
    add(fixture, &format!("ADD {url} /kept/\nADD --unpack {url} /unpacked/"));
    let built = fixture.build().expect("a build");
    assert!(built.has("kept/a.tar") && !built.has("kept/in/side"));
    assert_eq!(built.text("unpacked/in/side"), "in/side");
}

fn sources_are_copied_in_their_order(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/x", Answer::file(b"server"));
    fixture.write("x", "context");
    let url = server.url("/x");
    add(fixture, &format!("ADD {url} x /a/\nADD x {url} /b/\nADD x {url} <<x /c/\nheredoc\nx"));
    let built = fixture.build().expect("a build");
    let texts = ["a/x", "b/x", "c/x"].map(|path| built.text(path));
    assert_eq!(texts, ["context", "server", "heredoc\n"]);
    fixture.write("x", "changed");
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("a/x"), "changed");
    assert_eq!(built.text("b/x"), "server");
    // Two files of one name in two places, both new to the store and large.
    server.serve("/big", Answer::file(&b"s".repeat(3 << 20)));
    fixture.write("big", &"c".repeat(3 << 20));
    add(fixture, &format!("ADD {} big /a/", server.url("/big")));
    assert!(fixture.build().expect("a build").text("a/big").starts_with('c'));
    add(fixture, &format!("ADD big {} /a/", server.url("/big")));
    assert!(fixture.build().expect("a build").text("a/big").starts_with('s'));
    add(fixture, "ADD big /a/");
    assert!(fixture.build().expect("a build").text("a/big").starts_with('c'));
}

fn http_context_is_an_archive_or_a_dockerfile(fixture: &mut Fixture) {
    let server = Http::start();
    let mut context = archive_of("dir/Dockerfile", "FROM scratch\nCOPY . /\n");
    context.extend(archive_of(".dockerignore", "*"));
    context.extend_from_slice(&tar::TRAILER);
    server.serve("/c.tar.gz", Answer::file(&gzip(&context)).with("ETag", "\"1\""));
    fixture.request.context = ContextSource::Url(server.url("/c.tar.gz"));
    fixture.request.dockerfile = DockerfileSource::InContext("dir/Dockerfile".to_owned());
    let built = fixture.build().expect("a build");
    assert!(built.has("dir/Dockerfile"), "as in BuildKit, a context from elsewhere is taken whole");
    assert!(fixture.build().expect("a build").cached("COPY"));
    fixture.request.dockerfile = DockerfileSource::InContext("Dockerfile".to_owned());
    assert_eq!(error(fixture), "failed to read dockerfile: open Dockerfile: no such file or directory");

    server.serve("/file", Answer::file(b"FROM scratch\nCOPY . /\n"));
    fixture.request.context = ContextSource::Url(server.url("/file"));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("context"), "FROM scratch\nCOPY . /\n");
}

fn dockerfile_from_an_address(fixture: &mut Fixture) {
    let server = Http::start();
    server.serve("/d", Answer::file(b"FROM scratch\nCOPY x /\n"));
    fixture.write("x", "context");
    fixture.request.dockerfile = DockerfileSource::Url(server.url("/d"));
    assert_eq!(fixture.build().expect("a build").text("x"), "context");
    server.serve("/d", Answer::file(&b"#".repeat(5 << 20)));
    assert!(error(fixture).contains("more than"));
}

fn stream(fixture: &mut Fixture, bytes: Vec<u8>) {
    fixture.request.context = ContextSource::Tar(ArchiveStream::new(std::io::Cursor::new(bytes)));
    fixture.request.dockerfile = DockerfileSource::InContext("Dockerfile".to_owned());
}

fn stream_context(fixture: &mut Fixture) {
    let mut context = archive_of("dockerfile", "FROM scratch\nCOPY . /\n");
    context.extend(archive(&[("dir/file", FILE), ("link", EntryKind::Symlink { target: "dir".into() })]));
    stream(fixture, context.clone());
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("dir/file"), "dir/file");
    assert!(matches!(built.entry("link").kind, EntryKind::Symlink { .. }));
    stream(fixture, context.clone());
    assert!(fixture.build().expect("a build").cached("COPY"));
    stream(fixture, gzip(&context));
    assert!(fixture.build().expect("a build").cached("COPY"), "the files are the same");
    stream(fixture, b"\x1f\x8b\x08 is no archive".to_vec());
    assert!(error(fixture).ends_with("failed to unpack the context"));
    let blobs = fixture.directory.path().join("store/v1/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs).expect("a store").count(), 0, "what was unpacked is not kept twice");
}

fn hostile_archives_stay_inside(fixture: &mut Fixture) {
    let outside = fixture.directory.path().join("outside");
    std::fs::write(&outside, "untouched").expect("a file");
    let dockerfile = || archive_of("Dockerfile", "FROM scratch\nCOPY . /\n");
    let to_outside = outside.display().to_string();
    let symlink = |target: &str| EntryKind::Symlink { target: target.into() };
    let hardlink = |target: &str| EntryKind::Hardlink { target: target.into() };
    let hostile: Vec<(&str, Vec<(&str, EntryKind)>)> = vec![
        ("a path out of the root", vec![("../outside", FILE)]),
        ("a hard link out of the root", vec![("x", hardlink("../../../outside"))]),
        ("a hard link to a file of the host", vec![("x", hardlink(to_outside.trim_start_matches('/')))]),
        ("a file used as a directory", vec![("x", FILE), ("x/y", FILE)]),
    ];
    for (what, entries) in hostile {
        let mut bytes = dockerfile();
        bytes.extend(archive(&entries));
        stream(fixture, bytes);
        assert!(fixture.build().is_err(), "{what}");
    }
    // What follows a link stays inside, whatever the link says.
    let parent = fixture.directory.path().display().to_string();
    let mut bytes = dockerfile();
    bytes.extend(archive(&[
        ("dir", symlink(&parent)),
        ("dir/outside", FILE),
        ("outside", symlink(&to_outside)),
    ]));
    stream(fixture, bytes);
    let built = fixture.build().expect("a build");
    assert!(
        matches!(&built.entry("outside").kind, EntryKind::Symlink { target } if target == to_outside.as_bytes())
    );
    // A Dockerfile that is a link is looked for inside.
    let mut bytes = archive(&[("Dockerfile", symlink(&to_outside))]);
    bytes.truncate(bytes.len() - tar::TRAILER.len());
    stream(fixture, bytes);
    assert!(error(fixture).starts_with("failed to read dockerfile"));
    // One that claims more than there is.
    let mut bytes = dockerfile();
    tar::write_header(&mut bytes, &Entry::new("big", EntryKind::File { size: 1 << 50 }));
    stream(fixture, bytes);
    assert!(fixture.build().is_err());
    assert_eq!(std::fs::read_to_string(&outside).expect("a file"), "untouched");
    let left = std::fs::read_dir(fixture.directory.path().join("store/v1/tmp")).expect("a store").count();
    assert_eq!(left, 0);
}

fn git_fixture(fixture: &mut Fixture) -> Git {
    let git = Git::start();
    fixture.git = git_config();
    git.write("file", "one");
    git.write("sub/script", "#!/bin/sh\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o775);
    std::fs::set_permissions(git.work().join("sub/script"), executable).expect("a mode");
    std::os::unix::fs::symlink("../file", git.work().join("sub/link")).expect("a link");
    git
}

fn git_branch_moves(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.commit("one");
    git.publish("x.git");
    add(fixture, &format!("ADD {} /d/", git.url("x.git")));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("d/file"), "one");
    assert_eq!((built.entry("d/file").mode, built.entry("d/sub").mode), (0o644, 0o755));
    assert_eq!((built.entry("d/sub/script").mode, built.entry("d/sub/script").uid), (0o755, 0));
    assert!(!built.has("d/.git"));
    assert!(fixture.build().expect("a build").cached("ADD"));

    git.write("file", "two");
    git.commit("two");
    git.publish("x.git");
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("d/file"), "two");
    // Back to the first, by force.
    git.run(&["reset", "-q", "--hard", "HEAD~1"]);
    git.publish("x.git");
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("d/file"), "one");
    assert!(built.cached("ADD"));
}

fn git_commit_needs_no_server_twice(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    let first = git.commit("one");
    git.write("file", "two");
    git.commit("two");
    git.publish("x.git");
    let url = git.url("x.git");
    add(fixture, &format!("ADD {url}#{first} /"));
    assert_eq!(fixture.build().expect("a build").text("file"), "one");
    add(fixture, &format!("ADD {url}#main /"));
    assert_eq!(fixture.build().expect("a build").text("file"), "two");
    drop(git);
    assert!(
        error(fixture).ends_with(&format!("failed to fetch remote {url}")),
        "a branch is to be asked for"
    );
    add(fixture, &format!("ADD {url}#{first} /"));
    assert!(fixture.build().expect("a build").cached("ADD"));
}

fn git_names_of_commits(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    let commit = git.commit("one");
    git.run(&["tag", "light"]);
    git.run(&["tag", "-a", "-m", "x", "v1"]);
    git.run(&["branch", "feature/x"]);
    git.run(&["tag", "both"]);
    git.write("file", "two");
    git.commit("two");
    git.run(&["branch", "both"]);
    git.publish("x.git");
    let url = git.url("x.git");
    for (what, wanted) in [
        ("", "two"),
        ("#main", "two"),
        ("#light", "one"),
        ("#v1", "one"),
        ("#feature/x", "one"),
        ("#refs/heads/feature/x", "one"),
        ("#both", "two"),
        ("?tag=both", "one"),
        ("?branch=both", "two"),
        ("?ref=v1&checksum=", ""),
        ("?fetch-by-commit=1", ""),
    ] {
        add(fixture, &format!("ADD {url}{what} /"));
        match fixture.build() {
            Ok(built) => assert_eq!(built.text("file"), wanted, "{what}"),
            Err(error) => assert!(wanted.is_empty(), "{what}: {}", error.reason),
        }
    }
    add(fixture, &format!("ADD --checksum={commit} {url}#v1 /"));
    assert_eq!(fixture.build().expect("a build").text("file"), "one", "the tag's commit");
    add(fixture, &format!("ADD {url}?branch=whatever&checksum={commit}&fetch-by-commit /"));
    assert_eq!(fixture.build().expect("a build").text("file"), "one");
    add(fixture, &format!("ADD {url}?mtime=commit /t/"));
    let built = fixture.build().expect("a build");
    assert_eq!((built.entry("t/file").mtime, built.entry("t/sub").mtime), (1_580_702_706, 1_580_702_706));
    add(fixture, &format!("ADD --checksum={commit} {url}#main /"));
    let told = error(fixture);
    assert!(told.starts_with(&format!("expected checksum to match {commit}, got ")), "{told}");
}

fn git_directory_is_inside(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    std::os::unix::fs::symlink("/etc", git.work().join("out")).expect("a link");
    git.commit("one");
    git.publish("x.git");
    let url = git.url("x.git");
    add(fixture, &format!("ADD {url}#main:sub/. /"));
    let built = fixture.build().expect("a build");
    assert!(built.has("script") && built.has("link") && !built.has("file"));
    for (directory, reason) in [
        ("out", "git subpath \"out\" contains non-directory \"out\""),
        ("file", "git subpath \"file\" contains non-directory \"file\""),
        ("no/where", "failed to open subdir no/where: no such file or directory"),
    ] {
        add(fixture, &format!("ADD {url}#main:{directory} /"));
        assert_eq!(error(fixture), format!("{reason}: {url}"));
    }
    add(fixture, &format!("ADD {url}#main:../../sub /"));
    assert!(fixture.build().expect("a build").has("script"), "there is nothing above the root");
}

fn git_dir_is_kept(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    let commit = git.commit("one");
    git.publish("x.git");
    let url = git.url("x.git");
    add(fixture, &format!("ADD --keep-git-dir=true {url} /"));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text(".git/HEAD").trim(), commit);
    assert_eq!(built.text(".git/refs/heads/main").trim(), commit);
    assert!(built.text(".git/config").contains(&format!("url = {url}")), "{}", built.text(".git/config"));
    assert!(!built.has(".git/FETCH_HEAD") && !built.has(".git/hooks/post-checkout"));
    add(fixture, &format!("ADD {url} /"));
    assert!(!fixture.build().expect("a build").has(".git"));
    add(fixture, &format!("ADD {url}?keep-git-dir=1 /"));
    assert!(fixture.build().expect("a build").has(".git"));
    add(fixture, &format!("ADD --keep-git-dir {url}?keep-git-dir=0 /"));
    assert_eq!(error(fixture), "inconsistent keep-git-dir configuration");
}

fn git_submodules(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.commit("inner");
    git.publish("inner.git");
    let inner = git.url("inner.git");
    git.run(&["submodule", "--quiet", "add", &inner, "module"]);
    git.commit("outer");
    git.publish("outer.git");
    let url = git.url("outer.git");
    add(fixture, &format!("ADD {url} /"));
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("module/file"), "one");
    assert!(!built.has("module/.git"));
    add(fixture, &format!("ADD {url}?submodules=0 /"));
    assert!(!fixture.build().expect("a build").has("module/file"));
    add(fixture, &format!("ADD {url}?submodules=0&submodules /"));
    assert_eq!(error(fixture), "query \"submodules\" has multiple values");
    // A repository of the host is no submodule.
    git.run(&["config", "-f", ".gitmodules", "submodule.module.url", &git.work().display().to_string()]);
    git.commit("hostile");
    git.publish("outer.git");
    add(fixture, &format!("ADD {url} /"));
    let told = error(fixture);
    assert!(told.ends_with(&format!("failed to update submodules for {url}")), "{told}");
}

fn git_context(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.write("sub/Dockerfile", "FROM scratch\nCOPY . /all/\nADD script /\n");
    git.commit("one");
    git.publish("x.git");
    fixture.request.context = ContextSource::Url(format!("{}#main:sub", git.url("x.git")));
    fixture.request.dockerfile = DockerfileSource::InContext("Dockerfile".to_owned());
    let built = fixture.build().expect("a build");
    assert!(built.has("all/script") && built.has("script") && !built.has("all/.git"));
    assert!(fixture.build().expect("a build").cached("COPY"));
    fixture.request.context = ContextSource::Url(git.url("x.git"));
    fixture.request.dockerfile = DockerfileSource::InContext("sub/Dockerfile".to_owned());
    fixture.request.build_args.insert("BUILDKIT_CONTEXT_KEEP_GIT_DIR".to_owned(), "1".to_owned());
    assert!(error(fixture).contains("\"/script\": not found"));
    fixture.dockerfile("FROM scratch\nCOPY . /\n");
    assert!(fixture.build().expect("a build").has(".git/HEAD"));
}

fn git_failures_are_told(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.commit("one");
    git.publish("x.git");
    let url = git.url("x.git");
    add(fixture, &format!("ADD {url}#nothing /"));
    assert_eq!(error(fixture), format!("repository does not contain ref nothing: {url}"));
    let unknown = "0123456789012345678901234567890123456789";
    add(fixture, &format!("ADD {url}#{unknown} /"));
    let told = error(fixture);
    assert!(told.starts_with(&format!("fetched ref {unknown} does not match expected commit")), "{told}");
    let missing = git.url("missing.git");
    add(fixture, &format!("ADD {missing} /"));
    assert!(error(fixture).ends_with(&format!("failed to fetch remote {missing}")));
    add(fixture, &format!("ADD {url}#--upload-pack=touch /"));
    assert_eq!(error(fixture), "invalid git ref \"--upload-pack=touch\"");
    add(fixture, "ADD git@127.0.0.1:x.git /");
    let failed = fixture.build().map(|_| ()).expect_err("a failure");
    assert!(failed.reason.starts_with("no SSH key \"default\" forwarded from the client"));
    assert_eq!(failed.hint.as_deref(), Some("give it with --ssh default"));
    fixture.git = rbx_source::GitConfig::default();
    add(fixture, &format!("ADD {url} /"));
    let failed = fixture.build().map(|_| ()).expect_err("a failure");
    assert_eq!(failed.reason, format!("git is not installed: failed to fetch remote {url}"));
    assert!(failed.hint.as_deref().is_some_and(|hint| hint.contains("install git")));
}

fn git_secret_opens_a_server(fixture: &mut Fixture) {
    fixture.git = git_config();
    let server = Http::start();
    let url = server.url("/x.git");
    add(fixture, &format!("ADD {url} /"));
    let secret = |id: &str, value: &str| Secret {
        id: id.to_owned(),
        source: SecretSource::Value(value.as_bytes().to_vec()),
    };
    fixture.request.secrets = vec![secret("GIT_AUTH_TOKEN", "t0ken-of-mine\n")];
    let (result, events) = fixture.run();
    let told = result.expect_err("there is no repository").reason.clone();
    assert!(told.ends_with(&format!("failed to fetch remote {url}")), "{told}");
    // `x-access-token:t0ken-of-mine`, in lower case as all of the head.
    let encoded = "ec1hy2nlc3mtdg9rzw46ddbrzw4tb2ytbwluzq==";
    let asked = server.asked();
    assert!(asked.iter().all(|head| head.contains(&format!("authorization: basic {encoded}"))), "{asked:?}");
    assert!(!format!("{events:?}").contains("t0ken"));

    let host =
        format!("GIT_AUTH_HEADER.{}", url.trim_start_matches("http://").split('/').next().unwrap_or(""));
    fixture.request.secrets.push(secret(&host, "Custom x"));
    error(fixture);
    assert!(server.asked()[0].contains("authorization: custom x\r\n"), "a secret for the host goes first");
}

fn git_repository_that_is_damaged(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.commit("one");
    git.publish("x.git");
    add(fixture, &format!("ADD {} /", git.url("x.git")));
    fixture.build().expect("a build");
    let caches = fixture.directory.path().join("store/v1/caches");
    let cache = std::fs::read_dir(&caches).expect("caches").next().expect("one").expect("an entry").path();
    for round in ["HEAD", "objects"] {
        let path = cache.join("fs").join(round);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).expect("no objects");
            std::fs::create_dir(&path).expect("a directory");
        } else {
            std::fs::write(&path, "nonsense").expect("a broken file");
        }
        git.write("file", round);
        git.commit(round);
        git.publish("x.git");
        assert_eq!(fixture.build().expect("a build").text("file"), round);
    }
    // Locks of a fetch that was killed.
    std::fs::write(cache.join("fs/shallow.lock"), "").expect("a lock");
    git.write("file", "unlocked");
    git.commit("unlocked");
    git.publish("x.git");
    assert_eq!(fixture.build().expect("a build").text("file"), "unlocked");
}

fn git_repository_for_two_builds_at_once(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.write("large", &"line\n".repeat(200_000));
    git.commit("one");
    git.publish("x.git");
    add(fixture, &format!("ADD {} /", git.url("x.git")));
    let one = &*fixture;
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| one.run().0.map(drop))).collect();
        for build in builds {
            build.join().expect("no panic").expect("a build");
        }
    });
    let caches = fixture.directory.path().join("store/v1/caches");
    assert_eq!(std::fs::read_dir(caches).expect("caches").count(), 1, "one repository for one remote");
    assert!(fixture.build().expect("a build").cached("ADD"));
}

fn named_contexts_of_every_kind(fixture: &mut Fixture) {
    let git = git_fixture(fixture);
    git.commit("one");
    git.publish("x.git");
    let server = Http::start();
    server.serve("/f", Answer::file(b"served"));
    fixture.write("main", "main");
    let other = fixture.directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(other.join("o"), "other").expect("a file");
    for (name, value) in [
        ("repo", git.url("x.git")),
        ("file", server.url("/f")),
        ("dir", other.display().to_string()),
        ("none", "docker-image://scratch".to_owned()),
        ("lost", "target:x".to_owned()),
    ] {
        fixture.request.named_contexts.insert(name.to_owned(), value);
    }
    add(fixture, "COPY --from=repo file /1/\nCOPY --from=file . /2/\nCOPY --from=dir o /3/\nCOPY main /4/");
    let built = fixture.build().expect("a build");
    let texts = ["1/file", "2/context", "3/o", "4/main"].map(|path| built.text(path));
    assert_eq!(texts, ["one", "served", "other", "main"]);
    assert!(fixture.build().expect("a build").cached("--from=repo"));

    for (name, path) in [("repo", "file"), ("file", "context"), ("dir", "o")] {
        fixture.dockerfile(&format!("FROM {name}\nCOPY main /\n"));
        let built = fixture.build().expect("a build");
        assert!(built.has(path) && built.has("main"), "FROM {name}");
    }
    fixture.dockerfile("FROM none\nCOPY main /\n");
    assert_eq!(fixture.build().expect("a build").files.len(), 1);
    fixture.dockerfile("FROM scratch AS repo\nCOPY missing /\nFROM scratch\nCOPY --from=repo . /\n");
    assert!(fixture.build().expect("a build").has("file"), "it stands in for a stage");
    add(fixture, "COPY --from=none x /");
    assert!(error(fixture).contains("\"/x\": not found"));
    add(fixture, "COPY --from=lost x /");
    assert_eq!(error(fixture), "unsupported context source target for lost");
}

fn named_directory_has_its_own_ignore_file(fixture: &mut Fixture) {
    let other = fixture.directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    for (name, content) in [("kept", "k"), ("secret", "s"), (".dockerignore", "secret")] {
        std::fs::write(other.join(name), content).expect("a file");
    }
    fixture.write(".dockerignore", "kept");
    fixture.request.named_contexts.insert("dir".to_owned(), other.display().to_string());
    add(fixture, "COPY --from=dir . /");
    let built = fixture.build().expect("a build");
    assert!(built.has("kept") && !built.has("secret"));
}
