//! `WORKDIR`: makes a directory where there is none.

use rbx_store::{Key, LayerId, LayerIndex};

use super::{Built, hash_layers};
use crate::draft::Draft;
use crate::error::BuildError;
use crate::layer::{Item, Packing, pack};
use crate::plan::DirectoryOperation;
use crate::select::CopyOptions;
use crate::solve::Solver;

impl Solver {
    pub(crate) fn directory(
        &self,
        directory: &DirectoryOperation,
        below: &[LayerId],
        fresh: bool,
        name: &str,
    ) -> Result<Built, BuildError> {
        let key = Self::directory_key(directory, below);
        if !fresh && let Some(built) = self.find(&key, below)? {
            return Ok(built);
        }
        let owner = directory.owner.as_deref().map(|owner| self.owner(owner, below)).transpose()?;
        let options = CopyOptions { owner, now: self.now(), ..CopyOptions::default() };
        let tree = self.entries(below)?;
        let mut draft = Draft::new(&tree, &options);
        draft.make_directories(directory.path.as_bytes(), 0o755)?;
        let mut items = draft.finish();
        let packed =
            pack(&self.store, &mut items, Packing::STORE, self.threads, self.describe, self.cancel.flag())?;
        let index = LayerIndex { entries: items.into_iter().map(Item::into_index).collect() };
        let layer = self.put_packed(below.last().copied(), index, &packed, name)?;
        self.record(&[key], below, layer, fresh)
    }

    /// The key of a `WORKDIR` on layers.
    pub(crate) fn directory_key(directory: &DirectoryOperation, below: &[LayerId]) -> Key {
        let mut hasher = Key::hasher("directory");
        directory.hash(&mut hasher);
        hash_layers(&mut hasher, below);
        hasher.finish()
    }
}
