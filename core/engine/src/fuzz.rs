//! The way of hostile archives into a store, with no registry and no build around it: for the fuzz targets only.

use std::io::Cursor;

use rbx_oci::Entry;
use rbx_store::{LayerIndex, PreparedTree, Store};

use crate::error::LayerError;
use crate::layer;
use crate::tree::Tree;

/// Unpacks the layers of an image, the lowest first, each over those before it. Layers that were unpacked before one
/// failed are dropped with it.
pub fn unpack_layers(
    store: &Store,
    archives: Vec<Vec<u8>>,
) -> Result<Vec<(PreparedTree, LayerIndex)>, LayerError> {
    let mut layers: Vec<(PreparedTree, LayerIndex)> = Vec::with_capacity(archives.len());
    for archive in archives {
        let unpacked = layer::unpack(store, Cursor::new(archive), "layer")?;
        let below = Tree::from_layers(layers.iter().map(|(_, index)| (index, None)));
        layers.push(unpacked.settle(&below)?);
    }
    Ok(layers)
}

/// The file system that layers add up to, without its root: hard links as the files that they are.
pub fn merge_layers<'a>(layers: impl IntoIterator<Item = &'a LayerIndex>) -> Vec<Entry> {
    let tree = Tree::from_layers(layers.into_iter().map(|index| (index, None)));
    tree.nodes().iter().map(|node| node.entry.clone()).collect()
}

/// Whether `ADD` would unpack these bytes.
pub fn is_archive(bytes: Vec<u8>) -> bool {
    layer::is_archive(Cursor::new(bytes))
}
