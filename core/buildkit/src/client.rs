//! A connection to a daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rbx_platform::Platform;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;
use crate::network::Network;
use crate::proto::control::control_client::ControlClient;
use crate::proto::gateway::llb_bridge_client::LlbBridgeClient;
use crate::proto::{control, types};
use crate::{Dial, dial};

/// The most that one message may have: BuildKit's own bound.
pub(crate) const MESSAGE: usize = 16 << 20;
/// How much may be on its way in one stream. The 64 KiB that HTTP/2 begins with make a tunnelled session slow.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// How much may be on its way in all streams.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame that is taken.
pub(crate) const FRAME: u32 = 256 << 10;
/// The most that headers and trailers may have in all: an error brings the Dockerfile it is about in a trailer.
const HEADERS: u32 = 16 << 20;
/// How long a daemon may take to connect, and to answer what needs no work.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 20 });
/// When a daemon that says nothing while it was asked something is asked whether it is there. Servers of gRPC for Go
/// hang up on clients who do so more often than every 5 minutes. A build need not wait that long, see [`session`].
///
/// [`session`]: crate::session
const PING: Duration = Duration::from_secs(330);

/// A connection to a BuildKit daemon. Cheap to clone; it ends with the last clone.
///
/// Where the connection is lost, calls that were under way fail, and the next one connects again.
#[derive(Clone)]
pub struct Client {
    dial: Arc<dyn Dial>,
    channel: Channel,
    network: Arc<Network>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the daemon.
    ///
    /// Fails with what the dial fails with, and when it takes longer than 20 seconds.
    pub async fn connect(dial: Arc<dyn Dial>) -> Result<Self, Error> {
        let network = Network::start().map_err(|error| Error::dial(&error))?;
        let endpoint = Endpoint::from_shared(format!("http://{}", dial.authority()))
            .map_err(Error::transport)?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .http2_max_header_list_size(HEADERS)
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PATIENCE)
            .executor(network.spawner());
        let dialled = dial.clone();
        let connector = tower::service_fn(move |_| {
            let dial = dialled.clone();
            async move { dial.dial().await.map(TokioIo::new) }
        });
        let connect = async move { endpoint.connect_with_connector(connector).await };
        let channel =
            network.run(connect).await.map_err(|error| Error::dial(&error))?.map_err(Error::transport)?;
        Ok(Self { dial, channel, network: Arc::new(network) })
    }

    /// The workers of the daemon: what `inspect` shows of a node.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        let request = control::ListWorkersRequest::default();
        let answer = quick(self.control().list_workers(request)).await?;
        Ok(answer.record.into_iter().map(Worker::from).collect())
    }

    /// Which BuildKit the daemon is. `None` where it does not say, as those before 0.11.
    pub async fn info(&self) -> Result<Option<Version>, Error> {
        let mut control = self.control();
        match quick(control.info(control::InfoRequest {})).await {
            Ok(answer) => Ok(answer.buildkit_version.map(Version::from)),
            Err(error) if error.is_unimplemented() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the daemon is reached.
    pub(crate) fn dial(&self) -> &Arc<dyn dial::Dial> {
        &self.dial
    }

    /// Where its connections live.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// What requests go over.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The service that everything begins with.
    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE)
    }

    /// The service that frontends use, and whoever drives a build.
    pub(crate) fn bridge(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE)
    }
}

/// The answer to what needs no work.
pub(crate) async fn quick<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    let answer = timeout(PATIENCE, call).await.map_err(|_| Error::silent(PATIENCE))?;
    Ok(answer.map_err(Error::from)?.into_inner())
}

/// One worker of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it says about itself, `org.mobyproject.buildkit.worker.…`.
    pub labels: BTreeMap<String, String>,
    /// The platforms that it can run, natively or by emulation, as it says them.
    pub platforms: Vec<Platform>,
    /// The rules by which it drops what it has cached, in the order they are tried.
    pub gc_policies: Vec<GcPolicy>,
    /// Which BuildKit it is.
    pub version: Option<Version>,
    /// Devices that steps can ask for.
    pub devices: Vec<Device>,
}

/// A rule by which a worker drops what it has cached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Internal and shared records are dropped, too.
    pub all: bool,
    /// What the records it is about have in common, as `--filter` says it.
    pub filters: Vec<String>,
    /// How long records are kept after their last use.
    pub keep_duration: Duration,
    /// Bytes that are kept in any case.
    pub reserved_space: i64,
    /// Bytes that are not exceeded.
    pub max_used_space: i64,
    /// Bytes of the disk that are kept free.
    pub min_free_space: i64,
}

/// Which BuildKit a daemon is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// The Go module: `github.com/moby/buildkit`.
    pub package: String,
    /// Such as `v0.25.1`.
    pub version: String,
    /// The commit.
    pub revision: String,
}

/// A device that steps can ask for (CDI).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its qualified name, `vendor.com/class=name`.
    pub name: String,
    /// Whether steps get it without being allowed to.
    pub auto_allow: bool,
    /// Whether it is set up when it is first asked for.
    pub on_demand: bool,
    /// What its specification says about it.
    pub annotations: BTreeMap<String, String>,
}

impl From<types::WorkerRecord> for Worker {
    fn from(record: types::WorkerRecord) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let platforms = record.platforms.into_iter().map(|platform| Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: some(platform.variant),
            os_version: some(platform.os_version),
        });
        Self {
            id: record.id,
            labels: record.labels.into_iter().collect(),
            platforms: platforms.collect(),
            gc_policies: record.gc_policy.into_iter().map(GcPolicy::from).collect(),
            version: record.buildkit_version.map(Version::from).filter(|version| !version.version.is_empty()),
            devices: record.cdi_devices.into_iter().map(Device::from).collect(),
        }
    }
}

impl From<types::GcPolicy> for GcPolicy {
    fn from(policy: types::GcPolicy) -> Self {
        Self {
            all: policy.all,
            filters: policy.filters,
            keep_duration: Duration::from_nanos(policy.keep_duration.try_into().unwrap_or_default()),
            reserved_space: policy.reserved_space,
            max_used_space: policy.max_used_space,
            min_free_space: policy.min_free_space,
        }
    }
}

impl From<types::BuildkitVersion> for Version {
    fn from(version: types::BuildkitVersion) -> Self {
        Self { package: version.package, version: version.version, revision: version.revision }
    }
}

impl From<types::CdiDevice> for Device {
    fn from(device: types::CdiDevice) -> Self {
        Self {
            name: device.name,
            auto_allow: device.auto_allow,
            on_demand: device.on_demand,
            annotations: device.annotations.into_iter().collect(),
        }
    }
}
