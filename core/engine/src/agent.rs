//! The socket at which a step finds the SSH agent that it is given.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rbx_ssh::Agent;
use rbx_store::TempDir;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use rbx_store::Store;

    use super::*;

    #[test]
    fn connections_end_with_the_step_though_the_agent_hangs() {
        let directory = tempfile::tempdir().expect("a directory");
        // As long as a store's path may be.
        let root = directory.path().join("a-long-name-for-a-directory/".repeat(4));
        let store = Store::open(&root).expect("a store");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let silent = directory.path().join("silent");
        let listener = UnixListener::bind(&silent).expect("a socket");
        let forward = {
            let _entered = runtime.enter();
            let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            let scratch = store.temp_dir().expect("a directory");
            let agent = Arc::new(Agent::Socket(silent));
            Forward::start(agent, scratch, uid, gid, 0o640).expect("a socket")
        };
        let (path, scratch) = (forward.path(), forward.path().parent().expect("a directory").to_owned());
        assert_eq!(std::fs::metadata(&path).expect("metadata").mode() & 0o7777, 0o640);

        // Clients have short paths only.
        let link = directory.path().join("agent");
        std::os::unix::fs::symlink(&scratch, &link).expect("a link");
        let mut connection = UnixStream::connect(link.join(NAME)).expect("a connection");
        connection.write_all(&[0, 0, 0, 1, 11]).expect("a request");
        // It got there, and nobody answers.
        let (mut agent, _) = listener.accept().expect("a connection");
        let mut request = [0; 5];
        agent.read_exact(&mut request).expect("the request");
        drop(forward);
        let mut rest = Vec::new();
        let _ = connection.read_to_end(&mut rest);
        assert!(rest.is_empty() && !scratch.exists());
        let _ = agent.read_to_end(&mut rest);
        assert!(rest.is_empty(), "the agent's side ended, too");
    }
}
