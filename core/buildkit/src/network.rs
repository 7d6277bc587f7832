//! The threads that connections to a daemon live on.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long work that blocks is waited for at the end: a disk may be slow. It may also be writing what nobody reads.
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime on a thread of its own, which ends when this is dropped.
///
/// A daemon ends a build whose session does not answer its health checks, so nothing that computes or blocks may
/// run where connections are served: neither the caller's tasks nor, but by
/// [`spawn_blocking`](tokio::task::spawn_blocking), the services of a session.
#[derive(Debug)]
pub(crate) struct Network {
    handle: Handle,
    /// Dropped to end the thread.
    alive: oneshot::Sender<()>,
    /// Ends with the thread.
    ended: oneshot::Receiver<()>,
}

impl Network {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, dropped) = oneshot::channel::<()>();
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("buildkit".to_owned()).spawn(move || {
            // An error says that nobody can send any more.
            let _ = runtime.block_on(dropped);
            // Its futures are dropped first, which ends the work that waits for them; then that work is waited for.
            // `shutdown_timeout` would drop them last.
            drop(runtime);
            drop(running);
        })?;
        Ok(Self { handle, alive, ended })
    }

    /// The runtime.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Drops all that is done here where it is, and waits until that has cleaned up after itself.
    pub(crate) async fn end(self) {
        drop(self.alive);
        // Nothing is ever sent.
        let _ = timeout(PATIENCE, self.ended).await;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use hyper::rt::Executor;

    use super::*;

    #[tokio::test]
    async fn the_end_comes_after_work_that_waits_for_futures() {
        let network = Network::start().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        network.spawner().execute(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        let done = Arc::new(AtomicBool::new(false));
        network.handle().spawn_blocking({
            let done = done.clone();
            move || {
                assert!(receiver.recv().is_err());
                // As removing a file may take.
                thread::sleep(Duration::from_millis(50));
                done.store(true, Ordering::SeqCst);
            }
        });
        network.end().await;
        assert!(done.load(Ordering::SeqCst));
    }
}
