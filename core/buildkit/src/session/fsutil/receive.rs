//! The receiving side, for exports: it writes a tree below a directory and asks for all contents.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use rustix::fs::FileType;

use super::mode::kind;
use super::order::{Order, is_plain};
use super::packet::{Packet, PacketKind, Stat};
use super::root::Root;
use super::write::{Part, Writer};

/// Files that are asked for and not complete, at most: each may be open.
const OPEN: usize = 64;

/// Writes what one sender sends. Whatever arrives, nothing outside the directory is touched, and memory is bounded.
#[derive(Debug)]
pub(crate) struct Receiver {
    writer: Writer,
    order: Order,
    /// The number of the next file of the tree.
    next: u32,
    /// Files to ask for.
    waiting: VecDeque<(u32, Stat)>,
    /// Files that were asked for.
    parts: HashMap<u32, Part>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The tree arrives.
    Tree,
    /// The tree is known, contents are missing.
    Contents,
    /// Everything is written, and the sender was told.
    Written,
    /// The sender has agreed.
    Done,
}

impl Receiver {
    /// With `delete`, what is in the directory and not in the tree is removed in the end.
    pub(crate) fn new(root: Root, delete: bool) -> Self {
        Self {
            writer: Writer::new(root, delete),
            order: Order::new(),
            next: 0,
            waiting: VecDeque::new(),
            parts: HashMap::new(),
            state: State::Tree,
        }
    }

    /// The transfer is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next message, and adds to `answers` what is to be sent. After an error, nothing may be taken.
    pub(crate) fn message(&mut self, message: Bytes, answers: &mut Vec<u8>) -> Result<(), String> {
        let packet = Packet::decode(message).map_err(|error| error.to_string())?;
        match packet.kind() {
            Some(PacketKind::Stat) if self.state == State::Tree => match packet.stat {
                Some(stat) => self.stat(stat)?,
                None => self.state = State::Contents,
            },
            Some(PacketKind::Stat) => return Err("more files after the last one".to_owned()),
            Some(PacketKind::Data) => self.data(packet.id, &packet.data)?,
            Some(PacketKind::Finish) if self.state == State::Written => self.state = State::Done,
            Some(PacketKind::Finish) => return Err("the sender ended the transfer too early".to_owned()),
            Some(PacketKind::Error) => {
                return Err(format!("error from sender: {}", String::from_utf8_lossy(&packet.data)));
            }
            Some(PacketKind::Request) | None => {}
        }
        while self.parts.len() < OPEN
            && let Some((id, stat)) = self.waiting.pop_front()
        {
            Packet::request(id).write(answers);
            self.parts.insert(id, Part::new(stat));
        }
        if self.state == State::Contents && self.parts.is_empty() {
            self.writer.finish()?;
            self.state = State::Written;
            Packet::finish().write(answers);
        }
        Ok(())
    }

    fn stat(&mut self, stat: Stat) -> Result<(), String> {
        let id = self.next;
        self.next = id.checked_add(1).ok_or("too many files")?;
        let kind = kind(stat.mode);
        self.order.next(&stat.path, kind == FileType::Directory)?;
        if !matches!(kind, FileType::Directory | FileType::Symlink)
            && !stat.link.is_empty()
            && !is_plain(&stat.link)
        {
            let [path, link] = [&stat.path, &stat.link].map(|path| String::from_utf8_lossy(path));
            return Err(format!("invalid link {path} to unknown path: {link:?}"));
        }
        if let Some(stat) = self.writer.entry(stat)? {
            self.waiting.push_back((id, stat));
        }
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), String> {
        let Some(part) = self.parts.get_mut(&id) else { return Err(format!("invalid file request {id}")) };
        if !data.is_empty() {
            return self.writer.write(part, data);
        }
        match self.parts.remove(&id) {
            Some(part) => self.writer.complete(part),
            None => Ok(()),
        }
    }
}
