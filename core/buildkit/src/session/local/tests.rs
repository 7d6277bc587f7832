use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use proptest::prelude::*;
use rbx_dockerfile::Ignore;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming};

use super::*;
use crate::proto::filesync::file_sync_client::FileSyncClient;
use crate::proto::fsutil::packet::PacketType;
use crate::proto::fsutil::{Packet, Stat};

const DIRECTORY: u32 = 1 << 31;

/// A receiver of a tree, as a daemon is one.
struct Receiver {
    requests: mpsc::Sender<Packet>,
    answers: Streaming<Packet>,
}

impl Receiver {
    async fn open(locals: &Locals, headers: &[(&'static str, &str)]) -> Self {
        let (requests, receiver) = mpsc::channel(1 << 16);
        let mut request = Request::new(ReceiverStream::new(receiver));
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let answers =
            FileSyncClient::new(locals.clone().server()).diff_copy(request).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn say(&self, kind: PacketType, id: u32) {
        let packet = Packet { r#type: kind.into(), id, ..Packet::default() };
        // Whoever does not listen any more has said why.
        let _ = self.requests.send(packet).await;
    }

    async fn next(&mut self) -> Result<Option<Packet>, Status> {
        tokio::time::timeout(Duration::from_mins(1), self.answers.message()).await.unwrap()
    }

    /// The tree.
    async fn stats(&mut self) -> Result<Vec<Stat>, Status> {
        let mut stats = Vec::new();
        while let Some(packet) = self.next().await? {
            assert!(matches!(packet.r#type(), PacketType::PacketStat | PacketType::PacketErr), "{packet:?}");
            match packet.stat {
                Some(stat) => stats.push(stat),
                None if packet.r#type() == PacketType::PacketStat => return Ok(stats),
                None => {}
            }
        }
        panic!("it ended early")
    }

    /// What is sent until the end: contents by number, and how it ended.
    async fn contents(&mut self) -> (BTreeMap<u32, Vec<u8>>, Result<(), Status>) {
        let mut contents = BTreeMap::<u32, Vec<u8>>::new();
        let mut ended = BTreeSet::new();
        let outcome = loop {
            match self.next().await {
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
                Ok(Some(packet)) if packet.r#type() == PacketType::PacketData => {
                    assert!(!ended.contains(&packet.id));
                    contents.entry(packet.id).or_default().extend(&packet.data);
                    if packet.data.is_empty() {
                        ended.insert(packet.id);
                    }
                }
                Ok(Some(packet)) => {
                    assert!(matches!(packet.r#type(), PacketType::PacketFin | PacketType::PacketErr));
                }
            }
        };
        contents.retain(|id, _| ended.contains(id));
        (contents, outcome)
    }

    /// All of these contents.
    async fn fetch(mut self, ids: impl IntoIterator<Item = u32>) -> BTreeMap<u32, Vec<u8>> {
        let mut missing = 0;
        for id in ids {
            self.say(PacketType::PacketReq, id).await;
            missing += 1;
        }
        let mut contents = BTreeMap::<u32, Vec<u8>>::new();
        while missing > 0 {
            let packet = self.next().await.unwrap().unwrap();
            assert_eq!(packet.r#type(), PacketType::PacketData, "{packet:?}");
            contents.entry(packet.id).or_default().extend(&packet.data);
            missing -= u32::from(packet.data.is_empty());
        }
        self.say(PacketType::PacketFin, 0).await;
        assert_eq!(self.next().await.unwrap().unwrap().r#type(), PacketType::PacketFin);
        assert_eq!(self.next().await.unwrap(), None);
        contents
    }
}

fn locals(directory: &TempDir) -> Locals {
    Locals::new([("context", directory.path())]).unwrap()
}

/// Everything that a request gets: what is said of each file, and contents.
async fn everything(
    directory: &TempDir,
    headers: &[(&'static str, &str)],
) -> (Vec<Stat>, BTreeMap<String, Vec<u8>>) {
    let headers = [&[("dir-name", "context")], headers].concat();
    let mut receiver = Receiver::open(&locals(directory), &headers).await;
    let stats = receiver.stats().await.unwrap();
    let has_content = |stat: &Stat| stat.mode & 0xfe28_0000 == 0 && stat.linkname.is_empty();
    let ids = (0..).zip(&stats).filter(|(_, stat)| has_content(stat)).map(|(id, _)| id);
    let contents = receiver.fetch(ids.collect::<Vec<u32>>()).await;
    let named = contents.into_iter().map(|(id, content)| (stats[id as usize].path.clone(), content));
    let named = named.collect();
    (stats, named)
}

async fn paths(directory: &TempDir, headers: &[(&'static str, &str)]) -> Vec<String> {
    everything(directory, headers).await.0.into_iter().map(|stat| stat.path).collect()
}

fn write(directory: &TempDir, path: &str, content: &[u8]) {
    let path = directory.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn trees_are_sent_as_they_are() {
    let directory = TempDir::new().unwrap();
    let at = |path: &str| directory.path().join(path);
    write(&directory, "a/b", b"content");
    write(&directory, "a.txt", b"");
    write(&directory, "large", &vec![b'x'; 1_000_000]);
    fs::hard_link(at("a/b"), at("z")).unwrap();
    symlink("../a", at("a/link")).unwrap();
    fs::set_permissions(at("a.txt"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o1777)).unwrap();
    File::open(at("a.txt")).unwrap().set_modified(std::time::UNIX_EPOCH + Duration::new(1, 5)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("a/b"), "user.rbx", b"\0value", flags).unwrap();

    let (stats, contents) = everything(&directory, &[]).await;
    let shown: Vec<String> = stats
        .iter()
        .map(|stat| {
            let size = if stat.mode & DIRECTORY == 0 { stat.size } else { 0 };
            assert_eq!((stat.uid, stat.gid), (0, 0));
            let xattrs: Vec<_> = stat.xattrs.keys().filter(|name| name.starts_with("user.")).collect();
            format!("{} {:x} {size} {} {xattrs:?}", stat.path, stat.mode, stat.linkname)
        })
        .collect();
    let umask = fs::metadata(at("large")).unwrap().mode() & 0o777;
    let socket = fs::metadata(at("socket")).unwrap().mode() & 0o777;
    let expected = [
        "a 801003ff & 0".to_owned(),
        format!("a/b {umask:x} 7  [\"user.rbx\"]"),
        "a/link 80001ff 4 ../a []".to_owned(),
        "a.txt 8001c9 0  []".to_owned(),
        "fifo 2000180 0  []".to_owned(),
        format!("large {umask:x} 1000000  []"),
        format!("socket {socket:x} 0  []"),
        format!("z {umask:x} 7 a/b [\"user.rbx\"]"),
    ];
    assert_eq!(shown[0], "a 801001ff 0  []");
    assert_eq!(shown[1..], expected[1..]);
    assert_eq!(stats[3].mod_time, 1_000_000_005);
    assert_eq!(stats[1].xattrs["user.rbx"], b"\0value");
    assert_eq!(contents.keys().map(String::as_str).collect::<Vec<_>>(), ["a.txt", "a/b", "large", "socket"]);
    assert_eq!(contents["a/b"], b"content");
    assert_eq!(contents["large"], vec![b'x'; 1_000_000]);
    assert_eq!(contents["socket"], b"");
}

#[tokio::test]
async fn nothing_is_sent_that_was_not_asked_for() {
    let directory = TempDir::new().unwrap();
    for number in 0..100 {
        write(&directory, &format!("d{}/f{number}", number % 7), number.to_string().as_bytes());
    }
    let mut receiver = Receiver::open(&locals(&directory), &[("dir-name", "context")]).await;
    let stats = receiver.stats().await.unwrap();
    let last = stats.iter().rposition(|stat| stat.mode & DIRECTORY == 0).unwrap();
    let first = stats.iter().position(|stat| stat.mode & DIRECTORY == 0).unwrap();
    let ids: Vec<u32> = [last, first].map(|id| u32::try_from(id).unwrap()).to_vec();
    let contents = receiver.fetch(ids.clone()).await;
    assert_eq!(contents.keys().copied().collect::<Vec<_>>(), [ids[1], ids[0]]);
    for (id, content) in contents {
        let name = stats[id as usize].path.rsplit_once("/f").unwrap().1;
        assert_eq!(content, name.as_bytes());
    }

    let mut receiver = Receiver::open(&locals(&directory), &[("dir-name", "context")]).await;
    receiver.stats().await.unwrap();
    assert!(receiver.fetch([]).await.is_empty());
}

#[tokio::test]
async fn numbers_that_mean_nothing_end_the_transfer() {
    let directory = TempDir::new().unwrap();
    write(&directory, "d/file", b"content");
    for ids in [&[1, 1][..], &[0], &[2], &[u32::MAX]] {
        let mut receiver = Receiver::open(&locals(&directory), &[("dir-name", "context")]).await;
        assert_eq!(receiver.stats().await.unwrap().len(), 2);
        for id in ids {
            receiver.say(PacketType::PacketReq, *id).await;
        }
        let (_, outcome) = receiver.contents().await;
        let wrong = ids.last().unwrap();
        assert_eq!(outcome.unwrap_err().message(), format!("invalid file id {wrong}"), "{ids:?}");
    }
}

#[tokio::test]
async fn only_named_directories_are_there() {
    let directory = TempDir::new().unwrap();
    let locals = locals(&directory);
    for headers in [&[][..], &[("dir-name", "..")], &[("dir-name", "/")]] {
        let status = Receiver::open(&locals, headers).await.next().await.unwrap_err();
        let name = headers.first().map_or("", |(_, name)| name);
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), format!("no access allowed to dir {name:?}"));
    }
    let headers = [("dir-name", "context"), ("exclude-patterns", "[a")];
    let status = Receiver::open(&locals, &headers).await.next().await.unwrap_err();
    assert_eq!(status.message(), "invalid excludepatterns: [[a]: syntax error in pattern");

    let missing = directory.path().join("missing");
    let error = Locals::new([("context", &missing)]).unwrap_err().to_string();
    let path = missing.display();
    assert_eq!(error, format!("no such file or directory: failed to open directory {path}"));
}

#[tokio::test]
async fn patterns_choose() {
    let directory = TempDir::new().unwrap();
    for path in ["Dockerfile", "a/b/c.txt", "a/b/d.md", "a/x", "node/m/i.js", "node/m/keep/me", "ü"] {
        write(&directory, path, b"");
    }
    let directory = &directory;
    let check = async |headers: &[(&'static str, &str)], expected: &[&str]| {
        assert_eq!(paths(directory, headers).await, expected, "{headers:?}");
    };
    let include = "include-patterns";
    let exclude = "exclude-patterns";
    check(&[(include, "Dockerfile"), (include, "Dockerfile.dockerignore")], &["Dockerfile"]).await;
    check(&[(include, "a/b/*.txt")], &["a", "a/b", "a/b/c.txt"]).await;
    check(&[(include, "**/keep")], &["node", "node/m", "node/m/keep", "node/m/keep/me"]).await;
    check(&[(include, "a"), (exclude, "**/*.md"), (exclude, "a/x")], &["a", "a/b", "a/b/c.txt"]).await;
    check(&[(exclude, "*"), (exclude, "!node/m/keep")], &["node", "node/m", "node/m/keep", "node/m/keep/me"])
        .await;
    check(&[(include, "%C3%BC"), ("include-patterns-encoded", "1")], &["ü"]).await;
    check(&[("followpaths", "a/x"), ("followpaths", "none")], &["a", "a/x"]).await;
}

#[tokio::test]
async fn followed_paths_bring_what_links_point_to() {
    let directory = TempDir::new().unwrap();
    let at = |path: &str| directory.path().join(path);
    for path in ["real/dir/file", "real/other", "target", "hidden", "many/x1", "many/x2"] {
        write(&directory, path, b"");
    }
    symlink("real/dir", at("link")).unwrap();
    symlink("/target", at("absolute")).unwrap();
    symlink("../../../../target", at("real/out")).unwrap();
    symlink("loop2", at("loop1")).unwrap();
    symlink("loop1", at("loop2")).unwrap();
    symlink("loop3/x", at("loop3")).unwrap();
    symlink("../hidden", at("many/link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for (path, expected) in [
        ("link/file", &["link", "real", "real/dir", "real/dir/file"][..]),
        ("/link/../link", &["link", "real", "real/dir", "real/dir/file"]),
        ("absolute", &["absolute", "target"]),
        ("real/out", &["real", "real/out", "target"]),
        ("loop1/x", &["loop1", "loop2"]),
        ("loop3", &["loop3"]),
        ("many/*", &["hidden", "many", "many/link", "many/x1", "many/x2"]),
        ("many/x*", &["many", "many/x1", "many/x2"]),
        ("dangling", &["dangling"]),
        ("missing/*/file", &[]),
        ("target/*", &[]),
    ] {
        assert_eq!(paths(&directory, &[("followpaths", path)]).await, expected, "{path}");
    }
    let all = paths(&directory, &[]).await;
    assert_eq!(paths(&directory, &[("followpaths", "."), ("followpaths", "link")]).await, all);
}

#[tokio::test]
async fn names_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;

    use prost::Message;

    use crate::session::fsutil::Packet;

    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"x").unwrap();
    let (sender, receiver) = mpsc::channel::<Packet>(8);
    // The generated client would refuse such names.
    let mut client = tonic::client::Grpc::new(locals(&directory).server());
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().append("dir-name", "context".parse().unwrap());
    let path = http::uri::PathAndQuery::from_static("/moby.filesync.v1.FileSync/DiffCopy");
    let codec = tonic_prost::ProstCodec::<Packet, Packet>::default();
    let mut answers = client.streaming(request, path, codec).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(first.stat.as_ref().unwrap().path, b"\xff\xfe");
    assert!(!first.encode_to_vec().is_empty());
    drop(sender);
}

/// What goes wrong with a file that is asked for after `change`.
async fn fault(change: impl FnOnce(&std::path::Path)) -> String {
    let directory = TempDir::new().unwrap();
    write(&directory, "d/file", &vec![b'x'; 300_000]);
    let mut receiver = Receiver::open(&locals(&directory), &[("dir-name", "context")]).await;
    receiver.stats().await.unwrap();
    change(&directory.path().join("d/file"));
    receiver.say(PacketType::PacketReq, 1).await;
    let mut said = None;
    let status = loop {
        match receiver.next().await {
            Ok(Some(packet)) if packet.r#type() == PacketType::PacketErr => said = Some(packet.data),
            Ok(Some(packet)) if packet.r#type() == PacketType::PacketData && packet.data.is_empty() => {
                return "as if nothing had happened".to_owned();
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(status) => break status,
        }
    };
    assert_eq!(said.as_deref(), Some(status.message().as_bytes()));
    status.message().replace(&*directory.path().to_string_lossy(), "CONTEXT")
}

#[tokio::test]
async fn files_that_change_are_named() {
    let vanished = fault(|path| fs::remove_file(path).unwrap()).await;
    assert_eq!(vanished, "open CONTEXT/d/file: no such file or directory");
    let link = fault(|path| {
        fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
    });
    assert_eq!(link.await, "file changed while it was sent: CONTEXT/d/file");
    let parent = fault(|path| {
        let parent = path.parent().unwrap();
        fs::rename(parent, parent.with_file_name("moved")).unwrap();
        symlink("moved", parent).unwrap();
    });
    assert_eq!(parent.await, "file changed while it was sent: CONTEXT/d/file");
    let directory = fault(|path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
    assert_eq!(directory.await, "file changed while it was sent: CONTEXT/d/file");
    let replaced = fault(|path| fs::write(path, b"shorter, but whole").unwrap());
    assert_eq!(replaced.await, "as if nothing had happened");
}

#[tokio::test]
async fn a_directory_that_vanishes_was_empty() {
    let directory = TempDir::new().unwrap();
    // More than is sent ahead of the reader, so that the walk is not through.
    for number in 0..2000 {
        write(&directory, &format!("a/{number:0240}"), b"");
    }
    write(&directory, "b/file", b"");
    let mut receiver = Receiver::open(&locals(&directory), &[("dir-name", "context")]).await;
    fs::remove_dir_all(directory.path().join("b")).unwrap();
    let stats = receiver.stats().await.unwrap();
    assert!(stats.len() > 2000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_gets_the_tree_that_patterns_choose(
        files in proptest::collection::btree_map("[ab][a.-]?(/[ab]{1,2}){0,3}", 0..4_usize, 0..40),
        include in proptest::collection::vec("!?[ab*.]{1,2}(/([ab]|[*]{1,2})){0,2}", 0..3),
        exclude in proptest::collection::vec("!?[ab*.]{1,2}(/([ab]|[*]{1,2})){0,2}", 0..4),
    ) {
        let directory = TempDir::new().unwrap();
        let mut first: Option<std::path::PathBuf> = None;
        for (path, kind) in &files {
            let path = directory.path().join(path);
            if fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            let _ = match (kind, &first) {
                (0, Some(first)) => fs::hard_link(first, &path),
                (1, _) => symlink("a/b", &path),
                (2, _) => fs::create_dir(&path),
                _ => fs::write(&path, path.as_os_str().as_encoded_bytes()),
            };
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                first.get_or_insert(path);
            }
        }
        let read = |patterns: &[String]| Ignore::from_patterns(patterns);
        let (Ok(wanted), Ok(unwanted)) = (read(&include), read(&exclude)) else { return Ok(()) };
        let chosen = |path: &str| (include.is_empty() || wanted.excludes(path)) && !unwanted.excludes(path);
        let mut expected = Vec::new();
        tree(directory.path(), "", &chosen, &mut expected);

        let headers: Vec<(&'static str, &str)> = include.iter().map(|pattern| ("include-patterns", &**pattern))
            .chain(exclude.iter().map(|pattern| ("exclude-patterns", &**pattern)))
            .collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (stats, contents) = runtime.block_on(everything(&directory, &headers));
        let sent: Vec<String> = stats.iter().map(|stat| stat.path.clone()).collect();
        prop_assert_eq!(sent, expected);
        let mut seen: BTreeMap<u64, String> = BTreeMap::new();
        for stat in &stats {
            let path = directory.path().join(&stat.path);
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_file() {
                let first = seen.entry(found.ino()).or_insert_with(|| stat.path.clone());
                prop_assert_eq!(&stat.linkname, if *first == stat.path { "" } else { first });
                if stat.linkname.is_empty() {
                    prop_assert_eq!(&contents[&stat.path], &fs::read(&path).unwrap());
                }
            }
        }
    }
}

/// The chosen paths of a tree in the protocol's order, with the directories they lie in.
fn tree(root: &Path, path: &str, chosen: &impl Fn(&str) -> bool, found: &mut Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(root.join(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    for name in names {
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let before = found.len();
        found.push(path.clone());
        let is_directory = fs::symlink_metadata(root.join(&path)).unwrap().is_dir();
        if is_directory {
            tree(root, &path, chosen, found);
        }
        if !chosen(&path) && found.len() == before + 1 {
            found.pop();
        }
    }
}

#[tokio::test]
async fn a_directory_can_be_on_no_disk() {
    let mut locals = Locals::default();
    let text = b"FROM scratch\n".repeat(5000);
    locals.add_file("dockerfile", Some(("Dockerfile".to_owned(), text.clone())));
    locals.add_file("context", None);
    let open =
        async |name| Receiver::open(&locals, &[("dir-name", name), ("followpaths", "Dockerfile")]).await;

    let mut receiver = open("dockerfile").await;
    let stats = receiver.stats().await.unwrap();
    let said: Vec<_> = stats.iter().map(|it| (it.path.as_str(), it.mode, it.size)).collect();
    assert_eq!(said, [("Dockerfile", 0o600, i64::try_from(text.len()).unwrap())]);
    assert_eq!(receiver.fetch([0]).await, BTreeMap::from([(0, text)]));

    let mut receiver = open("context").await;
    assert_eq!(receiver.stats().await.unwrap(), []);
    assert_eq!(receiver.fetch([]).await, BTreeMap::new());

    for (name, id) in [("dockerfile", 1), ("context", 0)] {
        let mut receiver = open(name).await;
        receiver.stats().await.unwrap();
        receiver.say(PacketType::PacketReq, id).await;
        let (_, ended) = receiver.contents().await;
        assert_eq!(ended.unwrap_err().message(), format!("invalid file id {id}"));
    }
}
