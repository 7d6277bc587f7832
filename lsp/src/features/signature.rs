//! How the instruction at a place is written, and which part of it is being written.

mod forms;

use rbx_dockerfile::Keyword;
use tower_lsp::ls_types::{
    Documentation, ParameterInformation, ParameterLabel, Position, SignatureHelp, SignatureInformation,
};

use self::forms::{Form, of_flag, of_instruction};
use crate::documents::Snapshot;
use crate::features::completion::mounts;
use crate::features::cursor::{Arguments, Json, Place, place};
use crate::features::manual;
use crate::features::page::Page;
use crate::text::number;

/// What brings up signatures.
pub(crate) const TRIGGERS: [&str; 6] = [" ", "=", ",", "[", ":", "/"];

/// How something is written.
struct Signature {
    label: String,
    parameters: Vec<(String, String)>,
    text: String,
}

impl Signature {
    fn of(Form(label, parameters): &Form, text: &str) -> Self {
        let owned = |(piece, text): &(&str, &str)| ((*piece).to_owned(), (*text).to_owned());
        Self {
            label: (*label).to_owned(),
            parameters: parameters.iter().map(owned).collect(),
            text: text.to_owned(),
        }
    }
}

/// How what is at a place is written. `asked` says that the user asked, and did not just type.
pub(crate) fn signature(snapshot: &Snapshot, position: Position, asked: bool) -> Option<SignatureHelp> {
    let found = match place(snapshot.tree(), snapshot.offset(position)) {
        Place::Comment { before, directive: true } => of_directive(&before)?,
        Place::Keyword { trigger: true, before } if before.is_empty() => (of_keyword(Keyword::Onbuild), 0, 0),
        Place::Arguments(arguments) => of_arguments(&arguments, asked)?,
        _ => return None,
    };
    let (signatures, active, parameter) = found;
    Some(SignatureHelp {
        signatures: signatures.into_iter().map(|it| of_protocol(snapshot, it)).collect(),
        active_signature: Some(number(active)),
        active_parameter: Some(number(parameter)),
    })
}

/// Signatures, the number of the one that is being written, and that of its parameter.
type Found = (Vec<Signature>, usize, usize);

fn of_keyword(keyword: Keyword) -> Vec<Signature> {
    let text = manual::instruction(keyword).map_or("", |entry| entry.text);
    of_instruction(keyword).iter().map(|form| Signature::of(form, text)).collect()
}

fn of_directive(before: &str) -> Option<Found> {
    let (name, value) = before.split_once('=')?;
    let entry = manual::directive(&name.trim().to_ascii_lowercase())?;
    let label = entry.usage.to_owned();
    let mut parameters = Vec::new();
    let mut active = 0;
    if let Some(value) = label.split_once('=').map(|(_, value)| value) {
        if name.trim().eq_ignore_ascii_case("check") {
            parameters.push(("skip=<rule|all>[,…]".to_owned(), "The checks that are not made.".to_owned()));
            parameters
                .push(("error=<true|false>".to_owned(), "Whether findings make builds fail.".to_owned()));
        } else {
            parameters.push((value.to_owned(), String::new()));
        }
    }
    if value.rsplit(';').next().is_some_and(|option| option.starts_with("error")) {
        active = 1;
    }
    Some((vec![Signature { label, parameters, text: entry.text.to_owned() }], 0, active))
}

fn of_arguments(arguments: &Arguments, asked: bool) -> Option<Found> {
    let keyword = arguments.keyword;
    if arguments.words.is_empty()
        && arguments.json == Json::No
        && let Some((name, value)) =
            arguments.current.strip_prefix("--").and_then(|flag| flag.split_once('='))
    {
        return of_value(keyword, name, value);
    }
    let forms = of_instruction(keyword);
    let is_json = arguments.json != Json::No;
    let is_script =
        matches!(keyword, Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck);
    if is_script && !is_json && !asked && arguments.words.len() > usize::from(keyword == Keyword::Healthcheck)
    {
        // A script is being written, which has its own words.
        return None;
    }
    let none = keyword == Keyword::Healthcheck
        && arguments.words.first().unwrap_or(&arguments.current).eq_ignore_ascii_case("NONE");
    let active = if is_json || none { forms.len().checked_sub(1)? } else { 0 };
    let signatures = of_keyword(keyword);
    let last = signatures.get(active)?.parameters.len().checked_sub(1)?;
    Some((signatures, active, parameter(arguments).min(last)))
}

/// Which parameter of its form is being written.
fn parameter(arguments: &Arguments) -> usize {
    let current = arguments.current.as_str();
    let written = arguments.words.len();
    let in_flag = written == 0 && arguments.json == Json::No && current.starts_with('-');
    // Of what comes as often as one likes, and of what comes last.
    let files = || {
        if in_flag { 0 } else { 1 + usize::from(written > 0) }
    };
    match arguments.keyword {
        Keyword::From | Keyword::Healthcheck if in_flag => 0,
        Keyword::From => 1 + written,
        Keyword::Arg | Keyword::Env | Keyword::Label => usize::from(current.contains('=')),
        Keyword::Expose => usize::from(current.contains('/')),
        Keyword::User => usize::from(current.contains(':')),
        Keyword::Copy | Keyword::Add | Keyword::Run => files(),
        Keyword::Healthcheck
            if arguments.words.first().unwrap_or(&arguments.current).eq_ignore_ascii_case("NONE") =>
        {
            0
        }
        Keyword::Healthcheck => 1 + written.min(1),
        Keyword::Cmd | Keyword::Entrypoint | Keyword::Shell => written.min(1),
        _ => 0,
    }
}

/// How the value of a flag is written.
fn of_value(keyword: Keyword, name: &str, value: &str) -> Option<Found> {
    let text = manual::flag(keyword, name)?.text;
    if name == "mount" {
        let (label, parameters, active) = mounts::signature(value);
        return Some((vec![Signature { label, parameters, text: text.to_owned() }], 0, active));
    }
    let form = of_flag(keyword, name)?;
    let mut signature = Signature::of(form, text);
    if signature.label.starts_with('=') {
        // The form is one of several flags.
        signature.label.insert_str(0, &format!("--{name}"));
    }
    let separators = value.matches(['/', ':', ',']).count();
    let last = signature.parameters.len().saturating_sub(1);
    Some((vec![signature], 0, separators.min(last)))
}

fn of_protocol(snapshot: &Snapshot, signature: Signature) -> SignatureInformation {
    let abilities = snapshot.abilities.signatures;
    let explained = |text: String| Documentation::MarkupContent(Page::of(text).markup(abilities.markdown));
    let label = signature.label;
    let mut after = 0;
    let parameters = signature.parameters.into_iter().map(|(piece, text)| {
        let at = after + label[after..].find(&piece).unwrap_or_default();
        let end = at + piece.len();
        after = end.min(label.len());
        let units = |to: usize| u32::try_from(label[..to].encode_utf16().count()).unwrap_or(u32::MAX);
        ParameterInformation {
            label: if abilities.offsets {
                ParameterLabel::LabelOffsets([units(at), units(after)])
            } else {
                ParameterLabel::Simple(piece)
            },
            documentation: (!text.is_empty()).then(|| explained(text)),
        }
    });
    let parameters: Vec<ParameterInformation> = parameters.collect();
    SignatureInformation {
        label,
        documentation: Some(explained(signature.text)),
        parameters: Some(parameters),
        active_parameter: None,
    }
}

#[cfg(test)]
mod tests;
