//! The handlers of the protocol's messages. Each hands its message to the owner of the documents before it first
//! awaits: the library starts handlers in the order of their messages, but runs them side by side.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower_lsp::LanguageServer;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::request::{GotoDeclarationParams, GotoDeclarationResponse};
use tower_lsp::ls_types::{
    CodeAction, CodeActionParams, CodeActionResponse, CodeLens, CodeLensParams, CompletionItem,
    CompletionParams, CompletionResponse, DidChangeConfigurationParams, DidChangeTextDocumentParams,
    DidChangeWatchedFilesParams, DidChangeWorkspaceFoldersParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DidSaveTextDocumentParams, DocumentDiagnosticParams,
    DocumentDiagnosticReportResult, DocumentFormattingParams, DocumentHighlight, DocumentHighlightParams,
    DocumentLink, DocumentLinkParams, DocumentOnTypeFormattingParams, DocumentRangeFormattingParams,
    DocumentSymbolParams, DocumentSymbolResponse, ExecuteCommandParams, FoldingRange, FoldingRangeParams,
    GotoDefinitionParams, GotoDefinitionResponse, Hover, HoverParams, InitializeParams, InitializeResult,
    InitializedParams, InlayHint, InlayHintParams, LinkedEditingRangeParams, LinkedEditingRanges, Location,
    MessageType, PrepareRenameResponse, ReferenceParams, Registration, RenameParams, SelectionRange,
    SelectionRangeParams, SemanticTokens, SemanticTokensDeltaParams, SemanticTokensFullDeltaResult,
    SemanticTokensParams, SemanticTokensRangeParams, SemanticTokensRangeResult, SemanticTokensResult,
    ServerInfo, SignatureHelp, SignatureHelpParams, SignatureHelpTriggerKind, TextDocumentPositionParams,
    TextEdit, WorkspaceDiagnosticParams, WorkspaceDiagnosticReportResult, WorkspaceEdit, WorkspaceFolder,
    WorkspaceSymbolParams, WorkspaceSymbolResponse,
};

use super::{Backend, watch_process};
use crate::capabilities::{Abilities, watched};
use crate::commands::{self, Command};
use crate::documents::{Message, Snapshot};
use crate::features::completion::{self, Asked};
use crate::features::{
    actions, folding, formatting, hints, hover, lenses, links, places, rename, selection, signature, symbols,
    tokens, workspace,
};

impl LanguageServer for Backend {
    // The session.

    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        let client = params.client_info.as_ref().map(|client| client.name.as_str());
        let abilities = Abilities::of(&params.capabilities, client.unwrap_or_default());
        let _ = self.abilities.set(abilities);
        *self.roots() = roots(&params);
        if let Some(process) = params.process_id {
            watch_process(process, &self.gone);
        }
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
        let mut registrations = Vec::new();
        if abilities.watches_configuration {
            let method = "workspace/didChangeConfiguration".to_owned();
            registrations.push(Registration { id: method.clone(), method, register_options: None });
        }
        if abilities.watches_files {
            registrations.push(watched());
        }
        if !registrations.is_empty()
            && let Err(error) = self.client.register_capability(registrations).await
        {
            tracing::warn!(%error, "changes of the configuration or of files are not told");
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

    async fn did_change_workspace_folders(&self, params: DidChangeWorkspaceFoldersParams) {
        let paths = |folders: Vec<WorkspaceFolder>| {
            let paths = folders.into_iter().filter_map(|folder| commands::path(&folder.uri));
            paths.collect::<Vec<PathBuf>>()
        };
        let (added, removed) = (paths(params.event.added), paths(params.event.removed));
        let mut roots = self.roots();
        roots.retain(|root| !removed.contains(root) && !added.contains(root));
        roots.extend(added);
    }

    async fn did_change_watched_files(&self, params: DidChangeWatchedFilesParams) {
        let paths = params.changes.iter().filter_map(|change| commands::path(&change.uri)).collect();
        self.tell(Message::Files(paths));
    }

    // Documents.

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

    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        // It was saved for a build, perhaps, and other files with it.
        self.tell(Message::Look(params.text_document.uri));
    }

    async fn did_close(&self, params: DidCloseTextDocumentParams) {
        self.tokens().forget(&params.text_document.uri);
        self.tell(Message::Close(params.text_document.uri));
    }

    async fn diagnostic(&self, params: DocumentDiagnosticParams) -> Result<DocumentDiagnosticReportResult> {
        let snapshot = self.snapshot(params.text_document.uri.clone());
        self.pulled.document(params, snapshot).await
    }

    async fn workspace_diagnostic(
        &self,
        params: WorkspaceDiagnosticParams,
    ) -> Result<WorkspaceDiagnosticReportResult> {
        let roots = self.roots().clone();
        Ok(self.pulled.workspace(params, &roots).await)
    }

    // What is where.

    async fn document_symbol(&self, params: DocumentSymbolParams) -> Result<Option<DocumentSymbolResponse>> {
        self.answer(params.text_document.uri, symbols::symbols).await
    }

    async fn symbol(&self, params: WorkspaceSymbolParams) -> Result<Option<WorkspaceSymbolResponse>> {
        let (answer, open) = oneshot::channel();
        self.tell(Message::Snapshots(answer));
        let (roots, encoding) = (self.roots().clone(), self.abilities().encoding);
        let open = open.await.unwrap_or_default();
        let cancelled = CancellationToken::new();
        // Whoever drops this future ends the search, too.
        let _guard = cancelled.clone().drop_guard();
        let search =
            move || workspace::search(&params.query, &open, &roots, encoding, || cancelled.is_cancelled());
        let found = tokio::task::spawn_blocking(search).await.map_err(|_| Error::internal_error())?;
        Ok(Some(WorkspaceSymbolResponse::Flat(found)))
    }

    async fn goto_definition(&self, params: GotoDefinitionParams) -> Result<Option<GotoDefinitionResponse>> {
        let place = params.text_document_position_params;
        let definition = |snapshot: &Snapshot| places::definition(snapshot, place.position);
        Ok(self.answer(place.text_document.uri, definition).await?.flatten())
    }

    async fn goto_declaration(
        &self,
        params: GotoDeclarationParams,
    ) -> Result<Option<GotoDeclarationResponse>> {
        let place = params.text_document_position_params;
        let declaration = |snapshot: &Snapshot| places::declaration(snapshot, place.position);
        Ok(self.answer(place.text_document.uri, declaration).await?.flatten())
    }

    async fn references(&self, params: ReferenceParams) -> Result<Option<Vec<Location>>> {
        let (place, all) = (params.text_document_position, params.context.include_declaration);
        let references = |snapshot: &Snapshot| places::references(snapshot, place.position, all);
        Ok(self.answer(place.text_document.uri, references).await?.flatten())
    }

    async fn document_highlight(
        &self,
        params: DocumentHighlightParams,
    ) -> Result<Option<Vec<DocumentHighlight>>> {
        let place = params.text_document_position_params;
        let highlights = |snapshot: &Snapshot| places::highlights(snapshot, place.position);
        Ok(self.answer(place.text_document.uri, highlights).await?.flatten())
    }

    async fn linked_editing_range(
        &self,
        params: LinkedEditingRangeParams,
    ) -> Result<Option<LinkedEditingRanges>> {
        let place = params.text_document_position_params;
        let linked = |snapshot: &Snapshot| rename::linked(snapshot, place.position);
        Ok(self.answer(place.text_document.uri, linked).await?.flatten())
    }

    async fn folding_range(&self, params: FoldingRangeParams) -> Result<Option<Vec<FoldingRange>>> {
        self.answer(params.text_document.uri, folding::folding).await
    }

    async fn selection_range(&self, params: SelectionRangeParams) -> Result<Option<Vec<SelectionRange>>> {
        let selection = |snapshot: &Snapshot| selection::selection(snapshot, &params.positions);
        self.answer(params.text_document.uri, selection).await
    }

    async fn document_link(&self, params: DocumentLinkParams) -> Result<Option<Vec<DocumentLink>>> {
        let roots = self.session().roots;
        self.answer_apart(params.text_document.uri, move |snapshot| links::links(snapshot, &roots)).await
    }

    async fn semantic_tokens_full(
        &self,
        params: SemanticTokensParams,
    ) -> Result<Option<SemanticTokensResult>> {
        let uri = params.text_document.uri;
        let tokens = self.answer(uri.clone(), Snapshot::tokens).await?;
        Ok(tokens.map(|tokens| {
            let result_id = Some(self.tokens().keep(uri, Arc::clone(&tokens)));
            SemanticTokensResult::Tokens(SemanticTokens { result_id, data: tokens.to_vec() })
        }))
    }

    async fn semantic_tokens_full_delta(
        &self,
        params: SemanticTokensDeltaParams,
    ) -> Result<Option<SemanticTokensFullDeltaResult>> {
        let uri = params.text_document.uri;
        let tokens = self.answer(uri.clone(), Snapshot::tokens).await?;
        Ok(tokens.map(|tokens| {
            let mut answered = self.tokens();
            let before = answered.named(&uri, &params.previous_result_id);
            let result_id = answered.keep(uri, Arc::clone(&tokens));
            tokens::delta(before.as_deref(), &tokens, result_id)
        }))
    }

    async fn semantic_tokens_range(
        &self,
        params: SemanticTokensRangeParams,
    ) -> Result<Option<SemanticTokensRangeResult>> {
        let tokens = self.answer(params.text_document.uri, Snapshot::tokens).await?;
        Ok(tokens.map(|tokens| {
            let data = tokens::in_range(&tokens, params.range);
            SemanticTokensRangeResult::Tokens(SemanticTokens { result_id: None, data })
        }))
    }

    // What words mean, and which may come.

    async fn hover(&self, params: HoverParams) -> Result<Option<Hover>> {
        let place = params.text_document_position_params;
        let Some(snapshot) = self.snapshot(place.text_document.uri).await else { return Ok(None) };
        let of_it = Arc::clone(&snapshot);
        // What a variable is worth may have to be worked out.
        let found = tokio::task::spawn_blocking(move || hover::find(&of_it, place.position));
        match found.await.ok().flatten() {
            Some(found) => Ok(Some(hover::explain(&snapshot, found).await)),
            None => Ok(None),
        }
    }

    async fn completion(&self, params: CompletionParams) -> Result<Option<CompletionResponse>> {
        let place = params.text_document_position;
        let roots = self.session().roots;
        let Some(snapshot) = self.snapshot(place.text_document.uri).await else { return Ok(None) };
        let of_it = Arc::clone(&snapshot);
        // Directories may have to be read.
        let complete = move || completion::completion(&of_it, place.position, &roots);
        let Ok(mut list) = tokio::task::spawn_blocking(complete).await else { return Ok(None) };
        if let Some(online) = &snapshot.online {
            completion::tags::add(&snapshot, online, place.position, &mut list).await;
        }
        Ok(Some(list.into()))
    }

    async fn completion_resolve(&self, mut item: CompletionItem) -> Result<CompletionItem> {
        if let Some(asked) = Asked::read(item.data.as_ref()) {
            let explain = move |snapshot: &Snapshot| completion::resolve(snapshot, &asked.about);
            let documentation = self.answer_apart(asked.uri, explain).await?;
            item.documentation = documentation.flatten();
        }
        Ok(item)
    }

    async fn signature_help(&self, params: SignatureHelpParams) -> Result<Option<SignatureHelp>> {
        let place = params.text_document_position_params;
        let kind = params.context.map(|context| context.trigger_kind);
        let asked = kind.is_none_or(|kind| kind == SignatureHelpTriggerKind::INVOKED);
        let signature = |snapshot: &Snapshot| signature::signature(snapshot, place.position, asked);
        Ok(self.answer(place.text_document.uri, signature).await?.flatten())
    }

    // Changes.

    async fn prepare_rename(
        &self,
        params: TextDocumentPositionParams,
    ) -> Result<Option<PrepareRenameResponse>> {
        let prepare = |snapshot: &Snapshot| rename::prepare(snapshot, params.position);
        Ok(self.answer(params.text_document.uri, prepare).await?.transpose()?.flatten())
    }

    async fn rename(&self, params: RenameParams) -> Result<Option<WorkspaceEdit>> {
        let place = params.text_document_position;
        let rename = |snapshot: &Snapshot| rename::rename(snapshot, place.position, &params.new_name);
        self.answer(place.text_document.uri, rename).await?.transpose()
    }

    async fn code_action(&self, params: CodeActionParams) -> Result<Option<CodeActionResponse>> {
        let CodeActionParams { text_document, range, context, .. } = params;
        // The rules may have to be asked.
        let actions = move |snapshot: &Snapshot| actions::actions(snapshot, range, &context);
        self.answer_apart(text_document.uri, actions).await
    }

    async fn code_action_resolve(&self, action: CodeAction) -> Result<CodeAction> {
        let later = action.data.clone().and_then(|data| serde_json::from_value::<actions::Later>(data).ok());
        let Some(later) = later else { return Ok(action) };
        let (uri, offered) = (later.uri.clone(), action.clone());
        let resolved = move |snapshot: &Snapshot| actions::resolved(snapshot, &later, offered);
        Ok(self.answer_apart(uri, resolved).await?.unwrap_or(action))
    }

    async fn formatting(&self, params: DocumentFormattingParams) -> Result<Option<Vec<TextEdit>>> {
        let DocumentFormattingParams { text_document, options, .. } = params;
        let edits = move |snapshot: &Snapshot| formatting::document(snapshot, &options);
        self.answer_apart(text_document.uri, edits).await
    }

    async fn range_formatting(&self, params: DocumentRangeFormattingParams) -> Result<Option<Vec<TextEdit>>> {
        let DocumentRangeFormattingParams { text_document, range, options, .. } = params;
        let edits = move |snapshot: &Snapshot| formatting::range(snapshot, range, &options);
        self.answer_apart(text_document.uri, edits).await
    }

    async fn on_type_formatting(
        &self,
        params: DocumentOnTypeFormattingParams,
    ) -> Result<Option<Vec<TextEdit>>> {
        let DocumentOnTypeFormattingParams { text_document_position: place, ch, options } = params;
        let edits = |snapshot: &Snapshot| formatting::typed(snapshot, place.position, &ch, &options);
        self.answer(place.text_document.uri, edits).await
    }

    // Builds.

    async fn inlay_hint(&self, params: InlayHintParams) -> Result<Option<Vec<InlayHint>>> {
        let range = params.range;
        // What arguments come to may have to be worked out.
        let hints = move |snapshot: &Snapshot| hints::hints(snapshot, range);
        self.answer_apart(params.text_document.uri, hints).await
    }

    async fn inlay_hint_resolve(&self, mut hint: InlayHint) -> Result<InlayHint> {
        let about = hint.data.clone().and_then(|data| serde_json::from_value::<hints::About>(data).ok());
        if let Some(about) = about {
            let uri = about.uri.clone();
            let resolve = move |snapshot: &Snapshot| hints::resolve(snapshot, &about);
            hint.tooltip = self.answer_apart(uri, resolve).await?.flatten();
        }
        Ok(hint)
    }

    async fn code_lens(&self, params: CodeLensParams) -> Result<Option<Vec<CodeLens>>> {
        self.answer(params.text_document.uri, lenses::lenses).await
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<Value>> {
        match commands::read(params)? {
            Command::Build(order) => {
                let snapshot = self.snapshot(order.uri.clone());
                self.builds.start(order, self.session(), snapshot);
                Ok(None)
            }
            Command::Cancel(uri) => Ok(Some(self.builds.cancel(&uri).into())),
            Command::Check(uri) => self.check(uri).await,
            Command::Builders(uri) => self.builders(uri).await,
            Command::SetBuilder(uri, name) => self.choose_builder(uri, name).await,
            Command::SetPlatforms { uri, platforms, write } => {
                self.choose_platforms(uri, platforms, write).await
            }
            Command::State(uri) => {
                let snapshot = self.snapshot(uri).await;
                Ok(snapshot.map(|snapshot| commands::state(&snapshot)))
            }
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
