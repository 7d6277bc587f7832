//! The packets of fsutil's protocol.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};

use crate::session::messages::begin_message;

/// What a packet is about. Numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketKind {
    /// A file of the tree, in order; without one: that was all.
    Stat = 0,
    /// The receiver wants the content of a file.
    Request = 1,
    /// A part of a file's content; an empty one ends it.
    Data = 2,
    /// The receiver has all it wants; the sender says it back.
    Finish = 3,
    /// Something failed.
    Error = 4,
}

/// One message of the protocol. Texts are bytes: names of files are not always UTF-8.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Packet {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) stat: Option<Stat>,
    /// Which file: its place among the files of the tree, from 0.
    #[prost(uint32, tag = "3")]
    pub(crate) id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
}

/// A file of a tree.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stat {
    /// Relative to the root, with `/` between names.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) path: Vec<u8>,
    /// Type and permissions, as Go's `os.FileMode`.
    #[prost(uint32, tag = "2")]
    pub(crate) mode: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) gid: u32,
    #[prost(int64, tag = "5")]
    pub(crate) size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(crate) mtime: i64,
    /// Where a symbolic link points; of other files, the path of the file that this is another name of.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) link: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub(crate) device_major: i64,
    #[prost(int64, tag = "9")]
    pub(crate) device_minor: i64,
    #[prost(message, repeated, tag = "10")]
    pub(crate) xattrs: Vec<Xattr>,
}

/// An extended attribute: an entry of the protocol's map.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Xattr {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Packet {
    fn of(kind: PacketKind) -> Self {
        Self { kind: kind as i32, ..Self::default() }
    }

    pub(crate) fn stat(stat: Stat) -> Self {
        Self { stat: Some(stat), ..Self::of(PacketKind::Stat) }
    }

    /// There are no more files.
    pub(crate) fn last_stat() -> Self {
        Self::of(PacketKind::Stat)
    }

    pub(crate) fn request(id: u32) -> Self {
        Self { id, ..Self::of(PacketKind::Request) }
    }

    /// There is no more of a file's content.
    pub(crate) fn last_data(id: u32) -> Self {
        Self { id, ..Self::of(PacketKind::Data) }
    }

    pub(crate) fn finish() -> Self {
        Self::of(PacketKind::Finish)
    }

    pub(crate) fn error(reason: &str) -> Self {
        Self { data: Bytes::copy_from_slice(reason.as_bytes()), ..Self::of(PacketKind::Error) }
    }

    /// `None` if it is of a kind that this protocol does not have, and therefore means nothing.
    pub(crate) fn kind(&self) -> Option<PacketKind> {
        Some(match self.kind {
            0 => PacketKind::Stat,
            1 => PacketKind::Request,
            2 => PacketKind::Data,
            3 => PacketKind::Finish,
            4 => PacketKind::Error,
            _ => return None,
        })
    }

    /// Adds the packet as a gRPC message.
    pub(crate) fn write(&self, messages: &mut Vec<u8>) {
        begin_message(messages, self.encoded_len());
        self.encode(messages).expect("a vector grows as needed");
    }
}

/// Begins a packet with `length` bytes of a file's content, which have to follow.
pub(crate) fn begin_data(messages: &mut Vec<u8>, id: u32, length: usize) {
    let head = Packet::last_data(id);
    let size = key_len(4) + encoded_len_varint(length as u64) + length;
    begin_message(messages, head.encoded_len() + size);
    head.encode(messages).expect("a vector grows as needed");
    prost::encoding::encode_key(4, prost::encoding::WireType::LengthDelimited, messages);
    prost::encoding::encode_varint(length as u64, messages);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::fsutil;

    #[test]
    fn packets_are_those_of_the_protocol() {
        let stat = Stat {
            path: b"a/b".to_vec(),
            mode: 0o644,
            uid: 1,
            gid: 2,
            size: -3,
            mtime: 1_580_688_000_000_000_001,
            link: b"a/a".to_vec(),
            device_major: 4,
            device_minor: 5,
            xattrs: vec![Xattr { name: b"user.x".to_vec(), value: vec![0, 255] }],
        };
        let theirs = fsutil::Stat {
            path: "a/b".to_owned(),
            mode: 0o644,
            uid: 1,
            gid: 2,
            size: -3,
            mod_time: 1_580_688_000_000_000_001,
            linkname: "a/a".to_owned(),
            devmajor: 4,
            devminor: 5,
            xattrs: [("user.x".to_owned(), vec![0, 255])].into(),
        };
        let packet =
            |kind, id, data: &[u8], stat| fsutil::Packet { r#type: kind, stat, id, data: data.to_vec() };
        for (ours, theirs) in [
            (Packet::stat(stat), packet(0, 0, b"", Some(theirs))),
            (Packet::last_stat(), packet(0, 0, b"", None)),
            (Packet::request(300), packet(1, 300, b"", None)),
            (Packet::last_data(7), packet(2, 7, b"", None)),
            (Packet::finish(), packet(3, 0, b"", None)),
            (Packet::error("no"), packet(4, 0, b"no", None)),
        ] {
            assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
            assert_eq!(Packet::decode(&*theirs.encode_to_vec()).unwrap(), ours);
        }
        for id in [0, 5, u32::MAX] {
            let mut messages = Vec::new();
            begin_data(&mut messages, id, 3);
            messages.extend_from_slice(b"abc");
            let message = packet(2, id, b"abc", None).encode_to_vec();
            assert_eq!(messages[..5], [&[0, 0, 0, 0][..], &[u8::try_from(message.len()).unwrap()]].concat());
            assert_eq!(messages[5..], message);
        }
    }
}
