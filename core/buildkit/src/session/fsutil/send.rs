//! The sending side: the tree, and the content of those files that the receiver asks for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use prost::Message;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::filter::Filter;
use super::mode::kind;
use super::packet::{Packet, PacketKind, begin_data};
use super::root::{Root, go_error, join, split};
use super::walk::walk;
use crate::session::messages::{Gone, MessageSender};

/// Files that are read at the same time.
const READERS: usize = 4;
/// Files of a tree, at most. What is kept of each is its name and 16 bytes.
const MAX_FILES: usize = 1 << 28;
/// Bytes of content that are sent at once, at most.
const BLOCK: usize = 128 << 10;
/// Bytes of a tree that are sent at once, about.
const STATS: usize = 16 << 10;
/// Bytes of content for which a packet is begun in a block, at least, where a file has as many.
const LEAST: usize = 4 << 10;

/// Room in a block for what stands before and after the content of a file.
const HEADS: usize = 64;

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("error from receiver: {0}")]
    Receiver(String),
    #[error("{0}")]
    Failed(String),
}

impl From<String> for Stopped {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// Sends what a filter keeps of a directory to the receiver at the other end. The content of a file is read when it
/// is asked for, and not before.
pub(crate) async fn send(
    root: Arc<Root>,
    filter: Filter,
    incoming: Streaming<Bytes>,
    sender: MessageSender,
) -> Result<(), Status> {
    let transfer = Arc::new(Transfer {
        root,
        sender: sender.clone(),
        table: Mutex::default(),
        requests: Mutex::default(),
    });
    let stopped = match transfer.run(filter, incoming).await {
        Ok(()) => return Ok(()),
        Err(stopped) => stopped,
    };
    match stopped {
        Stopped::Gone(_) => Err(Status::cancelled("context canceled")),
        Stopped::Receiver(_) => Err(Status::unknown(stopped.to_string())),
        Stopped::Failed(reason) => {
            let mut message = Vec::new();
            Packet::error(&reason).write(&mut message);
            let _ = sender.send(message).await;
            Err(Status::unknown(reason))
        }
    }
}

struct Transfer {
    root: Arc<Root>,
    sender: MessageSender,
    table: Mutex<Table>,
    requests: Mutex<Requests>,
}

/// Files whose content is wanted.
#[derive(Default)]
struct Requests {
    waiting: VecDeque<u32>,
    /// Threads that read them.
    readers: usize,
}

/// What the other side said.
enum Said {
    Wants(u32),
    HasAll,
    Nothing,
}

impl Transfer {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: &Arc<Self>, filter: Filter, mut incoming: Streaming<Bytes>) -> Result<(), Stopped> {
        let mut tasks = JoinSet::new();
        let transfer = self.clone();
        tasks.spawn_blocking(move || transfer.tree(&filter));
        loop {
            let mut message = tokio::select! {
                message = incoming.next() => Some(message),
                Some(ended) = tasks.join_next() => {
                    ended.map_err(|error| Stopped::Failed(error.to_string()))??;
                    continue;
                }
            };
            let mut wanted = Vec::new();
            // All that has arrived is taken at once.
            while let Some(next) = message {
                match self.hear(next)? {
                    Said::Wants(id) => wanted.push(id),
                    Said::HasAll => {
                        let mut finish = Vec::new();
                        Packet::finish().write(&mut finish);
                        return Ok(self.sender.send(finish).await?);
                    }
                    Said::Nothing => {}
                }
                message = incoming.next().now_or_never();
            }
            for _ in 0..self.want(wanted) {
                let transfer = self.clone();
                tasks.spawn_blocking(move || transfer.contents());
            }
        }
    }

    /// Notes that files are wanted. Answers how many readers to start.
    fn want(&self, ids: Vec<u32>) -> usize {
        let mut requests = self.requests();
        requests.waiting.extend(ids);
        let more = requests.waiting.len().min(READERS - requests.readers);
        requests.readers += more;
        more
    }

    fn hear(&self, message: Option<Result<Bytes, Status>>) -> Result<Said, Stopped> {
        let Some(Ok(message)) = message else { return Err(Gone.into()) };
        let packet = Packet::decode(message).map_err(|error| Stopped::Failed(error.to_string()))?;
        match packet.kind() {
            Some(PacketKind::Request) if self.table().claim(packet.id) => Ok(Said::Wants(packet.id)),
            Some(PacketKind::Request) => Err(format!("invalid file id {}", packet.id).into()),
            Some(PacketKind::Finish) => Ok(Said::HasAll),
            Some(PacketKind::Error) => {
                Err(Stopped::Receiver(String::from_utf8_lossy(&packet.data).into_owned()))
            }
            Some(PacketKind::Stat | PacketKind::Data) | None => Ok(Said::Nothing),
        }
    }

    /// Sends the tree.
    fn tree(&self, filter: &Filter) -> Result<(), Stopped> {
        let mut block = Vec::with_capacity(STATS + 1024);
        walk(&self.root, filter, |stat| {
            // Before it can be asked for.
            self.table().push(&stat.path, kind(stat.mode) == FileType::RegularFile)?;
            Packet::stat(stat).write(&mut block);
            if block.len() >= STATS {
                self.sender.blocking_send(std::mem::replace(&mut block, Vec::with_capacity(STATS + 1024)))?;
            }
            Ok::<_, Stopped>(())
        })?;
        Packet::last_stat().write(&mut block);
        Ok(self.sender.blocking_send(block)?)
    }

    /// Sends the content of files as long as any is wanted.
    fn contents(&self) -> Result<(), Stopped> {
        let mut block = Block { sender: &self.sender, messages: Vec::new() };
        loop {
            let mut requests = self.requests();
            if let Some(id) = requests.waiting.pop_front() {
                drop(requests);
                self.content(id, &mut block)?;
            } else if block.messages.is_empty() {
                requests.readers -= 1;
                return Ok(());
            } else {
                drop(requests);
                block.flush()?;
            }
        }
    }

    fn content(&self, id: u32, block: &mut Block<'_>) -> Result<(), Stopped> {
        let path = self.table().path(id);
        let failed = |operation, error: Errno| go_error(operation, &self.root.shown(&path), &error.into());
        let changed = || format!("file changed while it was sent: {}", self.root.shown(&path).display());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.root.open_beneath(&path, flags) {
            Ok(file) => file,
            // A socket, which is sent as an empty file.
            Err(Errno::NXIO) => return block.end(id),
            Err(Errno::LOOP) => return Err(changed().into()),
            Err(error) => return Err(failed("open", error).into()),
        };
        let before = rustix::fs::fstat(&file).map_err(|error| failed("fstat", error))?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Err(changed().into());
        }
        let size = u64::try_from(before.st_size).unwrap_or(0);
        let mut sent = 0;
        while sent < size {
            let room = block.room()?;
            let length = usize::try_from(size - sent).map_or(room, |left| left.min(room));
            begin_data(&mut block.messages, id, length);
            let end = block.messages.len() + length;
            while block.messages.len() < end {
                let missing = (end - block.messages.len()) as u64;
                let offset = sent + length as u64 - missing;
                match rustix::io::pread(&file, spare_capacity(&mut block.messages), offset) {
                    Ok(0) => return Err(changed().into()),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(failed("read", error).into()),
                }
            }
            block.messages.truncate(end);
            sent += length as u64;
        }
        if size > 0 {
            let after = rustix::fs::fstat(&file).map_err(|error| failed("fstat", error))?;
            let moved = (after.st_mtime, after.st_mtime_nsec) != (before.st_mtime, before.st_mtime_nsec);
            // What was added at the end is for the next time; what was there has been sent.
            if moved && after.st_size <= before.st_size {
                return Err(changed().into());
            }
        } else {
            // Some files have content and do not say how much, such as those of /proc.
            let mut part = Vec::with_capacity(LEAST);
            loop {
                match rustix::io::read(&file, spare_capacity(&mut part)) {
                    Ok(0) => break,
                    Ok(_) => {
                        block.room()?;
                        begin_data(&mut block.messages, id, part.len());
                        block.messages.append(&mut part);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(failed("read", error).into()),
                }
            }
        }
        block.end(id)
    }
}

/// Messages on their way out.
struct Block<'a> {
    sender: &'a MessageSender,
    messages: Vec<u8>,
}

impl Block<'_> {
    fn flush(&mut self) -> Result<(), Gone> {
        self.sender.blocking_send(std::mem::take(&mut self.messages))
    }

    /// How many bytes of content fit, after making room.
    fn room(&mut self) -> Result<usize, Gone> {
        let room = |messages: &Vec<u8>| (messages.capacity() - messages.len()).saturating_sub(HEADS);
        if room(&self.messages) < LEAST && !self.messages.is_empty() {
            self.flush()?;
        }
        if self.messages.is_empty() {
            self.messages = Vec::with_capacity(BLOCK + HEADS);
        }
        Ok(room(&self.messages).min(BLOCK))
    }

    /// Says that a file's content is complete.
    fn end(&mut self, id: u32) -> Result<(), Stopped> {
        self.room()?;
        Packet::last_data(id).write(&mut self.messages);
        Ok(())
    }
}

/// The files of a tree, by the number that the protocol gives them.
#[derive(Default)]
struct Table {
    /// All names, one after the other.
    names: Vec<u8>,
    /// Directories, most of them once.
    directories: Vec<Box<[u8]>>,
    files: Vec<TableFile>,
}

struct TableFile {
    /// Where in `names` its name begins.
    name: usize,
    length: u16,
    /// It has content that was not asked for.
    claimable: bool,
    directory: u32,
}

impl Table {
    fn push(&mut self, path: &[u8], has_content: bool) -> Result<(), String> {
        if self.files.len() == MAX_FILES {
            return Err(format!("too many files: more than {MAX_FILES}"));
        }
        let mut file = TableFile { name: self.names.len(), length: 0, claimable: has_content, directory: 0 };
        if has_content {
            let (directory, name) = split(path);
            if self.directories.last().is_none_or(|last| **last != *directory) {
                self.directories.push(directory.into());
            }
            file.length = u16::try_from(name.len()).map_err(|_| "a file's name is too long".to_owned())?;
            file.directory = u32::try_from(self.directories.len() - 1).expect("bounded by the files");
            self.names.extend_from_slice(name);
        }
        self.files.push(file);
        Ok(())
    }

    /// Whether a file can be asked for: once, if it has content.
    fn claim(&mut self, id: u32) -> bool {
        let file = usize::try_from(id).ok().and_then(|id| self.files.get_mut(id));
        file.is_some_and(|file| std::mem::take(&mut file.claimable))
    }

    /// The path of a file that was claimed.
    fn path(&self, id: u32) -> Vec<u8> {
        let file = &self.files[id as usize];
        let name = &self.names[file.name..file.name + usize::from(file.length)];
        join(&self.directories[file.directory as usize], name)
    }
}
