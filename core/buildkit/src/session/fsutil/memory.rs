//! The sending side of a directory that is on no disk: one that has a single file, or none.

use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use tonic::{Status, Streaming};

use super::packet::{Packet, PacketKind, Stat, begin_data};
use crate::session::messages::{Gone, MessageSender};

/// Bytes of content of one packet.
const PART: usize = 32 << 10;
/// Permissions of the file: like a temporary one's.
const MODE: u32 = 0o600;

/// A file with its name and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryFile {
    pub(crate) name: String,
    pub(crate) content: Bytes,
}

/// Sends the file, whatever is asked for by patterns, to the receiver at the other end.
pub(crate) async fn send_file(
    file: Option<MemoryFile>,
    mut incoming: Streaming<Bytes>,
    sender: MessageSender,
) -> Result<(), Status> {
    let gone = |_: Gone| Status::cancelled("context canceled");
    let mut tree = Vec::new();
    if let Some(file) = &file {
        let size = i64::try_from(file.content.len()).unwrap_or(i64::MAX);
        // It is like no other of this name that the receiver may have kept.
        let mtime = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default();
        let stat = Stat { path: file.name.clone().into(), mode: MODE, size, mtime, ..Stat::default() };
        Packet::stat(stat).write(&mut tree);
    }
    Packet::last_stat().write(&mut tree);
    sender.send(tree).await.map_err(gone)?;

    let mut waiting = file.as_ref();
    while let Some(message) = incoming.next().await {
        let packet = Packet::decode(message?).map_err(|error| Status::unknown(error.to_string()))?;
        match packet.kind() {
            Some(PacketKind::Request) => {
                let file = waiting.take_if(|_| packet.id == 0);
                let file = file.ok_or_else(|| Status::unknown(format!("invalid file id {}", packet.id)))?;
                for part in file.content.chunks(PART) {
                    let mut message = Vec::with_capacity(part.len() + 64);
                    begin_data(&mut message, 0, part.len());
                    message.extend_from_slice(part);
                    sender.send(message).await.map_err(gone)?;
                }
                let mut end = Vec::new();
                Packet::last_data(0).write(&mut end);
                sender.send(end).await.map_err(gone)?;
            }
            Some(PacketKind::Finish) => {
                let mut finish = Vec::new();
                Packet::finish().write(&mut finish);
                return sender.send(finish).await.map_err(gone);
            }
            Some(PacketKind::Error) => {
                let reason = String::from_utf8_lossy(&packet.data);
                return Err(Status::unknown(format!("error from receiver: {reason}")));
            }
            Some(PacketKind::Stat | PacketKind::Data) | None => {}
        }
    }
    Err(Status::cancelled("context canceled"))
}
