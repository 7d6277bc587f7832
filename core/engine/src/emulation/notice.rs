//! What is said of emulation before the first step runs.

use std::collections::BTreeMap;

use rbx_emulation::{Emulator, Means};
use rbx_platform::Platform;
use rbx_request::{Event, EventSender, Warning};

use super::{Commands, Separate};
use crate::progress::{Task, internal_digest};

impl Commands {
    /// Says for each platform how its commands are run, and of what need not be emulated that it need not.
    pub(crate) fn announce(&self, means: &BTreeMap<Platform, Means>, events: &EventSender) {
        let mut hints: BTreeMap<usize, (&Separate, Vec<String>, String)> = BTreeMap::new();
        for (platform, means) in means {
            let Some(title) = title(platform, means) else { continue };
            Task::internal(events, &title).finish(false, None);
            if emulator(means).is_none() {
                continue;
            }
            for (stage, separate) in
                self.platforms.get(platform).into_iter().flat_map(|commands| &commands.separate)
            {
                if self.pinned.contains(stage) {
                    continue;
                }
                let hint = hints.entry(*stage);
                let (_, platforms, _) =
                    hint.or_insert_with(|| (separate, Vec::new(), internal_digest(&title)));
                platforms.push(platform.to_string());
            }
        }
        for (separate, platforms, vertex) in hints.into_values() {
            events.send(Event::Warning(separate.hint(&platforms, vertex)));
        }
    }
}

/// What is said of a platform; nothing where the CPU runs it as its own.
fn title(platform: &Platform, means: &Means) -> Option<String> {
    Some(match means {
        Means::Native => return None,
        Means::Compatible => {
            format!("[internal] {platform}: steps run natively, since this CPU runs them, too")
        }
        emulated => format!("[internal] {platform}: steps are emulated by {}", emulator(emulated)?),
    })
}

/// What emulates, in words; nothing where the CPU runs the commands itself.
pub(crate) fn emulator(means: &Means) -> Option<String> {
    Some(match means {
        Means::Native | Means::Compatible => return None,
        Means::Host(Some(handler)) => format!("{} of the host", handler.interpreter.display()),
        Means::Host(None) => "a handler of the host".to_owned(),
        Means::Namespace(_, Emulator::Found(qemu)) => qemu.path.display().to_string(),
        Means::Namespace(_, Emulator::Image(image)) => format!("QEMU of {image}"),
    })
}

impl Separate {
    /// The hint to do without emulation: this stage could run on any platform if its commands can make files for
    /// another one.
    fn hint(&self, platforms: &[String], vertex: String) -> Warning {
        let (first, last) = (self.from.first, self.from.last);
        Warning {
            vertex,
            level: 1,
            short: format!(
                "stage {} is emulated for {}: if it can cross-compile, FROM --platform=$BUILDPLATFORM makes it native \
                 (line {first})",
                self.name,
                platforms.join(", "),
            ),
            detail: vec![
                "Files are only copied out of this stage, so it may run on the platform of this machine; ARG \
                 TARGETARCH tells its commands what to build for"
                    .to_owned(),
            ],
            url: "https://docs.docker.com/build/building/multi-platform/#cross-compilation".to_owned(),
            file: self.from.file.clone(),
            lines: vec![(first, last)],
            source: self.from.text.to_string(),
        }
    }
}
