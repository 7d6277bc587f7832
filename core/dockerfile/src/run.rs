//! The options of `RUN`: mounts, network, security, devices.

use crate::go;
use crate::op::From;
use crate::suggest::nearest;

/// A mount of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its type.
    pub kind: MountKind,
    /// What it shows. [`From::Context`] for the types that have no source of their own.
    pub from: From,
    /// Path inside the source; for a secret its name, if it was given as `source`.
    pub source: Option<String>,
    /// Where in the step's root it appears. `None` for a secret that is an environment variable only.
    pub target: Option<String>,
    /// The step cannot write to it.
    pub read_only: bool,
    /// Size of a tmpfs in bytes; 0 is no limit.
    pub size: u64,
    /// Name of a cache, secret or SSH agent. A cache without one has the name of its target.
    pub id: Option<String>,
    /// How steps share a cache.
    pub sharing: Sharing,
    /// The build fails without the secret or agent.
    pub required: bool,
    /// The environment variable that holds a secret.
    pub env: Option<String>,
    /// Mode of the mount's root or file.
    pub mode: Option<u32>,
    /// Owner of the mount's root or file.
    pub uid: Option<u32>,
    /// Group of the mount's root or file.
    pub gid: Option<u32>,
}

/// The type of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of the context, a stage or an image. Writes are dropped after the step.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret as a file or an environment variable.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

impl MountKind {
    const NAMES: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    /// The name in `type=`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// How steps that run at the same time share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after another.
    Locked,
}

/// The network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// The builder's.
    #[default]
    Default,
    /// None but loopback.
    None,
    /// The host's; needs the entitlement `network.host`.
    Host,
}

impl Network {
    /// Reads the value of `--network`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => Err(format!("invalid network mode {}", go::quoted(text))),
        }
    }
}

/// How far a step is kept from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Security {
    /// As usual.
    #[default]
    Sandbox,
    /// With all capabilities; needs the entitlement `security.insecure`.
    Insecure,
}

impl Security {
    /// Reads the value of `--security`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "insecure" => Ok(Self::Insecure),
            _ => Err(format!("security {} is not valid", go::quoted(text))),
        }
    }
}

/// A device of a `RUN`, by its CDI name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The CDI name.
    pub name: String,
    /// The build fails without it.
    pub required: bool,
}

/// A message, and the word to propose for a misspelled one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionError {
    pub(crate) message: String,
    pub(crate) replacement: Option<String>,
}

impl std::convert::From<String> for OptionError {
    fn from(message: String) -> Self {
        Self { message, replacement: None }
    }
}

fn error<T>(message: String) -> Result<T, OptionError> {
    Err(message.into())
}

impl Device {
    /// Reads the value of `--device`.
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let fields =
            go::csv_fields(text).map_err(|reason| format!("failed to parse csv devices: {reason}"))?;
        let mut device = Self { name: String::new(), required: false };
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    device.required =
                        go::parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                }
                ("name", Some(_)) if !device.name.is_empty() => {
                    return error(format!("device name already set to {}", device.name));
                }
                ("name", Some(value)) => value.clone_into(&mut device.name),
                _ if device.name.is_empty() => device.name = field,
                (_, None) => return error(format!("invalid field '{field}' must be a key=value pair")),
                (_, Some(_)) => {
                    return Err(OptionError {
                        message: format!("unexpected key '{key}' in '{field}'"),
                        replacement: nearest(&key, ["name", "required"], false),
                    });
                }
            }
        }
        Ok(device)
    }
}

/// A mount as its flag has it, before sources and paths mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    pub(crate) kind: MountKind,
    pub(crate) from: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) size: u64,
    pub(crate) id: String,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) required: bool,
    pub(crate) env: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Checks of `--mount` what needs no variables, as BuildKit does while it parses.
pub(crate) fn check_mount(text: &str) -> Result<(), OptionError> {
    let fields = go::csv_fields(text).map_err(|reason| format!("failed to parse csv mounts: {reason}"))?;
    for field in fields {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
            && value.find('$').is_some_and(|at| at + 1 < value.len())
        {
            let key = key.to_lowercase();
            return error(format!("'{key}' doesn't support variable expansion, define alias stage instead"));
        }
    }
    Ok(())
}

const MOUNT_KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountOptions {
    /// Reads the value of `--mount`; `expand` expands the variables of a value.
    pub(crate) fn parse(
        text: &str,
        expand: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, OptionError> {
        let fields =
            go::csv_fields(text).map_err(|reason| format!("failed to parse csv mounts: {reason}"))?;
        let mut mount = Self {
            kind: MountKind::Bind,
            from: String::new(),
            source: String::new(),
            target: String::new(),
            read_only: false,
            size: 0,
            id: String::new(),
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let mut read_only = None;
        for field in fields {
            match field.split_once('=') {
                Some((key, value)) => {
                    let value = expand(value)?;
                    mount.set(&key.to_lowercase(), value, &field, &mut read_only)?;
                }
                None => match field.to_lowercase().as_str() {
                    "readonly" | "ro" => read_only = Some(true),
                    "readwrite" | "rw" => read_only = Some(false),
                    "required" => {
                        mount.only_for("required", &[MountKind::Secret, MountKind::Ssh])?;
                        mount.required = true;
                    }
                    _ => return error(format!("invalid field '{field}' must be a key=value pair")),
                },
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.check()?;
        Ok(mount)
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), OptionError> {
        if kinds.contains(&self.kind) {
            Ok(())
        } else {
            error(format!("unexpected key '{key}' for mount type '{}'", self.kind.name()))
        }
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        field: &str,
        read_only: &mut Option<bool>,
    ) -> Result<(), OptionError> {
        let boolean = || go::parse_bool(&value).ok_or_else(|| format!("invalid value for {key}: {value}"));
        let number = |radix| {
            go::parse_u32(&value, radix).map(Some).ok_or_else(|| format!("invalid value {value} for {key}"))
        };
        match key {
            "type" => {
                let lower = value.to_lowercase();
                let found = MountKind::NAMES.iter().find(|(name, _)| *name == lower);
                self.kind = found.map(|(_, kind)| *kind).ok_or_else(|| OptionError {
                    message: format!("unsupported mount type {}", go::quoted(&lower)),
                    replacement: nearest(&value, MountKind::NAMES.map(|(name, _)| name), false),
                })?;
            }
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(boolean()?),
            "readwrite" | "rw" => *read_only = Some(!boolean()?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.required = boolean()?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                self.size =
                    go::parse_size(&value).ok_or_else(|| format!("invalid value for {key}: {value}"))?;
            }
            "id" => self.id = value,
            "sharing" => {
                self.sharing = Some(match value.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    lower => {
                        return Err(OptionError {
                            message: format!("unsupported sharing value {}", go::quoted(lower)),
                            replacement: nearest(&value, ["shared", "private", "locked"], false),
                        });
                    }
                });
            }
            "mode" => self.mode = number(8)?,
            "uid" => self.uid = number(10)?,
            "gid" => self.gid = number(10)?,
            "env" => self.env = Some(value),
            _ => {
                return Err(OptionError {
                    message: format!("unexpected key '{key}' in '{field}'"),
                    replacement: nearest(key, MOUNT_KEYS, false),
                });
            }
        }
        Ok(())
    }

    /// The `from` of a mount, as BuildKit sees it before variables are known.
    pub(crate) fn source(text: &str) -> Option<String> {
        let fields = go::csv_fields(text).ok()?;
        let from = fields
            .iter()
            .rev()
            .find_map(|field| field.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case("from")));
        from.map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    }

    /// What no single option shows.
    fn check(&self) -> Result<(), OptionError> {
        let name = self.kind.name();
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            for (key, value) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if value.is_some() {
                    return error(format!("{key} not allowed for {} type mounts", go::quoted(name)));
                }
            }
        }
        if self.kind == MountKind::Secret {
            let message = if !self.from.is_empty() {
                "secret mount should not have a from"
            } else if self.sharing.is_some() {
                "secret mount should not define sharing"
            } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                "invalid secret mount. one of source, target required"
            } else if !self.source.is_empty() && !self.id.is_empty() {
                "both source and id can't be set"
            } else {
                return Ok(());
            };
            return error(message.to_owned());
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return error(format!("invalid cache sharing set for {name} mount"));
        }
        if self.kind == MountKind::Ssh && !self.source.is_empty() {
            return error("ssh does not support source".to_owned());
        }
        Ok(())
    }
}
