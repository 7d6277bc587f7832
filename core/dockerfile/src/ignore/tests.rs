use proptest::prelude::*;

use super::*;

fn ignore(text: &str) -> Ignore {
    Ignore::parse(text.as_bytes()).unwrap()
}

/// Which of `paths` stay out.
#[track_caller]
fn assert_excludes(text: &str, excluded: &[&str], included: &[&str]) {
    let ignore = ignore(text);
    for path in excluded {
        assert!(ignore.excludes(path), "{text:?} keeps {path} in");
    }
    for path in included {
        assert!(!ignore.excludes(path), "{text:?} keeps {path} out");
    }
}

#[test]
fn reads_lines() {
    assert!(ignore("").is_empty());
    assert!(ignore("\u{feff}# comment\n\r\n  \n#!x").is_empty());
    assert!(!Ignore::none().excludes("a"));
    assert_excludes("\u{feff}a\r\n  b\t\n # c\n! b ", &["a", "# c"], &["b", "c"]);
    assert_excludes("/a/../b/./c/\n", &["b/c", "b/c/d"], &["a", "b", "c"]);
    assert_excludes("./x\n../y\n/", &["x"], &["y", "z"]);
}

#[test]
fn rejects_malformed_patterns() {
    for pattern in ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-a]", "[^]", "a\\", "[\\", "x/[z-a]"] {
        let expected = Err(IgnoreError::Syntax(pattern.to_owned()));
        assert_eq!(Ignore::parse(pattern.as_bytes()).map(|_| ()), expected, "{pattern}");
    }
    assert_eq!(Ignore::parse(b"a\n! \n").unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
    assert_eq!(Ignore::parse(b"!/").unwrap_err(), IgnoreError::EmptyNegation);
    assert_eq!(Ignore::from_patterns(["!"]).unwrap_err(), IgnoreError::EmptyNegation);
    assert_eq!(Ignore::from_patterns(["[a"]).unwrap_err().to_string(), "syntax error in pattern: [a");
    let long = format!("a\n{}", "x".repeat(MAX_LINE));
    assert_eq!(Ignore::parse(long.as_bytes()).unwrap_err().to_string(), "line 2 is too long");
}

#[test]
fn matches_single_patterns() {
    for (pattern, excluded, included) in [
        ("a", &["a", "a/b", "a/b/c"][..], &["b", "b/a", "ab"][..]),
        ("a/b", &["a/b", "a/b/c"], &["a", "b", "a/bc"]),
        ("*", &["a", "a/b", ".a"], &[]),
        ("*.md", &["a.md", ".md", "a.md/b"], &["d/a.md", "a.md2"]),
        ("d/*.md", &["d/a.md"], &["d", "a.md", "d/e/a.md"]),
        ("a*c", &["ac", "abc"], &["ab", "a/c", "bac"]),
        ("a*b*c", &["abc", "axbxc"], &["ac", "a/bc"]),
        ("?", &["a", "ö", "a/bb"], &["ab"]),
        ("a?/x", &["ab/x"], &["a/x", "a//x", "ab"]),
        ("**", &["a", "a/b"], &[]),
        ("**/", &["a", "a/b"], &[]),
        ("a/**", &["a/b", "a/b/c"], &["a", "ab"]),
        ("a**", &["a", "ab", "ab/c", "a/b"], &["b", "b/a"]),
        ("**/a", &["a", "b/a", "b/c/a", "b/a/c"], &["ba", "b/ca"]),
        ("**a", &["a", "ba", "b/ca"], &["ab"]),
        ("**/a/b", &["a/b", "x/a/b"], &["b", "xa/b"]),
        ("**/*.pyc", &["a.pyc", "x/y/.pyc"], &["a.py", "a.pycx"]),
        ("**/t*t", &["tt", "x/test"], &["x/t/t"]),
        ("**/a?", &["ab", "x/ab"], &["a", "x/a", "abc"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "x/a/b"]),
        ("a**b", &["ab", "ax/b"], &["axb", "a"]),
        ("**/a/**", &["a/b", "x/a/b"], &["a", "x/a", "xa/b"]),
        ("**/a/**/b", &["a/b", "x/a/y/b"], &["b", "a"]),
        ("*/**", &["a/b"], &["a"]),
        ("**/*", &["a", "a/b"], &[]),
        ("[ab]", &["a", "b"], &["c", "ab", "[ab]"]),
        ("[a-c]x", &["bx"], &["dx", "-x"]),
        ("[^a-c]", &["d", "^"], &["a", "b"]),
        ("[!a]", &["!", "a"], &["b"]),
        ("[a\\]]", &["a", "]"], &["\\"]),
        ("a]", &["a]"], &["a"]),
        ("\\*", &["*"], &["a", "\\*"]),
        ("\\!a", &["!a"], &["a"]),
        ("\\#a", &["#a"], &["a"]),
        ("**/\\*", &["*", "a/*"], &["a"]),
        ("a.b(c)+{d}|$^", &["a.b(c)+{d}|$^"], &["axb(c)+{d}|$^"]),
        ("ö*ß", &["öß", "öäß"], &["ö"]),
    ] {
        assert_excludes(pattern, excluded, included);
    }
}

#[test]
fn last_match_wins() {
    assert_excludes("*\n!a", &["b", "ab"], &["a", "a/b"]);
    assert_excludes("!a\n*", &["a", "b"], &[]);
    assert_excludes("d\n!d/keep\nd/keep/not", &["d", "d/x", "d/keep/not"], &["d/keep", "d/keep/x"]);
    assert_excludes("*\n!**/*.go\n**/x_test.go", &["a", "d/a.c", "d/x_test.go"], &["a.go", "d/e/a.go"]);
    assert_excludes("d/*\n!d/e\n", &["d/x"], &["d", "d/e", "d/e/f"]);
    // A negation that had nothing to undo at the directory does not hold below it.
    assert_excludes("**/x\n!a", &["a/x"], &["a"]);
    assert_excludes("a\n!a\na/b", &["a/b"], &["a", "a/c"]);
}

#[test]
fn patterns_of_flags_have_no_comments_and_keep_slashes() {
    let ignore = Ignore::from_patterns([" #a ", "/b", "", "c/../d", "!d/e"]).unwrap();
    assert!(ignore.excludes("#a") && ignore.excludes("d") && ignore.excludes("d/f"));
    assert!(!ignore.excludes("b") && !ignore.excludes("c") && !ignore.excludes("d/e"));
}

#[test]
fn descends_only_where_something_may_come_back() {
    let descends = |text: &str, path: &str| {
        let ignore = ignore(text);
        let verdict = ignore.child(&ignore.root(), path);
        assert!(verdict.excluded, "{text:?} {path}");
        verdict.descend
    };
    assert!(!descends("d", "d"));
    assert!(descends("d\n!d/e", "d"));
    assert!(!descends("!d/e\nd", "d"));
    assert!(!descends("*\n!e", "d"));
    assert!(!descends("*\n!de/f", "d"));
    assert!(descends("*\n!d/e/**", "d"));
    assert!(!descends("*\n!src/*.rs", "node_modules"));
    assert!(descends("*\n!src/*.rs", "src"));
    assert!(descends("*\n!**/*.rs", "d"));
    assert!(descends("*\n!*/a", "d"));
    assert!(!descends("d/e\n!*/a", "d/e"));
}

#[test]
fn more_rules_than_fit_one_word() {
    let mut lines: Vec<String> = (0..300).map(|n| format!("dir{n}")).collect();
    lines.push("!dir299/keep".to_owned());
    assert_excludes(
        &lines.join("\n"),
        &["dir0/a", "dir127/a/b", "dir128/a", "dir299/a"],
        &["dir300", "dir299/keep/a"],
    );
}

#[test]
fn go_match_is_filepath_match() {
    for (pattern, name, matches) in [
        ("", "", true),
        ("*", "", true),
        ("*", "a/b", false),
        ("a*/b", "axx/b", true),
        ("**", "ab", true),
        ("**", "a/b", false),
        ("a?c", "a/c", false),
        ("[a-ce]*", "ex", true),
        ("[^a]", "a", false),
        ("[^a]", "/", true),
        ("[z-a]", "b", false),
        ("\\[a]", "[a]", true),
        ("*.tar.[gx]z", "a.b.tar.xz", true),
        ("a*a*a*b", "aaaaaaaaaaaa", false),
    ] {
        assert_eq!(go_match(pattern, name), Ok(matches), "{pattern} {name}");
    }
    for pattern in ["[", "a[", "[]", "x\\"] {
        assert_eq!(go_match(pattern, "a"), Err(BadPattern), "{pattern}");
    }
    assert!(!go_match(&"*a".repeat(500), &"a".repeat(499)).unwrap());
}

#[test]
fn twenty_thousand_paths_are_quick() {
    let text = "# usual\n.git\n**/node_modules\n**/*.pyc\n*.md\n!README.md\nbuild/**\n**/.DS_Store\n**/*~\n\
        dist\ntarget\ncoverage\n.env*\n**/*.log\n**/tmp/*\ndocs/**/*.png\n.idea\n.vscode\nDockerfile*\n\
        compose*.y?ml\nout\nbin\nobj\n**/*.user\n**/charts\nnpm-debug.log\nLICENSE\n**/*.dbmdl\nsecrets.dev.yaml\n\
        values.dev.yaml\nvendor/*/test\n";
    let ignore = ignore(text);
    let root = ignore.root();
    let started = std::time::Instant::now();
    let mut kept = 0;
    for dir in 0..200 {
        let dir = format!("package{dir}/source/main");
        let state = ignore.child(&root, &dir).state;
        for file in 0..100 {
            kept += usize::from(!ignore.child(&state, &format!("{dir}/component_{file}.ts")).excluded);
        }
    }
    assert_eq!(kept, 20_000);
    // Milliseconds when optimised; this only notices what grows out of all proportion.
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

/// Walks every path over a small alphabet, pruning as a reader of directories would.
fn walk(ignore: &Ignore, dir: &str, state: &DirState, depth: usize, kept: &mut Vec<String>) {
    for name in ["a", "b", "ab"] {
        let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        let verdict = ignore.child(state, &path);
        if !verdict.excluded {
            kept.push(path.clone());
        }
        if verdict.descend && depth > 1 {
            walk(ignore, &path, &verdict.state, depth - 1, kept);
        }
    }
}

fn all_paths(dir: &str, depth: usize, paths: &mut Vec<String>) {
    for name in ["a", "b", "ab"] {
        let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        paths.push(path.clone());
        if depth > 1 {
            all_paths(&path, depth - 1, paths);
        }
    }
}

/// What a pattern's tokens match, by trying everything.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            rest.is_empty()
                || naive(rest, text)
                || text.iter().enumerate().any(|(at, c)| *c == '/' && naive(rest, &text[at + 1..]))
        }
        ['*', rest @ ..] => {
            naive(rest, text) || matches!(text, [c, more @ ..] if *c != '/' && naive(pattern, more))
        }
        ['?', rest @ ..] => matches!(text, [c, more @ ..] if *c != '/' && naive(rest, more)),
        [p, rest @ ..] => matches!(text, [c, more @ ..] if c == p && naive(rest, more)),
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[ab/*?\\[\\]\\\\!^ .#\n-]{0,40}", path in "[ab/]{0,9}") {
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            ignore.excludes(&path);
        }
        let _ = go_match(&text, &path);
    }

    #[test]
    fn pruning_changes_nothing(lines in prop::collection::vec("!?[ab*?/]{1,7}", 1..6)) {
        let Ok(ignore) = Ignore::parse(lines.join("\n").as_bytes()) else { return Ok(()) };
        let (mut kept, mut paths) = (Vec::new(), Vec::new());
        walk(&ignore, "", &ignore.root(), 3, &mut kept);
        all_paths("", 3, &mut paths);
        paths.retain(|path| !ignore.excludes(path));
        prop_assert_eq!(kept, paths);
    }

    #[test]
    fn matches_what_an_exhaustive_search_matches(
        pattern in "(\\*\\*/)?[ab*?]{1,4}(/[ab*?]{1,4}){0,2}(/\\*\\*)?",
        path in "[ab]{1,3}(/[ab]{1,3}){0,3}",
    ) {
        // Two shapes are by design not what their parts say: `**text` ends so, `text**` begins so.
        let plain = |text: &str| !text.contains(['*', '?']);
        prop_assume!(!pattern.strip_prefix("**").is_some_and(plain) || pattern.starts_with("**/"));
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let name = path.rsplit('/').next().unwrap();
        let matches = glob::Pattern::new(&pattern).unwrap().matches(&path, name);
        prop_assert_eq!(matches, naive(&chars(&pattern), &chars(&path)));
    }
}
