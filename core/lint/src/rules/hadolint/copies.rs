//! `COPY` and `ADD`.

use rbx_dockerfile::{
    Base, Body, Files, From, Instruction, Keyword, Op, Source, Span, Stage, Step, Word, nearest,
};

use super::USUAL;
use crate::finding::{Edit, Fix, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3020",
        summary: "ADD copies what COPY would copy",
        explanation: include_str!("../../../rules/hadolint/DL3020.md"),
        changes: Some("the same files are copied by COPY"),
        check: Check::Once(add),
        ..USUAL
    },
    Rule {
        name: "DL3021",
        summary: "COPY has several sources and a destination that does not end in a slash",
        explanation: include_str!("../../../rules/hadolint/DL3021.md"),
        changes: Some("a build that failed does not"),
        check: Check::Once(several),
        ..USUAL
    },
    Rule {
        name: "DL3022",
        summary: "COPY --from names no stage, and no image with a tag",
        explanation: include_str!("../../../rules/hadolint/DL3022.md"),
        check: Check::Once(from),
        ..USUAL
    },
    Rule {
        name: "DL3045",
        summary: "COPY has a relative destination, and no WORKDIR is set",
        explanation: include_str!("../../../rules/hadolint/DL3045.md"),
        changes: Some("the same directory, by its whole name"),
        check: Check::Once(relative),
        ..USUAL
    },
    Rule {
        name: "DL3067",
        summary: "COPY --from takes a whole file system",
        explanation: include_str!("../../../rules/hadolint/DL3067.md"),
        check: Check::Once(everything),
        ..USUAL
    },
];

/// Stages whose names are compared with one that is misspelt, at most.
const MAX_NAMES: usize = 100;

/// Ends of names of files that `ADD` may unpack.
const ARCHIVES: [&str; 18] = [
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
    ".tar.lz", ".tlz", ".gz", ".bz2", ".xz", ".zst", ".lzma", ".z",
];

/// Directories that images have.
const DIRECTORIES: [&str; 20] = [
    "/",
    "/bin",
    "/etc",
    "/home",
    "/lib",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
];

/// Every instruction, triggers too.
fn instructions<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Instruction> {
    view.file.instructions.iter().map(|instruction| match &instruction.body {
        Body::Onbuild(trigger) => trigger.as_ref(),
        _ => instruction,
    })
}

/// The steps of every stage that are a `COPY`, with it.
fn copies<'a>(
    view: &View<'a>,
) -> impl Iterator<Item = (&'a Stage, &'a Step, &'a rbx_dockerfile::Copy, &'a Instruction, &'a Files)> {
    let file = view.file;
    view.all_stages().flat_map(move |(stage, _)| {
        stage.steps.iter().filter(|step| !step.on_build).filter_map(move |step| {
            let Op::Copy(copy) = &step.op else { return None };
            let instruction = file.instruction_at(step.span.start)?;
            let Body::Copy(files) = &instruction.body else { return None };
            Some((stage, step, copy, instruction, files))
        })
    })
}

fn add(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for instruction in instructions(view) {
        let Body::Add(files) = &instruction.body else { continue };
        if files.destination.is_none() || instruction.flag("unpack").is_some() {
            continue;
        }
        let is_heredoc =
            |word: &Word| instruction.heredocs.iter().any(|heredoc| heredoc.word.span == word.span);
        let sources: Vec<_> = files.sources.iter().filter(|word| !is_heredoc(word)).collect();
        let kinds: Option<Vec<Plain>> = sources.iter().map(|word| plain(&view.literal(word)?)).collect();
        let Some(kinds) = kinds else { continue };
        let what = match sources.first() {
            Some(first) if sources.len() == 1 => shown(&first.text),
            _ => "these files".to_owned(),
        };
        let mut found = Found::new(instruction.keyword_span, format!("COPY is enough for {what}"));
        found.fixes.push(Fix {
            title: "Replace ADD with COPY".to_owned(),
            // `ADD` finds out what an archive is by looking into it.
            safe: kinds.iter().all(|kind| *kind == Plain::Surely),
            edits: vec![Edit {
                span: instruction.keyword_span,
                text: place::in_case_of(view.file, instruction, "COPY"),
            }],
        });
        all.push(found);
    }
    all
}

/// A source that `ADD` copies as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Surely,
    /// By its name.
    Likely,
}

/// Whether a source is neither fetched nor unpacked; `None` where it may be.
fn plain(source: &str) -> Option<Plain> {
    if Source::Path(source.to_owned()).remote().is_some() {
        return None;
    }
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if source.ends_with('/') || matches!(last, "" | "." | "..") {
        return Some(Plain::Surely);
    }
    let lower = last.to_lowercase();
    if ARCHIVES.iter().any(|end| lower.ends_with(end)) || last.ends_with(['*', '?', ']']) {
        return None;
    }
    let extension = last.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_word = !extension.is_empty() && extension.chars().all(|c| c.is_ascii_alphabetic());
    Some(if is_word { Plain::Surely } else { Plain::Likely })
}

fn several(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for (_, step, copy, _, files) in copies(view) {
        let Some(word) = files.destination.as_ref().filter(|_| files.sources.len() > 1) else { continue };
        let destination = &copy.destination;
        let windows = view.file.escape == '`' && destination.ends_with('\\');
        let last = destination.rsplit('/').next().unwrap_or_default();
        if copy.parents || windows || word.text.contains('$') || matches!(last, "" | "." | "..") {
            continue;
        }
        let directory = resolved(destination, &step.working_dir);
        let working = step.working_dir.trim_end_matches('/');
        if working == directory
            || working.strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
            || DIRECTORIES.contains(&directory.as_str())
        {
            continue;
        }
        let message = format!("{} is a file, unless it is a directory already", shown(destination));
        let mut found = Found::new(word.span, message);
        let quote = word.span.slice(&view.file.text).ends_with(['"', '\'']);
        let end = word.span.end.saturating_sub(u32::from(quote));
        let edits = vec![Edit { span: Span { start: end, end }, text: "/".to_owned() }];
        found.fixes.push(Fix { title: "End the destination in a slash".to_owned(), safe: true, edits });
        all.push(found);
    }
    all
}

fn resolved(path: &str, working_dir: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", working_dir.trim_end_matches('/'))
    };
    let trimmed = whole.trim_end_matches('/');
    if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
}

fn from(view: &View<'_>) -> Vec<Found> {
    let names = view.evaluation.stages.iter().filter_map(|stage| stage.name.as_deref());
    let names: Vec<&str> = names.take(MAX_NAMES).collect();
    let mut all = Vec::new();
    for (_, _, copy, instruction, _) in copies(view) {
        let (From::Image(image), Some(word)) = (&copy.from, instruction.flag_value("from")) else { continue };
        if image.contains([':', '/', '@']) {
            continue;
        }
        let near = nearest(&image.to_lowercase(), names.iter().copied(), false);
        let hint = near.as_ref().map(|name| format!(" (did you mean {}?)", shown(name))).unwrap_or_default();
        let message =
            format!("No stage is called {}, so that it is an image without a tag{hint}", shown(image));
        let mut found = Found::new(word.span, message);
        found.fixes.extend(near.map(|name| Fix {
            title: format!("Replace {} with {}", shown(image), shown(&name)),
            safe: false,
            edits: vec![Edit { span: word.span, text: name }],
        }));
        all.push(found);
    }
    all
}

/// For each stage, where in the text a working directory is set for the first time: 0, where the base has one.
fn working_directories(view: &View<'_>) -> Vec<Option<u32>> {
    let mut set: Vec<Option<u32>> = Vec::with_capacity(view.evaluation.stages.len());
    for stage in &view.evaluation.stages {
        let inherited = match stage.base {
            Base::Stage(base) => set.get(base).copied().flatten().is_some(),
            _ => stage.steps.first().is_some_and(|step| &*step.working_dir != "/"),
        };
        let mut steps = stage.steps.iter();
        let mut first = || Some(steps.find(|step| matches!(step.op, Op::Workdir(_)))?.span.start);
        set.push(if inherited { Some(0) } else { first() });
    }
    set
}

fn relative(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    let set = working_directories(view);
    for (stage, step, copy, _, files) in copies(view) {
        let Some(word) = &files.destination else { continue };
        let destination = &copy.destination;
        let mut characters = destination.chars();
        let drive = characters.next().is_some_and(char::is_alphabetic) && characters.next() == Some(':');
        if destination.starts_with(['/', '\\']) || drive || word.text.contains('$') {
            continue;
        }
        if set.get(stage.index).copied().flatten().is_some_and(|at| at < word.span.start) {
            continue;
        }
        let message = format!("No WORKDIR says where {} is", shown(destination));
        let mut found = Found::new(word.span, message);
        let quote = word.span.slice(&view.file.text).starts_with(['"', '\'']);
        let path = destination.strip_prefix("./").unwrap_or(destination);
        let text = if path == "." || path.is_empty() { "/".to_owned() } else { format!("/{path}") };
        let root = view.root(stage);
        if !quote && *destination == word.text {
            found.fixes.push(Fix {
                title: format!("Replace {} with {}", shown(destination), shown(&text)),
                safe: root.base == Base::Scratch && step.working_dir.as_ref() == "/",
                edits: vec![Edit { span: word.span, text }],
            });
        }
        all.push(found);
    }
    all
}

fn everything(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for instruction in instructions(view) {
        let (Keyword::Copy, Body::Copy(files)) = (instruction.keyword, &instruction.body) else { continue };
        let Some(from) = instruction.flag_value("from").filter(|from| !from.text.is_empty()) else {
            continue;
        };
        let is_root = |word: &Word| view.literal(word).is_some_and(|path| path == "/");
        if files.destination.as_ref().is_some_and(is_root) && files.sources.iter().any(is_root) {
            let message = format!("This copies the whole file system of {}", shown(&from.text));
            all.push(Found::new(instruction.span, message));
        }
    }
    all
}
