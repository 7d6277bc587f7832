//! A relay before a Unix socket, for connections that stop or end at any moment.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::daemon::Daemon;

/// A relay before a Unix socket. It passes on all bytes until it is told otherwise. Dropping it ends it.
#[derive(Debug)]
pub struct Pipe {
    _directory: tempfile::TempDir,
    path: PathBuf,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that clients have sent and that were passed on.
    passed: u64,
    /// How many of them may be; after that all waits.
    limit: Option<u64>,
    waiting: bool,
    ended: bool,
    streams: Vec<UnixStream>,
}

impl Pipe {
    /// Starts one before a socket.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn start(upstream: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("pipe.sock");
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let inner = Arc::new(Inner::default());
        let (shared, upstream) = (inner.clone(), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.lock().ended {
                    break;
                }
                // A client sees a connection that ends, as where nobody listens any more.
                let Ok(server) = UnixStream::connect(&upstream) else { continue };
                drop(shared.pass_both(&client, &server));
            }
        });
        Self { _directory: directory, path, inner }
    }

    /// What `DOCKER_HOST` is for what is behind it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// How many bytes clients have sent that were passed on.
    pub fn passed(&self) -> u64 {
        self.inner.lock().passed
    }

    /// Ends all connections that there are. Later ones are passed on.
    pub fn cut(&self) {
        for stream in self.inner.lock().streams.drain(..) {
            // The other side may have ended it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes on so many more bytes of clients, and then nothing in either direction.
    pub fn stop_after(&self, bytes: u64) {
        let mut state = self.inner.lock();
        state.limit = Some(state.passed + bytes);
    }

    /// Waits until it has passed on what it may, and there is more.
    ///
    /// # Panics
    ///
    /// If that takes a minute.
    pub fn wait_until_stopped(&self) {
        let stopped = Daemon::wait_until(Duration::from_mins(1), || self.inner.lock().waiting);
        assert!(stopped, "so much is never sent");
    }

    /// Passes on everything again.
    pub fn resume(&self) {
        let mut state = self.inner.lock();
        state.limit = None;
        state.waiting = false;
        self.inner.changed.notify_all();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        self.cut();
        self.resume();
        // So that it looks.
        let _ = UnixStream::connect(&self.path);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_both(self: &Arc<Self>, client: &UnixStream, server: &UnixStream) -> io::Result<()> {
        self.lock().streams.extend([client.try_clone()?, server.try_clone()?]);
        for (from, to, counts) in [(client, server, true), (server, client, false)] {
            let (inner, mut from, mut to) = (self.clone(), from.try_clone()?, to.try_clone()?);
            std::thread::spawn(move || {
                // An end is passed on as one.
                let _ = inner.pass(&mut from, &mut to, counts);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    }

    fn pass(&self, from: &mut UnixStream, to: &mut UnixStream, counts: bool) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 14];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.wait(if counts { length } else { 0 });
            to.write_all(&buffer[..length])?;
        }
    }

    /// Waits for as long as nothing may be passed on.
    fn wait(&self, length: usize) {
        let mut state = self.lock();
        state.passed += length as u64;
        while state.limit.is_some_and(|limit| state.passed > limit) {
            state.waiting = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
