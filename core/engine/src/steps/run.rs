//! `RUN`.

use std::fs::Permissions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rbx_request::{Network, Stream};
use rbx_sandbox::{Exit, Mount, MountKind, Output, RootFs, SandboxError, Security, Step};
use rbx_store::{Key, LayerId, PreparedTree, TempDir};

use super::{Built, hash_layers};
use crate::error::{BuildError, FailureKind};
use crate::layer::{lower_directories, scan_upper};
use crate::plan::{RunMountKind, RunOperation};
use crate::progress::Task;
use crate::solve::Solver;

/// What a step sees as its host's name.
const HOSTNAME: &str = "buildkitsandbox";
/// Bytes of output that are read at once.
const READ: usize = 32 << 10;

impl Solver {
    pub(crate) fn run(
        &self,
        run: &RunOperation,
        below: &[LayerId],
        mounted: &[Vec<LayerId>],
        fresh: bool,
        task: &Task,
    ) -> Result<Built, BuildError> {
        let mut hasher = Key::hasher("run");
        run.hash(&mut hasher);
        hash_layers(&mut hasher, below);
        hasher.number(mounted.len() as u64);
        for layers in mounted {
            hash_layers(&mut hasher, layers);
        }
        let key = self.settings.hash(hasher).finish();
        if !fresh && let Some(built) = self.find(&key, below)? {
            return Ok(built);
        }
        let lower = lower_directories(&self.store, &self.lease, below, self.threads)?;
        let tree = self.store.new_tree()?;
        let rootfs =
            RootFs { lower: lower.clone(), upper: tree.fs().to_owned(), work: tree.work().to_owned() };
        let pipes = run.script.as_ref().map(|(name, content)| self.pipes(name, content)).transpose()?;
        let mut writable = Vec::new();
        let step = self.step(run, rootfs, mounted, pipes.as_ref().map(TempDir::path), &mut writable)?;
        let exit = self.execute(run, &step, task)?;
        if exit.code != 0 {
            return Err(failed(run, &format!("exit code: {}", exit.code), FailureKind::Step(exit.code))
                .hint_if(exit.signal == Some(9), "signal 9: perhaps there was not enough memory"));
        }
        let index = scan_upper(tree.fs(), &lower)?;
        let layer = self.put_layer(below.last().copied(), index, Some(tree))?;
        self.record(&[key], below, layer, fresh)
    }

    /// A directory that holds the script of a step.
    fn pipes(&self, name: &str, content: &str) -> Result<TempDir, BuildError> {
        let directory = self.store.temp_dir()?;
        let name = String::from_utf8_lossy(&crate::tree::clean(name.as_bytes())).into_owned();
        let path = directory.path().join(name);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(&path, content)?;
            std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))
        };
        write()
            .map_err(|error| BuildError::failed(format!("{error}: failed to write {}", path.display())))?;
        Ok(directory)
    }

    /// Puts a step together. What its writable mounts write to is kept in `writable` until it is done.
    fn step(
        &self,
        run: &RunOperation,
        rootfs: RootFs,
        mounted: &[Vec<LayerId>],
        pipes: Option<&Path>,
        writable: &mut Vec<PreparedTree>,
    ) -> Result<Step, BuildError> {
        let file = |target: &str, content: Vec<u8>, mode| Mount {
            target: target.to_owned(),
            kind: MountKind::File { content, read_only: true, mode, uid: 0, gid: 0 },
        };
        let mut mounts = vec![
            file("/etc/hosts", self.settings.hosts(HOSTNAME), 0o644),
            file("/etc/resolv.conf", self.settings.resolv_conf.clone(), 0o644),
        ];
        if let Some(pipes) = pipes {
            let kind = MountKind::Tree { lower: vec![pipes.to_owned()], selector: String::new() };
            mounts.push(Mount { target: "/dev/pipes".to_owned(), kind });
        }
        let mut roots = mounted.iter();
        for mount in &run.mounts {
            let kind = match &mount.kind {
                RunMountKind::Tmpfs { size } => {
                    MountKind::Tmpfs { size: (*size > 0).then_some(*size), mode: 0o1777 }
                }
                RunMountKind::Root { vertex, source, read_only } => {
                    let layers = if vertex.is_some() { roots.next().map(Vec::as_slice) } else { None };
                    let layers = layers.unwrap_or_default();
                    let lower = lower_directories(&self.store, &self.lease, layers, self.threads)?;
                    let selector = source.clone();
                    if *read_only {
                        MountKind::Tree { lower, selector }
                    } else {
                        let tree = self.store.new_tree()?;
                        let (upper, work) = (tree.fs().to_owned(), tree.work().to_owned());
                        writable.push(tree);
                        MountKind::Overlay { lower, upper, work, selector }
                    }
                }
                RunMountKind::Secret { id, mode, uid, gid, required } => {
                    match self.settings.secrets.get(id) {
                        Some(value) => MountKind::File {
                            content: value.clone(),
                            read_only: true,
                            mode: *mode,
                            uid: *uid,
                            gid: *gid,
                        },
                        None if *required => return Err(no_secret(id)),
                        None => continue,
                    }
                }
            };
            mounts.push(Mount { target: mount.target.clone(), kind });
        }
        let mut env: Vec<(String, String)> = run.env.iter().chain(&run.proxy_env).cloned().collect();
        for secret in &run.secret_env {
            match self.settings.secrets.get(&secret.id) {
                Some(value) => {
                    env.push((secret.variable.clone(), String::from_utf8_lossy(value).into_owned()));
                }
                None if secret.required => return Err(no_secret(&secret.id)),
                None => {}
            }
        }
        Ok(Step {
            rootfs,
            args: run.args.clone(),
            env,
            working_dir: run.working_dir.clone(),
            user: run.user.clone(),
            hostname: HOSTNAME.to_owned(),
            network: match run.network {
                Network::None => rbx_sandbox::Network::None,
                Network::Default | Network::Host => rbx_sandbox::Network::Host,
            },
            security: Security::Sandbox,
            mounts,
            shm_size: self.settings.shm_size,
            rlimits: self.settings.rlimits.clone(),
        })
    }

    /// Runs a step to its end, its output as events. When the build is cancelled, it is killed with all it started.
    fn execute(&self, run: &RunOperation, step: &Step, task: &Task) -> Result<Exit, BuildError> {
        let helper = self.helper()?;
        let (read_out, stdout) = output_pipe()?;
        let (read_err, stderr) = output_pipe()?;
        let output = Output { stdout, stderr };
        let running = helper.run(step, &output).map_err(|error| refused(&error))?;
        drop(output);
        let _killing = self.cancel.on_cancel({
            let killer = running.killer();
            move || killer.kill()
        });
        let exit = std::thread::scope(|scope| {
            scope.spawn(|| forward(read_out, Stream::Stdout, task));
            scope.spawn(|| forward(read_err, Stream::Stderr, task));
            running.wait()
        });
        self.cancel.check()?;
        exit.map_err(|error| match error {
            SandboxError::Exec(_) | SandboxError::User(_) => {
                failed(run, &error.to_string(), FailureKind::Step(127))
            }
            error => refused(&error),
        })
    }
}

/// A pipe whose ends are closed when another program is executed.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), BuildError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| BuildError::failed(format!("{error}: failed to make a pipe")))
}

fn forward(pipe: OwnedFd, stream: Stream, task: &Task) {
    let mut pipe = std::fs::File::from(pipe);
    let mut buffer = vec![0; READ];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        task.log(stream, buffer[..length].to_vec());
    }
}

/// The words that everybody knows for a step that failed.
fn failed(run: &RunOperation, reason: &str, kind: FailureKind) -> BuildError {
    let command = run.args.join(" ");
    BuildError::new(kind, format!("process {command:?} did not complete successfully: {reason}"))
}

fn no_secret(id: &str) -> BuildError {
    BuildError::invalid(format!("secret {id}: not found"))
        .hint(format!("give it with --secret id={id},src=FILE"))
}

pub(crate) fn refused(error: &SandboxError) -> BuildError {
    match error {
        SandboxError::Refused { reason, remedy } => BuildError::failed(reason).hint(remedy.clone()),
        error => BuildError::failed(error),
    }
}
