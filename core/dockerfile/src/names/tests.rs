use std::collections::HashMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{Names, Role, ShellRead, SubjectKind, is_predefined, names, substitutions};
use crate::dockerfile::Dockerfile;
use crate::evaluate::platform_arguments;
use crate::expand::ExpandOptions;
use crate::instruction::Keyword;
use crate::parse::parse;
use crate::span::Span;

/// What a shell would read that knows no quotes.
fn shell(file: &Dockerfile) -> Vec<ShellRead> {
    let mut reads = Vec::new();
    for instruction in &file.instructions {
        let shells = [Keyword::Run, Keyword::Cmd, Keyword::Entrypoint, Keyword::Onbuild];
        let text = instruction.span.slice(&file.text);
        for found in substitutions(text, ExpandOptions::heredoc_body()) {
            let span = |start: usize, end: usize| {
                let at = instruction.span.start as usize;
                Span::of(at + start, at + end)
            };
            let name = text[found.name.clone()].to_owned();
            let is_flag =
                text[..found.whole.start].rsplit(char::is_whitespace).next().unwrap().starts_with("--");
            if shells.contains(&instruction.keyword) && !is_flag {
                let perhaps = name == "PERHAPS";
                let pieces = vec![span(found.name.start, found.name.end)];
                reads.push(ShellRead {
                    name,
                    pieces,
                    whole: span(found.whole.start, found.whole.end),
                    perhaps,
                });
            }
        }
    }
    reads
}

fn found(text: &str) -> (Dockerfile, Names) {
    let file = parse(text);
    let names = names(&file, &shell(&file));
    (file, names)
}

/// Each subject with its mentions: what they do, where, and which definition they mean.
fn dump(text: &str) -> String {
    let (file, names) = found(text);
    let place = |offset: u32| {
        let line = file.line_index.line_of(offset);
        format!("{line}:{}", offset - file.line_index.span_of(line).unwrap().start)
    };
    let mut out = String::new();
    for subject in &names.subjects {
        let kind = match subject.kind {
            SubjectKind::Stage { index, .. } => format!("stage {index}"),
            SubjectKind::Variable => "variable".to_owned(),
            SubjectKind::Heredoc { number, .. } => format!("heredoc {number}"),
        };
        write!(out, "{kind} {}:", subject.name).unwrap();
        for &index in &subject.mentions {
            let mention = &names.mentions[index];
            let role = match mention.role {
                Role::Definition => "=",
                Role::Reference => "",
                Role::Number => "#",
                Role::End => "end ",
                Role::Shell => "shell ",
                Role::PerhapsShell => "perhaps ",
                Role::Container => "container ",
            };
            let pieces: Vec<&str> = mention.pieces.iter().map(|piece| piece.slice(text)).collect();
            write!(out, " {role}{}@{}", pieces.join("|"), place(mention.pieces[0].start)).unwrap();
            if let Some(target) = mention.target {
                write!(out, "→{}", place(names.mentions[target].pieces[0].start)).unwrap();
            }
        }
        out.push('\n');
    }
    for guess in &names.guesses {
        let list: Vec<&str> = guess.subjects.iter().map(|&it| names.subjects[it].name.as_str()).collect();
        writeln!(out, "guess {}@{}: {}", guess.span.slice(text), place(guess.span.start), list.join(" "))
            .unwrap();
    }
    out
}

#[test]
fn stages_are_named_in_any_case() {
    assert_snapshot!(dump("FROM a AS Build\nFROM build\nCOPY --from=BUILD x y\nCOPY --from=0 x y\nCOPY --from=1 x y\nCOPY --from=7 x y\nRUN --mount=type=bind,from=Build,target=$X --mount=from=0 b\nFROM Build\n"), @r"
    stage 0 build: =Build@1:10 build@2:5→1:10 BUILD@3:12→1:10 #0@4:12→1:10 Build@7:27→1:10
    stage 1 : #1@5:12
    variable X: X@7:41
    ");
}

#[test]
fn of_two_stages_with_one_name_the_last_counts() {
    // For a base it is the last before it, for files the last of all.
    assert_snapshot!(dump("FROM a AS x\nFROM x AS y\nCOPY --from=x a b\nFROM y AS x\nFROM x\n"), @r"
    stage 0 x: =x@1:10 x@2:5→1:10
    stage 1 y: =y@2:10 y@4:5→2:10
    stage 2 x: x@3:12→4:10 =x@4:10 x@5:5→4:10
    ");
}

#[test]
fn bases_with_variables_are_guesses() {
    assert_snapshot!(dump("ARG B=two\nFROM a AS bin-amd64\nFROM a AS bin-arm64\nFROM a AS two\nARG V=1\nFROM bin-${TARGETARCH}\nFROM $B\nRUN $V\nFROM x${B}y\nFROM $NONE\n"), @r"
    variable B: =B@1:4 B@7:6→1:4 B@9:8→1:4
    stage 0 bin-amd64: =bin-amd64@2:10
    stage 1 bin-arm64: =bin-arm64@3:10
    stage 2 two: =two@4:10
    variable V: =V@5:4 shell V@8:5→5:4
    variable TARGETARCH: TARGETARCH@6:11
    variable NONE: NONE@10:6
    guess bin-${TARGETARCH}@6:5: bin-amd64 bin-arm64
    guess $B@7:5: two
    ");
}

#[test]
fn arguments_are_taken_over_from_the_global_scope() {
    assert_snapshot!(dump("ARG A=1\nARG B=$A\nFROM i:$A AS s\nRUN $A\nARG A\nRUN ${A}\nFROM i\nLABEL l=$A\nARG A=2 C=$A\nRUN $A $C\n"), @r"
    variable A: =A@1:4 A@2:7→1:4 A@3:8→1:4 =A@5:4→1:4 shell A@6:6→5:4 A@8:9 =A@9:4 A@9:11→9:4 shell A@10:5→9:4
    variable B: =B@2:4
    stage 0 s: =s@3:13
    variable C: =C@9:8 shell C@10:8→9:8
    ");
}

#[test]
fn variables_come_with_the_stage_below() {
    assert_snapshot!(dump("FROM i AS one\nARG A=1\nENV E=1 B=$A\nARG E=2\nRUN $A $E\nFROM one AS two\nRUN $A $E $B\nENV A=3\nFROM two\nARG E\nUSER $A$E\nFROM i\nENV E=9\nUSER $E\n"), @r"
    stage 0 one: =one@1:10 one@6:5→1:10
    variable A: =A@2:4 A@3:11→2:4 shell A@5:5→2:4 shell A@7:5→2:4 =A@8:4 A@11:6→8:4
    variable E: =E@3:4 =E@4:4 shell E@5:8→4:4 shell E@7:8→3:4 =E@10:4 E@11:8→3:4
    variable B: =B@3:8 shell B@7:11→3:8
    stage 1 two: =two@6:12 two@9:5→6:12
    variable E: =E@13:4 E@14:6→13:4
    ");
}

#[test]
fn pairs_of_env_do_not_see_each_other() {
    assert_snapshot!(dump("FROM i\nENV A=1 B=$A C=\"${B:-$A}\"\nENV A $A:2\nENV $A=3 \"D\"=4\nENV PATH=/x:$PATH\nLABEL a.$A=$C\n"), @r"
    variable A: =A@2:4 A@2:11 A@2:22 =A@3:4 A@3:7→2:4 A@4:5→3:4 A@6:9→3:4
    variable B: =B@2:8 B@2:18
    variable C: =C@2:13 C@6:12→2:13
    variable PATH: =PATH@5:4 PATH@5:13
    ");
}

#[test]
fn what_sets_itself_needs_no_definition() {
    assert_snapshot!(dump("FROM --platform=$BUILDPLATFORM i\nRUN $TARGETOS\nARG TARGETOS\nRUN $TARGETOS $http_proxy\nENV TARGETARCH=x\nARG TARGETARCH\nRUN $TARGETARCH\n"), @r"
    variable BUILDPLATFORM: BUILDPLATFORM@1:17
    variable TARGETOS: =TARGETOS@3:4 shell TARGETOS@4:5→3:4
    variable TARGETARCH: =TARGETARCH@5:4 =TARGETARCH@6:4 shell TARGETARCH@7:5→6:4
    ");
    let platform = rbx_platform::Platform::parse("linux/arm/v7").unwrap();
    for (name, _) in platform_arguments(&platform, &platform) {
        assert!(is_predefined(name), "{name}");
    }
    for name in ["http_proxy", "NO_PROXY", "TARGETSTAGE", "SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE"] {
        assert!(is_predefined(name), "{name}");
    }
    for name in ["", "TARGET", "TARGETFOO", "BUILD", "Http_Proxy", "PATH", "targetarch"] {
        assert!(!is_predefined(name), "{name}");
    }
}

#[test]
fn words_are_read_where_the_language_reads_them() {
    assert_snapshot!(dump(r#"FROM i
ARG V=1
COPY --chown=$V --chmod=${V} --link --exclude=$V "$V" '$V' \$V ["x$V"] /$V
ADD --checksum=$V ["a\n$V", "\u0024V", "b"]
EXPOSE $V ${V:-80}/tcp
VOLUME ["/$V"]
VOLUME $V
WORKDIR /a/${V#x}
STOPSIGNAL $V
SHELL ["$V"]
MAINTAINER $V
RUN --network=$V --mount="type=cache,target=/x y/$V" --mount=from=$V a
HEALTHCHECK --interval=$V CMD b
LABEL "a"="$V" b='$V'
"#), @"variable V: =V@2:4 V@3:14→2:4 V@3:26→2:4 V@3:51→2:4 V@3:67→2:4 V@3:73→2:4 V@4:16→2:4 V@4:24→2:4 V@4:35→2:4 V@5:8→2:4 V@5:12→2:4 V@6:11→2:4 V@7:8→2:4 V@8:13→2:4 V@9:12→2:4 V@12:50→2:4 V@14:12→2:4");
}

#[test]
fn heredocs_begin_and_end() {
    assert_snapshot!(dump("FROM i\nENV A=1\nCOPY <<EOF <<'B c' <<-D$A /x/\n$A \\$A '$A'\nEOF\n$A\nB c\n\t${A}\n\tD$A\nRUN cat <<EOF && <<EOF\n$A\nEOF\nEOF\nRUN <<E\\x\nEx\nRUN <<NO\n"), @r"
    variable A: =A@2:4 A@4:1→2:4 A@4:9→2:4 A@8:3→2:4 shell A@11:1→2:4
    heredoc 0 EOF: =EOF@3:7 end EOF@5:0→3:7
    heredoc 1 B c: =B c@3:14 end B c@7:0→3:14
    heredoc 2 D$A: =D$A@3:22 end D$A@9:1→3:22
    heredoc 0 EOF: =EOF@10:10 end EOF@12:0→10:10
    heredoc 1 EOF: =EOF@10:19 end EOF@13:0→10:19
    heredoc 0 NO: =NO@16:6
    ");
}

#[test]
fn triggers_are_for_the_stages_above() {
    assert_snapshot!(dump("FROM i AS base\nENV A=1\nONBUILD ARG A=2 N=3\nONBUILD RUN $A $N\nONBUILD COPY --from=Last <<E /$N\nx\nE\nRUN $A $N\nFROM base AS mid\nRUN $A $N\nFROM mid AS last\nRUN $A $N\n"), @r"
    stage 0 base: =base@1:10 base@9:5→1:10
    variable A: =A@2:4 =A@3:12 shell A@4:13→3:12 shell A@8:5→2:4 shell A@10:5→3:12 shell A@12:5→2:4
    variable N: =N@3:16 shell N@4:16→3:16 N@5:31→3:16 shell N@10:8→3:16 shell N@12:8→3:16
    stage 2 last: Last@5:20→11:12 =last@11:12
    heredoc 0 E: =E@5:27 end E@7:0→5:27
    stage 1 mid: =mid@9:13 mid@11:5→9:13
    ");
}

#[test]
fn names_may_run_over_lines() {
    assert_snapshot!(dump("# escape=`\nFROM i AS bu`\n  # a comment\nild\nARG VER`\nSION=1\nLABEL x=${VE`\n`\nRSION} y=`$VERSION\nCOPY --from=bu`\nild `\n # b\n a$VERSION b\nRUN --mount=from=buil`\nd,target=\"$VERS`\nION\" c\n"), @r"
    stage 0 build: =bu|ild@2:10 bu|ild@10:12→2:10 buil|d@14:17→2:10
    variable VERSION: =VER|SION@5:4 VE|RSION@7:10→5:4 VERSION@13:3→5:4 VERS|ION@15:11→5:4
    ");
}

#[test]
fn containers_see_the_environment_only() {
    assert_snapshot!(dump("FROM i\nARG A=1\nENV E=1\nCMD $A $E $F\nRUN $PERHAPS\nENV F=2 PERHAPS=1\nRUN $PERHAPS\nONBUILD CMD $F\n"), @r"
    variable A: =A@2:4
    variable E: =E@3:4 container E@4:8→3:4
    variable F: container F@4:11→6:4 =F@6:4 container F@8:13→6:4
    variable PERHAPS: =PERHAPS@6:8 perhaps PERHAPS@7:5→6:8
    ");
}

#[test]
fn broken_files_have_names_too() {
    assert_snapshot!(dump("RUN $A\nARG A\nARG\nARG =1 B=${A\nFROM\nFROM i AS\nFROM i AS 0x\nFROM i AS y z\nCOPY --from= --from=\"0x\" $B\nRUM $A\nENV\nENV A\nENV =$A\nONBUILD ONBUILD ARG C\nCOPY --from=99999999999999999999 --chown a\nLABEL $A=\"${A:-'$B\n"), @r"
    variable A: =A@2:4 A@4:11→2:4
    variable B: =B@4:7
    stage 2 0x: =0x@7:10 0x@9:21→7:10
    variable B: B@9:26 B@16:17
    variable A: A@13:6 A@16:7 A@16:12
    ");
}

#[test]
fn places_lead_to_mentions() {
    let text = "FROM i AS ab\nARG C=$D$E\nCOPY --from=ab x ${C\\\n}\n";
    let (_, names) = found(text);
    let at = |offset: usize| {
        let mention = names.at(u32::try_from(offset).unwrap());
        mention.map(|mention| mention.span().slice(text))
    };
    let place = |needle: &str| text.find(needle).unwrap();
    assert_eq!(at(place("ab")), Some("ab"));
    assert_eq!(at(place("ab") + 2), Some("ab"), "its end");
    assert_eq!(at(place("ab") - 1), None);
    assert_eq!(at(place("$D")), Some("D"), "before its name");
    assert_eq!(at(place("$D") + 1), Some("D"));
    assert_eq!(at(place("$E")), Some("E"), "not the end of the one before");
    assert_eq!(at(0), None);
    assert_eq!(at(text.len() + 9), None);
    let used = names.at(u32::try_from(place("{C") + 1).unwrap()).unwrap();
    assert_eq!(used.whole.slice(text), "${C\\\n}");
    assert_eq!(at(place("${C") + 3), Some("C"));
    assert_eq!(at(place("${C") + 4), None, "what follows it");
    assert_eq!(names.definition(used).unwrap().span().slice(text), "C");
    assert_eq!(names.subject(used).unwrap().mentions.len(), 2);
    let given = names.at(u32::try_from(place("C=")).unwrap()).unwrap();
    assert_eq!(names.definition(given), Some(given));
}

/// Many of everything that one could be tempted to compare with everything.
#[test]
fn large_files_take_no_longer_than_their_size() {
    let many = |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<Vec<_>>().concat();
    let row = many(&|i| format!("FROM s{i} AS s{}\nENV V{i}=$V{}\nRUN $V0 $U{i}\n", i + 1, i / 2));
    let (_, names) = found(&format!("FROM i AS s0\n{row}"));
    assert_eq!(names.subjects.len(), 10_001);
    let fan = many(&|i| format!("ONBUILD ARG T{i}\n"));
    let stages = many(&|i| format!("FROM b AS b-{i}\nFROM b-$X\n"));
    let (_, names) = found(&format!("FROM i AS b\n{fan}{stages}"));
    assert_eq!(names.subjects.len(), 10_002);
    let doubled = many(&|i| format!("ARG A{}=$A{i}$A{i}$A{i}$A{i}\n", i + 1));
    found(&format!("ARG A0=aaaa\n{doubled}FROM $A5000\n"));
}

/// Everything that holds for any text.
fn is_sound(text: &str) {
    let (file, names) = found(text);
    let mut end = 0;
    for (index, mention) in names.mentions.iter().enumerate() {
        let span = mention.span();
        assert!(span.start >= end && !span.is_empty(), "{span:?} after {end}");
        end = span.end;
        let mut at = span.start;
        for piece in &mention.pieces {
            assert!(piece.start >= at && !piece.is_empty() && text.get(piece.range()).is_some());
            at = piece.end;
        }
        assert!(text.get(mention.whole.range()).is_some() && mention.whole.encloses(span));
        assert!(names.subjects[mention.subject].mentions.contains(&index));
        assert!(file.instructions[mention.instruction].span.encloses(span));
        let subject = &names.subjects[mention.subject];
        let written: String = mention.pieces.iter().map(|piece| piece.slice(text)).collect();
        match subject.kind {
            SubjectKind::Stage { .. } if mention.role == Role::Number => {}
            SubjectKind::Stage { .. } => assert_eq!(written.to_lowercase(), subject.name),
            // What is written as an escape in JSON is longer.
            _ if written.contains('\\') => {}
            _ => assert_eq!(written, subject.name),
        }
        if let Some(target) = mention.target {
            let target = &names.mentions[target];
            assert!(target.is_definition());
            assert_eq!(target.subject, mention.subject);
        }
        assert_eq!(names.at(span.start), Some(mention));
    }
    let mut seen = HashMap::new();
    for (index, subject) in names.subjects.iter().enumerate() {
        assert!(subject.mentions.is_sorted());
        for mention in &subject.mentions {
            assert_eq!(seen.insert(*mention, index), None);
        }
    }
    for guess in &names.guesses {
        assert!(
            guess.subjects.iter().all(|&it| matches!(names.subjects[it].kind, SubjectKind::Stage { .. }))
        );
    }
    for offset in 0..=text.len() + 1 {
        names.at(u32::try_from(offset).unwrap());
        names.guess_at(u32::try_from(offset).unwrap());
    }
}

proptest! {
    #[test]
    fn any_text_has_sound_names(text in "[ -~\n\\\\$é🐳\t\r]{0,80}") {
        is_sound(&text);
    }

    #[test]
    fn any_words_have_sound_names(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "FROM ", "ARG ", "ENV ", "COPY ", "ADD ", "RUN ", "CMD ", "ONBUILD ", "LABEL ", "VOLUME ", "AS ",
                "a", "B", "a ", "b ", "A=", "a=", "=", "$a", "${B}", "${a:-$b}", "$", "--from=", "--mount=",
                "from=", "target=", ",", "\"", "'", "[\"", "\", \"", "\"]", "\\u0024a", "\\", "\\\n", "\n", "\r\n",
                "\n# c\n", "<<E", "<<-\"E\"", "\nE\n", "0", "é", "--chown=", "# escape=`\n", "`\n", "\t",
            ]),
            0..40,
        )
    ) {
        is_sound(&words.concat());
    }
}
