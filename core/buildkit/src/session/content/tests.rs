//! With a client of the service, as a daemon has one.

use std::fs;
use std::path::Path;

use futures::TryStreamExt;
use proptest::prelude::*;
use rbx_oci::Descriptor;
use rbx_oci::layout::LayoutImage;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use super::*;
use crate::proto::content::{Ingest, WriteAction};
use crate::session::testing::channel;

/// A client that asks for one store.
#[derive(Clone)]
struct Client {
    grpc: Grpc<Channel>,
    store: Option<&'static str>,
}

impl Client {
    fn new(contents: Contents, store: &'static str) -> Self {
        Self { grpc: Grpc::new(channel(contents.server())), store: Some(store) }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(store) = self.store {
            request.metadata_mut().insert(ID, store.parse().unwrap());
        }
        request
    }

    fn path(method: &str) -> PathAndQuery {
        format!("/containerd.services.content.v1.Content/{method}").parse().unwrap()
    }

    async fn call<Q, A>(&self, method: &str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        let request = self.request(message);
        Ok(grpc.unary(request, Self::path(method), ProstCodec::default()).await?.into_inner())
    }

    async fn info(&self, digest: &str) -> Result<i64, Status> {
        let request = InfoRequest { digest: digest.to_owned() };
        let answer: InfoResponse = self.call("Info", request).await?;
        let info = answer.info.unwrap();
        assert_eq!(info.digest, digest);
        assert!(info.created_at.unwrap().seconds > 1_600_000_000);
        Ok(info.size)
    }

    async fn read(&self, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        let request = self.request(ReadContentRequest { digest: digest.to_owned(), offset, size });
        let codec = ProstCodec::default();
        let answers = grpc.server_streaming(request, Self::path("Read"), codec).await?.into_inner();
        let answers: Vec<ReadContentResponse> = answers.try_collect().await?;
        let mut data = Vec::new();
        for answer in answers {
            assert_eq!(answer.offset, i64::try_from(data.len()).unwrap());
            data.extend_from_slice(&answer.data);
        }
        Ok(data)
    }

    /// Sends all messages of a write and hears all answers.
    async fn write(&self, messages: Vec<WriteContentRequest>) -> (Vec<WriteContentResponse>, Option<Status>) {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        let request = self.request(tokio_stream::iter(messages));
        let codec = ProstCodec::default();
        let mut answers = match grpc.streaming(request, Self::path("Write"), codec).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return (Vec::new(), Some(status)),
        };
        let mut heard = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => heard.push(answer),
                Ok(None) => return (heard, None),
                Err(status) => return (heard, Some(status)),
            }
        }
    }

    async fn status(&self, reference: &str) -> Result<Ingest, Status> {
        let request = StatusRequest { reference: reference.to_owned() };
        Ok(self.call::<_, StatusResponse>("Status", request).await?.status.unwrap())
    }
}

fn stat(reference: &str) -> WriteContentRequest {
    let action = WriteAction::Stat.into();
    WriteContentRequest { action, reference: reference.to_owned(), ..WriteContentRequest::default() }
}

fn data(offset: i64, data: &'static [u8]) -> WriteContentRequest {
    let action = WriteAction::Write.into();
    WriteContentRequest { action, offset, data: data.into(), ..WriteContentRequest::default() }
}

fn commit(offset: i64, total: i64, expected: &str) -> WriteContentRequest {
    let (action, expected) = (WriteAction::Commit.into(), expected.to_owned());
    WriteContentRequest { action, total, expected, offset, ..WriteContentRequest::default() }
}

fn digest(content: &[u8]) -> String {
    Digest::sha256_of(content).to_string()
}

/// A client of a new directory.
fn directory(path: &Path) -> Client {
    let mut contents = Contents::default();
    contents.add_directory("local:x", DirectoryWriter::create(path).unwrap());
    Client::new(contents, "local:x")
}

/// The names of all files below a directory.
fn files(path: &Path) -> Vec<String> {
    let blobs = fs::read_dir(path.join("blobs/sha256")).unwrap();
    let mut names: Vec<_> = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn content_is_written_in_pieces_and_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let whole = digest(b"hello world");
    assert_eq!(client.info(&whole).await.unwrap_err().code(), Code::NotFound);
    let messages = vec![stat("a"), data(0, b"hello "), data(6, b"world"), commit(11, 11, &whole)];
    let (answers, error) = client.write(messages).await;
    assert!(error.is_none(), "{error:?}");
    let shown: Vec<_> = answers.iter().map(|answer| (answer.offset, answer.digest.as_str())).collect();
    let (none, half) = (digest(b""), digest(b"hello "));
    assert_eq!(shown, [(0, none.as_str()), (6, &half), (11, &whole), (11, &whole)]);
    assert_eq!(files(folder.path()), [whole.strip_prefix("sha256:").unwrap()]);

    assert_eq!(client.info(&whole).await.unwrap(), 11);
    let expected: [(i64, i64, &[u8]); 9] = [
        (0, 0, b"hello world"),
        (0, 11, b"hello world"),
        (6, 0, b"world"),
        (6, 3, b"wor"),
        (6, i64::MAX, b"world"),
        (-5, -5, b"hello world"),
        (i64::MIN, 5, b"hello"),
        (11, 0, b""),
        (11, 1, b""),
    ];
    for (offset, size, part) in expected {
        assert_eq!(client.read(&whole, offset, size).await.unwrap(), part, "{offset} {size}");
    }
    for offset in [12, i64::MAX] {
        assert_eq!(client.read(&whole, offset, 1).await.unwrap_err().code(), Code::OutOfRange);
    }
    let listed: ListContentResponse = {
        let mut grpc = client.grpc.clone();
        grpc.ready().await.unwrap();
        let request = client.request(ListContentRequest { filters: Vec::new() });
        let answers =
            grpc.server_streaming(request, Client::path("List"), ProstCodec::default()).await.unwrap();
        answers.into_inner().message().await.unwrap().unwrap()
    };
    assert_eq!((listed.info.len(), &listed.info[0].digest), (1, &whole));
}

#[tokio::test]
async fn more_than_one_message_of_content_comes_in_several() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let content: Vec<u8> = (0..=250).cycle().take((5 << 20) + 3).collect();
    let name = digest(&content);
    let mut first = stat("big");
    first.action = WriteAction::Write.into();
    // More than gRPC takes by default.
    first.data = content.clone().into();
    let size = i64::try_from(content.len()).unwrap();
    let (_, error) = client.write(vec![first, commit(size, 0, &name)]).await;
    assert!(error.is_none(), "{error:?}");
    assert!(client.read(&name, 0, 0).await.unwrap() == content);
    assert!(client.read(&name, 1 << 20, 2 << 20).await.unwrap() == content[1 << 20..3 << 20]);
}

#[tokio::test]
async fn what_is_not_what_was_said_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let (right, wrong) = (digest(b"hello"), digest(b"other"));
    for (last, code, message) in [
        (
            commit(5, 0, &wrong),
            Code::FailedPrecondition,
            format!("unexpected commit digest {right}, expected {wrong}"),
        ),
        (commit(5, 6, &right), Code::FailedPrecondition, "unexpected commit size 5, expected 6".to_owned()),
        (commit(4, 5, &right), Code::OutOfRange, "write @4 must occur at current offset 5".to_owned()),
        (commit(-1, 5, &right), Code::OutOfRange, "write @-1 must occur at current offset 5".to_owned()),
        (
            commit(5, 5, "sha256:../../../etc/passwd"),
            Code::InvalidArgument,
            r#""sha256:../../../etc/passwd": invalid checksum digest length"#.to_owned(),
        ),
        (
            WriteContentRequest { action: 7, ..commit(5, 5, "") },
            Code::InvalidArgument,
            "unknown action of a write".to_owned(),
        ),
    ] {
        let (answers, error) = client.write(vec![stat("x"), data(0, b"hello"), last]).await;
        let error = error.unwrap();
        assert_eq!((answers.len(), error.code(), error.message()), (2, code, message.as_str()));
        let _ = client.call::<_, ()>("Abort", AbortRequest { reference: "x".to_owned() }).await;
        assert_eq!(files(folder.path()), [""; 0], "{message}");
    }
    let (_, error) = client.write(vec![data(0, b"hello")]).await;
    assert_eq!(error.unwrap().message(), "first message must have a reference");
    let (_, error) = client.write(vec![stat(&"x".repeat(5000))]).await;
    assert_eq!(error.unwrap().message(), "reference is too long");
    let (answers, error) = client.write(Vec::new()).await;
    assert!(answers.is_empty() && error.is_none());
}

#[tokio::test]
async fn what_is_there_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let name = digest(b"hello");
    let all = |reference| vec![stat(reference), data(0, b"hello"), commit(5, 5, &name)];
    assert!(client.write(all("a")).await.1.is_none());
    // Said at the beginning, at the end, and not at all.
    let mut said = all("b");
    said[0].expected.clone_from(&name);
    let mut unsaid = all("d");
    unsaid[2].expected.clear();
    for (messages, answered) in [(said, 0), (all("c"), 2), (unsaid, 2)] {
        let (answers, error) = client.write(messages).await;
        let error = error.unwrap();
        assert_eq!(answers.len(), answered);
        assert_eq!(error.code(), Code::AlreadyExists);
        assert_eq!(error.message(), format!("content {name}: already exists"));
    }
    for reference in ["b", "c", "d"] {
        assert_eq!(client.status(reference).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_write_can_be_gone_on_with_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let (_, error) = client.write(vec![stat("x"), data(0, b"hello ")]).await;
    assert!(error.is_none());
    let status = client.status("x").await.unwrap();
    assert_eq!((status.offset, status.reference.as_str()), (6, "x"));
    let listed: ListStatusesResponse =
        client.call("ListStatuses", ListStatusesRequest { filters: Vec::new() }).await.unwrap();
    assert_eq!(listed.statuses, [status]);

    let name = digest(b"hello world");
    let (answers, error) = client.write(vec![stat("x"), data(6, b"world"), commit(11, 0, &name)]).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(answers[0].offset, 6);
    assert_eq!(client.status("x").await.unwrap_err().code(), Code::NotFound);

    let (answers, error) =
        client.write(vec![stat("y"), data(0, b"junk"), data(0, b"anew"), commit(4, 4, "")]).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(answers[3].digest, digest(b"anew"));
}

#[tokio::test]
async fn one_writes_at_a_time_and_nothing_stays_of_what_was_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let client = directory(folder.path());
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let mut grpc = client.grpc.clone();
    grpc.ready().await.unwrap();
    let request = client.request(tokio_stream::wrappers::ReceiverStream::new(messages));
    sender.send(stat("x")).await.unwrap();
    let writing = grpc.streaming(request, Client::path("Write"), ProstCodec::default());
    let mut answers: Streaming<WriteContentResponse> = writing.await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    sender.send(data(0, b"half")).await.unwrap();
    answers.message().await.unwrap().unwrap();
    assert_eq!(client.status("x").await.unwrap().offset, 4);
    assert_eq!(files(folder.path()).len(), 1);

    let (_, error) = client.write(vec![stat("x")]).await;
    assert_eq!(error.unwrap().code(), Code::Unavailable);
    let abort = || client.call::<_, ()>("Abort", AbortRequest { reference: "x".to_owned() });
    assert_eq!(abort().await.unwrap_err().code(), Code::Unavailable);
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    drop(answers);
    abort().await.unwrap();
    assert_eq!(abort().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(files(folder.path()), [""; 0]);

    client.write(vec![stat("y"), data(0, b"left")]).await;
    assert_eq!(files(folder.path()).len(), 1);
    drop((client, grpc));
    // The service ends with its connection, some time after it.
    while !files(folder.path()).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn of_an_image_in_parts_layers_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut contents = Contents::default();
    contents.add_documents("export", DirectoryWriter::create(folder.path()).unwrap());
    let client = Client::new(contents, "export");
    let name = digest(b"hello");
    let all = |reference: &str| {
        let begin = WriteContentRequest { expected: name.clone(), ..stat(reference) };
        vec![begin, data(0, b"hello"), commit(5, 5, &name)]
    };
    let (answers, error) = client.write(all(&format!("layer-{name}"))).await;
    assert_eq!((answers.len(), error.unwrap().code()), (0, Code::AlreadyExists));
    assert_eq!(files(folder.path()), [""; 0]);
    assert!(client.write(all(&format!("config-{name}"))).await.1.is_none());
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn stores_are_apart_and_digests_are_no_paths() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let writer = DirectoryWriter::create(&layout).unwrap();
    let blob = Descriptor::of("application/octet-stream", b"inside");
    writer.add_blob(&blob, &b"inside"[..]).unwrap();
    writer.finish(&[LayoutImage { descriptor: blob.clone(), names: Vec::new() }]).unwrap();
    let mut contents = Contents::default();
    assert!(contents.is_empty());
    contents.add_layout("oci:é", Layout::open(&layout).unwrap());
    contents.add_directory("local:b", DirectoryWriter::create(folder.path().join("b")).unwrap());
    std::fs::write(folder.path().join("secret"), "outside").unwrap();

    let mut client = Client::new(contents, "local:b");
    let name = blob.digest.to_string();
    assert_eq!(client.info(&name).await.unwrap_err().code(), Code::NotFound);
    for path in ["sha256:../../../secret", "../secret", "", "sha512:00", "sha256:", &name[..70]] {
        assert_eq!(client.info(path).await.unwrap_err().code(), Code::InvalidArgument, "{path}");
        assert_eq!(client.read(path, 0, 0).await.unwrap_err().code(), Code::InvalidArgument, "{path}");
    }
    let changed: Result<InfoResponse, _> = client.call("Delete", InfoRequest { digest: name.clone() }).await;
    assert_eq!(changed.unwrap_err().code(), Code::Unimplemented);
    client.store = Some("oci:x");
    assert_eq!(client.info(&name).await.unwrap_err().message(), "unknown store oci:x");
    client.store = None;
    let error = client.info(&name).await.unwrap_err();
    assert_eq!(error.message(), r#"request lacks metadata "buildkit-attachable-store-id""#);
}

#[tokio::test]
async fn a_layout_is_read_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let writer = DirectoryWriter::create(folder.path()).unwrap();
    let blob = Descriptor::of("application/octet-stream", b"inside");
    writer.add_blob(&blob, &b"inside"[..]).unwrap();
    writer.finish(&[LayoutImage { descriptor: blob.clone(), names: Vec::new() }]).unwrap();
    let mut contents = Contents::default();
    contents.add_layout("oci:x", Layout::open(folder.path()).unwrap());
    let client = Client::new(contents, "oci:x");
    assert_eq!(client.read(&blob.digest.to_string(), 2, 3).await.unwrap(), b"sid");
    let (_, error) = client.write(vec![stat("a")]).await;
    assert_eq!(error.unwrap().message(), "content store is read-only");
    assert_eq!(client.status("a").await.unwrap_err().code(), Code::FailedPrecondition);
}

proptest! {
    /// What a daemon may ask for, of content of eleven bytes.
    #[test]
    fn every_part_is_a_part(offset in any::<i64>(), size in any::<i64>(), near in -3..15_i64, few in -3..15_i64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, b"hello world").unwrap();
        for (offset, size) in [(offset, size), (near, few), (near, size), (offset, few)] {
            let opened = (File::open(&path).unwrap(), 11);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = read::part(opened, offset, size);
            let read = read.and_then(|part| runtime.block_on(read::messages(part).try_collect::<Vec<_>>()));
            let first = usize::try_from(offset).unwrap_or(if offset < 0 { 0 } else { usize::MAX });
            match read {
                Err(status) => prop_assert!(status.code() == Code::OutOfRange && first > 11),
                Ok(messages) => {
                    let read: Vec<u8> = messages.iter().flat_map(|message| message.data.to_vec()).collect();
                    let count = if size > 0 { usize::try_from(size).unwrap() } else { usize::MAX };
                    let wanted: Vec<u8> = b"hello world".iter().copied().skip(first).take(count).collect();
                    prop_assert_eq!(read, wanted);
                }
            }
        }
    }
}
