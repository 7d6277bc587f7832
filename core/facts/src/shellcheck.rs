//! Asking `shellcheck`, where it is installed.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rbx_dockerfile::Dockerfile;
use rbx_lint::{Facts, Request, ScriptComment, ScriptLevel, ScriptPlace, wanted_scripts};
use serde::Deserialize;

/// How long it may take for the scripts of a file.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of its answer that are read, at most.
const MAX_ANSWER: u64 = 32 << 20;
/// Scripts of a file that it is given, at most, and their bytes. What is more is not looked at.
const MAX_SCRIPTS: usize = 2000;
const MAX_BYTES: usize = 2 << 20;

/// How often somebody is asked whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// The program [shellcheck](https://www.shellcheck.net).
#[derive(Debug, Clone)]
pub struct ShellCheck {
    program: PathBuf,
}

/// Its answer, as `--format=json1` has it.
#[derive(Deserialize)]
struct Answer {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comment {
    file: String,
    line: usize,
    end_line: usize,
    column: usize,
    end_column: usize,
    level: String,
    code: u32,
    message: String,
    fix: Option<Fix>,
}

#[derive(Deserialize)]
struct Fix {
    replacements: Vec<Replacement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replacement {
    line: usize,
    end_line: usize,
    column: usize,
    end_column: usize,
    #[serde(rename = "replacement")]
    text: String,
}

impl ShellCheck {
    /// The first one in a list of directories, which is that of `PATH`. Only absolute ones count.
    pub fn find(path: &OsStr) -> Option<Self> {
        let directories = std::env::split_paths(path).filter(|path| path.is_absolute());
        let program =
            directories.map(|directory| directory.join("shellcheck")).find(|path| path.is_file())?;
        Some(Self { program })
    }

    /// Learns what it says of the scripts of a file, if that is asked for: see [`wanted_scripts`]. It may take some
    /// seconds, and is ended when nobody wants to know it any more. Fails if the program cannot be started, fails, or
    /// says what is no answer.
    pub fn learn(
        &self,
        file: &Dockerfile,
        request: &Request,
        facts: &mut Facts,
        wanted: impl Fn() -> bool,
    ) -> Result<(), String> {
        let mut bytes = 0;
        let mut scripts = wanted_scripts(file, request, facts);
        scripts.truncate(MAX_SCRIPTS);
        scripts.retain(|script| {
            bytes += script.len();
            bytes <= MAX_BYTES && !facts.scripts.contains_key(script)
        });
        if scripts.is_empty() {
            return Ok(());
        }
        let comments =
            self.ask(&scripts, &wanted).map_err(|reason| format!("{reason}: failed to ask shellcheck"))?;
        for (script, comments) in scripts.into_iter().zip(comments) {
            facts.scripts.insert(script, comments);
        }
        Ok(())
    }

    /// What it says of each script. One process looks at all of them.
    fn ask(&self, scripts: &[String], wanted: &dyn Fn() -> bool) -> Result<Vec<Vec<ScriptComment>>, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let names: Vec<String> = (0..scripts.len()).map(|number| format!("{number}.sh")).collect();
        for (name, script) in names.iter().zip(scripts) {
            fs::write(directory.path().join(name), script).map_err(|error| error.to_string())?;
        }
        let answer = self.run(directory.path(), &names, wanted)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let mut comments: Vec<Vec<ScriptComment>> = scripts.iter().map(|_| Vec::new()).collect();
        for comment in answer.comments {
            let number = comment.file.strip_suffix(".sh").and_then(|number| number.parse::<usize>().ok());
            if let Some(list) = number.and_then(|number| comments.get_mut(number)) {
                list.push(comment.read());
            }
        }
        Ok(comments)
    }

    fn run(&self, directory: &Path, names: &[String], wanted: &dyn Fn() -> bool) -> Result<Vec<u8>, String> {
        let mut child = Command::new(&self.program)
            .args(["--norc", "--format=json1"])
            .args(names)
            .current_dir(directory)
            .env_clear()
            // It reads and writes UTF-8 only where it is told to.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel();
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.map_or(Ok(0), |output| output.take(MAX_ANSWER).read_to_end(&mut bytes));
            // Nobody waits for it any more if that took too long.
            let _ = sender.send(read.map(|_| bytes));
        });
        let begun = Instant::now();
        let answer = loop {
            let answer = receiver.recv_timeout(LOOK);
            if answer.is_ok() || begun.elapsed() >= PATIENCE || !wanted() {
                break answer;
            }
        };
        if answer.is_err() {
            let _ = child.kill();
        }
        let status = wait(&mut child, begun).map_err(|error| error.to_string())?;
        let _ = reader.join();
        let Ok(answer) = answer else {
            if begun.elapsed() < PATIENCE {
                return Err("nobody waits for it any more".to_owned());
            }
            return Err(format!("no answer within {} seconds", PATIENCE.as_secs()));
        };
        match status {
            // 1 is that it found something.
            Some(0 | 1) => answer.map_err(|error| error.to_string()),
            Some(code) => Err(format!("exit code {code}")),
            None => Err("it was killed".to_owned()),
        }
    }
}

/// How it ended; it is killed if it goes on without an output.
fn wait(child: &mut std::process::Child, begun: Instant) -> io::Result<Option<i32>> {
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    Ok(child.wait()?.code())
}

impl Comment {
    fn read(self) -> ScriptComment {
        let replacements = self.fix.map(|fix| fix.replacements).unwrap_or_default();
        ScriptComment {
            code: self.code,
            message: self.message,
            level: match self.level.as_str() {
                "error" => ScriptLevel::Error,
                "warning" => ScriptLevel::Warning,
                "style" => ScriptLevel::Style,
                _ => ScriptLevel::Info,
            },
            place: ScriptPlace { start: (self.line, self.column), end: (self.end_line, self.end_column) },
            replacements: replacements
                .into_iter()
                .map(|it| {
                    let (start, end) = ((it.line, it.column), (it.end_line, it.end_column));
                    (ScriptPlace { start, end }, it.text)
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rbx_dockerfile::parse;
    use rbx_lint::{Severity, lint};
    use rbx_platform::Platform;

    use super::*;

    /// A program in a directory of its own that is found as shellcheck.
    fn fake(script: &str) -> (tempfile::TempDir, ShellCheck) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("shellcheck");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("relative:/nonexistent:{}", directory.path().display());
        let found = ShellCheck::find(path.as_ref()).unwrap();
        (directory, found)
    }

    fn request() -> Request {
        let host = Platform::host();
        let mut request = Request::new(vec![host.clone()], host);
        request.settings.threshold = Some(Severity::Info);
        request
    }

    const TEXT: &str = "FROM a\nRUN b $c\nRUN b\n";

    fn learned(program: &ShellCheck) -> Result<Facts, String> {
        let mut facts = Facts::default();
        program.learn(&parse(TEXT), &request(), &mut facts, || true)?;
        Ok(facts)
    }

    #[test]
    fn answers_become_findings() {
        let comment = r#"{"file":"%s","line":5,"endLine":5,"column":3,"endColumn":5,"level":"error","code":2086,
            "message":"m","fix":{"replacements":[{"line":5,"endLine":5,"column":3,"endColumn":3,"replacement":"x",
            "precedence":7,"insertionPoint":"afterEnd"}]}}"#;
        let script = format!(
            "for name do case $name in --*) ;; *) grep -q '^b .c' $name && it=$name;; esac; done\n\
             printf '{{\"comments\":[{comment}]}}' $it | tr -d '\\n'; exit 1"
        );
        let (_directory, program) = fake(&script);
        let facts = learned(&program).unwrap();
        assert_eq!(facts.scripts.len(), 2);
        let file = parse(TEXT);
        let findings = lint(&file, &request(), &facts);
        let finding = findings.iter().find(|finding| finding.name() == "SC2086").unwrap();
        assert_eq!(finding.span.slice(TEXT), "$c");
        assert_eq!(finding.fixes[0].edits[0].text, "x");
        // What is known is not asked for again.
        let mut facts = facts;
        fs::remove_file(&program.program).unwrap();
        program.learn(&file, &request(), &mut facts, || true).unwrap();
    }

    #[test]
    fn it_ends_when_nobody_waits() {
        let (_directory, program) = fake("exec sleep 1000");
        let mut facts = Facts::default();
        let error = program.learn(&parse(TEXT), &request(), &mut facts, || false).unwrap_err();
        assert_eq!(error, "nobody waits for it any more: failed to ask shellcheck");
    }

    #[test]
    fn failures_are_told() {
        for (script, reason) in [
            ("exit 3", "exit code 3: failed to ask shellcheck"),
            ("echo nonsense", "expected ident at line 1 column 2: failed to ask shellcheck"),
            ("kill -9 $$", "it was killed: failed to ask shellcheck"),
        ] {
            let (_directory, program) = fake(script);
            assert_eq!(learned(&program).unwrap_err(), reason);
        }
        assert!(ShellCheck::find("/nonexistent".as_ref()).is_none());
        assert!(ShellCheck::find("".as_ref()).is_none());
    }
}
