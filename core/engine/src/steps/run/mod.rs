//! `RUN`.

mod caches;
mod mounts;

use rbx_sandbox::{Exit, Helper, RootFs, SandboxError, Step};
use rbx_store::{Key, LayerId};

use self::mounts::Scratch;
use super::output::Streams;
use super::{Built, hash_layers};
use crate::error::{BuildError, DISK_FULL};
use crate::layer::{lower_directories, scan_upper};
use crate::plan::RunOperation;
use crate::progress::Task;
use crate::solve::Solver;
use rbx_request::FailureKind;

/// What is said of a step that the kernel has killed for want of memory.
const OUT_OF_MEMORY: &str = "out of memory: the kernel ended a process of the step at the limit of its control group or of the machine";
/// With less free than this, it may be why a step failed.
const FULL: u64 = 1 << 20;

impl Solver {
    pub(crate) fn run(
        &self,
        run: &RunOperation,
        below: &[LayerId],
        mounted: &[Vec<LayerId>],
        fresh: bool,
        task: &Task,
    ) -> Result<Built, BuildError> {
        let key = self.run_key(run, below, mounted);
        if !fresh && let Some(built) = self.find(&key, below)? {
            return Ok(built);
        }
        let (helper, under) = self.helper_for(&run.platform)?;
        let lower = lower_directories(&self.store, &self.lease, below, self.threads)?;
        let tree = self.store.new_tree()?;
        let rootfs =
            RootFs { lower: lower.clone(), upper: tree.fs().to_owned(), work: tree.work().to_owned() };
        let mut scratch = Scratch::default();
        let mut step = self.step(run, rootfs, mounted, &mut scratch, task)?;
        step.init = under.is_some();
        let (exit, said) = self.execute(run, &step, helper, task)?;
        drop(scratch);
        if exit.code != 0 {
            let kind = FailureKind::Step(exit.code);
            if exit.out_of_memory {
                return Err(failed(run, "cannot allocate memory", kind).hint(OUT_OF_MEMORY));
            }
            let emulated = under.and_then(|under| under.hint(&exit, &said));
            let full = self.store.disk_space().is_ok_and(|disk| disk.free < FULL);
            let hint = match &self.settings.more_ids {
                _ if exit.signal == Some(9) => {
                    Some("signal 9: perhaps there was not enough memory".to_owned())
                }
                _ if full => Some(DISK_FULL.to_owned()),
                _ if emulated.is_some() => emulated,
                more_ids => more_ids.as_ref().map(|remedy| {
                    format!("steps have no other id than root's; where they need some, {remedy}")
                }),
            };
            return Err(failed(run, &format!("exit code: {}", exit.code), kind).hint_if(hint));
        }
        let ids = self.store.id_map();
        let index = scan_upper(tree.fs(), &lower, &ids)?;
        tree.set_unshown(&ids, &index.entries)?;
        let description = format!("mount / from exec {}", run.args.join(" "));
        let layer = self.put_layer(below.last().copied(), index, Some(tree), &description)?;
        self.record(&[key], below, layer, fresh)
    }

    /// The key of a `RUN` on layers, with the layers that it mounts.
    pub(crate) fn run_key(&self, run: &RunOperation, below: &[LayerId], mounted: &[Vec<LayerId>]) -> Key {
        let mut hasher = Key::hasher("run");
        run.hash(&mut hasher);
        hash_layers(&mut hasher, below);
        hasher.number(mounted.len() as u64);
        for layers in mounted {
            hash_layers(&mut hasher, layers);
        }
        self.settings.hash(hasher).finish()
    }

    /// Runs a step to its end, its output as events. When the build is cancelled, it is killed with all it started.
    /// The end of what it wrote is answered, too, if it failed.
    fn execute(
        &self,
        run: &RunOperation,
        step: &Step,
        helper: &Helper,
        task: &Task,
    ) -> Result<(Exit, Vec<u8>), BuildError> {
        let (streams, output) = Streams::new()?;
        let running = helper.run(step, &output).map_err(|error| refused(&error))?;
        drop(output);
        let _killing = self.cancel.on_cancel({
            let killer = running.killer();
            move || killer.kill()
        });
        let failed_by_itself = |exit: &Result<Exit, SandboxError>| {
            !self.cancel.is_cancelled() && exit.as_ref().map_or(true, |exit| exit.code != 0)
        };
        let (exit, said) = streams.forward(task, self.log_limits, || running.wait(), failed_by_itself)?;
        self.cancel.check()?;
        let exit = exit.map_err(|error| match error {
            SandboxError::Exec(_) | SandboxError::User(_) => {
                failed(run, &error.to_string(), FailureKind::Step(127))
            }
            SandboxError::Source(_) => failed(run, &error.to_string(), FailureKind::Invalid),
            error @ SandboxError::Ids(_) => {
                let remedy = self.settings.more_ids.as_deref();
                refused(&error).hint(remedy.unwrap_or("give the user more ids: see subuid(5) and subgid(5)"))
            }
            error => refused(&error),
        })?;
        Ok((exit, said))
    }
}

/// The words that everybody knows for a step that failed.
fn failed(run: &RunOperation, reason: &str, kind: FailureKind) -> BuildError {
    let command = run.args.join(" ");
    BuildError::new(kind, format!("process {command:?} did not complete successfully: {reason}"))
}

pub(crate) fn refused(error: &SandboxError) -> BuildError {
    match error {
        SandboxError::Refused { reason, remedy } => BuildError::failed(reason).hint(remedy.clone()),
        error => BuildError::failed(error),
    }
}
