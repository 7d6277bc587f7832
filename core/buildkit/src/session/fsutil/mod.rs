//! fsutil's protocol, by which trees of files travel between a client and BuildKit.
//!
//! The sender sends what it says of every file (a `Stat`), in order: a directory before what it holds, names in a
//! directory by their bytes. A file's number is its place in this sequence. The receiver compares with what it has,
//! and asks by number for the content that it lacks, while the rest of the tree still arrives. Contents come in
//! parts, those of several files interleaved.

mod filter;
mod follow;
mod memory;
mod mode;
mod order;
mod packet;
mod receive;
mod root;
mod send;
mod walk;
mod write;

pub(super) use filter::Filter;
pub(super) use memory::{MemoryFile, send_file};
pub(super) use packet::Packet;
#[cfg(any(test, feature = "fuzz"))]
pub(super) use packet::{PacketKind, Stat};
pub(super) use receive::Receiver;
pub(super) use root::Root;
pub(super) use send::send;

/// What of a tree is wanted, in the patterns of a request.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    /// Paths that are wanted with the links on the way to them, and with what those point to.
    pub(super) follow: Vec<String>,
}

impl Selection {
    /// What is wanted of this directory.
    pub(super) fn filter(&self, root: &Root) -> Result<Filter, String> {
        let mut include = self.include.clone();
        if !self.follow.is_empty()
            && let Some(followed) = follow::follow(root, &self.follow)?
        {
            include.extend(followed);
            include = follow::without_nested(include).unwrap_or_default();
        }
        Filter::new(&include, &self.exclude)
    }
}
