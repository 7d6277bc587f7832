//! Steps that are tried out: a tiny program for each architecture, run as any step is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rbx_emulation::{Architecture, Qemu};
use rbx_sandbox::{Capabilities, Exit, Helper, Output, RootFs, SandboxError, Step, probe};
use tempfile::TempDir;

/// How long a step may take that does nothing: enough for QEMU on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(20);

/// What steps are tried out with.
pub(crate) struct Steps {
    capabilities: Capabilities,
    /// On the file system of the store. Goes when this is dropped.
    directory: TempDir,
    native: Helper,
    /// With QEMU in a namespace, if that is asked for.
    emulated: Option<Result<Helper, Failure>>,
    /// What was tried already.
    tried: BTreeMap<(Architecture, Emulated), Result<(), Failure>>,
}

/// Whether a step is run by QEMU of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Emulated {
    /// By the system as it is.
    No,
    /// By QEMU of a namespace.
    Namespace,
}

/// Why a step did not run.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Refused { reason, remedy } => Self { reason, remedy },
            other => Self { reason: other.to_string(), remedy: String::new() },
        }
    }
}

impl Steps {
    /// Finds out whether any step can run whose trees are in this directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, SandboxError> {
        let refused = |error: std::io::Error| SandboxError::Refused {
            reason: format!("no directory can be made in {}: {error}", directory.display()),
            remedy: "choose another directory for the store with RBX_ROOT".to_owned(),
        };
        let made = tempfile::Builder::new().prefix(".rbx-doctor-").tempdir_in(directory).map_err(refused)?;
        let programs = made.path().join("programs");
        fs::create_dir(&programs).map_err(refused)?;
        for architecture in Architecture::all() {
            let path = programs.join(architecture.name());
            fs::write(&path, architecture.program())
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .map_err(refused)?;
        }
        Ok(Self {
            capabilities: probe(made.path())?,
            directory: made,
            native: Helper::start(&[])?,
            emulated: None,
            tried: BTreeMap::new(),
        })
    }

    /// What the system gives to steps.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Registers these in a namespace, as builds do.
    pub(crate) fn emulate(&mut self, qemus: impl Iterator<Item = Qemu>) {
        let mut all: Vec<Qemu> = Vec::new();
        for qemu in qemus {
            if !all.contains(&qemu) {
                all.push(qemu);
            }
        }
        self.emulated = (!all.is_empty()).then(|| Helper::start(&all).map_err(Failure::from));
    }

    /// Tries to run a program of an architecture.
    pub(crate) fn run(&mut self, architecture: Architecture, emulated: Emulated) -> Result<(), Failure> {
        if let Some(known) = self.tried.get(&(architecture, emulated)) {
            return known.clone();
        }
        let result = self.try_out(architecture, emulated);
        self.tried.insert((architecture, emulated), result.clone());
        result
    }

    fn try_out(&self, architecture: Architecture, emulated: Emulated) -> Result<(), Failure> {
        let failed = |reason: String| Failure { reason, remedy: String::new() };
        let helper = match (emulated, &self.emulated) {
            (Emulated::No, _) => &self.native,
            (Emulated::Namespace, Some(Ok(helper))) => helper,
            (Emulated::Namespace, Some(Err(failure))) => return Err(failure.clone()),
            (Emulated::Namespace, None) => return Err(failed("no QEMU is registered".to_owned())),
        };
        let directory = |name: &str| -> std::io::Result<PathBuf> {
            let path = self.directory.path().join(format!("{name}-{architecture}-{emulated:?}"));
            fs::create_dir(&path)?;
            Ok(path)
        };
        let rootfs = || -> std::io::Result<RootFs> {
            Ok(RootFs {
                lower: vec![self.directory.path().join("programs")],
                upper: directory("upper")?,
                work: directory("work")?,
            })
        };
        let rootfs = rootfs().map_err(|error| failed(error.to_string()))?;
        let step =
            Step { hostname: "doctor".to_owned(), ..Step::bare(rootfs, vec![format!("/{architecture}")]) };
        let exit = finish(helper, &step)?;
        if exit.code == Architecture::STATUS {
            return Ok(());
        }
        Err(failed(match exit.signal {
            Some(9) => format!("a program that does nothing was killed, or did not end in {LIMIT:?}"),
            Some(signal) => format!("a program that does nothing was ended by signal {signal}"),
            None => format!(
                "a program that does nothing ended with {} in place of {}",
                exit.code,
                Architecture::STATUS
            ),
        }))
    }
}

/// Runs a step, and kills it when it takes too long.
fn finish(helper: &Helper, step: &Step) -> Result<Exit, SandboxError> {
    // Nobody reads what it writes: it writes nothing.
    let ((_, stdout), (_, stderr)) =
        (std::io::pipe().map_err(SandboxError::Start)?, std::io::pipe().map_err(SandboxError::Start)?);
    let output = Output { stdout: stdout.into(), stderr: stderr.into() };
    let running = helper.run(step, &output)?;
    let killer = running.killer();
    let (ended, end) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            killer.kill();
        }
    });
    let exit = running.wait();
    drop(ended);
    let _ = watch.join();
    exit
}
