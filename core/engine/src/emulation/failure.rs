//! Why an emulated step failed, where QEMU has a part in it.

use rbx_emulation::{Architecture, Qemu, Settings};
use rbx_platform::Platform;
use rbx_sandbox::Exit;

/// What a step ran under.
#[derive(Debug, Clone)]
pub(crate) struct Under {
    pub(crate) platform: Platform,
    /// The build registered it in a user namespace of its own; else it is a handler of the host.
    pub(crate) namespace: bool,
    /// QEMU, where that is what it is.
    pub(crate) qemu: Option<Qemu>,
    /// The image that it is from.
    pub(crate) image: Option<String>,
}

/// What may help against faults of QEMU.
const REMEDIES: &str = "try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull \
                        renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM";
/// What is repeated of a step's output has this length at most.
const LONGEST_SHOWN: usize = 200;
/// Signals that a program gets for what it does itself, and that a wrong translation of it brings about: their number,
/// and their names.
const FAULTS: [(i32, &str); 3] = [(4, "illegal instruction"), (7, "bus error"), (11, "segmentation fault")];
/// What QEMU says of a program that ended by a signal, before the signal's number.
const UNCAUGHT: &str = "qemu: uncaught target signal ";
/// What QEMU says where it fails itself.
const INTERNAL: [&str; 4] =
    ["QEMU internal SIG", "qemu: unhandled CPU exception", "code should not be reached", "tcg fatal error"];
/// What older versions, and newer ones that were told to, say of a system call they do not know.
const UNSUPPORTED: &str = "Unsupported syscall: ";
/// What the C library says of such a call.
const NOT_IMPLEMENTED: &str = "Function not implemented";
/// What QEMU says where the program's loader is not in the image.
const NO_LOADER: &str = ": Could not open '";

impl Under {
    /// What may help with a step that ended in this way and said this last: QEMU's part in it, if it has one. A program
    /// that a shell or `make` started may have crashed, too, and what they exit with is their own.
    pub(crate) fn hint(&self, exit: &Exit, said: &[u8]) -> Option<String> {
        let said = String::from_utf8_lossy(said);
        let platform = &self.platform;
        if let Some(what) = crash(exit, &said) {
            return Some(format!(
                "this is most likely a crash of {}, which emulates {platform} here: {what}; a fault of the program \
                 itself would look the same; {REMEDIES}",
                self.emulator()
            ));
        }
        if let Some(call) = said.lines().rev().find_map(|line| number_after(line, UNSUPPORTED)) {
            return Some(format!(
                "{}, which emulates {platform} here, does not know system call {call}; {REMEDIES}",
                self.emulator()
            ));
        }
        if let Some(loader) = said.lines().rev().find_map(missing_loader) {
            return Some(format!(
                "a program for {platform} wants the loader {loader}, which is not in the image: link it statically, or \
                 take a base image with its C library"
            ));
        }
        if said.contains(NOT_IMPLEMENTED) {
            return Some(format!(
                "perhaps {}, which emulates {platform} here, does not know a system call: that is what \
                 {NOT_IMPLEMENTED:?} means; {REMEDIES}",
                self.emulator()
            ));
        }
        let device = |line: &str| line.contains("mknod") && line.contains("Operation not permitted");
        if self.namespace && said.lines().any(device) {
            let architecture = Architecture::of(platform).map_or("all", Architecture::name);
            return Some(format!(
                "emulated steps run in a user namespace of the build, where nobody can make device nodes; where the \
                 host has a handler for {platform}, steps of root can: docker run --privileged --rm {} --install \
                 {architecture}",
                Settings::IMAGE
            ));
        }
        None
    }

    /// What people call the emulator, with its version where it can be asked: a program of this machine can, one that
    /// came with an image is run in steps alone.
    fn emulator(&self) -> String {
        match (&self.image, &self.qemu) {
            (Some(image), _) => format!("QEMU of {image}"),
            (None, Some(qemu)) => match qemu.version() {
                Ok(version) => format!("QEMU {version} ({})", qemu.path.display()),
                Err(_) => format!("QEMU ({})", qemu.path.display()),
            },
            (None, None) => "the host's emulator".to_owned(),
        }
    }
}

/// How something crashed, if it did.
fn crash(exit: &Exit, said: &str) -> Option<String> {
    if let Some(line) = said.lines().rev().find(|line| INTERNAL.iter().any(|words| line.contains(words))) {
        let line: String = line.trim().chars().take(LONGEST_SHOWN).collect();
        return Some(format!("it said {line:?}"));
    }
    let reported = said.lines().rev().filter_map(|line| number_after(line, UNCAUGHT));
    // As a shell tells of a signal.
    let ended = [exit.signal, exit.code.checked_sub(128)].into_iter().flatten();
    reported.chain(ended).find_map(|signal| {
        let (number, name) = FAULTS.iter().find(|(number, _)| *number == signal)?;
        Some(format!("signal {number} ({name})"))
    })
}

/// The number that follows some words.
fn number_after(line: &str, words: &str) -> Option<i32> {
    let (_, rest) = line.split_once(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The loader that QEMU did not find: `qemu-aarch64: Could not open '/lib/ld-linux-aarch64.so.1': No such file…`.
fn missing_loader(line: &str) -> Option<&str> {
    let (program, rest) = line.split_once(NO_LOADER)?;
    let path = rest.split_once('\'').map(|(path, _)| path)?;
    let qemu = program.rsplit('/').next()?.starts_with("qemu-");
    (qemu && path.starts_with('/') && path.len() <= LONGEST_SHOWN).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(namespace: bool) -> Under {
        let platform = Platform::parse("linux/arm64").unwrap();
        Under { platform, namespace, qemu: None, image: namespace.then(|| "mine/qemu".to_owned()) }
    }

    fn hint(code: i32, signal: Option<i32>, said: &str) -> Option<String> {
        under(true).hint(&Exit { code, signal, out_of_memory: false }, said.as_bytes())
    }

    #[test]
    fn crashes_are_told_whoever_crashed() {
        let segv = "qemu: uncaught target signal 11 (Segmentation fault) - core dumped\nSegmentation fault\n";
        insta::assert_snapshot!(hint(139, Some(11), "").unwrap(), @"this is most likely a crash of QEMU of mine/qemu, which emulates linux/arm64 here: signal 11 (segmentation fault); a fault of the program itself would look the same; try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM");
        for (code, signal, said) in [
            (139, None, ""),
            (139, None, segv),
            (100, None, segv),
            (
                2,
                None,
                "qemu: uncaught target signal 4 (Illegal instruction) - core dumped\nmake: *** Error 132\n",
            ),
            (1, None, "QEMU internal SIGSEGV {code=MAPERR, addr=0x20}\n"),
            (1, None, "qemu: unhandled CPU exception 0x10006 - aborting\n"),
            (1, None, &format!("tcg fatal error {}", "\u{1f980}".repeat(3000))),
        ] {
            let hint = hint(code, signal, said).unwrap_or_default();
            assert!(hint.chars().count() < 600, "{}", hint.chars().count());
            assert!(
                hint.contains("a crash of QEMU of mine/qemu, which emulates linux/arm64 here"),
                "{code} {said}: {hint}"
            );
        }
    }

    #[test]
    fn what_programs_do_themselves_is_not_blamed_on_qemu() {
        for (code, signal, said) in [
            (1, None, "no"),
            (134, Some(6), "qemu: uncaught target signal 6 (Aborted) - core dumped\n"),
            (137, Some(9), ""),
            (1, None, "cat: Could not open 'x'"),
            (1, None, &format!("qemu-arm: Could not open '/{}': x", "y".repeat(200))),
        ] {
            assert_eq!(hint(code, signal, said), None, "{code} {said}");
        }
        let here = under(false);
        let exit = Exit { code: 1, signal: None, out_of_memory: false };
        assert_eq!(here.hint(&exit, b"mknod: /d: Operation not permitted\n"), None);
    }

    #[test]
    fn system_calls_loaders_and_devices_have_hints_of_their_own() {
        insta::assert_snapshot!(hint(1, None, "qemu: Unsupported syscall: 424\n").unwrap(), @"QEMU of mine/qemu, which emulates linux/arm64 here, does not know system call 424; try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM");
        insta::assert_snapshot!(hint(1, None, "x: Function not implemented\n").unwrap(), @r#"perhaps QEMU of mine/qemu, which emulates linux/arm64 here, does not know a system call: that is what "Function not implemented" means; try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM"#);
        let loader = "qemu-aarch64: Could not open '/lib/ld-linux-aarch64.so.1': No such file or directory\n";
        insta::assert_snapshot!(hint(255, None, loader).unwrap(), @"a program for linux/arm64 wants the loader /lib/ld-linux-aarch64.so.1, which is not in the image: link it statically, or take a base image with its C library");
        insta::assert_snapshot!(hint(1, None, "mknod: /d: Operation not permitted\n").unwrap(), @"emulated steps run in a user namespace of the build, where nobody can make device nodes; where the host has a handler for linux/arm64, steps of root can: docker run --privileged --rm tonistiigi/binfmt --install arm64");
    }
}
