//! Names of builders and nodes.

use crate::error::BuilderError;

/// Checks a name of a builder or node; answers it in lower case, as files are named.
pub fn validate_name(name: &str) -> Result<String, BuilderError> {
    let letters = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if letters && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(BuilderError::InvalidName(name.to_owned()))
    }
}

/// A name for a builder that was given none: `patient_noether`.
pub(crate) fn random_name() -> String {
    let of = |words: &[&'static str]| words[fastrand::usize(..words.len())];
    format!("{}_{}", of(&MANNERS), of(&PEOPLE))
}

const MANNERS: [&str; 40] = [
    "agile", "amber", "brisk", "calm", "candid", "careful", "cheerful", "crisp", "curious", "deft",
    "earnest", "even", "exact", "fair", "fluent", "frank", "gentle", "hardy", "honest", "humble", "keen",
    "level", "light", "limber", "lucky", "mellow", "merry", "modest", "nimble", "patient", "plain", "prompt",
    "quiet", "ready", "sober", "steady", "sturdy", "thrifty", "tidy", "upbeat",
];

const PEOPLE: [&str; 40] = [
    "abel",
    "amdahl",
    "backus",
    "boole",
    "cantor",
    "church",
    "codd",
    "dedekind",
    "dirac",
    "erdos",
    "euler",
    "fermat",
    "frege",
    "galois",
    "gauss",
    "germain",
    "godel",
    "hamming",
    "hilbert",
    "huffman",
    "iverson",
    "kay",
    "kernighan",
    "kleene",
    "laplace",
    "leibniz",
    "lovelace",
    "markov",
    "mccarthy",
    "naur",
    "noether",
    "peano",
    "perlman",
    "post",
    "ramanujan",
    "riemann",
    "shannon",
    "tarski",
    "turing",
    "wirth",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_a_letter_and_have_few_symbols() {
        assert_eq!(validate_name("Foo.1-b_C").unwrap(), "foo.1-b_c");
        for bad in ["", "9", "_a", "a b", "a/b", "../a", "a\n", "é", "a:b", ".tmp-a"] {
            assert_eq!(
                validate_name(bad).unwrap_err().to_string(),
                format!(
                    "invalid name {bad}, name needs to start with a letter and may not contain symbols, except ._-"
                )
            );
        }
    }

    #[test]
    fn random_names_are_names() {
        for word in MANNERS.iter().chain(&PEOPLE) {
            assert_eq!(validate_name(word).unwrap(), *word);
        }
        assert!(validate_name(&random_name()).is_ok());
    }
}
