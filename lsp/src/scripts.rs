//! Asking shellcheck, where it is installed, about the scripts of documents whose other findings are published.

use std::collections::HashMap;
use std::sync::Arc;

use rbx_lint::wanted_scripts;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower_lsp::ls_types::Uri;

use crate::documents::{Message, Scripts, Snapshot};
use crate::newest::Newest;

/// Asks about each document that is `shown`, one at a time, and tells the owner what is new. A newer text of a document
/// ends what is asked about the one before.
pub(crate) async fn inspect(shown: Arc<Newest<Arc<Snapshot>>>, owner: mpsc::UnboundedSender<Message>) {
    // What it cannot say is not asked for again: the scripts that were asked about last.
    let mut asked: HashMap<Uri, Vec<String>> = HashMap::new();
    loop {
        let (uri, snapshot) = shown.take().await;
        let before = asked.remove(&uri).unwrap_or_default();
        let outdated = CancellationToken::new();
        // Whoever drops this future ends the program, too.
        let _guard = outdated.clone().drop_guard();
        let ended = outdated.clone();
        let mut answer = tokio::task::spawn_blocking(move || said(&snapshot, before, &ended));
        let said = loop {
            tokio::select! {
                said = &mut answer => break said.ok(),
                () = shown.came() => if shown.has(&uri) {
                    outdated.cancel();
                },
            }
        };
        let Some((wanted, scripts)) = said else { continue };
        asked.insert(uri.clone(), wanted);
        if let Some(scripts) = scripts.filter(|_| !outdated.is_cancelled()) {
            // The owner lives as long as the server.
            let _ = owner.send(Message::Scripts(uri, scripts));
        }
    }
}

/// The scripts of a document, and what shellcheck says of them if that is news.
fn said(
    snapshot: &Snapshot,
    before: Vec<String>,
    outdated: &CancellationToken,
) -> (Vec<String>, Option<Scripts>) {
    let (file, request) = (snapshot.tree(), snapshot.request());
    let mut facts = snapshot.recalled().clone();
    facts.scripts = (*snapshot.scripts).clone();
    let wanted = wanted_scripts(file, request, &facts);
    let Some(program) = snapshot.shellcheck.as_ref().filter(|_| wanted != before) else {
        return (wanted, None);
    };
    if let Err(reason) = program.learn(file, request, &mut facts, || !outdated.is_cancelled()) {
        if outdated.is_cancelled() {
            return (before, None);
        }
        tracing::warn!("{reason}");
    }
    // What is no part of the document any more need not be kept.
    facts.scripts.retain(|script, _| wanted.contains(script));
    let news = (facts.scripts != *snapshot.scripts).then(|| Arc::new(facts.scripts));
    (wanted, news)
}
