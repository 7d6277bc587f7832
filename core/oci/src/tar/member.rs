//! Members of archives: what their headers and extensions say, checked, as records of a file system.

use std::collections::BTreeMap;

use super::read::{Limits, TarError};
use super::{BLOCK, OPAQUE_MARKER, WHITEOUT_META_PREFIX, WHITEOUT_PREFIX, XATTR_PREFIX, field};
use crate::entry::{Entry, EntryKind, split_path};

/// What extension headers say of the member that follows them.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) pax: Pax,
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
}

impl Extension {
    pub(super) fn is_empty(&self) -> bool {
        self.pax == Pax::default() && self.name.is_none() && self.link.is_none()
    }
}

/// The records of a PAX extension that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<i64>,
    gid: Option<i64>,
    mtime: Option<i64>,
    xattrs: BTreeMap<String, Vec<u8>>,
    sparse: bool,
}

impl Pax {
    pub(super) fn parse(mut rest: &[u8]) -> Result<Pax, &'static str> {
        const INVALID: &str = "invalid extension record";
        let mut pax = Pax::default();
        while !rest.is_empty() {
            let space = rest.iter().position(|&b| b == b' ').ok_or(INVALID)?;
            let length = decimal(&rest[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(INVALID)?;
            let record = rest.get(space + 1..length).ok_or(INVALID)?;
            let record = record.strip_suffix(b"\n").ok_or(INVALID)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(INVALID)?;
            pax.set(&record[..equals], &record[equals + 1..])?;
            rest = &rest[length..];
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            let name = str::from_utf8(name).map_err(|_| "invalid name of an extended attribute")?;
            if name.is_empty() || name.contains('\0') {
                return Err("invalid name of an extended attribute");
            }
            self.xattrs.insert(name.to_owned(), value.to_vec());
            return Ok(());
        }
        self.sparse |= key.starts_with(b"GNU.sparse.");
        // An empty value takes a record back: what the header says counts.
        let filled = !value.is_empty();
        match key {
            b"path" => self.path = filled.then(|| value.to_vec()),
            b"linkpath" => self.link = filled.then(|| value.to_vec()),
            b"size" if filled => {
                let size = decimal(value).and_then(|n| u64::try_from(n).ok());
                self.size = Some(size.ok_or("invalid size in an extension")?);
            }
            b"uid" if filled => self.uid = Some(decimal(value).ok_or("invalid owner in an extension")?),
            b"gid" if filled => self.gid = Some(decimal(value).ok_or("invalid group in an extension")?),
            b"mtime" if filled => self.mtime = Some(seconds(value).ok_or("invalid time in an extension")?),
            _ => {}
        }
        Ok(())
    }
}

/// A member as its headers describe it, nothing checked that does not concern the archive's structure.
#[derive(Debug)]
pub(crate) struct RawMember {
    name: Vec<u8>,
    link: Vec<u8>,
    kind: u8,
    mode: i64,
    uid: i64,
    gid: i64,
    mtime: i64,
    major: i64,
    minor: i64,
    xattrs: BTreeMap<String, Vec<u8>>,
    sparse: bool,
    /// Length of the content that follows.
    pub(crate) size: u64,
    /// Where in the archive the content starts.
    pub(crate) content_offset: u64,
}

impl RawMember {
    pub(super) fn new(
        block: &[u8; BLOCK],
        size: u64,
        extension: Extension,
        content_offset: u64,
    ) -> Result<RawMember, &'static str> {
        let Extension { pax, name, link } = extension;
        let number = |range, reason| numeric(&block[range]).ok_or(reason);
        let name = name.or(pax.path).unwrap_or_else(|| header_name(block));
        let link = link.or(pax.link).unwrap_or_else(|| until_nul(&block[field::LINK]).to_vec());
        let kind = match block[field::TYPE] {
            0 if name.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        let device = matches!(kind, b'3' | b'4');
        Ok(RawMember {
            kind,
            mode: number(field::MODE, "invalid mode")?,
            uid: pax.uid.map_or_else(|| number(field::UID, "invalid owner"), Ok)?,
            gid: pax.gid.map_or_else(|| number(field::GID, "invalid group"), Ok)?,
            mtime: pax.mtime.map_or_else(|| number(field::MTIME, "invalid time"), Ok)?,
            major: if device { number(field::MAJOR, "invalid device number")? } else { 0 },
            minor: if device { number(field::MINOR, "invalid device number")? } else { 0 },
            xattrs: pax.xattrs,
            sparse: pax.sparse,
            // Links, devices, directories and pipes have no content, even if a size is given.
            size: if matches!(kind, b'1'..=b'6') { 0 } else { pax.size.unwrap_or(size) },
            content_offset,
            name,
            link,
        })
    }

    /// The member as a record of a file system; none for files that aufs left behind.
    pub(crate) fn into_entry(self, limits: &Limits) -> Result<Option<Entry>, TarError> {
        let refused =
            |reason| TarError::Refused { reason, path: String::from_utf8_lossy(&self.name).into_owned() };
        let path = relative(&self.name, limits.path).map_err(refused)?;
        let device = || match (u32::try_from(self.major), u32::try_from(self.minor)) {
            (Ok(major @ ..0x1000), Ok(minor @ ..0x10_0000)) => Ok((major, minor)),
            _ => Err(refused("device number is out of range")),
        };
        let mut kind = match self.kind {
            _ if self.sparse => return Err(refused("sparse files are not supported")),
            b'S' => return Err(refused("sparse files are not supported")),
            b'0' => EntryKind::File { size: self.size },
            b'1' => match relative(&self.link, limits.path).map_err(refused)? {
                target if target.is_empty() => return Err(refused("hard link to the root")),
                target => EntryKind::Hardlink { target },
            },
            b'2' if self.link.is_empty() || self.link.contains(&0) || self.link.len() > limits.path => {
                return Err(refused("invalid target of a symbolic link"));
            }
            b'2' => EntryKind::Symlink { target: self.link.clone() },
            b'3' => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            _ => return Err(refused("unknown type of member")),
        };
        let id = |id: i64| match u32::try_from(id) {
            // The kernel takes the highest one for "leave as it is".
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(refused("owner is out of range")),
        };
        let (uid, gid) = (id(self.uid)?, id(self.gid)?);

        let path = match marker(&path).map_err(refused)? {
            Marker::None if path.is_empty() && kind != EntryKind::Directory => {
                return Err(refused("the root is not a directory"));
            }
            Marker::None => path,
            Marker::Ignored => return Ok(None),
            Marker::Whiteout(path) => {
                kind = EntryKind::Whiteout;
                path
            }
            Marker::Opaque(path) => {
                kind = EntryKind::OpaqueDirectory;
                path
            }
        };
        let mode = u32::try_from(self.mode & 0o7777).expect("12 bits");
        Ok(Some(Entry { path, kind, mode, uid, gid, mtime: self.mtime, xattrs: self.xattrs }))
    }
}

enum Marker {
    None,
    Ignored,
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

fn marker(path: &[u8]) -> Result<Marker, &'static str> {
    let (directory, name) = split_path(path);
    for part in directory.split(|&b| b == b'/') {
        if part.starts_with(WHITEOUT_META_PREFIX) {
            return Ok(Marker::Ignored);
        }
        if part.starts_with(WHITEOUT_PREFIX) {
            return Err("directory has the name of a whiteout");
        }
    }
    if name == OPAQUE_MARKER {
        return Ok(Marker::Opaque(directory.to_vec()));
    }
    if name.starts_with(WHITEOUT_META_PREFIX) {
        return Ok(Marker::Ignored);
    }
    match name.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Marker::None),
        Some(b"" | b"." | b"..") => Err("whiteout of no file"),
        Some(deleted) if directory.is_empty() => Ok(Marker::Whiteout(deleted.to_vec())),
        Some(deleted) => Ok(Marker::Whiteout([directory, b"/", deleted].concat())),
    }
}

/// A path as [`Entry::path`] has it.
fn relative(name: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    if name.len() > limit {
        return Err("path is too long");
    }
    if name.contains(&0) {
        return Err("path has a NUL byte");
    }
    if name.is_empty() {
        return Err("path is empty");
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("path leads out of the archive"),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn header_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[field::NAME]);
    // GNU's own format has other things in place of the prefix, and star's a shorter one.
    let prefix = if &block[field::MAGIC][..6] == b"ustar\0" {
        let end = if block.ends_with(b"tar\0") { field::PREFIX.start + 131 } else { field::PREFIX.end };
        until_nul(&block[field::PREFIX.start..end])
    } else {
        b""
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// A number in octal, or in GNU's base 256, which is marked by its first bit.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        let text = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
        let text = text.split('\0').next()?;
        if text.is_empty() {
            return Some(0);
        }
        if !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return None;
        }
        return i64::from_str_radix(text, 8).ok();
    }
    // Two's complement of all bits but the mark; its sign is the bit after that.
    let negative = first & 0x40 != 0;
    let mut number = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    for &byte in rest {
        number = number.checked_mul(256)?.checked_add(i128::from(byte))?;
    }
    i64::try_from(number).ok()
}

fn decimal(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// A time in seconds with an optional fraction, rounded down.
fn seconds(text: &[u8]) -> Option<i64> {
    let dot = text.iter().position(|&b| b == b'.').unwrap_or(text.len());
    let whole = decimal(&text[..dot])?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let below = text.starts_with(b"-") && fraction.iter().any(|&b| b != b'0');
    whole.checked_sub(i64::from(below))
}
