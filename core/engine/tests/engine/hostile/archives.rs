//! Archives that `ADD` unpacks.

use std::io::Write;

use libtest_mimic::Trial;
use rbx_oci::{Compression, EntryKind, MemberCompressor};

use super::{FILE, archive, refused, sound};
use crate::fixture::{Fixture, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::archives_that_lead_out_are_refused", archives_that_lead_out_are_refused),
        trial("hostile::archives_write_inside_the_image_only", archives_write_inside_the_image_only),
        trial("hostile::devices_of_archives_stay_in_the_image", devices_of_archives_stay_in_the_image),
        trial("hostile::sizes_that_cannot_be_are_refused", sizes_that_cannot_be_are_refused),
        trial("hostile::cut_and_damaged_archives_are_refused", cut_and_damaged_archives_are_refused),
    ]
}

fn add(fixture: &mut Fixture, archive: &[u8]) {
    std::fs::write(fixture.context("a.tar"), archive).expect("an archive");
    fixture.dockerfile("FROM scratch\nADD a.tar /d/\n");
}

fn archives_that_lead_out_are_refused(fixture: &mut Fixture) {
    for path in ["../out", "a/../../out", "/../out", "a/.."] {
        add(fixture, &archive(&[("a", FILE), (path, FILE)]));
        let reason = refused(fixture);
        assert!(reason.starts_with("path leads out of the archive: "), "{path}: {reason}");
    }
    let link = EntryKind::Hardlink { target: "../../etc/passwd".into() };
    add(fixture, &archive(&[("a", FILE), ("link", link)]));
    assert!(refused(fixture).starts_with("path leads out of the archive: "));
    let link = EntryKind::Hardlink { target: "etc/passwd".into() };
    add(fixture, &archive(&[("a", FILE), ("link", link)]));
    assert!(refused(fixture).starts_with("a hard link to a file that the layer does not hold: \"link\""));
}

fn archives_write_inside_the_image_only(fixture: &mut Fixture) {
    let outside = fixture.directory.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    let link = |target: &str| EntryKind::Symlink { target: target.into() };
    let absolute = outside.to_str().expect("text");
    let relative = format!("../../../../../../../../../..{absolute}");
    let entries = [
        ("/absolute", FILE),
        ("one", link(absolute)),
        ("one/file", FILE),
        ("two", link(&relative)),
        ("two/file2", FILE),
        ("three", link("one")),
        ("three/file3", FILE),
    ];
    add(fixture, &archive(&entries));
    let built = fixture.build().expect("a build");
    assert_eq!(std::fs::read_dir(&outside).expect("the directory").count(), 0);
    assert_eq!(built.text("d/absolute"), "/absolute");
    let inside = |name: &str| format!("d{absolute}/{name}");
    assert_eq!(built.text(&inside("file")), "one/file");
    assert_eq!(built.text(&inside("file2")), "two/file2");
    assert_eq!(built.text(&inside("file3")), "three/file3");
    sound(fixture);
}

fn devices_of_archives_stay_in_the_image(fixture: &mut Fixture) {
    let disk = EntryKind::BlockDevice { major: 8, minor: 0 };
    let memory = EntryKind::CharDevice { major: 1, minor: 1 };
    let deletion = EntryKind::CharDevice { major: 0, minor: 0 };
    add(
        fixture,
        &archive(&[("disk", disk.clone()), ("memory", memory.clone()), ("gone", deletion), ("f", FILE)]),
    );
    let built = fixture.build().expect("a build");
    assert_eq!(built.entry("d/disk").kind, disk);
    assert_eq!(built.entry("d/memory").kind, memory);
    assert!(!built.has("d/gone"), "the overlay's mark of a deletion is no device");
    sound(fixture);
}

fn sizes_that_cannot_be_are_refused(fixture: &mut Fixture) {
    let mut large = archive(&[("first", FILE), ("large", FILE)]);
    // 8 EiB less one byte, in GNU's base 256, in the second header.
    let header = &mut large[1024..1536];
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    add(fixture, &large);
    let reason = refused(fixture);
    assert_eq!(reason, "archive is too large: more than 1099511627776 bytes: failed to unpack layer /a.tar");

    // Extended attributes beyond what any file has.
    let mut record = b"SCHILY.xattr.user.x=".to_vec();
    record.resize(2 << 20, b'x');
    let mut flood = Vec::new();
    let mut extension = vec![0; 512];
    extension[..1].copy_from_slice(b"x");
    extension[124..135].copy_from_slice(format!("{:011o}", record.len()).as_bytes());
    extension[156] = b'x';
    extension[257..265].copy_from_slice(b"ustar\x0000");
    extension[148..156].fill(b' ');
    let sum: u32 = extension.iter().map(|&byte| u32::from(byte)).sum();
    extension[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    flood.extend(archive(&[("first", FILE)]).drain(..1024));
    flood.extend(extension);
    flood.extend(record);
    add(fixture, &flood);
    let reason = refused(fixture);
    assert!(
        reason.starts_with("archive is too large: more than 1048576 bytes in an extension header"),
        "{reason}"
    );
}

fn cut_and_damaged_archives_are_refused(fixture: &mut Fixture) {
    let entries: Vec<(String, EntryKind)> = (0..200).map(|number| (format!("file{number}"), FILE)).collect();
    let entries: Vec<(&str, EntryKind)> =
        entries.iter().map(|(path, kind)| (path.as_str(), kind.clone())).collect();
    let plain = archive(&entries);
    add(fixture, &plain[..plain.len() / 2 + 100]);
    let reason = refused(fixture);
    assert!(reason.starts_with("archive is malformed: "), "{reason}");

    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut packed = Vec::new();
        MemberCompressor::new(compression, 3).compress(&plain, &mut packed);
        add(fixture, &packed[..packed.len() - 20]);
        let cut = refused(fixture);
        assert!(cut.ends_with("failed to unpack layer /a.tar"), "{compression}: {cut}");
    }
    // One of several members is not what its checksum says.
    let mut packed = Vec::new();
    for part in plain.chunks(10_000) {
        MemberCompressor::new(Compression::Gzip, 3).compress(part, &mut packed);
    }
    let end = packed.len();
    packed[end - 6] ^= 1;
    add(fixture, &packed);
    let reason = refused(fixture);
    assert!(reason.ends_with("failed to unpack layer /a.tar"), "{reason}");

    // A bomb that is nothing but zeros is no archive, and is copied as it is.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![0; 1 << 20]).expect("memory");
    }
    let bomb = bomb.finish().expect("memory");
    add(fixture, &bomb);
    assert_eq!(fixture.build().expect("a build").entry("d/a.tar").size(), bomb.len() as u64);
}
