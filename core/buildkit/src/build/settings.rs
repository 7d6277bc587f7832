//! What a build needs besides its request.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rbx_request::{Features, Network};

use crate::session::OpenPipe;

/// What a build needs besides its request: facts about the builder, and what its user's environment says.
#[derive(Debug, Default)]
pub struct Settings {
    /// The id under which the daemon's history is to have the build; a random one if empty.
    pub reference: String,
    /// The builder's name, for the build's reference.
    pub builder: String,
    /// The node's name there.
    pub node: String,
    /// The driver's name, for messages.
    pub driver: String,
    /// The daemon is part of a Docker Engine, whose images the build sees and into which it puts its own.
    pub in_engine: bool,
    /// What the driver can do.
    pub features: Features,
    /// The network of steps for which the request names none, where that is not the daemon's default.
    pub network: Network,
    /// What tells this machine's user from others to the daemon (buildx's `.buildNodeID`): directories are compared
    /// with what the same user sent before.
    pub node_id: String,
    /// The repository that the context is in.
    pub vcs: Vcs,
    /// Who the user is to registries, and how they are reached; nobody if none.
    pub registry: Option<rbx_registry::Client>,
    /// Docker's own directory, where seeds of keys are kept by which the daemon tells users from each other. Without
    /// it the daemon gets credentials in place of tokens (`BUILDKIT_NO_CLIENT_TOKEN`).
    pub token_seeds: Option<PathBuf>,
    /// Provenance is attested only where the request asks for it (`BUILDX_NO_DEFAULT_ATTESTATIONS`).
    pub no_default_attestations: bool,
    /// Attestations are written as images, not as artifacts (`BUILDX_NO_DEFAULT_OCI_ARTIFACT`).
    pub no_default_oci_artifact: bool,
    /// What nobody asked for is put nowhere (`BUILDX_NO_DEFAULT_LOAD`).
    pub no_default_load: bool,
    /// How much of the provenance goes into the metadata.
    pub provenance: MetadataProvenance,
    /// The content of a file of source policies (`EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`), as JSON or protobuf.
    pub source_policy: Option<Vec<u8>>,
    /// What caches take from the environment.
    pub cache_secrets: CacheSecrets,
    /// What becomes of the request's outputs that are loads, in their order. Where an entry is missing, an Engine
    /// takes what it builds, and others have nobody to send it to.
    pub loads: Vec<Load>,
    /// Where manifests and configurations may be kept that go with an image to be loaded: then its layers are not
    /// sent, and are for the caller to ask for ([`Exported`](super::Exported)). Without it an image is one stream.
    pub scratch: Option<PathBuf>,
}

/// What becomes of an output that is a load (`type=docker` without a destination).
#[derive(Clone, Default)]
pub enum Load {
    /// The image goes into the store of the Engine that builds it.
    #[default]
    InEngine,
    /// An Engine elsewhere is sent an archive.
    Archive {
        /// That Engine keeps images in containerd: it takes OCI archives, with several platforms and attestations.
        indexes: bool,
        /// Takes the archive.
        open: OpenPipe,
    },
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InEngine => f.write_str("InEngine"),
            Self::Archive { indexes, .. } => f.debug_struct("Archive").field("indexes", indexes).finish(),
        }
    }
}

/// The repository that a build's context is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vcs {
    /// Its directory, without links: the daemon is told where in it the build's directories are.
    pub root: Option<PathBuf>,
    /// Attributes for the frontend (`vcs:source`, `vcs:revision`, `label:…`).
    pub attributes: BTreeMap<String, String>,
}

/// How much of the provenance goes into the metadata (`BUILDX_METADATA_PROVENANCE`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataProvenance {
    /// What was built from what.
    #[default]
    Min,
    /// All of it.
    Max,
    /// Nothing.
    Disabled,
}

/// What `--cache-from` and `--cache-to` take from the environment where they do not say it themselves.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CacheSecrets {
    /// `ACTIONS_RUNTIME_TOKEN`
    pub github_token: Option<String>,
    /// `ACTIONS_CACHE_URL`
    pub github_cache_url: Option<String>,
    /// `ACTIONS_RESULTS_URL`
    pub github_results_url: Option<String>,
    /// `ACTIONS_CACHE_SERVICE_V2`
    pub github_v2: bool,
    /// `AWS_ACCESS_KEY_ID` or what a profile says.
    pub aws_access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`
    pub aws_secret_access_key: Option<String>,
    /// `AWS_SESSION_TOKEN`
    pub aws_session_token: Option<String>,
}

impl fmt::Debug for CacheSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets reach no log.
        f.debug_struct("CacheSecrets").finish_non_exhaustive()
    }
}
