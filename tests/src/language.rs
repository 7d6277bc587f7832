//! The Dockerfile language: small Dockerfiles that docker-rbx and BuildKit must accept or refuse alike.
//!
//! A topic is a Markdown file of `tests/language`. Each of its snippets is a heading of the second level, prose if
//! there is anything to say, and
//!
//! - `args:`, more arguments of `build`, parted by spaces, if it needs any,
//! - a block of code marked `dockerfile`: the Dockerfile. `registry.test` stands for the address of a registry with the
//!   base images; pictures of control characters stand for these (`␍` is a carriage return, `␀` a zero), `␣` for a
//!   space at a line's end, `␂` for a byte order mark, and `␄` for the end of a text without a newline,
//! - `accepted`, `refused: ERROR` or `marked: LINES`, if docker-rbx is to do otherwise than this BuildKit, or to mark
//!   other lines; the prose says why.
//!
//! The lines that BuildKit marks as wrong are marked by docker-rbx, too; where it marks none, docker-rbx may. What
//! BuildKit's own checks warn of is the same; `older: REASON` says why this BuildKit has other warnings than
//! docker-rbx. Of the Dockerfiles of the corpus, the checks are compared as well.
//!
//! BuildKit checks a snippet without building it (`--call=check`), and what it says is kept with the parts
//! (`language/`), so the Engine runs only when a topic is new or changed. docker-rbx builds it, or, if there is a `RUN`
//! or a source that is not in the context, evaluates it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbx_dockerfile::{Keyword, Scope, Severity, evaluate, parse};
use rbx_platform::Platform;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::checks;
use crate::corpus::{Case, without_wrappings};
use crate::{Engine, Parts, Registry, Store, rbx};

/// Changes when verdicts kept before are of no use.
const RECIPE: &str = "language with checks 2";
/// The files of the context.
const FILES: [&str; 5] = ["a", "b", "c", "d/a", "d/b"];
/// What stays out of the context.
const IGNORED: &str = "ignored\n";

/// What a builder says of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can be built.
    Accepted,
    /// It cannot.
    Refused {
        /// Why, without what BuildKit puts before a reason.
        error: String,
        /// The lines that are marked as wrong.
        lines: Vec<usize>,
    },
}

/// A small Dockerfile.
#[derive(Debug, Clone)]
pub struct Snippet {
    /// Its heading.
    pub name: String,
    args: Vec<String>,
    text: String,
    /// What docker-rbx says, if that is not what this BuildKit says.
    otherwise: Option<Otherwise>,
    /// Its checks are not those of this BuildKit.
    older: bool,
}

#[derive(Debug, Clone)]
enum Otherwise {
    Accepted,
    Refused(String),
    Marked(Vec<usize>),
}

/// Snippets about one thing.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The name of its file.
    pub name: String,
    /// Its snippets, in order.
    pub snippets: Vec<Snippet>,
    /// Nothing is asked but what BuildKit's checks find.
    checks_only: bool,
}

impl Topic {
    /// All topics by name.
    ///
    /// # Panics
    ///
    /// If one cannot be read.
    pub fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("language");
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut topics: Vec<Self> = entries
            .map(|entry| {
                let path = entry.expect("the topics can be read").path();
                let name = path.file_stem().expect("a listed path has a name").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("a topic is text");
                let snippets =
                    read_topic(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                Self { name, snippets, checks_only: false }
            })
            .collect();
        topics.push(Self::of_corpus());
        topics.push(Self::of_rules());
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        topics
    }

    /// The Dockerfiles of the corpus that need no other contexts.
    fn of_corpus() -> Self {
        let snippet = |case: Case| {
            let (text, mut args) = case.text_and_args();
            if args.iter().any(|arg| arg.starts_with("--build-context")) {
                return None;
            }
            args.retain(|arg| ["--build-arg=", "--target="].iter().any(|flag| arg.starts_with(flag)));
            Some(Snippet { name: case.name, args, text, otherwise: None, older: false })
        };
        let snippets = Case::all().into_iter().filter_map(snippet).collect();
        Self { name: "corpus".to_owned(), snippets, checks_only: true }
    }

    /// The cases of the rules that are BuildKit's checks. Those that need to know something are left out.
    fn of_rules() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/lint/tests/rules/buildkit");
        let mut paths: Vec<_> = fs::read_dir(directory)
            .expect("the rules have cases")
            .map(|entry| entry.expect("the cases can be read").path())
            .collect();
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            let rule = path.file_stem().expect("a listed path has a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("cases are text");
            for (case, (snippet, rest)) in read_cases(&text) {
                if rest.contains("```facts") || rest.lines().any(|line| line.starts_with("platforms: ")) {
                    continue;
                }
                let args = rest.lines().filter_map(|line| line.strip_prefix("arg: "));
                all.push(Snippet {
                    name: format!("{rule}: {case}"),
                    args: args.map(|arg| format!("--build-arg={arg}")).collect(),
                    text: checks::on_busybox(&pictured(snippet.trim_end_matches('\n'))),
                    otherwise: None,
                    older: rest.lines().any(|line| line.starts_with("older: ")),
                });
            }
        }
        Self { name: "rules".to_owned(), snippets: all, checks_only: true }
    }

    /// Asks docker-rbx and BuildKit (or reads what that said before) about every snippet.
    ///
    /// # Errors
    ///
    /// Where they differ and should not, or should and do not.
    pub fn check(&self) -> Result<(), String> {
        let parts = Parts::locate();
        let verdicts = self.verdicts(&parts);
        let work = Work::new();
        let mut report = String::new();
        for snippet in &self.snippets {
            let (theirs, warnings) = &verdicts[&snippet.name];
            if let Err(difference) = snippet.judge_checks(theirs, warnings, self.name == "corpus") {
                let _ = writeln!(report, "{}: {difference}", snippet.name);
            }
            if self.checks_only {
                continue;
            }
            let ours = work.ask_rbx(&parts, snippet, theirs);
            if let Err(difference) = snippet.judge(theirs, &ours) {
                let _ = writeln!(report, "{}: {difference}", snippet.name);
            }
        }
        if report.is_empty() { Ok(()) } else { Err(report) }
    }

    /// What BuildKit says of each snippet, and what it warns of.
    ///
    /// # Panics
    ///
    /// If no Engine can be run.
    fn verdicts(&self, parts: &Parts) -> BTreeMap<String, (Verdict, Vec<String>)> {
        let directory = parts.directory().join("language");
        fs::create_dir_all(&directory).expect("a directory for verdicts can be made");
        let path = |topic: &Self| directory.join(format!("{}-{}", topic.name, topic.key(parts)));
        if !path(self).exists() {
            // One process asks for all that are missing with one Engine; the others wait for it.
            let _lock = parts.lock("language");
            let missing: Vec<Self> = Self::all().into_iter().filter(|topic| !path(topic).exists()).collect();
            if !missing.is_empty() {
                for (topic, verdicts) in missing.iter().zip(ask_buildkit(&missing)) {
                    let new = path(topic).with_extension("new");
                    fs::write(&new, Value::from(verdicts).to_string()).expect("verdicts can be kept");
                    fs::rename(&new, path(topic)).expect("verdicts can be put in place");
                }
            }
        }
        let text = fs::read_to_string(path(self)).expect("verdicts can be read");
        let list: Vec<Value> = serde_json::from_str(&text).expect("verdicts are a list");
        let names = self.snippets.iter().map(|snippet| snippet.name.clone());
        let read = |kept: &Value| {
            let warnings = kept["warnings"].as_array().into_iter().flatten();
            let warnings = warnings.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
            (Verdict::read(kept), warnings)
        };
        names.zip(list.iter().map(read)).collect()
    }

    /// Names everything that BuildKit's verdicts depend on.
    fn key(&self, parts: &Parts) -> String {
        let mut hash = Sha256::new();
        hash.update(RECIPE);
        hash.update(crate::images::RECIPE);
        hash.update(parts.versions());
        for snippet in &self.snippets {
            for text in snippet.args.iter().chain([&snippet.text]) {
                hash.update(text.len().to_le_bytes());
                hash.update(text);
            }
            hash.update([0]);
        }
        hex::encode(&hash.finalize()[..12])
    }
}

/// Asks an Engine's BuildKit about every snippet of some topics.
fn ask_buildkit(topics: &[Topic]) -> Vec<Vec<Value>> {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let ask = |work: &Work, snippet: &Snippet| {
        let text = snippet.text.replace("registry.test", registry.address());
        let output = work.build(engine.buildx(), &text, &snippet.args, &["--call=check,format=json"]);
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let verdict = match said.rfind("\nERROR: ") {
            Some(at) => Verdict::of_error(&said[at + 1..], registry.address()),
            None if answer.is_some() => Verdict::Accepted,
            None => panic!("{}: {said}", snippet.name),
        };
        let mut kept = verdict.write();
        kept["warnings"] = checks::theirs(&answer.unwrap_or_default(), registry.address()).into();
        kept
    };
    let snippets: Vec<&Snippet> = topics.iter().flat_map(|topic| &topic.snippets).collect();
    let verdicts: Vec<OnceLock<Value>> = snippets.iter().map(|_| OnceLock::new()).collect();
    // Half of the time of each is waited for.
    let threads = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let work = Work::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(snippet), Some(verdict)) = (snippets.get(at), verdicts.get(at)) else { break };
                    let _ = verdict.set(ask(&work, snippet));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_iter().map(|verdict| verdict.into_inner().expect("all were asked for"));
    topics.iter().map(|topic| verdicts.by_ref().take(topic.snippets.len()).collect()).collect()
}

impl Snippet {
    /// Whether BuildKit's checks find the same, and for the same reason nothing more.
    fn judge_checks(&self, theirs: &Verdict, warnings: &[String], error_too: bool) -> Result<(), String> {
        let value = |name: &str| {
            let flag = format!("--{name}=");
            let values = self.args.iter().filter_map(move |arg| arg.strip_prefix(&flag));
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let pair =
            |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (host, target) = (Platform::host(), value("target"));
        // BuildKit checks for its own platform, whatever it is asked.
        let scope = Scope {
            target_platform: &host,
            build_platform: &host,
            build_args: &value("build-arg").into_iter().filter_map(pair).collect(),
            target: target.first().map(String::as_str),
            named_contexts: &BTreeSet::new(),
            bases: &BTreeMap::new(),
        };
        let (ours, error) = checks::ours(&self.text, &scope, IGNORED);
        match (checks::difference(warnings, &ours), self.older) {
            (None, false) | (Some(_), true) => {}
            (None, true) => return Err("this BuildKit is not too old for it".to_owned()),
            (Some(difference), false) => return Err(difference),
        }
        match theirs {
            Verdict::Refused { error: wanted, .. } if error_too && error.as_ref() != Some(wanted) => {
                Err(format!("checks say {error:?}, not {wanted:?}"))
            }
            Verdict::Accepted if error_too && error.is_some() => Err(format!("checks say {error:?}")),
            _ => Ok(()),
        }
    }

    /// Whether the verdict of docker-rbx is as it should be.
    ///
    /// # Errors
    ///
    /// What it should be and is not.
    pub fn judge(&self, theirs: &Verdict, ours: &Verdict) -> Result<(), String> {
        let expected = match &self.otherwise {
            None if theirs.is_met_by(ours) => return Ok(()),
            None => format!("{theirs:?}, as BuildKit says"),
            Some(_) if theirs.is_met_by(ours) => return Err("there is no difference to explain".to_owned()),
            Some(Otherwise::Marked(wanted)) => match (theirs, ours) {
                (Verdict::Refused { error: left, .. }, Verdict::Refused { error: right, lines })
                    if left == right && lines == wanted =>
                {
                    return Ok(());
                }
                _ => format!("{theirs:?}, with {wanted:?} marked"),
            },
            Some(Otherwise::Accepted) if *ours == Verdict::Accepted => return Ok(()),
            Some(Otherwise::Refused(wanted)) if matches!(ours, Verdict::Refused { error, .. } if error == wanted) =>
            {
                return Ok(());
            }
            Some(otherwise) => format!("{otherwise:?} (BuildKit: {theirs:?})"),
        };
        Err(format!("not {expected}\n    but {ours:?}"))
    }
}

impl Verdict {
    /// Whether another verdict is the same; where this one marks no lines, the other may.
    fn is_met_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused { error: left, lines }, Self::Refused { error: right, .. })
                if lines.is_empty() =>
            {
                left == right
            }
            _ => self == other,
        }
    }

    /// Reads an error with the lines marked in the excerpt beside it.
    fn of_error(said: &str, registry: &str) -> Self {
        let error: Vec<&str> = said
            .lines()
            .skip_while(|line| !line.starts_with("ERROR: "))
            .take_while(|line| !line.starts_with("Dockerfile:"))
            .collect();
        let error = error.join("\n").replace(registry, "registry.test");
        let error = error.trim_start_matches("ERROR: ").trim_start_matches("failed to build: ");
        let marked = |line: &str| line.split_once(" | >>>")?.0.trim().parse().ok();
        Self::Refused {
            error: without_wrappings(error).trim().to_owned(),
            lines: said.lines().filter_map(marked).collect(),
        }
    }

    fn write(&self) -> Value {
        match self {
            Self::Accepted => json!({}),
            Self::Refused { error, lines } => json!({ "error": error, "lines": lines }),
        }
    }

    fn read(value: &Value) -> Self {
        let Some(error) = value["error"].as_str() else { return Self::Accepted };
        let lines = value["lines"].as_array().into_iter().flatten();
        let lines = lines.filter_map(|line| usize::try_from(line.as_u64()?).ok()).collect();
        Self::Refused { error: error.to_owned(), lines }
    }
}

/// A directory with a context.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rbx-language-").tempdir();
        let work = Self(directory.expect("a temporary directory can be made"));
        fs::create_dir_all(work.path().join("context")).expect("a context can be made");
        fs::write(work.path().join("context/.dockerignore"), IGNORED).expect("an ignore file can be written");
        for name in FILES {
            let path = work.path().join("context").join(name);
            fs::create_dir_all(path.parent().expect("a path below the context"))
                .expect("a context can be made");
            fs::write(path, name).expect("a file of the context can be written");
        }
        work
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn build(&self, mut program: Command, text: &str, own: &[String], arguments: &[&str]) -> Output {
        fs::write(self.path().join("Dockerfile"), text).expect("the Dockerfile can be written");
        program
            .current_dir(self.path())
            .args(["build", "--progress=plain", "--file=Dockerfile"])
            .args(arguments)
            .args(own)
            .arg("context")
            .output()
            .expect("the program can be run")
    }

    /// What docker-rbx says of a snippet.
    fn ask_rbx(&self, parts: &Parts, snippet: &Snippet, theirs: &Verdict) -> Verdict {
        let expected = match (&snippet.otherwise, theirs) {
            (Some(Otherwise::Accepted), _) | (None, Verdict::Accepted) => Verdict::Accepted,
            _ => theirs.clone(),
        };
        if expected == Verdict::Accepted && !is_harmless(&snippet.text) {
            return evaluated(snippet);
        }
        let output =
            self.build(rbx(parts, self.path()), &snippet.text, &snippet.args, &["--builder=embedded"]);
        if output.status.success() {
            return Verdict::Accepted;
        }
        assert_eq!(output.status.code(), Some(1), "{}: {output:?}", snippet.name);
        Verdict::of_error(&String::from_utf8_lossy(&output.stderr), "registry.test")
    }
}

/// Whether a Dockerfile can be built without running anything and with nothing but the context.
fn is_harmless(text: &str) -> bool {
    let file = parse(text);
    let fetches = |word: &str| word.contains("://") || word.contains("registry.test");
    file.instructions.iter().all(|instruction| {
        !matches!(instruction.keyword, Keyword::Run)
            && !instruction.words().iter().any(|word| fetches(&word.text))
    })
}

/// What the language crate alone says.
fn evaluated(snippet: &Snippet) -> Verdict {
    let value = |name: &str| {
        let flag = format!("--{name}=");
        snippet
            .args
            .iter()
            .filter_map(move |arg| arg.strip_prefix(&flag).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let host = Platform::host();
    let target = value("target");
    let platform = value("platform")
        .first()
        .map_or(host.clone(), |text| Platform::parse(text).expect("the platform of a snippet can be read"));
    let scope = Scope {
        target_platform: &platform,
        build_platform: &host,
        build_args: &value("build-arg").into_iter().filter_map(pair).collect(),
        target: target.first().map(String::as_str),
        named_contexts: &BTreeSet::new(),
        bases: &BTreeMap::new(),
    };
    let file = parse(&snippet.text);
    let evaluation = evaluate(&file, &scope);
    let wrong = evaluation.diagnostics.iter().find(|found| found.severity == Severity::Error);
    match file.first_error().or(wrong) {
        None => Verdict::Accepted,
        Some(found) => Verdict::Refused { error: file.error_text(found), lines: Vec::new() },
    }
}

/// The cases of a rule by their headings: the Dockerfile, and what stands around it.
fn read_cases(text: &str) -> impl Iterator<Item = (&str, (&str, String))> {
    text.split("\n## ").skip(1).filter_map(|case| {
        let (title, rest) = case.split_once('\n')?;
        let (before, rest) = rest.split_once("```dockerfile\n")?;
        let (dockerfile, after) = rest.split_once("```\n")?;
        Some((title, (dockerfile, format!("{before}{after}"))))
    })
}

fn read_topic(text: &str) -> Result<Vec<Snippet>, String> {
    let mut snippets: Vec<Snippet> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("## ") {
            if snippets.iter().any(|known| known.name == name) {
                return Err(format!("two snippets are named {name:?}"));
            }
            let name = name.to_owned();
            let (args, text) = (Vec::new(), String::new());
            snippets.push(Snippet { name, args, text, otherwise: None, older: false });
            continue;
        }
        let Some(snippet) = snippets.last_mut() else { continue };
        if let Some(args) = line.strip_prefix("args: ") {
            snippet.args = args.split(' ').map(str::to_owned).collect();
        } else if line == "```dockerfile" {
            let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            snippet.text = pictured(&code.join("\n"));
        } else if line.starts_with("older: ") {
            snippet.older = true;
        } else if line == "accepted" {
            snippet.otherwise = Some(Otherwise::Accepted);
        } else if let Some(error) = line.strip_prefix("refused: ") {
            snippet.otherwise = Some(Otherwise::Refused(error.to_owned()));
        } else if let Some(lines) = line.strip_prefix("marked: ") {
            let lines = lines.split(' ').map(|line| line.parse().map_err(|_| format!("no lines: {line}")));
            snippet.otherwise = Some(Otherwise::Marked(lines.collect::<Result<_, _>>()?));
        }
    }
    Ok(snippets)
}

/// The text in which control characters are drawn.
fn pictured(code: &str) -> String {
    let (code, end) = match code.split_once('␄') {
        Some((code, _)) => (code, ""),
        None => (code, "\n"),
    };
    let draw = |c: char| match c {
        '␣' => ' ',
        '␂' => '\u{feff}',
        '\u{2400}'..='\u{241f}' => char::from_u32(u32::from(c) - 0x2400).unwrap_or(c),
        c => c,
    };
    code.chars().map(draw).collect::<String>() + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(error: &str, lines: &[usize]) -> Verdict {
        Verdict::Refused { error: error.to_owned(), lines: lines.to_vec() }
    }

    #[test]
    fn topics_are_read() {
        let text = "# Topic\n\nProse.\n\n## one\n\nargs: --a --b=c\n```dockerfile\nFROM␣\n\n# x␍\n```\n\n## two\n\
                    Newer.\n```dockerfile\nFROM␀␄\n```\nrefused: no: no\n";
        let snippets = read_topic(text).unwrap();
        assert_eq!(snippets[0].name, "one");
        assert_eq!(snippets[0].args, ["--a", "--b=c"]);
        assert_eq!(snippets[0].text, "FROM \n\n# x\r\n");
        assert_eq!(snippets[1].text, "FROM\0");
        assert!(matches!(&snippets[1].otherwise, Some(Otherwise::Refused(error)) if error == "no: no"));
        assert!(read_topic("## a\n## a\n").is_err());
    }

    #[test]
    fn errors_are_read_from_both() {
        let buildkit =
            "ERROR: no\nDockerfile:2\n----\n   1 |     FROM a\n   2 | >>> RUN\n   3 | >>> x\n----\n\n";
        assert_eq!(Verdict::of_error(buildkit, "r"), refused("no", &[2, 3]));
        let rbx = "Dockerfile:2\n----\n   1 |     FROM a\n   2 | >>> RUN\n----\nERROR: failed to build: no\n";
        assert_eq!(Verdict::of_error(rbx, "r"), refused("no", &[2]));
        let verdict = refused("no", &[2]);
        assert_eq!(Verdict::read(&verdict.write()), verdict);
        assert_eq!(Verdict::read(&Verdict::Accepted.write()), Verdict::Accepted);
    }

    #[test]
    fn differences_must_be_meant_and_there() {
        let mut snippet = Snippet {
            name: "a".to_owned(),
            args: Vec::new(),
            text: String::new(),
            otherwise: None,
            older: false,
        };
        let (no, accepted) = (refused("no", &[1]), Verdict::Accepted);
        assert_eq!(snippet.judge(&no, &no), Ok(()));
        assert!(snippet.judge(&no, &accepted).is_err());
        assert!(snippet.judge(&no, &refused("no", &[2])).is_err());
        snippet.otherwise = Some(Otherwise::Accepted);
        assert_eq!(snippet.judge(&no, &accepted), Ok(()));
        assert!(snippet.judge(&accepted, &accepted).is_err());
        assert!(snippet.judge(&no, &refused("other", &[1])).is_err());
        snippet.otherwise = Some(Otherwise::Refused("other".to_owned()));
        assert_eq!(snippet.judge(&no, &refused("other", &[1])), Ok(()));
        assert!(snippet.judge(&no, &no).is_err());
        snippet.otherwise = Some(Otherwise::Marked(vec![2]));
        assert_eq!(snippet.judge(&no, &refused("no", &[2])), Ok(()));
        assert!(snippet.judge(&no, &refused("no", &[3])).is_err());
        assert!(snippet.judge(&no, &refused("other", &[2])).is_err());
        snippet.otherwise = None;
        assert_eq!(snippet.judge(&refused("no", &[]), &no), Ok(()));
        assert!(snippet.judge(&refused("no", &[]), &refused("other", &[1])).is_err());
    }
}
