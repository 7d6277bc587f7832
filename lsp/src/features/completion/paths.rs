//! Paths: of the build context, and of earlier stages.

use super::{Here, Item, Kind};
use crate::commands;
use crate::features::known;

/// The paths of the context that may follow what is written of one. What is ignored is left out, and links are not
/// followed.
pub(super) fn in_context(here: &Here<'_>, written: &str) -> Vec<Item> {
    let plain = written.trim_start_matches(['"', '\'']);
    if plain.contains(['$', '*', '?', '[', '\\']) || plain.contains("://") {
        return Vec::new();
    }
    let Some(dockerfile) = commands::path(&here.snapshot.uri) else { return Vec::new() };
    let Some(context) = commands::context(&dockerfile, here.roots, &here.snapshot.configuration) else {
        return Vec::new();
    };
    let (directory, name) = plain.rsplit_once('/').unwrap_or(("", plain));
    let entries = rbx_facts::entries(&context, Some(&dockerfile), directory).unwrap_or_default();
    let entry = |entry: &rbx_facts::Entry| {
        let slash = if entry.is_directory { "/" } else { "" };
        let kind = if entry.is_directory { Kind::Folder } else { Kind::File };
        let label = format!("{}{slash}", entry.name);
        // Names that would be taken apart are left to the user, who knows how to quote.
        let odd = entry.name.contains(|c: char| c.is_whitespace() || "\"'$\\`".contains(c));
        (!odd).then(|| Item::new(kind, label, name.len()))
    };
    entries.iter().filter_map(entry).collect()
}

/// The paths that are known to be in a stage.
pub(super) fn in_stage(here: &Here<'_>, stage: &str, written: &str) -> Vec<Item> {
    let mut stages = known::stages(here.file, here.offset);
    stages.pop();
    let paths = known::paths_in(&stages, stage).into_iter().filter(|path| *path != written);
    paths.map(|path| Item::new(Kind::File, path, written.len()).detail(format!("in {stage}"))).collect()
}
