//! What each rule does, by family. A file has the rules that look for one kind of thing, and says all about them.

pub(crate) mod buildkit;
mod hadolint;
mod platform;

use crate::rule::Rule;

/// Every rule, in no particular order.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    [buildkit::RULES, hadolint::RULES, platform::RULES].into_iter().flatten().copied().flatten()
}
