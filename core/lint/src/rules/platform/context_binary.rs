//! `context-binary-arch`

use rbx_dockerfile::{Base, Body, Copy, From, Op, Source, Span, Stage, Word};
use rbx_platform::Platform;

use super::RULE;
use super::architectures::spelled;
use super::site::Site;
use crate::facts::{Binary, ContextFile, Format, SourceFacts, source_name};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "context-binary-arch",
    severity: Severity::Warning,
    summary: "A program is copied that this platform does not run",
    explanation: include_str!("../../../rules/platform/context-binary-arch.md"),
    check: Check::EachPlatform(check),
    ..RULE
}];

/// Directories that are for programs which are run.
const PROGRAMS: [&str; 3] = ["bin", "libexec", "sbin"];
/// Ends of names of files that are for another machine on purpose, or are not run.
const DATA: [&str; 6] = ["debug", "elf", "exe", "ko", "o", "dll"];

/// A source of a copy that has programs.
struct Copied<'a> {
    source: &'a SourceFacts,
    word: &'a Word,
    site: Site<'a>,
    copy: &'a Copy,
}

fn check(view: &View<'_>) -> Vec<Found> {
    let has_programs = |source: &SourceFacts| source.files.iter().any(|file| file.binary.is_some());
    if !view.facts.context.as_ref().is_some_and(|context| context.sources.values().any(has_programs)) {
        return Vec::new();
    }
    view.stages().flat_map(|(stage, _)| in_stage(view, stage)).collect()
}

fn in_stage(view: &View<'_>, stage: &Stage) -> Vec<Found> {
    let copied = copied(view, stage);
    // A stage may run on one platform and make files for another.
    let suits = |file: &ContextFile| {
        let runs = |platform: &Platform| file.binary.as_ref().is_some_and(|binary| runs(binary, platform));
        runs(&stage.platform) || runs(view.platform) || base_platform(view, stage).is_some_and(runs)
    };
    let any_suits =
        copied.iter().flat_map(|it| &it.source.files).any(|file| file.binary.is_some() && suits(file));
    let mut all = Vec::new();
    for it in &copied {
        let programs: Vec<&ContextFile> =
            it.source.files.iter().filter(|file| file.binary.is_some()).collect();
        // A set of programs for several platforms has one for this one.
        if programs.iter().any(|file| suits(file)) || it.source.more {
            continue;
        }
        let is_directory = it.source.files.first().is_some_and(|file| file.is_directory);
        if is_directory && !it.copy.destination.split('/').any(|name| PROGRAMS.contains(&name)) {
            continue;
        }
        let Some(file) = programs.into_iter().find(|file| is_run(file, stage)) else { continue };
        let Some(binary) = &file.binary else { continue };
        let names_own = spelled(&file.path)
            .iter()
            .any(|it| binary.architectures.iter().any(|own| own == it.architecture));
        if names_own && any_suits || base_names(view, stage, binary) {
            continue;
        }
        let message =
            format!("{} is a program for {binary}, which this platform does not run", shown(&file.path));
        let mut found = Found::new(it.word.span, message);
        found.fixes.extend(by_platform(view, it, binary));
        all.push(found);
    }
    all
}

fn copied<'a>(view: &View<'a>, stage: &'a Stage) -> Vec<Copied<'a>> {
    let Some(context) = &view.facts.context else { return Vec::new() };
    let mut all = Vec::new();
    for step in stage.steps.iter().filter(|step| !step.on_build) {
        let Op::Copy(copy) = &step.op else { continue };
        let Some(instruction) = view.file.instruction_at(step.span.start) else { continue };
        let (Body::Copy(files) | Body::Add(files)) = &instruction.body else { continue };
        if copy.from != From::Context {
            continue;
        }
        let words = files.sources.iter().filter(|word| !word.text.starts_with("<<"));
        for (source, word) in copy.sources.iter().zip(words) {
            let Source::Path(path) = source else { continue };
            if let (None, Some(source)) = (source.remote(), context.sources.get(&source_name(path))) {
                all.push(Copied { source, word, site: Site { stage, instruction, step }, copy });
            }
        }
    }
    all
}

/// Whether an image for a platform may run a program. Of another system's programs it is known only that a Linux has no
/// use for those of macOS: those of Windows are served, and run by Wine.
fn runs(binary: &Binary, platform: &Platform) -> bool {
    match (binary.format, platform.os.as_str()) {
        (Format::Elf, "linux") => binary.runs_on(platform),
        (Format::MachO, "linux") => false,
        _ => true,
    }
}

/// Whether a program is there to be run by this image: QEMU is for the machine that builds.
fn is_run(file: &ContextFile, stage: &Stage) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    stage.platform.os == "linux" && !name.starts_with("qemu-") && !DATA.contains(&extension)
}

/// What the image is for that a stage stands on, if that is known.
fn base_platform<'a>(view: &View<'a>, stage: &'a Stage) -> Option<&'a Platform> {
    let root = view.root(stage);
    let Base::Image(name) = &root.base else { return None };
    view.facts.images.get(name)?.platform_for(&root.platform)
}

/// Whether the name of the image that a stage stands on says that it is for a program's architecture.
fn base_names(view: &View<'_>, stage: &Stage, binary: &Binary) -> bool {
    let Base::Image(name) = &view.root(stage).base else { return false };
    spelled(name).iter().any(|it| binary.architectures.iter().any(|own| own == it.architecture))
}

/// Takes the file of each platform, where the name has the architecture by Go's name.
fn by_platform(view: &View<'_>, copied: &Copied<'_>, binary: &Binary) -> Option<Fix> {
    let written = copied.word.span.slice(&view.file.text);
    let mut spellings =
        spelled(written).into_iter().filter(|it| binary.architectures.contains(&it.architecture.to_owned()));
    let (found, None) = (spellings.next()?, spellings.next()) else { return None };
    let end = found.start + found.text.len();
    let follows_name = written[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if found.text != found.architecture || written.contains('$') || follows_name {
        return None;
    }
    let at = |offset: usize| Some(copied.word.span.start + u32::try_from(offset).ok()?);
    let span = Span { start: at(found.start)?, end: at(end)? };
    let mut edits: Vec<Edit> = copied.site.declare(view, &["TARGETARCH"]).into_iter().collect();
    edits.push(Edit { span, text: "$TARGETARCH".to_owned() });
    Some(Fix { title: "Take the file by $TARGETARCH".to_owned(), safe: false, edits })
}
