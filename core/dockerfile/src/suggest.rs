//! The nearest known word to a mistyped one.

/// The option at an edit distance of at most 2, the nearest first. `None` too where `word` is itself an option:
/// then it is not the spelling that is wrong.
pub fn nearest<'a>(
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    fold_case: bool,
) -> Option<String> {
    let fold = |text: &str| if fold_case { text.to_lowercase() } else { text.to_owned() };
    let wanted: Vec<char> = fold(word).chars().collect();
    let mut best: Option<(usize, String)> = None;
    for option in options {
        let candidate: Vec<char> = fold(option).chars().collect();
        if candidate == wanted {
            return None;
        }
        if candidate.len().abs_diff(wanted.len()) > 2 {
            continue;
        }
        let distance = distance(&wanted, &candidate);
        if distance <= 2 && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, option.to_owned()));
        }
    }
    let found = best?.1;
    Some(if !fold_case {
        found
    } else if word == word.to_uppercase() && word != word.to_lowercase() {
        found.to_uppercase()
    } else {
        found.to_lowercase()
    })
}

/// Levenshtein distance, row by row.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn proposes_only_near_words() {
        let words = ["RUN", "COPY", "ENV"];
        assert_eq!(nearest("RUNN", words, true).as_deref(), Some("RUN"));
        assert_eq!(nearest("cpoy", words, true).as_deref(), Some("copy"));
        assert_eq!(nearest("Cpoy", words, true).as_deref(), Some("copy"));
        assert_eq!(nearest("FETCH", words, true), None);
        assert_eq!(nearest("run", words, true), None);
        assert_eq!(nearest("chwon", ["chown", "chmod"], false).as_deref(), Some("chown"));
    }
}
