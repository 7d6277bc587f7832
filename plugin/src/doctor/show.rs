//! What `doctor` finds, for people.

use std::fmt::Write as _;

use super::report::{Builder, DockerEngineFound, Ids, NodeFound, PlatformFound, Report, Runs, StepsFound};
use crate::table;
use crate::units::human_size;

/// The report as people read it.
pub(crate) fn pretty(report: &Report) -> String {
    let machine = format!("{}, Linux {}", report.machine.platform, report.machine.kernel);
    let store = &report.store;
    let space = format!("{} ({} of {} free)", store.path, human_size(store.free), human_size(store.size));
    let mut lines = vec![
        ("Machine", machine),
        ("Steps", steps(&report.steps)),
        ("Store", space),
        ("Docker Engine", engine(report.engine.as_ref())),
    ];
    for registry in &report.registries {
        let mut how = registry.mirrors.join(", ");
        if !how.is_empty() {
            how.insert_str(0, "mirrored by ");
        }
        if registry.http {
            how.push_str(if how.is_empty() { "over HTTP" } else { "; itself over HTTP" });
        }
        lines.push(("Registry", format!("{}: {how}", registry.name)));
    }
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{:15}{}", format!("{name}:"), tame(&value));
    }
    for builder in &report.builders {
        let driver = if builder.driver.is_empty() { "unknown" } else { &builder.driver };
        let title = format!("{} (driver {driver})", builder.name);
        let _ = writeln!(text, "\nBuilder:       {}", tame(&title));
        if !builder.error.is_empty() {
            let _ = writeln!(text, "Error:         {}", tame(builder.error.trim()));
        }
        for node in &builder.nodes {
            let _ = writeln!(text, "Node:          {}", tame(&self::node(node)));
        }
        if !builder.platforms.is_empty() {
            let _ = write!(text, "\n{}", platforms(builder));
        }
    }
    text + &remedies(report)
}

fn steps(steps: &StepsFound) -> String {
    let ids = match steps.ids {
        Ids::All => "as root",
        Ids::Ranges => "without root, with the ids of /etc/subuid and /etc/subgid",
        Ids::One => "without root, with one id: those that use others fail, such as apt-get install",
        Ids::Unknown => "",
    };
    if steps.run {
        format!("run {ids}, control groups v{}", steps.control_groups)
    } else {
        format!("cannot run: {}", steps.reason)
    }
}

fn engine(engine: Option<&DockerEngineFound>) -> String {
    match engine {
        None => "none is configured".to_owned(),
        Some(engine) if engine.answers => format!(
            "{} at {} ({}, image store: {})",
            engine.version, engine.endpoint, engine.platform, engine.image_store
        ),
        Some(engine) => engine.error.clone(),
    }
}

fn node(node: &NodeFound) -> String {
    let NodeFound { name, endpoint, status, error, version, platforms } = node;
    let version = if version.is_empty() { String::new() } else { format!(", BuildKit {version}") };
    let what = if error.is_empty() { platforms.join(", ") } else { error.trim().to_owned() };
    let colon = if what.is_empty() { "" } else { ": " };
    format!("{name} at {endpoint} ({status}{version}){colon}{what}")
}

fn platforms(builder: &Builder) -> String {
    let mut rows = "PLATFORM\tRUNS\tBY\tWORKS\n".to_owned();
    for platform in &builder.platforms {
        let runs = match platform.runs {
            Runs::Native => "natively",
            Runs::Compatible => "natively, as compatible",
            Runs::Host => "emulated, by the host",
            Runs::Namespace => "emulated, in a namespace",
            Runs::Missing => "-",
        };
        let works = match platform.works {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not tried",
        };
        let by = tame(&by(platform));
        let _ = writeln!(rows, "{}\t{runs}\t{by}\t{works}", platform.platform);
    }
    table::spaces(&rows)
}

fn by(platform: &PlatformFound) -> String {
    let qemu = platform.qemu.as_ref().map(|qemu| match (qemu.image.as_str(), qemu.version.as_str()) {
        ("", "") => qemu.path.clone(),
        ("", version) => format!("{} ({version})", qemu.path),
        (image, _) => format!("QEMU of the image {image}"),
    });
    match (platform.runs, &platform.handler, qemu) {
        (Runs::Native | Runs::Compatible, ..) => "the CPU".to_owned(),
        (Runs::Missing, ..) => "-".to_owned(),
        (_, Some(handler), qemu) => {
            let interpreter = qemu.unwrap_or_else(|| handler.interpreter.clone());
            format!("handler {} {}: {interpreter}", handler.name, handler.flags)
        }
        (Runs::Host, None, _) => "a handler that cannot be seen from here".to_owned(),
        (Runs::Namespace, None, qemu) => qemu.unwrap_or_default(),
    }
}

/// What does not work or was not tried, with what can be done: each reason once, and each remedy once.
fn remedies(report: &Report) -> String {
    let mut remedies: Vec<Remedy<'_>> = Vec::new();
    let steps = &report.steps;
    if !steps.run {
        add(&mut remedies, &steps.remedy, &steps.reason, "no step can run");
    } else if steps.ids == Ids::One {
        add(&mut remedies, &steps.remedy, "", "steps have one id only");
    }
    for platform in report.builders.iter().flat_map(|builder| &builder.platforms) {
        if !platform.reason.is_empty() && (steps.run || platform.reason != steps.reason) {
            add(&mut remedies, &platform.remedy, &platform.reason, &platform.platform);
        }
    }
    let mut text = String::new();
    for Remedy { remedy, reasons } in remedies {
        text.push('\n');
        for (reason, what) in reasons {
            let colon = if reason.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "{}", tame(&format!("{}{colon}{reason}", what.join(", "))));
        }
        if !remedy.is_empty() {
            let _ = writeln!(text, "  Remedy: {}", tame(&remedy));
        }
    }
    text
}

/// What helps against some things.
struct Remedy<'a> {
    remedy: String,
    /// Each reason, and what it stands in the way of.
    reasons: Vec<(&'a str, Vec<&'a str>)>,
}

fn add<'a>(remedies: &mut Vec<Remedy<'a>>, remedy: &str, reason: &'a str, what: &'a str) {
    let same = |known: &Remedy<'_>| known.remedy == remedy || joined(&known.remedy, remedy).is_some();
    let at = remedies.iter().position(same).unwrap_or_else(|| {
        remedies.push(Remedy { remedy: remedy.to_owned(), reasons: Vec::new() });
        remedies.len() - 1
    });
    let known = &mut remedies[at];
    if let Some(joined) = joined(&known.remedy, remedy) {
        known.remedy = joined;
    }
    match known.reasons.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, all)) => all.push(what),
        None => known.reasons.push((reason, vec![what])),
    }
}

/// Two commands that install handlers, as one that installs all of them.
fn joined(one: &str, other: &str) -> Option<String> {
    let (command, architectures) = one.rsplit_once(" --install ")?;
    let (same, more) = other.rsplit_once(" --install ")?;
    let is_plain = |list: &str| list.chars().all(|c| c.is_ascii_alphanumeric() || c == ',');
    if command != same || !is_plain(architectures) || !is_plain(more) {
        return None;
    }
    let is_there = architectures.split(',').any(|known| known == more);
    let all = if is_there { architectures.to_owned() } else { format!("{architectures},{more}") };
    Some(format!("{command} --install {all}"))
}

/// Names and paths are not ours: they do not direct the terminal, and break no table.
fn tame(text: &str) -> String {
    rbx_progress::clean(&text.replace(['\n', '\t'], " "))
}

#[cfg(test)]
mod tests {
    use super::super::report::{HandlerFound, MachineFound, QemuFound, RegistryFound, StoreFound};
    use super::*;

    fn platform(name: &str, runs: Runs, works: Option<bool>) -> PlatformFound {
        PlatformFound {
            platform: name.to_owned(),
            runs,
            works,
            reason: String::new(),
            remedy: String::new(),
            handler: None,
            qemu: None,
        }
    }

    fn qemu(path: &str, version: &str, image: &str) -> QemuFound {
        let [path, version, image] = [path, version, image].map(str::to_owned);
        QemuFound { path, version, image }
    }

    fn node(name: &str, status: &str, error: &str, version: &str, platforms: &[&str]) -> NodeFound {
        NodeFound {
            name: name.to_owned(),
            endpoint: "ssh://far".to_owned(),
            status: status.to_owned(),
            error: error.to_owned(),
            version: version.to_owned(),
            platforms: platforms.iter().map(|platform| (*platform).to_owned()).collect(),
        }
    }

    fn report() -> Report {
        let handler = HandlerFound {
            name: "qemu-arm".to_owned(),
            interpreter: "/usr/bin/qemu-arm".to_owned(),
            flags: "POCF".to_owned(),
        };
        let because = |reason: &str, remedy: &str, platform: PlatformFound| PlatformFound {
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
            ..platform
        };
        let install = "sudo apt-get install qemu-user-static";
        let fetched = "tonistiigi/binfmt is fetched when a build needs it";
        let in_image = || Some(qemu("", "", "tonistiigi/binfmt"));
        Report {
            machine: MachineFound { platform: "linux/amd64".to_owned(), kernel: "6.18.44".to_owned() },
            builders: vec![
                Builder {
                    name: "embedded".to_owned(),
                    driver: "embedded".to_owned(),
                    error: String::new(),
                    nodes: Vec::new(),
                    platforms: vec![
                        platform("linux/amd64", Runs::Native, Some(true)),
                        platform("linux/386", Runs::Compatible, Some(true)),
                        PlatformFound {
                            handler: Some(handler.clone()),
                            qemu: Some(qemu("/usr/bin/qemu-arm-static", "9.2.0", "")),
                            ..platform("linux/arm/v7", Runs::Host, Some(true))
                        },
                        PlatformFound {
                            handler: Some(handler),
                            ..platform("linux/arm/v6", Runs::Host, Some(false))
                        },
                        platform("linux/mips64", Runs::Host, Some(true)),
                        PlatformFound {
                            qemu: Some(qemu("/opt/\u{1b}[2J/qemu-aarch64", "", "")),
                            ..platform("linux/arm64", Runs::Namespace, Some(true))
                        },
                        because(
                            fetched,
                            "",
                            PlatformFound {
                                qemu: in_image(),
                                ..platform("linux/ppc64le", Runs::Namespace, None)
                            },
                        ),
                        because(
                            fetched,
                            "",
                            PlatformFound {
                                qemu: in_image(),
                                ..platform("linux/s390x", Runs::Namespace, None)
                            },
                        ),
                        because(
                            "there is no qemu-riscv64",
                            install,
                            platform("linux/riscv64", Runs::Missing, Some(false)),
                        ),
                        because(
                            "there is no qemu-loong64",
                            install,
                            platform("linux/loong64", Runs::Missing, Some(false)),
                        ),
                    ],
                },
                Builder {
                    name: "far".to_owned(),
                    driver: "docker-container".to_owned(),
                    error: String::new(),
                    nodes: vec![
                        node("far0", "running", "", "v0.23.0", &["linux/arm64", "linux/arm/v7"]),
                        node("far1", "error", "no such\ncontext", "", &[]),
                    ],
                    platforms: Vec::new(),
                },
                Builder {
                    name: "odd".to_owned(),
                    driver: String::new(),
                    error: "failed to find driver\n".to_owned(),
                    nodes: Vec::new(),
                    platforms: Vec::new(),
                },
            ],
            steps: StepsFound {
                run: true,
                ids: Ids::One,
                control_groups: 2,
                reason: String::new(),
                remedy: "sudo usermod --add-subuids 100000-165535 ann".to_owned(),
            },
            store: StoreFound {
                path: "/home/ann/.local/share/rbx".to_owned(),
                free: 12_300_000_000,
                size: 40_000_000_000,
            },
            engine: Some(DockerEngineFound {
                endpoint: "unix:///var/run/docker.sock".to_owned(),
                answers: true,
                version: "28.5.2".to_owned(),
                platform: "linux/amd64".to_owned(),
                image_store: "containerd".to_owned(),
                error: String::new(),
            }),
            registries: vec![
                RegistryFound {
                    name: "docker.io".to_owned(),
                    mirrors: vec!["localhost:5000".to_owned(), "http://m".to_owned()],
                    http: false,
                },
                RegistryFound { name: "registry.lan".to_owned(), mirrors: Vec::new(), http: true },
            ],
        }
    }

    #[test]
    fn people_read_a_table_and_remedies() {
        insta::assert_snapshot!(pretty(&report()), @r##"
        Machine:       linux/amd64, Linux 6.18.44
        Steps:         run without root, with one id: those that use others fail, such as apt-get install, control groups v2
        Store:         /home/ann/.local/share/rbx (12.3GB of 40GB free)
        Docker Engine: 28.5.2 at unix:///var/run/docker.sock (linux/amd64, image store: containerd)
        Registry:      docker.io: mirrored by localhost:5000, http://m
        Registry:      registry.lan: over HTTP

        Builder:       embedded (driver embedded)

        PLATFORM        RUNS                       BY                                                        WORKS
        linux/amd64     natively                   the CPU                                                   yes
        linux/386       natively, as compatible    the CPU                                                   yes
        linux/arm/v7    emulated, by the host      handler qemu-arm POCF: /usr/bin/qemu-arm-static (9.2.0)   yes
        linux/arm/v6    emulated, by the host      handler qemu-arm POCF: /usr/bin/qemu-arm                  no
        linux/mips64    emulated, by the host      a handler that cannot be seen from here                   yes
        linux/arm64     emulated, in a namespace   /opt/[2J/qemu-aarch64                                     yes
        linux/ppc64le   emulated, in a namespace   QEMU of the image tonistiigi/binfmt                       not tried
        linux/s390x     emulated, in a namespace   QEMU of the image tonistiigi/binfmt                       not tried
        linux/riscv64   -                          -                                                         no
        linux/loong64   -                          -                                                         no

        Builder:       far (driver docker-container)
        Node:          far0 at ssh://far (running, BuildKit v0.23.0): linux/arm64, linux/arm/v7
        Node:          far1 at ssh://far (error): no such context

        Builder:       odd (driver unknown)
        Error:         failed to find driver

        steps have one id only
          Remedy: sudo usermod --add-subuids 100000-165535 ann

        linux/ppc64le, linux/s390x: tonistiigi/binfmt is fetched when a build needs it

        linux/riscv64: there is no qemu-riscv64
        linux/loong64: there is no qemu-loong64
          Remedy: sudo apt-get install qemu-user-static
        "##);
    }

    #[test]
    fn handlers_are_installed_by_one_command() {
        let mut report = report();
        report.builders.truncate(1);
        for platform in &mut report.builders[0].platforms {
            platform.reason = "there is no handler".to_owned();
            let name = platform.platform.split('/').nth(1).unwrap_or_default();
            platform.remedy = format!("docker run qemu --install {name}");
        }
        report.builders[0].platforms[0].remedy = "install it, or docker run qemu --install amd64".to_owned();
        report.steps.ids = Ids::All;
        let text = pretty(&report);
        insta::assert_snapshot!(text.split_once("\nlinux/amd64: ").unwrap_or_default().1, @r##"
        there is no handler
          Remedy: install it, or docker run qemu --install amd64

        linux/386, linux/arm/v7, linux/arm/v6, linux/mips64, linux/arm64, linux/ppc64le, linux/s390x, linux/riscv64, linux/loong64: there is no handler
          Remedy: docker run qemu --install 386,arm,mips64,arm64,ppc64le,s390x,riscv64,loong64
        "##);
    }

    #[test]
    fn where_no_step_runs_that_is_said_once() {
        let mut report = report();
        report.steps = StepsFound {
            run: false,
            ids: Ids::Unknown,
            control_groups: 0,
            reason: "user namespaces are switched off".to_owned(),
            remedy: "sysctl user.max_user_namespaces=10000".to_owned(),
        };
        for platform in &mut report.builders[0].platforms {
            platform.works = Some(false);
            platform.reason.clone_from(&report.steps.reason);
            platform.remedy.clone_from(&report.steps.remedy);
        }
        report.engine = Some(DockerEngineFound {
            endpoint: "tcp://h:1".to_owned(),
            error: "Cannot connect to the Docker daemon at tcp://h:1".to_owned(),
            ..DockerEngineFound::default()
        });
        assert!(report.something_runs(), "a node runs");
        report.builders.truncate(1);
        assert!(!report.something_runs());
        let text = pretty(&report);
        insta::assert_snapshot!(text.lines().filter(|line| !line.contains("linux/")).collect::<Vec<_>>().join("\n"), @r##"
        Steps:         cannot run: user namespaces are switched off
        Store:         /home/ann/.local/share/rbx (12.3GB of 40GB free)
        Docker Engine: Cannot connect to the Docker daemon at tcp://h:1
        Registry:      docker.io: mirrored by localhost:5000, http://m
        Registry:      registry.lan: over HTTP

        Builder:       embedded (driver embedded)

        PLATFORM        RUNS                       BY                                                        WORKS

        no step can run: user namespaces are switched off
          Remedy: sysctl user.max_user_namespaces=10000
        "##);
    }

    #[test]
    fn names_of_json_stay() {
        let json = serde_json::to_string_pretty(&report()).unwrap();
        let names: std::collections::BTreeSet<&str> = json
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|name| json.contains(&format!("\"{name}\":")))
            .collect();
        insta::assert_snapshot!(names.into_iter().collect::<Vec<_>>().join(" "), @"Answers Builders ControlGroups Driver Endpoint Engine Error Flags Free HTTP Handler Ids Image ImageStore Interpreter Kernel Machine Mirrors Name Nodes Path Platform Platforms QEMU Reason Registries Remedy Run Runs Size Status Steps Store Version Works");
    }
}
