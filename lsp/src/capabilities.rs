//! What the client can do, and what the server says it can.

use serde_json::json;
use tower_lsp::ls_types::{
    ClientCapabilities, CodeActionOptions, CodeActionProviderCapability, CodeLensOptions,
    CompletionClientCapabilities, CompletionOptions, DeclarationCapability, DiagnosticOptions,
    DiagnosticServerCapabilities, DiagnosticTag, DocumentLinkOptions, DocumentOnTypeFormattingOptions,
    ExecuteCommandOptions, FoldingRangeProviderCapability, HoverProviderCapability, InlayHintOptions,
    InlayHintServerCapabilities, LinkedEditingRangeServerCapabilities, MarkupKind, OneOf,
    PositionEncodingKind, Registration, RenameOptions, SelectionRangeProviderCapability,
    SemanticTokensFullOptions, SemanticTokensOptions, SemanticTokensServerCapabilities, ServerCapabilities,
    SignatureHelpClientCapabilities, SignatureHelpOptions, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, TextDocumentSyncSaveOptions, WorkDoneProgressOptions,
    WorkspaceFoldersServerCapabilities, WorkspaceServerCapabilities,
};

use crate::commands;
use crate::features::formatting::TYPED;
use crate::features::{actions, completion, signature, tokens};
use crate::text::Encoding;

/// What the client can do, as far as it matters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Abilities {
    /// The units of columns.
    pub(crate) encoding: Encoding,
    /// Outlines may be trees.
    pub(crate) nested_symbols: bool,
    /// Texts may be Markdown.
    pub(crate) markdown: bool,
    /// Work may be shown as progress.
    pub(crate) progress: bool,
    /// It can be asked for its configuration.
    pub(crate) configuration: bool,
    /// It tells of changes to its configuration once it is asked to.
    pub(crate) watches_configuration: bool,
    /// It can be told to ask for lenses again.
    pub(crate) refreshes_lenses: bool,
    /// It can be told to ask for inlay hints again.
    pub(crate) refreshes_hints: bool,
    /// Findings may name other places.
    pub(crate) related: bool,
    /// Findings may be of what is not needed.
    pub(crate) unnecessary: bool,
    /// Findings may be of what is deprecated.
    pub(crate) deprecated: bool,
    /// Findings may have a link to a page about them.
    pub(crate) pages: bool,
    /// Actions may have edits.
    pub(crate) actions: bool,
    /// What it can do with completions.
    pub(crate) completion: Completes,
    /// Definitions may be told with what surrounds them.
    pub(crate) links: bool,
    /// What it can do with signatures.
    pub(crate) signatures: Signatures,
    /// How many parts to fold it wants at most.
    pub(crate) folds: Option<u32>,
    /// A name can be looked at before it is changed.
    pub(crate) prepares_renames: bool,
    /// Edits of actions may be asked for when one is chosen.
    pub(crate) resolves_edits: bool,
    /// Actions that cannot be chosen are shown, with the reason.
    pub(crate) disabled_actions: bool,
    /// Edits may be of one version of a document.
    pub(crate) versioned_edits: bool,
    /// It asks for diagnostics, and can be told to do so again: none are published.
    pub(crate) pulls: bool,
    /// It tells of changes to files once it is asked to.
    pub(crate) watches_files: bool,
}

/// What a client can do with completions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Completes {
    /// They may have stops in them.
    pub(crate) snippets: bool,
    /// They may say what is inserted and what is replaced.
    pub(crate) insert_replace: bool,
    /// Their explanations may be Markdown.
    pub(crate) markdown: bool,
}

impl Completes {
    fn of(client: Option<&CompletionClientCapabilities>) -> Self {
        let item = client.and_then(|client| client.completion_item.as_ref());
        let formats = item.and_then(|item| item.documentation_format.as_ref());
        Self {
            snippets: item.and_then(|item| item.snippet_support) == Some(true),
            insert_replace: item.and_then(|item| item.insert_replace_support) == Some(true),
            markdown: formats.is_some_and(|formats| formats.contains(&MarkupKind::Markdown)),
        }
    }
}

/// What a client can do with signatures.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signatures {
    /// Their explanations may be Markdown.
    pub(crate) markdown: bool,
    /// Parameters may be named by their places in the label.
    pub(crate) offsets: bool,
}

impl Signatures {
    fn of(client: Option<&SignatureHelpClientCapabilities>) -> Self {
        let settings = client.and_then(|client| client.signature_information.as_ref());
        let formats = settings.and_then(|settings| settings.documentation_format.as_ref());
        let parameters = settings.and_then(|settings| settings.parameter_information.as_ref());
        Self {
            markdown: formats.is_some_and(|formats| formats.contains(&MarkupKind::Markdown)),
            offsets: parameters.and_then(|parameters| parameters.label_offset_support) == Some(true),
        }
    }
}

impl Abilities {
    /// Those that a client of this name introduces itself with.
    pub(crate) fn of(client: &ClientCapabilities, name: &str) -> Self {
        let encodings = client.general.as_ref().and_then(|general| general.position_encodings.as_ref());
        let utf8 = encodings.is_some_and(|known| known.contains(&PositionEncodingKind::UTF8));
        let document = client.text_document.as_ref();
        let symbols = document.and_then(|document| document.document_symbol.as_ref());
        let hover = document.and_then(|document| document.hover.as_ref());
        let formats = hover.and_then(|hover| hover.content_format.as_ref());
        let window = client.window.as_ref();
        let workspace = client.workspace.as_ref();
        let watches = workspace.and_then(|workspace| workspace.did_change_configuration);
        let lenses = workspace.and_then(|workspace| workspace.code_lens.as_ref());
        let hints = workspace.and_then(|workspace| workspace.inlay_hint.as_ref());
        let edits = workspace.and_then(|workspace| workspace.workspace_edit.as_ref());
        let findings = document.and_then(|document| document.publish_diagnostics.as_ref());
        let tags = findings.and_then(|findings| findings.tag_support.as_ref());
        let actions = document.and_then(|document| document.code_action.as_ref());
        let pulls = document.is_some_and(|document| document.diagnostic.is_some());
        let refreshes = workspace.and_then(|workspace| workspace.diagnostics.as_ref());
        let files = workspace.and_then(|workspace| workspace.did_change_watched_files);
        Self {
            encoding: if utf8 { Encoding::Utf8 } else { Encoding::Utf16 },
            nested_symbols: symbols.and_then(|symbols| symbols.hierarchical_document_symbol_support)
                == Some(true),
            markdown: formats.is_some_and(|formats| formats.contains(&MarkupKind::Markdown)),
            progress: window.and_then(|window| window.work_done_progress) == Some(true),
            configuration: workspace.and_then(|workspace| workspace.configuration) == Some(true),
            watches_configuration: watches.and_then(|watches| watches.dynamic_registration) == Some(true),
            refreshes_lenses: lenses.and_then(|lenses| lenses.refresh_support) == Some(true),
            refreshes_hints: hints.and_then(|hints| hints.refresh_support) == Some(true),
            related: findings.and_then(|findings| findings.related_information) == Some(true),
            unnecessary: tags.is_some_and(|tags| tags.value_set.contains(&DiagnosticTag::UNNECESSARY)),
            deprecated: tags.is_some_and(|tags| tags.value_set.contains(&DiagnosticTag::DEPRECATED)),
            pages: findings.and_then(|findings| findings.code_description_support) == Some(true),
            resolves_edits: actions.and_then(|actions| actions.resolve_support.as_ref()).is_some_and(
                |resolve| {
                    resolve.properties.iter().any(|property| property == "edit")
                        && actions.and_then(|actions| actions.data_support) == Some(true)
                },
            ),
            disabled_actions: actions.and_then(|actions| actions.disabled_support) == Some(true),
            actions: actions.is_some_and(|actions| actions.code_action_literal_support.is_some()),
            completion: Completes::of(document.and_then(|document| document.completion.as_ref())),
            links: document.and_then(|document| document.definition).and_then(|it| it.link_support)
                == Some(true),
            signatures: Signatures::of(document.and_then(|document| document.signature_help.as_ref())),
            folds: document
                .and_then(|document| document.folding_range.as_ref())
                .and_then(|it| it.range_limit),
            prepares_renames: document
                .and_then(|document| document.rename.as_ref())
                .and_then(|it| it.prepare_support)
                == Some(true),
            versioned_edits: edits.and_then(|edits| edits.document_changes) == Some(true),
            // Neovim pulls only those of its folders anew when it is told to, and not those of documents that are open.
            pulls: pulls
                && name != "Neovim"
                && (findings.is_none()
                    || refreshes.and_then(|refreshes| refreshes.refresh_support) == Some(true)),
            watches_files: files.and_then(|files| files.dynamic_registration) == Some(true),
        }
    }

    /// What a server says it can that counts columns as this client wants.
    pub(crate) fn answer(self) -> ServerCapabilities {
        let encoding = match self.encoding {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        };
        let sync = TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(TextDocumentSyncSaveOptions::Supported(true)),
            ..TextDocumentSyncOptions::default()
        };
        let pulled = DiagnosticOptions {
            identifier: Some("rbx".to_owned()),
            inter_file_dependencies: false,
            workspace_diagnostics: true,
            work_done_progress_options: WorkDoneProgressOptions::default(),
        };
        let folders = WorkspaceFoldersServerCapabilities {
            supported: Some(true),
            change_notifications: Some(OneOf::Left(true)),
        };
        ServerCapabilities {
            diagnostic_provider: self.pulls.then_some(DiagnosticServerCapabilities::Options(pulled)),
            workspace: Some(WorkspaceServerCapabilities {
                workspace_folders: Some(folders),
                file_operations: None,
            }),
            position_encoding: Some(encoding),
            text_document_sync: Some(TextDocumentSyncCapability::Options(sync)),
            definition_provider: Some(OneOf::Left(true)),
            declaration_provider: Some(DeclarationCapability::Simple(true)),
            references_provider: Some(OneOf::Left(true)),
            document_highlight_provider: Some(OneOf::Left(true)),
            rename_provider: Some(if self.prepares_renames {
                OneOf::Right(RenameOptions {
                    prepare_provider: Some(true),
                    work_done_progress_options: WorkDoneProgressOptions::default(),
                })
            } else {
                OneOf::Left(true)
            }),
            linked_editing_range_provider: Some(LinkedEditingRangeServerCapabilities::Simple(true)),
            folding_range_provider: Some(FoldingRangeProviderCapability::Simple(true)),
            selection_range_provider: Some(SelectionRangeProviderCapability::Simple(true)),
            semantic_tokens_provider: Some(SemanticTokensServerCapabilities::SemanticTokensOptions(
                SemanticTokensOptions {
                    legend: tokens::legend(),
                    range: Some(true),
                    full: Some(SemanticTokensFullOptions::Delta { delta: Some(true) }),
                    ..SemanticTokensOptions::default()
                },
            )),
            document_link_provider: Some(DocumentLinkOptions {
                resolve_provider: None,
                work_done_progress_options: WorkDoneProgressOptions::default(),
            }),
            workspace_symbol_provider: Some(OneOf::Left(true)),
            document_symbol_provider: Some(OneOf::Left(true)),
            completion_provider: Some(CompletionOptions {
                resolve_provider: Some(true),
                trigger_characters: Some(completion::TRIGGERS.map(str::to_owned).to_vec()),
                ..CompletionOptions::default()
            }),
            signature_help_provider: Some(SignatureHelpOptions {
                trigger_characters: Some(signature::TRIGGERS.map(str::to_owned).to_vec()),
                ..SignatureHelpOptions::default()
            }),
            hover_provider: Some(HoverProviderCapability::Simple(true)),
            code_action_provider: self.actions.then(|| {
                CodeActionProviderCapability::Options(CodeActionOptions {
                    code_action_kinds: Some(actions::kinds()),
                    resolve_provider: Some(self.resolves_edits),
                    ..CodeActionOptions::default()
                })
            }),
            document_formatting_provider: Some(OneOf::Left(true)),
            document_range_formatting_provider: Some(OneOf::Left(true)),
            document_on_type_formatting_provider: Some(DocumentOnTypeFormattingOptions {
                first_trigger_character: TYPED[0].to_owned(),
                more_trigger_character: Some(TYPED[1..].iter().map(|&typed| typed.to_owned()).collect()),
            }),
            inlay_hint_provider: Some(OneOf::Right(InlayHintServerCapabilities::Options(InlayHintOptions {
                resolve_provider: Some(true),
                work_done_progress_options: WorkDoneProgressOptions::default(),
            }))),
            code_lens_provider: Some(CodeLensOptions { resolve_provider: None }),
            execute_command_provider: Some(ExecuteCommandOptions {
                commands: commands::NAMES.map(str::to_owned).to_vec(),
                work_done_progress_options: WorkDoneProgressOptions::default(),
            }),
            ..ServerCapabilities::default()
        }
    }
}

/// The files that clients are to tell of: Dockerfiles, and what says how they are checked and for what they are built.
/// Of others, whether they are there: `COPY` may name them.
pub(crate) fn watched() -> Registration {
    let any = |pattern: &str| json!({ "globPattern": pattern });
    let options = json!({ "watchers": [
        any("**/*{Dockerfile,dockerfile,Containerfile,containerfile}*"),
        any("**/*.dockerignore"),
        any("**/{rbx.toml,.hadolint.yaml,.hadolint.yml}"),
        any("**/.github/workflows/*.{yml,yaml}"),
        json!({ "globPattern": "**/*", "kind": 1 | 4 }),
    ] });
    let method = "workspace/didChangeWatchedFiles".to_owned();
    Registration { id: method.clone(), method, register_options: Some(options) }
}
