//! Builds that are started from the editor.
//!
//! A build is a process of its own, `docker-rbx build`: see ARCHITECTURE.md for why. Its events are those of every
//! build, and what is shown of it here are folds over them.

mod follow;
mod leash;
mod plan;
mod probe;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rbx_platform::Platform;
use rbx_progress::Summary;
use rbx_request::{BuildFailure, Metadata};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_lsp::ls_types::{MessageType, ProgressToken, Uri};
use tower_lsp::{Bounded, Cancellable, Client, OngoingProgress};

use self::follow::{Following, Position, Seen};
use self::leash::Leash;
pub(crate) use self::plan::RUN_BY_DOCKER;
use self::plan::{Files, Plan};
pub(crate) use self::probe::{Settled, probe, refresh};
use crate::documents::{Message, Snapshot};
use crate::failures::{self, Built, Failure};
use crate::outlook::{Done, Outlook};
use crate::platforms::names;
use crate::surroundings::Surroundings;

/// How long a build may take to end once it was asked to; it is killed then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the output of a build is waited for that has ended.
const DREGS: Duration = Duration::from_secs(2);
/// How long a client may take to make room for progress. Nothing is shown after that.
const CREATION: Duration = Duration::from_secs(5);
/// The shortest time between two reports of progress.
const PACE: Duration = Duration::from_millis(100);

/// What is to be built.
#[derive(Debug)]
pub(crate) struct Order {
    /// The document.
    pub(crate) uri: Uri,
    /// What it is to be built for; nothing stands for all that it is built for.
    pub(crate) platforms: Vec<Platform>,
    /// The stage, if it is not the last.
    pub(crate) target: Option<String>,
    /// Where the client wants progress to be reported.
    pub(crate) token: Option<ProgressToken>,
}

/// What is the same for all builds of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    /// The client shows progress.
    pub(crate) progress: bool,
    /// The folders that are open.
    pub(crate) roots: Vec<PathBuf>,
}

/// The builds that run: at most one of each document.
#[derive(Debug, Clone)]
pub(crate) struct Builds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    surroundings: Surroundings,
    running: Mutex<Running>,
    tasks: TaskTracker,
    /// The server ends.
    ending: CancellationToken,
}

#[derive(Debug, Default)]
struct Running {
    builds: BTreeMap<Uri, (ProgressToken, CancellationToken)>,
    /// How many were ever started.
    started: u64,
}

/// How a build ended.
enum Ended {
    Well(Metadata, Vec<Done>),
    Badly(BuildFailure, Summary, Vec<Done>),
    Cancelled,
}

impl Builds {
    pub(crate) fn new(
        client: Client,
        owner: mpsc::UnboundedSender<Message>,
        surroundings: Surroundings,
        ending: CancellationToken,
    ) -> Self {
        let (running, tasks) = (Mutex::default(), TaskTracker::new());
        Self(Arc::new(Shared { client, owner, surroundings, running, tasks, ending }))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing panics while it holds the lock.
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a build of a document as it is in the snapshot, and does not wait for it. If the document is being built
    /// already, the user is told so instead.
    pub(crate) fn start(
        &self,
        order: Order,
        session: Session,
        snapshot: impl Future<Output = Option<Arc<Snapshot>>> + Send + 'static,
    ) {
        let builds = self.clone();
        let cancel = self.0.ending.child_token();
        let (token, is_free) = {
            let mut running = self.running();
            running.started += 1;
            let own = || ProgressToken::String(format!("rbx/build/{}", running.started));
            let token = order.token.clone().unwrap_or_else(own);
            let is_free = !running.builds.contains_key(&order.uri);
            if is_free {
                running.builds.insert(order.uri.clone(), (token.clone(), cancel.clone()));
            }
            (token, is_free)
        };
        let ending = self.0.ending.clone();
        self.0.tasks.spawn(async move {
            let uri = order.uri.clone();
            let work = async {
                let (kind, message) = if is_free {
                    let told = builds.build(order, session, snapshot, token, cancel).await;
                    // Whoever reads that it has ended may start the next one.
                    builds.running().builds.remove(&uri);
                    builds.0.client.log_message(MessageType::LOG, &told.1).await;
                    told
                } else {
                    let text = format!("{} is being built already: wait for that, or cancel it", short(&uri));
                    (MessageType::WARNING, text)
                };
                builds.0.client.show_message(kind, message).await;
            };
            // When the server ends, everything is dropped at once, and the build with its end of the socket.
            tokio::select! {
                () = work => {}
                () = ending.cancelled() => {}
            }
        });
    }

    /// Whether a document is being built.
    fn is_running(&self, uri: &Uri) -> bool {
        self.running().builds.contains_key(uri)
    }

    /// Where the program is that builds.
    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.0.surroundings
    }

    /// The end of the server.
    fn ending(&self) -> &CancellationToken {
        &self.0.ending
    }

    /// What has to have ended when the server does.
    fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Cancels the build of a document; answers whether there is one.
    pub(crate) fn cancel(&self, uri: &Uri) -> bool {
        let running = self.running();
        let build = running.builds.get(uri);
        build.inspect(|(_, cancel)| cancel.cancel()).is_some()
    }

    /// Cancels the build whose progress has this token.
    pub(crate) fn cancel_progress(&self, token: &ProgressToken) {
        let running = self.running();
        let builds = running.builds.values();
        builds.filter(|(own, _)| own == token).for_each(|(_, cancel)| cancel.cancel());
    }

    /// Waits until all have ended that were cancelled with the server.
    pub(crate) async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Builds; answers what the user is told in the end.
    async fn build(
        &self,
        order: Order,
        session: Session,
        snapshot: impl Future<Output = Option<Arc<Snapshot>>>,
        token: ProgressToken,
        cancel: CancellationToken,
    ) -> (MessageType, String) {
        let Order { uri, platforms, target, token: offered } = order;
        let client = &self.0.client;
        let Some(snapshot) = snapshot.await else {
            return (MessageType::ERROR, format!("{} is not open", short(&uri)));
        };
        let plan = match Plan::new(&snapshot, platforms, target, &session.roots, &self.0.surroundings) {
            Ok(plan) => plan,
            Err(reason) => return (MessageType::ERROR, reason),
        };
        let target = plan.target.as_ref().map(|target| format!(" up to {target}")).unwrap_or_default();
        let what = format!("{}{target} for {}", plan.name, names(&plan.platforms));
        let can_create = session.progress && offered.is_none();
        let created = can_create
            && timeout(CREATION, client.create_work_done_progress(token.clone()))
                .await
                .is_ok_and(|it| it.is_ok());
        let progress = if created || offered.is_some() {
            let begun = client.progress(token, format!("building {what}"));
            Some(begun.with_percentage(0).with_cancel_button().begin().await)
        } else {
            None
        };

        client.log_message(MessageType::LOG, plan.description()).await;
        let ended = self.run(&plan, &snapshot, &cancel, progress.as_ref()).await;
        let (kind, brief, message) = match &ended {
            Ok(Ended::Well(metadata, _)) => {
                let result = result(metadata).map(|result| format!(": {result}")).unwrap_or_default();
                (MessageType::INFO, "done", format!("built {what}{result}"))
            }
            Ok(Ended::Badly(failure, ..)) => {
                (MessageType::ERROR, "failed", format!("failed to build {what}: {}", failure.reason))
            }
            Ok(Ended::Cancelled) => {
                (MessageType::INFO, "cancelled", format!("cancelled the build of {what}"))
            }
            Err(reason) => (MessageType::ERROR, "failed", format!("failed to build {what}: {reason}")),
        };
        if let Some(failed) = finding(ended, &plan, &snapshot) {
            // The owner lives as long as the server.
            let _ = self.0.owner.send(Message::Built(snapshot, failed));
        }
        if let Some(progress) = progress {
            progress.finish_with_message(brief).await;
        }
        (kind, message)
    }

    /// Runs a build to its end, or until it is cancelled.
    async fn run(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        cancel: &CancellationToken,
        progress: Option<&OngoingProgress<Bounded, Cancellable>>,
    ) -> Result<Ended, String> {
        let files = plan
            .lay_out(snapshot.text.as_str())
            .map_err(|error| format!("{error}: its files cannot be laid out"))?;
        let leash =
            Leash::new(&files.word()).map_err(|error| format!("{error}: its socket cannot be opened"))?;
        let mut command = plan.command(&files, leash.variable());
        let mut child = command.spawn().map_err(|error| {
            let program = command.as_std().get_program().display();
            format!("{error}: {program} could not be started")
        })?;
        let Some(errors) = child.stderr.take() else { return Err("its output cannot be read".to_owned()) };
        let mut following = Following::begin(SyncIoBridge::new(errors));

        let status = {
            let mut waiting = pin!(wait(&mut child, cancel, PATIENCE));
            let mut holding = pin!(leash.hold(cancel.clone()));
            let mut showing = pin!(self.show(&mut following, progress));
            let mut shown = false;
            let status = loop {
                tokio::select! {
                    status = &mut waiting => break status,
                    () = &mut showing, if !shown => shown = true,
                    never = &mut holding => match never {},
                }
            };
            // What it wrote last may not have been read.
            if !shown {
                let _ = timeout(DREGS, showing).await;
            }
            status
        };
        let (summary, Seen { others, done }) = timeout(DREGS, following.end()).await.unwrap_or_default();
        let status = status.map_err(|error| format!("{error}: it was lost"))?;
        if !others.is_empty() {
            self.0.client.log_message(MessageType::LOG, others.join("\n")).await;
        }
        Ok(ended(status, &files, cancel, summary, &others, done))
    }

    /// Shows what a build says until it says no more.
    async fn show(
        &self,
        following: &mut Following,
        progress: Option<&OngoingProgress<Bounded, Cancellable>>,
    ) {
        let mut shown = Position::default();
        let mut percent = 0;
        let mut next = Instant::now();
        loop {
            let moved = *following.position.borrow() != shown;
            tokio::select! {
                lines = following.log.recv() => match lines {
                    Some(lines) => self.0.client.log_message(MessageType::LOG, lines).await,
                    None => return,
                },
                Ok(()) = following.position.changed(), if !moved => {}
                () = sleep_until(next), if moved && progress.is_some() => {
                    shown = following.position.borrow_and_update().clone();
                    next = Instant::now() + PACE;
                    // More steps may become known: what was said is not taken back.
                    let now = (100 * shown.done).checked_div(shown.all).unwrap_or(0);
                    percent = percent.max(u32::try_from(now).unwrap_or(100)).min(99);
                    match (progress, &shown.step) {
                        (Some(progress), Some(step)) => progress.report_with_message(step, percent, None).await,
                        (Some(progress), None) => progress.report(percent, None).await,
                        (None, _) => {}
                    }
                }
            }
        }
    }
}

/// Waits until a build has ended; kills it if it does not do so when it is told to.
async fn wait(child: &mut Child, cancel: &CancellationToken, patience: Duration) -> io::Result<ExitStatus> {
    let overdue = async {
        cancel.cancelled().await;
        sleep(patience).await;
    };
    tokio::select! {
        status = child.wait() => return status,
        () = overdue => {}
    }
    child.start_kill()?;
    child.wait().await
}

/// How a build ended that answered so.
fn ended(
    status: ExitStatus,
    files: &Files,
    cancel: &CancellationToken,
    summary: Summary,
    others: &[String],
    done: Vec<Done>,
) -> Ended {
    if status.success() {
        return Ended::Well(files.read_metadata().unwrap_or_default(), done);
    }
    let failure = files.read_failure().unwrap_or_else(|| {
        let last = others.last().map(|line| format!(": {line}")).unwrap_or_default();
        BuildFailure { reason: format!("docker-rbx ended with {status}{last}"), ..BuildFailure::default() }
    });
    if cancel.is_cancelled() || failure.cancelled {
        Ended::Cancelled
    } else {
        Ended::Badly(failure, summary, done)
    }
}

/// What a build found out about the document.
fn finding(ended: Result<Ended, String>, plan: &Plan, snapshot: &Snapshot) -> Option<Built> {
    let (failure, summary, done) = match ended {
        Ok(Ended::Well(_, done)) => (None, Summary::default(), done),
        Ok(Ended::Badly(failure, summary, done)) => (Some(failure), summary, done),
        Ok(Ended::Cancelled) | Err(_) => return None,
    };
    let steps = Outlook::of_build(&done, snapshot, &plan.platforms);
    let steps = Outlook { builder: plan.builder.clone().unwrap_or_default(), ..steps };
    let built =
        Built { platforms: plan.platforms.clone(), target: plan.target.clone(), failure: None, steps };
    let Some(failure) = failure else { return Some(built) };
    // What has no place in the file says nothing about what is known of it.
    let (first, last) = failure.lines.filter(|_| failure.file.as_ref() == Some(&plan.name))?;
    let place = failures::lines(snapshot.text.as_str(), first, last)?;
    let step = failure.step.as_deref().map(rbx_progress::clean);
    let failed = summary.failed.into_iter().find(|vertex| Some(&vertex.name) == step.as_ref());
    let failed_for = step.as_deref().and_then(|step| platform_of(step, &plan.platforms));
    let platforms = failed_for.map_or_else(|| plan.platforms.clone(), |platform| vec![platform]);
    Some(Built {
        // The others were cancelled: nothing is known of them.
        platforms: platforms.clone(),
        failure: Some(Failure {
            place,
            platforms,
            target: plan.target.clone(),
            reason: failure.reason,
            hint: failure.hint,
            output: failed.map(|vertex| vertex.log).unwrap_or_default(),
        }),
        ..built
    })
}

/// Which of the platforms a step is for: where there are several, its name begins with it, `[linux/arm64 2/3] RUN …`.
fn platform_of(step: &str, platforms: &[Platform]) -> Option<Platform> {
    let word = step.strip_prefix('[')?.split([' ', ']']).next()?;
    platforms.iter().find(|platform| platform.format_all() == word).cloned()
}

/// What was built, in a word.
fn result(metadata: &Metadata) -> Option<&str> {
    let names = ["image.name", "containerimage.digest", "containerimage.config.digest"];
    names.into_iter().find_map(|name| metadata.get(name)?.as_str())
}

/// A document's name without directories.
fn short(uri: &Uri) -> &str {
    uri.as_str().rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_for_the_platform_in_its_name() {
        let platforms = ["linux/amd64", "linux/arm/v7"].map(|name| Platform::parse(name).unwrap());
        let of = |step: &str| platform_of(step, &platforms).map(|platform| platform.to_string());
        assert_eq!(of("[linux/arm/v7 build 2/3] RUN make").as_deref(), Some("linux/arm/v7"));
        assert_eq!(of("[linux/amd64] x").as_deref(), Some("linux/amd64"));
        for step in ["[build 2/3] RUN linux/amd64", "[linux/arm 2/3] RUN make", "linux/amd64", "", "["] {
            assert_eq!(of(step), None, "{step}");
        }
    }
}
