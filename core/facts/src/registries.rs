//! What registries have under names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use rbx_dockerfile::{BaseFacts, Dockerfile};
use rbx_lint::{Evaluated, Facts, ImageFacts, IndexEntry, Request, base_facts, wanted_images};
use rbx_oci::{Descriptor, Digest, Document, ImageConfig, Index, Manifest, Reference};
use rbx_platform::Platform;
use rbx_registry::{Client, RegistryError};
use tokio::io::AsyncReadExt as _;

use crate::cache::Cache;

/// How long what a tag stood for is taken as it was, where a registry can be asked.
const FRESH: Duration = Duration::from_mins(10);
/// The same, where none can be asked.
const USABLE: Duration = Duration::from_hours(24);
/// Names that are looked up at a time.
const AT_ONCE: usize = 8;
/// How long one name may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often what was learned may make a Dockerfile ask for more: triggers of an image name others.
const MAX_ROUNDS: usize = 8;
/// Images of an index that are taken note of, at most.
const MAX_ENTRIES: usize = 200;
/// Bytes of a configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// Registries, and what they said before. Without a client, only that.
#[derive(Debug)]
pub struct Registries {
    client: Option<Client>,
    cache: Option<Cache>,
    /// What was looked up already, since one image is the base of many files. `None` is what could not be learned.
    known: Mutex<BTreeMap<String, Option<Known>>>,
}

/// What is known of a name.
#[derive(Debug, Clone)]
struct Known {
    image: ImageFacts,
    bases: BTreeMap<Platform, BaseFacts>,
    /// The platforms that it was looked up for.
    platforms: BTreeSet<Platform>,
}

/// What an image's configuration says.
struct Config {
    platform: Platform,
    facts: BaseFacts,
}

/// Why a name is not known.
pub(crate) enum Failure {
    /// Nobody can be asked.
    Offline,
    Registry(String),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error.to_string())
    }
}

impl Registries {
    /// Registries that are asked through `client`, if there is one. What they say is kept in the directory `cache`, if
    /// there is one; without a client it is read only.
    pub fn new(client: Option<Client>, cache: Option<PathBuf>) -> Self {
        let cache = cache.map(Cache::new);
        if let (Some(_), Some(cache)) = (&client, &cache) {
            cache.sweep();
        }
        Self { client, cache, known: Mutex::default() }
    }

    /// What asks them.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Learns what a Dockerfile asks to know of images; answers what could not be learned, and why. Of what one
    /// instance could not learn, it says so once.
    pub async fn learn(&self, file: &Dockerfile, request: &Request, facts: &mut Facts) -> Vec<String> {
        self.learn_evaluated(file, request, facts).await.0
    }

    /// The same; answers what the Dockerfile means with the facts, too.
    async fn learn_evaluated(
        &self,
        file: &Dockerfile,
        request: &Request,
        facts: &mut Facts,
    ) -> (Vec<String>, Evaluated) {
        let mut problems = Vec::new();
        let mut asked: BTreeSet<(String, BTreeSet<Platform>)> = BTreeSet::new();
        let mut evaluated = Evaluated::new(file, request, facts);
        for _ in 0..MAX_ROUNDS {
            let wanted = wanted_images(file, &evaluated, facts);
            let new: Vec<_> = wanted.into_iter().filter(|one| asked.insert(one.clone())).collect();
            if new.is_empty() {
                break;
            }
            let learned = futures::stream::iter(new)
                .map(|(name, platforms)| async move {
                    let known = self.known(&name, &platforms).await;
                    (name, known)
                })
                .buffer_unordered(AT_ONCE);
            let mut learned: Vec<_> = learned.collect().await;
            learned.sort_by(|one, other| one.0.cmp(&other.0));
            let mut means_more = false;
            for (name, known) in learned {
                match known {
                    Ok(Some(known)) => {
                        for (platform, base) in known.bases {
                            facts.bases.insert((name.clone(), platform), base);
                            means_more = true;
                        }
                        facts.images.insert(name, known.image);
                    }
                    Ok(None) => {}
                    Err(problem) => problems.push(problem),
                }
            }
            if means_more {
                evaluated = Evaluated::new(file, request, facts);
            }
        }
        (problems, evaluated)
    }

    /// Learns what is remembered, without asking anybody: with a client, nothing. Answers what the Dockerfile means with
    /// the facts.
    pub fn recall(&self, file: &Dockerfile, request: &Request, facts: &mut Facts) -> Evaluated {
        let remembers = self.client.is_none() && self.cache.as_ref().is_some_and(Cache::exists);
        // Nothing in it waits for anything.
        let learned = remembers.then(|| self.learn_evaluated(file, request, facts).now_or_never());
        match learned.flatten() {
            Some((_, evaluated)) => evaluated,
            None => Evaluated::new(file, request, facts),
        }
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<String, Option<Known>>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn known(&self, name: &str, platforms: &BTreeSet<Platform>) -> Result<Option<Known>, String> {
        let before = self.memory().get(name).cloned();
        let mut platforms = platforms.clone();
        match before {
            Some(None) => return Ok(None),
            Some(Some(known)) if platforms.is_subset(&known.platforms) => return Ok(Some(known)),
            Some(Some(known)) => platforms.extend(known.platforms),
            None => {}
        }
        let Ok(reference) = Reference::parse(name) else { return Ok(None) };
        let looked_up = match self.client {
            Some(_) => match tokio::time::timeout(PATIENCE, self.look_up(&reference, &platforms)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Registry(format!("no answer in time: {reference}"))),
            },
            None => self.look_up(&reference, &platforms).await,
        };
        let (known, result) = match looked_up {
            Ok((image, bases)) => {
                let known = Known { image, bases, platforms };
                (Some(known.clone()), Ok(Some(known)))
            }
            Err(Failure::Offline) => (None, Ok(None)),
            Err(Failure::Registry(reason)) => (None, Err(reason)),
        };
        // What nobody was asked about may be learned by another program.
        if known.is_some() || self.client.is_some() {
            self.memory().insert(name.to_owned(), known);
        }
        result
    }

    async fn look_up(
        &self,
        reference: &Reference,
        platforms: &BTreeSet<Platform>,
    ) -> Result<(ImageFacts, BTreeMap<Platform, BaseFacts>), Failure> {
        let mut bases = BTreeMap::new();
        let Some(digest) = self.digest(reference).await? else { return Ok((ImageFacts::Missing, bases)) };
        let image = match self.document(reference, &digest).await? {
            Document::Manifest(manifest) => {
                let config = self.config(reference, &manifest).await?;
                bases.extend(platforms.iter().map(|platform| (platform.clone(), config.facts.clone())));
                ImageFacts::Manifest { digest: digest.to_string(), platform: Some(config.platform) }
            }
            Document::Index(index) => {
                let mut image = ImageFacts::Index { digest: digest.to_string(), entries: entries(&index) };
                for platform in platforms {
                    let Some(picked) = image.picked(platform).map(|entry| entry.digest.clone()) else {
                        continue;
                    };
                    let Ok(picked) = Digest::parse(&picked) else { continue };
                    // An index in an index is not looked into.
                    let Document::Manifest(manifest) = self.document(reference, &picked).await? else {
                        continue;
                    };
                    let config = self.config(reference, &manifest).await?;
                    bases.insert(platform.clone(), config.facts);
                    if let ImageFacts::Index { entries, .. } = &mut image {
                        let picked = picked.to_string();
                        let of_it = entries.iter_mut().filter(|entry| entry.digest == picked);
                        of_it.for_each(|entry| entry.config = Some(config.platform.clone()));
                    }
                }
                image
            }
        };
        Ok((image, bases))
    }

    /// What a name stands for: asked without fetching it, which does not count against the limit of Docker Hub.
    pub(crate) async fn digest(&self, reference: &Reference) -> Result<Option<Digest>, Failure> {
        if let Some(digest) = reference.digest() {
            return Ok(Some(digest));
        }
        let name = reference.to_string();
        let life = if self.client.is_some() { FRESH } else { USABLE };
        if let Some(answer) = self.cache.as_ref().and_then(|cache| cache.answer(&name, life)) {
            return Ok(answer);
        }
        let client = self.client.as_ref().ok_or(Failure::Offline)?;
        let answer = match client.resolve(reference).await {
            Ok(descriptor) => Some(descriptor.digest),
            Err(RegistryError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(cache) = &self.cache {
            cache.remember(&name, answer.as_ref());
        }
        Ok(answer)
    }

    pub(crate) async fn document(&self, reference: &Reference, digest: &Digest) -> Result<Document, Failure> {
        let bytes = if let Some(bytes) = self.cached(digest) {
            bytes
        } else {
            let client = self.client.as_ref().ok_or(Failure::Offline)?;
            let bytes = client.manifest(&reference.at_digest(*digest)).await?.bytes;
            self.keep(&bytes);
            bytes
        };
        Document::parse(&bytes).map_err(|error| Failure::Registry(format!("{error}: {reference}")))
    }

    async fn config(&self, reference: &Reference, manifest: &Manifest) -> Result<Config, Failure> {
        let config = self.configuration(reference, manifest).await?;
        Ok(Config { platform: config.platform().normalized(), facts: base_facts(&config) })
    }

    pub(crate) async fn configuration(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<ImageConfig, Failure> {
        let descriptor = &manifest.config;
        let bytes = if let Some(bytes) = self.cached(&descriptor.digest) {
            bytes
        } else {
            let bytes = self.fetch(reference, descriptor).await?;
            self.keep(&bytes);
            bytes
        };
        ImageConfig::parse(&bytes).map_err(|error| Failure::Registry(format!("{error}: {reference}")))
    }

    async fn fetch(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let client = self.client.as_ref().ok_or(Failure::Offline)?;
        if descriptor.size > MAX_CONFIG {
            return Err(Failure::Registry(format!("the configuration of {reference} is too large")));
        }
        let mut bytes = Vec::new();
        let mut stream = client.blob(reference, descriptor).await?;
        let failed = |error: std::io::Error| {
            Failure::Registry(format!("{error}: failed to fetch the configuration of {reference}"))
        };
        stream.read_to_end(&mut bytes).await.map_err(failed)?;
        Ok(bytes)
    }

    fn cached(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.cache.as_ref()?.document(digest)
    }

    fn keep(&self, bytes: &[u8]) {
        if let Some(cache) = &self.cache {
            cache.keep(bytes);
        }
    }
}

/// The images of an index: attestations are for no platform.
pub(crate) fn entries(index: &Index) -> Vec<IndexEntry> {
    let is_image = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform.is_none_or(|platform| platform.os != "unknown" && platform.architecture != "unknown")
            && !entry.annotations.contains_key("vnd.docker.reference.type")
    };
    let entry = |entry: &Descriptor| IndexEntry {
        digest: entry.digest.to_string(),
        platform: entry.platform.as_ref().map(|platform| Platform::from(platform).normalized()),
        config: None,
    };
    index.manifests.iter().filter(is_image).take(MAX_ENTRIES).map(entry).collect()
}
