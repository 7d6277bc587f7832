//! Work done by several threads whose results are taken in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::LayerError;

/// Results that may be ready ahead of the one that is taken next; bounds memory.
const WINDOW: usize = 8;

/// Does `total` pieces of work on `threads` threads, each with a state of its own, and gives the results to
/// `take` in order, on the calling thread. The first error ends it.
pub(crate) fn in_order<S, T: Send>(
    total: usize,
    threads: usize,
    cancelled: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T, LayerError> + Sync,
    mut take: impl FnMut(T) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let line = Line {
        total,
        started: AtomicUsize::new(0),
        state: Mutex::new(LineState { next: 0, stopped: false, ready: BTreeMap::new() }),
        changed: Condvar::new(),
    };
    // A thread costs more than one piece of work often does.
    if total < 2 {
        let mut own = state();
        return (0..total).try_for_each(|at| work(&mut own, at).and_then(&mut take));
    }
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, total) {
            scope.spawn(|| {
                let mut own = state();
                while let Some(at) = line.start() {
                    let done = if cancelled.load(Ordering::Relaxed) {
                        Err(LayerError::Cancelled)
                    } else {
                        work(&mut own, at)
                    };
                    line.finish(at, done);
                }
            });
        }
        (0..total).try_for_each(|_| line.next().and_then(&mut take)).inspect_err(|_| line.stop())
    })
}

struct Line<T> {
    total: usize,
    started: AtomicUsize,
    state: Mutex<LineState<T>>,
    changed: Condvar,
}

struct LineState<T> {
    next: usize,
    stopped: bool,
    ready: BTreeMap<usize, Result<T, LayerError>>,
}

impl<T> Line<T> {
    fn lock(&self) -> MutexGuard<'_, LineState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work, once it is near enough to the one that is taken next.
    fn start(&self) -> Option<usize> {
        let at = self.started.fetch_add(1, Ordering::Relaxed);
        if at >= self.total {
            return None;
        }
        let near = |state: &mut LineState<T>| at >= state.next + WINDOW && !state.stopped;
        let state = self.changed.wait_while(self.lock(), near).unwrap_or_else(PoisonError::into_inner);
        (!state.stopped).then_some(at)
    }

    fn finish(&self, at: usize, done: Result<T, LayerError>) {
        self.lock().ready.insert(at, done);
        self.changed.notify_all();
    }

    fn next(&self) -> Result<T, LayerError> {
        let mut state = self.lock();
        loop {
            let next = state.next;
            if let Some(done) = state.ready.remove(&next) {
                state.next += 1;
                self.changed.notify_all();
                return done;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_faster() {
        let mut taken = Vec::new();
        let work = |(): &mut (), at: usize| {
            std::thread::sleep(std::time::Duration::from_micros((at as u64 * 37) % 300));
            Ok(at)
        };
        let take = |at| {
            taken.push(at);
            Ok(())
        };
        in_order(100, 4, &AtomicBool::new(false), || (), work, take).unwrap();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_it_and_nobody_waits_for_ever() {
        let work = |(): &mut (), at: usize| if at == 20 { Err(LayerError::Damaged) } else { Ok(at) };
        let mut taken = 0;
        let take = |_| {
            taken += 1;
            Ok(())
        };
        let outcome = in_order(1000, 4, &AtomicBool::new(false), || (), work, take);
        assert!(matches!(outcome, Err(LayerError::Damaged)));
        assert_eq!(taken, 20);
    }

    #[test]
    fn cancelling_ends_it() {
        let cancelled = AtomicBool::new(true);
        let outcome = in_order(10, 2, &cancelled, || (), |(), at| Ok(at), |_| Ok(()));
        assert!(matches!(outcome, Err(LayerError::Cancelled)));
    }
}
