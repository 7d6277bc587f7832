//! `COPY` and `ADD`.

use std::sync::Arc;

use rbx_oci::{Entry, EntryKind};
use rbx_store::{Key, KeyHasher, LayerId, LayerIndex, PreparedTree, Record};

use super::{Built, hash_layers};
use crate::context::{Context, hash_files};
use crate::draft::Draft;
use crate::error::BuildError;
use crate::layer::{self, Item, Origin, Packing, pack};
use crate::plan::{CopyOperation, CopyPaths};
use crate::select::{CopyOptions, Selected, hash_selection, select, selected_files};
use crate::solve::Solver;
use crate::tree::{Node, Tree};

/// What the paths of one part of a copy are looked up in.
pub(crate) enum CopySource {
    Context(Arc<Context>),
    Layers(Vec<LayerId>),
    Nothing,
}

/// Versions of a layer of which each is laid out as the difference to the one before.
const MOST_VERSIONS: usize = 8;

/// Bytes that are not known yet from which on they are hashed and packed in one reading: with so many unknown,
/// a cached result is unlikely.
const COLD_BYTES: u64 = 1 << 20;

impl Solver {
    /// `sources` are those of the parts, in their order.
    pub(crate) fn copy(
        &self,
        copy: &CopyOperation,
        base: &[LayerId],
        sources: &[CopySource],
        fresh: bool,
        name: &str,
    ) -> Result<Built, BuildError> {
        let Unknown { stage_key, parts, options, key } = match self.find_copy(copy, base, sources, fresh)? {
            Looked::Found(built) => return Ok(built),
            Looked::Missing(unknown) => unknown,
        };
        let below = below(copy, base);
        let work = Work { copy, parts: &parts, options: &options, below };
        let (mut items, archives) = self.draft(&work)?;
        let packed =
            pack(&self.store, &mut items, Packing::STORE, self.threads, self.describe, self.cancel.flag())?;
        drop(archives);
        let key = if let Some(key) = key {
            key
        } else {
            for part in &parts {
                part.root.remember(&learn(part.root.tree(), &items));
            }
            let key = content_key(&work)?;
            if let Some(built) = self.find_by_content(&key, stage_key, base, fresh)? {
                return Ok(built);
            }
            key
        };
        let index = LayerIndex { entries: items.into_iter().map(Item::into_index).collect() };
        let site = Self::copy_key("copy site", copy, below).finish();
        let version = self.last_version(&site)?;
        let layer = self.put_packed(version.or(below.last().copied()), index, &packed, name)?;
        let record = Record { layer: Some(layer), value: Vec::new(), created: Self::created_now() };
        self.store.put_record(&self.lease, &site, &record, true)?;
        let keys: Vec<Key> = std::iter::once(key).chain(stage_key).collect();
        self.record(&keys, base, layer, fresh)
    }

    /// Looks for a copy's result: by its definition, then by what it would copy. What is to be copied is hashed for
    /// that, unless so little of it is known that it is better hashed while it is packed.
    pub(crate) fn find_copy(
        &self,
        copy: &CopyOperation,
        base: &[LayerId],
        sources: &[CopySource],
        fresh: bool,
    ) -> Result<Looked, BuildError> {
        let below = below(copy, base);
        let stage_key = Self::stage_key(copy, below, sources);
        if let (Some(key), false) = (&stage_key, fresh)
            && let Some(built) = self.find(key, base)?
        {
            return Ok(Looked::Found(built));
        }

        let owner = copy.owner.as_deref().map(|owner| self.owner(owner, below)).transpose()?;
        let options = CopyOptions {
            owner,
            chmod: copy.chmod.clone(),
            exclude: copy.exclude.clone(),
            parents: copy.parents,
            now: self.now(),
        };
        let opened = copy.parts.iter().zip(sources).map(|(part, source)| {
            let root = match source {
                CopySource::Context(context) => Root::Context(context.clone()),
                CopySource::Layers(layers) => Root::Own(self.readable(layers)?),
                CopySource::Nothing => Root::Own(Tree::default()),
            };
            let selected = match &part.paths {
                CopyPaths::Patterns(paths) => select(root.tree(), paths, &options)?,
                CopyPaths::File(name) => vec![vec![Selected::file(name.as_bytes())]],
            };
            Ok(Part { root, selected, unpack: part.unpack })
        });
        let parts: Vec<Part> = opened.collect::<Result<_, BuildError>>()?;
        let (mut unknown, mut total) = (0, 0);
        for part in &parts {
            for node in selected_files(part.root.tree(), &part.selected, &options)? {
                total += node.entry.size();
                unknown += if node.content.get().is_none() { node.entry.size() } else { 0 };
            }
        }
        let cold = unknown >= COLD_BYTES && unknown * 2 > total && !parts.iter().any(|part| part.unpack);
        if cold && !self.dry {
            return Ok(Looked::Missing(Unknown { stage_key, parts, options, key: None }));
        }
        for part in &parts {
            let files = selected_files(part.root.tree(), &part.selected, &options)?;
            part.root.remember(&hash_files(&self.store, &files, self.threads, self.cancel.flag())?);
        }
        let key = content_key(&Work { copy, parts: &parts, options: &options, below })?;
        Ok(match self.find_by_content(&key, stage_key, base, fresh)? {
            Some(built) => Looked::Found(built),
            None => Looked::Missing(Unknown { stage_key, parts, options, key: Some(key) }),
        })
    }

    /// Looks for a copy's result by what it copies; its definition then leads there, too.
    fn find_by_content(
        &self,
        key: &Key,
        stage_key: Option<Key>,
        base: &[LayerId],
        fresh: bool,
    ) -> Result<Option<Built>, BuildError> {
        match self.find(key, base)? {
            Some(built) if !fresh => self.alias(stage_key, built).map(Some),
            _ => Ok(None),
        }
    }

    /// The key by definition, which there is where nothing comes from a context.
    pub(crate) fn stage_key(copy: &CopyOperation, below: &[LayerId], sources: &[CopySource]) -> Option<Key> {
        let mut hasher = Self::copy_key("copy from layers", copy, below);
        let mut from_layers = false;
        for source in sources {
            match source {
                CopySource::Layers(layers) => {
                    hash_layers(&mut hasher, layers);
                    from_layers = true;
                }
                CopySource::Context(_) => return None,
                CopySource::Nothing => {}
            }
        }
        from_layers.then(|| hasher.finish())
    }

    fn copy_key(domain: &str, copy: &CopyOperation, below: &[LayerId]) -> KeyHasher {
        let mut hasher = Key::hasher(domain);
        copy.hash(&mut hasher);
        hash_layers(&mut hasher, below);
        hasher
    }

    /// The layer that the same instruction made last, if it is laid out as files: the new one is then laid out as the
    /// difference to it. A row of such versions has an end, for each keeps those before it.
    fn last_version(&self, site: &Key) -> Result<Option<LayerId>, BuildError> {
        let Some(Record { layer: Some(last), .. }) = self.store.record(&self.lease, site)? else {
            return Ok(None);
        };
        let mut depth = 0;
        let mut at = Some(last).filter(|&last| self.store.tree(last).is_some());
        let found = at;
        while let Some(version) = at {
            depth += 1;
            at = self.store.tree_base(version)?;
        }
        Ok(found.filter(|_| depth < MOST_VERSIONS))
    }

    /// Lets the definition lead to a result that was found by content.
    fn alias(&self, key: Option<Key>, built: Built) -> Result<Built, BuildError> {
        if let Some(key) = key.filter(|_| !self.dry) {
            let record =
                Record { layer: built.layers.last().copied(), value: Vec::new(), created: built.created };
            self.store.put_record(&self.lease, &key, &record, true)?;
        }
        Ok(built)
    }

    /// The entries of the layer, and the trees that unpacked archives are read from.
    fn draft(&self, work: &Work<'_>) -> Result<(Vec<Item>, Vec<PreparedTree>), BuildError> {
        let below = self.entries(work.below)?;
        let mut draft = Draft::new(&below, work.options);
        let mut archives = Vec::new();
        for part in work.parts {
            let tree = part.root.tree();
            for selected in &part.selected {
                let mut plain = Vec::new();
                for one in selected {
                    let file = tree.get(&one.path).filter(|_| part.unpack).and_then(Node::source);
                    match file.map(|source| self.unpack(&source, &one.path)).transpose()?.flatten() {
                        Some((prepared, tree)) => {
                            draft.extract(&tree, &work.copy.destination)?;
                            archives.push(prepared);
                        }
                        None => plain.push(one),
                    }
                }
                draft.copy(tree, plain, &work.copy.destination)?;
            }
        }
        for (name, content) in &work.copy.inline {
            let (tree, selected) = inline_file(name, content, self.now());
            draft.copy(&tree, [&selected], &work.copy.destination)?;
        }
        Ok((draft.finish(), archives))
    }

    /// Unpacks a file if it is an archive.
    fn unpack(
        &self,
        source: &layer::Source,
        path: &[u8],
    ) -> Result<Option<(PreparedTree, Tree)>, BuildError> {
        let failed = |error: std::io::Error| {
            BuildError::invalid(format!("{error}: failed to read /{}", String::from_utf8_lossy(path)))
        };
        if !layer::is_archive(source.open().map_err(failed)?) {
            return Ok(None);
        }
        let name = format!("/{}", String::from_utf8_lossy(path));
        let unpacked = layer::unpack(&self.store, source.open().map_err(failed)?, &name)?;
        let (prepared, index) = unpacked.settle(&Tree::default())?;
        let origin = Origin::directory(prepared.fs()).map_err(failed)?;
        Ok(Some((prepared, Tree::from_layers([(&index, Some(origin))]))))
    }
}

/// What came of looking for a copy's result.
pub(crate) enum Looked {
    Found(Built),
    Missing(Unknown),
}

/// A copy whose result is not in the store, with all that was found out in looking for it.
pub(crate) struct Unknown {
    /// The key by definition.
    stage_key: Option<Key>,
    parts: Vec<Part>,
    options: CopyOptions,
    /// The key by content, if that was hashed.
    key: Option<Key>,
}

/// What a copy lies on, as far as it looks at that: a linked layer does not.
fn below<'a>(copy: &CopyOperation, base: &'a [LayerId]) -> &'a [LayerId] {
    if copy.link { &[] } else { base }
}

/// The key by content. The digest of every file must be known.
fn content_key(work: &Work<'_>) -> Result<Key, BuildError> {
    let mut hasher = Solver::copy_key("copy content", work.copy, work.below);
    for part in work.parts {
        hash_selection(&mut hasher, part.root.tree(), &part.selected, work.options)?;
    }
    Ok(hasher.finish())
}

/// One copy, its sources and what it lies on.
struct Work<'a> {
    copy: &'a CopyOperation,
    parts: &'a [Part],
    options: &'a CopyOptions,
    below: &'a [LayerId],
}

/// What one part of a copy means in its source.
struct Part {
    root: Root,
    selected: Vec<Vec<Selected>>,
    unpack: bool,
}

/// The file system that paths are looked up in.
enum Root {
    Context(Arc<Context>),
    Own(Tree),
}

impl Root {
    fn tree(&self) -> &Tree {
        match self {
            Self::Context(context) => context.tree(),
            Self::Own(tree) => tree,
        }
    }

    fn remember(&self, read: &[Vec<u8>]) {
        if let Self::Context(context) = self {
            context.remember(read);
        }
    }
}

/// Gives the source's files the digests that packing them told; answers the paths.
fn learn(tree: &Tree, items: &[Item]) -> Vec<Vec<u8>> {
    let mut learned = Vec::new();
    for item in items {
        if let (Some(source), Some(content)) = (&item.source, item.content)
            && let Some(node) = tree.get(&source.path)
            && node.origin.as_ref().is_some_and(|origin| origin.is(&source.origin))
            && node.content.set(content).is_ok()
        {
            learned.push(source.path.clone());
        }
    }
    learned
}

/// A file system that holds one file written in the Dockerfile.
fn inline_file(name: &str, content: &str, mtime: i64) -> (Tree, Selected) {
    let path = crate::tree::clean(name.as_bytes());
    let kind = EntryKind::File { size: content.len() as u64 };
    let mut node = Node::new(Entry { mode: 0o644, mtime, ..Entry::new(path.clone(), kind) });
    node.origin = Some(Origin::Inline(Arc::from(content.as_bytes())));
    let selected = Selected::file(&path);
    (Tree::from_sorted(vec![node]), selected)
}
