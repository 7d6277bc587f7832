//! Reads archives from anywhere: registries, contexts, `docker save`.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::{
    BLOCK, OPAQUE_MARKER, WHITEOUT_META_PREFIX, WHITEOUT_PREFIX, XATTR_PREFIX, checksum, field, padding,
};
use crate::entry::{Entry, EntryKind, split_path};

/// How much an archive may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Number of members.
    pub members: u64,
    /// Bytes of the whole archive, decompressed.
    pub bytes: u64,
    /// Bytes of one path or link target.
    pub path: usize,
    /// Bytes of one member's extension header, which holds its long names and extended attributes.
    pub extension: usize,
}

impl Default for Limits {
    /// 4 million members, 1 TiB, paths of 4 KiB, extensions of 1 MiB (the limit of Go's reader).
    fn default() -> Limits {
        Limits { members: 4_000_000, bytes: 1 << 40, path: 4096, extension: 1 << 20 }
    }
}

/// What was read of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Number of members, those not visited included.
    pub members: u64,
    /// Bytes of the whole archive, with what follows its end mark.
    pub bytes: u64,
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The reader failed.
    #[error("cannot read archive")]
    Read(#[source] io::Error),
    /// The visitor failed.
    #[error(transparent)]
    Visit(io::Error),
    /// Not an archive, a damaged or a cut one.
    #[error("archive is malformed: {reason} at byte {offset}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
        /// Where the header or the data in question starts.
        offset: u64,
    },
    /// A member that an honest archive does not have, such as one outside the root.
    #[error("{reason}: {path:?}")]
    Refused {
        /// What is wrong.
        reason: &'static str,
        /// The member's path as written.
        path: String,
    },
    /// The archive exceeds its [`Limits`].
    #[error("archive is too large: more than {limit} {unit}")]
    TooLarge {
        /// What is limited.
        unit: &'static str,
        /// How many of it are allowed.
        limit: u64,
    },
}

/// Reads the archive of a layer, decompressed, and hands over every member with its content in the order of the
/// archive; what the visitor leaves unread is skipped. Reads to the very end, so that a digest of what was read is
/// that of the layer.
///
/// Paths are made relative (`/a`, `./a` and `a` are the same) and a path with a `..` part is refused. Duplicates are
/// handed over as they come; the last one counts. Whiteouts become [`EntryKind::Whiteout`] and
/// [`EntryKind::OpaqueDirectory`]; other files of aufs (`.wh..wh.*`) are left out. Understood are ustar, PAX and
/// GNU's long names and large numbers; sparse files are refused. Where formats leave room, this reads as Go's
/// `archive/tar` does, since that is what other builders see.
///
/// Symbolic links are not looked at: who writes members to disk must resolve parents inside the root.
pub fn read_layer<R: Read>(
    reader: R,
    limits: &Limits,
    mut visit: impl FnMut(Entry, &mut dyn Read) -> io::Result<()>,
) -> Result<Summary, TarError> {
    let mut members = Members::new(reader, limits);
    while let Some(raw) = members.next()? {
        if let Some(entry) = raw.into_entry(limits)? {
            let mut data = Data(&mut members);
            if let Err(error) = visit(entry, &mut data) {
                return Err(match members.failure.take() {
                    Some(failure) => failure,
                    None => TarError::Visit(error),
                });
            }
        }
    }
    members.drain()?;
    Ok(Summary { members: members.count, bytes: members.offset })
}

/// Goes through an archive, member by member.
pub(crate) struct Members<'a, R> {
    reader: R,
    limits: &'a Limits,
    skip: fn(&mut R, u64) -> io::Result<u64>,
    /// Bytes of the archive consumed.
    offset: u64,
    count: u64,
    /// Content and padding of the current member not yet consumed.
    content: u64,
    padding: u64,
    /// What went wrong while a visitor read content, which sees only an [`io::Error`].
    failure: Option<TarError>,
}

/// The content of the member a [`Members`] stands at.
struct Data<'m, 'a, R>(&'m mut Members<'a, R>);

impl<R: Read> Read for Data<'_, '_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let members = &mut *self.0;
        let limit = buf.len().min(usize::try_from(members.content).unwrap_or(usize::MAX));
        if limit == 0 {
            return Ok(0);
        }
        match members.reader.read(&mut buf[..limit]) {
            Ok(0) => {
                members.failure = Some(members.cut());
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(n) => {
                members.content -= n as u64;
                members.offset += n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                members.failure = Some(TarError::Read(error));
                Err(kind.into())
            }
        }
    }
}

impl<'a, R: Read> Members<'a, R> {
    pub(crate) fn new(reader: R, limits: &'a Limits) -> Members<'a, R> {
        let skip = |reader: &mut R, n| io::copy(&mut reader.take(n), &mut io::sink());
        Members { reader, limits, skip, offset: 0, count: 0, content: 0, padding: 0, failure: None }
    }

    /// The next member; its content, if it is one with content, is what can be read until the next call.
    pub(crate) fn next(&mut self) -> Result<Option<RawMember>, TarError> {
        let mut extension = Extension::default();
        loop {
            self.skip_rest()?;
            let start = self.offset;
            let malformed = |reason| TarError::Malformed { reason, offset: start };
            let Some(block) = self.header()? else {
                return if extension.is_empty() {
                    Ok(None)
                } else {
                    Err(malformed("extension without a member"))
                };
            };
            let number = |range, reason| numeric(&block[range]).ok_or(malformed(reason));
            let size = number(field::SIZE, "invalid size")?;
            let size = u64::try_from(size).map_err(|_| malformed("negative size"))?;

            match block[field::TYPE] {
                kind @ (b'x' | b'L' | b'K') => {
                    let content = self.extension(size)?;
                    match kind {
                        b'x' => extension.pax = Pax::parse(&content).map_err(malformed)?,
                        b'L' => extension.name = Some(until_nul(&content).to_vec()),
                        _ => extension.link = Some(until_nul(&content).to_vec()),
                    }
                }
                // Comments of `git archive` and the like; what they set for all members is ignored, as Go does.
                b'g' => {
                    self.extension(size)?;
                    extension = Extension::default();
                }
                _ => {
                    let raw = RawMember::new(&block, size, extension, self.offset).map_err(malformed)?;
                    self.count += 1;
                    if self.count > self.limits.members {
                        return Err(TarError::TooLarge { unit: "members", limit: self.limits.members });
                    }
                    self.enter(raw.size)?;
                    return Ok(Some(raw));
                }
            }
        }
    }

    /// Consumes whatever follows the last member.
    fn drain(&mut self) -> Result<(), TarError> {
        let allowed = self.limits.bytes.saturating_sub(self.offset);
        let drained = io::copy(&mut (&mut self.reader).take(allowed.saturating_add(1)), &mut io::sink())
            .map_err(TarError::Read)?;
        self.offset += drained;
        if drained > allowed { Err(self.too_many_bytes()) } else { Ok(()) }
    }

    fn too_many_bytes(&self) -> TarError {
        TarError::TooLarge { unit: "bytes", limit: self.limits.bytes }
    }

    fn cut(&self) -> TarError {
        TarError::Malformed { reason: "archive ends inside a member", offset: self.offset }
    }

    /// Starts content of `size` bytes, if the archive may still be that long.
    fn enter(&mut self, size: u64) -> Result<(), TarError> {
        let padding = padding(size) as u64;
        let end = size.checked_add(padding).and_then(|n| n.checked_add(self.offset));
        if end.is_none_or(|end| end > self.limits.bytes) {
            return Err(self.too_many_bytes());
        }
        (self.content, self.padding) = (size, padding);
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let rest = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        if rest > 0 {
            let skipped = (self.skip)(&mut self.reader, rest).map_err(TarError::Read)?;
            self.offset += skipped;
            if skipped < rest {
                return Err(self.cut());
            }
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > self.limits.extension as u64 {
            return Err(TarError::TooLarge {
                unit: "bytes in an extension header",
                limit: self.limits.extension as u64,
            });
        }
        self.enter(size)?;
        let mut content = Vec::new();
        match Data(self).read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(self.failure.take().unwrap_or(TarError::Read(error))),
        }
    }

    /// The next header block; none at the end mark or where the input ends between members.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            return match self.block()? {
                Some(second) if second != [0; BLOCK] => Err(TarError::Malformed {
                    reason: "a lone block of zeros",
                    offset: self.offset - 2 * BLOCK as u64,
                }),
                _ => Ok(None),
            };
        }
        // Some old writers summed signed bytes.
        let signed: i64 = block.iter().map(|&b| i64::from(b.cast_signed())).sum::<i64>()
            - block[field::CHECKSUM].iter().map(|&b| i64::from(b.cast_signed()) - 32).sum::<i64>();
        let found = numeric(&block[field::CHECKSUM]);
        if found != Some(i64::from(checksum(&block))) && found != Some(signed) {
            return Err(TarError::Malformed {
                reason: "wrong header checksum",
                offset: self.offset - BLOCK as u64,
            });
        }
        Ok(Some(block))
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        if self.offset.saturating_add(BLOCK as u64) > self.limits.bytes {
            return Err(self.too_many_bytes());
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.cut()),
                Ok(n) => {
                    filled += n;
                    self.offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        Ok(Some(block))
    }
}

impl<'a, R: Read + Seek> Members<'a, R> {
    /// Of a file of `length` bytes: content is jumped over, not read.
    pub(crate) fn seeking(reader: R, limits: &'a Limits) -> Members<'a, R> {
        let skip = |reader: &mut R, n: u64| {
            // A seek past the end succeeds: the last byte is read to know that it is there.
            reader.seek_relative(i64::try_from(n - 1).map_err(io::Error::other)?)?;
            let read = io::copy(&mut reader.take(1), &mut io::sink())?;
            Ok(if read == 1 { n } else { 0 })
        };
        Members { skip, ..Members::new(reader, limits) }
    }
}

/// What extension headers say of the member that follows them.
#[derive(Debug, Default)]
struct Extension {
    pax: Pax,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extension {
    fn is_empty(&self) -> bool {
        self.pax == Pax::default() && self.name.is_none() && self.link.is_none()
    }
}

/// The records of a PAX extension that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pax {
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
    fn parse(mut rest: &[u8]) -> Result<Pax, &'static str> {
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
    fn new(
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

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// A number in octal, or in GNU's base 256, which is marked by its first bit.
fn numeric(field: &[u8]) -> Option<i64> {
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

#[cfg(test)]
mod tests;
