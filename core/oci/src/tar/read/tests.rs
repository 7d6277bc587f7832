use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::entry::EntryKind;
use crate::tar::{TRAILER, write_header};

fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    read_within(archive, &Limits::default())
}

fn read_within(archive: &[u8], limits: &Limits) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut found = Vec::new();
    let summary = read_layer(archive, limits, |entry, data| {
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        found.push((entry, content));
        Ok(())
    })?;
    assert_eq!(summary.bytes, archive.len() as u64);
    Ok(found)
}

fn error(archive: &[u8]) -> String {
    read(archive).unwrap_err().to_string()
}

/// A header block with these fields set, whatever they hold.
fn block(kind: u8, name: &str, link: &str, size: u64) -> [u8; BLOCK] {
    edited(kind, name, link, size, |_| {})
}

fn edited(kind: u8, name: &str, link: &str, size: u64, edit: impl FnOnce(&mut [u8; BLOCK])) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[field::NAME][..name.len()].copy_from_slice(name.as_bytes());
    block[field::LINK][..link.len()].copy_from_slice(link.as_bytes());
    block[field::MODE].copy_from_slice(b"0000644\0");
    block[field::SIZE].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[field::TYPE] = kind;
    block[field::MAGIC].copy_from_slice(b"ustar\x0000");
    edit(&mut block);
    let sum = format!("{:06o}\0 ", checksum(&block));
    block[field::CHECKSUM].copy_from_slice(sum.as_bytes());
    block
}

fn member(kind: u8, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut out = block(kind, name, link, content.len() as u64).to_vec();
    out.extend_from_slice(content);
    out.resize(out.len() + padding(content.len() as u64), 0);
    out
}

fn archive(members: &[&[u8]]) -> Vec<u8> {
    [members.concat().as_slice(), &TRAILER].concat()
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..rest + 20).find(|n| n - n.to_string().len() == rest).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

#[test]
fn normalises_paths() {
    let archive = archive(&[
        &member(b'5', "./", "", b""),
        &member(b'5', "/abs/", "", b""),
        &member(b'0', "./a//b/./c", "", b"x"),
        &member(b'1', "h", "/a/b/c", b""),
        &member(0, "old/", "", b""),
        &member(0, "old/file", "", b"y"),
        &member(b'7', "contiguous", "", b"z"),
        &member(b'2', "s", "/../../etc/passwd", b""),
        // Twice: both are handed over.
        &member(b'0', "a/b/c", "", b"second"),
    ]);
    let found: Vec<_> = read(&archive)
        .unwrap()
        .into_iter()
        .map(|(entry, content)| (String::from_utf8(entry.path).unwrap(), entry.kind, content))
        .collect();
    let file = |path: &str, content: &[u8]| {
        (path.to_owned(), EntryKind::File { size: content.len() as u64 }, content.to_vec())
    };
    let other = |path: &str, kind| (path.to_owned(), kind, vec![]);
    assert_eq!(
        found,
        [
            other("", EntryKind::Directory),
            other("abs", EntryKind::Directory),
            file("a/b/c", b"x"),
            other("h", EntryKind::Hardlink { target: b"a/b/c".to_vec() }),
            other("old", EntryKind::Directory),
            file("old/file", b"y"),
            file("contiguous", b"z"),
            other("s", EntryKind::Symlink { target: b"/../../etc/passwd".to_vec() }),
            file("a/b/c", b"second"),
        ]
    );
}

#[test]
fn refuses_what_leaves_the_root() {
    for (kind, name, link, message) in [
        (b'0', "../x", "", "path leads out of the archive: \"../x\""),
        (b'0', "a/../../x", "", "path leads out of the archive: \"a/../../x\""),
        (b'0', "/..", "", "path leads out of the archive: \"/..\""),
        (b'1', "h", "../../etc/passwd", "path leads out of the archive: \"h\""),
        (b'1', "h", "/", "hard link to the root: \"h\""),
        (b'1', "h", "", "path is empty: \"h\""),
        (b'2', "s", "", "invalid target of a symbolic link: \"s\""),
        (b'0', "", "", "path is empty: \"\""),
        (b'0', "./", "", "the root is not a directory: \"./\""),
        (b'2', "/", "x", "the root is not a directory: \"/\""),
        (b'0', ".wh.", "", "whiteout of no file: \".wh.\""),
        (b'0', "a/.wh...", "", "whiteout of no file: \"a/.wh...\""),
        (b'0', ".wh..", "", "whiteout of no file: \".wh..\""),
        (b'0', ".wh.d/f", "", "directory has the name of a whiteout: \".wh.d/f\""),
        (b'S', "sparse", "", "sparse files are not supported: \"sparse\""),
        (b'V', "volume", "", "unknown type of member: \"volume\""),
    ] {
        assert_eq!(error(&archive(&[&member(kind, name, link, b"")])), message);
    }
}

#[test]
fn understands_whiteouts() {
    let archive = archive(&[
        &member(b'0', "a/.wh.b", "", b""),
        &member(b'0', ".wh.c", "", b""),
        &member(b'0', "d/.wh..wh..opq", "", b""),
        &member(b'0', ".wh..wh..opq", "", b""),
        &member(b'0', ".wh..wh.aufs", "", b"x"),
        &member(b'5', ".wh..wh.plnk/", "", b""),
        &member(b'0', ".wh..wh.plnk/12.34", "", b""),
        &member(b'0', ".wh", "", b""),
    ]);
    let found: Vec<_> = read(&archive)
        .unwrap()
        .into_iter()
        .map(|(entry, _)| (String::from_utf8(entry.path).unwrap(), entry.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("a/b".to_owned(), EntryKind::Whiteout),
            ("c".to_owned(), EntryKind::Whiteout),
            ("d".to_owned(), EntryKind::OpaqueDirectory),
            (String::new(), EntryKind::OpaqueDirectory),
            (".wh".to_owned(), EntryKind::File { size: 0 }),
        ]
    );
}

#[test]
fn understands_extensions() {
    let long = "l/".repeat(300) + "f";
    let pax = [
        record("path", &long),
        record("size", "3"),
        record("uid", "4000000000"),
        record("mtime", "-1.5"),
        record("SCHILY.xattr.user.a", "x=y\n"),
        record("comment", "ignored"),
    ]
    .concat();
    let mut sized = block(b'0', "short", "", 0).to_vec();
    sized.extend_from_slice(b"abc");
    sized.resize(1024, 0);
    let archive = archive(&[
        &member(b'g', "pax_global_header", "", &record("path", "everywhere")),
        &member(b'x', "ext", "", &pax),
        &sized,
        &member(b'L', "././@LongLink", "", format!("{long}\0").as_bytes()),
        &member(b'K', "././@LongLink", "", b"target\0"),
        &member(b'2', "short", "short", b""),
        // Nothing of the extensions is left.
        &member(b'0', "plain", "", b""),
        // Base 256, negative time.
        &edited(b'0', "gnu", "", 0, |block| {
            block[field::UID].copy_from_slice(&[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0]);
            block[field::MTIME].copy_from_slice(&[0xff; 12]);
        }),
        // Headers that say nothing, devices in other fields' place.
        &edited(b'3', "dev", "", 0, |block| {
            block[field::MODE].fill(0);
            block[field::UID].fill(b' ');
            block[field::MAJOR].copy_from_slice(b"     1 \0");
            block[field::MINOR].copy_from_slice(b"0000003\0");
        }),
    ]);
    let found = read(&archive).unwrap();
    let (first, content) = &found[0];
    assert_eq!((first.path.as_slice(), content.as_slice()), (long.as_bytes(), &b"abc"[..]));
    assert_eq!((first.uid, first.mtime, &first.xattrs["user.a"][..]), (4_000_000_000, -2, &b"x=y\n"[..]));
    assert_eq!(found[1].0.path, long.as_bytes());
    assert_eq!(found[1].0.kind, EntryKind::Symlink { target: b"target".to_vec() });
    assert_eq!((found[2].0.path.as_slice(), found[2].0.uid), (&b"plain"[..], 0));
    assert_eq!((found[3].0.uid, found[3].0.mtime), (4_000_000_000, -1));
    assert_eq!(found[4].0.kind, EntryKind::CharDevice { major: 1, minor: 3 });
    assert_eq!(found.len(), 5);
}

#[test]
fn refuses_malformed_archives() {
    let file = member(b'0', "f", "", b"content");
    assert_eq!(error(b"not an archive"), "archive is malformed: archive ends inside a member at byte 14");
    assert_eq!(error(&[b'x'; 512]), "archive is malformed: wrong header checksum at byte 0");
    assert_eq!(error(&file[..515]), "archive is malformed: archive ends inside a member at byte 515");
    assert_eq!(error(&file[..600]), "archive is malformed: archive ends inside a member at byte 600");
    assert_eq!(
        error(&[file.as_slice(), &[0; 512], &file].concat()),
        "archive is malformed: a lone block of zeros at byte 1024"
    );
    assert_eq!(
        error(&archive(&[&member(b'x', "x", "", &record("path", "y"))])),
        "archive is malformed: extension without a member at byte 1024"
    );
    // Fine without an end mark, as for Go, and with anything after it.
    assert_eq!(read(&file).unwrap().len(), 1);
    assert_eq!(read(&[archive(&[&file]).as_slice(), b"trailing"].concat()).unwrap().len(), 1);
    assert_eq!(read(b"").unwrap(), []);

    for (pax, reason) in [
        (&b"x"[..], "invalid extension record"),
        (b"7 path=", "invalid extension record"),
        (b"99 path=x\n", "invalid extension record"),
        (b"3 \n", "invalid extension record"),
        (b"0 a=b\n", "invalid extension record"),
        (b"-1 a=b\n", "invalid extension record"),
        (b"18446744073709551615 a=b\n", "invalid extension record"),
        (b"9 pathx\n\n", "invalid extension record"),
        (b"11 size=-1\n", "invalid size in an extension"),
        (b"12 size=+11\n", "invalid size in an extension"),
        (b"9 uid=0x\n", "invalid owner in an extension"),
        (b"11 mtime=.\n", "invalid time in an extension"),
        (b"13 mtime=1.x\n", "invalid time in an extension"),
        (b"17 SCHILY.xattr.=", "invalid extension record"),
        (b"18 SCHILY.xattr.=\n", "invalid name of an extended attribute"),
    ] {
        let message = error(&archive(&[&member(b'x', "x", "", pax), &file]));
        assert!(
            message.starts_with(&format!("archive is malformed: {reason}")),
            "{}: {message}",
            pax.escape_ascii()
        );
    }
    for (key, value, message) in [
        ("GNU.sparse.major", "1", "sparse files are not supported: \"f\""),
        ("path", "a\0b", "path has a NUL byte: \"a\\0b\""),
        ("path", "../f", "path leads out of the archive: \"../f\""),
        ("uid", "4294967295", "owner is out of range: \"f\""),
        ("gid", "-1", "owner is out of range: \"f\""),
    ] {
        assert_eq!(error(&archive(&[&member(b'x', "x", "", &record(key, value)), &file])), message);
    }
    let device = edited(b'3', "dev", "", 0, |block| block[field::MAJOR].copy_from_slice(b"7777777\0"));
    assert_eq!(error(&archive(&[&device])), "device number is out of range: \"dev\"");
    let negative = edited(b'0', "f", "", 0, |block| block[field::SIZE].fill(0xff));
    assert_eq!(error(&archive(&[&negative])), "archive is malformed: negative size at byte 0");
    let octal = edited(b'0', "f", "", 0, |block| block[field::SIZE].copy_from_slice(b"00000000009\0"));
    assert_eq!(error(&archive(&[&octal])), "archive is malformed: invalid size at byte 0");
}

#[test]
fn keeps_to_limits() {
    let file = member(b'0', "f", "", &[1; 1000]);
    let archived = archive(&[&file, &file]);
    let within =
        |limits: Limits| read_within(&archived, &limits).map(|found| found.len()).map_err(|e| e.to_string());
    let limits = Limits { members: 2, bytes: archived.len() as u64, path: 1, extension: 0 };
    assert_eq!(within(limits.clone()), Ok(2));
    assert_eq!(
        within(Limits { members: 1, ..limits.clone() }),
        Err("archive is too large: more than 1 members".into())
    );
    for bytes in [archived.len() as u64 - 1, 4000, 1500, 600, 100] {
        assert_eq!(
            within(Limits { bytes, ..limits.clone() }),
            Err(format!("archive is too large: more than {bytes} bytes"))
        );
    }
    assert_eq!(within(Limits { path: 0, ..limits.clone() }), Err("path is too long: \"f\"".into()));

    // A claim of terabytes costs nothing.
    let claim = archive(&[&edited(b'L', "long", "", 0, |block| {
        block[field::SIZE].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0]);
    })]);
    assert_eq!(error(&claim), "archive is too large: more than 1048576 bytes in an extension header");
    let claim = archive(&[&edited(b'0', "f", "", 0, |block| {
        block[field::SIZE].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    })]);
    assert!(error(&claim).starts_with("archive is too large"));
}

#[test]
fn skips_what_the_visitor_leaves_and_hands_on_its_errors() {
    let archive = archive(&[&member(b'0', "a", "", &[1; 700]), &member(b'0', "b", "", b"b")]);
    let mut found = Vec::new();
    read_layer(archive.as_slice(), &Limits::default(), |entry, data| {
        let mut start = [0; 1];
        data.read_exact(&mut start)?;
        found.push((entry.path, start[0]));
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [(b"a".to_vec(), 1), (b"b".to_vec(), b'b')]);
    let mut seen = 0;
    let failed = read_layer(archive.as_slice(), &Limits::default(), |_, _| {
        seen += 1;
        Err(io::Error::other("disk is full"))
    });
    assert_eq!((seen, failed.unwrap_err().to_string()), (1, "disk is full".to_owned()));
    // An archive cut while the visitor reads is the archive's fault.
    let cut =
        read_layer(&archive[..600], &Limits::default(), |_, data| io::copy(data, &mut io::sink()).map(drop));
    assert!(matches!(cut, Err(TarError::Malformed { offset: 600, .. })), "{cut:?}");
}

#[test]
fn reads_gnu_tar_and_python() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("d/".repeat(80))).unwrap();
    std::fs::write(root.join("d/".repeat(80) + &"n".repeat(120)), "content").unwrap();
    std::os::unix::fs::symlink("t".repeat(150), root.join("d/link")).unwrap();
    let python = "import sys,tarfile; tarfile.open(sys.argv[1],'w',format=int(sys.argv[2])).add('d')";
    let outputs = ["gnu", "pax", "oldgnu"].map(|format| {
        let out = root.join(format!("{format}.tar"));
        let status = std::process::Command::new("tar")
            .args([&format!("--format={format}"), "-cf"])
            .arg(&out)
            .args(["-C", root.to_str().unwrap(), "d"])
            .status();
        assert!(status.unwrap().success());
        out
    });
    let more = ["1", "2"].map(|format| {
        let out = root.join(format!("py{format}.tar"));
        let status = std::process::Command::new("python3")
            .args(["-c", python])
            .arg(&out)
            .arg(format)
            .current_dir(root)
            .status();
        assert!(status.unwrap().success());
        out
    });
    for path in outputs.iter().chain(&more) {
        let mut found = read(&std::fs::read(path).unwrap()).unwrap();
        found.retain(|(entry, _)| !entry.is_directory());
        found.sort_by_key(|(entry, _)| entry.path.len());
        let [(link, _), (file, content)] = found.as_slice() else { panic!("{}: {found:?}", path.display()) };
        assert_eq!(link.kind, EntryKind::Symlink { target: "t".repeat(150).into() });
        assert_eq!(file.path, ("d/".repeat(80) + &"n".repeat(120)).as_bytes());
        assert_eq!(content, b"content");
    }
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-z]{1,12}".prop_map(String::into_bytes),
        "[a-zé\u{fffd} .=\n]{1,130}".prop_map(String::into_bytes),
        prop::collection::vec(1..=255_u8, 1..9),
    ]
    .prop_map(|part| part.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect::<Vec<u8>>())
    .prop_filter("special", |part| !matches!(part.as_slice(), b"." | b"..") && !part.starts_with(b".wh."));
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.join(&b'/'))
}

fn entries() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let device = (0..0x1000_u32, 0..0x10_0000_u32);
    let kind = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1500)
            .prop_map(|content| (EntryKind::File { size: content.len() as u64 }, content)),
        Just((EntryKind::Directory, vec![])),
        paths().prop_map(|target| (EntryKind::Symlink { target }, vec![])),
        paths().prop_map(|target| (EntryKind::Hardlink { target }, vec![])),
        device.clone().prop_map(|(major, minor)| (EntryKind::CharDevice { major, minor }, vec![])),
        device.prop_map(|(major, minor)| (EntryKind::BlockDevice { major, minor }, vec![])),
        Just((EntryKind::Fifo, vec![])),
        Just((EntryKind::Whiteout, vec![])),
        Just((EntryKind::OpaqueDirectory, vec![])),
    ];
    let ids = prop_oneof![0..3_000_000_u32, 0..u32::MAX];
    let time = prop_oneof![0..4_000_000_000_i64, any::<i64>()];
    let xattrs =
        prop::collection::btree_map("[a-zé .]{1,20}", prop::collection::vec(any::<u8>(), 0..300), 0..3);
    (paths(), kind, 0..0o10000_u32, ids.clone(), ids, time, xattrs).prop_map(
        |(path, (kind, content), mode, uid, gid, mtime, xattrs)| {
            let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs };
            // A deletion says nothing else.
            let entry = if entry.is_deletion() { Entry::new(entry.path, entry.kind) } else { entry };
            (entry, content)
        },
    )
}

proptest! {
    #[test]
    fn reads_what_is_written(members in prop::collection::vec(entries(), 0..6)) {
        let mut archive = Vec::new();
        for (entry, content) in &members {
            write_header(&mut archive, entry);
            archive.extend_from_slice(content);
            archive.resize(archive.len() + padding(content.len() as u64), 0);
        }
        archive.extend_from_slice(&TRAILER);
        prop_assert_eq!(read(&archive).unwrap(), members);
    }

    /// The crate `tar` agrees about paths, sizes and content; but it takes a newline for the end of a record.
    #[test]
    fn another_reader_reads_what_is_written(members in prop::collection::vec(entries(), 0..6)) {
        let members: Vec<_> = members
            .into_iter()
            .filter(|(entry, _)| {
                let (EntryKind::Symlink { target } | EntryKind::Hardlink { target }) = &entry.kind else {
                    return !entry.path.contains(&b'\n') && !entry.is_deletion();
                };
                !entry.path.contains(&b'\n') && !target.contains(&b'\n')
            })
            .map(|(entry, content)| (Entry { xattrs: BTreeMap::new(), ..entry }, content))
            .collect();
        let mut archive = Vec::new();
        for (entry, content) in &members {
            write_header(&mut archive, entry);
            archive.extend_from_slice(content);
            archive.resize(archive.len() + padding(content.len() as u64), 0);
        }
        archive.extend_from_slice(&TRAILER);
        let mut reader = ::tar::Archive::new(archive.as_slice());
        let mut found = Vec::new();
        for entry in reader.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path_bytes().strip_suffix(b"/").map_or(entry.path_bytes().to_vec(), <[u8]>::to_vec);
            found.push((path, content));
        }
        let expected: Vec<_> = members.into_iter().map(|(entry, content)| (entry.path, content)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn damaged_archives_never_panic(
        members in prop::collection::vec(entries(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        resum: bool,
    ) {
        let mut archive = Vec::new();
        for (entry, content) in &members {
            write_header(&mut archive, entry);
            archive.extend_from_slice(content);
            archive.resize(archive.len() + padding(content.len() as u64), 0);
        }
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            if resum {
                let start = at / BLOCK * BLOCK;
                let block: &mut [u8; BLOCK] = (&mut archive[start..start + BLOCK]).try_into().unwrap();
                let sum = format!("{:06o}\0 ", checksum(block));
                block[field::CHECKSUM].copy_from_slice(sum.as_bytes());
            }
        }
        if let Ok(found) = read(&archive) {
            for (entry, _) in found {
                prop_assert!(entry.path.split(|&b| b == b'/').all(|part| part != b".." && part != b"."));
            }
        }
    }
}
