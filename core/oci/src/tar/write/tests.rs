use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn entry(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Entry {
    Entry { mode, mtime: 1_700_000_000, ..Entry::new(path, kind) }
}

fn archive(members: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (entry, content) in members {
        assert_eq!(entry.size(), content.len() as u64);
        write_header(&mut out, entry);
        out.extend_from_slice(content);
        out.resize(out.len() + padding(content.len() as u64), 0);
    }
    out.extend_from_slice(&TRAILER);
    out
}

/// The blocks of an archive, every run of NULs shown as `.`, other bytes as in a string literal.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for block in bytes.chunks(BLOCK) {
        let fields = block.split(|&b| b == 0).filter(|field| !field.is_empty());
        let fields: Vec<_> = fields.map(|field| field.escape_ascii().to_string()).collect();
        out.push_str(&fields.join("."));
        out.push('\n');
    }
    out
}

fn header(entry: &Entry) -> String {
    let mut out = Vec::new();
    write_header(&mut out, entry);
    shown(&out)
}

#[test]
fn pads_to_blocks() {
    for (size, expected) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (u64::MAX, 1)] {
        assert_eq!(padding(size), expected, "{size}");
    }
}

#[test]
fn plain_headers() {
    let shown = [
        entry("a/file", EntryKind::File { size: 5 }, 0o4755),
        entry("a", EntryKind::Directory, 0o1777),
        entry("", EntryKind::Directory, 0o755),
        entry("l", EntryKind::Symlink { target: b"../x".to_vec() }, 0o777),
        entry("h", EntryKind::Hardlink { target: b"a/file".to_vec() }, 0o644),
        entry("c", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
        entry("b", EntryKind::BlockDevice { major: 8, minor: 0 }, 0o660),
        entry("p", EntryKind::Fifo, 0o600),
        entry("a/gone", EntryKind::Whiteout, 0o755),
        entry("gone", EntryKind::Whiteout, 0),
        entry("a", EntryKind::OpaqueDirectory, 0o755),
    ]
    .map(|entry| header(&entry))
    .concat();
    insta::assert_snapshot!(shown, @r#"
    a/file.0004755.0000000.0000000.00000000005.14524770400.010333. 0.ustar.00.0000000.0000000
    a/.0001777.0000000.0000000.00000000000.14524770400.007474. 5.ustar.00.0000000.0000000
    ./.0000755.0000000.0000000.00000000000.14524770400.007404. 5.ustar.00.0000000.0000000
    l.0000777.0000000.0000000.00000000000.14524770400.010027. 2../x.ustar.00.0000000.0000000
    h.0000644.0000000.0000000.00000000000.14524770400.010470. 1a/file.ustar.00.0000000.0000000
    c.0000666.0000000.0000000.00000000000.14524770400.007415. 3.ustar.00.0000001.0000003
    b.0000660.0000000.0000000.00000000000.14524770400.007404. 4.ustar.00.0000010.0000000
    p.0000600.0000000.0000000.00000000000.14524770400.007415. 6.ustar.00.0000000.0000000
    a/.wh.gone.0000000.0000000.0000000.00000000000.00000000000.010743. 0.ustar.00.0000000.0000000
    .wh.gone.0000000.0000000.0000000.00000000000.00000000000.010523. 0.ustar.00.0000000.0000000
    a/.wh..wh..opq.0000000.0000000.0000000.00000000000.00000000000.011363. 0.ustar.00.0000000.0000000
    "#);
}

#[test]
fn extensions() {
    let long = "d/".repeat(40);
    let mut attributed = entry("x", EntryKind::File { size: 0 }, 0o755);
    attributed.xattrs.insert("user.b".into(), vec![]);
    attributed.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2]);
    let mut large = entry("large", EntryKind::File { size: 1 << 33 }, 0o644);
    (large.uid, large.gid, large.mtime) = (1 << 21, (1 << 21) - 1, -1);
    let shown = [
        attributed,
        large,
        entry("é/ü", EntryKind::Directory, 0o755),
        entry(b"\xff".to_vec(), EntryKind::Symlink { target: "ö".into() }, 0o777),
        entry(format!("{long}{}", "n".repeat(101)), EntryKind::File { size: 0 }, 0o644),
        entry("n".repeat(100), EntryKind::Hardlink { target: "t".repeat(101).into() }, 0o644),
        // Cut after a slash, which is dropped.
        entry(format!("{}/é", "n".repeat(99)), EntryKind::File { size: 0 }, 0o644),
        entry(format!("{}/{}", "n".repeat(99), "m".repeat(101)), EntryKind::File { size: 0 }, 0o644),
    ]
    .map(|entry| header(&entry))
    .concat();
    insta::assert_snapshot!(shown, @r#"
    PaxHeaders.0/x.0000000.0000000.0000000.00000000101.00000000000.010403. x.ustar.00
    41 SCHILY.xattr.security.capability=\x01.\x02\n24 SCHILY.xattr.user.b=\n
    x.0000755.0000000.0000000.00000000000.14524770400.007432. 0.ustar.00.0000000.0000000
    PaxHeaders.0/large.0000000.0000000.0000000.00000000056.00000000000.011237. x.ustar.00
    12 mtime=-1\n19 size=8589934592\n15 uid=2097152\n
    large.0000644.0000000.7777777.00000000000.00000000000.010271. 0.ustar.00.0000000.0000000
    //PaxHeaders.0.0000000.0000000.0000000.00000000017.00000000000.010300. x.ustar.00
    15 path=\xc3\xa9/\xc3\xbc/\n
    //.0000755.0000000.0000000.00000000000.14524770400.007405. 5.ustar.00.0000000.0000000
    PaxHeaders.0.0000000.0000000.0000000.00000000030.00000000000.010135. x.ustar.00
    15 linkpath=\xc3\xb6\n9 path=\xff\n
    0000777.0000000.0000000.00000000000.14524770400.007250. 2.ustar.00.0000000.0000000
    d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/PaxHeaders.0/nnnnnnn0000000.0000000.0000000.00000000277.00000000000.025223. x.ustar.00
    191 path=d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\n
    d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/nnnnnnnnnnnnnnnnnnnn0000644.0000000.0000000.00000000000.14524770400.027057. 0.ustar.00.0000000.0000000
    PaxHeaders.0/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn0000000.0000000.0000000.00000000163.00000000000.032765. x.ustar.00
    115 linkpath=ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt\n
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn0000644.0000000.0000000.00000000000.14524770400.063350. 1ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttustar.00.0000000.0000000
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.0000000.0000000.0000000.00000000160.00000000000.033250. x.ustar.00
    112 path=nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/\xc3\xa9\n
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/0000644.0000000.0000000.00000000000.14524770400.034530. 0.ustar.00.0000000.0000000
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.0000000.0000000.0000000.00000000323.00000000000.033251. x.ustar.00
    211 path=nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\n
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.0000644.0000000.0000000.00000000000.14524770400.034451. 0.ustar.00.0000000.0000000
    "#);
}

#[test]
fn record_lengths_count_themselves() {
    for (value, length) in
        [(0, 5), (1, 6), (4, 9), (5, 11), (92, 98), (93, 99), (94, 101), (989, 996), (992, 999), (993, 1001)]
    {
        let mut out = Vec::new();
        write_record(&mut out, b"k", &vec![b'v'; value]);
        assert_eq!(out.len(), length, "{value}");
        assert!(out.starts_with(format!("{length} k=").as_bytes()), "{}", out.escape_ascii());
    }
}

/// Makes what `members` say in `root`, for other programs to archive.
fn make(root: &Path, members: &[(Entry, &[u8])]) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for (entry, content) in members {
        let path = root.join(str::from_utf8(&entry.path).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &entry.kind {
            EntryKind::File { .. } => fs::write(&path, content).unwrap(),
            EntryKind::Directory => fs::create_dir_all(&path).unwrap(),
            EntryKind::Symlink { target } => symlink(str::from_utf8(target).unwrap(), &path).unwrap(),
            EntryKind::Hardlink { target } => {
                fs::hard_link(root.join(str::from_utf8(target).unwrap()), &path).unwrap();
            }
            EntryKind::Fifo => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            other => panic!("{other:?}"),
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).unwrap();
        }
    }
}

#[test]
fn ustar_is_gnu_tar_s() {
    let split = format!("{}/{}/f", "p".repeat(90), "q".repeat(60));
    let link = "t".repeat(100);
    let members: &[(Entry, &[u8])] = &[
        (entry("d", EntryKind::Directory, 0o2755), b""),
        (entry("d/f", EntryKind::File { size: 5 }, 0o4755), b"hello"),
        (entry("d/h", EntryKind::Hardlink { target: b"d/f".to_vec() }, 0o4755), b""),
        (entry("d/p", EntryKind::Fifo, 0o600), b""),
        (entry("d/s", EntryKind::Symlink { target: link.into() }, 0o777), b""),
        (entry("e", EntryKind::File { size: 512 }, 0o600), &[7; 512]),
        (entry("n".repeat(100), EntryKind::File { size: 0 }, 0o600), b""),
        (entry(split.as_str(), EntryKind::File { size: 0 }, 0o600), b""),
        (entry(format!("{}/{}", "r".repeat(98), "s".repeat(99)), EntryKind::Directory, 0o700), b""),
    ];
    let root = tempfile::tempdir().unwrap();
    make(root.path(), members);
    let output = Command::new("tar")
        .args(["--format=ustar", "--no-recursion", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mtime=@1700000000", "--blocking-factor=1", "-cf", "-", "-C"])
        .arg(root.path())
        .args(members.iter().map(|(entry, _)| str::from_utf8(&entry.path).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(shown(&archive(members)), shown(&output.stdout));
    assert_eq!(archive(members), output.stdout);
}

/// Every kind of member with every kind of difficulty.
fn difficult() -> Vec<(Entry, &'static [u8])> {
    let mut capable = entry("bin/ping", EntryKind::File { size: 4 }, 0o755);
    capable.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 0, 0x20, 0, 0, b'\n', 0, 0, 0xff]);
    capable.xattrs.insert("user.text".into(), b"a=b c".to_vec());
    let mut owned = entry("owned", EntryKind::File { size: 0 }, 0o644);
    (owned.uid, owned.gid, owned.mtime) = (4_000_000_000, 2_097_152, -5);
    vec![
        (entry("bin", EntryKind::Directory, 0o755), b""),
        (capable, b"ping"),
        (owned, b""),
        (entry("grüße/€", EntryKind::File { size: 2 }, 0o644), b"hi"),
        (entry("d/".repeat(150) + "f", EntryKind::File { size: 1 }, 0o644), b"x"),
        (entry("n".repeat(255), EntryKind::Directory, 0o700), b""),
        (entry("s", EntryKind::Symlink { target: "x/".repeat(200).into() }, 0o777), b""),
        (entry("h", EntryKind::Hardlink { target: ("d/".repeat(150) + "f").into_bytes() }, 0o644), b""),
        (entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666), b""),
        (entry("disk", EntryKind::BlockDevice { major: 259, minor: 1_048_575 }, 0o660), b""),
        (entry("a/gone", EntryKind::Whiteout, 0), b""),
        (entry("a", EntryKind::OpaqueDirectory, 0), b""),
    ]
}

#[test]
fn python_reads_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    fs::write(&path, archive(&difficult())).unwrap();
    let program = r"
import sys, tarfile
for m in tarfile.open(sys.argv[1]):
    x = {k: v.encode('utf-8', 'surrogateescape') for k, v in m.pax_headers.items() if k.startswith('SCHILY.xattr.')}
    name = m.name if len(m.name) < 60 else f'{m.name[:4]}…{len(m.name)}'
    link = m.linkname if len(m.linkname) < 60 else f'{m.linkname[:4]}…{len(m.linkname)}'
    print(name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, int(m.mtime), repr(link), (m.devmajor, m.devminor), repr(m.uname), x)
";
    let output = Command::new("python3").args(["-c", program]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r#"
    bin 5 0o755 0 0 0 1700000000 '' (0, 0) '' {}
    bin/ping 0 0o755 0 0 4 1700000000 '' (0, 0) '' {'SCHILY.xattr.security.capability': b'\x01\x00\x00\x02\x00 \x00\x00\n\x00\x00\xff', 'SCHILY.xattr.user.text': b'a=b c'}
    owned 0 0o644 4000000000 2097152 0 -5 '' (0, 0) '' {}
    grüße/€ 0 0o644 0 0 2 1700000000 '' (0, 0) '' {}
    d/d/…301 0 0o644 0 0 1 1700000000 '' (0, 0) '' {}
    nnnn…255 5 0o700 0 0 0 1700000000 '' (0, 0) '' {}
    s 2 0o777 0 0 0 1700000000 'x/x/…400' (0, 0) '' {}
    h 1 0o644 0 0 0 1700000000 'd/d/…301' (0, 0) '' {}
    null 3 0o666 0 0 0 1700000000 '' (1, 3) '' {}
    disk 4 0o660 0 0 0 1700000000 '' (259, 1048575) '' {}
    a/.wh.gone 0 0o0 0 0 0 0 '' (0, 0) '' {}
    a/.wh..wh..opq 0 0o0 0 0 0 0 '' (0, 0) '' {}
    "#);
}

#[test]
fn gnu_tar_reads_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    fs::write(&path, archive(&difficult())).unwrap();
    let output = Command::new("tar")
        .args(["--utc", "--full-time", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-tvvf"])
        .arg(&path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap().replace(&"d/".repeat(150), "[d/ 150 times]");
    let listed =
        listed.replace(&"n".repeat(255), "[n 255 times]").replace(&"x/".repeat(200), "[x/ 200 times]");
    insta::assert_snapshot!(listed, @r#"
    drwxr-xr-x  0/0               0 2023-11-14 22:13:20 bin/
    -rwxr-xr-x* 0/0               4 2023-11-14 22:13:20 bin/ping
    -rw-r--r--  4000000000/2097152 0 1969-12-31 23:59:55 owned
    -rw-r--r--  0/0                2 2023-11-14 22:13:20 grüße/€
    -rw-r--r--  0/0                1 2023-11-14 22:13:20 [d/ 150 times]f
    drwx------  0/0                0 2023-11-14 22:13:20 [n 255 times]/
    lrwxrwxrwx  0/0                0 2023-11-14 22:13:20 s -> [x/ 200 times]
    hrw-r--r--  0/0                0 2023-11-14 22:13:20 h link to [d/ 150 times]f
    crw-rw-rw-  0/0              1,3 2023-11-14 22:13:20 null
    brw-rw----  0/0      259,1048575 2023-11-14 22:13:20 disk
    ----------  0/0                0 1970-01-01 00:00:00 a/.wh.gone
    ----------  0/0                0 1970-01-01 00:00:00 a/.wh..wh..opq
    "#);
}

/// Names and link targets of every length around the limits of their fields, in all combinations.
fn around_limits() -> Vec<(Entry, &'static [u8])> {
    let mut members = Vec::new();
    for (first, second) in
        (95..105).chain(150..160).flat_map(|n| [1, 50, 90, 98, 99, 100, 101, 155].map(|m| (n, m)))
    {
        for end in ["", "é", "/x"] {
            let path = format!("{}/{}{end}", "p".repeat(first), "q".repeat(second));
            let mut capable = entry(path.as_str(), EntryKind::File { size: 0 }, 0o755);
            capable.xattrs.insert("security.capability".into(), vec![0, 1, b'\n']);
            members.extend([
                (entry(path.as_str(), EntryKind::File { size: 0 }, 0o644), &b""[..]),
                (entry(path.as_str(), EntryKind::Directory, 0o755), b""),
                (capable, b""),
                (entry("s", EntryKind::Symlink { target: path.clone().into() }, 0o777), b""),
                (entry(path.as_str(), EntryKind::Whiteout, 0), b""),
            ]);
        }
    }
    members
}

/// The digests are those of archives of the same members that a program on Go's `archive/tar` wrote as containerd
/// does: `Format: PAX`, attributes as `PAXRecords`, whiteouts as empty files.
#[test]
fn archives_are_go_s() {
    let digest = |members: Vec<_>| crate::Digest::sha256_of(&archive(&members)).hex();
    assert_eq!(digest(difficult()), "c622828b872016d0a910115478010e1271e20fad01c49977b20c1607616cf4c1");
    assert_eq!(digest(around_limits()), "7052a1ed9553fde8d1e99239595ebde6c97ede29062f5b66067bab6199f66f90");
}
