//! Dry runs: what a build of a document would do now.
//!
//! A dry run is a process like a build. There is one at a time, of the newest text of a document, once that has not
//! changed for a moment; an outdated one is ended. Nobody waits for it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_lsp::Client;
use tower_lsp::ls_types::Uri;

use super::leash::Leash;
use super::plan::Plan;
use super::{Builds, wait};
use crate::documents::{Message, Snapshot};
use crate::outlook::Answer;
use crate::surroundings::Surroundings;

/// For how long a text must not have changed.
const PAUSE: Duration = Duration::from_millis(250);
/// How long an outdated one may take to end; it is killed then, which harms nothing.
const GRACE: Duration = Duration::from_millis(500);
/// How long a dry run may take: a context may be large, and on a slow disk.
const LONGEST: Duration = Duration::from_mins(1);
/// Most that is read of an answer, in bytes.
const LIMIT: u64 = 64 << 20;

/// What is told to the task of dry runs.
#[derive(Debug)]
pub(crate) enum Settled {
    /// A document is to be asked about.
    Document(Arc<Snapshot>),
    /// A document is no longer open.
    Closed(Uri),
}

/// What all dry runs share.
struct Prober {
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    builds: Builds,
    surroundings: Surroundings,
    roots: Arc<Mutex<Vec<PathBuf>>>,
    /// One process at a time.
    free: Semaphore,
}

/// Asks what a build of each document would do, whenever one has settled.
pub(crate) async fn probe(
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    builds: Builds,
    surroundings: Surroundings,
    roots: Arc<Mutex<Vec<PathBuf>>>,
    mut settled: mpsc::UnboundedReceiver<Settled>,
) {
    let free = Semaphore::new(1);
    let prober = Arc::new(Prober { client, owner, builds, surroundings, roots, free });
    let mut asked: HashMap<Uri, CancellationToken> = HashMap::new();
    while let Some(message) = settled.recv().await {
        let snapshot = match message {
            Settled::Document(snapshot) => snapshot,
            Settled::Closed(uri) => {
                asked.remove(&uri).inspect(CancellationToken::cancel);
                continue;
            }
        };
        let cancel = prober.builds.ending().child_token();
        if let Some(outdated) = asked.insert(snapshot.uri.clone(), cancel.clone()) {
            outdated.cancel();
        }
        if !is_wanted(&snapshot) {
            continue;
        }
        let one = Arc::clone(&prober);
        prober.builds.tasks().spawn(async move {
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = cancel.cancelled() => return,
            }
            // What a build is doing now is known when it has ended.
            while one.builds.is_running(&snapshot.uri) {
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = cancel.cancelled() => return,
                }
            }
            let turn = tokio::select! {
                turn = one.free.acquire() => turn,
                () = cancel.cancelled() => return,
            };
            let answer = one.ask(&snapshot, &cancel).await;
            drop(turn);
            let is_news = answer.is_some() || snapshot.outlook.is_some();
            if is_news && !cancel.is_cancelled() {
                one.tell(snapshot, answer).await;
            }
        });
    }
}

/// Whether anything is shown of it.
fn is_wanted(snapshot: &Snapshot) -> bool {
    let configuration = &snapshot.configuration;
    configuration.lenses || configuration.hints.cached || configuration.hints.platforms
}

impl Prober {
    /// Runs a dry run to its end; nothing if nobody knows, or it is cancelled.
    async fn ask(&self, snapshot: &Snapshot, cancel: &CancellationToken) -> Option<Answer> {
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let plan = Plan::new(snapshot, Vec::new(), None, &roots, &self.surroundings).ok()?;
        let run = async {
            let files = plan.lay_out(snapshot.text.as_str())?;
            let leash = Leash::new(&files.word())?;
            let mut command = plan.dry_run(&files, leash.variable());
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn()?;
            let Some(output) = child.stdout.take() else { return Ok(None) };
            let mut text = Vec::new();
            let reading = async {
                let mut output = output.take(LIMIT);
                tokio::try_join!(output.read_to_end(&mut text), wait(&mut child, cancel, GRACE))
            };
            tokio::select! {
                ended = reading => drop(ended?),
                never = leash.hold(cancel.clone()) => match never {},
            }
            Ok::<_, io::Error>(Some(text))
        };
        let text = timeout(LONGEST, run).await;
        let text =
            text.inspect_err(|_| tracing::warn!(uri = snapshot.uri.as_str(), "a dry run took too long"));
        let text = text.ok()?.inspect_err(|error| tracing::warn!(%error, "a dry run was lost")).ok()??;
        // What is wrong with a document is for its diagnostics to say: there is no answer then.
        serde_json::from_slice(&text).ok()
    }

    async fn tell(&self, snapshot: Arc<Snapshot>, answer: Option<Answer>) {
        let abilities = snapshot.abilities;
        let _ = self.owner.send(Message::Probed(snapshot, answer));
        refresh(&self.client, abilities).await;
    }
}

/// Has the client ask again for what is shown of the state of steps.
pub(crate) async fn refresh(client: &Client, abilities: crate::capabilities::Abilities) {
    if abilities.refreshes_hints {
        let _ = client.inlay_hint_refresh().await;
    }
    if abilities.refreshes_lenses {
        let _ = client.code_lens_refresh().await;
    }
}
