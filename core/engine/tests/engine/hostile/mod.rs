//! Input that is wrong, damaged or meant to do harm: one clear error, and a store that took none.

mod archives;
mod context;
mod registry;
mod server;
mod store;

use libtest_mimic::Trial;
use rbx_oci::{Digest, Entry, EntryKind, tar};
use rbx_request::{BuildRequest, ContextSource, DockerfileSource, FailureKind};

use crate::fixture::Fixture;

pub(crate) fn trials() -> Vec<Trial> {
    [archives::trials(), context::trials(), registry::trials(), store::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// Builds what must fail; answers why it did.
fn refused(fixture: &mut Fixture) -> String {
    let error = fixture.build().err().expect("an error");
    assert!(matches!(error.kind, FailureKind::Invalid | FailureKind::Failed), "{error}");
    sound(fixture);
    error.to_string()
}

/// The store took no harm: a good build works in it, nothing half-made is left, and every blob is what its name says.
fn sound(fixture: &mut Fixture) {
    let good = BuildRequest {
        context: ContextSource::Empty,
        dockerfile: DockerfileSource::Inline(b"FROM scratch\nCOPY <<E /good\nfine\nE\n".to_vec()),
        ..BuildRequest::default()
    };
    let request = std::mem::replace(&mut fixture.request, good);
    let built = fixture.build().unwrap_or_else(|error| panic!("a good build fails: {error}"));
    assert_eq!(built.text("good"), "fine\n");
    fixture.request = request;

    let v1 = fixture.directory.path().join("store/v1");
    let names = |directory: &str| {
        let entries = std::fs::read_dir(v1.join(directory)).expect("a directory of the store");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("tmp"), [""; 0], "temporary files are left");
    for name in names("blobs/sha256") {
        let content = std::fs::read(v1.join("blobs/sha256").join(&name)).expect("a blob");
        assert_eq!(Digest::sha256_of(&content).hex(), name, "a blob is not what its name says");
    }
}

/// A tar of these entries, each file with its own path as content.
fn archive(entries: &[(&str, EntryKind)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, kind) in entries {
        let content = if matches!(kind, EntryKind::File { .. }) { path.as_bytes() } else { &[] };
        let kind = match kind {
            EntryKind::File { .. } => EntryKind::File { size: content.len() as u64 },
            other => other.clone(),
        };
        tar::write_header(&mut archive, &Entry { mode: 0o755, ..Entry::new(*path, kind) });
        archive.extend_from_slice(content);
        archive.resize(archive.len() + tar::padding(content.len() as u64), 0);
    }
    archive.extend_from_slice(&tar::TRAILER);
    archive
}

/// Any file: its content is its path.
const FILE: EntryKind = EntryKind::File { size: 0 };
