//! The protocol: who the server is, and the handlers.

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
use tower_lsp::ls_types::{
    CodeActionParams, CodeActionResponse, CodeLens, CodeLensParams, ConfigurationItem,
    DidChangeConfigurationParams, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DocumentSymbolParams, DocumentSymbolResponse, ExecuteCommandParams, Hover,
    HoverParams, InitializeParams, InitializeResult, InitializedParams, MessageType, Registration,
    ServerInfo, Uri, WorkDoneProgressCancelParams,
};
use tower_lsp::{Client, LanguageServer, LspService, Server};
use tracing_subscriber::EnvFilter;

use crate::builds::{Builds, Session};
use crate::capabilities::Abilities;
use crate::commands::{self, Command};
use crate::configuration::{Configuration, SECTION};
use crate::documents::{Message, Snapshot, own};
use crate::features::{actions, hover, lenses, symbols};
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
    tasks.spawn(own(inbox, to_publisher, (surroundings.platforms.clone(), surroundings.registries.clone())));
    let mut started = None;
    let build = LspService::build(|client| {
        tasks.spawn(publish(client.clone(), dirty));
        let builds = Builds::new(client.clone(), to_owner.clone(), surroundings, ending.clone());
        started = Some(builds.clone());
        Backend {
            client,
            owner: to_owner,
            builds,
            shutdown: Arc::clone(&shutdown),
            abilities: OnceLock::new(),
            roots: OnceLock::new(),
            initial: Mutex::default(),
            pulls: AtomicU64::new(0),
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

/// The handlers. Each hands its message to the owner of the documents before it first awaits: the library starts
/// handlers in the order of their messages, but runs them side by side.
struct Backend {
    client: Client,
    owner: mpsc::UnboundedSender<Message>,
    builds: Builds,
    shutdown: Arc<AtomicBool>,
    abilities: OnceLock<Abilities>,
    /// The folders that the client has open.
    roots: OnceLock<Vec<PathBuf>>,
    /// What the client set when it introduced itself; what it sets later goes before that.
    initial: Mutex<Configuration>,
    /// How often the client was asked for its configuration.
    pulls: AtomicU64,
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

    fn abilities(&self) -> Abilities {
        self.abilities.get().copied().unwrap_or_default()
    }

    fn initial(&self) -> MutexGuard<'_, Configuration> {
        // Nothing panics while it holds the lock.
        self.initial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Session {
        let roots = self.roots.get().cloned().unwrap_or_default();
        Session { progress: self.abilities().progress, roots }
    }

    /// Takes what the client has set now; answers what is wrong with it.
    fn configure(&self, sent: &Value) -> Vec<String> {
        let mut configuration = self.initial().clone();
        let complaints = configuration.apply(sent);
        self.tell(Message::Configure(Arc::new(configuration)));
        complaints
    }

    /// Tells the client what is wrong with its settings, and to look again at what depends on them.
    async fn configured(&self, complaints: Vec<String>) {
        for complaint in complaints {
            self.client.show_message(MessageType::WARNING, complaint).await;
        }
        if self.abilities().refreshes_lenses {
            let _ = self.client.code_lens_refresh().await;
        }
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

impl LanguageServer for Backend {
    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        let abilities = Abilities::of(&params.capabilities);
        let _ = self.abilities.set(abilities);
        let _ = self.roots.set(roots(&params));
        self.tell(Message::Introduce(abilities));
        let options = params.initialization_options.unwrap_or_default();
        let complaints = self.initial().apply(&options);
        self.configure(&Value::Null);
        for complaint in complaints {
            // This early it is the one message that may be sent.
            self.client.show_message(MessageType::WARNING, complaint).await;
        }
        Ok(InitializeResult {
            capabilities: abilities.answer(),
            server_info: Some(ServerInfo {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            ..InitializeResult::default()
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        let abilities = self.abilities();
        if abilities.watches_configuration {
            let method = "workspace/didChangeConfiguration".to_owned();
            let registration = Registration { id: method.clone(), method, register_options: None };
            if let Err(error) = self.client.register_capability(vec![registration]).await {
                tracing::warn!(%error, "changes of the configuration are not told");
            }
        }
        if abilities.configuration {
            self.pull().await;
        }
    }

    async fn shutdown(&self) -> Result<()> {
        self.shutdown.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        let complaints = self.configure(&params.settings);
        // Of a client that can be asked, what it sends by itself may be nothing, or a part.
        if self.abilities().configuration {
            self.pull().await;
        } else {
            self.configured(complaints).await;
        }
    }

    async fn did_open(&self, params: DidOpenTextDocumentParams) {
        self.tell(Message::Open(params.text_document));
    }

    async fn did_change(&self, params: DidChangeTextDocumentParams) {
        let document = params.text_document;
        self.tell(Message::Change {
            uri: document.uri,
            version: document.version,
            changes: params.content_changes,
        });
    }

    async fn did_close(&self, params: DidCloseTextDocumentParams) {
        self.tell(Message::Close(params.text_document.uri));
    }

    async fn document_symbol(&self, params: DocumentSymbolParams) -> Result<Option<DocumentSymbolResponse>> {
        let uri = params.text_document.uri;
        let snapshot = self.snapshot(uri.clone()).await;
        Ok(snapshot.map(|snapshot| symbols::symbols(&snapshot, &uri)))
    }

    async fn hover(&self, params: HoverParams) -> Result<Option<Hover>> {
        let place = params.text_document_position_params;
        let snapshot = self.snapshot(place.text_document.uri).await;
        Ok(snapshot.and_then(|snapshot| hover::hover(&snapshot, place.position)))
    }

    async fn code_action(&self, params: CodeActionParams) -> Result<Option<CodeActionResponse>> {
        let snapshot = self.snapshot(params.text_document.uri).await;
        let Some(snapshot) = snapshot else { return Ok(None) };
        // The rules may have to be asked.
        let actions = move || actions::actions(&snapshot, params.range, &params.context);
        Ok(tokio::task::spawn_blocking(actions).await.ok())
    }

    async fn code_lens(&self, params: CodeLensParams) -> Result<Option<Vec<CodeLens>>> {
        let snapshot = self.snapshot(params.text_document.uri).await;
        Ok(snapshot.map(|snapshot| lenses::lenses(&snapshot)))
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<Value>> {
        match commands::read(params)? {
            Command::Build(order) => {
                let snapshot = self.snapshot(order.uri.clone());
                self.builds.start(order, self.session(), snapshot);
                Ok(None)
            }
            Command::Cancel(uri) => Ok(Some(self.builds.cancel(&uri).into())),
            Command::Platforms(uri) => {
                let snapshot = self.snapshot(uri).await;
                Ok(snapshot.map(|snapshot| commands::platforms(&snapshot)))
            }
        }
    }
}

/// The folders that a client has open.
fn roots(params: &InitializeParams) -> Vec<PathBuf> {
    #[expect(deprecated, reason = "older clients have one folder")]
    let root = params.root_uri.as_ref().and_then(commands::path);
    let folders = params.workspace_folders.iter().flatten();
    let folders: Vec<PathBuf> = folders.filter_map(|folder| commands::path(&folder.uri)).collect();
    if folders.is_empty() { root.into_iter().collect() } else { folders }
}
