//! Messages over a stream: their frames, and the order in which they are dealt with.
//!
//! It takes the place of the library's own transport, which ends the session at the first message that is not JSON.

use futures::stream::FuturesUnordered;
use futures::{Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tower_lsp::jsonrpc::{Error, ErrorCode, Id, Request, Response};
use tower_service::Service;

/// Longest message, in bytes; longer ones are passed over.
const LONGEST: usize = 64 << 20;
/// Longest header of a message, in bytes.
const HEADER: usize = 4 << 10;
/// Bytes that are read at a time, at the least.
const CHUNK: usize = 16 << 10;
/// How many requests are in work at a time; more are refused. A client that does not answer what it is asked, or that asks
/// faster than it can be answered, takes no more memory than this.
const REQUESTS: usize = 256;
/// How many messages are in work at a time; nothing more is read then.
const MESSAGES: usize = 1024;
/// How many answers wait for the client to read them; nothing more is read then.
const ANSWERS: usize = 16;
/// The protocol's code for what the server refuses to do now.
const SERVER_CANCELLED: i64 = -32802;

/// Takes messages and writes answers, and what the server says by itself, until the client says `exit` or goes away.
///
/// A message is begun before the next one is read, so that what handlers do before they first wait is done in the order
/// of the messages.
pub(super) async fn converse<S, R, A>(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite,
    mut service: S,
    (asked, mut replies): (R, A),
) where
    S: Service<Request, Response = Option<Response>>,
    R: Stream<Item = Request> + Unpin,
    A: Sink<Response> + Unpin,
{
    let (answers, waiting) = mpsc::channel(ANSWERS);
    let reading = async move {
        let mut frames = Frames::new(input);
        let mut running = FuturesUnordered::new();
        let mut requests = 0_usize;
        loop {
            let frame = tokio::select! {
                biased;
                Some((is_request, done)) = running.next() => {
                    requests -= usize::from(is_request);
                    let done: Result<Option<Response>, S::Error> = done;
                    // It refuses to answer after `exit` only.
                    if let Ok(Some(answer)) = done
                        && answers.send(answer).await.is_err()
                    {
                        return;
                    }
                    continue;
                }
                frame = frames.next(), if running.len() < MESSAGES => frame,
            };
            let refused = match frame {
                None => return,
                Some(Err(reason)) => refusal(Id::Null, ErrorCode::ParseError, reason),
                Some(Ok(body)) => match Incoming::read(&body) {
                    Err(refused) => *refused,
                    Ok(Incoming::Reply(reply)) => {
                        let _ = replies.send(reply).await;
                        continue;
                    }
                    Ok(Incoming::Request(request)) => {
                        let id = request.id().cloned();
                        if let Some(id) = id.clone().filter(|_| requests >= REQUESTS) {
                            refusal(
                                id,
                                ErrorCode::ServerError(SERVER_CANCELLED),
                                "too many requests at a time",
                            )
                        } else {
                            requests += usize::from(id.is_some());
                            let exits = request.method() == "exit";
                            let work = service.call(request);
                            running.push(async move { (id.is_some(), work.await) });
                            if exits {
                                // Begun, as all others were: nothing waits for it.
                                let _ = futures::poll!(running.next());
                                return;
                            }
                            continue;
                        }
                    }
                },
            };
            if answers.send(refused).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, write(output, waiting, asked));
}

/// Writes answers and what the server says by itself until there are no more answers to come.
async fn write(
    output: impl AsyncWrite,
    mut answers: mpsc::Receiver<Response>,
    mut said: impl Stream<Item = Request> + Unpin,
) {
    let mut output = std::pin::pin!(output);
    loop {
        let body = tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => serde_json::to_vec(&answer),
                None => break,
            },
            Some(said) = said.next() => serde_json::to_vec(&said),
        };
        let Ok(body) = body else { continue };
        let mut message = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        message.extend(body);
        if output.write_all(&message).await.is_err() || output.flush().await.is_err() {
            break;
        }
    }
    let _ = output.shutdown().await;
}

fn refusal(id: Id, code: ErrorCode, reason: &'static str) -> Response {
    tracing::warn!("{reason}");
    Response::from_error(id, Error { code, message: reason.into(), data: None })
}

/// A message of the client.
enum Incoming {
    Request(Request),
    Reply(Response),
}

impl Incoming {
    /// Reads a message; the error is what it is answered.
    fn read(body: &[u8]) -> Result<Self, Box<Response>> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| Box::new(refusal(Id::Null, ErrorCode::ParseError, "the message is not JSON")))?;
        let id = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
        let wrong = |reason| Box::new(refusal(id.unwrap_or_default(), ErrorCode::InvalidRequest, reason));
        if value.is_array() {
            return Err(wrong("the protocol has no batches"));
        }
        if value.get("method").is_some_and(Value::is_string) {
            return serde_json::from_value(value)
                .map(Self::Request)
                .map_err(|_| wrong("the message is no request"));
        }
        serde_json::from_value(value)
            .map(Self::Reply)
            .map_err(|_| wrong("the message is neither a request nor an answer"))
    }
}

/// The messages in a stream of bytes.
struct Frames<I> {
    input: I,
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    taken: usize,
    /// Bytes of a message that are to be passed over.
    skipped: usize,
}

impl<I: AsyncRead + Unpin> Frames<I> {
    fn new(input: I) -> Self {
        Self { input, buffer: Vec::new(), taken: 0, skipped: 0 }
    }

    /// The next message, or what is wrong with it; nothing at the end. What is wrong is passed over. May be dropped at any
    /// time.
    async fn next(&mut self) -> Option<Result<Vec<u8>, &'static str>> {
        loop {
            let missing = match take(&self.buffer[self.taken..], &mut self.skipped) {
                Taken::Body { start, end } => {
                    let body = self.buffer[self.taken + start..self.taken + end].to_vec();
                    self.taken += end;
                    return Some(Ok(body));
                }
                Taken::Wrong { end, reason } => {
                    self.taken += end;
                    return Some(Err(reason));
                }
                Taken::Nothing { end, missing } => {
                    self.taken += end;
                    missing
                }
            };
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if self.buffer.is_empty() && self.buffer.capacity() > 4 * CHUNK {
                self.buffer = Vec::new();
            }
            // As much as is announced is not reserved before some of it is there.
            self.buffer.reserve(missing.clamp(CHUNK, 16 * CHUNK));
            if !matches!(self.input.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }
}

/// What there is at the beginning of bytes.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// A message.
    Body { start: usize, end: usize },
    /// What is no message, up to `end`.
    Wrong { end: usize, reason: &'static str },
    /// Not enough: what is before `end` is not needed any more, and at least `missing` more bytes are.
    Nothing { end: usize, missing: usize },
}

const LENGTH: &[u8] = b"content-length:";

/// Takes the message at the beginning of bytes, of which the first `skipped` are passed over.
fn take(bytes: &[u8], skipped: &mut usize) -> Taken {
    let passed = bytes.len().min(*skipped);
    *skipped -= passed;
    let bytes_left = &bytes[passed..];
    let Some(header) = find(bytes_left, b"\r\n\r\n") else {
        if bytes_left.len() > HEADER {
            return Taken::Wrong { end: passed + next_header(bytes_left), reason: "the header is too long" };
        }
        return Taken::Nothing { end: passed, missing: 1 };
    };
    let start = header + 4;
    if header > HEADER {
        return Taken::Wrong { end: passed + next_header(bytes_left), reason: "the header is too long" };
    }
    let reason = match length(&bytes_left[..header]) {
        Ok((length, true)) if length <= LONGEST => {
            let end = start + length;
            if bytes_left.len() < end {
                return Taken::Nothing { end: passed, missing: end - bytes_left.len() };
            }
            return Taken::Body { start: passed + start, end: passed + end };
        }
        Ok((length, is_utf8)) => {
            *skipped = length;
            if is_utf8 { "the message is too long" } else { "the message is not UTF-8" }
        }
        Err(reason) => {
            let rest = &bytes_left[start..];
            let is_next = rest.get(..LENGTH.len()).is_some_and(|it| it.eq_ignore_ascii_case(LENGTH));
            let next = if is_next || rest.is_empty() { 0 } else { next_header(rest) };
            return Taken::Wrong { end: passed + start + next, reason };
        }
    };
    Taken::Wrong { end: passed + start, reason }
}

/// The length of the message after a header, and whether it is UTF-8.
fn length(header: &[u8]) -> Result<(usize, bool), &'static str> {
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let (mut length, mut is_utf8) = (None, true);
    for line in header.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or("the header is not made of fields")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| "the length of the message is no number")?);
        } else if name.eq_ignore_ascii_case("content-type") {
            let charset = value.split(';').find_map(|part| part.trim().strip_prefix("charset="));
            let charset = charset.unwrap_or("utf-8").trim_matches('"');
            is_utf8 = ["utf-8", "utf8"].iter().any(|known| charset.eq_ignore_ascii_case(known));
        }
    }
    Ok((length.ok_or("the header has no Content-Length")?, is_utf8))
}

/// Where the next header may begin that is not the first thing here.
fn next_header(bytes: &[u8]) -> usize {
    let found = bytes.windows(LENGTH.len()).skip(1).position(|window| window.eq_ignore_ascii_case(LENGTH));
    // The beginning of one may be at the end.
    found.map_or(bytes.len().saturating_sub(LENGTH.len() - 1).max(1), |at| at + 1)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // No further than a header may be long.
    let end = bytes.len().min(HEADER + 2 * wanted.len());
    bytes[..end].windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of bytes that come in pieces.
    fn read(pieces: &[&[u8]]) -> Vec<Result<String, &'static str>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
            }
            drop(theirs);
            let mut frames = Frames::new(ours);
            let mut all = Vec::new();
            while let Some(frame) = frames.next().await {
                all.push(frame.map(|body| String::from_utf8_lossy(&body).into_owned()));
            }
            all
        })
    }

    fn message(body: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn messages_are_taken_one_after_another() {
        let text = [message("ab"), message(""), message("ü")].concat();
        assert_eq!(read(&[text.as_bytes()]), [Ok("ab".into()), Ok(String::new()), Ok("ü".into())]);
        let header = b"content-length:2\r\nContent-Type: application/vscode-jsonrpc; charset=utf8\r\n\r\nab";
        assert_eq!(read(&[header]), [Ok("ab".into())]);
    }

    #[test]
    fn what_is_wrong_is_passed_over() {
        for (wrong, reason) in [
            ("nonsense\r\n\r\n", "the header is not made of fields"),
            ("X: 1\r\n\r\n", "the header has no Content-Length"),
            ("Content-Length: x\r\n\r\n", "the length of the message is no number"),
            ("Content-Length: -1\r\n\r\n", "the length of the message is no number"),
            ("Content-Length: 99999999999999999999999\r\n\r\n", "the length of the message is no number"),
            ("Content-Type: a; charset=latin1\r\nContent-Length: 1\r\n\r\nx", "the message is not UTF-8"),
        ] {
            let text = [wrong, &message("ab")].concat();
            let all = read(&[text.as_bytes()]);
            assert_eq!(all.first(), Some(&Err(reason)), "{wrong}");
            assert_eq!(all.last(), Some(&Ok("ab".into())), "{wrong}");
        }
        let long = format!("X: {}\r\n\r\n{}", "x".repeat(2 * HEADER), message("ab"));
        let all = read(&[long.as_bytes()]);
        assert!(all.len() == 2 && all[0].is_err() && all[1] == Ok("ab".into()), "{all:?}");
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut skipped = 0;
        let header = format!("Content-Length: {}\r\n\r\n", LONGEST + 1);
        let taken = take(header.as_bytes(), &mut skipped);
        assert_eq!(taken, Taken::Wrong { end: header.len(), reason: "the message is too long" });
        assert_eq!(take(&[b'x'; 100], &mut skipped), Taken::Nothing { end: 100, missing: 1 });
        assert_eq!(skipped, LONGEST - 99);
        skipped = 2;
        let text = format!("xx{}", message("a"));
        assert!(matches!(take(text.as_bytes(), &mut skipped), Taken::Body { .. }));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bodies in proptest::collection::vec("[a-z{}\r\n:]{0,40}", 1..5), cuts in proptest::collection::vec(0..200usize, 0..6)) {
            let text: String = bodies.iter().map(|body| message(body)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let mut frames = Pieces(pieces.into_iter());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let mut frames = Frames::new(&mut frames);
                let mut all = Vec::new();
                while let Some(frame) = frames.next().await {
                    all.push(frame.map(|body| String::from_utf8_lossy(&body).into_owned()));
                }
                all
            });
            prop_assert_eq!(read, bodies.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn nonsense_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [bytes, b"\r\n\r\n".to_vec(), message("ab").into_bytes()].concat();
            prop_assert!(read(&[&text]).len() < 400);
        }
    }

    /// A stream that gives one piece at a time.
    struct Pieces<'a, T: Iterator<Item = &'a [u8]>>(T);

    impl<'a, T: Iterator<Item = &'a [u8]> + Unpin> AsyncRead for Pieces<'a, T> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(piece) = self.0.by_ref().find(|piece| !piece.is_empty()) {
                buffer.put_slice(piece);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
}
