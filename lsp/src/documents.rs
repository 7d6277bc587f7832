//! The task that owns the documents.
//!
//! Messages reach it in the order in which the client sent them, so that a request is answered on the text as it
//! was when the client asked, however many edits came right before. It works nothing out itself: what takes time
//! is done by whoever holds a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rbx_dockerfile::{Dockerfile, Names, Span};
use rbx_facts::{Registries, ShellCheck};
use rbx_lint::{FileConfig, Finding, ScriptComment};
use rbx_platform::Platform;
use rbx_project::{Configs, Platforms, Projects};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tower_lsp::ls_types::{
    Position, Range, SemanticToken, TextDocumentContentChangeEvent, TextDocumentItem, Uri,
};

use crate::builds::Settled;
use crate::capabilities::Abilities;
use crate::commands;
use crate::configuration::Configuration;
use crate::failures::{self, Built, Failure};
use crate::features::diagnostics::check;
use crate::features::tokens::tokens;
use crate::files::is_dockerfile;
use crate::meaning::Meaning;
use crate::newest::Newest;
use crate::online::Online;
use crate::outlook::{Answer, Outlook};
use crate::platforms::{Known, platforms};
use crate::surroundings::Surroundings;
use crate::text::Text;

/// What files on disk say is looked at again when none has changed for this long …
const SETTLE: Duration = Duration::from_millis(100);
/// … or they have changed for this long without a pause.
const LONGEST: Duration = Duration::from_secs(2);

/// What is told or asked of the task.
#[derive(Debug)]
pub(crate) enum Message {
    /// The client introduced itself.
    Introduce(Abilities),
    /// The user set something.
    Configure(Arc<Configuration>),
    /// A document was opened. What is no Dockerfile is as if it were not open.
    Open(TextDocumentItem),
    /// A document was edited.
    Change { uri: Uri, version: i32, changes: Vec<TextDocumentContentChangeEvent> },
    /// A document was closed.
    Close(Uri),
    /// A document as it is now is wanted; nothing is answered if it is not open.
    Snapshot(Uri, oneshot::Sender<Arc<Snapshot>>),
    /// All documents as they are now are wanted, in the order of their names.
    Snapshots(oneshot::Sender<Vec<Arc<Snapshot>>>),
    /// A build of a document, as it was then, has ended.
    Built(Arc<Snapshot>, Built),
    /// A dry run of a document, as it was then, has ended.
    Probed(Arc<Snapshot>, Option<Answer>),
    /// A document was saved, or is to be looked at again for another reason: files beside it may have changed.
    Look(Uri),
    /// More is kept of what registries said.
    Learned,
    /// Files on disk have changed.
    Files(Vec<PathBuf>),
    /// What a document would be that has this text, if it were open; if it is open, the document as it is.
    Standing(Uri, String, oneshot::Sender<Arc<Snapshot>>),
    /// What shellcheck says of the scripts of a document, as it was then.
    Scripts(Uri, Scripts),
}

/// What shellcheck says of scripts, by their texts.
pub(crate) type Scripts = Arc<BTreeMap<String, Vec<ScriptComment>>>;

/// A document at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Its name.
    pub(crate) uri: Uri,
    /// What the client calls this state of the document.
    pub(crate) version: i32,
    /// What is written.
    pub(crate) text: Text,
    /// What the client can do.
    pub(crate) abilities: Abilities,
    /// What the user set.
    pub(crate) configuration: Arc<Configuration>,
    /// What files are built for where nobody says it.
    pub(crate) default_platforms: Arc<[Platform]>,
    /// What registries said before.
    pub(crate) registries: Arc<Registries>,
    /// Registries, if the user allows that they are asked.
    pub(crate) online: Option<Arc<Online>>,
    /// What looks at scripts, where it is installed and wanted.
    pub(crate) shellcheck: Option<Arc<ShellCheck>>,
    /// What it said of scripts.
    pub(crate) scripts: Scripts,
    /// What is known of the repositories that documents are in.
    projects: Arc<Projects>,
    configs: Arc<Configs>,
    /// What is left of builds that failed.
    pub(crate) failures: Vec<Failure>,
    /// What is known of its steps.
    pub(crate) outlook: Option<Arc<Outlook>>,
    /// There is a newer one, or none any more.
    outdated: AtomicBool,
    tree: OnceLock<Dockerfile>,
    names: OnceLock<Names>,
    tokens: OnceLock<Arc<[SemanticToken]>>,
    config: OnceLock<Result<FileConfig, String>>,
    findings: OnceLock<Vec<Finding>>,
    pub(crate) meaning: Meaning,
}

impl Snapshot {
    /// What it means.
    pub(crate) fn tree(&self) -> &Dockerfile {
        self.tree.get_or_init(|| rbx_dockerfile::parse(self.text.as_str()))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> &Names {
        self.names.get_or_init(|| rbx_dockerfile::names(self.tree(), &rbx_lint::shell_reads(self.tree())))
    }

    /// What its words are.
    pub(crate) fn tokens(&self) -> Arc<[SemanticToken]> {
        Arc::clone(self.tokens.get_or_init(|| tokens(self).into()))
    }

    /// What is wrong with it for its platforms.
    pub(crate) fn findings(&self) -> &[Finding] {
        self.findings.get_or_init(|| check(self, || false).unwrap_or_default())
    }

    /// The same, but nothing if there is a newer snapshot before it is known.
    pub(crate) fn findings_unless_outdated(&self) -> Option<&[Finding]> {
        if self.findings.get().is_none() {
            let found = check(self, || self.is_outdated())?;
            // It may be known by now.
            let _ = self.findings.set(found);
        }
        self.findings.get().map(Vec::as_slice)
    }

    /// Whether there is a newer one, or none any more.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// The same, if it was looked for already.
    pub(crate) fn known_findings(&self) -> &[Finding] {
        self.findings.get().map_or(&[], Vec::as_slice)
    }

    /// How its project wants it to be checked, or why nobody knows.
    pub(crate) fn config(&self) -> &Result<FileConfig, String> {
        self.config.get_or_init(|| {
            let path = commands::path(&self.uri);
            let Some((path, directory)) = path.as_deref().and_then(|path| Some((path, path.parent()?)))
            else {
                return Ok(FileConfig::default());
            };
            self.configs.of(directory, path.file_name().and_then(|name| name.to_str()), None)
        })
    }

    /// What it is built for.
    pub(crate) fn platforms(&self) -> Platforms {
        let path = commands::path(&self.uri);
        let of_client = &self.configuration.platforms;
        let of_project = || self.config().as_ref().map_or(&[][..], |config| &config.platforms);
        let known = Known {
            configured: if of_client.is_empty() { of_project() } else { of_client },
            default: &self.default_platforms,
            projects: &self.projects,
            path: path.as_deref(),
        };
        platforms(self.tree(), known)
    }

    /// Where a span is, as the client counts.
    pub(crate) fn range(&self, span: Span) -> Range {
        self.text.range(span.range(), self.abilities.encoding)
    }

    /// The byte at a place.
    pub(crate) fn offset(&self, position: Position) -> u32 {
        u32::try_from(self.text.offset(position, self.abilities.encoding)).unwrap_or(u32::MAX)
    }
}

/// A document whose diagnostics are out of date.
#[derive(Debug)]
pub(crate) struct Dirty {
    /// What it is now; none if it was closed.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// When it changed.
    pub(crate) changed: Instant,
    /// The client knows: it has edited, opened or closed it.
    pub(crate) edited: bool,
    /// The client pulls diagnostics.
    pub(crate) pulls: bool,
}

struct Document {
    version: i32,
    text: Text,
    failures: Vec<Failure>,
    outlook: Option<Arc<Outlook>>,
    /// What the last build from this editor did.
    last: Option<Outlook>,
    scripts: Scripts,
    snapshot: Option<Arc<Snapshot>>,
}

impl Document {
    /// One that was just opened.
    fn new(version: i32, text: String) -> Self {
        Self {
            version,
            text: Text::new(text),
            failures: Vec::new(),
            outlook: None,
            last: None,
            scripts: Scripts::default(),
            snapshot: None,
        }
    }

    /// It is not what it was.
    fn outdate(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.outdated.store(true, Ordering::Relaxed);
        }
    }
}

/// Owns the documents until the other end of `inbox` is dropped. `generation` moves on when documents may have other
/// diagnostics without having been edited.
pub(crate) async fn own(
    mut inbox: mpsc::UnboundedReceiver<Message>,
    dirty: Arc<Newest<Dirty>>,
    generation: watch::Sender<u64>,
    settled: mpsc::UnboundedSender<Settled>,
    surroundings: Surroundings,
) {
    let mut documents = Documents::new(surroundings);
    loop {
        let message = match documents.due() {
            Some(due) => tokio::time::timeout_at(due, inbox.recv()).await,
            None => Ok(inbox.recv().await),
        };
        match message {
            Ok(Some(message)) => {
                documents.take(message);
                // What came with it.
                while let Ok(message) = inbox.try_recv() {
                    documents.take(message);
                }
            }
            Ok(None) => break,
            Err(_) => documents.look_again(),
        }
        if std::mem::take(&mut documents.moved_on) {
            generation.send_modify(|generation| *generation += 1);
        }
        for (uri, document) in documents.dirty() {
            let _ = settled.send(match &document.snapshot {
                Some(snapshot) => Settled::Document(Arc::clone(snapshot)),
                None => Settled::Closed(uri.clone()),
            });
            dirty.put(uri, document);
        }
    }
}

struct Documents {
    abilities: Abilities,
    configuration: Arc<Configuration>,
    default_platforms: Arc<[Platform]>,
    /// Where it is kept what registries said.
    kept: Option<PathBuf>,
    online: Arc<Online>,
    shellcheck: Option<Arc<ShellCheck>>,
    /// Read anew when a document is opened, as are projects.
    registries: Arc<Registries>,
    projects: Arc<Projects>,
    configs: Arc<Configs>,
    open: HashMap<Uri, Document>,
    /// Documents whose diagnostics are out of date, and whether the client knows.
    dirty: BTreeMap<Uri, bool>,
    /// When the first file changed that was not looked at again yet, and when the last.
    files: Option<(Instant, Instant)>,
    /// Documents may have other diagnostics without having been edited.
    moved_on: bool,
}

impl Documents {
    fn new(surroundings: Surroundings) -> Self {
        let Surroundings { platforms, registries: kept, setup, path, .. } = surroundings;
        Self {
            abilities: Abilities::default(),
            configuration: Arc::default(),
            default_platforms: platforms.into(),
            online: Arc::new(Online::new(setup, kept.clone())),
            shellcheck: path.as_deref().and_then(ShellCheck::find).map(Arc::new),
            registries: Arc::new(Registries::new(None, kept.clone())),
            kept,
            projects: Arc::default(),
            configs: Arc::default(),
            open: HashMap::new(),
            dirty: BTreeMap::new(),
            files: None,
            moved_on: false,
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Introduce(abilities) => self.abilities = abilities,
            Message::Configure(configuration) => {
                if configuration != self.configuration {
                    self.configuration = configuration;
                    // It was of another builder, or of other platforms.
                    self.open.values_mut().for_each(|document| document.outlook = None);
                    self.touch_all();
                }
            }
            Message::Learned => {
                self.registries = Arc::new(Registries::new(None, self.kept.clone()));
                self.touch_all();
            }
            Message::Scripts(uri, scripts) => {
                if let Some(document) = self.open.get_mut(&uri) {
                    document.scripts = scripts;
                    document.outdate();
                    self.touch(uri);
                }
            }
            Message::Open(item) if !is_dockerfile(&item) => {
                tracing::debug!(uri = item.uri.as_str(), language = item.language_id, "no Dockerfile");
                // It may have been one before.
                self.take(Message::Close(item.uri));
            }
            Message::Open(item) => {
                self.registries = Arc::new(Registries::new(None, self.kept.clone()));
                self.projects = Arc::default();
                let document = Document::new(item.version, item.text);
                if let Some(mut older) = self.open.insert(item.uri.clone(), document) {
                    older.outdate();
                }
                self.dirty.insert(item.uri, true);
            }
            Message::Change { uri, version, changes } => {
                let Some(document) = self.open.get_mut(&uri) else {
                    tracing::debug!(uri = uri.as_str(), "edit of a document that is not open");
                    return;
                };
                let encoding = self.abilities.encoding;
                for change in changes {
                    let follows = !document.failures.is_empty()
                        || document.outlook.is_some()
                        || document.last.is_some();
                    let old = follows.then(|| document.text.as_str().to_owned());
                    document.text.change(change, encoding);
                    if let Some(old) = old {
                        let new = document.text.as_str();
                        failures::change(&mut document.failures, &old, new);
                        if let Some(outlook) = &mut document.outlook {
                            Arc::make_mut(outlook).change(&old, new);
                        }
                        if let Some(last) = &mut document.last {
                            last.change(&old, new);
                        }
                    }
                }
                document.version = version;
                document.outdate();
                self.dirty.insert(uri, true);
            }
            Message::Close(uri) => {
                if let Some(mut document) = self.open.remove(&uri) {
                    document.outdate();
                    self.dirty.insert(uri, true);
                }
            }
            Message::Snapshot(uri, answer) => {
                if let Some(snapshot) = self.snapshot(&uri) {
                    let _ = answer.send(snapshot);
                }
            }
            Message::Snapshots(answer) => {
                let mut uris: Vec<Uri> = self.open.keys().cloned().collect();
                uris.sort();
                let _ = answer.send(uris.iter().filter_map(|uri| self.snapshot(uri)).collect());
            }
            Message::Built(of, built) => {
                if let Some(document) = self.open.get_mut(&of.uri) {
                    let now = document.text.as_str();
                    let mut last = built.steps.clone();
                    last.change(of.text.as_str(), now);
                    document.last = Some(last);
                    failures::take(&mut document.failures, built, of.text.as_str(), now);
                    document.outdate();
                    self.touch(of.uri.clone());
                }
            }
            Message::Probed(of, answer) => {
                let Some(document) = self.open.get_mut(&of.uri) else { return };
                let chosen = of.configuration.builder.clone().unwrap_or_default();
                // What another builder did says nothing of this one.
                let last = document.last.as_ref().filter(|last| last.builder == chosen);
                let now = document.text.as_str();
                document.outlook = answer.map(|answer| {
                    let mut outlook = answer.outlook(of.text.as_str(), last);
                    if !outlook.of_last_build {
                        outlook.change(of.text.as_str(), now);
                    }
                    Arc::new(outlook)
                });
                document.snapshot = None;
            }
            Message::Look(uri) => {
                if let Some(document) = self.open.get_mut(&uri) {
                    document.outdate();
                    self.projects = Arc::default();
                    self.configs = Arc::default();
                    self.touch(uri);
                }
            }
            Message::Files(paths) => {
                if paths.iter().any(|path| !self.is_open(path)) {
                    let now = Instant::now();
                    self.files = Some((self.files.map_or(now, |(first, _)| first), now));
                }
            }
            Message::Standing(uri, text, answer) => {
                let snapshot =
                    self.snapshot(&uri).unwrap_or_else(|| Arc::new(self.make(&uri, &Document::new(0, text))));
                let _ = answer.send(snapshot);
            }
        }
    }

    /// Whether a file is open, so that it does not matter what is on disk.
    fn is_open(&self, path: &Path) -> bool {
        Uri::from_file_path(path).is_some_and(|uri| self.open.contains_key(&uri))
    }

    /// Takes note that files have changed.
    fn look_again(&mut self) {
        self.files = None;
        self.projects = Arc::default();
        self.touch_all();
    }

    fn snapshot(&mut self, uri: &Uri) -> Option<Arc<Snapshot>> {
        let document = self.open.get(uri)?;
        if let Some(snapshot) = &document.snapshot {
            return Some(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.make(uri, document));
        self.open.get_mut(uri)?.snapshot = Some(Arc::clone(&snapshot));
        Some(snapshot)
    }

    /// A document as it is now.
    fn make(&self, uri: &Uri, document: &Document) -> Snapshot {
        Snapshot {
            uri: uri.clone(),
            version: document.version,
            text: document.text.clone(),
            abilities: self.abilities,
            configuration: Arc::clone(&self.configuration),
            default_platforms: Arc::clone(&self.default_platforms),
            registries: Arc::clone(&self.registries),
            online: self.configuration.online.then(|| Arc::clone(&self.online)),
            shellcheck: self.shellcheck.clone().filter(|_| !self.configuration.without_shellcheck),
            scripts: Arc::clone(&document.scripts),
            projects: Arc::clone(&self.projects),
            configs: Arc::clone(&self.configs),
            failures: document.failures.clone(),
            outlook: document.outlook.clone(),
            outdated: AtomicBool::new(false),
            tree: OnceLock::new(),
            names: OnceLock::new(),
            tokens: OnceLock::new(),
            config: OnceLock::new(),
            findings: OnceLock::new(),
            meaning: Meaning::default(),
        }
    }

    fn touch_all(&mut self) {
        let uris: Vec<Uri> = self.open.keys().cloned().collect();
        self.open.values_mut().for_each(Document::outdate);
        for uri in uris {
            self.touch(uri);
        }
        self.moved_on = true;
    }

    /// The diagnostics of a document are out of date, and the client does not know.
    fn touch(&mut self, uri: Uri) {
        self.dirty.entry(uri).or_insert(false);
        self.moved_on = true;
    }

    /// When files are to be looked at again.
    fn due(&self) -> Option<Instant> {
        self.files.map(|(first, last)| (last + SETTLE).min(first + LONGEST))
    }

    /// The documents whose diagnostics are out of date.
    fn dirty(&mut self) -> Vec<(Uri, Dirty)> {
        let (changed, pulls) = (Instant::now(), self.abilities.pulls);
        let dirty = std::mem::take(&mut self.dirty).into_iter();
        let dirty = dirty.map(|(uri, edited)| {
            let snapshot = self.snapshot(&uri);
            (uri, Dirty { snapshot, changed, edited, pulls })
        });
        dirty.collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A document as the task would hand it out, with these settings, to a client with these abilities.
    pub(crate) fn snapshot_of(
        text: &str,
        settings: &serde_json::Value,
        abilities: Abilities,
    ) -> Arc<Snapshot> {
        let mut documents = Documents::new(Surroundings::default());
        documents.take(Message::Introduce(abilities));
        let mut configuration = Configuration::default();
        assert_eq!(configuration.apply(settings), [""; 0]);
        documents.take(Message::Configure(Arc::new(configuration)));
        let uri: Uri = "untitled:Dockerfile".parse().unwrap();
        let (language_id, text) = ("dockerfile".to_owned(), text.to_owned());
        documents.take(Message::Open(TextDocumentItem { uri: uri.clone(), language_id, version: 1, text }));
        documents.snapshot(&uri).unwrap()
    }
}
