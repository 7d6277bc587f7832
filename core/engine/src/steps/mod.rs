//! What each kind of vertex does.

mod copy;
mod directory;
mod output;
mod run;

use std::sync::Arc;

use rbx_store::{Key, KeyHasher, LayerId, LayerIndex, NewLayer, PreparedTree, Record};

pub(crate) use copy::{CopySource, Looked};
pub use output::LogLimits;
pub(crate) use run::refused;

use crate::error::BuildError;
use crate::layer::{self, Origin, Packed, Packing};
use crate::owner;
use crate::solve::Solver;
use crate::tree::{Node, Tree};

/// What a vertex made.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The layers of its file system, lowest first.
    pub(crate) layers: Vec<LayerId>,
    /// When the topmost one was made: nanoseconds since the epoch.
    pub(crate) created: i64,
    /// It was not made now.
    pub(crate) cached: bool,
}

impl Built {
    pub(crate) fn on(below: &[LayerId], layer: LayerId, created: i64, cached: bool) -> Self {
        let mut layers = below.to_vec();
        layers.push(layer);
        Self { layers, created, cached }
    }
}

/// Adds the identity of a file system to a key: the layers it is made of.
fn hash_layers(hasher: &mut KeyHasher, layers: &[LayerId]) {
    hasher.number(layers.len() as u64);
    for layer in layers {
        hasher.field(layer.as_bytes());
    }
}

impl Solver {
    /// Looks a result up. Layers that went missing meanwhile make it a miss.
    pub(crate) fn find(&self, key: &Key, below: &[LayerId]) -> Result<Option<Built>, BuildError> {
        let found = if self.dry { self.store.peek_record(key) } else { self.store.record(&self.lease, key) };
        let Some(Record { layer: Some(layer), created, .. }) = found? else {
            return Ok(None);
        };
        Ok(Some(Built::on(below, layer, created, true)))
    }

    /// Records a result under its keys. Of two builds that made it at once, the first one's counts for both.
    fn record(
        &self,
        keys: &[Key],
        below: &[LayerId],
        layer: LayerId,
        fresh: bool,
    ) -> Result<Built, BuildError> {
        let mut record = Record { layer: Some(layer), value: Vec::new(), created: Self::created_now() };
        for key in keys {
            record = self.store.put_record(&self.lease, key, &record, fresh)?;
        }
        Ok(Built::on(below, record.layer.unwrap_or(layer), record.created, false))
    }

    /// Stores a layer whose sections are in the store.
    fn put_packed(
        &self,
        parent: Option<LayerId>,
        index: LayerIndex,
        packed: &Packed,
        description: &str,
    ) -> Result<LayerId, BuildError> {
        let id = self.put_layer(parent, index, None, description)?;
        match &packed.digests {
            Some(digests) => layer::note(&self.store, id, Packing::STORE, &packed.members, digests)?,
            None => self.store.set_layer_members(id, &Packing::STORE.name(), &packed.members)?,
        }
        Ok(id)
    }

    fn put_layer(
        &self,
        parent: Option<LayerId>,
        index: LayerIndex,
        tree: Option<PreparedTree>,
        description: &str,
    ) -> Result<LayerId, BuildError> {
        let (created, description) = (Self::created_now(), description.to_owned());
        let new = NewLayer { parent, index: Arc::new(index), tree, created, description };
        Ok(self.store.put_layer(&self.lease, new)?)
    }

    /// A file system as a list of entries; nothing is laid out as files for it.
    fn entries(&self, layers: &[LayerId]) -> Result<Tree, BuildError> {
        let indexes = layers.iter().map(|&id| self.store.layer_index(id)).collect::<Result<Vec<_>, _>>()?;
        Ok(Tree::from_layers(indexes.iter().map(|index| (&**index, None))))
    }

    /// A file system as a list of entries whose bytes can be read.
    pub(crate) fn readable(&self, layers: &[LayerId]) -> Result<Tree, BuildError> {
        let mut parts = Vec::with_capacity(layers.len());
        for (at, &id) in layers.iter().enumerate() {
            let below = at.checked_sub(1).map(|at| layers[at]);
            let paths = layer::directories(&self.store, &self.lease, id, below, self.threads)?;
            let origin = Origin::directories(&paths)
                .map_err(|error| BuildError::failed(format!("{error}: failed to open layer {id}")))?;
            parts.push((self.store.layer_index(id)?, origin));
        }
        Ok(Tree::from_layers(parts.iter().map(|(index, origin)| (&**index, Some(origin.clone())))))
    }

    /// Resolves an owner in a file system, which is read only if there is a name in it.
    fn owner(&self, owner: &str, layers: &[LayerId]) -> Result<(u32, u32), BuildError> {
        let numeric = owner.split(':').all(|part| part.parse::<u32>().is_ok());
        if !numeric && layers.is_empty() {
            // BuildKit's words: there is nothing that could have names.
            return Err(BuildError::invalid("invalid user index: -1"));
        }
        let tree = if numeric { Tree::default() } else { self.readable(layers)? };
        owner::resolve(owner, |path| {
            let lookup = |path: &[u8]| tree.get(path).map(|node| &node.entry);
            let Some(path) = crate::tree::resolve(path.as_bytes(), true, lookup) else { return Ok(None) };
            tree.get(&path).and_then(Node::source).map_or(Ok(None), |source| {
                source.open().map(Some).map_err(|error| {
                    BuildError::invalid(format!(
                        "{error}: failed to read /{}",
                        String::from_utf8_lossy(&path)
                    ))
                })
            })
        })
    }
}
