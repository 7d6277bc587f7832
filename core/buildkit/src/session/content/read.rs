//! Parts of blobs as messages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use futures::{StreamExt, stream};
use tonic::Status;

use super::blocking;
use crate::proto::content::{Messages, ReadContentResponse};

/// Bytes of a message.
const CHUNK: u64 = 1 << 20;

/// What is still to be read.
pub(super) struct Part {
    file: File,
    left: u64,
    /// Bytes that were read.
    read: u64,
}

/// A part of a blob, given as the file at the blob's first byte and its size. `offset` and `size` are the daemon's: a
/// negative offset is the beginning, a size that is not positive or goes too far means all that follows.
pub(super) fn part((mut file, blob): (File, u64), offset: i64, size: i64) -> Result<Part, Status> {
    let offset = u64::try_from(offset).unwrap_or(0);
    if offset > blob {
        return Err(Status::out_of_range(format!("read past object length {blob} bytes")));
    }
    let rest = blob - offset;
    let left = u64::try_from(size).ok().filter(|size| (1..rest).contains(size)).unwrap_or(rest);
    let step = i64::try_from(offset).expect("it was one");
    file.seek(SeekFrom::Current(step)).map_err(|error| Status::unknown(rbx_request::reason(&error)))?;
    Ok(Part { file, left, read: 0 })
}

/// The messages of a part, each read when the one before it was taken.
pub(super) fn messages(part: Part) -> Messages<ReadContentResponse> {
    stream::try_unfold(part, |mut part| async move {
        if part.left == 0 {
            return Ok(None);
        }
        blocking(move || {
            let size = part.left.min(CHUNK);
            let mut data = Vec::new();
            let failed = |error: std::io::Error| Status::unknown(rbx_request::reason(&error));
            let count = (&mut part.file).take(size).read_to_end(&mut data).map_err(failed)? as u64;
            if count < size {
                return Err(Status::data_loss("the content became shorter while it was read"));
            }
            let offset = i64::try_from(part.read).unwrap_or(i64::MAX);
            part.left -= count;
            part.read += count;
            Ok(Some((ReadContentResponse { offset, data: data.into() }, part)))
        })
        .await
    })
    .boxed()
}
