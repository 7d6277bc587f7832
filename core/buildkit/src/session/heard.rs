//! A connection that fails when nothing comes over it any more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Io;

/// A connection whose reads fail when nothing has come for so long.
///
/// Any byte shows that the other side is there, also one that says nothing about what was asked: where much is being
/// sent over a slow connection, the answer to a question waits behind it.
pub(super) struct Heard {
    inner: Box<dyn Io>,
    limit: Duration,
    last: Instant,
    /// No earlier than the last byte.
    check: Pin<Box<Sleep>>,
}

impl Heard {
    /// From inside of a runtime.
    pub(super) fn new(inner: Box<dyn Io>, limit: Duration) -> Self {
        let last = Instant::now();
        Self { inner, limit, last, check: Box::pin(sleep_until(last + limit)) }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First: what has come counts, however late this process looks.
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if read.is_ready() {
            self.last = Instant::now();
            return read;
        }
        loop {
            ready!(self.check.as_mut().poll(context));
            let end = self.last + self.limit;
            if end <= Instant::now() {
                let reason = format!("nothing came in {} s", self.limit.as_secs());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
            self.check.as_mut().reset(end);
        }
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn what_has_come_counts_however_late_it_is_read() {
        let (near, mut far) = duplex(16);
        let mut near = Heard::new(Box::new(near), LIMIT);
        far.write_all(b"x").await.unwrap();
        sleep(LIMIT * 20).await;
        assert_eq!(near.read_u8().await.unwrap(), b'x');
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, "nothing came in 0 s")
        );
    }
}
