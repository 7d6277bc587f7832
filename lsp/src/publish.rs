//! The task that has diagnostics shown: it publishes them, or tells a client to pull them anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tower_lsp::Client;

use crate::checker::Checker;
use crate::documents::{Dirty, Snapshot};
use crate::newest::Newest;

/// Diagnostics of an edit are published when no other came for this long: a burst of edits is one publication. They are
/// worked out meanwhile.
const QUIET: Duration = Duration::from_millis(1);
/// Diagnostics that are this late are published even if they are of a text that has changed since.
const LONGEST: Duration = Duration::from_millis(300);
/// How long a client may take to say that it was told to pull diagnostics anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where documents go from here: more may be found out about them.
pub(crate) struct Next {
    /// Those for which registries may be asked.
    pub(crate) resting: Arc<Newest<Arc<Snapshot>>>,
    /// Those for which shellcheck may be asked, once their other diagnostics are shown.
    pub(crate) shown: Arc<Newest<Arc<Snapshot>>>,
}

/// Has the diagnostics of documents shown, one document at a time, at the pace at which the client takes them: only
/// those of the newest text of each.
pub(crate) async fn publish(client: Client, checker: Checker, dirty: Arc<Newest<Dirty>>, next: Next) {
    // Since when documents are shown with other diagnostics than they have.
    let mut late = HashMap::new();
    loop {
        let (uri, Dirty { snapshot, changed, edited, pulls }) = dirty.take().await;
        if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.online.is_some()) {
            next.resting.put(uri.clone(), Arc::clone(snapshot));
        }
        let with_scripts = snapshot.clone().filter(|snapshot| snapshot.shellcheck.is_some());
        let is_shown = |uri| {
            if let Some(snapshot) = with_scripts {
                next.shown.put(uri, snapshot);
            }
        };
        if pulls {
            // Of its own edits it knows by itself.
            if !edited {
                let _ = timeout(PATIENCE, client.workspace_diagnostic_refresh()).await;
            }
            is_shown(uri);
            continue;
        }
        let since = *late.entry(uri.clone()).or_insert(changed);
        let is_late = || since.elapsed() > LONGEST;
        let version = snapshot.as_ref().map(|snapshot| snapshot.version);
        let found = match snapshot {
            Some(snapshot) => checker.check(snapshot, is_late()).await,
            None => Some(Vec::new()),
        };
        // What has changed comes again.
        let Some(found) = found else { continue };
        let quiet = if edited { changed + QUIET } else { changed };
        while !dirty.has(&uri) && Instant::now() < quiet {
            tokio::select! {
                () = dirty.came() => {}
                () = sleep_until(quiet) => {}
            }
        }
        if !dirty.has(&uri) || is_late() {
            late.remove(&uri);
            client.publish_diagnostics(uri.clone(), found, version).await;
            is_shown(uri);
        }
    }
}
