//! `--ulimit`, `--cgroup-parent` and `--resource` as the sandbox takes them.

use std::str::FromStr;

use rbx_request::BuildRequest;
use rbx_sandbox::{ControlGroup, Resources, Rlimit};

use crate::error::BuildError;

/// The limits of processes. The kernel lets nobody have more files open than `fs.nr_open`; to say so now spares the
/// steps before.
pub(crate) fn rlimits(request: &BuildRequest) -> Result<Vec<Rlimit>, BuildError> {
    let most_files =
        || -> Option<u64> { std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok() };
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for ulimit in &request.ulimits {
        let rlimit = Rlimit { name: ulimit.name.clone(), soft: limit(ulimit.soft), hard: limit(ulimit.hard) };
        if rlimit.name == "nofile"
            && let Some(most) = most_files().filter(|most| rlimit.hard > *most)
        {
            let reason = format!("error setting rlimit type 7: operation not permitted: --ulimit {ulimit}");
            return Err(
                BuildError::invalid(reason).hint(format!("the most is {most}; sysctl fs.nr_open raises it"))
            );
        }
        // The last of a type counts.
        rlimits.retain(|known| known.name != rlimit.name);
        rlimits.push(rlimit);
    }
    Ok(rlimits)
}

/// The control group of every step.
pub(crate) fn group(request: &BuildRequest) -> Result<ControlGroup, BuildError> {
    /// A number, checked when the flags were read.
    fn number<T: FromStr<Err = std::num::ParseIntError>>(
        request: &BuildRequest,
        key: &str,
    ) -> Result<Option<T>, BuildError> {
        let value = request.resources.get(key).filter(|value| *value != "0");
        value
            .map(|value| {
                let invalid = |error| {
                    BuildError::invalid(format!("invalid value {value:?} for resource {key}: {error}"))
                };
                value.parse().map_err(invalid)
            })
            .transpose()
    }
    let text = |key: &str| request.resources.get(key).filter(|value| !value.is_empty()).cloned();
    Ok(ControlGroup {
        parent: request.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        resources: Resources {
            memory: number(request, "memory")?,
            memory_swap: number(request, "memory-swap")?,
            cpu_shares: number(request, "cpu-shares")?,
            cpu_period: number(request, "cpu-period")?,
            cpu_quota: number(request, "cpu-quota")?,
            cpuset_cpus: text("cpuset-cpus"),
            cpuset_mems: text("cpuset-mems"),
        },
    })
}
