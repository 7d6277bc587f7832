//! Making the container of a node, as buildx makes it.

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, Mount, MountType, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, CreateContainerOptionsBuilder, RemoveContainerOptions, StartContainerOptions,
};
use rbx_oci::Digest;

use super::ContainerDriver;
use super::daemon::{Command, Daemon, command};
use super::image::Image;
use crate::docker::Engine;
use crate::error::DriverError;

/// Under this label a container has the digest of the settings that it was made with.
pub(super) const SETTINGS: &str = "rbx.settings";
/// Where containers of builders are, so that all that builds can be bounded at once.
const CGROUP: &str = "/docker/buildx";
/// Where Windows' Linux has the libraries of graphics cards.
const WSL_LIBRARIES: &str = "/usr/lib/wsl";

impl ContainerDriver {
    /// Makes the container. False if there is one of that name already, which another process made a moment ago.
    pub(super) async fn create(&self, image: &Image, daemon: Daemon) -> Result<bool, DriverError> {
        let engine = &self.engine;
        let info = engine.docker().info().await.map_err(|error| engine.failure(error))?;
        let configured = self.node.files.contains_key("buildkitd.toml");
        let command = command(daemon, &image.entrypoint, &self.node.flags, configured);
        let body = self.body(&image.name, daemon, command, &info, has_gpus(engine, &image.name).await);
        let options = CreateContainerOptionsBuilder::new().name(&self.container).build();
        match engine.docker().create_container(Some(options), body).await {
            Ok(_) => Ok(true),
            Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
            Err(error) => Err(engine.failure(error)),
        }
    }

    fn body(
        &self,
        image: &str,
        daemon: Daemon,
        command: Command,
        info: &SystemInfo,
        gpus: bool,
    ) -> ContainerCreateBody {
        let options = &self.options;
        let mut mounts = vec![Mount {
            typ: Some(MountType::VOLUME),
            source: Some(self.volume()),
            target: Some(daemon.state().to_owned()),
            ..Mount::default()
        }];
        if self.surroundings.wsl && self.engine.is_local() && std::path::Path::new(WSL_LIBRARIES).is_dir() {
            mounts.push(Mount {
                typ: Some(MountType::BIND),
                source: Some(WSL_LIBRARIES.to_owned()),
                target: Some(WSL_LIBRARIES.to_owned()),
                read_only: Some(true),
                ..Mount::default()
            });
        }
        // Elsewhere systemd has a slice for it, and such a name is none.
        let by_files = info.cgroup_driver.is_some_and(|driver| driver.to_string() == "cgroupfs");
        let cgroup_parent = options.cgroup_parent.clone().unwrap_or_else(|| CGROUP.to_owned());
        let mapped = info
            .security_options
            .iter()
            .flatten()
            .any(|option| option.split(',').any(|field| field == "name=userns"));
        ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(options.env.clone()).filter(|env| !env.is_empty()),
            entrypoint: command.entrypoint,
            cmd: Some(command.arguments),
            labels: Some([(SETTINGS.to_owned(), self.settings())].into()),
            host_config: Some(HostConfig {
                privileged: Some(true),
                // It waits for processes that steps leave behind.
                init: Some(true),
                restart_policy: Some(options.restart_policy.clone()),
                mounts: Some(mounts),
                tmpfs: daemon.scratch().map(|path| [(path.to_owned(), String::new())].into()),
                network_mode: options.network.clone(),
                memory: options.memory,
                memory_swap: options.memory_swap,
                cpu_quota: options.cpu_quota,
                cpu_period: options.cpu_period,
                cpu_shares: options.cpu_shares,
                cpuset_cpus: options.cpuset_cpus.clone(),
                cpuset_mems: options.cpuset_mems.clone(),
                device_requests: gpus.then(|| vec![all_gpus()]),
                cgroup_parent: by_files.then_some(cgroup_parent),
                userns_mode: mapped.then(|| "host".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// A digest of what the container is made by: one that was made by something else is to be made anew.
    pub(super) fn settings(&self) -> String {
        let options = self.node.options.iter().filter(|(key, _)| {
            // What concerns builds, and not the container.
            *key != "default-load" && !key.starts_with("qemu.")
        });
        let configured = self.node.files.contains_key("buildkitd.toml");
        let text = serde_json::json!({
            "options": options.collect::<std::collections::BTreeMap<_, _>>(),
            "flags": self.node.flags,
            "configured": configured,
        });
        Digest::sha256_of(text.to_string().as_bytes()).to_string()
    }
}

fn all_gpus() -> DeviceRequest {
    DeviceRequest {
        count: Some(-1),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

/// Whether containers can have graphics cards. An Engine does not say so: one is tried.
async fn has_gpus(engine: &Engine, image: &str) -> bool {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/true".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            device_requests: Some(vec![all_gpus()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let docker = engine.docker();
    let Ok(tried) = docker.create_container(None::<CreateContainerOptions>, body).await else { return false };
    let started = docker.start_container(&tried.id, None::<StartContainerOptions>).await.is_ok();
    let options = RemoveContainerOptions { v: true, force: true, link: false };
    let _ = docker.remove_container(&tried.id, Some(options)).await;
    started
}
