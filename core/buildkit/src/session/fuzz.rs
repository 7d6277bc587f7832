//! The way of a hostile daemon's files to a directory, with no connection around it: for the fuzz targets only.

use std::path::Path;

use prost::Message;

use super::fsutil::{Packet, Receiver, Root, Stat};

/// Writes what these messages send below a directory, with or without removing what is not among them. Answers the
/// numbers of the files that were asked for, and whether the tree was complete; or why it ended early.
pub fn receive(
    directory: &Path,
    delete: bool,
    messages: impl IntoIterator<Item = Vec<u8>>,
) -> Result<(Vec<u32>, bool), String> {
    let root = Root::open(directory).map_err(|error| error.to_string())?;
    let mut receiver = Receiver::new(root, delete);
    let mut answers = Vec::new();
    for message in messages {
        receiver.message(message.into(), &mut answers)?;
    }
    let mut asked = Vec::new();
    let mut complete = false;
    let mut rest = &*answers;
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, tail) = tail.split_at(length);
        let packet = Packet::decode(message).map_err(|error| error.to_string())?;
        match packet.kind() {
            Some(super::fsutil::PacketKind::Finish) => complete = true,
            _ => asked.push(packet.id),
        }
        rest = tail;
    }
    Ok((asked, complete))
}

/// A message that says what there is at a path: its mode is Go's, and `link` what it is a link to.
pub fn stat(path: &[u8], mode: u32, link: &[u8]) -> Vec<u8> {
    Packet::stat(Stat { path: path.to_vec(), mode, link: link.to_vec(), ..Stat::default() }).encode_to_vec()
}

/// A message with a part of a file's content; an empty one ends it.
pub fn data(id: u32, content: &[u8]) -> Vec<u8> {
    let mut packet = Packet::last_data(id);
    packet.data = content.to_vec().into();
    packet.encode_to_vec()
}

/// The message after the last file.
pub fn last_stat() -> Vec<u8> {
    Packet::last_stat().encode_to_vec()
}

/// The message by which a sender agrees that all is done.
pub fn finish() -> Vec<u8> {
    Packet::finish().encode_to_vec()
}
