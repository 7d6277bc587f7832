//! Memory of builders, not of what they build.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often is looked. A peak is kept by the kernel: only what is new in a process's last moments is missed.
const INTERVAL: Duration = Duration::from_millis(20);

/// Follows a program that may have helpers: its children, not what these run for a build.
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<u32, u64>>,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                for process in std::iter::once(pid).chain(children(pid)) {
                    let seen = peaks.entry(process).or_default();
                    *seen = peak(process).max(*seen);
                }
                std::thread::sleep(INTERVAL);
            }
            peaks
        });
        Self { ended, thread }
    }

    /// The sum of the peaks in bytes; `None` if no helper was seen.
    pub(crate) fn stop(self) -> Option<u64> {
        self.ended.store(true, Ordering::Relaxed);
        let peaks = self.thread.join().unwrap_or_default();
        (peaks.len() > 1).then(|| peaks.values().sum())
    }
}

/// The children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Peak resident set of a running process in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
