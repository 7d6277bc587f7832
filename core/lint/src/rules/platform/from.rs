//! `arch-prefixed-base`, `const-platform-in-context` and `platform-string`: what a `FROM` says about platforms.

use std::ops::Range;

use rbx_dockerfile::{Base, Body, Span, Stage, Word};
use rbx_platform::Platform;

use super::RULE;
use super::site::{is_for, stages};
use crate::arch::{self, Arch};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "arch-prefixed-base",
        severity: Severity::Warning,
        summary: "A base image's name is that of an image for another architecture",
        explanation: include_str!("../../../rules/platform/arch-prefixed-base.md"),
        check: Check::EachPlatform(|view| each(view, prefixed)),
        ..RULE
    },
    Rule {
        name: "const-platform-in-context",
        severity: Severity::Info,
        summary: "A stage is always built for one platform, whatever the image's or the machine's is",
        explanation: include_str!("../../../rules/platform/const-platform-in-context.md"),
        check: Check::EachPlatform(|view| each(view, constant)),
        ..RULE
    },
    Rule {
        name: "platform-string",
        severity: Severity::Warning,
        summary: "A platform is written in a way that no image has",
        explanation: include_str!("../../../rules/platform/platform-string.md"),
        changes: Some("a platform that there is"),
        check: Check::Once(strings),
        ..RULE
    },
];

fn each(view: &View<'_>, check: fn(&View<'_>, &Stage) -> Option<Found>) -> Vec<Found> {
    stages(view).filter_map(|(stage, _)| check(view, stage)).collect()
}

/// Docker Hub's namespaces of the official images for one architecture.
const NAMESPACES: [(&str, Arch); 12] = [
    ("amd64", Arch::Amd64),
    ("arm32v5", Arch::Arm(5)),
    ("arm32v6", Arch::Arm(6)),
    ("arm32v7", Arch::Arm(7)),
    ("arm64v8", Arch::Arm64),
    ("arm64", Arch::Arm64),
    ("i386", Arch::I386),
    ("mips64le", Arch::Mips64le),
    ("ppc64le", Arch::Ppc64le),
    ("riscv64", Arch::Riscv64),
    ("s390x", Arch::S390x),
    ("loong64", Arch::Loong64),
];

/// Parts of names of images that are named for what they make, not for what they run on.
const MAKERS: [&str; 6] = ["binfmt", "builder", "cross", "musl", "qemu", "toolchain"];

/// The architecture that an image's name is about, and where it says so; a whole namespace with its slash.
fn named(image: &str) -> Option<(Range<usize>, Arch)> {
    if MAKERS.iter().any(|maker| image.contains(maker)) {
        return None;
    }
    let image = image.split('@').next().unwrap_or_default();
    let hub = ["docker.io/", "index.docker.io/"]
        .iter()
        .find_map(|host| Some((host.len(), image.strip_prefix(host)?)));
    let (start, rest) = hub.unwrap_or((0, image));
    if let Some((namespace, name)) = rest.split_once('/')
        && !name.contains('/')
        && let Some((_, arch)) = NAMESPACES.iter().find(|(known, _)| *known == namespace)
    {
        return Some((start..start + namespace.len() + 1, *arch));
    }
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let tag = image[last..].find(':').map_or(image.len(), |colon| last + colon);
    let hits = arch::find(image);
    let hit = hits.into_iter().rfind(|hit| {
        let Range { start, end } = hit.range;
        let is_board = image.contains("balenalib/") && start == last;
        start > tag || is_board || end == tag && start > last
    })?;
    Some((hit.range, hit.arch))
}

/// An image for an architecture that the stage is not on.
fn prefixed(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Image(name) = &stage.base else { return None };
    let Body::From(body) = &view.from(stage)?.body else { return None };
    let (range, arch) = named(name)?;
    // What a variable says may be said from outside.
    if body.image.text.contains('$') || arch.runs_on(&stage.platform) || is_for(view, stage, arch) {
        return None;
    }
    let message = format!("{:?} is an image for {}", shown(name), arch.name());
    let mut found = Found::new(body.image.span, message);
    let is_namespace = name[range.clone()].ends_with('/');
    if is_namespace && body.image.span.slice(&view.file.text) == body.image.text {
        let at = |offset: usize| body.image.span.start.saturating_add(u32::try_from(offset).unwrap_or(0));
        let edit = Edit { span: Span { start: at(range.start), end: at(range.end) }, text: String::new() };
        let title = format!("Remove {}", &name[range]);
        found.fixes.push(Fix { title, safe: false, edits: vec![edit] });
    }
    Some(found)
}

/// A stage of a constant platform, where that is not the image's.
fn constant(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Image(image) = &stage.base else { return None };
    let value = view.from(stage)?.flag_value("platform").filter(|value| !value.text.contains('$'))?;
    let platform = Platform::parse_for(&value.text, &view.request.build_platform).ok()?;
    let last = view.evaluation.stages.get(view.evaluation.target?)?;
    // On a system that builds nothing, it only holds files.
    if platform.os != view.request.build_platform.os {
        return None;
    }
    // For the stage of the image itself there is a rule that is certain.
    if platform.matches(view.platform) || view.root(last).index == stage.index || named(image).is_some() {
        return None;
    }
    // As for BuildKit's rule, a stage whose name has the platform is meant to be so.
    let name = stage.name.as_deref().unwrap_or_default();
    let meant = [&platform.os, &platform.architecture].iter().any(|part| name.contains(part.as_str()))
        || arch::find(name).iter().any(|hit| hit.arch.runs_on(&platform));
    if meant {
        return None;
    }
    let written = shown(&value.text);
    let message = format!("A stage that is always on {written} is emulated on other machines");
    let mut found = Found::new(value.span, message);
    if value.span.slice(&view.file.text) == value.text {
        let edits = vec![Edit { span: value.span, text: "$BUILDPLATFORM".to_owned() }];
        let title = format!("Replace {written} with $BUILDPLATFORM");
        found.fixes.push(Fix { title, safe: false, edits });
    }
    Some(found)
}

/// Platforms of `FROM` and of the comment that says what the file is built for.
fn strings(view: &View<'_>) -> Vec<Found> {
    let flags = view.file.instructions.iter().filter(|it| matches!(it.body, Body::From(_)));
    let values = flags.filter_map(|from| from.flag_value("platform").cloned());
    values.chain(view.file.platforms()).filter_map(|word| odd(view, &word)).collect()
}

fn odd(view: &View<'_>, word: &Word) -> Option<Found> {
    if word.text.contains('$') {
        return None;
    }
    let meant = match Platform::parse_for(&word.text, &view.request.build_platform) {
        Ok(platform) if is_known(&platform) => return None,
        Ok(platform) => meant(&platform),
        // What is no platform at all is the language's to tell, unless it is clear what was meant.
        Err(_) => Some(meant_by_name(&word.text)?),
    };
    let written = shown(&word.text);
    let mut found = Found::new(
        word.span,
        match &meant {
            Some(platform) => format!("No image is for {written}; {platform} is what it seems to mean"),
            None => format!("No image is for {written}"),
        },
    );
    if let Some(platform) = meant
        && word.span.slice(&view.file.text) == word.text
    {
        let title = format!("Replace {written} with {platform}");
        let edits = vec![Edit { span: word.span, text: platform }];
        found.fixes.push(Fix { title, safe: true, edits });
    }
    Some(found)
}

/// Systems that images can be for: with what is made for them, if not with what runs on them.
const SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "wasi",
    "wasip1",
    "windows",
];

/// Whether images can be for it.
fn is_known(platform: &Platform) -> bool {
    let variant = platform.variant.as_deref().unwrap_or_default();
    let architecture = match platform.architecture.as_str() {
        "amd64" => matches!(variant, "" | "v2" | "v3" | "v4"),
        "arm" => matches!(variant, "v5" | "v6" | "v7" | "v8"),
        "arm64" => variant.is_empty() || variant.starts_with("v8.") || variant.starts_with("v9"),
        "386" | "loong64" | "mips" | "mips64" | "mips64le" | "mipsle" | "ppc64" | "ppc64le" | "riscv64"
        | "s390x" | "wasm" | "wasm32" => true,
        _ => false,
    };
    architecture && SYSTEMS.contains(&platform.os.as_str())
}

/// The platform that a wrong one is likely to mean.
fn meant(platform: &Platform) -> Option<String> {
    let os = SYSTEMS.contains(&platform.os.as_str()).then_some(&platform.os)?;
    let plain = Platform { variant: None, ..platform.clone() };
    if is_known(&plain) && plain.architecture != "arm" {
        return Some(plain.to_string());
    }
    Some(format!("{os}/{}", spelled(&platform.architecture)?))
}

/// The platform that the whole text names in another way.
fn meant_by_name(text: &str) -> Option<String> {
    Some(format!("linux/{}", spelled(text)?))
}

/// Docker's word for an architecture that is all of a text.
fn spelled(text: &str) -> Option<&'static str> {
    match arch::find(text).as_slice() {
        [hit] if hit.range.len() == text.len() => Some(match (text, hit.arch) {
            // Debian's, which is for ARMv7.
            ("armhf", _) => "arm/v7",
            (_, Arch::Arm(5)) => "arm/v5",
            (_, Arch::Arm(6)) => "arm/v6",
            (_, arch) => arch.name(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_tell_architectures() {
        for (image, wanted) in [
            ("amd64/alpine", "amd64/"),
            ("docker.io/arm64v8/debian:12", "arm64v8/"),
            ("a/amd64/b", ""),
            ("k8s.gcr.io/pause-amd64:3.1", "amd64"),
            ("quay.io/pypa/manylinux2014_x86_64", "x86_64"),
            ("balenalib/armv7hf-debian", "armv7hf"),
            ("a/b:1.0-arm64", "arm64"),
            ("a/b:x86_64-1.0", "x86_64"),
            ("amd64.example.com/b:1", ""),
            ("a/arm64-tools-for-b:1", ""),
            ("multiarch/qemu-user-static:x86_64-arm", ""),
            ("messense/rust-musl-cross:x86_64-musl", ""),
            ("amd64", ""),
            ("debian:stable@sha256:0", ""),
        ] {
            let found = named(image).map_or("", |(range, _)| &image[range]);
            assert_eq!(found, wanted, "{image}");
        }
    }
}
