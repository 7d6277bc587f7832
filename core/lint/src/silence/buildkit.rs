//! BuildKit's comments: `# check=skip=NAME,…;experimental=NAME,…;error=true` on top of a file holds for all of it, and
//! right above an instruction for that. They are read exactly as BuildKit reads them.

use rbx_dockerfile::{Comment, Dockerfile, Span, go_bool, go_quoted};

use super::Names;

/// The build argument that counts in the place of the comment on top of a file.
pub(crate) const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What such a comment says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// `skip=`: these are silent.
    pub(crate) skipped: Names,
    /// `experimental=`: these are asked, though they are not by themselves.
    pub(crate) experimental: Names,
    /// `error=true`
    pub(crate) errors: bool,
}

/// Why what is said on top of a file means nothing. BuildKit refuses to build then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Where it is said; nowhere, if that is a build argument.
    pub(crate) span: Option<Span>,
    pub(crate) message: String,
}

/// What the top of a file says, or the build argument, if there is one.
pub(crate) fn of_file(file: &Dockerfile, argument: Option<&str>) -> Result<Check, Invalid> {
    if let Some(text) = argument {
        return read(text).map_err(|reason| Invalid {
            span: None,
            message: format!("failed to parse build-arg:{ARGUMENT}: {reason}"),
        });
    }
    let directive = file.directives.check.as_ref();
    let Some(directive) = directive.filter(|directive| begins_line(file, directive.span)) else {
        return Ok(Check::default());
    };
    read(up_to_space(&directive.value)).map_err(|reason| Invalid {
        span: Some(directive.value_span),
        message: format!("failed to parse check options: {reason}"),
    })
}

/// What the first such comment of those above an instruction says.
pub(crate) fn of_comments(file: &Dockerfile, comments: &[Comment]) -> Option<Check> {
    read(up_to_space(value(&first(file, comments)?.text)?)).ok()
}

/// The first such comment of those above an instruction.
pub(crate) fn first<'a>(file: &Dockerfile, comments: &'a [Comment]) -> Option<&'a Comment> {
    let is_check = |comment: &&Comment| begins_line(file, comment.span) && value(&comment.text).is_some();
    comments.iter().find(is_check)
}

/// The value of `check = value`.
fn value(text: &str) -> Option<&str> {
    let (name, rest) = text.split_at_checked("check".len())?;
    let value = rest.trim_start().strip_prefix('=')?.trim();
    (name.eq_ignore_ascii_case("check") && !value.is_empty()).then_some(value)
}

/// Before others, white space is left there, and then it is no such comment.
pub(crate) fn begins_line(file: &Dockerfile, span: Span) -> bool {
    let before = file.text.get(..span.start as usize).unwrap_or_default();
    before.is_empty() || before.ends_with('\n') || before == "\u{feff}"
}

fn up_to_space(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Reads `skip=A,B;experimental=C;error=true`.
fn read(text: &str) -> Result<Check, String> {
    let mut check = Check::default();
    let text = text.trim();
    if text.is_empty() {
        return Ok(check);
    }
    for part in text.splitn(3, ';') {
        let invalid = |text: &str| format!("invalid check option {}", go_quoted(text));
        let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
        let value = value.trim();
        match key.trim() {
            "skip" => check.skipped = names(value),
            "experimental" => check.experimental = names(value),
            "error" => {
                check.errors = go_bool(value).ok_or_else(|| {
                    let reason = format!("strconv.ParseBool: parsing {}: invalid syntax", go_quoted(value));
                    format!("failed to parse check option {}: {reason}", go_quoted(part))
                })?;
            }
            other => return Err(invalid(other)),
        }
    }
    Ok(check)
}

fn names(text: &str) -> Names {
    let list = text.split(',').map(|name| name.trim().to_owned()).collect();
    Names { all: text == "all", list }
}

#[cfg(test)]
mod tests {
    use rbx_dockerfile::parse;

    use super::*;

    #[test]
    fn options_are_read_as_by_buildkit() {
        let of = |text: &str| match read(text) {
            Ok(check) => format!(
                "{}{:?} {}{:?} {}",
                check.skipped.all,
                check.skipped.list,
                check.experimental.all,
                check.experimental.list,
                check.errors
            ),
            Err(reason) => reason,
        };
        for (text, wanted) in [
            ("", "false[] false[] false"),
            ("skip=all", "true[\"all\"] false[] false"),
            ("skip=all,A", "false[\"all\", \"A\"] false[] false"),
            (" skip = A , B ;error=1", "false[\"A\", \"B\"] false[] true"),
            ("error=F;experimental=all;skip=A", "false[\"A\"] true[\"all\"] false"),
            ("skip=A;", "invalid check option \"\""),
            ("skip", "invalid check option \"skip\""),
            ("skip=A;x=y", "invalid check option \"x\""),
            (
                "error=yes",
                "failed to parse check option \"error=yes\": strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
        ] {
            assert_eq!(of(text), wanted, "{text:?}");
        }
        // The third part is all that is left.
        assert_eq!(read("skip=A;error=0;skip=B;error=1").unwrap().skipped.list, ["B;error=1"]);
    }

    #[test]
    fn the_first_comment_in_the_first_column_counts() {
        let of = |comments: &str| {
            let file = parse(&format!("FROM a\n{comments}RUN b\n"));
            let run = file.instructions.last().unwrap();
            of_comments(&file, file.comments_of(run)).map(|check| check.skipped.list.join(" "))
        };
        assert_eq!(of("# check=skip=A\n# check=skip=B\n").as_deref(), Some("A"));
        assert_eq!(of("# words\n#  CHECK = skip=A,B remark\n").as_deref(), Some("A B"));
        assert_eq!(of("# check=skip=A\n#\n"), None);
        assert_eq!(of("# check=skip=A\n\n").as_deref(), Some("A"));
        assert_eq!(of(" # check=skip=A\n"), None);
        assert_eq!(of("# check=x\n# check=skip=A\n"), None);
        assert_eq!(of("# checks=skip=A\n# check=\n"), None);
    }

    #[test]
    fn a_build_argument_counts_before_the_file() {
        let file = parse("# check=skip=A\nFROM a\n");
        assert_eq!(of_file(&file, None).unwrap().skipped.list, ["A"]);
        assert_eq!(of_file(&file, Some("")).unwrap(), Check::default());
        assert_eq!(of_file(&file, Some("skip=B")).unwrap().skipped.list, ["B"]);
        let invalid = of_file(&file, Some("B")).unwrap_err();
        assert_eq!(
            invalid.message,
            "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option \"B\""
        );
        let invalid = of_file(&parse("# check=skip=A;\nFROM a\n"), None).unwrap_err();
        assert_eq!(invalid.message, "failed to parse check options: invalid check option \"\"");
        assert_eq!(of_file(&parse(" # check=skip=A\nFROM a\n"), None).unwrap(), Check::default());
    }
}
