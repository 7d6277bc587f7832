//! Builds among the commands of a step.

use std::path::Path;

/// Flags of builds that stand alone.
const SWITCHES: [&str; 11] = [
    "--check",
    "--compress",
    "--debug",
    "--force-rm",
    "--load",
    "--no-cache",
    "--pull",
    "--push",
    "--quiet",
    "--rm",
    "--squash",
];

/// A build: the words of `--platform`, and its Dockerfile from the directory it is run in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) platforms: Vec<String>,
    pub(crate) dockerfile: String,
}

/// The builds for platforms in a script: `docker build`, `docker buildx build`, `docker rbx build` and their like.
pub(crate) fn builds(script: &str) -> Vec<Called> {
    let script = script.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut found = Vec::new();
    for line in script.lines().filter(|line| line.contains("platform")) {
        let Some(words) = shlex::split(line) else { continue };
        let commands = words.split(|word| ["&&", "||", ";", "|"].contains(&word.as_str()));
        found.extend(commands.filter_map(build));
    }
    found
}

fn build(words: &[String]) -> Option<Called> {
    let docker =
        words.iter().position(|word| Path::new(word).file_name().is_some_and(|name| name == "docker"))?;
    let mut rest = &words[docker + 1..];
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        match word.as_str() {
            "buildx" | "rbx" | "image" | "builder" => {}
            "build" | "b" => break,
            _ => return None,
        }
    }
    let (mut platforms, mut file, mut context) = (Vec::new(), None, None);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
            _ => (word.as_str(), None),
        };
        if !flag.starts_with('-') || flag == "-" {
            context = Some(word.as_str());
            continue;
        }
        if value.is_none() && (SWITCHES.contains(&flag) || flag == "-q" || flag == "-D") {
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => words.next()?,
        };
        match flag {
            "--platform" => platforms.push(value.to_owned()),
            "--file" | "-f" => file = Some(value.to_owned()),
            _ => {}
        }
    }
    let context = context?;
    let dockerfile = file.unwrap_or_else(|| format!("{context}/Dockerfile"));
    (!platforms.is_empty()).then_some(Called { platforms, dockerfile })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str) -> String {
        let lines: Vec<_> = builds(script)
            .into_iter()
            .map(|build| format!("{}: {}", build.dockerfile, build.platforms.join(" ")))
            .collect();
        lines.join("; ")
    }

    #[test]
    fn builds_are_found_in_scripts() {
        assert_eq!(
            shown("docker buildx build --platform linux/amd64,linux/arm64 ."),
            "./Dockerfile: linux/amd64,linux/arm64"
        );
        assert_eq!(
            shown(
                "set -e\nmake x && sudo docker buildx build --push \\\n  --platform=linux/arm64 -t \"a b\" -f x/D app | tee log\n"
            ),
            "x/D: linux/arm64"
        );
        assert_eq!(
            shown("docker build --platform a --platform b --build-arg X=y -q dir"),
            "dir/Dockerfile: a b"
        );
        for none in [
            "docker run --platform linux/arm64 a",
            "docker build .",
            "docker build --platform",
            "platform 'x",
        ] {
            assert_eq!(shown(none), "", "{none}");
        }
    }
}
