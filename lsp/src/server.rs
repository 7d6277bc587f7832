//! The protocol: who the server is. Its handlers are in [`handlers`].

mod choices;
mod handlers;
mod transport;

use std::fmt::Display;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_lsp::jsonrpc::Error;
use tower_lsp::ls_types::{
    ConfigurationItem, MessageType, SetTraceParams, Uri, WorkDoneProgressCancelParams,
};
use tower_lsp::{Client, LspService};
use tracing_subscriber::EnvFilter;

use self::choices::Chosen;
use self::transport::converse;
use crate::builds::{Builds, Session, probe, refresh};
use crate::capabilities::Abilities;
use crate::checker::Checker;
use crate::configuration::{Configuration, SECTION};
use crate::connection::{Connection, Options, accept, connect};
use crate::documents::{Message, Snapshot, own};
use crate::features::tokens::Answered;
use crate::newest::Newest;
use crate::online::learn;
use crate::publish::{Next, publish};
use crate::pull::Pulls;
use crate::scripts::inspect;
use crate::surroundings::Surroundings;

/// How often it is looked whether the client's process is still there.
const WATCHED: Duration = Duration::from_secs(1);
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

/// Serves one client, and logs to standard error as `RBX_LOG` asks (`warn` unless set, in the grammar of `tracing`'s
/// filters). Makes the asynchronous runtime; the exit code is the one the protocol asks for.
pub fn run(options: &Options, surroundings: Surroundings) -> ExitCode {
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
    let client_process = options.client_process.or(surroundings.client_process);
    let surroundings = Surroundings { client_process, ..surroundings };
    let ended = runtime.block_on(connected(&options.connection, surroundings));
    // A client may keep its end open after `exit`: nothing waits for the thread that reads from it.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Orderly) => ExitCode::SUCCESS,
        Ok(Ended::Abrupt) => ExitCode::FAILURE,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "ERROR: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the one client that is reached like this.
async fn connected(connection: &Connection, surroundings: Surroundings) -> Result<Ended, String> {
    let failed = |error: std::io::Error, at: &dyn Display| format!("{error}: no client at {at}");
    let stream = match connection {
        Connection::Stdio => return Ok(serve(tokio::io::stdin(), tokio::io::stdout(), surroundings).await),
        Connection::Socket(port) => {
            connect(*port).await.map_err(|error| failed(error, &format!("port {port}")))?
        }
        Connection::Listen(address) => {
            let bound = |address: &str| {
                let _ = writeln!(std::io::stderr(), "listening at {address}");
            };
            accept(address, bound).await.map_err(|error| failed(error, address))?
        }
        #[cfg(unix)]
        Connection::Pipe(path) => {
            let stream = tokio::net::UnixStream::connect(path).await;
            let stream = stream.map_err(|error| failed(error, &path.display()))?;
            let (input, output) = stream.into_split();
            return Ok(serve(input, output, surroundings).await);
        }
        #[cfg(not(unix))]
        Connection::Pipe(path) => return Err(format!("no Unix sockets: {}", path.display())),
    };
    let (input, output) = stream.into_split();
    Ok(serve(input, output, surroundings).await)
}

/// Serves one client until it sends `exit`, closes its end, or its process ends. Builds that it started end then.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite,
    surroundings: Surroundings,
) -> Ended {
    let (to_owner, inbox) = mpsc::unbounded_channel();
    let (dirty, resting) = (Arc::new(Newest::new()), Arc::new(Newest::new()));
    let (moved_on, generation) = watch::channel(0);
    let shutdown = Arc::new(AtomicBool::new(false));
    let ending = CancellationToken::new();
    // Whoever drops this future ends the builds, too.
    let _guard = ending.clone().drop_guard();
    let gone = CancellationToken::new();
    let checker = match Checker::start() {
        Ok(checker) => checker,
        Err(error) => {
            tracing::error!(%error, "there is no thread to check documents");
            return Ended::Abrupt;
        }
    };

    // Dropped at the end, and the tasks with it.
    let mut tasks = JoinSet::new();
    let (to_prober, settled) = mpsc::unbounded_channel();
    tasks.spawn(own(inbox, Arc::clone(&dirty), moved_on, to_prober, surroundings.clone()));
    if let Some(process) = surroundings.client_process {
        watch_process(process, &gone);
    }
    let roots: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let mut started = None;
    let build = LspService::build(|client| {
        let shown = Arc::new(Newest::new());
        let next = Next { resting: Arc::clone(&resting), shown: Arc::clone(&shown) };
        tasks.spawn(publish(client.clone(), checker.clone(), dirty, next));
        tasks.spawn(inspect(shown, to_owner.clone()));
        tasks.spawn(learn(client.clone(), resting, to_owner.clone()));
        let builds = Builds::new(client.clone(), to_owner.clone(), surroundings.clone(), ending.clone());
        started = Some(builds.clone());
        let (owner, roots) = (to_owner.clone(), Arc::clone(&roots));
        tasks.spawn(probe(client.clone(), owner, builds.clone(), surroundings, Arc::clone(&roots), settled));
        Backend {
            pulled: Pulls::new(client.clone(), checker, to_owner.clone(), generation),
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
            gone: gone.clone(),
        }
    });
    // The library has no handlers for these.
    let (service, socket) = build
        .custom_method("window/workDoneProgress/cancel", Backend::work_done_progress_cancel)
        .custom_method("$/setTrace", Backend::set_trace)
        .finish();
    tokio::select! {
        () = converse(input, output, service, socket.split()) => {}
        () = gone.cancelled() => tracing::warn!("the client's process has ended"),
    }
    gone.cancel();
    ending.cancel();
    if let Some(builds) = started {
        let _ = tokio::time::timeout(LAST_MOMENT, builds.ended()).await;
    }
    if shutdown.load(Ordering::Relaxed) { Ended::Orderly } else { Ended::Abrupt }
}

/// A process that can be watched; none if it is not there to begin with: then it is another machine's, or in a namespace
/// of its own.
#[cfg(unix)]
fn watched_process(process: u32) -> Option<rustix::process::Pid> {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).ok()?)?;
    is_there(process).then_some(process)
}

#[cfg(unix)]
fn is_there(process: rustix::process::Pid) -> bool {
    // Whose process it is does not matter.
    !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH))
}

/// Begins to watch a process; `gone` is cancelled when it has ended.
fn watch_process(process: u32, gone: &CancellationToken) {
    #[cfg(unix)]
    if let Some(process) = watched_process(process) {
        let gone = gone.clone();
        tokio::spawn(async move {
            while is_there(process) && !gone.is_cancelled() {
                tokio::time::sleep(WATCHED).await;
            }
            gone.cancel();
        });
    }
    #[cfg(not(unix))]
    let _ = (process, gone);
}

/// What the handlers share.
struct Backend {
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    builds: Builds,
    shutdown: Arc<AtomicBool>,
    abilities: OnceLock<Abilities>,
    /// The folders that the client has open.
    roots: Arc<Mutex<Vec<PathBuf>>>,
    /// What the client set when it introduced itself; what it sets later goes before that.
    initial: Mutex<Configuration>,
    /// What the user chose for this session.
    chosen: Mutex<Chosen>,
    /// How often the client was asked for its configuration.
    pulls: AtomicU64,
    /// The semantic tokens that were answered.
    tokens: Mutex<Answered>,
    /// Diagnostics that the client asks for.
    pulled: Pulls,
    /// Cancelled when the client's process has ended.
    gone: CancellationToken,
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
    async fn answer<T>(
        &self,
        uri: Uri,
        function: impl FnOnce(&Snapshot) -> T,
    ) -> tower_lsp::jsonrpc::Result<Option<T>> {
        let Some(snapshot) = self.snapshot(uri).await else { return Ok(None) };
        // A fault in one answer is no reason to forget all documents.
        let answer = catch_unwind(AssertUnwindSafe(|| function(&snapshot)));
        answer.map(Some).map_err(|_| Error::internal_error())
    }

    /// The same for what takes its time: it is worked out on a thread of its own, unless the document has changed before
    /// that could begin.
    async fn answer_apart<T: Send + 'static>(
        &self,
        uri: Uri,
        function: impl FnOnce(&Snapshot) -> T + Send + 'static,
    ) -> tower_lsp::jsonrpc::Result<Option<T>> {
        let Some(snapshot) = self.snapshot(uri).await else { return Ok(None) };
        let work = move || (!snapshot.is_outdated()).then(|| function(&snapshot));
        match tokio::task::spawn_blocking(work).await {
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => Err(Error::content_modified()),
            Err(_) => Err(Error::internal_error()),
        }
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

    /// The folders that the client has open.
    fn roots(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        // Nothing panics while it holds the lock.
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Session {
        Session { progress: self.abilities().progress, roots: self.roots().clone() }
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

    /// Asks the client for its configuration. While it is asked, nobody else asks it, but it is asked once more.
    async fn pull(&self) {
        if self.pulls.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        let mut number = 1;
        loop {
            let item = ConfigurationItem { scope_uri: None, section: Some(SECTION.to_owned()) };
            let answer = self.client.configuration(vec![item]).await;
            match self.pulls.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    if let Ok(values) = answer {
                        let complaints = self.configure(values.first().unwrap_or(&Value::Null));
                        self.configured(complaints).await;
                    }
                    return;
                }
                Err(now) => number = now,
            }
        }
    }

    #[expect(clippy::unused_async, reason = "handlers are asynchronous")]
    async fn work_done_progress_cancel(&self, params: WorkDoneProgressCancelParams) {
        self.builds.cancel_progress(&params.token);
    }

    /// Nothing is traced over the protocol: `RBX_LOG` asks for that.
    #[expect(clippy::unused_async, reason = "handlers are asynchronous")]
    async fn set_trace(&self, _: SetTraceParams) {}
}
