//! Images: the same bytes for the same input, bases, names.

use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;

use crate::fixture::{Fixture, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("archives_agree_to_the_byte", archives_agree_to_the_byte),
        trial("cached_rebuild_has_the_same_image_id", cached_rebuild_has_the_same_image_id),
        trial("named_image_is_a_base", named_image_is_a_base),
        trial("layout_is_a_base", layout_is_a_base),
        trial("name_given_to_another_image_is_noticed", name_given_to_another_image_is_noticed),
        trial("archive_that_is_there_is_not_written_again", archive_that_is_there_is_not_written_again),
    ]
}

fn fill(fixture: &Fixture) {
    for number in 0..200 {
        let path = format!("d{}/file{number}", number % 7);
        fixture.write(&path, &format!("{number} ").repeat(2000));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + number);
        let file = std::fs::File::options().write(true).open(fixture.context(&path)).expect("a file");
        file.set_modified(time).expect("a time");
    }
    fixture.write("large", &"content ".repeat(1 << 19));
    for path in ["large", "d0", "d1", "d2", "d3", "d4", "d5", "d6"] {
        let file = std::fs::File::open(fixture.context(path)).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_499_999_999)).expect("a time");
    }
}

fn archives_agree_to_the_byte(fixture: &mut Fixture) {
    let archive = |threads: usize| {
        let mut fixture = Fixture::new();
        fill(&fixture);
        fixture.threads = threads;
        fixture.request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "1600000000".to_owned());
        fixture
            .dockerfile("FROM scratch\nWORKDIR /app\nCOPY . .\nCOPY large /made/on/the/way/\nCMD [\"x\"]\n");
        fixture.archive().expect("an archive").1
    };
    let _ = fixture;
    let (one, many) = (archive(1), archive(8));
    assert!(one == many, "archives of {} and {} bytes differ", one.len(), many.len());
}

fn cached_rebuild_has_the_same_image_id(fixture: &mut Fixture) {
    fixture.busybox();
    fixture.write("a", "one");
    fixture.dockerfile(
        "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"mkdir\", \"/d\"]\nWORKDIR /w\nCOPY a .\nENV A=b\n",
    );
    let (first, _) = fixture.archive().expect("an archive");
    std::thread::sleep(Duration::from_millis(20));
    let (second, _) = fixture.archive().expect("an archive");
    assert!(first.config_digest.is_some());
    assert_eq!(first.config_digest, second.config_digest);
    assert_eq!(first.image_digest, second.image_digest);
}

fn named_image_is_a_base(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.dockerfile("FROM scratch\nCOPY a /\nENV FROM_BASE=yes\nWORKDIR /base\n");
    fixture.tag("my/base:1");
    fixture.dockerfile("FROM my/base:1\nCOPY a b\nCOPY a /$FROM_BASE\n");
    let built = fixture.build().expect("a build");
    assert!(built.has("a") && built.has("base/b") && built.has("yes"));
}

fn name_given_to_another_image_is_noticed(fixture: &mut Fixture) {
    let derived = "FROM base\nCOPY x /y\n";
    fixture.write("x", "x");
    for content in ["one", "two"] {
        fixture.write("a", content);
        fixture.dockerfile("FROM scratch\nCOPY a /\n");
        fixture.tag("base");
        fixture.dockerfile(derived);
        assert_eq!(fixture.build().expect("a build").text("a"), content);
    }
}

fn layout_is_a_base(fixture: &mut Fixture) {
    fixture.write("a", "one");
    fixture.dockerfile("FROM scratch\nCOPY a /\n");
    let layout = fixture.directory.path().join("layout");
    fixture.request.outputs = vec![rbx_request::Output {
        kind: rbx_request::OutputKind::Oci,
        destination: Some(rbx_request::OutputDestination::Path(layout.clone())),
        attributes: [("tar".to_owned(), "false".to_owned())].into(),
    }];
    fixture.run().0.expect("a layout");
    // Another store, so that everything comes from the layout.
    let mut other = Fixture::new();
    other.write("b", "two");
    other.request.named_contexts.insert("base".to_owned(), format!("oci-layout://{}", layout.display()));
    other.dockerfile("FROM base\nCOPY b /\nCOPY --from=base /a /c\n");
    let built = other.build().expect("a build");
    assert_eq!(
        (built.text("a"), built.text("b"), built.text("c")),
        ("one".into(), "two".into(), "one".into())
    );
}

fn archive_that_is_there_is_not_written_again(fixture: &mut Fixture) {
    use std::os::unix::fs::MetadataExt;
    fixture.write("a", "one");
    fixture.dockerfile("FROM scratch\nCOPY a /\n");
    let path = fixture.directory.path().join("image.tar");
    let inode = |fixture: &mut Fixture| {
        fixture.archive().expect("an archive");
        std::fs::metadata(&path).expect("an archive").ino()
    };
    let first = inode(fixture);
    assert_eq!(inode(fixture), first);
    // Somebody else's file in its place is replaced.
    std::fs::write(&path, "no archive").expect("a file");
    assert_ne!(fixture.archive().expect("an archive").1, b"no archive");
    fixture.write("a", "two");
    assert_ne!(inode(fixture), first);
}
