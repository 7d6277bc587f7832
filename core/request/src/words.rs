//! The system's words for what goes wrong, as Go has them, which are BuildKit's.

use std::borrow::Cow;
use std::io;

/// What stands between the system's words and its number for them.
const NUMBER: &str = " (os error ";

/// Why something failed, in the words that Go has for it: `no such file or directory`.
pub fn reason(error: &io::Error) -> String {
    in_words(&error.to_string()).into_owned()
}

/// A text in which the system's words are as Go has them: in lower case, and without the numbers that Rust adds.
///
/// ```
/// let text = "failed: No such file or directory (os error 2): a";
/// assert_eq!(rbx_request::in_words(text), "failed: no such file or directory: a");
/// ```
pub fn in_words(text: &str) -> Cow<'_, str> {
    let Some(at) = text.find(NUMBER) else { return Cow::Borrowed(text) };
    let (before, after) = (&text[..at], &text[at + NUMBER.len()..]);
    let number = after.split_once(')').and_then(|(number, rest)| Some((number.parse::<i32>().ok()?, rest)));
    let Some((number, rest)) = number else {
        let (kept, rest) = text.split_at(at + NUMBER.len());
        return Cow::Owned(kept.to_owned() + &in_words(rest));
    };
    let said = io::Error::from_raw_os_error(number).to_string();
    let said = said.split(NUMBER).next().unwrap_or_default();
    let plain = match before.strip_suffix(said) {
        Some(before) => {
            let mut letters = said.chars();
            let first = letters.next().into_iter().flat_map(char::to_lowercase);
            before.chars().chain(first).chain(letters).collect()
        }
        None => before.to_owned(),
    };
    Cow::Owned(plain + &in_words(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_the_system_are_gos() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(reason(&refused), "connection refused");
        let text = format!("A: {refused}: {}: B", io::Error::from_raw_os_error(13));
        assert_eq!(in_words(&text), "A: connection refused: permission denied: B");
        for same in ["", "Is a directory", "x (os error ", "x (os error y)", "Error (os error 2"] {
            assert_eq!(in_words(same), same);
        }
        assert_eq!(in_words("Other words (os error 2) (os error x)"), "Other words (os error x)");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(a|é|No such file or directory| \\(os error |2|99999999999|\\)){0,12}") {
            let plain = in_words(&text).into_owned();
            prop_assert!(plain.len() <= text.len());
        }
    }
}
