//! Changes of base images and stages.

use rbx_dockerfile::{Base, Body, FromBody, Instruction, Keyword, Span, Stage};

use super::{Place, Refactoring, RefactoringKind, insert, newline, replace};
use crate::facts::ImageFacts;
use crate::finding::shown;
use crate::place::{in_case_of, line_before};

pub(super) fn changes(place: &Place<'_>) -> Vec<Refactoring> {
    let mut all = Vec::new();
    for instruction in place.instructions {
        let Body::From(body) = &instruction.body else { continue };
        let stage = place.evaluation.stages.iter().find(|stage| stage.span.start == instruction.span.start);
        let Some(stage) = stage.filter(|stage| matches!(stage.base, Base::Image(_))) else { continue };
        let written = body.image.span.slice(&place.file.text);
        if written != body.image.text {
            continue;
        }
        if !written.contains('$') {
            all.extend(digest(place, body, written));
            all.extend(tag(place, body, written));
        }
        all.extend(build_platform(place, instruction, stage));
    }
    all
}

/// Pins an image to what its tag stands for, or goes back to the tag.
fn digest(place: &Place<'_>, body: &FromBody, name: &str) -> Option<Refactoring> {
    let kind = RefactoringKind::Rewrite;
    let end = body.image.span.end;
    if let Some((tagged, digest)) = name.split_once('@') {
        // Without a tag, the name would mean another image.
        let has_tag = tagged.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let start = end.saturating_sub(u32::try_from(digest.len() + 1).ok()?);
        return has_tag.then(|| Refactoring {
            title: format!("Unpin {}: take what the tag stands for when it is built", shown(tagged)),
            kind,
            edits: Ok(vec![replace(Span { start, end }, "")]),
        });
    }
    let digest = match place.facts.images.get(name) {
        Some(ImageFacts::Index { digest, .. } | ImageFacts::Manifest { digest, .. }) => Ok(digest),
        Some(ImageFacts::Missing) => Err(format!("the registry has no {name}")),
        None => Err(format!("it is not known what {name} stands for: rbx.online lets the registry be asked")),
    };
    Some(Refactoring {
        title: format!("Pin {} to its digest", shown(name)),
        kind,
        edits: digest.map(|digest| vec![insert(end, format!("@{digest}"))]),
    })
}

/// Gives the tag of an image a name: an `ARG` before the first stage.
fn tag(place: &Place<'_>, body: &FromBody, name: &str) -> Option<Refactoring> {
    let file = place.file;
    // A digest counts, whatever the tag is.
    let is_tag = |(_, tag): &(&str, &str)| !tag.contains('/') && !name.contains('@');
    let (image, tag) = name.rsplit_once(':').filter(is_tag)?;
    let last = image.rsplit('/').next()?;
    let upper = last.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let variable = format!("{}_VERSION", upper.trim_start_matches(|c: char| c.is_ascii_digit()));
    // One of that name could have another value.
    if tag.is_empty() || file.text.contains(&variable) {
        return None;
    }
    let first = file.instructions.iter().find(|it| it.keyword == Keyword::From)?;
    let arg = in_case_of(file, first, "ARG");
    let line = line_before(file, first, &format!("{arg} {variable}={tag}"));
    let start = body.image.span.start.checked_add(u32::try_from(image.len() + 1).ok()?)?;
    let end = start.checked_add(u32::try_from(tag.len()).ok()?)?;
    Some(Refactoring {
        title: format!("Let --build-arg {variable} choose the tag of {}", shown(image)),
        kind: RefactoringKind::Extract,
        edits: Ok(vec![line, replace(Span { start, end }, format!("${{{variable}}}"))]),
    })
}

/// Has a stage that is not the last run on the platform of the build, and know what it builds for.
fn build_platform(place: &Place<'_>, instruction: &Instruction, stage: &Stage) -> Option<Refactoring> {
    let file = place.file;
    let is_last = stage.index + 1 == place.evaluation.stages.len();
    let is_base = place.evaluation.stages.iter().any(|other| other.base == Base::Stage(stage.index));
    if is_last || is_base || instruction.flag("platform").is_some() {
        return None;
    }
    let own = file.stages().find(|own| own[0].span == instruction.span)?;
    let declares = |name: &str| {
        own.iter()
            .any(|it| matches!(&it.body, Body::Arg(list) if list.iter().any(|arg| arg.name.text == name)))
    };
    let missing: Vec<&str> = ["TARGETOS", "TARGETARCH"].into_iter().filter(|name| !declares(name)).collect();
    let mut edits = vec![insert(instruction.keyword_span.end, " --platform=$BUILDPLATFORM")];
    if !missing.is_empty() {
        let arg = in_case_of(file, instruction, "ARG");
        edits.push(insert(
            instruction.span.end,
            format!("{}{arg} {}", newline(file, instruction.span.start), missing.join(" ")),
        ));
    }
    Some(Refactoring::rewrite(
        "Run this stage on the build's own platform, to cross-compile for $TARGETOS/$TARGETARCH",
        edits,
    ))
}
