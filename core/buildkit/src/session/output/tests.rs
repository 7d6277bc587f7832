use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;
use std::time::Duration;

use http_body::Body;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::codegen::StdError;

use super::super::Locals;
use super::super::fsutil::{PacketKind, Stat};
use super::*;
use crate::proto::filesync::BytesMessage;
use crate::proto::filesync::file_send_client::FileSendClient;

const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
const SYNC: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

/// Sends bytes to output 3, and what an exporter says of them; `Err` breaks off.
async fn stream(outputs: &Outputs, items: Vec<Result<Vec<u8>, ()>>) -> Result<(), Status> {
    let (sender, receiver) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().append("buildkit-attachable-exporter-id", "3".parse().unwrap());
    request.metadata_mut().append("exporter-md-containerimage.digest", "sha256:1".parse().unwrap());
    let mut client = FileSendClient::new(outputs.clone().server());
    let answering = tokio::spawn(async move { client.diff_copy(request).await });
    for item in items {
        let Ok(data) = item else {
            answering.abort();
            return Err(Status::cancelled("broken off"));
        };
        if sender.send(BytesMessage { data }).await.is_err() {
            break;
        }
    }
    drop(sender);
    let mut answers = answering.await.unwrap()?.into_inner();
    let answer = tokio::time::timeout(Duration::from_mins(1), answers.message()).await.unwrap()?;
    assert_eq!(answer, None);
    Ok(())
}

fn outputs(output: Output) -> Outputs {
    Outputs::new([(3, output)]).unwrap()
}

fn names(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn files_appear_when_they_are_whole() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image.tar");
    let outputs = outputs(Output::File(path.clone()));
    let parts = || vec![Ok(b"one".to_vec()), Ok(vec![b'x'; 1_000_000]), Ok(Vec::new()), Ok(b"two".to_vec())];
    stream(&outputs, parts()).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), [&b"one"[..], &vec![b'x'; 1_000_000], b"two"].concat());

    // What was there stays until then.
    fs::write(&path, "before").unwrap();
    let broken = [parts(), vec![Err(())]].concat();
    stream(&outputs, broken).await.unwrap_err();
    let until = std::time::Instant::now() + Duration::from_mins(1);
    while names(&directory) != ["image.tar"] {
        assert!(std::time::Instant::now() < until, "{:?}", names(&directory));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fs::read(&path).unwrap(), b"before");

    fs::remove_file(&path).unwrap();
    symlink("elsewhere", &path).unwrap();
    fs::write(directory.path().join("elsewhere"), "").unwrap();
    stream(&outputs, parts()).await.unwrap();
    assert_eq!(fs::read(directory.path().join("elsewhere")).unwrap().len(), 1_000_006);
    assert_eq!(names(&directory), ["elsewhere", "image.tar"]);

    stream(&self::outputs(Output::File("/dev/null".into())), parts()).await.unwrap();
    // As buildx does, it makes what is missing; what is no directory is in the way.
    let [missing, shut] = ["no/where", "elsewhere/file"].map(|name| directory.path().join(name));
    stream(&self::outputs(Output::File(missing.clone())), parts()).await.unwrap();
    assert_eq!(fs::read(missing).unwrap().len(), 1_000_006);
    let words = format!("not a directory: invalid destination {}", shut.display());
    assert_eq!(Outputs::new([(0, Output::File(shut))]).unwrap_err().to_string(), words);
    let full = stream(&self::outputs(Output::File("/dev/full".into())), parts()).await.unwrap_err();
    assert_eq!(full.message(), "no space left on device: failed to write /dev/full");
}

#[tokio::test]
async fn standard_output_takes_bytes() {
    let written = Arc::new(Mutex::new(Vec::new()));
    stream(&outputs(Output::Stdout(written.clone())), vec![Ok(b"a".to_vec()), Ok(b"b".to_vec())])
        .await
        .unwrap();
    assert_eq!(*written.lock().unwrap(), b"ab");
}

/// A pipe that collects what it is sent, with what its reader says in the end.
fn pipe_to(said: Result<(), String>) -> (Output, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    let open: OpenPipe = Arc::new(move |metadata| {
        seen.lock().unwrap().push(metadata["containerimage.digest"].clone());
        let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(1);
        let (seen, said) = (seen.clone(), said.clone());
        let reading = tokio::spawn(async move {
            while let Some(item) = receiver.recv().await {
                let item = item.map(|bytes| String::from_utf8(bytes.into()).unwrap());
                seen.lock().unwrap().push(item.unwrap_or_else(|error| error.to_string()));
            }
            said
        });
        let done = async move { reading.await.unwrap() }.boxed();
        async move { Ok(Some(Pipe { sender, done })) }.boxed()
    });
    (Output::Pipe(open), log)
}

#[tokio::test]
async fn pipes_end_with_their_readers_word() {
    let (output, log) = pipe_to(Ok(()));
    stream(&outputs(output), vec![Ok(b"a".to_vec()), Ok(b"b".to_vec())]).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["sha256:1", "a", "b"]);

    let (output, _) = pipe_to(Err("no room".to_owned()));
    let status = stream(&outputs(output), vec![Ok(b"a".to_vec())]).await.unwrap_err();
    assert_eq!(status.message(), "no room");

    let there: OpenPipe = Arc::new(|_| async { Ok(None) }.boxed());
    let status = stream(&outputs(Output::Pipe(there)), Vec::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
}

#[test]
fn what_is_in_the_way_is_an_error_at_once() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = |output| Outputs::new([(0, output)]).unwrap_err().to_string();
    let tree = Output::Directory { path: file.clone(), delete: false };
    assert_eq!(error(tree), format!("destination directory {} is a file", file.display()));
    let path = directory.path();
    assert_eq!(
        error(Output::File(path.to_owned())),
        format!("destination file {} is a directory", path.display())
    );
}

/// A sender of packets to output 3.
struct Sender {
    packets: mpsc::Sender<Packet>,
    answers: Streaming<Packet>,
}

impl Sender {
    async fn open(path: &Path, delete: bool) -> Self {
        let outputs = outputs(Output::Directory { path: path.to_owned(), delete });
        let (packets, receiver) = mpsc::channel(1024);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().append("buildkit-attachable-exporter-id", "3".parse().unwrap());
        request.metadata_mut().append("buildkit-exporter-multi-platform", "1".parse().unwrap());
        let answers = open(outputs.server(), SEND, request).await;
        Self { packets, answers }
    }

    async fn next(&mut self) -> Result<Option<Packet>, Status> {
        tokio::time::timeout(Duration::from_mins(1), self.answers.message()).await.unwrap()
    }
}

async fn open<S>(
    service: S,
    path: &'static str,
    request: Request<ReceiverStream<Packet>>,
) -> Streaming<Packet>
where
    S: tonic::client::GrpcService<tonic::body::Body>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError>,
{
    let codec = tonic_prost::ProstCodec::<Packet, Packet>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    tonic::client::Grpc::new(service).streaming(request, path, codec).await.unwrap().into_inner()
}

/// Sends packets and contents that are asked for, and answers the error that this ends with, if any.
async fn send_tree(path: &Path, delete: bool, files: Vec<(Stat, &[u8])>) -> Result<(), String> {
    let mut sender = Sender::open(path, delete).await;
    for (stat, _) in &files {
        let _ = sender.packets.send(Packet::stat(stat.clone())).await;
    }
    let _ = sender.packets.send(Packet::last_stat()).await;
    loop {
        match sender.next().await {
            Ok(Some(packet)) => match packet.kind().unwrap() {
                PacketKind::Request => {
                    let content = files[packet.id as usize].1;
                    for part in content.chunks(3).chain([&[][..]]) {
                        let data = data(packet.id, part);
                        let _ = sender.packets.send(data).await;
                    }
                }
                PacketKind::Finish => sender.packets.send(Packet::finish()).await.unwrap(),
                PacketKind::Error => {}
                other => panic!("{other:?}"),
            },
            Ok(None) => return Ok(()),
            Err(status) => return Err(status.message().replace(&*path.to_string_lossy(), "OUT")),
        }
    }
}

fn data(id: u32, content: &[u8]) -> Packet {
    let mut packet = Packet::last_data(id);
    packet.data = Bytes::copy_from_slice(content);
    packet
}

fn file(path: &str, mode: u32) -> Stat {
    Stat { path: path.into(), mode, mtime: 1_580_688_000_000_000_007, ..Stat::default() }
}

fn link(path: &str, mode: u32, link: &str) -> Stat {
    Stat { link: link.into(), ..file(path, mode) }
}

#[tokio::test]
async fn trees_are_written_over_what_is_there() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("new/out");
    let at = |path: &str| out.join(path);
    fs::create_dir_all(at("d/was-directory/x")).unwrap();
    fs::write(directory.path().join("outside"), "outside").unwrap();
    symlink("../../outside", at("file")).unwrap();
    symlink(directory.path(), at("e")).unwrap();
    fs::write(at("d/other"), "other").unwrap();
    let files = || {
        vec![
            (file("d", DIRECTORY | 0o555), &b""[..]),
            (file("d/was-directory", 1 << 23 | 0o711), b"content"),
            (file("e", DIRECTORY | 1 << 20 | 0o777), b""),
            (file("e/empty", 0o600), b""),
            (link("e/name", 0o600, "e/empty"), b""),
            (file("fifo", 1 << 25 | 0o622), b""),
            (file("file", 0o644), b"a file"),
            (link("link", SYMLINK | 0o777, "/etc/passwd"), b""),
        ]
    };
    for delete in [false, true] {
        send_tree(&out, delete, files()).await.unwrap();
        assert_eq!(fs::read(directory.path().join("outside")).unwrap(), b"outside");
        assert_eq!(fs::read(at("d/was-directory")).unwrap(), b"content");
        assert_eq!(fs::read(at("file")).unwrap(), b"a file");
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(at("d/other").exists(), !delete);
        for (stat, _) in files() {
            let path = at(std::str::from_utf8(&stat.path).unwrap());
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.mtime(), found.mtime_nsec()), (1_580_688_000, 7), "{path:?}");
            let bits = stat.mode & 0o777 | (stat.mode >> 12 & 0o4000) | (stat.mode >> 11 & 0o1000);
            assert_eq!(found.mode() & 0o7777, bits, "{path:?}");
        }
        assert_eq!(fs::metadata(at("e/empty")).unwrap().ino(), fs::metadata(at("e/name")).unwrap().ino());
        assert_eq!(fs::metadata(at("e/empty")).unwrap().nlink(), 2);
    }
    let mut left: Vec<_> = fs::read_dir(&out).unwrap().map(|name| name.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["d", "e", "fifo", "file", "link"]);
    assert_eq!(fs::metadata(directory.path().join("new")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[tokio::test]
async fn hostile_trees_stay_inside() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("outside"), "outside").unwrap();
    let out = directory.path().join("out");
    for (files, error) in [
        (vec![file("../x", 0o644)], "unclean path \"../x\""),
        (vec![file("/etc/x", 0o644)], "unclean path \"/etc/x\""),
        (vec![link("l", SYMLINK, ".."), file("l/x", 0o644)], "changes out of order: \"l/x\""),
        (vec![link("l", 0o644, "../outside")], "invalid link l to unknown path: \"../outside\""),
        (vec![link("l", 0o644, "none")], "no such file or directory: failed to write OUT/l"),
        (
            vec![link("a", SYMLINK, ".."), link("l", 0o644, "a/outside")],
            "not a directory: failed to write OUT/l",
        ),
        (vec![file("x", 1 << 19)], "unknown type of file: failed to write OUT/x"),
        (vec![file("b", 0o644), file("a", 0o644)], "changes out of order: \"a\""),
    ] {
        let files: Vec<_> = files.into_iter().map(|stat| (stat, &b"x"[..])).collect();
        assert_eq!(send_tree(&out, false, files).await.unwrap_err(), error);
    }
    let long = "x".repeat(300);
    let error = send_tree(&out, false, vec![(file(&long, 0o644), b"x")]).await.unwrap_err();
    assert_eq!(error, format!("file name too long: failed to write OUT/{long}"));
    assert_eq!(names(&directory), ["out", "outside"]);
    assert!(
        fs::read_dir(&out).unwrap().all(|name| !name
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".rbx"))
    );

    // What was not asked for, and what comes at the wrong time.
    for (packets, error) in [
        (vec![Packet::last_data(0)], "invalid file request 0"),
        (vec![Packet::finish()], "the sender ended the transfer too early"),
        (vec![Packet::last_stat(), Packet::stat(file("a", 0o644))], "more files after the last one"),
        (vec![Packet::error("no")], "error from sender: no"),
    ] {
        let mut sender = Sender::open(&out, false).await;
        for packet in packets {
            sender.packets.send(packet).await.unwrap();
        }
        let status = loop {
            match sender.next().await {
                Ok(answer) => assert!(answer.is_some()),
                Err(status) => break status,
            }
        };
        assert_eq!(status.message(), error);
    }
}

#[tokio::test]
async fn a_broken_off_tree_leaves_no_part_of_a_file() {
    let directory = TempDir::new().unwrap();
    let mut sender = Sender::open(directory.path(), false).await;
    sender.packets.send(Packet::stat(file("a", 0o644))).await.unwrap();
    assert_eq!(sender.next().await.unwrap().unwrap().kind(), Some(PacketKind::Request));
    sender.packets.send(data(0, b"x")).await.unwrap();
    let until = std::time::Instant::now() + Duration::from_mins(1);
    let wait = async |count| {
        while names(&directory).len() != count {
            assert!(std::time::Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    wait(1).await;
    drop(sender);
    wait(0).await;
}

/// Sends one directory into another.
async fn copy(from: &Path, to: &Path, delete: bool) {
    let locals = Locals::new([("context", from)]).unwrap();
    let (to_locals, receiver) = mpsc::channel(1024);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().append("dir-name", "context".parse().unwrap());
    let mut sent = open(locals.server(), SYNC, request).await;
    let mut sender = Sender::open(to, delete).await;
    loop {
        tokio::select! {
            packet = sent.message() => match packet.unwrap() {
                Some(packet) => sender.packets.send(packet).await.unwrap(),
                None => break,
            },
            answer = sender.answers.message() => match answer.unwrap() {
                Some(answer) => to_locals.send(answer).await.unwrap(),
                None => break,
            },
        }
    }
    assert_eq!(sender.next().await.unwrap(), None);
}

/// All that can be seen of a tree, but the number and the owner of its files.
fn describe(root: &Path) -> Vec<String> {
    let mut waiting = vec![root.to_owned()];
    let mut seen = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = match () {
                () if found.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                () if found.is_file() => fs::read(&path).unwrap(),
                () => Vec::new(),
            };
            let content = rbx_oci::Digest::sha256_of(&content);
            let shown = path.strip_prefix(root).unwrap().display();
            let (mode, mtime, links) = (found.mode(), (found.mtime(), found.mtime_nsec()), found.nlink());
            let links = if found.is_dir() { 0 } else { links };
            seen.push(format!("{shown} {mode:o} {mtime:?} {links} {content}"));
            if found.is_dir() {
                waiting.push(path);
            }
        }
    }
    seen.sort_unstable();
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_is_received(
        files in proptest::collection::btree_map(
            "[ab][a.-]?(/[ab]{1,2}){0,3}",
            (0..5_usize, 0..0o10000_u32, proptest::sample::select(vec![0, 1, 100, 70_000, 300_000])),
            0..30,
        ),
        before in proptest::collection::btree_map("[ab][a.-]?(/[ab]{1,2}){0,2}", 0..2_usize, 0..10),
    ) {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for (path, kind) in &before {
            let path = to.path().join(path);
            let _ = fs::create_dir_all(path.parent().unwrap());
            let _ = if *kind == 0 { fs::write(&path, "before") } else { symlink("/tmp", &path) };
        }
        let mut first: Option<PathBuf> = None;
        for (path, (kind, mode, size)) in &files {
            let path = from.path().join(path);
            if fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            let made = match (kind, &first) {
                (0, Some(first)) => fs::hard_link(first, &path),
                (1, _) => symlink("a/b", &path),
                (2, _) => fs::create_dir(&path),
                _ => fs::write(&path, vec![b'x'; *size]),
            };
            if made.is_ok() && *kind > 1 {
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(*mode));
            }
            if made.is_ok() && *kind > 2 {
                first.get_or_insert(path);
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        runtime.block_on(copy(from.path(), to.path(), true));
        prop_assert_eq!(describe(to.path()), describe(from.path()));
    }
}
