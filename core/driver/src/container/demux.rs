//! What a process in a container writes, as an Engine sends it: output and errors in one stream, in frames.
//!
//! A frame is a byte that says which of both, three zeros, the length in four bytes (big endian), and so many bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rbx_buildkit::Io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

const HEADER: usize = 8;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// How much of what a process complains about is kept, in bytes: the end of it.
const COMPLAINTS: usize = 4 << 10;
/// Where the type of a frame of HTTP/2 is, and that of settings.
const FRAME_TYPE: usize = 3;
const SETTINGS: u8 = 4;
/// What an Engine says in the place of a process that it could not start.
const NOT_STARTED: &[u8] = b"OCI runtime exec failed";

/// A process in a container: what is read is its standard output, what is written its standard input.
///
/// It fails at the end of an output that never began, with what the process wrote to standard error.
pub(super) struct Demuxed {
    io: Box<dyn Io>,
    header: [u8; HEADER],
    /// How much of the header is there.
    filled: usize,
    /// How much of the frame's content is still to come.
    left: usize,
    /// The end of standard error.
    complaints: Vec<u8>,
    /// The first output, read before somebody asked for it.
    first: Vec<u8>,
    /// There was output.
    began: bool,
}

impl Demuxed {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            header: [0; HEADER],
            filled: 0,
            left: 0,
            complaints: Vec::new(),
            first: Vec::new(),
            began: false,
        }
    }

    /// Waits for the first output, which has to be what a server of HTTP/2 begins with: a frame with its settings
    /// (RFC 9113, section 3.4). Anything else is what is said of a process that cannot do what it should.
    pub(super) async fn begin(&mut self) -> io::Result<()> {
        let mut first = vec![0; 256];
        let mut length = 0;
        while length <= FRAME_TYPE {
            match self.read(&mut first[length..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => length += read,
            }
        }
        first.truncate(length);
        if first[FRAME_TYPE] != SETTINGS {
            return Err(io::Error::other(String::from_utf8_lossy(&first).trim().to_owned()));
        }
        self.first = first;
        Ok(())
    }

    /// What the process wrote to standard error, its end at least.
    pub(super) fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.complaints).trim().to_owned()
    }

    fn complain(&mut self, bytes: &[u8]) {
        self.complaints.extend_from_slice(bytes);
        let excess = self.complaints.len().saturating_sub(COMPLAINTS);
        self.complaints.drain(..excess);
    }

    /// Reads at most so many bytes, and says how many; 0 at the end.
    fn poll_some(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads the header of the next frame. False at the end, which comes between frames.
    fn poll_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.filled < HEADER {
            let mut piece = [0; HEADER];
            let wanted = HEADER - self.filled;
            let read = ready!(self.poll_some(context, &mut piece[..wanted]))?;
            if read == 0 {
                let whole = self.filled == 0;
                return Poll::Ready(if whole { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
            self.header[self.filled..self.filled + read].copy_from_slice(&piece[..read]);
            self.filled += read;
        }
        let [stream, 0, 0, 0, length @ ..] = self.header else { return Poll::Ready(Err(malformed())) };
        if stream > STDERR {
            return Poll::Ready(Err(malformed()));
        }
        self.left = usize::try_from(u32::from_be_bytes(length)).map_err(|_| malformed())?;
        Poll::Ready(Ok(true))
    }

    fn poll_output(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.left == 0 {
                if self.filled == HEADER {
                    self.filled = 0;
                }
                if !ready!(self.poll_header(context))? {
                    return Poll::Ready(self.end());
                }
                continue;
            }
            if self.header[0] == STDOUT {
                let wanted = self.left.min(buffer.remaining());
                let read = ready!(self.poll_some(context, buffer.initialize_unfilled_to(wanted)))?;
                if read == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                self.left -= read;
                let begin = buffer.initialize_unfilled_to(read);
                if !self.began && begin.starts_with(NOT_STARTED) {
                    let said = String::from_utf8_lossy(begin).trim().to_owned();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotFound, said)));
                }
                buffer.advance(read);
                self.began = true;
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0; 1024];
            let wanted = self.left.min(piece.len());
            let read = ready!(self.poll_some(context, &mut piece[..wanted]))?;
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.complain(&piece[..read]);
            self.left -= read;
        }
    }

    /// The end of the output, which is an error where there was none and the process says why.
    fn end(&self) -> io::Result<()> {
        let complaints = self.complaints();
        if self.began || complaints.is_empty() { Ok(()) } else { Err(io::Error::other(complaints)) }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "invalid frame in the output of a process in a container")
}

impl AsyncRead for Demuxed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..length]);
            self.first.drain(..length);
            return Poll::Ready(Ok(()));
        }
        self.poll_output(context, buffer)
    }
}

impl AsyncWrite for Demuxed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], content].concat()
    }

    /// What is read of a stream that comes in pieces of this size, and what was complained about.
    async fn read(stream: Vec<u8>, piece: usize) -> (Vec<u8>, io::Result<()>, String) {
        let (mut there, here) = duplex(piece);
        let mut demuxed = Demuxed::new(Box::new(here));
        let write = async move {
            let _ = there.write_all(&stream).await;
        };
        // Ends with the reading, so that the writing does.
        let read = async move {
            let (mut output, mut piece) = (Vec::new(), [0; 50]);
            let result = loop {
                match demuxed.read(&mut piece).await {
                    Ok(0) => break Ok(()),
                    Ok(length) => output.extend_from_slice(&piece[..length]),
                    Err(error) => break Err(error),
                }
            };
            (output, result, demuxed.complaints())
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn output_is_told_from_complaints() {
        let stream = [frame(2, b"warning\n"), frame(1, b"ab"), frame(1, b""), frame(2, b"!"), frame(1, b"c")];
        let (output, result, complaints) = read(stream.concat(), 3).await;
        assert_eq!((output.as_slice(), complaints.as_str()), (&b"abc"[..], "warning\n!"));
        result.unwrap();
        // Nothing but complaints is a failure, as is a process that was not started.
        let (_, result, _) = read(frame(2, b"no such socket\n"), 64).await;
        assert_eq!(result.unwrap_err().to_string(), "no such socket");
        let (output, result, _) = read(frame(1, b"OCI runtime exec failed: x\r\n"), 64).await;
        assert_eq!(
            (output.len(), result.unwrap_err().to_string().as_str()),
            (0, "OCI runtime exec failed: x")
        );
        let long = "x".repeat(COMPLAINTS * 3) + "end";
        let (_, _, complaints) = read(frame(2, long.as_bytes()), 64).await;
        assert!(complaints.len() == COMPLAINTS && complaints.ends_with("end"));
    }

    #[tokio::test]
    async fn streams_that_end_early_or_are_something_else_fail() {
        let whole = frame(1, b"abc");
        for end in 1..whole.len() {
            let (_, result, _) = read(whole[..end].to_vec(), 64).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        for stream in [frame(3, b""), b"HTTP/1.1 400 Bad Request\r\n".to_vec(), vec![1, 1, 0, 0, 0, 0, 0, 0]]
        {
            let (_, result, _) = read(stream, 64).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn what_showed_that_it_began_is_read_again() {
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let begun = async |output: &[u8]| {
            let (mut there, here) = duplex(256);
            // Byte by byte, as it may come.
            for byte in output.chunks(1) {
                there.write_all(&frame(1, byte)).await.unwrap();
            }
            drop(there);
            let mut demuxed = Demuxed::new(Box::new(here));
            demuxed.begin().await?;
            let mut output = Vec::new();
            demuxed.read_to_end(&mut output).await?;
            io::Result::Ok(output)
        };
        assert_eq!(begun(settings).await.unwrap(), settings);
        let error = begun(b"gone\r\n").await.unwrap_err();
        assert_eq!(error.to_string(), "gone");
        assert_eq!(begun(b"\0\0").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (there, here) = duplex(64);
        drop(there);
        assert!(Demuxed::new(Box::new(here)).begin().await.is_err());
    }

    proptest! {
        #[test]
        fn any_frames_are_put_together(
            frames in proptest::collection::vec((1_u8..3, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            piece in 1_usize..50,
        ) {
            let stream = frames.iter().map(|(stream, content)| frame(*stream, content)).collect::<Vec<_>>().concat();
            let of = |wanted: u8| frames.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, content)| content.clone()).collect::<Vec<u8>>();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (output, result, complaints) = runtime.block_on(read(stream, piece));
            prop_assert_eq!(output, of(1));
            let expected = String::from_utf8_lossy(&of(2)).trim().to_owned();
            prop_assert_eq!(&complaints, &expected);
            prop_assert_eq!(result.is_ok(), !of(1).is_empty() || complaints.is_empty());
        }

        #[test]
        fn nonsense_ends(stream in proptest::collection::vec(any::<u8>(), 0..100)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(stream, 16));
        }
    }
}
