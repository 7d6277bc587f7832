//! `rewrite-timestamp`: layers without times later than `SOURCE_DATE_EPOCH`.

use std::sync::Arc;

use rbx_store::{Key, LayerId, LayerIndex, NewLayer, Record};

use crate::error::BuildError;
use crate::layer::{self, Item, Origin, Packing, Source, pack};
use crate::solve::Solver;

/// The same layers with no time later than `epoch` in any but the `base` lowest: those are as the base image has
/// them. They are layers of their own, since whoever builds on the image must find what its digests say.
pub(crate) fn rewrite(
    solver: &Solver,
    layers: &[LayerId],
    base: usize,
    epoch: i64,
) -> Result<Vec<LayerId>, BuildError> {
    let mut rewritten: Vec<LayerId> = Vec::with_capacity(layers.len());
    for (at, &id) in layers.iter().enumerate() {
        let parent = rewritten.last().copied();
        let moved = parent != at.checked_sub(1).map(|below| layers[below]);
        let index = solver.store.layer_index(id)?;
        let late = at >= base && index.entries.iter().any(|item| item.entry.mtime > epoch);
        if !moved && !late {
            rewritten.push(id);
            continue;
        }
        let below = at.checked_sub(1).map(|below| layers[below]);
        rewritten.push(rewrite_layer(solver, id, below, parent, epoch, &index)?);
    }
    Ok(rewritten)
}

fn rewrite_layer(
    solver: &Solver,
    id: LayerId,
    below: Option<LayerId>,
    parent: Option<LayerId>,
    epoch: i64,
    index: &LayerIndex,
) -> Result<LayerId, BuildError> {
    let mut hasher = Key::hasher("rewritten layer");
    hasher.field(id.as_bytes()).field(parent.as_ref().map_or(&[][..], |parent| parent.as_bytes()));
    let key = hasher.field(epoch.to_le_bytes()).finish();
    if let Some(Record { layer: Some(layer), .. }) = solver.store.record(&solver.lease, &key)? {
        return Ok(layer);
    }
    let trees = layer::directories(&solver.store, &solver.lease, id, below, solver.threads)?;
    let origin = Origin::directories(&trees)
        .map_err(|error| BuildError::failed(format!("{error}: failed to open layer {id}")))?;
    let mut items: Vec<Item> = index
        .entries
        .iter()
        .map(|item| {
            let mut entry = item.entry.clone();
            entry.mtime = entry.mtime.min(epoch);
            let source = Source { origin: origin.clone(), path: entry.path.clone() };
            Item { entry, content: item.content, source: Some(source) }
        })
        .collect();
    let packed = pack(&solver.store, &mut items, Packing::STORE, solver.threads, true, solver.cancel.flag())?;
    let created = Solver::created_now();
    let index = Arc::new(LayerIndex { entries: items.into_iter().map(Item::into_index).collect() });
    let description = format!("layer {id} with no time later than SOURCE_DATE_EPOCH={epoch}");
    let new = NewLayer { parent, index, tree: None, created, description };
    let layer = solver.store.put_layer(&solver.lease, new)?;
    if let Some(digests) = &packed.digests {
        layer::note(&solver.store, layer, Packing::STORE, &packed.members, digests)?;
    }
    let record = Record { layer: Some(layer), value: Vec::new(), created };
    let record = solver.store.put_record(&solver.lease, &key, &record, false)?;
    Ok(record.layer.unwrap_or(layer))
}
