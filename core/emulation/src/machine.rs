//! What this machine can run, and by what.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use rbx_platform::Platform;

use crate::handler::switched_off;
use crate::kernel::is_root;
use crate::{
    Architecture, Emulator, Handler, Kernel, Means, Missing, PassedOver, Qemu, Registration, Settings,
    Unusable, cpu, handlers, trial,
};

/// What this machine can run.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    host: Platform,
    release: String,
    /// Root of the host, not only in a user namespace.
    root: bool,
    /// Answers to what costs something, given when first asked.
    handlers: OnceLock<Vec<Handler>>,
    namespaces: OnceLock<Result<(), String>>,
    runs: Mutex<BTreeMap<Architecture, bool>>,
    qemus: Mutex<BTreeMap<Architecture, Result<Qemu, PassedOver>>>,
}

impl Machine {
    /// Looks at the machine. Little is done here: what costs something is found out when it is asked for, and kept.
    pub fn inspect(settings: &Settings) -> Self {
        let uname = rustix::system::uname();
        Self::new(settings, Platform::host(), uname.release().to_string_lossy().into_owned(), is_root())
    }

    fn new(settings: &Settings, host: Platform, release: String, root: bool) -> Self {
        Self {
            settings: settings.clone(),
            host,
            release,
            root,
            handlers: OnceLock::new(),
            namespaces: OnceLock::new(),
            runs: Mutex::default(),
            qemus: Mutex::default(),
        }
    }

    /// The platform of the machine.
    pub fn host(&self) -> &Platform {
        &self.host
    }

    /// The release of its kernel, as `uname -r` shows it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The version of its kernel.
    pub fn kernel(&self) -> Kernel {
        Kernel::parse(&self.release)
    }

    /// Whether this process is root of the machine, not only in a user namespace.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// The handlers of the host, the newest first.
    pub fn handlers(&self) -> &[Handler] {
        self.handlers.get_or_init(|| handlers(&self.settings.binfmt_misc))
    }

    /// The handler of the host that the kernel hands programs of an architecture to.
    pub fn handler(&self, architecture: Architecture) -> Option<&Handler> {
        let off = || switched_off(&self.settings.binfmt_misc);
        let found = self.handlers().iter().find(|handler| handler.enabled && handler.serves(architecture));
        found.filter(|_| !off())
    }

    /// QEMU of an architecture on this machine; if there is none to use, those that were passed over, and why.
    pub fn qemu(&self, architecture: Architecture) -> Result<Qemu, PassedOver> {
        let mut known = self.qemus.lock().unwrap_or_else(PoisonError::into_inner);
        let look = || Qemu::find(architecture, &self.settings.qemu_directories);
        known.entry(architecture).or_insert_with(look).clone()
    }

    /// Platforms that are known here, those of the CPU first: not all of them can be run.
    pub fn platforms(&self) -> Vec<Platform> {
        let own = Architecture::of(&self.host);
        let mut platforms = vec![self.host.clone()];
        let with = |architecture: Architecture, variant: Option<String>| Platform {
            os: "linux".to_owned(),
            architecture: architecture.name().to_owned(),
            variant,
            os_version: None,
        };
        if own == Some(Architecture::Amd64) {
            let versions = 2..=cpu::version();
            platforms.extend(versions.map(|n| with(Architecture::Amd64, Some(format!("v{n}")))));
        }
        let accepted = self.host.accepted();
        let second = |architecture: &Architecture| {
            accepted.iter().any(|platform| Architecture::of(platform) == Some(*architecture))
        };
        let (mut others, rest): (Vec<_>, Vec<_>) =
            Architecture::all().filter(|architecture| Some(*architecture) != own).partition(second);
        others.extend(rest);
        for architecture in others {
            match architecture {
                Architecture::Arm => {
                    platforms
                        .extend(["v7", "v6"].map(|variant| with(architecture, Some(variant.to_owned()))));
                }
                _ => platforms.push(with(architecture, None)),
            }
        }
        platforms
    }

    /// How programs of a platform are run here, or what is missing.
    pub fn means(&self, platform: &Platform) -> Result<Means, Box<Missing>> {
        let platform = platform.normalized();
        let missing = |reason: String, remedy: String| {
            Box::new(Missing { platform: platform.clone(), host: self.host.clone(), reason, remedy })
        };
        let always = self.settings.always.iter().any(|always| always.matches(&platform));
        if !always && self.is_native(&platform) {
            return Ok(Means::Native);
        }
        let elsewhere = || {
            format!("build it on a machine that runs {platform}, as a node of a builder of another driver")
        };
        if platform.os != "linux" || self.host.os != "linux" {
            let reason = "steps run by Linux, and for Linux, alone".to_owned();
            return Err(missing(reason, elsewhere()));
        }
        let Some(architecture) = Architecture::of(&platform) else {
            let reason = format!("there is no emulator for {} here", platform.architecture);
            return Err(missing(reason, elsewhere()));
        };
        if Architecture::of(&self.host) == Some(architecture) {
            return Err(if always {
                let reason = "QEMU would be run by itself for programs of the machine's own architecture";
                missing(reason.to_owned(), format!("take {platform} out of the setting emulation.always"))
            } else {
                let reason = "the CPU is not known to have all that such programs may use".to_owned();
                missing(reason, format!("build for {}, whose programs it runs", self.best_native()))
            });
        }
        if architecture == Architecture::Amd64
            && !matches!(platform.variant.as_deref(), None | Some("v2" | "v3"))
        {
            let reason = "QEMU does not have all that such programs may use".to_owned();
            return Err(missing(reason, "build for linux/amd64/v3".to_owned()));
        }
        // Handlers of the host are asked before the CPU, by the kernel, too.
        if !always
            && self.accepts(&platform)
            && self.handler(architecture).is_none()
            && self.runs(architecture)
        {
            return Ok(Means::Compatible);
        }
        self.emulation(architecture).map_err(|(reason, remedy)| missing(reason, remedy))
    }

    /// The CPU's own platform in its highest version.
    fn best_native(&self) -> Platform {
        let version = cpu::version();
        let own = Architecture::of(&self.host);
        let variant = (own == Some(Architecture::Amd64) && version > 1).then(|| format!("v{version}"));
        Platform { variant: variant.or_else(|| self.host.variant.clone()), ..self.host.clone() }
    }

    /// It is the CPU's own architecture, and the CPU has what the variant asks for.
    fn is_native(&self, platform: &Platform) -> bool {
        platform.architecture == self.host.architecture && self.best_native().accepted().contains(platform)
    }

    /// Machines such as this one run it, if the kernel was built and set up so.
    fn accepts(&self, platform: &Platform) -> bool {
        self.host.accepted().contains(platform)
    }

    /// This machine runs programs of an architecture: it was tried. An error of trying is no proof.
    fn runs(&self, architecture: Architecture) -> bool {
        let mut known = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(architecture).or_insert_with(|| trial::host(architecture).unwrap_or(false))
    }

    /// How programs that the CPU does not run are run; else reason and remedy.
    fn emulation(&self, architecture: Architecture) -> Result<Means, (String, String)> {
        let handler =
            || self.handler(architecture).filter(|handler| handler.is_fixed() && !is_dynamic(handler));
        let of_the_host = || match handler() {
            Some(handler) => Some(Means::Host(Some(handler.clone()))),
            None => (self.is_blind() && self.runs(architecture)).then_some(Means::Host(None)),
        };
        match self.settings.registration {
            Registration::None => Err((
                "emulation is switched off".to_owned(),
                r#"set "emulation": {"registration": "auto"} in rbx/config.json"#.to_owned(),
            )),
            Registration::Host => of_the_host().ok_or_else(|| self.no_handler(architecture)),
            Registration::Namespace => self.emulator(architecture),
            Registration::Auto => {
                if self.root && handler().is_some_and(Handler::keeps_credentials) {
                    return of_the_host().ok_or_else(|| self.no_handler(architecture));
                }
                let own = match self.namespaces() {
                    Ok(()) => self.emulator(architecture),
                    Err(reason) => {
                        let (first, remedy) = self.no_handler(architecture);
                        Err((format!("{first}, and {reason}"), remedy))
                    }
                };
                own.or_else(|failure| of_the_host().ok_or(failure))
            }
        }
    }

    /// Handlers of the host may be at work that cannot be seen here, since `binfmt_misc` is not mounted.
    fn is_blind(&self) -> bool {
        !self.settings.binfmt_misc.join("status").exists()
    }

    /// Whether a build can register handlers in a namespace of its own; if not, why. By the kernel's version, since to
    /// try it takes a process in new namespaces, and a module of the kernel that may not be loaded yet.
    pub fn namespaces(&self) -> Result<(), String> {
        let look = || {
            let kernel = self.kernel();
            if kernel < Kernel::NAMESPACES {
                let needed = Kernel::NAMESPACES;
                return Err(format!("Linux {kernel} has handlers for the whole host only, before {needed}"));
            }
            match std::fs::read_to_string("/proc/sys/user/max_user_namespaces") {
                Ok(text) if text.trim() == "0" => Err("user.max_user_namespaces is 0".to_owned()),
                _ => Ok(()),
            }
        };
        self.namespaces.get_or_init(look).clone()
    }

    /// QEMU for a namespace of the build.
    fn emulator(&self, architecture: Architecture) -> Result<Means, (String, String)> {
        let passed_over = match (self.qemu(architecture), &self.settings.qemu_image) {
            (Ok(qemu), _) => return Ok(Means::Namespace(architecture, Emulator::Found(qemu))),
            (Err(_), Some(image)) => {
                return Ok(Means::Namespace(architecture, Emulator::Image(image.clone())));
            }
            (Err(passed_over), None) => passed_over,
        };
        let reason = match passed_over.first() {
            Some((path, reason)) => format!("{} cannot be used: {reason}", path.display()),
            None => format!("there is no qemu-{} on this machine", architecture.qemu()),
        };
        let remedy = format!(
            "sudo apt-get install qemu-user-static, or set emulation.qemu.image to an image that has QEMU, such as \
             {}",
            Settings::IMAGE
        );
        Err((reason, remedy))
    }

    /// Why no handler of the host can be used.
    fn no_handler(&self, architecture: Architecture) -> (String, String) {
        let directory = self.settings.binfmt_misc.display();
        let serving = || self.handlers().iter().filter(|handler| handler.serves(architecture));
        let install = format!("docker run --privileged --rm {} --install {architecture}", Settings::IMAGE);
        if let Some(handler) = self.handler(architecture).filter(|handler| is_dynamic(handler)) {
            let interpreter = handler.interpreter.display();
            let reason = format!(
                "the handler {} of the host has {interpreter}, which is not statically linked",
                handler.name
            );
            return (reason, format!("sudo apt-get install qemu-user-static, or {install}"));
        }
        if let Some(handler) = self.handler(architecture).filter(|handler| !handler.is_fixed()) {
            let reason = format!(
                "the handler {} of the host has no flag F, so that {} would be looked for in the image",
                handler.name,
                handler.interpreter.display()
            );
            return (reason, handler.reregister(&self.settings.binfmt_misc));
        }
        if serving().next().is_some() && switched_off(&self.settings.binfmt_misc) {
            let reason = "the handlers of the host are all switched off".to_owned();
            return (reason, format!("sudo sh -c 'echo 1 > {directory}/status'"));
        }
        if let Some(handler) = serving().find(|handler| !handler.enabled) {
            let reason = format!("the handler {} of the host is disabled", handler.name);
            return (reason, format!("sudo sh -c 'echo 1 > {directory}/{}'", handler.name));
        }
        (format!("the host has no handler for {architecture}"), install)
    }
}

/// The handler's interpreter is here, and needs libraries that a step's root does not have.
fn is_dynamic(handler: &Handler) -> bool {
    matches!(Qemu::check(&handler.interpreter), Err(Some(Unusable::Dynamic)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rbx_tests::Parts;
    use rbx_tests::binfmt::{Registered, Untouched};

    use super::*;

    fn platform(specifier: &str) -> Platform {
        Platform::parse(specifier).unwrap()
    }

    /// A machine of a test's own: its handlers and its QEMUs.
    struct World {
        directory: tempfile::TempDir,
        settings: Settings,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let settings = Settings {
                qemu_directories: vec![directory.path().join("bin")],
                qemu_image: None,
                binfmt_misc: directory.path().join("binfmt_misc"),
                ..Settings::default()
            };
            fs::create_dir(directory.path().join("bin")).unwrap();
            fs::create_dir(directory.path().join("binfmt_misc")).unwrap();
            fs::write(directory.path().join("binfmt_misc/status"), "enabled\n").unwrap();
            Self { directory, settings }
        }

        fn with_handler(self, name: &str, state: &str, flags: &str) -> Self {
            self.with_handler_of(name, state, flags, "/no/such/qemu-aarch64")
        }

        fn with_handler_of(self, name: &str, state: &str, flags: &str, interpreter: &str) -> Self {
            let (magic, mask) = Architecture::Arm64.elf();
            let text = format!(
                "{state}\ninterpreter {interpreter}\nflags: {flags}\noffset 0\nmagic {}\nmask {}\n",
                hex::encode(magic),
                hex::encode(mask)
            );
            fs::write(self.settings.binfmt_misc.join(name), text).unwrap();
            self
        }

        fn with_qemu(self, name: &str, target: &Path) -> Self {
            symlink(target, self.directory.path().join("bin").join(name)).unwrap();
            self
        }

        fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
            change(&mut self.settings);
            self
        }

        fn machine(&self, release: &str, root: bool) -> Machine {
            Machine::new(&self.settings, platform("linux/amd64"), release.to_owned(), root)
        }

        /// How a machine of amd64 runs a platform, in a few words; as root and as a user.
        fn says(&self, release: &str, wanted: &str) -> [String; 2] {
            [true, false].map(|root| match self.machine(release, root).means(&platform(wanted)) {
                Ok(Means::Host(Some(handler))) => format!("host {} {}", handler.name, handler.flags),
                Ok(Means::Namespace(_, Emulator::Found(qemu))) => {
                    format!("namespace {}", qemu.path.file_name().unwrap().display())
                }
                Ok(Means::Namespace(_, Emulator::Image(image))) => format!("namespace {image}"),
                Ok(means) => format!("{means:?}"),
                Err(missing) => {
                    let directory = self.directory.path().display().to_string();
                    format!("{} | {}", missing.reason, missing.remedy).replace(&directory, "")
                }
            })
        }
    }

    fn both(text: &str) -> [String; 2] {
        [text.to_owned(), text.to_owned()]
    }

    #[test]
    fn the_best_means_is_taken() {
        let qemu = Parts::locate().program("qemu-aarch64");
        let arm = |world: &World| world.says("6.18.0", "linux/arm64");
        let old = |world: &World| world.says("6.1.0-18-amd64", "linux/arm64");

        let world = World::new().with_qemu("qemu-aarch64", &qemu).with_handler("a", "enabled", "POCF");
        assert_eq!(arm(&world), ["host a POCF", "namespace qemu-aarch64"]);
        assert_eq!(old(&world), both("host a POCF"));

        let world = World::new().with_qemu("qemu-aarch64", &qemu).with_handler("a", "enabled", "F");
        assert_eq!(arm(&world), both("namespace qemu-aarch64"));
        assert_eq!(old(&world), both("host a F"));

        let world = World::new().with_handler("a", "enabled", "F");
        assert_eq!(arm(&world), both("host a F"));
        // The first kernel with namespaces for handlers, and the last without.
        let first = World::new().with_qemu("qemu-aarch64", &qemu);
        assert_eq!(first.says("6.7.0", "linux/arm64"), both("namespace qemu-aarch64"));
        assert!(first.says("6.6.99", "linux/arm64")[0].starts_with("the host has no handler"));
        let world = world.set(|settings| settings.qemu_image = Some("q".to_owned()));
        assert_eq!(arm(&world), both("namespace q"));
        assert_eq!(old(&world), both("host a F"));
        let world = world.set(|settings| settings.registration = Registration::Host);
        assert_eq!(arm(&world), both("host a F"));
        let world = world.set(|settings| settings.registration = Registration::Namespace);
        assert_eq!(old(&world), both("namespace q"));
        assert!(world.says("6.18.0", "linux/s390x")[0].starts_with("namespace q"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_mends_it() {
        let arm = |world: &World, release| {
            let [root, user] = world.says(release, "linux/arm64");
            assert_eq!(root, user);
            root
        };
        insta::assert_snapshot!(arm(&World::new(), "6.18.0"), @"there is no qemu-aarch64 on this machine | sudo apt-get install qemu-user-static, or set emulation.qemu.image to an image that has QEMU, such as tonistiigi/binfmt");
        insta::assert_snapshot!(arm(&World::new(), "6.1.0-18-amd64"), @"the host has no handler for arm64, and Linux 6.1 has handlers for the whole host only, before 6.7 | docker run --privileged --rm tonistiigi/binfmt --install arm64");
        let dynamic = World::new().with_qemu("qemu-aarch64-static", Path::new("/bin/sh"));
        insta::assert_snapshot!(arm(&dynamic, "6.18.0"), @"/bin/qemu-aarch64-static cannot be used: it is not statically linked | sudo apt-get install qemu-user-static, or set emulation.qemu.image to an image that has QEMU, such as tonistiigi/binfmt");
        let loose = World::new().with_handler("a", "enabled", "P");
        insta::assert_snapshot!(arm(&loose, "6.1"), @r#"the handler a of the host has no flag F, so that /no/such/qemu-aarch64 would be looked for in the image, and Linux 6.1 has handlers for the whole host only, before 6.7 | sudo sh -c 'echo -1 > /binfmt_misc/a; printf %s "$0" > /binfmt_misc/register' ':a:M:0:\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff:/no/such/qemu-aarch64:PF'"#);
        let disabled = World::new().with_handler("a", "disabled", "F");
        insta::assert_snapshot!(arm(&disabled, "6.1"), @"the handler a of the host is disabled, and Linux 6.1 has handlers for the whole host only, before 6.7 | sudo sh -c 'echo 1 > /binfmt_misc/a'");
        let off = World::new().with_handler("a", "enabled", "F").with_handler("x", "disabled", "F");
        fs::write(off.settings.binfmt_misc.join("status"), "disabled\n").unwrap();
        insta::assert_snapshot!(arm(&off, "6.1"), @"the handlers of the host are all switched off, and Linux 6.1 has handlers for the whole host only, before 6.7 | sudo sh -c 'echo 1 > /binfmt_misc/status'");
        let dynamic = World::new().with_handler_of("a", "enabled", "F", "/bin/sh");
        insta::assert_snapshot!(arm(&dynamic, "6.1"), @"the handler a of the host has /bin/sh, which is not statically linked, and Linux 6.1 has handlers for the whole host only, before 6.7 | sudo apt-get install qemu-user-static, or docker run --privileged --rm tonistiigi/binfmt --install arm64");
        let forbidden = World::new()
            .with_handler("a", "enabled", "FC")
            .set(|settings| settings.registration = Registration::None);
        insta::assert_snapshot!(arm(&forbidden, "6.18"), @r#"emulation is switched off | set "emulation": {"registration": "auto"} in rbx/config.json"#);
        let host_only = World::new().set(|settings| {
            settings.registration = Registration::Host;
            settings.qemu_image = Some("q".to_owned());
        });
        insta::assert_snapshot!(arm(&host_only, "6.18"), @"the host has no handler for arm64 | docker run --privileged --rm tonistiigi/binfmt --install arm64");
    }

    #[test]
    fn platforms_of_no_emulator_are_named() {
        let world = World::new().set(|settings| {
            settings.qemu_image = Some("q".to_owned());
            settings.always = vec![platform("linux/amd64")];
        });
        let says = |wanted: &str| world.says("6.18", wanted)[0].clone();
        insta::assert_snapshot!(says("windows/amd64"), @"steps run by Linux, and for Linux, alone | build it on a machine that runs windows/amd64, as a node of a builder of another driver");
        insta::assert_snapshot!(says("linux/sparc64"), @"there is no emulator for sparc64 here | build it on a machine that runs linux/sparc64, as a node of a builder of another driver");
        insta::assert_snapshot!(says("linux/amd64"), @"QEMU would be run by itself for programs of the machine's own architecture | take linux/amd64 out of the setting emulation.always");
        insta::assert_snapshot!(says("linux/amd64/v9").replace(&cpu::version().to_string(), "N"), @"the CPU is not known to have all that such programs may use | build for linux/amd6N/vN, whose programs it runs");
        let missing = world.machine("6.18", true).means(&platform("linux/sparc64")).unwrap_err();
        insta::assert_snapshot!(missing, @"there is no emulator for sparc64 here: this machine, which is linux/amd64, cannot run linux/sparc64");
        let arm = Machine::new(&world.settings, platform("linux/arm64"), "6.18".to_owned(), true);
        assert!(matches!(arm.means(&platform("linux/amd64/v3")), Err(_) | Ok(Means::Namespace(..))));
        assert!(arm.means(&platform("linux/amd64/v4")).unwrap_err().reason.starts_with("QEMU does not"));
    }

    #[test]
    fn the_cpu_runs_its_own() {
        let host = Platform::host();
        let machine = Machine::inspect(&Settings { qemu_image: None, ..Settings::default() });
        assert_eq!(machine.means(&host), Ok(Means::Native));
        assert_eq!(machine.host(), &host);
        assert!(machine.kernel() >= Kernel { major: 5, minor: 15 });
        let platforms = machine.platforms();
        assert_eq!(platforms[0], host);
        for platform in platforms.iter().filter(|platform| platform.architecture == host.architecture) {
            assert_eq!(machine.means(platform), Ok(Means::Native), "{platform}");
        }
        assert!(platforms.contains(&self::platform("linux/riscv64")));
        assert!(platforms.contains(&self::platform("linux/arm/v6")));
    }

    #[test]
    fn a_compatible_platform_is_tried() {
        let world = World::new();
        let machine = world.machine("6.18", true);
        let tried = trial::host(Architecture::I386).unwrap();
        assert_eq!(machine.means(&platform("linux/386")) == Ok(Means::Compatible), tried);
        let always = world.set(|settings| settings.always = vec![platform("linux/386")]);
        assert!(always.says("6.18", "linux/386")[0].starts_with("there is no qemu-i386"));
        let none = World::new().set(|settings| settings.registration = Registration::None);
        assert_eq!(none.machine("6.18", true).means(&platform("linux/386")) == Ok(Means::Compatible), tried);
    }

    #[test]
    fn handlers_that_cannot_be_seen_are_tried() {
        // No test registers one meanwhile.
        let _untouched = Untouched::hold();
        let world = World::new().set(|settings| settings.registration = Registration::Host);
        fs::remove_file(world.settings.binfmt_misc.join("status")).unwrap();
        let machine = world.machine("6.18", true);
        let tried = trial::host(Architecture::S390x).unwrap();
        assert_eq!(machine.means(&platform("linux/s390x")) == Ok(Means::Host(None)), tried);
        assert!(machine.means(&platform("linux/s390x")).is_ok() == tried);
    }

    #[test]
    fn handlers_of_the_host_are_what_the_kernel_goes_by() {
        let qemu = Parts::locate().program("qemu-s390x");
        let mut registered = Registered::hold();
        let own = Handler::qemu(Architecture::S390x, &qemu);
        let machine = |directory: &Path| {
            let settings = Settings {
                qemu_image: None,
                binfmt_misc: directory.to_owned(),
                registration: Registration::Host,
                ..Settings::default()
            };
            Machine::inspect(&settings)
        };
        let seen = |means| match means {
            Ok(Means::Host(handler)) => Some(handler),
            _ => None,
        };
        let s390x = platform("linux/s390x");
        if machine(Registered::directory()).handler(Architecture::S390x).is_none() {
            assert!(!trial::host(Architecture::S390x).unwrap());
        }
        registered.register(&own.register_line());
        let handler = seen(machine(Registered::directory()).means(&s390x)).unwrap().unwrap();
        assert_eq!(
            (&handler.name, &handler.interpreter, &handler.pattern),
            (&own.name, &own.interpreter, &own.pattern)
        );
        assert!(handler.is_fixed() && handler.keeps_credentials());
        assert!(trial::host(Architecture::S390x).unwrap());
        // From where it cannot be seen, it is tried.
        assert_eq!(seen(machine(Path::new("/no/such/binfmt_misc")).means(&s390x)), Some(None));
        // The newest is asked first.
        let newer = Handler { name: "rbx-newer".to_owned(), ..own };
        registered.register(&newer.register_line());
        let handler = seen(machine(Registered::directory()).means(&s390x)).unwrap().unwrap();
        assert_eq!(handler.name, "rbx-newer");
    }
}
