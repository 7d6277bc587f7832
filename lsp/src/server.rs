//! The protocol: who the server is. Its handlers are in [`handlers`].

mod choices;
mod handlers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::{ConfigurationItem, MessageType, Uri, WorkDoneProgressCancelParams};
use tower_lsp::{Client, LspService, Server};
use tracing_subscriber::EnvFilter;

use self::choices::Chosen;
use crate::builds::{Builds, Session, probe, refresh};
use crate::capabilities::Abilities;
use crate::configuration::{Configuration, SECTION};
use crate::documents::{Message, Snapshot, own};
use crate::features::tokens::Answered;
use crate::online::learn;
use crate::publish::publish;
use crate::surroundings::Surroundings;

/// How many messages are in work at a time. The library's own limit of four would let four slow requests hold up
/// edits and cancellations.
const CONCURRENCY: usize = 256;
/// How long the files of builds may take to be removed when the server ends.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client asked the server to shut down before.
    Orderly,
    /// The client went away, or sent `exit` without a word before.
    Abrupt,
}

/// Serves one client on standard input and output, and logs to standard error as `RBX_LOG` asks (`warn` unless
/// set, in the grammar of `tracing`'s filters). Makes the asynchronous runtime; the exit code is the one the
/// protocol asks for.
pub fn run(surroundings: Surroundings) -> ExitCode {
    let filter = EnvFilter::try_from_env("RBX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Another subscriber may be at work already if this is called from within another program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    // Two of them are enough for what is not done by threads of its own, and each keeps memory.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(tokio::io::stdin(), tokio::io::stdout(), surroundings));
    // A client may keep its end open after `exit`: nothing waits for the thread that reads from it.
    runtime.shutdown_background();
    match ended {
        Ended::Orderly => ExitCode::SUCCESS,
        Ended::Abrupt => ExitCode::FAILURE,
    }
}

/// Serves one client until it sends `exit` or closes its end. Builds that it started end then.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite,
    surroundings: Surroundings,
) -> Ended {
    let (to_owner, inbox) = mpsc::unbounded_channel();
    let (to_publisher, dirty) = mpsc::unbounded_channel();
    let shutdown = Arc::new(AtomicBool::new(false));
    let ending = CancellationToken::new();
    // Whoever drops this future ends the builds, too.
    let _guard = ending.clone().drop_guard();

    // Dropped at the end, and the tasks with it.
    let mut tasks = JoinSet::new();
    let (to_prober, settled) = mpsc::unbounded_channel();
    tasks.spawn(own(inbox, to_publisher, to_prober, surroundings.clone()));
    let roots: Arc<OnceLock<Vec<PathBuf>>> = Arc::default();
    let mut started = None;
    let build = LspService::build(|client| {
        let (to_learner, resting) = mpsc::unbounded_channel();
        tasks.spawn(publish(client.clone(), dirty, to_learner));
        tasks.spawn(learn(client.clone(), resting, to_owner.clone()));
        let builds = Builds::new(client.clone(), to_owner.clone(), surroundings.clone(), ending.clone());
        started = Some(builds.clone());
        let (owner, roots) = (to_owner.clone(), Arc::clone(&roots));
        tasks.spawn(probe(client.clone(), owner, builds.clone(), surroundings, Arc::clone(&roots), settled));
        Backend {
            client,
            owner: to_owner,
            builds,
            shutdown: Arc::clone(&shutdown),
            abilities: OnceLock::new(),
            roots,
            initial: Mutex::default(),
            chosen: Mutex::default(),
            pulls: AtomicU64::new(0),
            tokens: Mutex::default(),
        }
    });
    // The library has no handler for this one.
    let (service, socket) =
        build.custom_method("window/workDoneProgress/cancel", Backend::work_done_progress_cancel).finish();
    Server::new(input, output, socket).concurrency_level(CONCURRENCY).serve(service).await;
    ending.cancel();
    if let Some(builds) = started {
        let _ = tokio::time::timeout(LAST_MOMENT, builds.ended()).await;
    }
    if shutdown.load(Ordering::Relaxed) { Ended::Orderly } else { Ended::Abrupt }
}

/// What the handlers share.
struct Backend {
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    builds: Builds,
    shutdown: Arc<AtomicBool>,
    abilities: OnceLock<Abilities>,
    /// The folders that the client has open.
    roots: Arc<OnceLock<Vec<PathBuf>>>,
    /// What the client set when it introduced itself; what it sets later goes before that.
    initial: Mutex<Configuration>,
    /// What the user chose for this session.
    chosen: Mutex<Chosen>,
    /// How often the client was asked for its configuration.
    pulls: AtomicU64,
    /// The semantic tokens that were answered.
    tokens: Mutex<Answered>,
}

impl Backend {
    fn tell(&self, message: Message) {
        // The owner lives as long as the server.
        let _ = self.owner.send(message);
    }

    /// The document as it was when the client asked; none if it is not open.
    fn snapshot(&self, uri: Uri) -> impl Future<Output = Option<Arc<Snapshot>>> + Send + use<> {
        let (answer, snapshot) = oneshot::channel();
        self.tell(Message::Snapshot(uri, answer));
        async { snapshot.await.ok() }
    }

    /// What a function says of a document as it was when the client asked; nothing if it is not open.
    async fn answer<T>(&self, uri: Uri, function: impl FnOnce(&Snapshot) -> T) -> Result<Option<T>> {
        let snapshot = self.snapshot(uri).await;
        Ok(snapshot.map(|snapshot| function(&snapshot)))
    }

    /// The same for what takes its time: it is worked out on a thread of its own.
    async fn answer_apart<T: Send + 'static>(
        &self,
        uri: Uri,
        function: impl FnOnce(&Snapshot) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(snapshot) = self.snapshot(uri).await else { return Ok(None) };
        Ok(tokio::task::spawn_blocking(move || function(&snapshot)).await.ok())
    }

    fn abilities(&self) -> Abilities {
        self.abilities.get().copied().unwrap_or_default()
    }

    fn initial(&self) -> MutexGuard<'_, Configuration> {
        // Nothing panics while it holds the lock.
        self.initial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Answered> {
        // Nothing panics while it holds the lock.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Session {
        let roots = self.roots.get().cloned().unwrap_or_default();
        Session { progress: self.abilities().progress, roots }
    }

    /// Takes what the client has set now; answers what is wrong with it.
    fn configure(&self, sent: &Value) -> Vec<String> {
        let mut configuration = self.initial().clone();
        let complaints = configuration.apply(sent);
        self.tell(Message::Configure(Arc::new(self.choose(|chosen| chosen.configuration = configuration))));
        complaints
    }

    /// Tells the client what is wrong with its settings, and to look again at what depends on them.
    async fn configured(&self, complaints: Vec<String>) {
        for complaint in complaints {
            self.client.show_message(MessageType::WARNING, complaint).await;
        }
        refresh(&self.client, self.abilities()).await;
    }

    /// Asks the client for its configuration.
    async fn pull(&self) {
        let number = self.pulls.fetch_add(1, Ordering::Relaxed) + 1;
        let item = ConfigurationItem { scope_uri: None, section: Some(SECTION.to_owned()) };
        let answer = self.client.configuration(vec![item]).await;
        // If it was asked again in the meantime, that answer is the newer one.
        if let (Ok(values), true) = (answer, number == self.pulls.load(Ordering::Relaxed)) {
            let complaints = self.configure(values.first().unwrap_or(&Value::Null));
            self.configured(complaints).await;
        }
    }

    #[expect(clippy::unused_async, reason = "handlers are asynchronous")]
    async fn work_done_progress_cancel(&self, params: WorkDoneProgressCancelParams) {
        self.builds.cancel_progress(&params.token);
    }
}
