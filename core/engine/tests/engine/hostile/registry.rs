//! Images of a registry that is damaged, or that nobody should trust.

use libtest_mimic::Trial;
use rbx_oci::{
    Compression, Descriptor, Digest, EntryKind, ImageConfig, Index, Manifest, MemberCompressor, media_type,
};
use rbx_platform::Platform;

use super::server::Registry;
use super::{FILE, archive, refused, sound};
use crate::fixture::{Fixture, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::layers_must_be_what_the_manifest_says", layers_must_be_what_the_manifest_says),
        trial("hostile::layers_must_be_archives_that_stay_inside", layers_must_be_archives_that_stay_inside),
        trial("hostile::images_write_inside_their_trees_only", images_write_inside_their_trees_only),
        trial("hostile::manifests_that_make_no_sense_are_refused", manifests_that_make_no_sense_are_refused),
        trial("hostile::images_of_too_many_layers_are_refused", images_of_too_many_layers_are_refused),
        trial("hostile::a_registry_that_is_not_there_is_said", a_registry_that_is_not_there_is_said),
    ]
}

/// An image of layers, given by the registry piece by piece.
struct Pulled {
    registry: Registry,
    layers: Vec<(Descriptor, Digest)>,
}

impl Pulled {
    fn new() -> Pulled {
        Pulled { registry: Registry::start(), layers: Vec::new() }
    }

    fn layer(&mut self, tar: &[u8]) -> Descriptor {
        let mut packed = Vec::new();
        MemberCompressor::new(Compression::Gzip, 3).compress(tar, &mut packed);
        self.registry.blob(&packed);
        let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &packed);
        self.layers.push((descriptor.clone(), Digest::sha256_of(tar)));
        descriptor
    }

    fn manifest(&self) -> Manifest {
        let mut config = ImageConfig::new(&Platform::host());
        config.diff_ids = self.layers.iter().map(|(_, diff_id)| *diff_id).collect();
        let config = config.to_bytes();
        self.registry.blob(&config);
        let layers = self.layers.iter().map(|(layer, _)| layer.clone()).collect();
        Manifest::new(media_type::OCI_MANIFEST, Descriptor::of(media_type::OCI_CONFIG, &config), layers)
    }

    fn finish(&self, fixture: &mut Fixture) {
        self.registry.manifest(media_type::OCI_MANIFEST, &self.manifest().to_bytes());
        self.build_on(fixture);
    }

    fn build_on(&self, fixture: &mut Fixture) {
        fixture.write("new", "new");
        fixture.dockerfile(&format!("FROM {}\nCOPY new /\n", self.registry.image()));
    }

    /// The reason without the registry's port.
    fn refused(&self, fixture: &mut Fixture) -> String {
        refused(fixture)
            .replace(&self.registry.image(), "IMAGE")
            .replace(self.registry.image().split('/').next().unwrap_or_default(), "HOST")
    }
}

fn layers_must_be_what_the_manifest_says(fixture: &mut Fixture) {
    let mut image = Pulled::new();
    let layer = image.layer(&archive(&[("a", FILE)]));
    image.finish(fixture);
    let size = usize::try_from(layer.size).expect("small");
    // Other bytes of the same length; fewer; more; none at all.
    image.registry.blob_as(layer.digest, &vec![1; size], size);
    let reason = image.refused(fixture);
    assert!(reason.starts_with("digest mismatch: HOST/image@sha256:"), "{reason}");
    image.registry.blob_as(layer.digest, &vec![1; size - 1], size - 1);
    let reason = image.refused(fixture);
    assert!(reason.starts_with("size mismatch: "), "{reason}");
    image.registry.blob_as(layer.digest, &vec![1; size + 1], size + 1);
    let reason = image.refused(fixture);
    assert!(reason.starts_with("size mismatch: "), "{reason}");
    image.registry.blob_as(layer.digest, &vec![1; size], size - 10);
    let reason = image.refused(fixture);
    assert!(reason.starts_with("transfer cut short: "), "{reason}");

    // The archive is not the one that the configuration names.
    let mut image = Pulled::new();
    image.layer(&archive(&[("a", FILE)]));
    image.layers[0].1 = Digest::sha256_of(b"another");
    image.finish(fixture);
    let reason = image.refused(fixture);
    assert!(reason.contains(" unpacks to sha256:"), "{reason}");

    // Once the registry mends it, the same build works.
    let mut image = Pulled::new();
    let tar = archive(&[("b", FILE)]);
    let layer = image.layer(&tar);
    image.finish(fixture);
    image.registry.blob_as(layer.digest, b"", 0);
    image.refused(fixture);
    image.layers.clear();
    image.layer(&tar);
    image.build_on(fixture);
    let built = fixture.build().expect("a build");
    assert!(built.has("b") && built.has("new"));
}

fn layers_must_be_archives_that_stay_inside(fixture: &mut Fixture) {
    for (tar, expected) in [
        (b"no archive at all".repeat(100), "archive is malformed: "),
        (archive(&[("../../etc/cron.d/job", FILE)]), "path leads out of the archive: "),
        (
            archive(&[("a", EntryKind::Hardlink { target: "b".into() })]),
            "a hard link to a file that the layer does not",
        ),
        (archive(&[(".wh.", FILE)]), "whiteout of no file: "),
        (archive(&[(".wh...", FILE)]), "whiteout of no file: "),
        (archive(&[("d/.wh.x/y", FILE)]), "directory has the name of a whiteout: "),
        (archive(&[("f", FILE), ("f/below", FILE)]), "a file is used as a directory: "),
    ] {
        let mut image = Pulled::new();
        image.layer(&tar);
        image.finish(fixture);
        let reason = image.refused(fixture);
        assert!(
            reason.starts_with(expected) && reason.contains(": failed to unpack layer sha256:"),
            "{reason}"
        );
    }
}

/// The layers of an image work together: a link of one leads to a link of the next, and that out of the tree.
fn images_write_inside_their_trees_only(fixture: &mut Fixture) {
    let outside = fixture.directory.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    let link = |target: &str| EntryKind::Symlink { target: target.into() };
    let mut image = Pulled::new();
    image.layer(&archive(&[("link", link("/dir"))]));
    image.layer(&archive(&[("dir", link(outside.to_str().expect("text"))), ("link/file", FILE)]));
    image.finish(fixture);
    let built = fixture.build().expect("a build");
    assert_eq!(std::fs::read_dir(&outside).expect("the directory").count(), 0);
    assert!(built.has(&format!("{}/file", outside.to_str().expect("text").trim_start_matches('/'))));
    sound(fixture);
}

fn manifests_that_make_no_sense_are_refused(fixture: &mut Fixture) {
    // A manifest that is none, and one under the digest of another.
    let image = Pulled::new();
    image.registry.manifest(media_type::OCI_MANIFEST, b"{\"schemaVersion\": 2");
    image.build_on(fixture);
    let reason = image.refused(fixture);
    assert!(reason.starts_with("failed to resolve source metadata for IMAGE: "), "{reason}");

    let platform = Platform::host();
    let index = |image: &Pulled, digest: Digest, size: usize| {
        let manifest =
            Descriptor::new(media_type::OCI_MANIFEST, digest, size as u64).with_platform(&platform);
        let index = Index::new(media_type::OCI_INDEX, vec![manifest]);
        image.registry.manifest(media_type::OCI_INDEX, &index.to_bytes())
    };
    let image = Pulled::new();
    let other = Digest::sha256_of(b"another");
    let bytes = image.manifest().to_bytes();
    image.registry.manifest_as(&other.to_string(), media_type::OCI_MANIFEST, &bytes);
    index(&image, other, bytes.len());
    image.build_on(fixture);
    let reason = image.refused(fixture);
    assert!(reason.contains("digest mismatch"), "{reason}");

    // Indexes in indexes; one that says it holds itself cannot exist, so they are many.
    let image = Pulled::new();
    let mut bytes = image.manifest().to_bytes();
    let mut digest = image.registry.manifest(media_type::OCI_MANIFEST, &bytes);
    for _ in 0..6 {
        let inner =
            Descriptor::new(media_type::OCI_INDEX, digest, bytes.len() as u64).with_platform(&platform);
        bytes = Index::new(media_type::OCI_INDEX, vec![inner]).to_bytes();
        digest = image.registry.manifest(media_type::OCI_INDEX, &bytes);
    }
    image.build_on(fixture);
    assert_eq!(image.refused(fixture), "the index of IMAGE nests too deeply");

    // A configuration of a gigabyte, by its descriptor; one that is not what its digest says; one that is none.
    for (config, given, expected) in [
        (
            Descriptor::new(media_type::OCI_CONFIG, other, 1 << 30),
            &b""[..],
            "the configuration of IMAGE is too large",
        ),
        (Descriptor::new(media_type::OCI_CONFIG, other, 2), b"{}", "digest mismatch: "),
        (
            Descriptor::of(media_type::OCI_CONFIG, b"no"),
            b"no",
            "expected ident at line 1 column 2: image config is malformed",
        ),
    ] {
        let image = Pulled::new();
        image.registry.blob_as(config.digest, given, given.len());
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, Vec::new());
        image.registry.manifest(media_type::OCI_MANIFEST, &manifest.to_bytes());
        image.build_on(fixture);
        let reason = image.refused(fixture);
        assert!(reason.starts_with(expected), "{reason}");
    }

    // Fewer layers than the configuration names.
    let mut image = Pulled::new();
    image.layer(&archive(&[("a", FILE)]));
    let mut manifest = image.manifest();
    manifest.layers.clear();
    image.registry.manifest(media_type::OCI_MANIFEST, &manifest.to_bytes());
    image.build_on(fixture);
    let reason = image.refused(fixture);
    assert!(reason.contains(" has 0 layers but names 1"), "{reason}");
}

fn images_of_too_many_layers_are_refused(fixture: &mut Fixture) {
    let mut image = Pulled::new();
    let layer = image.layer(&archive(&[("a", FILE)]));
    let one = image.layers[0].clone();
    image.layers = vec![one; 10_000];
    image.finish(fixture);
    let reason = image.refused(fixture);
    assert!(reason.ends_with(" has 10000 layers, at most 500 can be mounted"), "{reason}");

    // A hundred thousand do not even fit into a manifest.
    let config = image.manifest().config;
    let manifest = Manifest::new(media_type::OCI_MANIFEST, config, vec![layer; 100_000]);
    image.registry.manifest(media_type::OCI_MANIFEST, &manifest.to_bytes());
    let reason = image.refused(fixture);
    assert!(reason.contains("manifest too large: "), "{reason}");
}

fn a_registry_that_is_not_there_is_said(fixture: &mut Fixture) {
    // A port that was just free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    fixture.dockerfile(&format!("FROM {address}/image:1\n"));
    let reason = refused(fixture).replace(&address.to_string(), "HOST");
    assert!(
        reason.starts_with("failed to resolve source metadata for HOST/image:1: cannot reach HOST: "),
        "{reason}"
    );
}
