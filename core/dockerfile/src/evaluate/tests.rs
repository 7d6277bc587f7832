use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use insta::assert_snapshot;
use rbx_platform::Platform;

use super::{evaluate, proxy_variables};
use crate::diagnostic::Severity;
use crate::op::{From, Op, Source};
use crate::parse::parse;
use crate::stage::{BaseFacts, Evaluation, Scope};

fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

/// An evaluation with everything that can be set.
struct Case<'a> {
    text: &'a str,
    platform: &'a str,
    build_args: Vec<(&'a str, &'a str)>,
    target: Option<&'a str>,
    contexts: Vec<&'a str>,
    bases: Vec<(&'a str, BaseFacts)>,
}

impl<'a> Case<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            platform: "linux/amd64",
            build_args: Vec::new(),
            target: None,
            contexts: Vec::new(),
            bases: Vec::new(),
        }
    }

    fn run(&self) -> Evaluation {
        let file = parse(self.text);
        assert_eq!(file.first_error().map(|error| file.error_text(error)), None);
        let target_platform = platform(self.platform);
        let build_platform = platform("linux/amd64");
        let build_args: BTreeMap<String, String> =
            self.build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let named_contexts: BTreeSet<String> = self.contexts.iter().map(|name| (*name).to_owned()).collect();
        let bases = self
            .bases
            .iter()
            .map(|(name, facts)| (((*name).to_owned(), target_platform.clone()), facts.clone()))
            .collect();
        evaluate(
            &file,
            &Scope {
                target_platform: &target_platform,
                build_platform: &build_platform,
                build_args: &build_args,
                target: self.target,
                named_contexts: &named_contexts,
                bases: &bases,
            },
        )
    }

    /// Each stage with the vertex name and history entry of its steps, then the findings.
    fn dump(&self) -> String {
        let evaluation = self.run();
        let mut out = String::new();
        for stage in &evaluation.stages {
            let target = if evaluation.target == Some(stage.index) { "*" } else { "" };
            let name = stage.name.as_deref().unwrap_or("-");
            let unneeded = if stage.reachable { "" } else { " unneeded" };
            let unknown = if stage.base_known { "" } else { " unknown" };
            let head = format!("{target}{} {name} {} {:?}", stage.index, stage.platform, stage.base);
            writeln!(out, "{head}{unneeded}{unknown}").unwrap();
            for step in &stage.steps {
                let history = step.history().map_or_else(|| "-".to_owned(), |(line, _)| line);
                writeln!(out, "  {} | {history}", step.vertex_name(stage, None)).unwrap();
            }
        }
        for diagnostic in &evaluation.diagnostics {
            let mark = if diagnostic.severity == Severity::Error { "!" } else { "?" };
            writeln!(out, "{mark} `{}` {diagnostic}", diagnostic.span.slice(self.text)).unwrap();
        }
        out
    }
}

fn show(text: &str) -> String {
    Case::new(text).dump()
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn stages_and_what_the_target_needs() {
    let text = "\
FROM --platform=$BUILDPLATFORM golang AS Build
RUN make
FROM alpine AS unused
RUN true
FROM scratch AS files
COPY --from=0 /out /
FROM debian
COPY --from=build /a /b
RUN --mount=from=files,target=/mnt cat /mnt/x
";
    let mut case = Case::new(text);
    case.platform = "linux/arm64";
    assert_snapshot!(case.dump(), @r##"
    0 build linux/amd64 Image("golang") unknown
      [build 2/2] RUN make | RUN /bin/sh -c make # buildkit
    1 unused linux/arm64 Image("alpine") unneeded unknown
      [unused 2/2] RUN true | RUN /bin/sh -c true # buildkit
    2 files linux/arm64 Scratch
      [files 1/1] COPY --from=0 /out / | COPY /out / # buildkit
    *3 - linux/arm64 Image("debian") unknown
      [stage-3 2/3] COPY --from=build /a /b | COPY /a /b # buildkit
      [stage-3 3/3] RUN --mount=from=files,target=/mnt cat /mnt/x | RUN /bin/sh -c cat /mnt/x # buildkit
    "##);
    case.target = Some("FILES");
    let evaluation = case.run();
    assert_eq!(evaluation.target, Some(2));
    let reachable: Vec<_> = evaluation.stages.iter().map(|stage| stage.reachable).collect();
    assert_eq!(reachable, [true, false, true, false]);
    case.target = Some("1");
    assert_eq!(case.run().target, None, "a number is no name");
    case.target = Some("fils");
    let evaluation = case.run();
    assert_eq!(evaluation.target, None);
    assert_eq!(
        evaluation.diagnostics[0].to_string(),
        "target stage \"fils\" could not be found (did you mean files?)"
    );
}

#[test]
fn variables_of_from() {
    let text = "\
ARG VERSION=1.0
ARG IMAGE=alpine:$VERSION
FROM ${IMAGE}-x AS base
ARG VERSION
ARG OTHER=$VERSION-$IMAGE
RUN echo $VERSION
FROM bin-${TARGETARCH}${TARGETVARIANT}
FROM base
FROM $NOTHING
FROM --platform=$NOPE a
FROM --platform=${TARGETPLATFROM} a
FROM --platform=linux/amd64/x/y a
";
    let mut case = Case::new(text);
    case.platform = "linux/arm/v7";
    assert_snapshot!(case.dump(), @r##"
    0 base linux/arm/v7 Image("alpine:1.0-x") unneeded unknown
      ARG VERSION | ARG VERSION=1.0
      ARG OTHER=$VERSION-$IMAGE | ARG OTHER=1.0-
      [base 2/2] RUN echo 1.0 | RUN |2 VERSION=1.0 OTHER=1.0- /bin/sh -c echo $VERSION # buildkit
    1 - linux/arm/v7 Image("bin-armv7") unneeded unknown
    2 - linux/arm/v7 Stage(0) unneeded unknown
    3 - linux/arm/v7 Unresolved unneeded unknown
    4 - linux/arm/v7 Unresolved unneeded unknown
    5 - linux/arm/v7 Unresolved unneeded unknown
    *6 - linux/arm/v7 Unresolved unknown
    ! `$NOTHING` base name ($NOTHING) should not be blank
    ! `$NOPE` empty platform value from expression $NOPE
    ! `${TARGETPLATFROM}` empty platform value from expression ${TARGETPLATFROM} (did you mean TARGETPLATFORM?)
    ! `linux/amd64/x/y` failed to parse platform linux/amd64/x/y: "linux/amd64/x/y": cannot parse platform specifier: invalid argument
    "##);
    case.build_args = vec![("VERSION", "2"), ("TARGETARCH", "mips")];
    assert_snapshot!(case.dump(), @r##"
    0 base linux/arm/v7 Image("alpine:2-x") unneeded unknown
      ARG VERSION | ARG VERSION=2
      ARG OTHER=$VERSION-$IMAGE | ARG OTHER=2-
      [base 2/2] RUN echo 2 | RUN |2 VERSION=2 OTHER=2- /bin/sh -c echo $VERSION # buildkit
    1 - linux/arm/v7 Image("bin-mipsv7") unneeded unknown
    2 - linux/arm/v7 Stage(0) unneeded unknown
    3 - linux/arm/v7 Unresolved unneeded unknown
    4 - linux/arm/v7 Unresolved unneeded unknown
    5 - linux/arm/v7 Unresolved unneeded unknown
    *6 - linux/arm/v7 Unresolved unknown
    ! `$NOTHING` base name ($NOTHING) should not be blank
    ! `$NOPE` empty platform value from expression $NOPE
    ! `${TARGETPLATFROM}` empty platform value from expression ${TARGETPLATFROM} (did you mean TARGETPLATFORM?)
    ! `linux/amd64/x/y` failed to parse platform linux/amd64/x/y: "linux/amd64/x/y": cannot parse platform specifier: invalid argument
    "##);
}

#[test]
fn environment_and_arguments() {
    let text = "\
ARG GLOBAL=g
FROM a
ARG GLOBAL UNSET DEFAULT=d TARGETARCH TARGETSTAGE
ENV A=1 B=$A C=$GLOBAL
ENV A=2 DEFAULT=env
ARG DEFAULT=later
RUN echo \"$A\" '$B' $UNSET $C
ENV LEGACY x  $A
";
    let mut case = Case::new(text);
    let facts = BaseFacts { env: env(&[("PATH", "/p"), ("A", "0")]), ..BaseFacts::default() };
    case.bases = vec![("a", facts)];
    assert_snapshot!(case.dump(), @r##"
    *0 - linux/amd64 Image("a")
      ARG GLOBAL UNSET DEFAULT=d TARGETARCH TARGETSTAGE | ARG GLOBAL=g UNSET DEFAULT=d TARGETARCH=amd64 TARGETSTAGE=default
      ENV A=1 B=$A C=$GLOBAL | ENV A=1 B=0 C=g
      ENV A=2 DEFAULT=env | ENV A=2 DEFAULT=env
      ARG DEFAULT=later | ARG DEFAULT=later
      [2/2] RUN echo "2" '$B' $UNSET g | RUN |5 GLOBAL=g UNSET= DEFAULT=later TARGETARCH=amd64 TARGETSTAGE=default /bin/sh -c echo "$A" '$B' $UNSET $C # buildkit
      ENV LEGACY x  $A | ENV LEGACY=x  2
    "##);
    let evaluation = case.run();
    let run = &evaluation.stages[0].steps[4];
    assert_snapshot!(format!("{:?}\n{:?}\n{:?}", run.env, run.args, run.run_env), @r##"
    {"PATH": "/p", "A": "2", "B": "0", "C": "g", "DEFAULT": "env"}
    {"GLOBAL": "g", "DEFAULT": "later", "TARGETARCH": "amd64", "TARGETSTAGE": "default"}
    {"PATH": "/p", "GLOBAL": "g", "TARGETARCH": "amd64", "TARGETSTAGE": "default", "B": "0", "C": "g", "A": "2", "DEFAULT": "later"}
    "##);
}

#[test]
fn a_stage_begins_with_the_environment_of_its_base() {
    let text = "FROM scratch AS a\nENV A=env B=env\nARG A=argument\nARG A=again\nRUN x\nFROM a\nRUN x\nARG A=new\nRUN x\n";
    let evaluation = Case::new(text).run();
    let seen =
        |stage: usize, step: usize| evaluation.stages[stage].steps[step].run_env.get("A").map(str::to_owned);
    assert_eq!(seen(0, 3).as_deref(), Some("again"));
    assert_eq!(seen(1, 0).as_deref(), Some("env"));
    assert_eq!(seen(1, 2).as_deref(), Some("new"));
}

#[test]
fn working_directories_users_and_shells() {
    let text = "\
FROM a
WORKDIR sub
USER $U:x
SHELL [\"/bin/bash\", \"-ec\"]
RUN x
WORKDIR ../other
FROM scratch
WORKDIR /
WORKDIR a/../b/
CMD [\"x\"]
ENTRYPOINT y \"z\"
";
    let mut case = Case::new(text);
    let facts = BaseFacts {
        env: env(&[("U", "bob")]),
        working_dir: Some("/srv".to_owned()),
        user: Some("root".to_owned()),
        ..BaseFacts::default()
    };
    case.bases = vec![("a", facts)];
    assert_snapshot!(case.dump(), @r##"
    0 - linux/amd64 Image("a") unneeded
      [stage-0 2/4] WORKDIR sub | WORKDIR /srv/sub
      USER $U:x | USER bob:x
      SHELL ["/bin/bash", "-ec"] | SHELL [/bin/bash -ec]
      [stage-0 3/4] RUN x | RUN /bin/bash -ec x # buildkit
      [stage-0 4/4] WORKDIR ../other | WORKDIR /srv/other
    *1 - linux/amd64 Scratch
      WORKDIR / | WORKDIR /
      [stage-1 1/2] WORKDIR a/../b/ | WORKDIR /b
      CMD ["x"] | CMD ["x"]
      ENTRYPOINT y "z" | ENTRYPOINT ["/bin/sh" "-c" "y \"z\""]
    "##);
    let evaluation = case.run();
    let run = &evaluation.stages[0].steps[3];
    assert_eq!((&*run.working_dir, run.user.as_deref()), ("/srv/sub", Some("bob:x")));
    assert_eq!(&*run.shell, ["/bin/bash", "-ec"]);
    assert_eq!(evaluation.stages[0].steps[0].user.as_deref(), Some("root"));
    assert_eq!(&*evaluation.stages[0].working_dir, "/srv/other");
    assert_eq!(&*evaluation.stages[1].working_dir, "/b");
    assert!(evaluation.stages[1].steps[0].history().unwrap().1);
    assert!(!evaluation.stages[1].steps[1].history().unwrap().1);
}

#[test]
fn copies() {
    let text = "\
FROM a AS one
FROM b
ENV D=/dest U=me
COPY --from=one --chown=$U --chmod=u+x --parents --exclude=*.md --link x/$D \"y\" $D/
COPY --from=0 a /b
COPY --from=nginx:1 a /b
COPY --from=ctx a /b
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 --unpack=false https://example.com/x.tgz /
ADD --keep-git-dir https://github.com/a/b.git#main ./
COPY <<EOF file <<'RAW' <<-TABS $D/
$D \"$U\" \\$U
EOF
$D
RAW
\t\ttabbed
\tTABS
COPY [\"a b\", \"/c d/\"]
";
    let mut case = Case::new(text);
    case.contexts = vec!["ctx"];
    assert_snapshot!(case.dump(), @r##"
    0 one linux/amd64 Image("a") unknown
    *1 - linux/amd64 Image("b") unknown
      ENV D=/dest U=me | ENV D=/dest U=me
      [stage-1 2/9] COPY --from=one --chown=me --chmod=u+x --parents --exclude=*.md --link x//dest y /dest/ | COPY --parents --chown=me --chmod=u+x x//dest y /dest/ # buildkit
      [stage-1 3/9] COPY --from=0 a /b | COPY a /b # buildkit
      [stage-1 4/9] COPY --from=nginx:1 a /b | COPY a /b # buildkit
      [stage-1 5/9] COPY --from=ctx a /b | COPY a /b # buildkit
      [stage-1 6/9] ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 --unpack=false https://example.com/x.tgz / | ADD https://example.com/x.tgz / # buildkit
      [stage-1 7/9] ADD --keep-git-dir https://github.com/a/b.git#main ./ | ADD https://github.com/a/b.git#main ./ # buildkit
      [stage-1 8/9] COPY <<EOF file <<RAW <<-TABS /dest/ | COPY file <<EOF <<RAW <<TABS /dest/ # buildkit
      [stage-1 9/9] COPY [a b, /c d/] | COPY a b /c d/ # buildkit
    "##);
    let evaluation = case.run();
    let copies: Vec<_> = evaluation.stages[1]
        .steps
        .iter()
        .filter_map(|step| match &step.op {
            Op::Copy(copy) => Some(copy),
            _ => None,
        })
        .collect();
    assert_eq!(copies[0].exclude, ["*.md"]);
    assert!(copies[0].link && copies[0].parents && !copies[0].add);
    assert_eq!(copies[0].sources[1], Source::Path("y".to_owned()));
    assert_eq!(copies[7].sources, [Source::Path("a b".to_owned())]);
    let from: Vec<_> = copies.iter().map(|copy| copy.from.clone()).collect();
    let (image, context) = (From::Image("nginx:1".to_owned()), From::Named("ctx".to_owned()));
    assert_eq!(from[..4], [From::Stage(0), From::Stage(0), image, context]);
    assert_eq!(copies[4].unpack, Some(false));
    assert!(copies[5].keep_git_dir);
    assert_snapshot!(format!("{:#?}", copies[6].sources), @r##"
    [
        Path(
            "file",
        ),
        Heredoc(
            InlineFile {
                name: "EOF",
                content: "/dest \"me\" $U\n",
            },
        ),
        Heredoc(
            InlineFile {
                name: "RAW",
                content: "$D\n",
            },
        ),
        Heredoc(
            InlineFile {
                name: "TABS",
                content: "tabbed\n",
            },
        ),
    ]
    "##);
}

#[test]
fn wrong_copies() {
    let text = "\
FROM a AS one
COPY --from=two a /
COPY --from=9 a /
COPY --from=$x a /
COPY https://a.b/c /
COPY git@github.com:a/b /
COPY --chmod=9 a /
ADD --checksum=sha256:0 a /
ADD --checksum=sha256:0 http://a http://b /
COPY ${ /
RUN --mount=from=two,target=/x y
FROM b AS two
COPY --from=three a /
FROM c AS three
COPY --from=two a /
FROM d
COPY --from=one a /
";
    assert_snapshot!(show(text), @r##"
    0 one linux/amd64 Image("a") unknown
      [one  2/11] COPY --from=9 a / | COPY a / # buildkit
      [one  3/11] COPY --from= a / | COPY a / # buildkit
    1 two linux/amd64 Image("b") unknown
    2 three linux/amd64 Image("c") unknown
      [three 2/2] COPY --from=two a / | COPY a / # buildkit
    *3 - linux/amd64 Image("d") unknown
      [stage-3 2/2] COPY --from=one a / | COPY a / # buildkit
    ! `9` invalid stage index 9
    ! `$x` variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround
    ! `COPY --from=two a /` circular dependency detected on stage: one
    ! `two` cannot copy from stage "two", it needs to be defined before current stage "one"
    ! `https://a.b/c` source can't be a URL for COPY
    ! `git@github.com:a/b` source can't be a git ref for COPY
    ! `9` invalid chmod parameter: '9'. it should be octal string and between 0 and 07777
    ! `sha256:0` checksum requires HTTP(S) or Git sources
    ! `sha256:0` checksum can't be specified for multiple sources
    ! `${` failed to process "${": syntax error: missing '}'
    ! `from=two,target=/x` cannot mount from stage "two" to "/x", stage needs to be defined before current command
    ! `three` cannot copy from stage "three", it needs to be defined before current stage "two"
    "##);
}

#[test]
fn runs_with_heredocs() {
    let text = "\
FROM a
RUN <<EOF
echo one
echo two
EOF
RUN <<-SCRIPT
\t#!/usr/bin/env python3
\tprint(1)
SCRIPT
RUN cat <<A <<-\"B\" > /x
$a
A
\tb
\tB
RUN true
RUN
";
    assert_snapshot!(show(text), @r##"
    *0 - linux/amd64 Image("a") unknown
      [2/6] RUN <<EOF (echo one...) | RUN /bin/sh -c echo one
    echo two
     # buildkit
      [3/6] RUN <<-SCRIPT (#!/usr/bin/env python3...) | RUN /bin/sh -c /dev/pipes/SCRIPT # buildkit
      [4/6] RUN cat <<A <<-"B" > /x | RUN /bin/sh -c cat <<A <<-"B" > /x
    $a
    A
    	b
    B # buildkit
      [5/6] RUN true | RUN /bin/sh -c true # buildkit
      [6/6] RUN | RUN /bin/sh -c  # buildkit
    "##);
    let evaluation = Case::new(text).run();
    let runs: Vec<_> = evaluation.stages[0]
        .steps
        .iter()
        .filter_map(|step| match &step.op {
            Op::Run(run) => Some((run.command.clone(), run.script.clone())),
            _ => None,
        })
        .collect();
    assert_snapshot!(format!("{runs:#?}"), @r##"
    [
        (
            Shell(
                "echo one\necho two\n",
            ),
            None,
        ),
        (
            Shell(
                "/dev/pipes/SCRIPT",
            ),
            Some(
                InlineFile {
                    name: "SCRIPT",
                    content: "#!/usr/bin/env python3\nprint(1)\n",
                },
            ),
        ),
        (
            Shell(
                "cat <<A <<-\"B\" > /x\n$a\nA\n\tb\nB",
            ),
            None,
        ),
        (
            Shell(
                "true",
            ),
            None,
        ),
        (
            Shell(
                "",
            ),
            None,
        ),
    ]
    "##);
}

#[test]
fn mounts() {
    let text = "\
FROM a AS deps
FROM b
WORKDIR /w
ENV ID=x
RUN --network=none --security=insecure --device=vendor.com/class=name,required \\
  --mount=type=cache,target=/c,sharing=locked,uid=1,mode=0700 \\
  --mount=type=cache,id=$ID-2,target=rel,from=deps,source=/s \\
  --mount=type=secret,id=tok,env=TOKEN \\
  --mount=type=secret,source=key,required \\
  --mount=type=ssh --mount=type=ssh,id=two,required=true \\
  --mount=type=tmpfs,target=/t,size=1g \\
  --mount=target=/src,rw \\
  echo $TOKEN
";
    assert_snapshot!(show(text), @r##"
    0 deps linux/amd64 Image("a") unknown
    *1 - linux/amd64 Image("b") unknown
      [stage-1 2/3] WORKDIR /w | WORKDIR /w
      ENV ID=x | ENV ID=x
      [stage-1 3/3] RUN --network=none --security=insecure --device=vendor.com/class=name,required   --mount=type=cache,target=/c,sharing=locked,uid=1,mode=0700   --mount=type=cache,id=x-2,target=rel,from=deps,source=/s   --mount=type=secret,id=tok,env=TOKEN   --mount=type=secret,source=key,required   --mount=type=ssh --mount=type=ssh,id=two,required=true   --mount=type=tmpfs,target=/t,size=1g   --mount=target=/src,rw   echo **** | RUN /bin/sh -c echo $TOKEN # buildkit
    "##);
    let evaluation = Case::new(text).run();
    let Op::Run(run) = &evaluation.stages[1].steps[2].op else { panic!("no RUN") };
    let mut shown = String::new();
    for mount in &run.mounts {
        write!(shown, "{:?} {:?} source={:?}", mount.kind, mount.from, mount.source).unwrap();
        write!(shown, " target={:?} id={:?} ro={}", mount.target, mount.id, mount.read_only).unwrap();
        write!(shown, " {:?} size={} req={}", mount.sharing, mount.size, mount.required).unwrap();
        writeln!(shown, " env={:?} mode={:?} uid={:?}", mount.env, mount.mode, mount.uid).unwrap();
    }
    assert_snapshot!(shown, @r##"
    Cache Scratch source=None target=Some("/c") id=Some("/c") ro=false Locked size=0 req=false env=None mode=Some(448) uid=Some(1)
    Cache Stage(0) source=Some("/s") target=Some("/w/rel") id=Some("x-2") ro=false Shared size=0 req=false env=None mode=None uid=None
    Secret Context source=None target=None id=Some("tok") ro=true Shared size=0 req=false env=Some("TOKEN") mode=None uid=None
    Secret Context source=None target=Some("/run/secrets/key") id=Some("key") ro=true Shared size=0 req=true env=None mode=None uid=None
    Ssh Context source=None target=Some("/run/buildkit/ssh_agent.0") id=Some("default") ro=true Shared size=0 req=false env=None mode=None uid=None
    Ssh Context source=None target=Some("/run/buildkit/ssh_agent.1") id=Some("two") ro=true Shared size=0 req=true env=None mode=None uid=None
    Tmpfs Context source=None target=Some("/t") id=None ro=false Shared size=1073741824 req=false env=None mode=None uid=None
    Bind Context source=None target=Some("/src") id=None ro=false Shared size=0 req=false env=None mode=None uid=None
    "##);
    assert_snapshot!(format!("{:?} {:?} {:?}", run.network, run.security, run.devices), @r##"
    None Insecure [Device { name: "vendor.com/class=name", required: true }]
    "##);
}

#[test]
fn wrong_mounts() {
    let text = "\
FROM a
RUN --mount=type=bnid,target=/x y
RUN --mount=type=cache,target=/x,sharing=lokced y
RUN --mount=type=cache,tarqet=/x y
RUN --mount=type=bind,target=/x,uid=0 y
RUN --mount=type=secret y
RUN --mount=type=secret,id=a,source=b y
RUN --mount=target=/ y
RUN --mount=target=/x,size=1 y
RUN --mount=type=tmpfs,target=/x,size=big y
RUN --mount=type=cache,target=/x,mode=9 y
RUN --mount=type=bind,target=/x,required y
RUN --mount=bare y
RUN --mount=target=/x,ro=perhaps y
RUN --mount=type=ssh,source=x y
RUN []
";
    assert_snapshot!(show(text), @r##"
    *0 - linux/amd64 Image("a") unknown
    ! `type=bnid,target=/x` unsupported mount type "bnid" (did you mean bind?)
    ! `type=cache,target=/x,sharing=lokced` unsupported sharing value "lokced" (did you mean locked?)
    ! `type=cache,tarqet=/x` unexpected key 'tarqet' in 'tarqet=/x' (did you mean target?)
    ! `type=bind,target=/x,uid=0` uid not allowed for "bind" type mounts
    ! `type=secret` invalid secret mount. one of source, target required
    ! `type=secret,id=a,source=b` both source and id can't be set
    ! `target=/` invalid mount target "/"
    ! `target=/x,size=1` unexpected key 'size' for mount type 'bind'
    ! `type=tmpfs,target=/x,size=big` invalid value for size: big
    ! `type=cache,target=/x,mode=9` invalid value 9 for mode
    ! `type=bind,target=/x,required` unexpected key 'required' for mount type 'bind'
    ! `bare` invalid field 'bare' must be a key=value pair
    ! `target=/x,ro=perhaps` invalid value for ro: perhaps
    ! `type=ssh,source=x` ssh does not support source
    ! `RUN []` arguments are required
    "##);
}

#[test]
fn triggers_run_first() {
    let text = "\
FROM parent AS one
ONBUILD RUN echo $X
ONBUILD COPY --from=tools /t /t
ONBUILD RUN <<EOF
hello
EOF
ONBUILD ENV X=2
FROM tools-image AS tools
FROM one AS two
RUN own $X
FROM base
RUN last
";
    let mut case = Case::new(text);
    let facts = BaseFacts { env: env(&[("X", "1")]), ..BaseFacts::default() };
    let on_build = ["RUN from base", "ARG Y=1", "NOPE", "USER a\nUSER b", "FROM x"];
    let triggers = BaseFacts { on_build: on_build.map(str::to_owned).to_vec(), ..facts.clone() };
    case.bases = vec![("base", triggers), ("parent", facts)];
    assert_snapshot!(case.dump(), @r##"
    0 one linux/amd64 Image("parent") unneeded
      ONBUILD RUN echo $X | -
      ONBUILD COPY --from=tools /t /t | -
      ONBUILD RUN <<EOF | -
      ONBUILD ENV X=2 | -
    1 tools linux/amd64 Image("tools-image") unneeded unknown
    2 two linux/amd64 Stage(0) unneeded
      [two 1/5] ONBUILD RUN echo 1 | RUN /bin/sh -c echo $X # buildkit
      [two 2/5] ONBUILD COPY --from=tools /t /t | COPY /t /t # buildkit
      [two 3/5] ONBUILD RUN <<EOF (hello) | RUN /bin/sh -c hello
     # buildkit
      ENV X=2 | ENV X=2
      [two 4/5] RUN own 2 | RUN /bin/sh -c own $X # buildkit
    *3 - linux/amd64 Image("base")
      [stage-3 2/4] ONBUILD RUN from base | RUN /bin/sh -c from base # buildkit
      ARG Y=1 | ARG Y=1
      [stage-3 3/4] RUN last | RUN |1 Y=1 /bin/sh -c last # buildkit
    ! `FROM base` unknown instruction: NOPE (did you mean COPY?)
    ! `FROM base` onbuild trigger should be a single expression
    ! `FROM base` *instructions.Stage is not a command type
    "##);
    case.target = Some("two");
    let evaluation = case.run();
    assert!(evaluation.stages[1].reachable);
    assert_eq!(evaluation.stages[2].steps[0].span, evaluation.stages[2].span);
    assert_eq!(evaluation.stages[0].on_build[2], "RUN <<EOF\nhello\nEOF");
    assert!(evaluation.stages[2].on_build.is_empty());
}

#[test]
fn named_contexts_stand_before_stages_and_images() {
    let text = "\
FROM alpine AS one
RUN replaced
FROM docker.io/library/alpine:latest
RUN x
FROM one
RUN --mount=from=golang:1,target=/x y
FROM --platform=linux/arm64 scratch
";
    let mut case = Case::new(text);
    case.contexts = vec!["one", "alpine", "golang:1::linux/amd64", "scratch"];
    assert_snapshot!(case.dump(), @r##"
    0 one linux/amd64 Context("one") unneeded unknown
    1 - linux/amd64 Context("alpine") unneeded unknown
      [stage-1 1/2] RUN x | RUN /bin/sh -c x # buildkit
    2 - linux/amd64 Stage(0) unneeded unknown
      [stage-2 1/1] RUN --mount=from=golang:1,target=/x y | RUN /bin/sh -c y # buildkit
    *3 - linux/amd64 Scratch
    "##);
}

#[test]
fn duplicate_names_and_case() {
    let text = "\
FROM a AS x
FROM b AS X
FROM x
FROM X
COPY --from=x a /
FROM alpine AS alpine
";
    assert_snapshot!(show(text), @r##"
    0 x linux/amd64 Image("a") unneeded unknown
    1 x linux/amd64 Image("b") unneeded unknown
    2 - linux/amd64 Stage(1) unneeded unknown
    3 - linux/amd64 Image("X") unneeded unknown
      [stage-3 2/2] COPY --from=x a / | COPY a / # buildkit
    *4 alpine linux/amd64 Image("alpine") unknown
    "##);
}

#[test]
fn the_rest() {
    let text = "\
FROM a
LABEL a=$HOME \"b c\"=d
EXPOSE 9 8-9/udp $PORTS
EXPOSE 1/x
VOLUME /a /b$X
VOLUME $X
STOPSIGNAL SIGNOPE
STOPSIGNAL quit
HEALTHCHECK --interval=90s --retries=2 CMD [\"a\", \"b\"]
HEALTHCHECK NONE
MAINTAINER me
ARG A=\"${B:?is needed}\"
ONBUILD USER x
SHELL [\"a\"]
run echo \\
  $PATH
CMD x
";
    assert_snapshot!(show(text), @r##"
    *0 - linux/amd64 Image("a") unknown
      LABEL a=$HOME "b c"=d | LABEL a= b c=d
      EXPOSE 9 8-9/udp $PORTS | EXPOSE [8/udp 9/udp 9/tcp]
      VOLUME /a /b$X | VOLUME [/a /b]
      STOPSIGNAL quit | STOPSIGNAL quit
      HEALTHCHECK --interval=90s --retries=2 CMD ["a", "b"] | HEALTHCHECK {Test:[CMD a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}
      HEALTHCHECK NONE | HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}
      MAINTAINER me | MAINTAINER me
      ONBUILD USER x | -
      SHELL ["a"] | SHELL [a]
      [2/2] RUN echo   /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin | RUN a echo   $PATH # buildkit
      CMD x | CMD ["a" "x"]
    ! `1/x` invalid port: "1/x": invalid proto: x
    ! `$X` VOLUME specified can not be an empty string
    ! `SIGNOPE` invalid signal: SIGNOPE
    ! `"${B:?is needed}"` failed to process "\"${B:?is needed}\"": B: is needed
    "##);
}

#[test]
fn errors_in_stages_nobody_needs_are_warnings() {
    let evaluation = Case::new("FROM a\nSTOPSIGNAL x\nFROM b\nSTOPSIGNAL y\n").run();
    let severities: Vec<_> = evaluation.diagnostics.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Error]);
}

#[test]
fn a_windows_stage() {
    let mut case = Case::new("FROM a\nWORKDIR C:/app\nWORKDIR sub\nRUN dir\n");
    case.platform = "windows/amd64";
    assert_snapshot!(case.dump(), @r##"
    *0 - windows/amd64 Image("a") unknown
      [2/4] WORKDIR C:/app | WORKDIR /app
      [3/4] WORKDIR sub | WORKDIR /app/sub
      [4/4] RUN dir | RUN cmd /S /C dir # buildkit
    "##);
}

#[test]
fn proxies() {
    let args =
        BTreeMap::from([("http_proxy".to_owned(), "p".to_owned()), ("NO_PROXY".to_owned(), String::new())]);
    assert_eq!(proxy_variables(&args), env(&[("HTTP_PROXY", "p"), ("http_proxy", "p")]));
}

#[test]
fn growing_variables_are_bounded() {
    let doubled = "ENV A=$A$A\n".repeat(18);
    let mut text = format!("FROM a\nENV A=0123456789\n{doubled}");
    for index in 0..200 {
        writeln!(text, "ENV B{index}=$A").unwrap();
    }
    let evaluation = Case::new(&text).run();
    assert!(evaluation.diagnostics.last().unwrap().message.contains("variables add more than"));
}

#[test]
fn triggers_are_bounded() {
    let text = format!("FROM a AS one\n{}{}", "ONBUILD RUN x\n".repeat(2_000), "FROM one\n".repeat(2_000));
    let evaluation = Case::new(&text).run();
    assert!(evaluation.stages.iter().map(|stage| stage.steps.len()).sum::<usize>() < 200_000);
    assert!(evaluation.diagnostics[0].message.starts_with("triggers are larger"));
}
