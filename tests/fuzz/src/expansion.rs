//! Words with variables. The input is a byte of options, `NAME=value` lines, a NUL and the word.

use std::collections::HashMap;

use rbx_dockerfile::{ExpandOptions, expand_keep_quotes, expand_with, expand_words_with};

use crate::bytes::Bytes;

/// What a word may grow by, and an error around it: the module's own limit and a bit.
const MOST_ADDED: usize = 5 << 20;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let flags = bytes.byte();
    let header = bytes.text();
    let word = String::from_utf8_lossy(bytes.0);
    let variables: HashMap<&str, &str> = header.lines().filter_map(|line| line.split_once('=')).collect();
    let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());

    let options = ExpandOptions {
        escape: if flags & 1 == 0 { '\\' } else { '`' },
        raw_quotes: flags & 2 != 0,
        raw_escapes: flags & 4 != 0,
        ignore_quotes: flags & 8 != 0,
        keep_unset: flags & 16 != 0,
    };
    let whole = expand_with(&word, options, &lookup);
    let words = expand_words_with(&word, options, &lookup);
    assert_eq!(whole.is_ok(), words.is_ok(), "both ways agree on what is an error");
    match (&whole, &words) {
        (Ok(whole), Ok(words)) => {
            assert!(whole.len() <= word.len() * 4 + MOST_ADDED);
            assert!(words.iter().all(|word| !word.is_empty()), "empty words are dropped");
            assert!(words.iter().map(String::len).sum::<usize>() <= whole.len());
            // What holds nothing special stays as it is: `<<` takes the blanks after it into its word.
            let special = ["$", "'", "\"", "<<", "\u{feff}"];
            if !special.iter().any(|it| word.contains(it)) && !word.contains(options.escape) {
                assert_eq!(*whole, *word);
                assert!(words.iter().map(String::as_str).eq(word.split_whitespace()));
            }
        }
        (Err(whole), Err(words)) => {
            assert_eq!(whole, words);
            assert!(!whole.to_string().is_empty());
        }
        _ => {}
    }
    // Shown with nothing set, a word without escapes is what was written, without a byte order mark.
    if !word.contains(options.escape)
        && let Ok(shown) = expand_keep_quotes(&word, options.escape, &|_| None)
        && !word.contains("${")
        && !word.starts_with('\u{feff}')
    {
        assert_eq!(shown, word);
    }
}
