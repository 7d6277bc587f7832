//! What each rule does.

pub(crate) mod arg_default;
pub(crate) mod arg_undeclared;
pub(crate) mod final_stage;
pub(crate) mod flag_on_stage;
pub(crate) mod selector;

use rbx_dockerfile::Instruction;

/// Whether an instruction's text, heredocs included, has a variable of that name in it.
fn mentions(instruction: &Instruction, text: &str, name: &str) -> bool {
    let heredocs = instruction.heredocs.iter().map(|heredoc| heredoc.content.slice(text));
    std::iter::once(instruction.code.as_str()).chain(heredocs).any(|text| has_variable(text, name))
}

/// Whether `$name` or `${name` stands in a text.
fn has_variable(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name)
            .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}
