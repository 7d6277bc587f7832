//! The thread that all connections to a daemon live on.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime on a thread of its own, which ends with the last of its clones.
///
/// A daemon ends a build whose session does not answer its health checks, so nothing that computes or blocks may
/// run where connections are served: neither the caller's tasks nor, but by
/// [`spawn_blocking`](tokio::task::spawn_blocking), the services of a session.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    handle: Handle,
    /// Dropped with the last clone, which ends the thread.
    _alive: Arc<oneshot::Sender<()>>,
}

impl Network {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("buildkit".to_owned()).spawn(move || {
            // An error says that nobody can send any more.
            let _ = runtime.block_on(ended);
            // What blocks may go on for as long as it likes.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _alive: Arc::new(alive) })
    }

    /// The runtime.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The result of `work`, which is done on the thread, and dropped with the future that is answered.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let task = tokio_util::task::AbortOnDropHandle::new(self.handle.spawn(work));
        task.await.map_err(io::Error::other)
    }
}

/// Spawns what connections consist of, without keeping the thread alive: its futures end with it.
#[derive(Debug, Clone)]
pub(crate) struct Spawner(Handle);

impl Network {
    /// What spawns on the thread.
    pub(crate) fn spawner(&self) -> Spawner {
        Spawner(self.handle.clone())
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
