//! Making platforms runnable: emulators for those that the machine of a container does not run.
//!
//! What runs is tried, with a tiny program in the container. Handlers are the kernel's, and so there for all containers
//! of the machine; none that is there is touched, and none is taken away with the builder. QEMU of this machine is
//! copied into the container and registered there (the kernel holds the file open, flag `F`), if the Engine is on this
//! machine. What this machine does not have, an image registers, in a container of its own that is privileged.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hyper::Request;
use rbx_emulation::{Architecture, Handler, Qemu};
use rbx_platform::Platform;
use rbx_request::EventSender;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::daemon::Daemon;
use super::demux::Demuxed;
use super::exec::Exec;
use super::{ContainerDriver, image};
use crate::docker::switch;
use crate::error::DriverError;
use crate::progress::Progress;

/// Where QEMU is put in a container.
const DIRECTORY: &str = "usr/local/bin";
/// Where tiny programs are put in a container.
const PROGRAMS: &str = "usr/local/lib/rbx";
/// How many of them are tried at once.
const AT_ONCE: usize = 4;
/// Registers each of its arguments. One of the same name is this program's, too, and does not work.
const REGISTER: &str = r#"d=/proc/sys/fs/binfmt_misc
[ -e $d/register ] || mount -t binfmt_misc binfmt_misc $d || exit 1
for line; do
    name=${line#?}; name=${name%%:*}
    [ ! -e $d/$name ] || echo -1 > $d/$name
    printf %s "$line" > $d/register || { echo "no handler can be registered" >&2; exit 1; }
done"#;
/// Where an image of BuildKit's has emulators of its own, which its daemon runs where nothing is registered.
const OWN_EMULATOR: &str = "/usr/bin/buildkit-qemu-";
/// How long an image may take to register what it has.
const IMAGE_TIME: Duration = Duration::from_mins(1);
/// How much of what it says is kept, in bytes.
const OUTPUT: u64 = 16 << 10;

impl ContainerDriver {
    /// Makes platforms runnable that are not, all that can be if none is named.
    ///
    /// Where none is named, QEMU of this machine is all that is looked for if it has any: nobody asked for more.
    pub(super) async fn emulate(
        &self,
        platforms: &[Platform],
        events: &EventSender,
    ) -> Result<(), DriverError> {
        if !self.options.qemu_install {
            return Ok(());
        }
        let wanted: BTreeSet<Architecture> = if platforms.is_empty() {
            Architecture::all().collect()
        } else {
            platforms.iter().filter_map(Architecture::of).collect()
        };
        let mut missing = self.missing(wanted).await?;
        if self.dial.daemon().await? == Daemon::BuildKit {
            let mut without = BTreeSet::new();
            for architecture in missing {
                let path = format!("{OWN_EMULATOR}{}", architecture.qemu());
                if !image::has(&self.engine, &self.container, &path).await? {
                    without.insert(architecture);
                }
            }
            missing = without;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let progress = Progress::start(events, "[internal] installing emulators", &self.container);
        let result = self.install(missing, platforms.is_empty(), &progress).await;
        progress.end(result)
    }

    /// Adds the platforms that run by an emulator in the container, and that the daemon does not name: one of BuildKit's
    /// does not count those of its image, and an Engine looks once.
    pub(super) async fn add_emulated(
        &self,
        daemon: Daemon,
        platforms: &mut Vec<Platform>,
    ) -> Result<(), DriverError> {
        let named: BTreeSet<Architecture> = platforms.iter().filter_map(Architecture::of).collect();
        for architecture in Architecture::all().filter(|architecture| !named.contains(architecture)) {
            let path = match daemon {
                Daemon::BuildKit => format!("{OWN_EMULATOR}{}", architecture.qemu()),
                Daemon::Engine => format!("/{DIRECTORY}/qemu-{}", architecture.qemu()),
            };
            if image::has(&self.engine, &self.container, &path).await? {
                let variants: &[Option<&str>] = match architecture {
                    Architecture::Arm => &[Some("v7"), Some("v6")],
                    _ => &[None],
                };
                platforms.extend(variants.iter().map(|variant| Platform {
                    os: "linux".to_owned(),
                    architecture: architecture.name().to_owned(),
                    variant: variant.map(str::to_owned),
                    os_version: None,
                }));
            }
        }
        Ok(())
    }

    /// Those of some architectures whose programs are not run in the container: it is tried.
    ///
    /// The daemon is not asked: an Engine looks once, and would not see what comes after that.
    async fn missing(&self, wanted: BTreeSet<Architecture>) -> Result<BTreeSet<Architecture>, DriverError> {
        let path = |architecture: Architecture| format!("{PROGRAMS}/{}", architecture.name());
        let programs: Vec<(String, Vec<u8>)> =
            wanted.iter().map(|architecture| (path(*architecture), architecture.program())).collect();
        self.put("/", &programs, 0o755).await?;
        let tried = stream::iter(wanted).map(|architecture| async move {
            let program = format!("/{}", path(architecture));
            let status = Exec::new(&self.engine, &self.container, &[&program]).status().await?;
            Ok((status != Some(i64::from(Architecture::STATUS))).then_some(architecture))
        });
        let missing: Vec<Option<Architecture>> = tried.buffered(AT_ONCE).try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn install(
        &self,
        missing: BTreeSet<Architecture>,
        whatever: bool,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        let failed = |missing: &BTreeSet<Architecture>, reason: String| DriverError::Emulation {
            platforms: names(missing, "linux/"),
            reason,
        };
        let here = self.of_this_machine(&missing).await?;
        let mut registered = Ok(());
        for qemu in &here {
            let platform = format!("linux/{}", qemu.architecture.name());
            let step = format!("registering {} for {platform}", qemu.path.display());
            registered = progress.step(&step, self.register(qemu)).await;
            if registered.is_err() {
                break;
            }
        }
        registered.map_err(|error| failed(&missing, error.reason()))?;
        let mut left: BTreeSet<Architecture> = missing.clone();
        left.retain(|architecture| !here.iter().any(|qemu| qemu.architecture == *architecture));
        let mut said = String::new();
        if !left.is_empty() && (here.is_empty() || !whatever) {
            said = self.by_image(&left, progress).await.map_err(|error| failed(&left, error.reason()))?;
        }
        // What was not asked for by name may be more than any image has.
        let left = self.missing(missing.clone()).await?;
        if left.is_empty() || (whatever && left != missing) {
            return Ok(());
        }
        let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
        let reason = if said.is_empty() { "the kernel runs them by no emulator".to_owned() } else { said };
        Err(failed(&left, reason))
    }

    /// QEMU of this machine, for an Engine that is on it.
    async fn of_this_machine(&self, missing: &BTreeSet<Architecture>) -> Result<Vec<Qemu>, DriverError> {
        let directories = &self.surroundings.qemu_directories;
        if directories.is_empty() || !self.engine.is_local() {
            return Ok(Vec::new());
        }
        let info = self.engine.info().await?;
        let theirs =
            Platform { os: info.os, architecture: info.architecture, variant: None, os_version: None };
        if theirs.normalized().architecture != Platform::host().architecture {
            return Ok(Vec::new());
        }
        Ok(missing.iter().filter_map(|architecture| Qemu::find(*architecture, directories).ok()).collect())
    }

    /// Puts QEMU into the container, and registers it there.
    async fn register(&self, qemu: &Qemu) -> Result<(), DriverError> {
        let path = format!("{DIRECTORY}/qemu-{}", qemu.architecture.qemu());
        let program = tokio::fs::read(&qemu.path).await;
        let program =
            program.map_err(|error| DriverError::Refused(format!("{error}: {}", qemu.path.display())))?;
        let handler = Handler::qemu(qemu.architecture, std::path::Path::new(&format!("/{path}")));
        let line = String::from_utf8_lossy(&handler.register_line()).into_owned();
        self.put("/", &[(path, program)], 0o755).await?;
        let command = ["sh", "-c", REGISTER, "sh", line.as_str()];
        Exec::new(&self.engine, &self.container, &command).run().await.map(drop)
    }

    /// Has an image register what it has; answers what it says.
    async fn by_image(
        &self,
        missing: &BTreeSet<Architecture>,
        progress: &Progress,
    ) -> Result<String, DriverError> {
        let name = &self.options.qemu_image;
        let credentials = self.surroundings.credentials.as_deref();
        image::provide(&self.engine, name, credentials, progress).await?;
        let step = format!("registering {} by {name}", names(missing, "linux/"));
        let late = || DriverError::Refused(format!("no end after {} s: {name}", IMAGE_TIME.as_secs()));
        let run = async {
            timeout(IMAGE_TIME, self.run_image(name, &names(missing, "")))
                .await
                .unwrap_or_else(|_| Err(late()))
        };
        progress.step(&step, run).await
    }

    async fn run_image(&self, name: &str, architectures: &str) -> Result<String, DriverError> {
        let docker = self.engine.docker();
        let body = ContainerCreateBody {
            image: Some(name.to_owned()),
            cmd: Some(vec!["--install".to_owned(), architectures.replace(' ', "")]),
            host_config: Some(HostConfig {
                privileged: Some(true),
                auto_remove: Some(true),
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let created = docker.create_container(None::<CreateContainerOptions>, body).await;
        let id = created.map_err(|error| self.engine.failure(error))?.id;
        let request = Request::post(format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1"));
        let broken = |error: std::io::Error| DriverError::Refused(format!("{error}: {name}"));
        let connection = self.engine.way().connect().await.map_err(broken)?;
        let request = request.body(String::new()).map_err(std::io::Error::other).map_err(broken)?;
        let mut output = Demuxed::new(switch(connection, request, "tcp").await.map_err(broken)?);
        let started = docker.start_container(&id, None::<StartContainerOptions>).await;
        if let Err(error) = started {
            let _ = self.engine.remove_container(&id).await;
            return Err(self.engine.failure(error));
        }
        let mut said = Vec::new();
        let read = (&mut output).take(OUTPUT).read_to_end(&mut said).await;
        let complaints = output.complaints();
        read.map_err(|_| DriverError::Refused(format!("{complaints}: {name}")))?;
        Ok(if complaints.is_empty() { String::from_utf8_lossy(&said).into_owned() } else { complaints })
    }
}

/// A list of architectures.
fn names(architectures: &BTreeSet<Architecture>, before: &str) -> String {
    let names = architectures.iter().map(|architecture| format!("{before}{}", architecture.name()));
    names.collect::<Vec<_>>().join(", ")
}
