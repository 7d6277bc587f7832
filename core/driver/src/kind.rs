//! The kinds of drivers, as data.

use std::fmt;

use rbx_request::Features;

/// A kind of place where images are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// This program's own engine.
    Embedded,
    /// The `BuildKit` in a Docker Engine.
    Docker,
    /// `BuildKit` in a container of an Engine.
    DockerContainer,
    /// `BuildKit` in pods.
    Kubernetes,
    /// `BuildKit` at an address.
    Remote,
}

impl DriverKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Docker, Self::DockerContainer, Self::Embedded, Self::Kubernetes, Self::Remote];

    /// The name, as state files and flags have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Docker => "docker",
            Self::DockerContainer => "docker-container",
            Self::Kubernetes => "kubernetes",
            Self::Remote => "remote",
        }
    }

    /// The driver of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }

    /// Whether builders of it are made by users. The others are there by themselves: the one that is embedded, and
    /// one for each context of docker.
    pub fn is_creatable(self) -> bool {
        matches!(self, Self::DockerContainer | Self::Kubernetes | Self::Remote)
    }

    /// What it can do. For [`Docker`](Self::Docker) that depends on whether the Engine keeps images in containerd.
    pub fn features(self, containerd_store: bool) -> Features {
        let all = match self {
            Self::Docker => containerd_store,
            Self::Embedded | Self::DockerContainer | Self::Kubernetes | Self::Remote => true,
        };
        Features {
            oci_exporter: all,
            docker_exporter: all,
            cache_export: all,
            multi_platform: all,
            direct_push: all,
            default_load: matches!(self, Self::Docker | Self::Embedded),
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_go_by_their_names() {
        for driver in DriverKind::ALL {
            assert_eq!(DriverKind::of(&driver.to_string()), Some(driver));
        }
        assert_eq!(DriverKind::of("zip"), None);
    }

    #[test]
    fn graph_drivers_lack_what_buildx_says_they_lack() {
        let lacking = |features: Features| -> Vec<&str> {
            features.list().into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect()
        };
        assert_eq!(lacking(DriverKind::Docker.features(true)), [""; 0]);
        assert_eq!(lacking(DriverKind::Docker.features(false)).len(), 5);
        assert!(lacking(DriverKind::DockerContainer.features(false))[0].starts_with("Automatically load"));
    }
}
