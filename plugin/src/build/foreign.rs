//! Steps for platforms that a builder cannot run: said before the build, not minutes later by an `exec format error`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use rbx_dockerfile::{Base, Dockerfile, Evaluation, Op, Scope, Severity, Stage, evaluate, parse};
use rbx_platform::Platform;
use rbx_request::{BuildRequest, DockerfileSource, Failure, FailureKind, SourceRange};

/// Bytes of a Dockerfile that are read, at most.
const MAX_BYTES: u64 = 4 << 20;
/// What names of images for one architecture begin with, on Docker Hub.
const ARCHITECTURES: [&str; 11] = [
    "amd64", "arm32v5", "arm32v6", "arm32v7", "arm64v8", "i386", "loong64", "mips64le", "ppc64le", "riscv64",
    "s390x",
];

/// A step that nothing there can run.
#[derive(Debug)]
struct Foreign {
    platform: Platform,
    /// As progress names it.
    step: String,
    range: SourceRange,
}

/// Refuses a request for which the builder would have to run a step on none of the platforms that it `offers`, the
/// first of which is its own. Only what is certain is refused: a Dockerfile that is at hand and in the usual language,
/// and steps on images that are not for one platform by their names. A platform that is only copied for is fine.
pub(crate) fn check(
    request: &BuildRequest,
    offers: &[Platform],
    builder: &str,
    rbx: &str,
) -> Result<(), Failure> {
    let Some(own) = offers.first() else { return Ok(()) };
    let Some(found) = find(request, offers, own) else { return Ok(()) };
    let Foreign { platform, step, range } = found;
    let reason =
        format!("no node of builder {builder:?} runs {platform}: cannot run {step} for {platform} on {own}");
    let architecture = &platform.architecture;
    let hint = format!(
        "install an emulator where the builder runs (docker run --privileged --rm tonistiigi/binfmt --install \
         {architecture}); or add a node that has it ({rbx} create --append --name {builder} --platform {platform} \
         ENDPOINT); or build with --builder embedded, which emulates; or cross-compile in a stage FROM \
         --platform=$BUILDPLATFORM"
    );
    Err(Failure {
        source_range: Some(Box::new(range)),
        step: Some(step),
        hint: Some(hint),
        ..Failure::new(FailureKind::Invalid, reason)
    })
}

/// What may help where a step has failed like this.
pub(crate) fn hint(said: &str, rbx: &str) -> Option<String> {
    said.contains("exec format error").then(|| {
        format!(
            "the builder cannot run programs of that platform: install an emulator where it runs (docker run \
             --privileged --rm tonistiigi/binfmt --install all), or build with --builder embedded, which emulates; \
             {rbx} inspect shows the platforms of a builder"
        )
    })
}

fn find(request: &BuildRequest, offers: &[Platform], own: &Platform) -> Option<Foreign> {
    let runs = |platform: &Platform| {
        offers.iter().any(|offer| offer.accepted().iter().any(|accepted| accepted.matches(platform)))
    };
    let (name, text) = dockerfile(request)?;
    let file = parse(&text);
    if !is_usual(&file, request) {
        return None;
    }
    let wanted = if request.platforms.is_empty() { std::slice::from_ref(own) } else { &request.platforms };
    let named: BTreeSet<String> = request.named_contexts.keys().cloned().collect();
    for platform in wanted {
        let scope = Scope {
            target_platform: platform,
            build_platform: own,
            build_args: &request.build_args,
            target: request.target.as_deref(),
            named_contexts: &named,
            bases: &BTreeMap::new(),
        };
        let evaluation = evaluate(&file, &scope);
        // What is wrong is told by the builder.
        if evaluation.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            continue;
        }
        for stage in evaluation.stages.iter().filter(|stage| stage.reachable && !runs(&stage.platform)) {
            let runs = |op: &Op| matches!(op, Op::Run(_));
            let Some(step) = stage.steps.iter().find(|step| runs(&step.op)) else { continue };
            if !is_for_its_platform(&evaluation, stage) {
                continue;
            }
            let (first, last) = file.line_index.lines_of(step.span);
            let several = (wanted.len() > 1).then_some(platform);
            return Some(Foreign {
                platform: stage.platform.clone(),
                step: step.vertex_name(stage, several),
                range: SourceRange { file: name, text: text.into(), first, last },
            });
        }
    }
    None
}

/// The Dockerfile, if it is at hand.
fn dockerfile(request: &BuildRequest) -> Option<(String, String)> {
    let (name, mut bytes) = match &request.dockerfile {
        DockerfileSource::Path(path) => {
            let mut bytes = Vec::new();
            File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
            (path.file_name()?.to_string_lossy().into_owned(), bytes)
        }
        DockerfileSource::Inline(bytes) => ("Dockerfile".to_owned(), bytes.clone()),
        DockerfileSource::InContext(_) | DockerfileSource::Url(_) => return None,
    };
    bytes.truncate(usize::try_from(MAX_BYTES).unwrap_or(usize::MAX));
    Some((name, String::from_utf8(bytes).ok()?))
}

/// Whether a Dockerfile is in the language that is known here.
fn is_usual(file: &Dockerfile, request: &BuildRequest) -> bool {
    let usual = |image: &str| {
        let image = image.trim_start_matches("docker.io/");
        image.starts_with("docker/dockerfile") && !image.contains("-labs")
    };
    let argument = request.build_args.get("BUILDKIT_SYNTAX").map(String::as_str);
    let directive = file.directives.syntax.as_ref().map(|directive| directive.value.as_str());
    argument.or(directive).is_none_or(usual)
}

/// Whether a stage stands on an image that is for the stage's platform, as far as its name tells.
fn is_for_its_platform(evaluation: &Evaluation, stage: &Stage) -> bool {
    let mut stage = stage;
    loop {
        match &stage.base {
            Base::Stage(below) => match evaluation.stages.get(*below) {
                Some(below) => stage = below,
                None => return false,
            },
            Base::Image(name) => {
                return !name.split('/').any(|part| ARCHITECTURES.contains(&part));
            }
            // What runs there was copied, from wherever.
            Base::Scratch | Base::Context(_) | Base::Unresolved => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(names: &str) -> Vec<Platform> {
        names.split_whitespace().map(|name| Platform::parse(name).unwrap()).collect()
    }

    fn request(text: &str, wanted: &str) -> BuildRequest {
        BuildRequest {
            dockerfile: DockerfileSource::Inline(text.as_bytes().to_vec()),
            platforms: platforms(wanted),
            ..BuildRequest::default()
        }
    }

    /// The step that is refused of a request on a builder that runs amd64 and arm64.
    fn step(request: &BuildRequest) -> Option<String> {
        check(request, &platforms("linux/amd64 linux/arm64"), "mine", "docker rbx").err()?.step
    }

    #[test]
    fn steps_that_nobody_runs_are_refused_with_remedies() {
        let request = request("FROM alpine\nRUN a\n", "linux/amd64 linux/s390x");
        let failure = check(&request, &platforms("linux/amd64"), "mine", "docker rbx").unwrap_err();
        insta::assert_snapshot!(failure.reason, @r#"no node of builder "mine" runs linux/s390x: cannot run [linux/s390x 2/2] RUN a for linux/s390x on linux/amd64"#);
        insta::assert_snapshot!(failure.hint.unwrap(), @"install an emulator where the builder runs (docker run --privileged --rm tonistiigi/binfmt --install s390x); or add a node that has it (docker rbx create --append --name mine --platform linux/s390x ENDPOINT); or build with --builder embedded, which emulates; or cross-compile in a stage FROM --platform=$BUILDPLATFORM");
        let range = failure.source_range.unwrap();
        assert_eq!((range.file.as_str(), range.first), ("Dockerfile", 2));
        assert!(check(&request, &[], "mine", "docker rbx").is_ok(), "nothing is known of it");
    }

    #[test]
    fn only_what_is_certain_is_refused() {
        let run = "FROM alpine\nRUN a\n";
        let cross = "FROM --platform=$BUILDPLATFORM go AS b\nRUN a\nFROM alpine\nCOPY --from=b /a /\n";
        for (text, wanted, refused) in [
            (run, "", false),
            (run, "linux/386 linux/arm/v7", false),
            (run, "linux/riscv64", true),
            ("FROM alpine\nCOPY a /\n", "linux/riscv64", false),
            (cross, "linux/riscv64", false),
            ("FROM a AS b\nRUN c\nFROM a\nCOPY d /\n", "linux/riscv64", false),
            ("FROM a AS b\nCOPY d /\nFROM b\nRUN c\n", "linux/riscv64", true),
            // A stage has a platform of its own, or an image whose name says so.
            ("FROM --platform=linux/riscv64 a\nRUN c\n", "", true),
            ("FROM amd64/alpine\nRUN a\n", "linux/riscv64", false),
            ("FROM amd64/alpine AS b\nFROM b\nRUN a\n", "linux/riscv64", false),
            ("FROM mine\nRUN a\n", "linux/riscv64", true),
            // What is wrong with a file is not said here.
            ("FROM alpine\nRUN --mount=type=x a\n", "linux/riscv64", false),
            ("# syntax=docker/dockerfile:1\nFROM a\nRUN b\n", "linux/riscv64", true),
            ("# syntax=mine/frontend\nFROM a\nRUN b\n", "linux/riscv64", false),
        ] {
            assert_eq!(step(&request(text, wanted)).is_some(), refused, "{text:?} {wanted:?}");
        }
        let mut named = request("FROM mine\nRUN a\n", "linux/riscv64");
        named.named_contexts.insert("mine".to_owned(), "docker-image://x".to_owned());
        assert_eq!(step(&named), None);
        let mut target = request("FROM a AS b\nFROM b\nRUN c\n", "linux/riscv64");
        assert!(step(&target).is_some());
        target.target = Some("b".to_owned());
        assert_eq!(step(&target), None);
        let elsewhere = BuildRequest {
            dockerfile: DockerfileSource::InContext("Dockerfile".to_owned()),
            ..request(run, "linux/riscv64")
        };
        assert_eq!(step(&elsewhere), None);
    }
}
