//! What goes wrong on some platforms only.

mod address;
mod architectures;
mod arg_default;
mod arg_early;
mod arg_undeclared;
mod base;
mod cache_mount;
mod context_binary;
mod copy_platform;
mod cross;
mod emulation;
mod final_stage;
mod flag_on_stage;
mod from;
mod go;
mod os;
mod packages;
mod paths;
mod selector;
mod selector_variant;
mod site;
mod syntax_digest;
mod toolchain;
mod urls;

use rbx_dockerfile::Instruction;

use crate::rule::{Family, Rule};

pub(crate) static RULES: &[&[Rule]] = &[
    arg_default::RULES,
    arg_early::RULES,
    arg_undeclared::RULES,
    base::RULES,
    cache_mount::RULES,
    context_binary::RULES,
    copy_platform::RULES,
    cross::RULES,
    emulation::RULES,
    final_stage::RULES,
    flag_on_stage::RULES,
    from::RULES,
    go::RULES,
    os::RULES,
    packages::RULES,
    paths::RULES,
    selector::RULES,
    selector_variant::RULES,
    syntax_digest::RULES,
    toolchain::RULES,
    urls::RULES,
];

/// What these rules have in common.
const RULE: Rule = Rule { family: Family::Platform, enabled: true, ..Rule::NONE };

/// Whether an instruction's text, heredocs included, has a variable of that name in it.
fn mentions(instruction: &Instruction, text: &str, name: &str) -> bool {
    let heredocs = instruction.heredocs.iter().map(|heredoc| heredoc.content.slice(text));
    std::iter::once(instruction.code.as_str()).chain(heredocs).any(|text| has_variable(text, name))
}

/// Whether `$name` or `${name` stands in a text.
fn has_variable(text: &str, name: &str) -> bool {
    site::variables(text).any(|known| known == name)
}
