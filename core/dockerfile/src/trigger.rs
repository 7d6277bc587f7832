//! Triggers as images store them.

use crate::instruction::{Body, Instruction, Keyword};

/// The triggers a stage leaves to those built on it, as an image stores them.
pub(crate) fn on_build_of(instructions: &[Instruction], text: &str) -> Vec<String> {
    instructions.iter().filter_map(|instruction| trigger_text(instruction, text)).collect()
}

/// The trigger of an `ONBUILD` as an image stores it; `None` for other instructions and impossible triggers.
pub(crate) fn trigger_text(instruction: &Instruction, text: &str) -> Option<String> {
    let Body::Onbuild(trigger) = &instruction.body else { return None };
    if matches!(trigger.keyword, Keyword::Onbuild | Keyword::From | Keyword::Maintainer) {
        return None;
    }
    let mut stored = instruction.code["ONBUILD".len()..].trim_start().to_owned();
    for heredoc in &instruction.heredocs {
        stored.push('\n');
        stored.push_str(heredoc.content.slice(text));
        stored.push_str(&heredoc.name);
    }
    Some(stored)
}
