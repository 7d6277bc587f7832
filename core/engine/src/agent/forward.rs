//! The socket that a step sees.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rbx_store::TempDir;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::Agent;

/// Connections of one step at a time; further ones wait.
const CONNECTIONS: usize = 32;
const PAUSE: Duration = Duration::from_millis(100);
const NAME: &str = "agent";

/// A socket at which an agent listens, until this is dropped: then every connection ends, too.
#[derive(Debug)]
pub(crate) struct Forward {
    task: AbortHandle,
    directory: TempDir,
}

impl Forward {
    /// Listens in `directory`, which nobody else may enter. Must be called within a runtime.
    pub(crate) fn start(
        agent: Arc<Agent>,
        directory: TempDir,
        uid: u32,
        gid: u32,
        mode: u32,
    ) -> io::Result<Self> {
        let listener = listen(directory.path(), uid, gid, mode)?;
        let runtime = Handle::current();
        let _entered = runtime.enter();
        let listener = UnixListener::from_std(listener)?;
        let task = runtime.spawn(accept(listener, agent)).abort_handle();
        Ok(Self { task, directory })
    }

    /// The socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(directory: &Path, uid: u32, gid: u32, mode: u32) -> io::Result<Listener> {
    // A socket's path has at most 107 bytes, the store's may have more.
    let opened = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let listener = Listener::bind(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    let path = directory.join(NAME);
    rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode & 0o777))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, agent: Arc<Agent>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    // Ends with this task, and all that is in it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // Too many files are open.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let agent = agent.clone();
        connections.spawn(async move {
            // What goes wrong, the client sees by its connection's end.
            let _ = agent.serve(client).await;
            drop(permit);
        });
    }
}
