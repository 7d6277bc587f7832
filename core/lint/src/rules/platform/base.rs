//! What registries have under the names of base images: `base-missing-platform`, `base-silent-fallback`,
//! `base-digest-single-arch`, `base-config-mismatch`

use rbx_dockerfile::{Base, Body, From, Instruction, Op, Span, Stage};

use super::RULE;
use crate::facts::{ImageFacts, accepts, without_digest};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

/// Platforms that a message lists, at most.
const MAX_LISTED: usize = 12;
/// Characters of a digest in a message, the `sha256:` included.
const DIGEST_SHOWN: usize = 19;

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "base-missing-platform",
        severity: Severity::Error,
        summary: "An image is not built for this platform",
        explanation: include_str!("../../../rules/platform/base-missing-platform.md"),
        check: Check::EachPlatform(missing),
        ..RULE
    },
    Rule {
        name: "base-silent-fallback",
        severity: Severity::Warning,
        summary: "A base image is taken that is for another platform",
        explanation: include_str!("../../../rules/platform/base-silent-fallback.md"),
        check: Check::EachPlatform(fallback),
        ..RULE
    },
    Rule {
        name: "base-digest-single-arch",
        severity: Severity::Warning,
        summary: "A base image is pinned to the digest of one platform's image",
        explanation: include_str!("../../../rules/platform/base-digest-single-arch.md"),
        check: Check::EachPlatform(single),
        ..RULE
    },
    Rule {
        name: "base-config-mismatch",
        severity: Severity::Warning,
        summary: "An index lists a base image for another platform than the image is for",
        explanation: include_str!("../../../rules/platform/base-config-mismatch.md"),
        check: Check::EachPlatform(mismatch),
        ..RULE
    },
];

/// An image that a stage stands on, and that something is known of.
struct BaseImage<'a> {
    name: &'a str,
    facts: &'a ImageFacts,
    stage: &'a Stage,
    from: &'a Instruction,
    /// Where its name stands.
    span: Span,
}

fn bases<'a>(view: &View<'a>) -> impl Iterator<Item = BaseImage<'a>> {
    let facts = view.facts;
    view.stages().filter_map(move |(stage, instructions)| {
        let Base::Image(name) = &stage.base else { return None };
        let from = instructions.first()?;
        let Body::From(body) = &from.body else { return None };
        Some(BaseImage { name, facts: facts.images.get(name)?, stage, from, span: body.image.span })
    })
}

fn missing(view: &View<'_>) -> Vec<Found> {
    if view.facts.images.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for base in bases(view) {
        if let Some(mut found) = no_match(view, base.name, base.stage, base.span) {
            found.fixes.extend(native(view, &base));
            all.push(found);
        }
    }
    for (stage, _) in view.stages() {
        // What copies take files from is of the stage's platform, too. Triggers stand in no instruction of this file.
        for step in stage.steps.iter().filter(|step| !step.on_build) {
            let Some(instruction) = view.file.instruction_at(step.span.start) else { continue };
            match &step.op {
                Op::Copy(copy) => {
                    if let (From::Image(name), Some(flag)) = (&copy.from, instruction.flag("from")) {
                        all.extend(no_match(view, name, stage, flag.span));
                    }
                }
                Op::Run(run) => {
                    let flags = instruction.flags.iter().filter(|flag| flag.name.text == "mount");
                    for (mount, flag) in run.mounts.iter().zip(flags) {
                        if let From::Image(name) = &mount.from {
                            all.extend(no_match(view, name, stage, flag.span));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    all
}

/// The finding where an index has nothing for a stage's platform.
fn no_match(view: &View<'_>, name: &str, stage: &Stage, span: Span) -> Option<Found> {
    let image = view.facts.images.get(name)?;
    if !matches!(image, ImageFacts::Index { .. }) || image.picked(&stage.platform).is_some() {
        return None;
    }
    let wanted = if view.platform.matches(&stage.platform) {
        "platform".to_owned()
    } else {
        stage.platform.format_all()
    };
    let there = image.platforms();
    let mut list: Vec<String> = there.iter().take(MAX_LISTED).map(|it| it.format_all()).collect();
    if there.len() > MAX_LISTED {
        list.push("others".to_owned());
    }
    let list = if list.is_empty() { "no platform".to_owned() } else { list.join(", ") };
    let message = format!("No match for {wanted} in the manifest of {}, which is for {list}", short(name));
    Some(Found::new(span, message))
}

/// The stage is one whose files are copied: then the build's own platform may do, if the image is there for that.
fn native(view: &View<'_>, base: &BaseImage<'_>) -> Option<Fix> {
    let is_copied = view.evaluation.target.is_some_and(|target| {
        let target = view.evaluation.stages.get(target);
        target.is_some_and(|target| view.root(target).index != base.stage.index)
    });
    let there = base.facts.picked(&view.request.build_platform).is_some();
    if !is_copied || !there || base.from.flag("platform").is_some() {
        return None;
    }
    let at = Span { start: base.span.start, end: base.span.start };
    Some(Fix {
        title: "Do the stage's steps on the platform of the build".to_owned(),
        safe: false,
        edits: vec![Edit { span: at, text: "--platform=$BUILDPLATFORM ".to_owned() }],
    })
}

fn fallback(view: &View<'_>) -> Vec<Found> {
    let found = bases(view).filter_map(|base| {
        let wanted = &base.stage.platform;
        let taken = base.facts.picked(wanted)?.platform.as_ref()?;
        if wanted.matches(taken) {
            return None;
        }
        let name = short(base.name);
        let mut found = Found::new(
            base.span,
            format!("{name} is not built for this platform, and the build takes what is for {taken}"),
        );
        // A smaller variant of the same architecture is meant to be taken.
        found.severity = (wanted.architecture == taken.architecture).then_some(Severity::Info);
        Some(found)
    });
    found.collect()
}

fn single(view: &View<'_>) -> Vec<Found> {
    let found = bases(view).filter_map(|base| {
        let ImageFacts::Manifest { digest, platform: Some(only) } = base.facts else { return None };
        if !base.name.contains('@') || accepts(&base.stage.platform, only) {
            return None;
        }
        let name = short(base.name);
        let mut found =
            Found::new(base.span, format!("{name} is one image, for {only}, whatever is built for"));
        found.fixes.extend(pin_index(view, base.name, digest, base.span));
        Some(found)
    });
    found.collect()
}

/// Puts the digest of the index that a tag stands for in the place of the digest of one image.
pub(super) fn pin_index(view: &View<'_>, name: &str, digest: &str, span: Span) -> Option<Fix> {
    let tagged = without_digest(name)?;
    let ImageFacts::Index { digest: index, entries } = view.facts.images.get(tagged)? else { return None };
    let written = span.slice(&view.file.text);
    let at = u32::try_from(written.find(digest)?).ok()?;
    let start = span.start.checked_add(at)?;
    let span = Span { start, end: start.checked_add(u32::try_from(digest.len()).ok()?)? };
    Some(Fix {
        title: format!("Pin the index of {}, which has an image for each platform", shown(tagged)),
        // Otherwise the tag means another version by now.
        safe: entries.iter().any(|entry| entry.digest == *digest),
        edits: vec![Edit { span, text: index.clone() }],
    })
}

fn mismatch(view: &View<'_>) -> Vec<Found> {
    let found = bases(view).filter_map(|base| {
        let entry = base.facts.picked(&base.stage.platform)?;
        let (listed, own) = (entry.platform.as_ref()?, entry.config.as_ref()?);
        let (first, second) = (listed.normalized(), own.normalized());
        // Many images leave the variant out.
        if (&first.os, &first.architecture) == (&second.os, &second.architecture) {
            return None;
        }
        let name = short(base.name);
        Some(Found::new(base.span, format!("{name} lists an image for {listed} that is one for {own}")))
    });
    found.collect()
}

/// The name of an image as messages show it: a digest is cut short.
pub(super) fn short(name: &str) -> String {
    match name.split_once('@') {
        Some((name, digest)) => {
            let end = digest.char_indices().nth(DIGEST_SHOWN).map_or(digest.len(), |(end, _)| end);
            let dots = if end < digest.len() { "…" } else { "" };
            format!("{}@{}{dots}", shown(name), &digest[..end])
        }
        None => shown(name),
    }
}
