//! Reads of variables.

use crate::shell::reads::Read;
use crate::shell::{Otherwise, Program, reads};

const NAMES: [&str; 2] = ["TARGETARCH", "TARGETVARIANT"];

fn read(script: &str) -> Vec<Read> {
    reads(&Program::parse(script), script, &NAMES)
}

/// The reads of a script, each as it is written.
fn found(script: &str) -> Vec<&str> {
    read(script).iter().map(|read| &script[read.range.clone()]).collect()
}

#[test]
fn finds_reads() {
    for (script, wanted) in [
        ("echo $TARGETARCH", vec!["$TARGETARCH"]),
        ("echo x${TARGETARCH}y\"$TARGETVARIANT\"", vec!["${TARGETARCH}", "$TARGETVARIANT"]),
        ("echo \"a $(uname $TARGETARCH) b\"", vec!["$TARGETARCH"]),
        ("x=`echo $TARGETARCH`", vec!["$TARGETARCH"]),
        ("[ \"$TARGETARCH\" = arm64 ] && y", vec!["$TARGETARCH"]),
        ("case $TARGETARCH in amd64) a;; esac", vec!["$TARGETARCH"]),
        ("x=$(case $TARGETARCH in amd64) a;; *) b;; esac); echo '$TARGETARCH'", vec!["$TARGETARCH"]),
        (
            "echo ${#TARGETARCH} ${TARGETARCH%64} ${TARGETARCH:?no}",
            vec!["${#TARGETARCH}", "${TARGETARCH%64}", "${TARGETARCH:?no}"],
        ),
        ("make TARGETARCH=$TARGETARCH", vec!["$TARGETARCH"]),
        ("env TARGETARCH=x y $TARGETARCH", vec!["$TARGETARCH"]),
        ("cat > f <<X\n'$TARGETARCH'\nX\n", vec!["$TARGETARCH"]),
        ("echo $((1 << 2)) $TARGETARCH\nX", vec!["$TARGETARCH"]),
        ("cat <<< $TARGETARCH", vec!["$TARGETARCH"]),
        ("diff <(a $TARGETARCH) b", vec!["$TARGETARCH"]),
        ("export TARGETARCH; echo $TARGETARCH", vec!["$TARGETARCH"]),
        ("echo $TARGETARCH; . f; echo $TARGETARCH", vec!["$TARGETARCH"]),
        ("echo a#$TARGETARCH # $TARGETVARIANT", vec!["$TARGETARCH"]),
        ("echo -n $TARGETARCH", vec!["$TARGETARCH"]),
        ("a 2>&1 >\"$TARGETARCH\"", vec!["$TARGETARCH"]),
        ("(a) && b $TARGETARCH", vec!["$TARGETARCH"]),
        (": ${TARGETARCH:=amd64}; echo $TARGETARCH", vec!["${TARGETARCH:=amd64}"]),
        ("echo \\\\$TARGETARCH", vec!["$TARGETARCH"]),
    ] {
        assert_eq!(found(script), wanted, "{script}");
    }
}

#[test]
fn knows_what_is_no_read() {
    for script in [
        "echo '$TARGETARCH' \\$TARGETARCH \"\\$TARGETARCH\" TARGETARCH",
        "echo $TARGETARCHS ${TARGETARCH_X} $_TARGETARCH",
        "TARGETARCH=$(uname -m); echo $TARGETARCH",
        "TARGETARCH=x make $TARGETARCH",
        "if true; then TARGETARCH=a; fi; echo $TARGETARCH",
        "export TARGETARCH=a && echo $TARGETARCH",
        "declare -x TARGETARCH=\"$(uname)\"\necho $TARGETARCH",
        "read -r TARGETARCH < f; echo $TARGETARCH",
        "for TARGETARCH in a b; do echo $TARGETARCH; done",
        "printf -v TARGETARCH %s x; echo $TARGETARCH",
        "[ -z \"$TARGETARCH\" ] && echo none || echo $TARGETARCH",
        "if [ -n \"${TARGETARCH}\" ]; then A=$TARGETARCH; else A=$(uname -m); fi",
        "if [[ a = b || -z $TARGETARCH ]]; then x; fi",
        "if [ \"$TARGETARCH\" ]; then a $TARGETARCH; else b; fi",
        "test ! \"$TARGETARCH\" && exit; echo $TARGETARCH",
        "[ \"$TARGETARCH\" = \"\" ] && exit; echo $TARGETARCH",
        "[[ $TARGETARCH != '' ]] && echo $TARGETARCH",
        "if [[ -v TARGETARCH ]]; then echo $TARGETARCH; fi",
        "[ -z \"${TARGETARCH+x}\" ] || echo $TARGETARCH",
        ". ./env; echo $TARGETARCH",
        "set -a; source /env && echo $TARGETARCH",
        "f() { echo $TARGETARCH; }; . ./env; f",
        "cat > f <<'X'\n$TARGETARCH\nX\n",
        "cat > f <<-\\X\n$TARGETARCH\n\tX\n",
        "cat > f <<X\n\\$TARGETARCH\nX\n",
        "# $TARGETARCH\ntrue # ${TARGETARCH}",
        "echo $'\\'$TARGETARCH'",
        "echo 'unfinished $TARGETARCH",
        "echo ${TARGETARCH",
        ": ${TARGETARCH:=$(uname -m)}; f() { :; }; echo $TARGETARCH",
    ] {
        let unsure = |read: &Read| read.otherwise != Otherwise::Unknown;
        let left: Vec<Read> = read(script).into_iter().filter(unsure).collect();
        assert_eq!(left, [], "{script}");
    }
}

#[test]
fn tells_what_there_is_otherwise() {
    let of = |script: &str| read(script).pop().map(|read| read.otherwise);
    assert_eq!(of("${TARGETARCH:-amd64}"), Some(Otherwise::Literal("amd64".to_owned())));
    assert_eq!(of("\"${TARGETARCH-\"x\"}\""), Some(Otherwise::Literal("x".to_owned())));
    assert_eq!(of("${TARGETARCH:-}"), Some(Otherwise::Literal(String::new())));
    assert_eq!(of("${TARGETARCH:-$(uname -m)}"), Some(Otherwise::Unknown));
    assert_eq!(of("${TARGETARCH:+-x}"), Some(Otherwise::Empty));
}

#[test]
fn depth_is_bounded() {
    let script = "$(".repeat(100_000) + "$TARGETARCH";
    assert_eq!(read(&script), []);
    let script = "${TARGETARCH:-".repeat(100_000);
    assert_eq!(read(&script), []);
}
