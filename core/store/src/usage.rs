//! What the store has and what that takes, as a list for people.
//!
//! A record is what is removed as a whole: a layer with its tree, its index and its pieces, an image's name with its
//! metadata, a directory that steps mount. What several of them share counts with the one that would go last; so the
//! records' sizes add up to what the store takes on disk.

use std::path::Path;

use crate::graph::{Graph, Node, What};
use crate::leases::{names_in, sweep};
use crate::sweep::{Horizon, disk_bytes, tree_bytes};
use crate::{Key, LayerId, Store, StoreError};

/// What kind of thing a record is, in `BuildKit`'s words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageType {
    /// Results of steps, images.
    Regular,
    /// What the store keeps for itself.
    Internal,
    /// Files of a build context.
    LocalSource,
    /// Files of a git repository.
    GitCheckout,
    /// A directory that steps mount and keep things in.
    CacheMount,
}

impl UsageType {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Internal => "internal",
            Self::LocalSource => "source.local",
            Self::GitCheckout => "source.git.checkout",
            Self::CacheMount => "exec.cachemount",
        }
    }

    /// The kind of that name.
    pub(crate) fn of(name: &str) -> Self {
        let kinds = [Self::Internal, Self::LocalSource, Self::GitCheckout, Self::CacheMount];
        kinds.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Regular)
    }
}

/// One thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Its name.
    pub id: String,
    /// What kind of thing it is.
    pub kind: UsageType,
    /// What it is, for people.
    pub description: String,
    /// The records that it needs.
    pub parents: Vec<String>,
    /// When it came into the store: nanoseconds since 1970.
    pub created: i64,
    /// When it was last used: nanoseconds since 1970.
    pub last_used: i64,
    /// How many builds have used it; of an image, in how many minutes its name was looked up.
    pub uses: u64,
    /// Space on disk, in bytes.
    pub size: u64,
    /// Whether its content changes.
    pub mutable: bool,
    /// Whether somebody uses it now, or something that needs it. Then it is not removed.
    pub in_use: bool,
    /// Whether a built image holds it, or it is one.
    pub shared: bool,
}

/// The names of records that stand for many small things.
const PIECES: &str = "pieces";
const PIECES_IN_USE: &str = "pieces-in-use";
pub(crate) const LEFTOVERS: &str = "leftovers";
const UNFINISHED: &str = "unfinished";
/// The name of the record of what the store needs to be one.
pub(crate) const STORE: &str = "store";

impl Store {
    /// Lists everything in the store, the smallest first.
    pub fn disk_usage(&self) -> Result<Vec<UsageRecord>, StoreError> {
        let live = sweep(&self.inner)?;
        let graph = Graph::read(self, &Horizon::of(&live))?;
        let listing = Listing::of(&graph);
        let mut records: Vec<UsageRecord> = (0..graph.nodes.len())
            .filter(|&number| listing.is_listed(number))
            .map(|number| listing.record(number))
            .collect();
        records.extend(listing.pieces());
        let fixed = [
            (LEFTOVERS, self.leftover_bytes(&graph)?, false),
            (UNFINISHED, self.unfinished_bytes()?, true),
            (STORE, self.own_bytes()?, true),
        ];
        for (id, size, in_use) in fixed {
            if size > 0 {
                records.push(internal(id, size, in_use, crate::store::now()));
            }
        }
        records.sort_by(|a, b| (a.size, &a.id).cmp(&(b.size, &b.id)));
        Ok(records)
    }

    /// Space that files and trees without a record take.
    fn leftover_bytes(&self, graph: &Graph) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for (directory, what) in [
            ("layers", layer as fn(&str) -> Option<What>),
            ("trees", layer),
            ("blobs/sha256", |name| Some(What::Blob(hex::decode(name).ok()?.try_into().ok()?))),
            ("caches", |name| Some(What::Cache(name.parse().ok()?))),
        ] {
            let directory = self.inner.v1.join(directory);
            for name in names_in(&directory)? {
                if what(&name).is_none_or(|what| graph.get(&what).is_none()) {
                    bytes += tree_bytes(&directory.join(name));
                }
            }
        }
        Ok(bytes)
    }

    fn unfinished_bytes(&self) -> Result<u64, StoreError> {
        let directory = self.inner.v1.join("tmp");
        Ok(names_in(&directory)?.iter().map(|name| tree_bytes(&directory.join(name))).sum())
    }

    /// Space of the database and of directories that are always there.
    fn own_bytes(&self) -> Result<u64, StoreError> {
        let v1 = &self.inner.v1;
        let of = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |metadata| disk_bytes(&metadata));
        let mut bytes = of(self.root()) + of(v1) + of(&v1.join("blobs/sha256"));
        for name in names_in(v1)? {
            bytes += of(&v1.join(name));
        }
        for directory in ["members", "leases"] {
            for name in names_in(&v1.join(directory))? {
                bytes += of(&v1.join(directory).join(name));
            }
        }
        Ok(bytes)
    }
}

fn layer(name: &str) -> Option<What> {
    Some(What::Layer(name.parse::<LayerId>().ok()?))
}

/// A record that stands for many things.
pub(crate) fn internal(id: &str, size: u64, in_use: bool, now: i64) -> UsageRecord {
    let description = match id {
        PIECES | PIECES_IN_USE => "pieces of no layer",
        LEFTOVERS => "left behind by processes that were killed",
        UNFINISHED => "being written by running builds",
        _ => "records and directories of the store",
    };
    UsageRecord {
        id: id.to_owned(),
        kind: UsageType::Internal,
        description: description.to_owned(),
        parents: Vec::new(),
        created: now,
        last_used: now,
        uses: 1,
        size,
        mutable: true,
        in_use,
        shared: false,
    }
}

/// What is said of the nodes of a graph.
pub(crate) struct Listing<'a> {
    graph: &'a Graph,
    in_use: Vec<bool>,
    shared: Vec<bool>,
    /// With the parts that count with it.
    sizes: Vec<u64>,
}

impl<'a> Listing<'a> {
    pub(crate) fn of(graph: &'a Graph) -> Self {
        let mut sizes: Vec<u64> = graph.nodes.iter().map(|node| node.bytes).collect();
        for removal in graph.removals(|_| true) {
            sizes[removal.number] = removal.bytes;
        }
        Self {
            graph,
            in_use: graph.reached(|node| node.pinned),
            shared: graph.reached(|node| node.built.is_some()),
            sizes,
        }
    }

    /// Whether a node is a record of its own. Parts that nothing holds are, if they are blobs.
    fn is_listed(&self, number: usize) -> bool {
        match self.graph.nodes[number].what {
            What::Record(_) | What::Member(_) => false,
            What::Blob(_) => self.graph.is_free(number),
            _ => true,
        }
    }

    pub(crate) fn record(&self, number: usize) -> UsageRecord {
        let node = &self.graph.nodes[number];
        let parents = node.holds.iter().map(|&held| &self.graph.nodes[held]);
        let description = match &node.what {
            What::Blob(digest) => format!("blob {}", rbx_oci::Digest::from_bytes(*digest)),
            What::Member(_) => internal(PIECES, 0, false, 0).description,
            _ => node.description.clone(),
        };
        UsageRecord {
            id: id(&node.what),
            kind: node.kind,
            description,
            parents: parents.filter(|held| !held.what.is_part()).map(|held| id(&held.what)).collect(),
            created: node.created,
            last_used: node.last_used,
            uses: node.uses.max(1),
            size: self.sizes[number],
            mutable: matches!(node.what, What::Cache(_) | What::StatCache(_)),
            in_use: self.in_use[number],
            shared: self.shared[number],
        }
    }

    /// Members that are on no layer's list, as two records: those that can go and those that cannot.
    fn pieces(&self) -> impl Iterator<Item = UsageRecord> {
        [false, true].into_iter().filter_map(|in_use| {
            let of = |&number: &usize| {
                matches!(self.graph.nodes[number].what, What::Member(_))
                    && self.graph.is_free(number)
                    && self.in_use[number] == in_use
            };
            let nodes: Vec<&Node> =
                (0..self.graph.nodes.len()).filter(of).map(|number| &self.graph.nodes[number]).collect();
            let last_used = nodes.iter().map(|node| node.last_used).max()?;
            let size = nodes.iter().map(|node| node.bytes).sum();
            let name = if in_use { PIECES_IN_USE } else { PIECES };
            Some(UsageRecord {
                kind: UsageType::Regular,
                mutable: false,
                ..internal(name, size, in_use, last_used)
            })
        })
    }
}

/// What a thing is called in lists.
fn id(what: &What) -> String {
    let mut id = match what {
        What::Image(name) => Key::hasher("image").field(name).finish().to_string(),
        What::Record(key) => hex::encode(key),
        What::Layer(id) => id.to_string(),
        What::Cache(id) => id.to_string(),
        What::StatCache(name) => name.clone(),
        What::Blob(digest) => hex::encode(digest),
        What::Member(_) => PIECES.to_owned(),
    };
    id.truncate(32);
    id
}
