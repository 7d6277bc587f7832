//! The builds of a workflow of GitHub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::command;
use crate::expression::{Names, scalar};
use crate::matrix::combinations;
use crate::projects::plain;

/// Builds of a workflow that are found, and calls of others that are followed, at most.
const MOST: usize = 1000;
/// Workflows that call one another, at most.
const DEEPEST: usize = 4;
/// What calls a workflow of the same repository begins with.
const CALLED: &str = "./.github/workflows/";

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    /// The Dockerfile, from the root of the repository.
    pub(crate) dockerfile: PathBuf,
    /// As `--platform` has them; not read yet.
    pub(crate) platforms: Vec<String>,
}

/// The workflows of a repository by their names, without the directory.
pub(crate) type Workflows = BTreeMap<String, Value>;

/// A workflow, if its text is one.
pub(crate) fn read(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

/// The builds that name platforms, in order, for each combination of a matrix, and those of workflows of the same
/// repository that are called. What only a run of the workflow can tell is left out, and so are workflows of other
/// repositories and composite actions.
pub(crate) fn builds(workflow: &Value, all: &Workflows) -> Vec<Build> {
    let mut search = Search { all, found: Vec::new(), calls: 0 };
    search.workflow(workflow, Vec::new(), 0);
    search.found
}

/// The search for builds in a workflow.
struct Search<'a> {
    all: &'a Workflows,
    found: Vec<Build>,
    calls: usize,
}

impl<'a> Search<'a> {
    /// Looks into a workflow that is called with inputs, of which not every value is known, by so many that call one
    /// another.
    fn workflow(&mut self, workflow: &'a Value, given: Vec<(String, Option<String>)>, depth: usize) {
        let mut inputs = inputs(workflow);
        for (name, value) in given {
            match value {
                Some(value) => drop(inputs.insert(name, value)),
                None => drop(inputs.remove(&name)),
            }
        }
        let jobs = workflow.get("jobs").and_then(Value::as_object);
        for job in jobs.into_iter().flat_map(Map::values) {
            let matrix = job.get("strategy").and_then(|strategy| strategy.get("matrix"));
            let steps = job.get("steps").and_then(Value::as_array);
            for matrix in combinations(matrix) {
                let mut env = BTreeMap::new();
                extend(&mut env, workflow, &matrix, &inputs);
                self.call(job, Names { env: &env, matrix: &matrix, inputs: &inputs }, depth);
                extend(&mut env, job, &matrix, &inputs);
                for step in steps.into_iter().flatten() {
                    let mut env = env.clone();
                    extend(&mut env, step, &matrix, &inputs);
                    let names = Names { env: &env, matrix: &matrix, inputs: &inputs };
                    for build in action(step, names).into_iter().chain(commands(job, step, names)) {
                        if self.found.len() < MOST && !self.found.contains(&build) {
                            self.found.push(build);
                        }
                    }
                }
            }
        }
    }

    /// Looks into the workflow that a job calls.
    fn call(&mut self, job: &'a Value, names: Names<'_>, depth: usize) {
        let name = job.get("uses").and_then(Value::as_str).and_then(|uses| uses.strip_prefix(CALLED));
        let Some(called) = name.and_then(|name| self.all.get(name)) else { return };
        self.calls += 1;
        if depth >= DEEPEST || self.calls > MOST {
            return;
        }
        let with = job.get("with").and_then(Value::as_object).into_iter().flatten();
        let given = with.map(|(name, value)| {
            let value = scalar(value).and_then(|text| names.resolve(&text));
            (name.clone(), value)
        });
        self.workflow(called, given.collect(), depth + 1);
    }
}

/// The defaults of a workflow's inputs.
fn inputs(workflow: &Value) -> BTreeMap<String, String> {
    // A key `on` is a truth value in YAML 1.1.
    let on = workflow.get("on").or_else(|| workflow.get("true"));
    let events = ["workflow_dispatch", "workflow_call"];
    let inputs = events.iter().filter_map(|event| on?.get(event)?.get("inputs")?.as_object());
    let default = |(name, input): (&String, &Value)| Some((name.clone(), scalar(input.get("default")?)?));
    inputs.flatten().filter_map(default).collect()
}

/// Adds what `env` says in a part of a workflow.
fn extend(
    env: &mut BTreeMap<String, String>,
    part: &Value,
    matrix: &Map<String, Value>,
    inputs: &BTreeMap<String, String>,
) {
    for (name, value) in part.get("env").and_then(Value::as_object).into_iter().flatten() {
        let known = scalar(value).and_then(|text| Names { env, matrix, inputs }.resolve(&text));
        match known {
            Some(text) => drop(env.insert(name.clone(), text)),
            None => drop(env.remove(name)),
        }
    }
}

/// What a step with `docker/build-push-action`, or one that has its inputs, builds.
fn action(step: &Value, names: Names<'_>) -> Option<Build> {
    let uses = step.get("uses")?.as_str()?;
    let name = uses.split('@').next()?;
    if !name.ends_with("/build-push-action") {
        return None;
    }
    let with = step.get("with")?;
    let input = |name: &str| match with.get(name).and_then(scalar).filter(|text| !text.is_empty()) {
        Some(text) => names.resolve(&text).map(|text| Some(text.trim().to_owned())),
        None => Some(None),
    };
    let platforms = words(&input("platforms")??);
    let context = input("context")?.unwrap_or_default();
    // The repository as an address, as the action writes it.
    let context = match context.strip_prefix("{{defaultContext}}") {
        Some(inside) => inside.trim_start_matches(':'),
        None => &context,
    };
    let dockerfile = match input("file")? {
        Some(file) => file,
        None => format!("{context}/Dockerfile").trim_start_matches('/').to_owned(),
    };
    made(Path::new(""), &dockerfile, platforms)
}

/// What the commands of a step build.
fn commands(job: &Value, step: &Value, names: Names<'_>) -> Vec<Build> {
    let Some(script) = step.get("run").and_then(Value::as_str) else { return Vec::new() };
    if !script.contains("docker") || !script.contains("platform") {
        return Vec::new();
    }
    let of_job = || job.get("defaults")?.get("run")?.get("working-directory");
    let directory = step.get("working-directory").or_else(of_job).and_then(Value::as_str).unwrap_or("");
    let Some(directory) = names.resolve(directory) else { return Vec::new() };
    // Lines by themselves: what is not known spoils its own only.
    let script = script.replace("\\\r\n", " ").replace("\\\n", " ");
    let lines = script.lines().filter_map(|line| names.resolve(line));
    let lines: Vec<String> = lines.map(|line| variables(&line, names.env)).collect();
    let called = command::builds(&lines.join("\n"));
    called
        .into_iter()
        .filter_map(|build| {
            let platforms = build.platforms.iter().flat_map(|list| words(list)).collect();
            made(Path::new(&directory), &build.dockerfile, platforms)
        })
        .collect()
}

/// A line with the variables that the workflow sets.
fn variables(line: &str, env: &BTreeMap<String, String>) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut parts = line.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c| !is_name(c)).unwrap_or(part.len())),
        };
        match env.get(name) {
            Some(value) => text.extend([value, rest]),
            None => text.extend(["$", part]),
        }
    }
    text
}

/// Names with commas, blanks or line ends between them.
fn words(text: &str) -> Vec<String> {
    let words = text.split([',', '\n', ' ']).map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn made(directory: &Path, dockerfile: &str, platforms: Vec<String>) -> Option<Build> {
    if platforms.is_empty() || dockerfile.contains("://") || dockerfile.contains('$') {
        return None;
    }
    let dockerfile = plain(&directory.join(dockerfile)).filter(|path| path.is_relative())?;
    Some(Build { dockerfile, platforms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<Build> {
        read(text).map(|workflow| builds(&workflow, &Workflows::new())).unwrap_or_default()
    }

    fn shown(text: &str) -> String {
        lines(found(text))
    }

    fn lines(builds: Vec<Build>) -> String {
        let lines: Vec<_> = builds
            .into_iter()
            .map(|build| format!("{}: {}", build.dockerfile.display(), build.platforms.join(" ")))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn actions_and_commands_build() {
        let text = r#"
on:
  push:
  workflow_dispatch:
    inputs:
      where: { default: linux/s390x }
env:
  PLATFORMS: linux/amd64,linux/arm64
jobs:
  one:
    runs-on: ubuntu-latest
    env: { ALSO: "${{ env.PLATFORMS }},linux/arm/v7" }
    steps:
      - uses: actions/checkout@v4
      - uses: docker/build-push-action@v6
        with:
          platforms: ${{ env.PLATFORMS }}
      - uses: docker/build-push-action@0123456789
        with:
          context: ./app
          platforms: |
            linux/amd64
            linux/riscv64
      - uses: docker/build-push-action@v6
        with: { context: "{{defaultContext}}:sub", platforms: "${{ env.ALSO }}" }
      - uses: docker/build-push-action@v6
        with: { context: ".", file: "${{ github.workspace }}/x/Dockerfile.b", platforms: "${{ inputs.where }}" }
      - run: |
          docker login
          docker buildx build --platform ${PLATFORMS} \
            --push -t $TAG -f y/Dockerfile .
          docker buildx build --platform "$PLATFORMS" -t $TAG w
        working-directory: z
  matrix:
    strategy:
      matrix:
        platform: [linux/amd64, linux/arm64]
        image:
          - { name: a, file: a/Dockerfile }
          - { name: b, file: b/Dockerfile }
    steps:
      - uses: docker/build-push-action@v6
        with:
          file: ${{ matrix.image.file }}
          platforms: ${{ matrix.platform }}
"#;
        insta::assert_snapshot!(shown(text), @"
        Dockerfile: linux/amd64 linux/arm64
        app/Dockerfile: linux/amd64 linux/riscv64
        sub/Dockerfile: linux/amd64 linux/arm64 linux/arm/v7
        x/Dockerfile.b: linux/s390x
        z/y/Dockerfile: linux/amd64 linux/arm64
        z/w/Dockerfile: linux/amd64 linux/arm64
        a/Dockerfile: linux/amd64
        b/Dockerfile: linux/amd64
        a/Dockerfile: linux/arm64
        b/Dockerfile: linux/arm64
        ");
    }

    #[test]
    fn workflows_that_are_called_get_inputs() {
        let build = "on: { workflow_call: { inputs: { platforms: { default: linux/386 }, file: {} } } }\n\
                     jobs: { b: { steps: [{ uses: docker/build-push-action@v6, with: \
                     { file: '${{ inputs.file }}', platforms: '${{ inputs.platforms }}' } }] } }\n";
        let call = "env: { TWO: 'linux/amd64,linux/arm64' }\njobs:\n  a:\n    strategy: { matrix: { dir: [p, q] } }\n    \
                    uses: ./.github/workflows/build.yml\n    \
                    with: { file: '${{ matrix.dir }}/Dockerfile', platforms: '${{ env.TWO }}' }\n  \
                    b: { uses: ./.github/workflows/build.yml, with: { file: z/Dockerfile } }\n  \
                    c: { uses: ./.github/workflows/build.yml, with: { file: v/Dockerfile, platforms: '${{ vars.X }}' } }\n  \
                    d: { uses: other/repository/.github/workflows/build.yml@v1, with: { file: w/Dockerfile } }\n";
        // Each calls itself twice.
        let endless = "jobs:\n  a: { uses: ./.github/workflows/endless.yml }\n  \
                       b: { uses: ./.github/workflows/endless.yml }\n";
        let all: Workflows = [("build.yml", build), ("call.yml", call), ("endless.yml", endless)]
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), read(text)?)))
            .collect();
        insta::assert_snapshot!(lines(builds(&all["call.yml"], &all)), @"
        p/Dockerfile: linux/amd64 linux/arm64
        q/Dockerfile: linux/amd64 linux/arm64
        z/Dockerfile: linux/386
        ");
        assert!(builds(&all["build.yml"], &all).is_empty());
        assert!(builds(&all["endless.yml"], &all).is_empty());
    }

    #[test]
    fn what_only_a_run_can_tell_is_left_out() {
        let step = |with: &str| {
            format!(
                "jobs: {{ a: {{ steps: [{{ uses: docker/build-push-action@v6, with: {{ {with} }} }}] }} }}"
            )
        };
        assert_eq!(shown(&step("platforms: linux/arm64")), "Dockerfile: linux/arm64");
        assert_eq!(
            shown(&step("platforms: \"${{ inputs.a || 'linux/arm64' }}\"")),
            "Dockerfile: linux/arm64"
        );
        for with in [
            "push: true",
            "platforms: \"${{ steps.a.outputs.b }}\"",
            "platforms: \"linux/arm64,${{ vars.A }}\"",
            "platforms: linux/arm64, file: \"${{ steps.a.outputs.b }}\"",
            "platforms: linux/arm64, context: \"https://example.com/a.git\"",
            "platforms: linux/arm64, context: \"../..\"",
            "platforms: \"${{ github.event_name == 'push' && 'a' || steps.x }}\"",
            "platforms: [linux/arm64]",
        ] {
            assert_eq!(shown(&step(with)), "", "{with}");
        }
        assert_eq!(
            shown("jobs: { a: { steps: [{ run: docker build --platform $X . }] } }"),
            "Dockerfile: $X"
        );
    }

    #[test]
    fn hostile_workflows_end_soon() {
        let lines = "abcdefghi".chars().zip("bcdefghij".chars()).map(|(from, to)| {
            let list = vec![format!("*{from}"); 9].join(", ");
            format!("{to}: &{to} [{list}]\n")
        });
        let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned() + &lines.collect::<String>();
        assert_eq!(shown(&bomb), "");
        assert_eq!(shown(&"[".repeat(100_000)), "");
        assert_eq!(shown(&format!("jobs: {}", "{a: ".repeat(50_000))), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_text_is_read(text in any::<String>()) {
            found(&text);
        }

        #[test]
        fn arbitrary_expressions_are_read(text in "(\\$\\{\\{|\\}\\}|'|\\|\\||matrix|env|\\.|[a-z ${}\\\\]){0,20}") {
            let step = serde_json::json!({ "jobs": { "a": { "env": { "X": text }, "steps": [
                { "uses": "docker/build-push-action", "with": { "platforms": text, "file": text } },
                { "run": format!("docker build --platform {text} {text}") },
            ] } } });
            found(&step.to_string());
        }
    }
}
