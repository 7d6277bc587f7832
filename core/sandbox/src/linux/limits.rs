//! Resource limits of a step.

use rustix::process::{Resource, Rlimit as Limit};

use super::failure::{During, Failure, Result, Stage};
use crate::Rlimit;

/// Every limit by its name in `--ulimit`.
const LIMITS: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Sets one limit of this process.
pub(super) fn set(limit: &Rlimit) -> Result<()> {
    let Some((_, resource)) = LIMITS.iter().find(|(name, _)| *name == limit.name) else {
        return Err(Failure::new(Stage::Other, format!("invalid ulimit type: {}", limit.name)));
    };
    let bound = |value: u64| (value != u64::MAX).then_some(value);
    rustix::process::setrlimit(*resource, Limit { current: bound(limit.soft), maximum: bound(limit.hard) })
        .during(Stage::Other, || format!("setting the limit {} to {}:{}", limit.name, limit.soft, limit.hard))
}

/// The limits of the process that started the helper. Nobody in a user namespace raises a hard limit, so the helper
/// takes all it can get before it enters one, and every step that does not ask for more is given these again.
pub(super) struct Inherited(Vec<(Resource, Limit)>);

impl Inherited {
    /// Takes note of this process's limits and raises each as far as this process may. Soft limits go up as well:
    /// those of the maker of a user namespace count for all that is in it.
    pub(super) fn raise() -> Self {
        let most_files = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
        let most_files = most_files.and_then(|most| most.trim().parse().ok());
        let limits = LIMITS.map(|(_, resource)| (resource, rustix::process::getrlimit(resource)));
        for (resource, _) in limits {
            let most = if matches!(resource, Resource::Nofile) { most_files } else { None };
            // Who may not keeps what there is.
            let _ = rustix::process::setrlimit(resource, Limit { current: most, maximum: most });
        }
        Self(limits.to_vec())
    }

    /// Goes back to the soft limits, which are those that count for this process.
    pub(super) fn lower(&self) {
        for (resource, limit) in &self.0 {
            let maximum = rustix::process::getrlimit(*resource).maximum;
            // Lowering needs no right.
            let _ = rustix::process::setrlimit(*resource, Limit { current: limit.current, maximum });
        }
    }

    /// Goes back to all limits as they were, but for those that are to be set otherwise.
    pub(super) fn restore(&self, others: &[Rlimit]) {
        for ((resource, limit), (name, _)) in self.0.iter().zip(LIMITS) {
            if !others.iter().any(|other| other.name == name) {
                let _ = rustix::process::setrlimit(*resource, *limit);
            }
        }
    }
}
