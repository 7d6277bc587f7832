use std::fmt::Write as _;

use insta::assert_snapshot;

use super::parse;
use crate::diagnostic::{Diagnostic, Severity};
use crate::dockerfile::Dockerfile;
use crate::instruction::{Body, CommandLine, Instruction};

/// A file on one page: each instruction with its lines, flags, body and heredocs, then the findings.
fn dump(text: &str) -> String {
    let file = parse(text);
    let mut out = String::new();
    for instruction in &file.instructions {
        show(&file, instruction, &mut out);
    }
    for diagnostic in &file.diagnostics {
        let mark = if diagnostic.severity == Severity::Error { "!" } else { "?" };
        writeln!(out, "{mark} {}", finding(&file, diagnostic)).unwrap();
    }
    out
}

fn finding(file: &Dockerfile, diagnostic: &Diagnostic) -> String {
    let line = file.line_index.line_of(diagnostic.span.start);
    format!("{line} `{}` {}", diagnostic.span.slice(&file.text), file.error_text(diagnostic))
}

fn show(file: &Dockerfile, instruction: &Instruction, out: &mut String) {
    let (first, last) = file.line_index.lines_of(instruction.span);
    write!(out, "{first}-{last} {:?}", instruction.keyword).unwrap();
    for flag in &instruction.flags {
        match &flag.value {
            Some(value) => write!(out, " --{}=<{}>", flag.name.text, value.text).unwrap(),
            None => write!(out, " --{}", flag.name.text).unwrap(),
        }
    }
    let form = match &instruction.body {
        Body::Run(CommandLine::Exec { .. })
        | Body::Cmd(CommandLine::Exec { .. })
        | Body::Entrypoint(CommandLine::Exec { .. }) => "json",
        Body::Copy(files) | Body::Add(files) if files.exec => "json",
        Body::Env(pairs) | Body::Label(pairs) if pairs.iter().any(|pair| pair.legacy) => "legacy",
        Body::Onbuild(trigger) => {
            out.push_str(" > ");
            return show(file, trigger, out);
        }
        Body::Invalid(_) => "invalid",
        _ => "",
    };
    for word in instruction.words() {
        write!(out, " <{}>", word.text).unwrap();
    }
    writeln!(out, "{}{form}", if form.is_empty() { "" } else { " " }).unwrap();
    for heredoc in &instruction.heredocs {
        writeln!(
            out,
            "    {} {}{}: {:?}",
            heredoc.word.text,
            if heredoc.expand { "expand" } else { "literal" },
            if heredoc.terminator.is_none() { " open" } else { "" },
            heredoc.stripped(&file.text)
        )
        .unwrap();
    }
}

#[test]
fn a_plain_file() {
    let text = "\
# syntax=docker/dockerfile:1

# the base
FROM --platform=$BUILDPLATFORM golang:1.25 AS build
WORKDIR /src
COPY --link go.mod go.sum ./
RUN --mount=type=cache,target=/root/.cache go build -o /out ./...

from scratch
copy --from=build /out /app
EXPOSE 80 443/udp
VOLUME /data [x]
USER 1000:1000
STOPSIGNAL SIGTERM
MAINTAINER A B <a@example.com>
ENTRYPOINT [\"/app\", \"--x\"]
CMD run it
";
    assert_snapshot!(dump(text), @r##"
    4-4 From --platform=<$BUILDPLATFORM> <golang:1.25> <AS> <build>
    5-5 Workdir </src>
    6-6 Copy --link <go.mod> <go.sum> <./>
    7-7 Run --mount=<type=cache,target=/root/.cache> <go build -o /out ./...>
    9-9 From <scratch>
    10-10 Copy --from=<build> </out> </app>
    11-11 Expose <80> <443/udp>
    12-12 Volume </data> <[x]>
    13-13 User <1000:1000>
    14-14 Stopsignal <SIGTERM>
    15-15 Maintainer <A B <a@example.com>>
    16-16 Entrypoint </app> <--x> json
    17-17 Cmd <run it>
    "##);
}

#[test]
fn directives() {
    let file = parse(
        "#syntax = a/b:1 --x\n# ESCAPE=`\n#check=skip=all\n# syntax=late\n# a comment\n# escape=\\\nFROM a`\n b\n",
    );
    assert_eq!(file.directives.syntax.as_ref().unwrap().value, "a/b:1 --x");
    assert_eq!(file.directives.check.as_ref().unwrap().value, "skip=all");
    assert_eq!(file.escape, '`');
    let escape = file.directives.escape.as_ref().unwrap();
    assert_eq!(escape.value_span.slice(&file.text), "`");
    assert_eq!(escape.name_span.slice(&file.text), "ESCAPE");
    assert_eq!(file.comments.len(), 2);
    let findings: String = file.diagnostics.iter().map(|it| finding(&file, it) + "\n").collect();
    assert_snapshot!(findings, @r##"
    4 `# syntax=late` only one syntax parser directive can be used
    8 `b` dockerfile parse error on line 7: FROM requires either one or three arguments
    "##);
    assert_snapshot!(dump("# escape=x\nFROM a\n"), @r##"
    2-2 From <a>
    ! 1 `x` invalid escape token 'x' does not match ` or \
    "##);
}

#[test]
fn directives_end_at_anything_else() {
    for text in [
        "# hello\n# escape=`\n",
        "\n# escape=`\n",
        "FROM a\n# escape=`\n",
        "# foo=bar\n# escape=`\n",
        "#!/x\n# escape=`\n",
        "# escape=\n# escape=`\n",
    ] {
        assert_eq!(parse(text).escape, '\\', "{text:?}");
    }
    let file = parse("#!/usr/bin/env build\n# syntax=a\nFROM b\n");
    assert_eq!(file.directives.syntax.unwrap().value, "a");
}

#[test]
fn continuations() {
    let text = "\
FROM \\
  a
RUN one \\
  # comment
    && two \\ \t

    && three \\
FROM
RUN x \\\\
CMD y \\";
    assert_snapshot!(dump(text), @r##"
    1-2 From <a>
    3-8 Run <one     && two     && three FROM>
    9-9 Run <x \\>
    10-10 Cmd <y>
    "##);
    let file = parse("FROM a\nRUN one \\\n  # note\n\n  two\n");
    assert_eq!(file.comments[0].text, "note");
    assert_eq!(file.instructions[1].empty_continuations.len(), 1);
    assert_eq!(file.instructions[1].code, "RUN one   two");
}

#[test]
fn windows_escapes_and_line_ends() {
    let text = "\u{feff}# escape=`\r\nFROM a\r\nRUN dir `\r\n  c:\\\r\nCOPY a b\\\r\n";
    assert_snapshot!(dump(text), @r##"
    2-2 From <a>
    3-4 Run <dir   c:\>
    5-5 Copy <a> <b\>
    "##);
}

#[test]
fn heredocs() {
    let text = "\
FROM a
RUN <<EOF
# no comment
echo \\
EOF
RUN cat <<-'A B' > /x && 3<<two cat
\tA B?
\tA B
\ttwo
two
COPY <<a.txt <<\"b.txt\" /d/
$A
a.txt
$B
b.txt
RUN [\"<<EOF\"]
ONBUILD RUN <<X
y
X
USER <<EOF
RUN cat <<<EOF
RUN <<EOF
never ends
";
    assert_snapshot!(dump(text), @r##"
    1-1 From <a>
    2-5 Run <<<EOF>
        <<EOF expand: "# no comment\necho \\\n"
    6-10 Run <cat <<-'A B' > /x && 3<<two cat>
        <<-'A B' literal: "A B?\n"
        3<<two expand: "\ttwo\n"
    11-15 Copy <<<a.txt> <<<"b.txt"> </d/>
        <<a.txt expand: "$A\n"
        <<"b.txt" literal: "$B\n"
    16-16 Run <<<EOF> json
    17-19 Onbuild > 17-19 Run <<<X>
        <<X expand: "y\n"
    20-20 User <<<EOF>
    21-21 Run <cat <<<EOF>
    22-23 Run <<<EOF>
        <<EOF expand open: "never ends\n"
    ! 22 `<<EOF` unterminated heredoc
    "##);
}

#[test]
fn words_with_quotes_and_escapes() {
    let text = r#"FROM a
ENV A="b c" D=e\ f G='h "i"' J=
ENV K some  value with = in it
LABEL a.b="x
LABEL one two
ARG A B=c D="e f" =g
ENV A
ENV A=b c
ENV =x
LABEL
"#;
    assert_snapshot!(dump(text), @r##"
    1-1 From <a>
    2-2 Env <A> <"b c"> <D> <e\ f> <G> <'h "i"'> <J> <>
    3-3 Env <K> <some  value with = in it> legacy
    4-4 Label <a.b> <"x>
    5-5 Label <one> <two> legacy
    6-6 Arg <A> <B> <c> <D> <"e f"> <> <g>
    7-7 Env <A> invalid
    8-8 Env <A> <b>
    9-9 Env <> <x>
    10-10 Label invalid
    ! 6 `=` dockerfile parse error on line 6: ARG names can not be blank
    ! 7 `A` ENV must have two arguments
    ! 8 `c` Syntax error - can't find = in "c". Must be of the form: name=value
    ! 9 `=` dockerfile parse error on line 9: ENV names can not be blank
    ! 10 `LABEL` dockerfile parse error on line 10: LABEL requires at least one argument
    "##);
}

#[test]
fn json_and_shell_forms() {
    let text = r#"FROM a
RUN ["a", "b\u0041"]
RUN ['a']
RUN [ "a" ] && b
RUN [1]
CMD []
CMD
ENTRYPOINT ["a",]
SHELL ["/bin/bash", "-c"]
SHELL /bin/bash
SHELL []
VOLUME ["/a b", ""]
VOLUME
COPY ["a b", "c"]
ADD ["only"]
"#;
    assert_snapshot!(dump(text), @r##"
    1-1 From <a>
    2-2 Run <a> <bA> json
    3-3 Run <['a']>
    4-4 Run <[ "a" ] && b>
    5-5 Run <[1]>
    6-6 Cmd json
    7-7 Cmd <>
    8-8 Entrypoint <["a",]>
    9-9 Shell </bin/bash> <-c>
    10-10 Shell </bin/bash> invalid
    11-11 Shell
    12-12 Volume </a b> <>
    13-13 Volume
    14-14 Copy <a b> <c> json
    15-15 Add <only> json
    ! 5 `[1]` when using JSON array syntax, arrays must be comprised of strings only
    ! 10 `/bin/bash` dockerfile parse error on line 10: SHELL requires the arguments to be in JSON form
    ! 11 `SHELL` dockerfile parse error on line 11: SHELL requires at least one argument
    ! 12 `""` dockerfile parse error on line 12: VOLUME specified can not be an empty string
    ! 13 `VOLUME` dockerfile parse error on line 13: VOLUME requires at least one argument
    ! 15 `ADD` dockerfile parse error on line 15: ADD requires at least two arguments, but only one was provided. Destination could not be determined
    "##);
}

#[test]
fn flags() {
    let text = r#"FROM --platfrom=x a
COPY --link --link a b
COPY --chown a b
COPY --link=maybe a b
COPY --link= a b
COPY --chmod="7 5" --exclude=a --exclude=b -- --x y
RUN --network=bridge x
RUN --security=none x
RUN --mount=type=bind,from=$X,target=/y x
RUN --mount=a\"b x
RUN --mount='"a' x
RUN --device=name=a,name=b x
ENV --x A=b
ARG --ignored A
STOPSIGNAL --ignored 9
"#;
    assert_snapshot!(dump(text), @r##"
    1-1 From --platfrom=<x> <a>
    2-2 Copy --link --link <a> <b>
    3-3 Copy --chown <a> <b>
    4-4 Copy --link=<maybe> <a> <b>
    5-5 Copy --link=<> <a> <b>
    6-6 Copy --chmod=<7 5> --exclude=<a> --exclude=<b> <--x> <y>
    7-7 Run --network=<bridge> <x>
    8-8 Run --security=<none> <x>
    9-9 Run --mount=<type=bind,from=$X,target=/y> <x>
    10-10 Run --mount=<a"b> <x>
    11-11 Run --mount=<"a> <x>
    12-12 Run --device=<name=a,name=b> <x>
    13-13 Env --x <A> <b>
    14-14 Arg --ignored <A>
    15-15 Stopsignal --ignored <9>
    ! 1 `platfrom` dockerfile parse error on line 1: unknown flag: --platfrom (did you mean platform?)
    ! 2 `--link` dockerfile parse error on line 2: duplicate flag specified: --link
    ! 3 `--chown` dockerfile parse error on line 3: missing a value on flag: --chown
    ! 4 `--link=maybe` dockerfile parse error on line 4: expecting boolean value for flag --link, not: maybe
    ! 5 `--link=` dockerfile parse error on line 5: missing a value on flag: --link
    ! 7 `bridge` dockerfile parse error on line 7: invalid network mode "bridge"
    ! 8 `none` dockerfile parse error on line 8: security "none" is not valid
    ! 9 `type=bind,from=$X,target=/y` dockerfile parse error on line 9: 'from' doesn't support variable expansion, define alias stage instead
    ! 10 `a\"b` dockerfile parse error on line 10: failed to parse csv mounts: parse error on line 1, column 2: bare " in non-quoted-field
    ! 11 `'"a'` dockerfile parse error on line 11: failed to parse csv mounts: parse error on line 1, column 2: extraneous or missing " in quoted-field
    ! 12 `name=a,name=b` dockerfile parse error on line 12: device name already set to a
    ! 13 `x` dockerfile parse error on line 13: unknown flag: --x
    "##);
}

#[test]
fn wrong_instructions() {
    let text = r"FROM
FROM a b
FROM a as 1b
FROM a AS B_.-9
RUNN x
FETCH
COPY a
COPY
ADD a <<EOF
EOF
EXPOSE
USER
WORKDIR
ONBUILD
ONBUILD FROM a
ONBUILD ONBUILD RUN x
ONBUILD maintainer a
ONBUILD NOPE a
ONBUILD COPY a
";
    assert_snapshot!(dump(text), @r##"
    1-1 From invalid
    2-2 From <a> <b>
    3-3 From <a> <as> <1b>
    4-4 From <a> <AS> <B_.-9>
    5-5 Unknown <x> invalid
    6-6 Unknown invalid
    7-7 Copy <a>
    8-8 Copy
    9-10 Add <a> <<<EOF>
        <<EOF expand: ""
    11-11 Expose
    12-12 User invalid
    13-13 Workdir invalid
    14-14 Onbuild invalid
    15-15 Onbuild > 15-15 From <a>
    16-16 Onbuild > 16-16 Onbuild <RUN x> invalid
    17-17 Onbuild > 17-17 Maintainer <a>
    18-18 Onbuild > 18-18 Unknown <a> invalid
    19-19 Onbuild > 19-19 Copy <a>
    ! 1 `FROM` dockerfile parse error on line 1: FROM requires either one or three arguments
    ! 2 `b` dockerfile parse error on line 2: FROM requires either one or three arguments
    ! 3 `1b` dockerfile parse error on line 3: invalid name for build stage: "1b", name can't start with a number or contain symbols
    ! 5 `RUNN` dockerfile parse error on line 5: unknown instruction: RUNN (did you mean RUN?)
    ! 6 `FETCH` dockerfile parse error on line 6: unknown instruction: FETCH
    ! 7 `COPY` dockerfile parse error on line 7: COPY requires at least two arguments, but only one was provided. Destination could not be determined
    ! 8 `COPY` dockerfile parse error on line 8: COPY requires at least two arguments, but only one was provided. Destination could not be determined
    ! 9 `<<EOF` dockerfile parse error on line 9: ADD cannot accept a heredoc as a destination
    ! 11 `EXPOSE` dockerfile parse error on line 11: EXPOSE requires at least one argument
    ! 12 `USER` dockerfile parse error on line 12: USER requires exactly one argument
    ! 13 `WORKDIR` dockerfile parse error on line 13: WORKDIR requires exactly one argument
    ! 14 `ONBUILD` dockerfile parse error on line 14: ONBUILD requires at least one argument
    ! 15 `FROM` dockerfile parse error on line 15: FROM isn't allowed as an ONBUILD trigger
    ! 16 `ONBUILD` dockerfile parse error on line 16: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed
    ! 17 `maintainer` dockerfile parse error on line 17: MAINTAINER isn't allowed as an ONBUILD trigger
    ? 18 `NOPE` dockerfile parse error on line 18: unknown instruction: NOPE (did you mean COPY?)
    ? 19 `COPY` dockerfile parse error on line 19: COPY requires at least two arguments, but only one was provided. Destination could not be determined
    "##);
}

#[test]
fn healthchecks() {
    let text = r#"FROM a
HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=3 CMD curl localhost || exit 1
HEALTHCHECK cmd ["a", "b"]
HEALTHCHECK none
HEALTHCHECK
HEALTHCHECK NONE x
HEALTHCHECK CMD
HEALTHCHECK CMD []
HEALTHCHECK RUN x
HEALTHCHECK --interval=1us CMD x
HEALTHCHECK --interval=x CMD x
HEALTHCHECK --retries=-1 CMD x
HEALTHCHECK --retries=x CMD x
HEALTHCHECK --retries=9999999999 CMD x
"#;
    assert_snapshot!(dump(text), @r##"
    1-1 From <a>
    2-2 Healthcheck --interval=<5m> --timeout=<3s> --start-period=<1s> --start-interval=<2s> --retries=<3> <CMD> <curl localhost || exit 1>
    3-3 Healthcheck <cmd> <a> <b>
    4-4 Healthcheck <none>
    5-5 Healthcheck invalid
    6-6 Healthcheck <NONE> <x>
    7-7 Healthcheck <CMD>
    8-8 Healthcheck <CMD>
    9-9 Healthcheck <RUN> <x>
    10-10 Healthcheck --interval=<1us> <CMD> <x>
    11-11 Healthcheck --interval=<x> <CMD> <x>
    12-12 Healthcheck --retries=<-1> <CMD> <x>
    13-13 Healthcheck --retries=<x> <CMD> <x>
    14-14 Healthcheck --retries=<9999999999> <CMD> <x>
    ! 5 `HEALTHCHECK` dockerfile parse error on line 5: HEALTHCHECK requires at least one argument
    ! 6 `NONE` dockerfile parse error on line 6: HEALTHCHECK NONE takes no arguments
    ! 7 `CMD` dockerfile parse error on line 7: Missing command after HEALTHCHECK CMD
    ! 8 `CMD` dockerfile parse error on line 8: Missing command after HEALTHCHECK CMD
    ! 9 `RUN` dockerfile parse error on line 9: Unknown type "RUN" in HEALTHCHECK (try CMD)
    ! 10 `1us` dockerfile parse error on line 10: Interval "interval" cannot be less than 1ms
    ! 11 `x` dockerfile parse error on line 11: time: invalid duration "x"
    ! 12 `-1` dockerfile parse error on line 12: --retries cannot be negative (-1)
    ! 13 `x` dockerfile parse error on line 13: strconv.ParseInt: parsing "x": invalid syntax
    ! 14 `9999999999` dockerfile parse error on line 14: strconv.ParseInt: parsing "9999999999": value out of range
    "##);
}

#[test]
fn files_without_stages() {
    assert_snapshot!(dump(""), @r##"! 1 `` the Dockerfile cannot be empty"##);
    assert_snapshot!(dump("# only\n\n"), @r##"
    ! 2 `
    ` file with no instructions
    "##);
    assert_snapshot!(dump("ARG A\n"), @r##"
    1-1 Arg <A>
    ! 2 `` dockerfile contains no stages to build
    "##);
    assert_snapshot!(dump("ARG A\nRUN x\nFROM a\nRUN y\n"), @r##"
    1-1 Arg <A>
    2-2 Run <x>
    3-3 From <a>
    4-4 Run <y>
    ! 2 `RUN` no build stage in current context
    "##);
}

#[test]
fn the_first_error_is_buildkits() {
    let first = |text| {
        let file = parse(text);
        file.first_error().map(|error| file.error_text(error))
    };
    assert_eq!(first("FROM a\nNOPE\nENV x\n").unwrap(), "ENV must have two arguments");
    assert_eq!(
        first("FROM a\n\nRUNN \\\n x\nUSER\n").unwrap(),
        "dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)"
    );
    assert_eq!(first("FROM a\n"), None);
}

#[test]
fn comments_before_instructions() {
    let file = parse(
        "# one\n#\n# build makes it\n\n# more\nFROM a AS build\n# x\nRUN \\\n# inside\n y\n# z\nARG A\n",
    );
    let texts = |index: usize| {
        file.comments_of(&file.instructions[index]).iter().map(|it| it.text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(texts(0), ["build makes it", "more"]);
    assert_eq!(texts(1), ["x"]);
    assert_eq!(texts(2), ["z"]);
    assert_eq!(file.description(&file.instructions[0], "build"), Some("makes it"));
}

#[test]
fn spans_of_words_over_lines() {
    let file = parse("FROM a\nCOPY \\\n  x \\\n# c\n  y z\nRUN a \\\n b\n");
    let spans: Vec<_> = file.instructions[1].words().iter().map(|word| word.span.slice(&file.text)).collect();
    assert_eq!(spans, ["x", "y", "z"]);
    let run = file.instructions[2].words()[0].clone();
    assert_eq!((run.text.as_str(), run.span.slice(&file.text)), ("a  b", "a \\\n b"));
    assert_eq!(file.instruction_at(run.span.start).unwrap().code, "RUN a  b");
}

#[test]
fn tokens_are_the_text() {
    let text = "\u{feff}# syntax=x\n\n# c\nFROM  --platform=a b \\\n # d\n\n  AS c\r\nENV A=b\n\
                RUN [\"a\", \"b\"] \nRUN <<E\n\tx\nE\nonbuild run y";
    let tokens = parse(text).tokens();
    assert_eq!(tokens.iter().map(|token| token.span.slice(text)).collect::<String>(), text);
    let mut shown = String::new();
    for token in &tokens {
        writeln!(shown, "{:?} {:?}", token.kind, token.span.slice(text)).unwrap();
    }
    assert_snapshot!(shown, @r##"
    ByteOrderMark "\u{feff}"
    Directive "# syntax=x"
    Newline "\n"
    Newline "\n"
    Comment "# c"
    Newline "\n"
    Keyword "FROM"
    Whitespace "  "
    Flag "--platform=a"
    Whitespace " "
    Word "b"
    Whitespace " "
    Continuation "\\"
    Newline "\n"
    Whitespace " "
    Comment "# d"
    Newline "\n"
    Newline "\n"
    Whitespace "  "
    Word "AS"
    Whitespace " "
    Word "c"
    Newline "\r\n"
    Keyword "ENV"
    Whitespace " "
    Word "A"
    Punctuation "="
    Word "b"
    Newline "\n"
    Keyword "RUN"
    Whitespace " "
    Punctuation "["
    Word "\"a\""
    Punctuation ","
    Whitespace " "
    Word "\"b\""
    Punctuation "]"
    Whitespace " "
    Newline "\n"
    Keyword "RUN"
    Whitespace " "
    Word "<<E"
    Newline "\n"
    HeredocContent "\tx"
    Newline "\n"
    HeredocEnd "E"
    Newline "\n"
    Keyword "onbuild"
    Whitespace " "
    Keyword "run"
    Whitespace " "
    Word "y"
    "##);
}

#[test]
fn an_oversized_line_is_reported() {
    let file = parse(&format!("FROM a\nRUN {}\n", "x".repeat(70_000)));
    assert_eq!(file.first_error().unwrap().message, "dockerfile line greater than max allowed size of 65535");
}
