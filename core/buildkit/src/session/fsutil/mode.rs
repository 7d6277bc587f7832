//! Types and permissions of files as Go's `os.FileMode` has them, which the protocol sends.

use rustix::fs::FileType;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;
const TYPE: u32 = DIRECTORY | SYMLINK | DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR;

/// The mode of a file, from what `stat` says. A socket becomes a regular file, as with fsutil.
pub(super) fn to_go(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHARACTER,
        FileType::Fifo => FIFO,
        FileType::RegularFile | FileType::Socket | FileType::Unknown => 0,
    };
    let bits = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    bits.iter().filter(|(bit, _)| mode & bit != 0).fold(kind | mode & 0o777, |mode, (_, bit)| mode | bit)
}

/// The type of file that a mode means.
pub(super) fn kind(mode: u32) -> FileType {
    match mode & TYPE {
        0 => FileType::RegularFile,
        kind if kind & DIRECTORY != 0 => FileType::Directory,
        kind if kind & SYMLINK != 0 => FileType::Symlink,
        kind if kind & DEVICE != 0 && kind & CHARACTER != 0 => FileType::CharacterDevice,
        kind if kind & DEVICE != 0 => FileType::BlockDevice,
        kind if kind & FIFO != 0 => FileType::Fifo,
        kind if kind & SOCKET != 0 => FileType::Socket,
        _ => FileType::Unknown,
    }
}

/// The permissions of a mode, with the bits for the set ids and the sticky one.
pub(super) fn permissions(mode: u32) -> u32 {
    let bits = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    bits.iter().filter(|(_, bit)| mode & bit != 0).fold(mode & 0o777, |mode, (bit, _)| mode | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        for (mode, go, kind_back) in [
            (0o100_644, 0o644, FileType::RegularFile),
            (0o104_755, 0x0080_01ed, FileType::RegularFile),
            (0o041_777, 0x8010_01ff, FileType::Directory),
            (0o042_755, 0x8040_01ed, FileType::Directory),
            (0o120_777, 0x0800_01ff, FileType::Symlink),
            (0o020_600, 0x0420_0180, FileType::CharacterDevice),
            (0o060_600, 0x0400_0180, FileType::BlockDevice),
            (0o010_600, 0x0200_0180, FileType::Fifo),
            (0o140_755, 0o755, FileType::RegularFile),
        ] {
            assert_eq!(to_go(mode), go, "{mode:o}");
            assert_eq!(kind(go), kind_back, "{mode:o}");
            assert_eq!(permissions(go), mode & 0o7777, "{mode:o}");
        }
        assert_eq!(kind(SOCKET), FileType::Socket);
        assert_eq!(kind(IRREGULAR | 0o644), FileType::Unknown);
    }
}
