use proptest::prelude::*;

use super::*;

/// The variables of every case here.
fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "value",
        "EMPTY" => "",
        "SPACED" => "  one  two ",
        "PATH" => "/usr/local/bin/tool.tar.gz",
        "LINES" => "ab\ncd",
        "WIDE" => "größe",
        "STAR" => "a*b?c",
        "DOLLAR" => "$0",
        "QUOTED" => "it's",
        "2" => "second",
        "#" => "count",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expanded(word: &str) -> Result<String, String> {
    expand(word, '\\', &lookup).map_err(|error| error.reason)
}

#[track_caller]
fn assert_all(cases: &[(&str, &str)]) {
    for (word, wanted) in cases {
        assert_eq!(expanded(word).as_deref(), Ok(*wanted), "{word}");
    }
}

#[test]
fn removes_quotes_and_escapes() {
    assert_all(&[
        ("", ""),
        ("plain text", "plain text"),
        ("'single $A'", "single $A"),
        (r"'no \'escape", "no \\escape"),
        (r#""double $A""#, "double value"),
        (r#""a \"b\" \$A \\ \n""#, r#"a "b" $A \ \n"#),
        (r"a\ b\$A\\\'", r"a b$A\'"),
        ("end\\", "end"),
        ("a < b << c <<<d", "a < b << c <<<d"),
        ("\u{feff}text", "text"),
    ]);
    assert_eq!(expand("C:\\dir`$A", '`', &lookup).unwrap(), "C:\\dir$A");
    assert_eq!(expand("\"`\"`n\"", '`', &lookup).unwrap(), "\"`n");
}

#[test]
fn substitutes() {
    assert_all(&[
        ("$A", "value"),
        ("$A.x", "value.x"),
        ("$A-$MISSING-${A}", "value--value"),
        ("${A}b$Ab", "valueb"),
        ("$", "$"),
        ("a$ b$.", "a$ b$."),
        ("$2nd $22", "secondnd "),
        ("$#", "count"),
        ("${#}", "count"),
        ("$QUOTED", "it's"),
        ("$SPACED|", "  one  two |"),
    ]);
}

#[test]
fn substitutes_defaults_and_alternatives() {
    assert_all(&[
        ("${A:-w}${A-w}", "valuevalue"),
        ("[${EMPTY:-w}][${EMPTY-w}]", "[w][]"),
        ("[${MISSING:-w}][${MISSING-w}]", "[w][w]"),
        ("[${A:+w}][${A+w}]", "[w][w]"),
        ("[${EMPTY:+w}][${EMPTY+w}]", "[][w]"),
        ("[${MISSING:+w}][${MISSING+w}]", "[][]"),
        ("${A:?w}${A?w}[${EMPTY?w}]", "valuevalue[]"),
        ("${MISSING:-${EMPTY:-$A}}", "value"),
        ("${MISSING:-'a}b'\"c}$A\"\\}}", "a}bc}value}"),
        ("${MISSING:-a b}", "a b"),
        ("${MISSING-}", ""),
        ("\"${MISSING:-\"x y\"}\"", "x y"),
    ]);
}

#[test]
fn trims_and_replaces() {
    assert_all(&[
        ("${PATH#*/}", "usr/local/bin/tool.tar.gz"),
        ("${PATH##*/}", "tool.tar.gz"),
        ("${PATH%.*}", "/usr/local/bin/tool.tar"),
        ("${PATH%%.*}", "/usr/local/bin/tool"),
        ("${PATH#/???/}", "local/bin/tool.tar.gz"),
        ("${PATH%x}${A#x}", "/usr/local/bin/tool.tar.gzvalue"),
        ("${PATH%%*}", ""),
        ("[${A#*}][${A##*}]", "[value][]"),
        ("${A%$MISSING}", "value"),
        ("${STAR#a\\*}", "b?c"),
        ("${STAR%\\?c}", "a*b"),
        ("${WIDE%%ö*}|${WIDE#gr?}|${WIDE%?e}", "gr|ße|grö"),
        // No wildcard crosses a line break.
        ("${LINES#*c}", "ab\ncd"),
        ("${LINES##*}", "\ncd"),
        ("${LINES#??\n}", "cd"),
        ("${LINES#???}", "ab\ncd"),
        ("${PATH/bin/sbin}", "/usr/local/sbin/tool.tar.gz"),
        ("${PATH//\\//:}", ":usr:local:bin:tool.tar.gz"),
        ("${PATH/t*l/T}", "/usr/local/bin/T.tar.gz"),
        ("${PATH/l*l/T}", "/usr/T.tar.gz"),
        ("${A/x/y}${A//x/y}", "valuevalue"),
        ("${A//l/$A}", "vavalueue"),
        ("${A/a}/x}", "value"),
        ("${A//a/x}}", "vxlue}"),
        ("${A//?/-}", "-----"),
        ("${A//*/-}", "-"),
        ("${A///-}", "-v-a-l-u-e-"),
        ("${A///}", "value"),
        ("${LINES//*/-}", "-\n-"),
        ("${MISSING/a/b}|${MISSING//*/b}", "|b"),
        // What a replacement of all means by `$0` is the match; of one, nothing special.
        ("${A//l/<$DOLLAR>}", "va<l>ue"),
        ("${A/l/<$DOLLAR>}", "va<$0>ue"),
        ("${A//l/'$$$x${1}${y$'}", "va$${y$ue"),
    ]);
}

#[test]
fn says_what_is_wrong() {
    for (word, reason) in [
        ("it's", "unexpected end of statement while looking for matching single-quote"),
        ("\"it\\\"", "unexpected end of statement while looking for matching double-quote"),
        ("\"it\\", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:-x}", "syntax error: bad substitution"),
        ("${{A}}", "syntax error: bad substitution"),
        ("${A", "unsupported modifier (\u{fffd}) in substitution"),
        ("${A:", "syntax error: missing '}'"),
        ("${A:-x", "syntax error: missing '}'"),
        ("${A:-'x}", "syntax error: missing '}'"),
        ("${A:#x}", "unsupported modifier (:#) in substitution"),
        ("${A:%x}", "unsupported modifier (:%) in substitution"),
        ("${A:=x}", "unsupported modifier (:=) in substitution"),
        ("${A:0:2}", "unsupported modifier (:0) in substitution"),
        ("${A,,}", "unsupported modifier (,) in substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        ("${A/x}", "syntax error: missing '/' in ${}"),
        ("${A/x/y", "syntax error: missing '}'"),
        ("${MISSING?}", "MISSING: is not allowed to be unset"),
        ("${MISSING:?}", "MISSING: is not allowed to be unset"),
        ("${MISSING:?set $A}", "MISSING: set value"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${EMPTY:?really}", "EMPTY: really"),
        ("${A:-${MISSING?inner}}", "MISSING: inner"),
        ("${A#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("${A%y\\x}", "invalid pattern (\\xy) in substitution: invalid escape '\\x'"),
    ] {
        assert_eq!(expanded(word), Err(reason.to_owned()), "{word}");
    }
    let error = expand("a\t\"${B?\u{7}", '\\', &lookup).unwrap_err();
    assert_eq!(error.to_string(), r#"failed to process "a\t\"${B?\a": syntax error: missing '}'"#);
}

#[test]
fn splits_words() {
    for (text, words) in [
        ("", &[][..]),
        ("  a \t b\nc ", &["a", "b", "c"]),
        ("a'b c'd \"e f\"", &["ab cd", "e f"]),
        ("a\\ b c", &["a b", "c"]),
        ("x${SPACED}y", &["x", "one", "two", "y"]),
        ("x\"${SPACED}\"y", &["x  one  two y"]),
        ("'' \"\" $EMPTY a", &["a"]),
        ("80$MISSING ${MISSING:-80} 1", &["80", "80", "1"]),
        // As BuildKit does.
        ("80${MISSING:-81}2 \"3${MISSING:-4}5\"6 7", &["812", "3456", "7"]),
        ("cat << EOF <x", &["cat", "<< EOF", "<x"]),
    ] {
        assert_eq!(expand_words(text, '\\', &lookup).unwrap(), words, "{text}");
    }
    assert!(expand_words("a 'b", '\\', &lookup).is_err());
}

#[test]
fn keeps_what_it_is_told_to() {
    let text = r#"echo "$A" '$A' $MISSING ${MISSING} ${MISSING:-$A} ${MISSING/a/b} ${MISSING%x}"#;
    assert_eq!(
        expand_keep_quotes(text, '\\', &lookup).unwrap(),
        r#"echo "value" '$A' $MISSING ${MISSING} ${MISSING:-value} ${MISSING/a/b} ${MISSING%x}"#
    );
    assert_eq!(
        expand_with(r#"it's "$A" \$A \a"#, ExpandOptions::heredoc_body(), &lookup).unwrap(),
        r#"it's "value" $A a"#
    );
    let raw = ExpandOptions { raw_escapes: true, ..ExpandOptions::display('\\') };
    assert_eq!(
        expand_words_with(r#"cat <<"A B" \"$x\ y"#, raw, &|_| None).unwrap(),
        ["cat", r#"<<"A B""#, r#"\"$x\ y"#]
    );
}

#[test]
fn bounds_depth_and_length() {
    let deep = |levels| format!("{}x{}", "${B:-".repeat(levels), "}".repeat(levels));
    assert_eq!(expanded(&deep(100)).as_deref(), Ok("x"));
    assert_eq!(expanded(&deep(101)).unwrap_err(), "syntax error: substitutions are nested too deeply");
    assert_eq!(expanded(&deep(1_000_000)).unwrap_err(), "syntax error: substitutions are nested too deeply");

    let big = |_: &str| Some("ab".repeat(1 << 20));
    let too_long = "substitution adds more than 4194304 bytes";
    assert_eq!(expand("$x$x", '\\', &big).unwrap().len(), 4 << 20);
    assert_eq!(expand("$x$x$x", '\\', &big).unwrap_err().reason, too_long);
    assert_eq!(expand("${x//b/$x}", '\\', &big).unwrap_err().reason, too_long);
    let long = format!("${{A#{}}}", "a".repeat(5000));
    assert!(expanded(&long).unwrap_err().contains("more than 4096 characters"));
}

#[test]
fn matching_is_linear_in_the_value() {
    let value = |_: &str| Some("a".repeat(1 << 20));
    let started = std::time::Instant::now();
    for word in ["${x/*b*c/}", "${x//a*a*b/}", "${x/a*b*a*b/}", "${x%%*b}", "${x//a*b/}"] {
        assert_eq!(expand(word, '\\', &value).unwrap().len(), 1 << 20, "{word}");
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// What a shell pattern matches, by trying everything.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            naive(rest, text)
                || text.split_first().is_some_and(|(c, more)| *c != '\n' && naive(pattern, more))
        }
        (Some((p, rest)), Some((c, more))) => (p == c || *p == '?' && *c != '\n') && naive(rest, more),
        _ => false,
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[$ {}:#%/?+\\\\'\"<aA*ö\n-]{0,40}") {
        let _ = expand(&text, '\\', &lookup);
        let _ = expand_words(&text, '`', &lookup);
        let _ = expand_keep_quotes(&text, '\\', &lookup);
    }

    #[test]
    fn trims_what_an_exhaustive_search_trims(pattern in "[ab*?\n]{0,6}", value in "[abö\n]{0,10}") {
        let pattern_chars: Vec<char> = pattern.chars().collect();
        let chars: Vec<char> = value.chars().collect();
        let ends: Vec<usize> = (0..=chars.len()).filter(|&end| naive(&pattern_chars, &chars[..end])).collect();
        let starts: Vec<usize> = (0..=chars.len()).filter(|&start| naive(&pattern_chars, &chars[start..])).collect();
        let from = |start: Option<&usize>| chars[start.copied().unwrap_or(0)..].iter().collect::<String>();
        let upto = |end: Option<&usize>| chars[..end.copied().unwrap_or(chars.len())].iter().collect::<String>();
        let run = |operator: &str| expand(&format!("${{v{operator}}}"), '\\', &|name| match name {
            "v" => Some(value.clone()),
            _ => Some(pattern.clone()),
        }).unwrap();
        prop_assert_eq!(run("#$p"), from(ends.first()));
        prop_assert_eq!(run("##$p"), from(ends.last()));
        prop_assert_eq!(run("%$p"), upto(starts.last()));
        prop_assert_eq!(run("%%$p"), upto(starts.first()));

        let first = (0..=chars.len()).find_map(|start| {
            let end = (start..=chars.len()).rev().find(|&end| naive(&pattern_chars, &chars[start..end]))?;
            Some((start, end))
        });
        let replaced = match first {
            Some((start, end)) => {
                chars[..start].iter().chain(['X'].iter()).chain(&chars[end..]).collect::<String>()
            }
            None => value.clone(),
        };
        prop_assert_eq!(run("/$p/X"), replaced);
    }
}
