//! `RUN`: its command, heredocs and mounts.

use super::{Current, Failure, Runner, command_of};
use crate::evaluate::Step as Planned;
use crate::expand::{ExpandOptions, expand_with};
use crate::go;
use crate::heredoc;
use crate::instruction::{CommandLine, Word};
use crate::note::Names;
use crate::op::{Command, From, InlineFile, Run};
use crate::path::{base_name, clean, join};
use crate::run::{Device, Mount, MountKind, MountOptions, Network, Security};

impl Runner<'_> {
    pub(super) fn run_op(
        &mut self,
        planned: &Planned<'_>,
        current: &Current<'_, '_>,
        line: &CommandLine,
    ) -> Result<Run, Failure> {
        let instruction = planned.instruction;
        let mut command = command_of(line);
        let mut script = None;
        if let (Command::Shell(text), Some(first)) = (&mut command, instruction.heredocs.first()) {
            if heredoc::opening(text).is_some() {
                let content = first.stripped(planned.text);
                if current.draft.platform.os != "windows" && content.starts_with("#!") {
                    *text = join("/dev/pipes", &first.name, &current.draft.platform);
                    script = Some(InlineFile { name: first.name.clone(), content });
                } else {
                    *text = content;
                }
            } else {
                for heredoc in &instruction.heredocs {
                    text.push('\n');
                    text.push_str(heredoc.content.slice(planned.text));
                    text.push_str(&heredoc.name);
                }
            }
        }
        if matches!(&command, Command::Exec(argv) if argv.is_empty()) {
            return Err(Failure::new(instruction.span, "arguments are required"));
        }
        let mut mounts = Vec::new();
        let mut agents = 0;
        let mut devices = Vec::new();
        let mut sources = planned.sources.iter();
        for flag in &instruction.flags {
            match (flag.name.text.as_str(), &flag.value) {
                ("mount", Some(value)) => {
                    let source = sources.next().cloned().unwrap_or(From::Scratch);
                    mounts.push(self.mount(current, value, source, &mut agents)?);
                }
                ("mount", None) => {
                    sources.next();
                }
                ("device", Some(value)) => {
                    let device =
                        Device::parse(&value.text).map_err(|error| Failure::option(value.span, error))?;
                    devices.push(device);
                }
                _ => {}
            }
        }
        // Wrong values have been reported by the parser.
        let network = instruction.flag_value("network").and_then(|value| Network::parse(&value.text).ok());
        let security = instruction.flag_value("security").and_then(|value| Security::parse(&value.text).ok());
        Ok(Run {
            command,
            script,
            mounts,
            network: network.unwrap_or_default(),
            security: security.unwrap_or_default(),
            devices,
        })
    }

    fn mount(
        &mut self,
        current: &Current<'_, '_>,
        value: &Word,
        source: From,
        agents: &mut usize,
    ) -> Result<Mount, Failure> {
        let fail = |message: String| Failure::new(value.span, message);
        let missing = Names::default();
        let options = {
            let escape = ExpandOptions::new(self.escape);
            let lookup = |text: &str| {
                let get = |name: &str| {
                    self.get(current, name).or_else(|| {
                        missing.add(name);
                        None
                    })
                };
                expand_with(text, escape, &get).map_err(|error| error.to_string())
            };
            MountOptions::parse(&value.text, &lookup).map_err(|error| Failure::option(value.span, error))
        };
        self.undefined(current, value.span, missing.list());
        let options = options?;
        let full = |text: String| Some(text).filter(|text| !text.is_empty());
        let from = match options.kind {
            MountKind::Tmpfs | MountKind::Secret | MountKind::Ssh => From::Context,
            MountKind::Bind if options.from.is_empty() => From::Context,
            MountKind::Cache if options.from.is_empty() => From::Scratch,
            MountKind::Bind | MountKind::Cache => source,
        };
        if let From::Stage(index) = from
            && index >= current.index
        {
            return Err(fail(format!(
                "cannot mount from stage {} to {}, stage needs to be defined before current command",
                go::quoted(&options.from),
                go::quoted(&options.target)
            )));
        }
        let mut id = full(options.id);
        let target = match options.kind {
            MountKind::Secret => match (options.target.is_empty(), &options.env) {
                (false, _) => Some(options.target),
                (true, Some(_)) => None,
                (true, None) => {
                    let name = full(options.source.clone()).or_else(|| id.clone()).unwrap_or_default();
                    Some(format!("/run/secrets/{}", base_name(&name)))
                }
            },
            MountKind::Ssh => {
                let number = *agents;
                *agents += 1;
                Some(full(options.target).unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}")))
            }
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                if options.kind == MountKind::Cache && id.is_none() {
                    id = Some(clean(&options.target));
                }
                let target = if options.target.starts_with('/') {
                    options.target
                } else {
                    clean(&format!("/{}/{}", current.state.working_dir, options.target))
                };
                if target == "/" {
                    return Err(fail(format!("invalid mount target {}", go::quoted(&target))));
                }
                Some(target)
            }
        };
        if options.kind == MountKind::Secret {
            id = full(options.source.clone()).or(id).or_else(|| target.as_deref().map(base_name));
        } else if options.kind == MountKind::Ssh {
            id = id.or_else(|| Some("default".to_owned()));
        }
        Ok(Mount {
            kind: options.kind,
            from,
            source: full(options.source).filter(|_| options.kind != MountKind::Secret),
            target,
            read_only: options.read_only,
            size: options.size,
            id,
            sharing: options.sharing.unwrap_or_default(),
            required: options.required,
            env: options.env,
            mode: options.mode,
            uid: options.uid,
            gid: options.gid,
        })
    }
}
