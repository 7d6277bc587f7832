//! Never a wrong hit, and hits where nothing changed.

use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use rbx_oci::EntryKind;

use crate::fixture::{Built, Fixture, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("unchanged_context_hits", unchanged_context_hits),
        trial("touched_file_hits_and_keeps_its_time", touched_file_hits_and_keeps_its_time),
        trial("edit_keeping_size_and_mtime_misses", edit_keeping_size_and_mtime_misses),
        trial("edit_right_after_a_build_misses", edit_right_after_a_build_misses),
        trial("link_target_swapped_misses", link_target_swapped_misses),
        trial("mode_changed_misses", mode_changed_misses),
        trial("owner_flag_changed_misses", owner_flag_changed_misses),
        trial("xattr_changed_misses", xattr_changed_misses),
        trial("renamed_file_misses", renamed_file_misses),
        trial("directory_replaced_by_a_link_misses", directory_replaced_by_a_link_misses),
        trial("ignore_file_changed_misses", ignore_file_changed_misses),
        trial("arguments_used_and_unused_rerun", arguments_used_and_unused_rerun),
        trial("content_of_a_stage_hits_when_it_is_the_same", content_of_a_stage_hits_when_it_is_the_same),
        trial("large_file_changed_in_the_middle_misses", large_file_changed_in_the_middle_misses),
        trial("no_cache_reruns", no_cache_reruns),
        trial("hard_links_broken_in_the_context_miss", hard_links_broken_in_the_context_miss),
    ]
}

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";

/// Builds twice, `change` between; answers both.
fn before_and_after(fixture: &mut Fixture, change: impl FnOnce(&Fixture)) -> (Built, Built) {
    let before = fixture.build().expect("a first build");
    change(fixture);
    let after = fixture.build().expect("a second build");
    (before, after)
}

fn set_times(fixture: &Fixture, path: &str, time: SystemTime) {
    let file = std::fs::File::options().write(true).open(fixture.context(path)).expect("a file");
    file.set_modified(time).expect("a time");
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn unchanged_context_hits(fixture: &mut Fixture) {
    fixture.write("a/b", "one");
    fixture.dockerfile(COPY_ALL);
    let (before, after) = before_and_after(fixture, |_| ());
    assert!(!before.cached("COPY"));
    assert!(after.cached("COPY"));
    assert_eq!(after.text("a/b"), "one");
}

fn touched_file_hits_and_keeps_its_time(fixture: &mut Fixture) {
    fixture.write("a", "one");
    set_times(fixture, "a", long_ago());
    fixture.dockerfile(COPY_ALL);
    let (_, after) = before_and_after(fixture, |fixture| set_times(fixture, "a", SystemTime::now()));
    assert!(after.cached("COPY"));
    assert_eq!(after.entry("a").mtime, 1_000_000_000);
}

fn edit_keeping_size_and_mtime_misses(fixture: &mut Fixture) {
    fixture.write("a", "one");
    set_times(fixture, "a", long_ago());
    fixture.dockerfile(COPY_ALL);
    // Old enough for the stat cache to trust what it has seen.
    std::thread::sleep(Duration::from_millis(50));
    let (_, after) = before_and_after(fixture, |fixture| {
        let before = std::fs::metadata(fixture.context("a")).expect("a file").ino();
        fixture.write("a", "two");
        set_times(fixture, "a", long_ago());
        let after = std::fs::metadata(fixture.context("a")).expect("a file");
        assert_eq!((after.ino(), after.size()), (before, 3));
    });
    assert_eq!(after.text("a"), "two");
}

fn edit_right_after_a_build_misses(fixture: &mut Fixture) {
    fixture.dockerfile(COPY_ALL);
    for round in 0..50 {
        let content = format!("{round:04}");
        fixture.write("a", &content);
        set_times(fixture, "a", long_ago());
        assert_eq!(fixture.build().expect("a build").text("a"), content);
    }
}

fn link_target_swapped_misses(fixture: &mut Fixture) {
    fixture.write("one", "1");
    fixture.write("two", "2");
    symlink("one", fixture.context("link")).expect("a link");
    fixture.dockerfile("FROM scratch\nCOPY . /all/\nCOPY link /file\n");
    let (before, after) = before_and_after(fixture, |fixture| {
        std::fs::remove_file(fixture.context("link")).expect("removal");
        symlink("two", fixture.context("link")).expect("a link");
    });
    assert_eq!((before.text("file"), after.text("file")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(after.entry("all/link").kind, EntryKind::Symlink { target: b"two".to_vec() });
}

fn mode_changed_misses(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.chmod("a", 0o644);
    fixture.dockerfile(COPY_ALL);
    let (before, after) = before_and_after(fixture, |fixture| fixture.chmod("a", 0o755));
    assert_eq!((before.entry("a").mode, after.entry("a").mode), (0o644, 0o755));
}

fn owner_flag_changed_misses(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.dockerfile("FROM scratch\nCOPY --chown=1:2 a /\n");
    let before = fixture.build().expect("a build");
    fixture.dockerfile("FROM scratch\nCOPY --chown=3:4 a /\n");
    let after = fixture.build().expect("a build");
    assert_eq!((before.entry("a").uid, before.entry("a").gid), (1, 2));
    assert_eq!((after.entry("a").uid, after.entry("a").gid), (3, 4));
}

fn xattr_changed_misses(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.dockerfile(COPY_ALL);
    let set = |fixture: &Fixture, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(fixture.context("a"), "security.capability", value, flags)
            .expect("an attribute");
    };
    // cap_net_raw, permitted and effective, in version 2 of the format.
    let capability = |bits: u8| {
        let mut value = vec![0; 20];
        value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
        value[5] = bits;
        value
    };
    let before = fixture.build().expect("a build");
    assert!(before.entry("a").xattrs.is_empty());
    for bits in [0x20, 0x10] {
        set(fixture, &capability(bits));
        let after = fixture.build().expect("a build");
        assert_eq!(after.entry("a").xattrs.get("security.capability"), Some(&capability(bits)));
    }
}

fn renamed_file_misses(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.dockerfile(COPY_ALL);
    let (_, after) = before_and_after(fixture, |fixture| {
        std::fs::rename(fixture.context("a"), fixture.context("b")).expect("a new name");
    });
    assert!(after.has("b") && !after.has("a"));
}

fn directory_replaced_by_a_link_misses(fixture: &mut Fixture) {
    fixture.write("real/f", "one");
    fixture.write("dir/f", "one");
    fixture.dockerfile(COPY_ALL);
    let (before, after) = before_and_after(fixture, |fixture| {
        std::fs::remove_dir_all(fixture.context("dir")).expect("removal");
        symlink("real", fixture.context("dir")).expect("a link");
    });
    assert!(before.has("dir/f"));
    assert!(!after.has("dir/f"));
    assert_eq!(after.entry("dir").kind, EntryKind::Symlink { target: b"real".to_vec() });
}

fn ignore_file_changed_misses(fixture: &mut Fixture) {
    fixture.write("keep", "1");
    fixture.write("drop", "2");
    fixture.write(".dockerignore", "drop\n.dockerignore\n");
    fixture.dockerfile(COPY_ALL);
    let (before, after) =
        before_and_after(fixture, |fixture| fixture.write(".dockerignore", ".dockerignore\nkeep\n"));
    assert!(before.has("keep") && !before.has("drop"));
    assert!(after.has("drop") && !after.has("keep"));
}

/// A stage that can run commands.
const SHELL: &str =
    "FROM scratch AS shell\nCOPY busybox /bin/busybox\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n";

fn arguments_used_and_unused_rerun(fixture: &mut Fixture) {
    fixture.busybox();
    fixture.dockerfile(&format!(
        "{SHELL}ARG X\nRUN echo \"x=$X\" >/x\nFROM shell AS other\nARG Y\nRUN echo fixed >/y\n"
    ));
    let build = |fixture: &mut Fixture, name: &str, value: &str, target: &str| {
        fixture.request.target = Some(target.to_owned());
        fixture.request.build_args.insert(name.to_owned(), value.to_owned());
        fixture.build().expect("a build")
    };
    assert_eq!(build(fixture, "X", "1", "shell").text("x"), "x=1\n");
    assert_eq!(build(fixture, "X", "2", "shell").text("x"), "x=2\n");
    assert!(!build(fixture, "Y", "1", "other").cached("RUN echo fixed"));
    assert!(!build(fixture, "Y", "2", "other").cached("RUN echo fixed"));
    assert!(build(fixture, "Y", "1", "other").cached("RUN echo fixed"));
}

fn content_of_a_stage_hits_when_it_is_the_same(fixture: &mut Fixture) {
    fixture.busybox();
    let text = |word: &str| {
        format!(
            "{SHELL}RUN echo same >/out && : {word}\nFROM scratch\nCOPY --from=shell /out /\nCOPY seed /\n"
        )
    };
    fixture.write("seed", "s");
    fixture.dockerfile(&text("one"));
    fixture.build().expect("a build");
    fixture.dockerfile(&text("two"));
    let after = fixture.build().expect("a build");
    assert!(!after.cached("RUN echo same"));
    assert!(after.cached("COPY --from=shell"));
    assert!(after.cached("COPY seed"));
}

fn large_file_changed_in_the_middle_misses(fixture: &mut Fixture) {
    let mut content = "0123456789abcdef".repeat(256 << 10);
    fixture.write("large", &content);
    set_times(fixture, "large", long_ago());
    fixture.dockerfile(COPY_ALL);
    let before = fixture.build().expect("a build");
    assert_eq!(before.text("large"), content);
    content.replace_range(2_500_000..2_500_001, "X");
    fixture.write("large", &content);
    set_times(fixture, "large", long_ago());
    assert!(fixture.build().expect("a build").text("large") == content);
}

fn no_cache_reruns(fixture: &mut Fixture) {
    fixture.busybox();
    fixture.dockerfile(&format!("{SHELL}RUN cat /proc/sys/kernel/random/uuid >/id\n"));
    let first = fixture.build().expect("a build").text("id");
    assert_eq!(fixture.build().expect("a build").text("id"), first);
    fixture.request.no_cache = rbx_request::NoCache::All;
    let second = fixture.build().expect("a build").text("id");
    assert_ne!(second, first);
    fixture.request.no_cache = rbx_request::NoCache::Use;
    assert_eq!(fixture.build().expect("a build").text("id"), second);
}

fn hard_links_broken_in_the_context_miss(fixture: &mut Fixture) {
    fixture.write("a", "one");
    std::fs::hard_link(fixture.context("a"), fixture.context("b")).expect("a hard link");
    fixture.dockerfile(COPY_ALL);
    let (before, after) = before_and_after(fixture, |fixture| {
        std::fs::remove_file(fixture.context("b")).expect("removal");
        fixture.write("b", "one");
    });
    assert_eq!(before.entry("b").kind, EntryKind::Hardlink { target: b"a".to_vec() });
    assert_eq!(after.entry("b").kind, EntryKind::File { size: 3 });
}
