//! Registries, which are asked only where the user allows it (`rbx.online`): a snapshot has them then, and else not.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rbx_dockerfile::Dockerfile;
use rbx_facts::Registries;
use rbx_lint::{Facts, Request};
use rbx_registry::{Client, Setup};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;
use tower_lsp::ls_types::{MessageType, Uri};

use crate::documents::{Message, Snapshot};
use crate::newest::Newest;

/// How long somebody who looks at the screen waits for registries, at the longest.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long documents have to rest for registries to be asked about their images: names are typed letter by letter.
const REST: Duration = Duration::from_secs(1);
/// How long the tags of a repository are taken as they were.
const FRESH: Duration = Duration::from_mins(10);
/// Repositories whose tags are kept, at most.
const MAX_REPOSITORIES: usize = 50;

/// The tags of a repository, and when they were asked for.
type Tags = (Instant, Arc<[String]>);

/// Registries that may be asked. What they say is kept on disk, where `docker rbx check` has it, too.
#[derive(Debug)]
pub(crate) struct Online {
    setup: Setup,
    /// Where it is kept what they say.
    kept: Option<PathBuf>,
    /// The tags of repositories, taken again for some minutes.
    tags: Mutex<HashMap<String, Tags>>,
    /// Made when they are asked for the first time.
    asked: OnceCell<Option<Registries>>,
}

impl Online {
    pub(crate) fn new(setup: Setup, kept: Option<PathBuf>) -> Self {
        Self { setup, kept, tags: Mutex::default(), asked: OnceCell::new() }
    }

    /// Learns what a Dockerfile asks to know of images (or what is kept of that); answers what could not be learned in
    /// time, and why. A name is not asked for twice.
    pub(crate) async fn learn(&self, file: &Dockerfile, request: &Request, facts: &mut Facts) -> Vec<String> {
        let Some(registries) = self.registries().await else { return Vec::new() };
        let learning = registries.learn(file, request, facts);
        Self::in_time(learning).await.unwrap_or_else(|| vec!["registries did not answer in time".to_owned()])
    }

    /// The tags of a repository; none if they cannot be learned in time.
    pub(crate) async fn tags(&self, repository: &str) -> Arc<[String]> {
        // Nothing panics while it holds the lock.
        let lock = || self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(repository).cloned();
        if let Some((_, tags)) = known.filter(|(asked, _)| asked.elapsed() < FRESH) {
            return tags;
        }
        let Some(registries) = self.registries().await else { return Arc::default() };
        let answer = Self::in_time(registries.tags(repository)).await;
        let tags: Arc<[String]> = match answer {
            Some(Ok(tags)) => tags.into(),
            Some(Err(problem)) => {
                tracing::info!("{problem}: no tags to offer");
                Arc::default()
            }
            // It may answer the next time.
            None => return Arc::default(),
        };
        let mut all = lock();
        if all.len() >= MAX_REPOSITORIES {
            all.clear();
        }
        all.insert(repository.to_owned(), (Instant::now(), Arc::clone(&tags)));
        tags
    }

    /// What registries answer, if they do so while somebody waits.
    pub(crate) async fn in_time<T>(asking: impl Future<Output = T>) -> Option<T> {
        timeout(PATIENCE, asking).await.ok()
    }

    /// Those that are asked, with what is kept of their answers; none if they are set up wrongly.
    pub(crate) async fn registries(&self) -> Option<&Registries> {
        let make = || async {
            let (setup, kept) = (self.setup.clone(), self.kept.clone());
            // It reads files, those of the authorities that are trusted among them.
            let made = tokio::task::spawn_blocking(move || {
                let config = setup.config().map_err(|error| error.to_string())?;
                let client = Client::new(config).map_err(|error| error.to_string())?;
                Ok::<_, String>(Registries::new(Some(client), kept))
            });
            let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
            made.inspect_err(|error| tracing::error!("{error}: registries cannot be asked")).ok()
        };
        self.asked.get_or_init(make).await.as_ref()
    }
}

/// Learns what documents ask to know of images, and tells the owner if that is news: findings may depend on it.
pub(crate) async fn learn(
    client: tower_lsp::Client,
    resting: Arc<Newest<Arc<Snapshot>>>,
    owner: mpsc::UnboundedSender<Message>,
) {
    // The versions that were asked about: what cannot be kept would be news each time.
    let mut learned: HashMap<Uri, i32> = HashMap::new();
    loop {
        let (uri, snapshot) = resting.take().await;
        while timeout(REST, resting.came()).await.is_ok() {}
        let is_new = !resting.has(&uri) && learned.insert(uri, snapshot.version) != Some(snapshot.version);
        let Some(online) = snapshot.online.as_ref().filter(|_| is_new) else { continue };
        let (known, mut facts) = (snapshot.recalled(), Facts::default());
        for problem in online.learn(snapshot.tree(), snapshot.request(), &mut facts).await {
            client.log_message(MessageType::WARNING, format!("{problem}: not checked")).await;
        }
        if known.images != facts.images || known.bases != facts.bases {
            // The owner lives as long as the server.
            let _ = owner.send(Message::Learned);
        }
    }
}
