//! Headers, byte for byte as Go's `archive/tar` writes them with `Format: PAX`, which is how containerd and BuildKit
//! write layers: a plain ustar header where that can hold everything, and a PAX extension before it where not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{BLOCK, OPAQUE_MARKER, WHITEOUT_PREFIX, XATTR_PREFIX, checksum, field};
use crate::entry::{Entry, EntryKind, split_path};

/// What ends an archive: two blocks of zeros.
pub const TRAILER: [u8; 1024] = [0; 1024];

/// How many zeros follow content of `size` bytes, up to the end of its last block.
#[expect(clippy::cast_possible_truncation, reason = "less than a block")]
pub const fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// Appends the header of `entry` to `out`. The content of a file and its [`padding`] follow it.
///
/// Names of users and groups stay empty and times are whole seconds. A whiteout or an opaque marker becomes an
/// empty file without owner, permissions and time, whatever the entry says of those. The root is written as `./`.
/// Extended attributes whose name holds `=` cannot be written in this format and are left out; device numbers are
/// cut to the 21 bits that fit.
pub fn write_header(out: &mut Vec<u8>, entry: &Entry) {
    let header = Header::of(entry);
    let records = header.records(entry);
    let split = header.split_name();
    // A name that can be split needs no record by itself, but gets one beside others.
    let needless = usize::from(split.is_some());
    if records.len() > needless {
        write_extension(out, &header.name, &records);
        header.write(out, b"", &ascii(&header.name), &ascii(header.link));
    } else {
        let (prefix, name) = split.unwrap_or((b"", &header.name));
        header.write(out, prefix, name, header.link);
    }
}

/// What the fields of a header are to hold, before it is known whether they can.
struct Header<'a> {
    name: Cow<'a, [u8]>,
    link: &'a [u8],
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    major: u32,
    minor: u32,
}

impl<'a> Header<'a> {
    fn of(entry: &'a Entry) -> Header<'a> {
        let mut header = Header {
            name: Cow::Borrowed(&entry.path),
            link: b"",
            kind: b'0',
            mode: entry.mode & 0o7777,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size(),
            mtime: entry.mtime,
            major: 0,
            minor: 0,
        };
        match &entry.kind {
            EntryKind::File { .. } => {}
            EntryKind::Directory => {
                header.kind = b'5';
                let name = if entry.path.is_empty() { b"." } else { entry.path.as_slice() };
                header.name = Cow::Owned([name, b"/"].concat());
            }
            EntryKind::Symlink { target } => (header.kind, header.link) = (b'2', target),
            EntryKind::Hardlink { target } => (header.kind, header.link) = (b'1', target),
            EntryKind::CharDevice { major, minor } => {
                (header.kind, header.major, header.minor) = (b'3', *major, *minor);
            }
            EntryKind::BlockDevice { major, minor } => {
                (header.kind, header.major, header.minor) = (b'4', *major, *minor);
            }
            EntryKind::Fifo => header.kind = b'6',
            EntryKind::Whiteout | EntryKind::OpaqueDirectory => {
                (header.mode, header.uid, header.gid, header.mtime) = (0, 0, 0, 0);
                header.name = Cow::Owned(marker_path(entry));
            }
        }
        header
    }

    /// What an extension would have to say: everything that its field cannot hold.
    fn records(&self, entry: &Entry) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut records = BTreeMap::new();
        for (key, text, field) in [("path", &*self.name, field::NAME), ("linkpath", self.link, field::LINK)] {
            if text.len() > field.len() || !is_ascii(text) {
                records.insert(key.into(), text.into());
            }
        }
        for (key, number, field) in [
            ("uid", i128::from(self.uid), field::UID),
            ("gid", i128::from(self.gid), field::GID),
            ("size", i128::from(self.size), field::SIZE),
            ("mtime", i128::from(self.mtime), field::MTIME),
        ] {
            if !fits_octal(&field, number) {
                records.insert(key.into(), number.to_string().into_bytes());
            }
        }
        if !entry.is_deletion() {
            for (name, value) in &entry.xattrs {
                if !name.contains(['=', '\0']) {
                    records.insert([XATTR_PREFIX, name.as_bytes()].concat(), value.clone());
                }
            }
        }
        records
    }

    /// Divides a name that is too long for its field between that and the prefix, if it has a slash where it must.
    fn split_name(&self) -> Option<(&[u8], &[u8])> {
        let name = &*self.name;
        if name.len() <= field::NAME.len() || !is_ascii(name) {
            return None;
        }
        let end = (field::PREFIX.len() + 1).min(name.len() - usize::from(name.ends_with(b"/")));
        let slash = name[..end].iter().rposition(|&b| b == b'/').filter(|&slash| slash > 0)?;
        let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
        (!rest.is_empty() && rest.len() <= field::NAME.len()).then_some((prefix, rest))
    }

    fn write(&self, out: &mut Vec<u8>, prefix: &[u8], name: &[u8], link: &[u8]) {
        let mut block = [0; BLOCK];
        put_text(&mut block[field::NAME], name);
        put_octal(&mut block[field::MODE], i128::from(self.mode));
        put_octal(&mut block[field::UID], i128::from(self.uid));
        put_octal(&mut block[field::GID], i128::from(self.gid));
        put_octal(&mut block[field::SIZE], i128::from(self.size));
        put_octal(&mut block[field::MTIME], i128::from(self.mtime));
        block[field::TYPE] = self.kind;
        put_text(&mut block[field::LINK], link);
        put_octal(&mut block[field::MAJOR], i128::from(self.major & 0o7_777_777));
        put_octal(&mut block[field::MINOR], i128::from(self.minor & 0o7_777_777));
        put_text(&mut block[field::PREFIX], prefix);
        seal(&mut block);
        out.extend_from_slice(&block);
    }
}

fn write_extension(out: &mut Vec<u8>, name: &[u8], records: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut content = Vec::new();
    for (key, value) in records {
        write_record(&mut content, key, value);
    }

    let (directory, base) = split_path(name);
    let directory: &[u8] = if directory == b"." { b"" } else { directory };
    let mut extension_name = Vec::with_capacity(name.len() + 14);
    for part in [directory, b"PaxHeaders.0", base] {
        if !part.is_empty() {
            if !extension_name.is_empty() {
                extension_name.push(b'/');
            }
            extension_name.extend_from_slice(part);
        }
    }
    let mut extension_name = ascii(&extension_name).into_owned();
    extension_name.truncate(field::NAME.len());
    while extension_name.ends_with(b"/") {
        extension_name.pop();
    }

    let mut block = [0; BLOCK];
    put_text(&mut block[field::NAME], &extension_name);
    for field in [field::MODE, field::UID, field::GID, field::MTIME] {
        put_octal(&mut block[field], 0);
    }
    put_octal(&mut block[field::SIZE], content.len() as i128);
    block[field::TYPE] = b'x';
    seal(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&content);
    out.resize(out.len() + padding(content.len() as u64), 0);
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    // The digits may have become one more by counting themselves.
    length = rest + length.to_string().len();
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The path of the empty file that stands for a deletion.
fn marker_path(entry: &Entry) -> Vec<u8> {
    let (directory, marker) = match entry.kind {
        EntryKind::OpaqueDirectory => (entry.path.as_slice(), OPAQUE_MARKER.to_vec()),
        _ => (entry.parent(), [WHITEOUT_PREFIX, entry.name()].concat()),
    };
    if directory.is_empty() { marker } else { [directory, b"/", &marker].concat() }
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|&b| b.is_ascii() && b != 0)
}

/// What is left of a name for readers that do not know extensions.
fn ascii(text: &[u8]) -> Cow<'_, [u8]> {
    if is_ascii(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.iter().copied().filter(|&b| b.is_ascii() && b != 0).collect())
    }
}

fn fits_octal(field: &Range<usize>, number: i128) -> bool {
    let bits = (field.len() - 1) * 3;
    (0..1 << bits).contains(&number)
}

/// Fills a field with leading zeros and a closing NUL; with 0 if the number, then said in a record, does not fit.
fn put_octal(field: &mut [u8], number: i128) {
    let number = if fits_octal(&(0..field.len()), number) { number } else { 0 };
    let digits = format!("{number:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}

/// Cuts a text to its field. One cut right after a slash ends before the slash, or before all of several, else
/// readers that do not know extensions would take a file for a directory.
fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    if text.len() > field.len() && field.ends_with(b"/") {
        let end = field.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

fn seal(block: &mut [u8; BLOCK]) {
    block[field::MAGIC].copy_from_slice(b"ustar\x0000");
    let sum = format!("{:06o}\0 ", checksum(block));
    block[field::CHECKSUM].copy_from_slice(sum.as_bytes());
}

#[cfg(test)]
mod tests;
