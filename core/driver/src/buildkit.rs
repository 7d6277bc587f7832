//! What is asked of a node's `BuildKit`, whichever driver brought it there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use rbx_buildkit::{Client, Device, Dial, GcPolicy, Io, Worker};
use rbx_platform::Platform;
use rbx_request::Features;

use crate::driver::Status;
use crate::error::DriverError;

/// Where workers of an Engine that keeps images in containerd say which snapshotter they have; others have none.
const SNAPSHOTTER: &str = "org.mobyproject.buildkit.worker.snapshotter";

/// What there is to know of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// How it is. All but this and the features is empty where it does not run.
    pub status: Status,
    /// Why it does not answer though it runs.
    pub error: Option<String>,
    /// The version of what builds there; empty if that is not said.
    pub version: String,
    /// The workers' ids.
    pub ids: Vec<String>,
    /// The platforms that its workers run, as they say them.
    pub platforms: Vec<Platform>,
    /// What its first worker says about itself.
    pub labels: BTreeMap<String, String>,
    /// Devices that steps can ask for.
    pub devices: Vec<Device>,
    /// The rules by which its first worker drops what it has cached.
    pub gc_policies: Vec<GcPolicy>,
    /// What it can do.
    pub features: Features,
}

impl Details {
    /// Those of a node of which only this is known.
    pub fn of(status: Status, features: Features) -> Self {
        Self { status, features, ..Self::default() }
    }
}

/// Whether an Engine with these workers keeps images in containerd.
pub(crate) fn in_containerd(workers: &[Worker]) -> bool {
    workers.iter().any(|worker| worker.labels.contains_key(SNAPSHOTTER))
}

/// Asks a daemon what there is to know. `features` says what it can do, given its workers.
pub(crate) async fn ask(
    client: &Client,
    features: impl FnOnce(&[Worker]) -> Features,
) -> Result<Details, DriverError> {
    let (workers, version) = futures::join!(client.workers(), client.info());
    let workers = workers.map_err(|error| DriverError::from_daemon("listing workers: ", &error))?;
    let version = version.ok().flatten().map(|version| version.version).unwrap_or_default();
    let mut details = Details { status: Status::Running, version, ..Details::default() };
    details.features = features(&workers);
    for (index, worker) in workers.into_iter().enumerate() {
        details.ids.push(worker.id);
        for platform in worker.platforms {
            if !details.platforms.contains(&platform) {
                details.platforms.push(platform);
            }
        }
        if index == 0 {
            details.labels = worker.labels;
            details.gc_policies = worker.gc_policies;
        }
        details.devices = worker.devices;
    }
    details.ids.sort();
    Ok(details)
}

/// Connects to a daemon. Where it cannot be reached, the error is that of whoever knows the way.
pub(crate) async fn connect(dial: Arc<dyn Dial>) -> Result<Client, DriverError> {
    let dial = Arc::new(Remembering { inner: dial, failed: Mutex::default() });
    Client::connect(Arc::clone(&dial) as _).await.map_err(|error| {
        let failed = dial.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.unwrap_or_else(|| DriverError::from_daemon("", &error))
    })
}

/// A way that remembers why it last failed: of an error that goes through a client only the words come out.
#[derive(Debug)]
struct Remembering {
    inner: Arc<dyn Dial>,
    failed: Mutex<Option<DriverError>>,
}

impl Remembering {
    fn remember(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        let error = match error.downcast::<DriverError>() {
            Ok(error) => error,
            Err(error) => return error,
        };
        let shown = io::Error::new(kind, error.to_string());
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        shown
    }
}

impl Dial for Remembering {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async { self.inner.dial().await.map_err(|error| self.remember(error)) })
    }

    fn authority(&self) -> String {
        self.inner.authority()
    }

    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        Box::pin(async {
            self.inner.session(headers).await.map(|opened| opened.map_err(|error| self.remember(error)))
        })
    }
}
