//! Messages between the caller and the helper: a length, JSON, and for a step the two ends of its output.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::emulators::Emulator;
use super::failure::Failure;
use crate::Step;

/// The longest message taken: a step with some secrets in it is far below.
const LONGEST: usize = 256 << 20;

/// From the caller to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first message: the emulators that steps need. With any, the helper has a user namespace of its own.
    Start { emulators: Vec<Emulator> },
    /// Run a step; standard output and error come with it.
    Run { id: u64, step: Box<Step> },
    /// End a step. One that has ended already is not an error.
    Kill { id: u64 },
}

/// From the helper to the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The first message: the helper's process, in the caller's PID namespace.
    Started { pid: i32 },
    /// The helper takes steps from now on.
    Ready,
    /// The helper ends because it cannot take any.
    Refused(Failure),
    /// A step's command has ended; everything it started is gone.
    Exited { id: u64, code: i32, signal: Option<i32>, out_of_memory: bool },
    /// A step's command did not start.
    Failed { id: u64, failure: Failure },
}

/// Sends one message, with descriptors.
pub(super) fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(message.len())
        .ok()
        .filter(|_| message.len() <= LONGEST)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the step is too large"))?;
    let mut frame = Vec::with_capacity(4 + message.len());
    frame.extend(length.to_le_bytes());
    frame.extend(message);

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut rest = &frame[..];
    while !rest.is_empty() {
        match sendmsg(&socket, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        ancillary.clear();
    }
    Ok(())
}

/// Receives one message with the descriptors that came with it; `None` when the other side has ended.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    let mut fds = Vec::new();
    if !fill(&socket, &mut header, &mut fds)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut message = vec![0; length];
    if !fill(&socket, &mut message, &mut fds)? {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&message)?, fds)))
}

/// Fills `buffer`; `false` if the other side ended before.
fn fill(socket: impl AsFd, mut buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
    while !buffer.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received =
            match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => received.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => 0,
                Err(errno) => return Err(errno.into()),
            };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received == 0 {
            return Ok(false);
        }
        buffer = buffer.get_mut(received..).unwrap_or_default();
    }
    Ok(true)
}
