//! What `doctor` finds. The names of fields are those of its JSON, which README.md documents: they stay.

use serde::Serialize;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Report {
    pub(crate) machine: MachineFound,
    pub(crate) builders: Vec<Builder>,
    pub(crate) steps: StepsFound,
    pub(crate) store: StoreFound,
    /// The Docker Engine that images are loaded into, if one is configured.
    pub(crate) engine: Option<DockerEngineFound>,
    /// Registries that `rbx/config.json` says something about.
    pub(crate) registries: Vec<RegistryFound>,
}

impl Report {
    /// Some builder runs steps for some platform: it was tried here, or a node is there for it.
    pub(crate) fn something_runs(&self) -> bool {
        self.builders.iter().any(|builder| {
            builder.platforms.iter().any(|platform| platform.works == Some(true))
                || builder.nodes.iter().any(|node| node.status == "running")
        })
    }
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MachineFound {
    pub(crate) platform: String,
    /// The kernel's release.
    pub(crate) kernel: String,
}

/// A builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Builder {
    pub(crate) name: String,
    pub(crate) driver: String,
    /// Why nothing could be learned of it.
    pub(crate) error: String,
    /// Where it builds; none if that is here.
    pub(crate) nodes: Vec<NodeFound>,
    /// What this machine is known to build, and what not, in the order in which it is shown; none of a builder that
    /// has nodes.
    pub(crate) platforms: Vec<PlatformFound>,
}

/// A node of a builder, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeFound {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    /// `running`, `stopped`, `inactive` or `error`.
    pub(crate) status: String,
    pub(crate) error: String,
    /// The version of what builds there; empty if it is not known.
    pub(crate) version: String,
    pub(crate) platforms: Vec<String>,
}

/// A platform on a builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PlatformFound {
    pub(crate) platform: String,
    pub(crate) runs: Runs,
    /// Whether a step ran that was tried; null if none was.
    pub(crate) works: Option<bool>,
    /// Why it does not work, or was not tried.
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) remedy: String,
    /// The handler of the host that it is run by.
    pub(crate) handler: Option<HandlerFound>,
    /// The QEMU that it is run by.
    #[serde(rename = "QEMU")]
    pub(crate) qemu: Option<QemuFound>,
}

/// How steps for a platform are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Runs {
    /// By the CPU, whose platform it is.
    Native,
    /// By the CPU, beside its own platform.
    Compatible,
    /// By a handler of the host.
    Host,
    /// By QEMU, registered in a namespace of the build.
    Namespace,
    /// Not at all.
    Missing,
}

/// A handler of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HandlerFound {
    pub(crate) name: String,
    pub(crate) interpreter: String,
    pub(crate) flags: String,
}

/// A QEMU: on this machine, or in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QemuFound {
    pub(crate) path: String,
    pub(crate) version: String,
    pub(crate) image: String,
}

/// What steps of the embedded engine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StepsFound {
    /// Whether any can run.
    pub(crate) run: bool,
    pub(crate) ids: Ids,
    /// The version of control groups; 0 if unknown.
    pub(crate) control_groups: u8,
    /// Why none can run.
    pub(crate) reason: String,
    /// What to do about that, or about there being one id only.
    pub(crate) remedy: String,
}

/// The user and group ids that steps can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ids {
    /// All of the system's.
    All,
    /// Those that the user was given.
    Ranges,
    /// The user's own.
    One,
    /// Nobody knows, since no step can run.
    Unknown,
}

/// Where the embedded engine keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StoreFound {
    pub(crate) path: String,
    /// Bytes of its disk that are free.
    pub(crate) free: u64,
    /// Bytes of its disk.
    pub(crate) size: u64,
}

/// The Docker Engine of the current context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerEngineFound {
    pub(crate) endpoint: String,
    pub(crate) answers: bool,
    pub(crate) version: String,
    pub(crate) platform: String,
    /// `containerd`, which holds images of several platforms, or `docker`.
    pub(crate) image_store: String,
    /// Why it does not answer.
    pub(crate) error: String,
}

/// A registry and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegistryFound {
    pub(crate) name: String,
    /// Tried before it, in this order.
    pub(crate) mirrors: Vec<String>,
    /// It speaks HTTP without TLS.
    #[serde(rename = "HTTP")]
    pub(crate) http: bool,
}
