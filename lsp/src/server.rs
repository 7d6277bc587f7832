//! The protocol: who the server is, and the handlers.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::{
    ClientCapabilities, DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams,
    DocumentSymbolParams, DocumentSymbolResponse, Hover, HoverParams, HoverProviderCapability,
    InitializeParams, InitializeResult, MarkupKind, OneOf, PositionEncodingKind, PublishDiagnosticsParams,
    ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, Uri,
};
use tower_lsp::{Client, LanguageServer, LspService, Server};
use tracing_subscriber::EnvFilter;

use crate::documents::{Message, Settings, Snapshot, own};
use crate::features::{hover, symbols};
use crate::text::Encoding;

/// How many messages are in work at a time. The library's own limit of four would let four slow requests hold up
/// edits and cancellations.
const CONCURRENCY: usize = 256;

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
pub fn run() -> ExitCode {
    let filter = EnvFilter::try_from_env("RBX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Another subscriber may be at work already if this is called from within another program.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(tokio::io::stdin(), tokio::io::stdout()));
    // A client may keep its end open after `exit`: nothing waits for the thread that reads from it.
    runtime.shutdown_background();
    match ended {
        Ended::Orderly => ExitCode::SUCCESS,
        Ended::Abrupt => ExitCode::FAILURE,
    }
}

/// Serves one client until it sends `exit` or closes its end.
pub async fn serve(input: impl AsyncRead + Unpin, output: impl AsyncWrite) -> Ended {
    let (to_owner, inbox) = mpsc::unbounded_channel();
    let (to_publisher, published) = mpsc::unbounded_channel();
    let shutdown = Arc::new(AtomicBool::new(false));

    // Dropped at the end, and the tasks with it.
    let mut tasks = JoinSet::new();
    tasks.spawn(own(inbox, to_publisher));
    let (service, socket) = LspService::new(|client| {
        tasks.spawn(publish(client, published));
        Backend { owner: to_owner, shutdown: Arc::clone(&shutdown) }
    });
    Server::new(input, output, socket).concurrency_level(CONCURRENCY).serve(service).await;
    if shutdown.load(Ordering::Relaxed) { Ended::Orderly } else { Ended::Abrupt }
}

/// Sends diagnostics at the pace at which the client takes them, only the newest of each document.
async fn publish(client: Client, mut inbox: mpsc::UnboundedReceiver<PublishDiagnosticsParams>) {
    let mut waiting: Vec<PublishDiagnosticsParams> = Vec::new();
    while let Some(params) = inbox.recv().await {
        waiting.push(params);
        while let Ok(params) = inbox.try_recv() {
            waiting.retain(|older| older.uri != params.uri);
            waiting.push(params);
        }
        for params in waiting.drain(..) {
            client.publish_diagnostics(params.uri, params.diagnostics, params.version).await;
        }
    }
}

/// The handlers. Each hands its message to the owner of the documents before it first awaits: the library starts
/// handlers in the order of their messages, but runs them side by side.
struct Backend {
    owner: mpsc::UnboundedSender<Message>,
    shutdown: Arc<AtomicBool>,
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
}

impl LanguageServer for Backend {
    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        let settings = settings(&params.capabilities);
        self.tell(Message::Configure(settings));
        let encoding = match settings.encoding {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        };
        let sync = TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            ..TextDocumentSyncOptions::default()
        };
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                position_encoding: Some(encoding),
                text_document_sync: Some(TextDocumentSyncCapability::Options(sync)),
                document_symbol_provider: Some(OneOf::Left(true)),
                hover_provider: Some(HoverProviderCapability::Simple(true)),
                ..ServerCapabilities::default()
            },
            server_info: Some(ServerInfo {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            ..InitializeResult::default()
        })
    }

    async fn shutdown(&self) -> Result<()> {
        self.shutdown.store(true, Ordering::Relaxed);
        Ok(())
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
}

fn settings(client: &ClientCapabilities) -> Settings {
    let encodings = client.general.as_ref().and_then(|general| general.position_encodings.as_ref());
    let utf8 = encodings.is_some_and(|known| known.contains(&PositionEncodingKind::UTF8));
    let document = client.text_document.as_ref();
    let symbols = document.and_then(|document| document.document_symbol.as_ref());
    let hover = document.and_then(|document| document.hover.as_ref());
    let formats = hover.and_then(|hover| hover.content_format.as_ref());
    Settings {
        encoding: if utf8 { Encoding::Utf8 } else { Encoding::Utf16 },
        nested_symbols: symbols.and_then(|symbols| symbols.hierarchical_document_symbol_support)
            == Some(true),
        markdown: formats.is_some_and(|formats| formats.contains(&MarkupKind::Markdown)),
    }
}
