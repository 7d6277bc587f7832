//! Tables of what is offered at the mark of a text.

use serde_json::json;

use super::*;
use crate::capabilities::{Abilities, Completes};
use crate::documents::tests::snapshot_of;
use crate::text::Encoding;

/// What is offered, a line each: the label, what the text around the mark becomes, the detail.
fn offered(text: &str) -> String {
    offered_to(text, Abilities::default())
}

fn offered_to(text: &str, abilities: Abilities) -> String {
    let offset = text.find('‸').unwrap();
    let plain = text.replace('‸', "");
    let settings =
        json!({ "platforms": "linux/arm64,linux/arm/v7", "buildFlags": ["--build-context=assets=."] });
    let snapshot = snapshot_of(&plain, &settings, abilities);
    let at = snapshot.text.position(offset, abilities.encoding);
    let list = completion(&snapshot, at, &[]);
    assert!(!list.is_incomplete);
    let mut sorted = list.items.clone();
    sorted.sort_by(|one, other| one.sort_text.cmp(&other.sort_text));
    assert_eq!(sorted, list.items);
    let lines: Vec<String> = list.items.iter().map(|item| shown(&snapshot, offset, item)).collect();
    lines.join("\n")
}

/// An item, with the line that it makes of the one that it is for.
fn shown(snapshot: &Snapshot, offset: usize, item: &CompletionItem) -> String {
    let text = snapshot.text.as_str();
    let (range, new) = match item.text_edit.as_ref().unwrap() {
        CompletionTextEdit::Edit(edit) => (edit.range, &edit.new_text),
        CompletionTextEdit::InsertAndReplace(edit) => {
            assert_eq!(edit.insert.start, edit.replace.start);
            (edit.replace, &edit.new_text)
        }
    };
    assert_eq!(range.start.line, range.end.line);
    let encoding = snapshot.abilities.encoding;
    let (start, end) =
        (snapshot.text.offset(range.start, encoding), snapshot.text.offset(range.end, encoding));
    assert!(start <= offset && offset <= end);
    let line = text[..start].rsplit('\n').next().unwrap();
    let rest = text[end..].split('\n').next().unwrap();
    let mut made = format!("{line}{new}{rest}").replace('\n', "⏎").replace('\r', "");
    for more in item.additional_text_edits.iter().flatten() {
        made = format!("{made} and {:?} in line {}", more.new_text, more.range.start.line + 1);
    }
    let detail = item.detail.as_ref().map(|detail| format!("  # {detail}")).unwrap_or_default();
    format!("{} → {made}{detail}", item.label).trim_end().to_owned()
}

/// Only the labels.
fn labels(text: &str) -> String {
    let lines = offered(text);
    lines.lines().map(|line| line.split(" → ").next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn instructions_where_they_may_begin() {
    insta::assert_snapshot!(labels("‸"), @"FROM ARG");
    insta::assert_snapshot!(labels("ARG A\n‸\nFROM a"), @"FROM ARG");
    insta::assert_snapshot!(labels("FROM a\n‸"), @"COPY RUN ADD ARG CMD ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR MAINTAINER");
    insta::assert_snapshot!(labels("FROM a\nONBUILD ‸"), @"COPY RUN ADD ARG CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL SHELL STOPSIGNAL USER VOLUME WORKDIR");
    insta::assert_snapshot!(offered("FROM a\n  WO‸RK x").lines().last().unwrap(), @"MAINTAINER →   MAINTAINERRK x  # MAINTAINER <name>");
    // As the file writes them, or as the user begins.
    insta::assert_snapshot!(labels("from a\n‸"), @"copy run add arg cmd entrypoint env expose from healthcheck label onbuild shell stopsignal user volume workdir maintainer");
    insta::assert_snapshot!(labels("FROM a\nrun b\nru‸"), @"copy run add arg cmd entrypoint env expose from healthcheck label onbuild shell stopsignal user volume workdir maintainer");
    let snippets = Completes { snippets: true, ..Completes::default() };
    let abilities = Abilities { completion: snippets, ..Abilities::default() };
    let all = offered_to("from a\n‸", abilities);
    let snippets: Vec<&str> = all.lines().filter(|line| line.contains("${")).collect();
    insta::assert_snapshot!(snippets.join("\n"), @r#"
    from … AS … → from ${1:image} AS ${2:name}
    from --platform=$BUILDPLATFORM … → from --platform=\$BUILDPLATFORM ${1:image} AS ${2:build}
    arg …=… → arg ${1:name}=${2:default}
    copy --from=… → copy --from=${1:build} ${2:source} ${3:destination}
    run --mount=type=cache → run --mount=type=cache,target=${1:directory} ${2:command}
    run --mount=type=secret → run --mount=type=secret,id=${1:id},env=${2:NAME} ${3:command}
    run <<EOF → run <<EOF⏎${0}⏎EOF
    entrypoint […] → entrypoint ["${1:executable}"]
    cmd […] → cmd ["${1:executable}"]
    healthcheck CMD … → healthcheck --interval=${1:30s} --timeout=${2:5s} CMD ${3:command}
    shell […] → shell ["${1:/bin/bash}", "-c"]
    "#);
}

#[test]
fn parser_directives_and_comments() {
    insta::assert_snapshot!(offered("#‸"), @"
    syntax= → # syntax=  # the front end that reads this file
    escape= → # escape=  # the character that continues lines
    check=skip= → # check=skip=  # checks that are not made
    check=error=true → # check=error=true  # findings make builds fail
    check=experimental= → # check=experimental=  # checks that are made only then
    rbx: platforms= → # rbx: platforms=  # what this file is built for
    rbx: ignore= → # rbx: ignore=  # rules that are silent for the instruction below
    rbx: ignore-stage= → # rbx: ignore-stage=  # rules that are silent in the stage
    rbx: ignore-file= → # rbx: ignore-file=  # rules that are silent in this file
    ");
    insta::assert_snapshot!(labels("# syntax=x\n# check=skip=all\n# ‸"), @"escape= rbx: platforms= rbx: ignore= rbx: ignore-stage= rbx: ignore-file=");
    insta::assert_snapshot!(offered("FROM a\n# ‸\nRUN b"), @"
    check=skip= → # check=skip=  # checks that are not made of the instruction below
    rbx: platforms= → # rbx: platforms=  # what this file is built for
    rbx: ignore= → # rbx: ignore=  # rules that are silent for the instruction below
    rbx: ignore-stage= → # rbx: ignore-stage=  # rules that are silent in the stage
    rbx: ignore-file= → # rbx: ignore-file=  # rules that are silent in this file
    ");
    insta::assert_snapshot!(offered("# syntax=do‸"), @"
    docker/dockerfile:1 → # syntax=docker/dockerfile:1  # the newest of version 1
    docker/dockerfile:1-labs → # syntax=docker/dockerfile:1-labs  # with what is not yet settled
    docker/dockerfile-upstream:master → # syntax=docker/dockerfile-upstream:master  # as it is developed
    ");
    insta::assert_snapshot!(offered("# escape = ‸"), @r"
    \ → # escape = \
    ` → # escape = `
    ");
    insta::assert_snapshot!(offered("# check=skip=StageNameCasing;‸"), @"
    error=true → # check=skip=StageNameCasing;error=true  # findings make builds fail
    experimental= → # check=skip=StageNameCasing;experimental=  # checks that are made only then
    ");
    insta::assert_snapshot!(offered("# check=error=‸"), @"
    true → # check=error=true
    false → # check=error=false
    ");
    insta::assert_snapshot!(labels("# check=skip=StageNameCasing,FromAsCasing,‸"), @"ConsistentInstructionCasing CopyIgnoredFile DuplicateStageName ExposeInvalidFormat ExposeProtoCasing FromPlatformFlagConstDisallowed InvalidBaseImagePlatform InvalidDefaultArgInFrom InvalidDefinitionDescription JSONArgsRecommended LegacyKeyValueFormat MaintainerDeprecated MultipleInstructionsDisallowed NoEmptyContinuation RedundantTargetPlatform ReservedStageName SecretsUsedInArgOrEnv UndefinedArgInFrom UndefinedVar WorkdirRelativePath");
    insta::assert_snapshot!(labels("# check=experimental=‸"), @"InvalidDefinitionDescription all");
    insta::assert_snapshot!(offered("FROM a\n# check=skip=LegacyKey‸\nENV a b").lines().nth(4).unwrap(), @"ExposeProtoCasing → # check=skip=ExposeProtoCasing  # Protocol in EXPOSE instruction should be lowercase");
    insta::assert_snapshot!(labels("# rbx: platforms=linux/arm64,linux/s‸"), @"linux/amd64 linux/arm/v7 linux/arm/v6 linux/386 linux/ppc64le linux/riscv64 linux/s390x windows/amd64");
    let names = labels("FROM a\n# rbx: ignore=DL3008,‸\nRUN b");
    assert!(
        names.contains("StageNameCasing") && names.contains("DL3009") && !names.contains("DL3008"),
        "{names}"
    );
    assert!(labels("FROM a\n# hadolint global ignore=‸").contains("DL3008"));
    assert_eq!(labels("FROM a\n# anything=‸"), "");
}

#[test]
fn flags_and_their_values() {
    insta::assert_snapshot!(offered("FROM a\nCOPY --link --c‸ b c"), @"
    --chown → COPY --link --chown= b c  # --chown=<user>[:<group>]
    --from → COPY --link --from= b c  # --from=<stage|context|image>
    --chmod → COPY --link --chmod= b c  # --chmod=<mode>
    --exclude → COPY --link --exclude= b c  # --exclude=<pattern>
    --parents → COPY --link --parents b c  # --parents[=<true|false>]
    ");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=ssh --network=none --‸"), @"--mount --security --device");
    insta::assert_snapshot!(labels("FROM a\nADD -‸"), @"--chown --chmod --link --keep-git-dir --checksum --unpack --exclude");
    insta::assert_snapshot!(labels("FROM a\nHEALTHCHECK ‸"), @"CMD NONE --interval --timeout --start-period --start-interval --retries");
    insta::assert_snapshot!(labels("FROM a\nHEALTHCHECK --retries=1 ‸"), @"CMD --interval --timeout --start-period --start-interval");
    insta::assert_snapshot!(offered("FROM --platform=‸ a"), @"
    $BUILDPLATFORM → FROM --platform=$BUILDPLATFORM a  # the machine that builds: steps run natively
    $TARGETPLATFORM → FROM --platform=$TARGETPLATFORM a  # what the image is for, as without the flag
    linux/arm64 → FROM --platform=linux/arm64 a  # this file is built for it
    linux/arm/v7 → FROM --platform=linux/arm/v7 a  # this file is built for it
    linux/amd64 → FROM --platform=linux/amd64 a
    linux/arm/v6 → FROM --platform=linux/arm/v6 a
    linux/386 → FROM --platform=linux/386 a
    linux/ppc64le → FROM --platform=linux/ppc64le a
    linux/riscv64 → FROM --platform=linux/riscv64 a
    linux/s390x → FROM --platform=linux/s390x a
    windows/amd64 → FROM --platform=windows/amd64 a
    ");
    insta::assert_snapshot!(offered("FROM --platform=linux/‸ a").lines().next().unwrap(), @"$BUILDPLATFORM → FROM --platform=$BUILDPLATFORM a  # the machine that builds: steps run natively");
    insta::assert_snapshot!(offered("FROM a AS one\nFROM b\nFROM c AS two\nCOPY --from=‸"), @"
    one → COPY --from=one  # FROM a
    assets → COPY --from=assets  # a named context
    1 → COPY --from=1  # FROM b
    0 → COPY --from=0  # FROM a AS one
    a → COPY --from=a
    b → COPY --from=b
    c → COPY --from=c
    ");
    insta::assert_snapshot!(labels("FROM a\nCOPY --link=‸"), @"true false");
    insta::assert_snapshot!(labels("FROM a\nCOPY --chmod=\"‸"), @"755 644 600 700 u=rwX,go=rX +x");
    insta::assert_snapshot!(labels("FROM a\nRUN --network=‸"), @"default none host");
    insta::assert_snapshot!(labels("FROM a\nRUN --security=‸"), @"sandbox insecure");
    insta::assert_snapshot!(labels("FROM a\nRUN --device=x,‸"), @"required name=");
    insta::assert_snapshot!(labels("FROM a\nADD --checksum=‸"), @"sha256: sha512: sha384:");
    insta::assert_snapshot!(labels("FROM a\nHEALTHCHECK --start-period=‸"), @"0s 5s 10s 1m 5m");
    insta::assert_snapshot!(labels("FROM a\nHEALTHCHECK --retries=‸"), @"3 1 5");
    assert_eq!(labels("FROM a\nRUN --nonsense=‸"), "");
}

#[test]
fn options_of_mounts() {
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=‸"), @"type=bind type=cache type=tmpfs type=secret type=ssh target from source readonly rw");
    insta::assert_snapshot!(offered("FROM a\nRUN --mount=type=cache,target=/x,s‸ b"), @"
    from → RUN --mount=type=cache,target=/x,from= b
    source → RUN --mount=type=cache,target=/x,source= b
    id → RUN --mount=type=cache,target=/x,id= b
    sharing → RUN --mount=type=cache,target=/x,sharing= b
    readonly → RUN --mount=type=cache,target=/x,readonly b
    mode → RUN --mount=type=cache,target=/x,mode= b
    uid → RUN --mount=type=cache,target=/x,uid= b
    gid → RUN --mount=type=cache,target=/x,gid= b
    ");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=secret,‸"), @"target id env required mode uid gid");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=tmpfs,‸"), @"target size");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=ssh,required,‸"), @"target id mode uid gid");
    insta::assert_snapshot!(offered("FROM a\nRUN --mount=type=‸,target=/b c"), @"
    bind → RUN --mount=type=bind,target=/b c  # files of the context, a stage or an image
    cache → RUN --mount=type=cache,target=/b c  # a directory that is kept between builds
    tmpfs → RUN --mount=type=tmpfs,target=/b c  # memory
    secret → RUN --mount=type=secret,target=/b c  # a secret, as a file or a variable
    ssh → RUN --mount=type=ssh,target=/b c  # the socket of an SSH agent
    ");
    insta::assert_snapshot!(labels("FROM a AS one\nFROM b\nRUN --mount=from=‸"), @"one assets a b");
    insta::assert_snapshot!(labels("FROM a AS one\nWORKDIR /out\nFROM b\nRUN --mount=from=one,source=‸"), @"/out");
    insta::assert_snapshot!(labels("FROM a\nWORKDIR /src\nRUN --mount=type=cache,\\\ntarget=‸"), @"/src /root/.cache /root/.cache/go-build /go/pkg/mod /root/.npm /usr/local/share/.cache/yarn /root/.cache/pip /root/.cache/uv /usr/local/cargo/registry /root/.m2 /root/.gradle /var/cache/apt /var/lib/apt");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=cache,sharing=‸"), @"shared private locked");
    insta::assert_snapshot!(labels("FROM a\nRUN --mount=type=secret,required=‸"), @"true false");
}

#[test]
fn stages_and_images() {
    insta::assert_snapshot!(offered("FROM golang:1.26 AS build\nFROM ‸").lines().take(6).collect::<Vec<_>>().join("\n"), @"
    build → FROM build  # the stage FROM golang:1.26
    assets → FROM assets  # a named context
    golang:1.26 → FROM golang:1.26  # an image of this file
    scratch → FROM scratch  # nothing: an empty image
    alpine → FROM alpine  # a small Linux with musl
    busybox → FROM busybox  # a small set of commands
    ");
    insta::assert_snapshot!(offered("FROM golang a‸"), @"as → FROM golang as  # gives the stage a name");
    insta::assert_snapshot!(offered("FROM golang ‸ x"), @"AS → FROM golang AS x  # gives the stage a name");
    assert_eq!(labels("FROM golang AS ‸"), "");
    // Those to come are not there.
    assert!(!labels("FROM ‸\nFROM golang AS later\n").contains("later"));
    assert!(!labels("FROM a AS own\nCOPY --from=‸ x y\n").contains("own"));
}

#[test]
fn variables_in_scope() {
    insta::assert_snapshot!(offered("ARG V=1\nFROM golang:$‸"), @"
    V → FROM golang:$V  # ARG 1
    TARGETPLATFORM → FROM golang:$TARGETPLATFORM  # set by the builder
    TARGETOS → FROM golang:$TARGETOS  # set by the builder
    TARGETARCH → FROM golang:$TARGETARCH  # set by the builder
    TARGETVARIANT → FROM golang:$TARGETVARIANT  # set by the builder
    TARGETOSVERSION → FROM golang:$TARGETOSVERSION  # set by the builder
    BUILDPLATFORM → FROM golang:$BUILDPLATFORM  # set by the builder
    BUILDOS → FROM golang:$BUILDOS  # set by the builder
    BUILDARCH → FROM golang:$BUILDARCH  # set by the builder
    BUILDVARIANT → FROM golang:$BUILDVARIANT  # set by the builder
    BUILDOSVERSION → FROM golang:$BUILDOSVERSION  # set by the builder
    TARGETSTAGE → FROM golang:$TARGETSTAGE  # set by the builder
    ");
    let text = "ARG V=1\nFROM golang\nARG TARGETARCH W=2\nENV E=3\nCOPY ${‸\nARG LATER\n";
    insta::assert_snapshot!(offered(text), @r#"
    E → COPY ${E}  # ENV 3
    W → COPY ${W}  # ARG 2
    TARGETARCH → COPY ${TARGETARCH}  # ARG
    V → COPY ${V} and "ARG V\n" in line 3  # declares it in this stage
    TARGETPLATFORM → COPY ${TARGETPLATFORM} and "ARG TARGETPLATFORM\n" in line 3  # set by the builder; declares it in this stage
    TARGETOS → COPY ${TARGETOS} and "ARG TARGETOS\n" in line 3  # set by the builder; declares it in this stage
    TARGETVARIANT → COPY ${TARGETVARIANT} and "ARG TARGETVARIANT\n" in line 3  # set by the builder; declares it in this stage
    TARGETOSVERSION → COPY ${TARGETOSVERSION} and "ARG TARGETOSVERSION\n" in line 3  # set by the builder; declares it in this stage
    BUILDPLATFORM → COPY ${BUILDPLATFORM} and "ARG BUILDPLATFORM\n" in line 3  # set by the builder; declares it in this stage
    BUILDOS → COPY ${BUILDOS} and "ARG BUILDOS\n" in line 3  # set by the builder; declares it in this stage
    BUILDARCH → COPY ${BUILDARCH} and "ARG BUILDARCH\n" in line 3  # set by the builder; declares it in this stage
    BUILDVARIANT → COPY ${BUILDVARIANT} and "ARG BUILDVARIANT\n" in line 3  # set by the builder; declares it in this stage
    BUILDOSVERSION → COPY ${BUILDOSVERSION} and "ARG BUILDOSVERSION\n" in line 3  # set by the builder; declares it in this stage
    TARGETSTAGE → COPY ${TARGETSTAGE} and "ARG TARGETSTAGE\n" in line 3  # set by the builder; declares it in this stage
    "#);
    insta::assert_snapshot!(labels("FROM a AS b\nARG A\nFROM b\nRUN x $‸"), @"A TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT BUILDOSVERSION TARGETSTAGE HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy ftp_proxy no_proxy all_proxy");
    insta::assert_snapshot!(labels("FROM a\nARG A\nENV B=c\nCMD echo $‸"), @"B");
    insta::assert_snapshot!(offered("FROM a\nARG ABC\nLABEL x=\"a ${AB‸C} d\"").lines().next().unwrap(), @r#"ABC → LABEL x="a ${ABCC} d"  # ARG"#);
    insta::assert_snapshot!(labels("FROM a\nARG A\nCOPY <<EOF /x\n$‸\nEOF\n").split(' ').next().unwrap(), @"A");
    insta::assert_snapshot!(labels("from a\r\nARG A\r\nUSER $‸").split(' ').nth(1).unwrap(), @"TARGETPLATFORM");
    insta::assert_snapshot!(offered("from a\r\nUSER $TARGETA‸\r\n").lines().nth(2).unwrap(), @r#"TARGETARCH → USER $TARGETARCH and "ARG TARGETARCH\r\n" in line 2  # set by the builder; declares it in this stage"#);
    for none in [
        "FROM a\nARG A\nCOPY <<'EOF' /x\n$‸\nEOF\n",
        "FROM a\nARG A\nRUN echo \\$‸",
        "FROM a\nARG A\nRUN echo '$‸",
        "FROM a\nARG A\nCOPY --from=$‸",
        "FROM a\nARG A\nSHELL $‸",
        "FROM a\nARG A\nRUN --mount=type=bind,from=$‸",
        "FROM a\n# about $‸",
    ] {
        assert_eq!(labels(none), "", "{none}");
    }
}

#[test]
fn names_of_arguments() {
    insta::assert_snapshot!(offered("ARG V=1 W\nFROM a\nARG W\nARG ‸").lines().take(4).collect::<Vec<_>>().join("\n"), @"
    V → ARG V  # declared as V=1 before
    TARGETPLATFORM → ARG TARGETPLATFORM  # set by the builder
    TARGETOS → ARG TARGETOS  # set by the builder
    TARGETARCH → ARG TARGETARCH  # set by the builder
    ");
    insta::assert_snapshot!(labels("ARG ‸"), @"SOURCE_DATE_EPOCH BUILDKIT_SBOM_SCAN_CONTEXT BUILDKIT_SBOM_SCAN_STAGE");
    assert_eq!(labels("FROM a\nARG A=‸"), "");
}

#[test]
fn paths_users_and_the_rest() {
    insta::assert_snapshot!(labels("FROM a AS b\nWORKDIR /src\nRUN go build -o /bin/app\nFROM c\nCOPY --from=b ‸"), @"/src /bin/app --chown --chmod --link --exclude --parents");
    insta::assert_snapshot!(labels("FROM a\nWORKDIR /src\nVOLUME /data\nCOPY x ‸"), @"/src /data");
    insta::assert_snapshot!(labels("FROM a\nWORKDIR /src\nWORKDIR ‸"), @"/src");
    insta::assert_snapshot!(offered("FROM a\nRUN adduser -D app && addgroup staff\nUSER ‸"), @"
    app → USER app  # named in this file
    root → USER root
    nobody → USER nobody
    ");
    insta::assert_snapshot!(offered("FROM a\nRUN adduser -D app && addgroup staff\nCOPY --chown=app:‸ x y"), @"
    staff → COPY --chown=app:staff x y  # named in this file
    root → COPY --chown=app:root x y
    0 → COPY --chown=app:0 x y
    ");
    insta::assert_snapshot!(offered("FROM a\nEXPOSE 80‸"), @"
    80/tcp → EXPOSE 80/tcp
    80/udp → EXPOSE 80/udp
    ");
    insta::assert_snapshot!(offered("FROM a\nEXPOSE 80/‸ 81"), @"
    tcp → EXPOSE 80/tcp 81  # as without it
    udp → EXPOSE 80/udp 81
    sctp → EXPOSE 80/sctp 81
    ");
    insta::assert_snapshot!(offered("FROM a\nSTOPSIGNAL SIGT‸").lines().next().unwrap(), @"SIGTERM → STOPSIGNAL SIGTERM  # 15: asks to end, as if nothing is said");
    insta::assert_snapshot!(offered("FROM a\nSHELL ‸"), @r#"
    ["/bin/sh", "-c"] → SHELL ["/bin/sh", "-c"]  # as without SHELL on Linux
    ["/bin/bash", "-c"] → SHELL ["/bin/bash", "-c"]
    ["/bin/bash", "-o", "pipefail", "-c"] → SHELL ["/bin/bash", "-o", "pipefail", "-c"]  # a pipe fails if any part of it does
    ["/bin/bash", "-euxo", "pipefail", "-c"] → SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]  # stops at the first failure, and shows commands
    ["cmd", "/S", "/C"] → SHELL ["cmd", "/S", "/C"]  # as without SHELL on Windows
    ["powershell", "-Command"] → SHELL ["powershell", "-Command"]  # PowerShell on Windows
    "#);
    insta::assert_snapshot!(offered("FROM a\nLABEL org.opencontainers.image.title=x \\\n  org‸").lines().next().unwrap(), @"org.opencontainers.image.description →   org.opencontainers.image.description=  # a description for people");
    let snippets = Completes { snippets: true, insert_replace: true, ..Completes::default() };
    let abilities = Abilities { completion: snippets, ..Abilities::default() };
    insta::assert_snapshot!(offered_to("FROM a\nLABEL or‸g", abilities).lines().next().unwrap(), @r#"org.opencontainers.image.title → LABEL org.opencontainers.image.title="${1}"  # a title for people"#);
    insta::assert_snapshot!(offered("FROM a\nONBUILD STOPSIGNAL ‸").lines().next().unwrap(), @"SIGTERM → ONBUILD STOPSIGNAL SIGTERM  # 15: asks to end, as if nothing is said");
    for none in
        ["FROM a\nCMD [\"‸\"]", "FROM a\nRUN make ‸", "FROM a\nMAINTAINER ‸", "FROM a\nENV A=‸", "XYZ ‸"]
    {
        assert_eq!(labels(none), "", "{none}");
    }
}

#[test]
fn columns_are_the_clients() {
    let text = "FROM a\nARG A\nRUN echo 🐳ü $‸ 🐳";
    for encoding in [Encoding::Utf8, Encoding::Utf16] {
        let abilities = Abilities { encoding, ..Abilities::default() };
        let first = offered_to(text, abilities).lines().next().unwrap().to_owned();
        assert_eq!(first, "A → RUN echo 🐳ü $A 🐳  # ARG", "{encoding:?}");
    }
    let offset = text.find('‸').unwrap();
    let abilities = |encoding| Abilities { encoding, ..Abilities::default() };
    let column = |encoding| {
        let snapshot = snapshot_of(&text.replace('‸', ""), &json!({}), abilities(encoding));
        let list = completion(&snapshot, snapshot.text.position(offset, encoding), &[]);
        match list.items[0].text_edit.as_ref().unwrap() {
            CompletionTextEdit::Edit(edit) => edit.range.start.character,
            CompletionTextEdit::InsertAndReplace(_) => unreachable!("the client has none"),
        }
    };
    assert_eq!((column(Encoding::Utf8), column(Encoding::Utf16)), (17, 14));
}

#[test]
fn items_are_explained() {
    let snapshot = snapshot_of(
        "FROM a\nARG TARGETARCH\nRUN $T\n",
        &json!({ "platforms": ["linux/arm64", "linux/386"] }),
        Abilities::default(),
    );
    let text = |about: About| match resolve(&snapshot, &about) {
        Some(Documentation::MarkupContent(content)) => content.value,
        other => format!("{other:?}"),
    };
    insta::assert_snapshot!(text(About::Variable("TARGETARCH".into(), 28)), @"
    The architecture that the image is for: arm of linux/arm/v7.

    - linux/arm64: arm64, set by the builder
    - linux/386: 386, set by the builder
    ");
    insta::assert_snapshot!(text(About::Mount("size".into())), @"How much it may hold at most, such as 64m; without it there is no limit.");
    assert!(text(About::Instruction("RUN".into())).starts_with("RUN "));
    assert!(text(About::Flag("RUN".into(), "mount".into())).starts_with("--mount="));
    assert!(text(About::Directive("check".into())).starts_with("# check="));
    assert!(text(About::Rule("StageNameCasing".into())).starts_with("StageNameCasing (buildkit)"));
    for nothing in [About::Rule("x".into()), About::Mount("x".into()), About::Flag("x".into(), "y".into())] {
        assert_eq!(resolve(&snapshot, &nothing), None);
    }
    let data = json!({ "uri": "untitled:x", "about": { "mount": "size" } });
    assert_eq!(Asked::read(Some(&data)).unwrap().about, About::Mount("size".into()));
    for nonsense in
        [json!(1), json!({ "uri": "untitled:x" }), json!({ "uri": "untitled:x", "about": { "x": 1 } })]
    {
        assert!(Asked::read(Some(&nonsense)).is_none());
    }
}

mod anywhere {
    use proptest::prelude::*;

    use super::*;
    use crate::features::{hover, signature};

    /// Pieces that odd files are made of.
    const PIECES: [&str; 40] = [
        "FROM ",
        "a",
        ":",
        "$",
        "{",
        "}",
        "\n",
        "\r\n",
        " ",
        "\\\n",
        "#",
        "check=skip=",
        "rbx: platforms=",
        ",",
        "--mount=",
        "type=cache",
        "--from=",
        "RUN ",
        "COPY ",
        "ONBUILD ",
        "[\"",
        "\"",
        "]",
        "<<EOF",
        "EOF",
        "'",
        "ARG V=1",
        "ENV ",
        "=",
        "🐳",
        "ü",
        "\u{feff}",
        "`",
        "\t",
        "/",
        "--",
        "HEALTHCHECK ",
        "EXPOSE 80/",
        "USER x:",
        "# escape=`",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn all_can_be_asked(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..25), utf8: bool) {
            let text: String = pieces.concat();
            let encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
            let abilities = Abilities { encoding, ..Abilities::default() };
            let snapshot = snapshot_of(&text, &json!({ "platforms": "linux/arm64" }), abilities);
            for offset in (0..=text.len()).filter(|offset| text.is_char_boundary(*offset)) {
                let position = snapshot.text.position(offset, encoding);
                // The mark of a byte order is in no column.
                let offset = snapshot.text.offset(position, encoding);
                for item in &completion(&snapshot, position, &[]).items {
                    shown(&snapshot, offset, item);
                }
                let _ = signature::signature(&snapshot, position, true);
                let _ = hover::find(&snapshot, position);
            }
        }
    }
}
