//! Which platforms a file says that it is built for.

use crate::dockerfile::Dockerfile;
use crate::instruction::Word;
use crate::span::Span;

/// What a comment for this program begins with.
const PREFIX: &str = "rbx:";
/// What comes before the platforms.
const NAME: &str = "platforms=";

impl Dockerfile {
    /// The platforms of the first comment `# rbx: platforms=linux/amd64,linux/arm64`, as written, each with its place;
    /// none without such a comment. It says what the file is meant to be built for to whoever looks at it without
    /// building it. Builds do not read it, and BuildKit takes it for a comment.
    ///
    /// Between platforms are commas, or white space.
    pub fn platforms(&self) -> Vec<Word> {
        let mut lists = self.comments.iter().filter_map(|comment| {
            let list = comment.text.strip_prefix(PREFIX)?.trim_start().strip_prefix(NAME)?;
            // The list is the end of the comment but for white space.
            let end = comment.span.start as usize + comment.span.slice(&self.text).trim_end().len();
            Some((end.checked_sub(list.len())?, list))
        });
        let Some((mut at, list)) = lists.next() else { return Vec::new() };
        let mut words = Vec::new();
        for word in list.split([',', ' ', '\t']) {
            if !word.is_empty() {
                words.push(Word { span: Span::of(at, at + word.len()), text: word.to_owned() });
            }
            at += word.len() + 1;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::parse;

    fn platforms(text: &str) -> String {
        let file = parse(text);
        let words = file.platforms();
        for word in &words {
            assert_eq!(&text[word.span.range()], word.text);
        }
        words.into_iter().map(|word| word.text).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_comment_names_platforms() {
        assert_eq!(platforms("# rbx: platforms=linux/amd64,linux/arm64\nFROM a"), "linux/amd64|linux/arm64");
        assert_eq!(platforms("# escape=`\n  #rbx:platforms= arm64 ,  local \t\r\nFROM a\n"), "arm64|local");
        assert_eq!(platforms("FROM a\nRUN b \\\n # rbx: platforms=linux/ü\n c"), "linux/ü");
        assert_eq!(platforms("# rbx: platforms=\n# rbx: platforms=a"), "", "the first counts");
        for none in ["# rbx platforms=a", "# rbx: platform=a", "RUN <<E\n# rbx: platforms=a\nE", "", "# rbx:"]
        {
            assert_eq!(platforms(none), "", "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn places_are_those_of_the_words(text in "(# ?rbx: ?platforms=|[ ,\tü/ab\r\n\u{a0}#]){0,12}") {
            platforms(&text);
        }
    }
}
