//! Reads archives from anywhere: registries, contexts, `docker save`.

use std::io::{self, Read, Seek};

use super::member::{Extension, Pax, RawMember, numeric, until_nul};
use super::{BLOCK, checksum, field, padding};
use crate::entry::Entry;

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
/// handed over as they come; the last one counts. Whiteouts become [`EntryKind::Whiteout`](crate::EntryKind::Whiteout) and
/// [`EntryKind::OpaqueDirectory`](crate::EntryKind::OpaqueDirectory); other files of aufs (`.wh..wh.*`) are left out. Understood are ustar, PAX and
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

#[cfg(test)]
mod tests;
