//! The cases of `rules/*/*.md`: Dockerfiles, and what each rule finds in them.
//!
//! A case is a heading, prose, `key: value` lines if it needs any (`platforms`, `build` for the build's platform,
//! `arg` for a build argument, `target`, `context`, `with` for another rule that is asked), and a block marked `dockerfile`. A block marked `findings` after
//! it has a line for each finding: the line number, the rule unless it is the file's own, the message, and indented
//! what is related. Without one, nothing is found. A block marked `fixed` is the Dockerfile after the first fix of
//! every finding of the file's rule. A block marked `facts` is what is known of the world; [`facts`] reads it.
//! A block marked `toml` is the configuration; of an explanation, too.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rbx_dockerfile::{Dockerfile, Ignore, Span, parse};
use rbx_lint::{
    Binary, Config, ContextFile, Edit, Facts, Finding, Format, ImageFacts, IndexEntry, Request, Settings,
    apply, lint, rules,
};
use rbx_platform::Platform;

#[derive(Default)]
struct Case {
    title: String,
    settings: Vec<(String, String)>,
    blocks: HashMap<String, String>,
}

impl Case {
    /// Only the rules of these names are asked.
    fn request(&self, rules: &[&str]) -> Request {
        let platform = |text: &str| Platform::parse(text.trim()).unwrap();
        let mut request = Request::new(
            ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(platform).to_vec(),
            platform("linux/amd64"),
        );
        let config = Config::parse(Path::new("rbx.toml"), self.block("toml")).unwrap();
        let more = self.settings.iter().filter(|(key, _)| key == "with").map(|(_, value)| value.as_str());
        let asked = Settings::only(&rules.iter().copied().chain(more).collect::<Vec<_>>());
        request.settings = Settings { levels: asked.levels, threshold: None, ..config.file(None).settings };
        for (key, value) in &self.settings {
            match key.as_str() {
                "platforms" => request.platforms = value.split(',').map(platform).collect(),
                "build" => request.build_platform = platform(value),
                "with" => {}
                "target" => request.target = Some(value.clone()),
                "context" => drop(request.named_contexts.insert(value.clone())),
                "arg" => {
                    let (name, value) = value.split_once('=').unwrap();
                    request.build_args.insert(name.to_owned(), value.to_owned());
                }
                other => panic!("{}: no such setting: {other}", self.title),
            }
        }
        request
    }

    fn facts(&self) -> Facts {
        facts(self.block("facts"))
    }

    fn block(&self, name: &str) -> &str {
        self.blocks.get(name).map_or("", String::as_str)
    }
}

/// Reads what is known, a fact in a line:
///
/// - `image NAME missing`, `image NAME manifest DIGEST PLATFORM`, and `image NAME index DIGEST PLATFORM…`, where a
///   platform may be followed by `=DIGEST` and by `!PLATFORM`, the one that the image's configuration has;
/// - `file PATH` and `file PATH KIND ARCHITECTURE` for a program (`elf`, `macho`, `pe`), which is below the
///   source before it if that is a directory: `directory PATH`; `nothing PATH`;
/// - `ignore PATTERN`
fn facts(text: &str) -> Facts {
    let platform = |text: &str| Platform::parse(text).unwrap();
    let mut facts = Facts::default();
    let mut ignore = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["image", name, "missing"] => drop(facts.images.insert((*name).to_owned(), ImageFacts::Missing)),
            ["image", name, "manifest", digest, of] => {
                let image =
                    ImageFacts::Manifest { digest: (*digest).to_owned(), platform: Some(platform(of)) };
                facts.images.insert((*name).to_owned(), image);
            }
            ["image", name, "index", digest, entries @ ..] => {
                let entry = |word: &&str| {
                    let (word, config) = word.split_once('!').map_or((*word, None), |(a, b)| (a, Some(b)));
                    let (of, digest) = word.split_once('=').unwrap_or((word, "sha256:0"));
                    let (platform, config) = (Some(platform(of)), config.map(platform));
                    IndexEntry { digest: digest.to_owned(), platform, config }
                };
                let entries = entries.iter().map(entry).collect();
                let image = ImageFacts::Index { digest: (*digest).to_owned(), entries };
                facts.images.insert((*name).to_owned(), image);
            }
            ["ignore", pattern] => ignore.extend([pattern, "\n"]),
            [kind @ ("file" | "directory" | "nothing"), path, program @ ..] => {
                let context = facts.context.get_or_insert_default();
                let binary = match program {
                    [format, architectures] => Some(Binary {
                        format: match *format {
                            "elf" => Format::Elf,
                            "macho" => Format::MachO,
                            "pe" => Format::Pe,
                            other => panic!("no such program: {other}"),
                        },
                        architectures: architectures.split('+').map(str::to_owned).collect(),
                    }),
                    _ => None,
                };
                let below = |source: &&String| path.starts_with(&format!("{source}/"));
                let source = context.sources.keys().find(below).cloned();
                let source = context.sources.entry(source.unwrap_or_else(|| (*path).to_owned())).or_default();
                if *kind != "nothing" {
                    let is_directory = *kind == "directory";
                    source.files.push(ContextFile { path: (*path).to_owned(), is_directory, binary });
                }
            }
            _ => panic!("no such fact: {line}"),
        }
    }
    if !ignore.is_empty() {
        facts.context.get_or_insert_default().ignore = Ignore::parse(ignore.as_bytes()).unwrap();
    }
    facts
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case { title: title.to_owned(), ..Case::default() });
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(name) = line.strip_prefix("```") {
            let block =
                lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |block, line| {
                    // Pictures of characters that nobody sees, as in the snippets of the language.
                    block + &line.replace('␍', "\r").replace('␉', "\t") + "\n"
                });
            assert!(case.blocks.insert(name.to_owned(), block).is_none(), "{}: two {name}", case.title);
        } else if let Some((key, value)) = line.split_once(": ")
            && ["platforms", "build", "arg", "target", "context", "with"].contains(&key)
        {
            case.settings.push((key.to_owned(), value.to_owned()));
        }
    }
    cases
}

fn show(rule: &str, file: &Dockerfile, findings: &[Finding]) -> String {
    let line = |span: Span| file.line_index.line_of(span.start);
    findings.iter().fold(String::new(), |mut text, finding| {
        let own = finding.name() == rule;
        let name = if own { String::new() } else { format!("{}: ", finding.name()) };
        writeln!(text, "{}: {name}{finding}", line(finding.span)).unwrap();
        for related in &finding.related {
            writeln!(text, "   {}: {}", line(related.span), related.message).unwrap();
        }
        text
    })
}

fn fixed(rule: &str, file: &Dockerfile, findings: &[Finding]) -> String {
    let of_rule = findings.iter().filter(|finding| finding.name() == rule);
    let mut edits: Vec<Edit> =
        of_rule.filter_map(|it| it.fixes.first()).flat_map(|fix| fix.edits.clone()).collect();
    edits.sort_by_key(|edit| edit.span);
    apply(&file.text, &edits)
}

/// Checks a file of cases; answers what differs.
fn run(path: &Path) -> String {
    let rule = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut wrong = String::new();
    let cases = cases(&std::fs::read_to_string(path).unwrap());
    let found = cases.iter().filter(|case| case.blocks.contains_key("findings")).count();
    assert!(
        found >= 1 && found < cases.len(),
        "{rule} has cases where it is true, and cases where it is not"
    );
    for case in cases {
        let file = parse(case.block("dockerfile"));
        let findings = lint(&file, &case.request(&[&rule]), &case.facts());
        let shown = show(&rule, &file, &findings);
        if shown != case.block("findings") {
            write!(
                wrong,
                "\n{rule}: {}\n--- wanted\n{}--- found\n{shown}",
                case.title,
                case.block("findings")
            )
            .unwrap();
        }
        if let Some(wanted) = case.blocks.get("fixed") {
            let result = fixed(&rule, &file, &findings);
            if result != *wanted {
                write!(wrong, "\n{rule}: {}\n--- wanted\n{wanted}--- fixed\n{result}", case.title).unwrap();
            }
            let left = lint(&parse(&result), &case.request(&[&rule]), &case.facts());
            if left.iter().any(|finding| finding.name() == rule) {
                write!(wrong, "\n{rule}: {}: the fix mends nothing", case.title).unwrap();
            }
        }
    }
    wrong
}

#[test]
fn rules_find_what_their_cases_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let list = |directory: PathBuf| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = list(directory).flat_map(list).collect();
    files.sort();
    let wrong: String = files.iter().map(|path| run(path)).collect();
    assert!(wrong.is_empty(), "{wrong}");
    for rule in rules() {
        assert!(
            files.iter().any(|path| path.file_stem().unwrap() == rule.name),
            "{} has no cases",
            rule.name
        );
    }
}

/// The examples of a rule's explanation: the first has the fault, the last has not. What is known, and what is
/// built for, is that of the first case of the rule.
#[test]
fn explanations_tell_right_from_wrong() {
    for rule in rules() {
        let blocks: Vec<&str> = rule
            .explanation
            .split("\n```dockerfile\n")
            .skip(1)
            .map(|rest| rest.split("\n```\n").next().unwrap())
            .collect();
        let path = format!("tests/rules/{}/{}.md", rule.family.name(), rule.name);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut case = cases(&std::fs::read_to_string(path).unwrap()).remove(0);
        // A page shows the configuration that it is about.
        if let Some((_, toml)) = rule.explanation.split_once("\n```toml\n") {
            case.blocks.insert("toml".to_owned(), toml.split("```\n").next().unwrap().to_owned());
        }
        let (request, facts) = (case.request(&[rule.name]), case.facts());
        let is_found = |text: &str| {
            lint(&parse(text), &request, &facts).iter().any(|finding| finding.rule == Some(rule))
        };
        assert!(is_found(blocks[0]), "{}", rule.name);
        if let [_, .., last] = blocks.as_slice() {
            assert!(!is_found(last), "{}", rule.name);
        }
    }
}
