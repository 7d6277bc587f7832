//! What outputs of images ask for: compression, media types, annotations, times.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use rbx_oci::layout::Layout;
use rbx_oci::{
    Compression, Descriptor, Digest, Document, Entry, ImageConfig, Index, Manifest, media_type, tar,
};
use rbx_platform::Platform;
use rbx_request::{Output, OutputDestination, OutputKind};

use crate::fixture::{Fixture, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("layers_are_compressed_as_asked", layers_are_compressed_as_asked),
        trial("base_layers_stay_unless_forced", base_layers_stay_unless_forced),
        trial("media_types_are_docker_s_if_asked", media_types_are_docker_s_if_asked),
        trial("annotations_are_written", annotations_are_written),
        trial("index_has_annotations", index_has_annotations),
        trial("annotation_outside_the_digest_is_written", annotation_outside_the_digest_is_written),
        trial("annotation_without_a_place_is_an_error", annotation_without_a_place_is_an_error),
        trial("rewritten_archives_do_not_depend_on_times", rewritten_archives_do_not_depend_on_times),
        trial("rewriting_leaves_the_base_alone", rewriting_leaves_the_base_alone),
        trial("rewritten_image_is_a_base", rewritten_image_is_a_base),
    ]
}

const EPOCH: i64 = 1_600_000_000;

/// An image as a layout has it.
struct Written {
    path: PathBuf,
    layout: Layout,
    manifest: Manifest,
    config: ImageConfig,
}

fn write(fixture: &mut Fixture, name: &str, attributes: &[(&str, &str)]) -> PathBuf {
    let path = fixture.directory.path().join(name);
    let mut all: BTreeMap<String, String> =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    all.insert("tar".to_owned(), "false".to_owned());
    let destination = Some(OutputDestination::Path(path.clone()));
    fixture.request.outputs = vec![Output { kind: OutputKind::Oci, destination, attributes: all }];
    fixture.run().0.expect("a layout");
    path
}

fn image(fixture: &mut Fixture, name: &str, attributes: &[(&str, &str)]) -> Written {
    let path = write(fixture, name, attributes);
    let layout = Layout::open(&path).expect("a layout");
    let chain = layout.resolve(None, &Platform::host()).expect("an image");
    let Document::Manifest(manifest) =
        layout.document(chain.last().expect("a manifest")).expect("a manifest")
    else {
        panic!("an index where a manifest should be");
    };
    let mut config = Vec::new();
    layout.blob(&manifest.config).expect("a configuration").read_to_end(&mut config).expect("its bytes");
    let config = ImageConfig::parse(&config).expect("a configuration");
    Written { path, layout, manifest, config }
}

impl Written {
    fn bytes(&self, layer: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let blob = self.layout.blob(&self.manifest.layers[layer]).expect("a layer");
        { blob }.read_to_end(&mut bytes).expect("its bytes");
        bytes
    }

    /// The entries of every layer, which is what its digest and its diff ID say.
    fn entries(&self) -> Vec<Vec<Entry>> {
        assert_eq!(self.manifest.layers.len(), self.config.diff_ids.len());
        let layers = self.config.diff_ids.iter().enumerate().map(|(at, diff_id)| {
            let (_, mut plain) = rbx_oci::decompress(std::io::Cursor::new(self.bytes(at))).expect("a layer");
            let mut archive = Vec::new();
            plain.read_to_end(&mut archive).expect("a whole layer");
            assert_eq!(Digest::sha256_of(&archive), *diff_id, "diff ID of layer {at}");
            let mut entries = Vec::new();
            tar::read_layer(&*archive, &tar::Limits::default(), |entry, _| {
                entries.push(entry);
                Ok(())
            })
            .expect("a tar");
            entries
        });
        layers.collect()
    }

    fn types(&self) -> Vec<&str> {
        self.manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect()
    }

    fn compressions(&self) -> Vec<Compression> {
        (0..self.manifest.layers.len()).map(|at| Compression::detect(&self.bytes(at))).collect()
    }
}

/// A context with files that compress, and a layout of an image with a layer of them.
fn with_base(fixture: &mut Fixture) -> Written {
    let base = Fixture::new();
    base.write("below", &"base ".repeat(300_000));
    let mut base = base;
    base.dockerfile("FROM scratch\nCOPY below /\n");
    let built = image(&mut base, "layout", &[]);
    // It outlives the fixture it was made in.
    let path = fixture.directory.path().join("base");
    std::fs::rename(&built.path, &path).expect("a layout");
    fixture.request.named_contexts.insert("base".to_owned(), format!("oci-layout://{}", path.display()));
    fixture.write("file", &"content ".repeat(200_000));
    fixture.dockerfile("FROM base\nCOPY file /\n");
    Written { layout: Layout::open(&path).expect("a layout"), path, ..built }
}

fn layers_are_compressed_as_asked(fixture: &mut Fixture) {
    fixture.write("file", &"content ".repeat(200_000));
    fixture.dockerfile("FROM scratch\nCOPY file /\nWORKDIR /w\n");
    let mut sizes = BTreeMap::new();
    let mut diff_ids = Vec::new();
    for (compression, level, layer_type) in [
        ("gzip", "1", media_type::OCI_LAYER_GZIP),
        ("gzip", "9", media_type::OCI_LAYER_GZIP),
        ("zstd", "1", media_type::OCI_LAYER_ZSTD),
        ("zstd", "19", media_type::OCI_LAYER_ZSTD),
        ("uncompressed", "1", media_type::OCI_LAYER),
    ] {
        let name = format!("{compression}-{level}");
        let attributes = [("compression", compression), ("compression-level", level)];
        let built = image(fixture, &name, &attributes);
        assert_eq!(built.types(), [layer_type; 2]);
        assert_eq!(built.compressions(), [compression.parse().expect("a compression"); 2]);
        assert_eq!(built.entries()[0][0].path, b"file");
        sizes.insert(name, built.manifest.layers[0].size);
        diff_ids.push(built.config.diff_ids);
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "a layer's content is the same however it is compressed");
    assert!(sizes["gzip-9"] < sizes["gzip-1"] && sizes["gzip-1"] < sizes["uncompressed-1"], "{sizes:?}");
    assert!(sizes["zstd-19"] < sizes["zstd-1"] && sizes["zstd-1"] < sizes["uncompressed-1"], "{sizes:?}");
}

fn base_layers_stay_unless_forced(fixture: &mut Fixture) {
    let base = with_base(fixture);
    let zstd = [("compression", "zstd")];
    let kept = image(fixture, "kept", &zstd);
    assert_eq!(kept.compressions(), [Compression::Gzip, Compression::Zstd]);
    assert_eq!(kept.manifest.layers[0], base.manifest.layers[0]);
    for (name, compression) in
        [("forced", Compression::Zstd), ("again", Compression::Zstd), ("plain", Compression::Uncompressed)]
    {
        let attributes = [("compression", compression.name()), ("force-compression", "true")];
        let forced = image(fixture, name, &attributes);
        assert_eq!(forced.compressions(), [compression; 2]);
        assert_eq!(forced.types(), [compression.layer_media_type(); 2]);
        assert_eq!(forced.config.diff_ids, kept.config.diff_ids);
        assert_eq!(forced.entries(), kept.entries());
    }
    let same = image(fixture, "same", &[("compression", "gzip"), ("force-compression", "")]);
    assert_eq!(same.manifest.layers[0], base.manifest.layers[0], "what is right is not packed again");
    assert_eq!(image(fixture, "after", &zstd).manifest, kept.manifest);
}

fn media_types_are_docker_s_if_asked(fixture: &mut Fixture) {
    with_base(fixture);
    let docker = [("oci-mediatypes", "false")];
    let built = image(fixture, "docker", &docker);
    assert_eq!(built.manifest.media_type.as_deref(), Some(media_type::DOCKER_MANIFEST));
    assert_eq!(built.manifest.config.media_type, media_type::DOCKER_CONFIG);
    assert_eq!(built.types(), [media_type::DOCKER_LAYER_GZIP; 2]);
    built.entries();
    // What came with Docker's types gets OCI's where those are asked for.
    let path = format!("oci-layout://{}", built.path.display());
    fixture.request.named_contexts.insert("base".to_owned(), path);
    assert_eq!(image(fixture, "oci", &[]).types(), [media_type::OCI_LAYER_GZIP; 3]);

    fixture.dockerfile("FROM scratch\nCOPY file /\n");
    fixture.request.platforms = vec![platform("linux/amd64"), platform("linux/arm64")];
    let (top, index) = index(&write(fixture, "list", &docker));
    assert_eq!(top.media_type, media_type::DOCKER_MANIFEST_LIST);
    assert_eq!(index.media_type.as_deref(), Some(media_type::DOCKER_MANIFEST_LIST));
    assert!(index.manifests.iter().all(|manifest| manifest.media_type == media_type::DOCKER_MANIFEST));
}

fn platform(text: &str) -> Platform {
    Platform::parse(text).expect("a platform")
}

/// The first entry of a layout's table of contents, and the index it names.
fn index(path: &std::path::Path) -> (Descriptor, Index) {
    let top = top(path);
    let layout = Layout::open(path).expect("a layout");
    let Document::Index(index) = layout.document(&top).expect("an index") else { panic!("no index") };
    (top, index)
}

fn top(path: &std::path::Path) -> Descriptor {
    let bytes = std::fs::read(path.join("index.json")).expect("a table of contents");
    Index::parse(&bytes).expect("a table of contents").manifests.remove(0)
}

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn annotations_are_written(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\nLABEL a=b\n");
    fixture.request.annotations = vec!["one=1".to_owned(), "manifest-descriptor:two=2".to_owned()];
    let built = image(fixture, "image", &[("annotation.three", "3")]);
    assert_eq!(built.manifest.annotations, annotations(&[("one", "1"), ("three", "3")]));
    let tag = ("org.opencontainers.image.ref.name", "latest");
    assert_eq!(top(&built.path).annotations, annotations(&[tag, ("two", "2")]));
}

fn index_has_annotations(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\nLABEL a=b\n");
    fixture.request.platforms = vec![platform("linux/amd64"), platform("linux/arm64")];
    let texts = ["index:a=1", "index-descriptor:b=2", "manifest-descriptor[linux/arm64]:c=3", "manifest:d=4"];
    fixture.request.annotations = texts.map(str::to_owned).to_vec();
    let path = write(fixture, "image", &[]);
    let (top, index) = index(&path);
    let tag = ("org.opencontainers.image.ref.name", "latest");
    assert_eq!(top.annotations, annotations(&[("b", "2"), tag]));
    assert_eq!(index.annotations, annotations(&[("a", "1")]));
    let listed: Vec<_> = index.manifests.iter().map(|it| it.annotations.clone()).collect();
    assert_eq!(listed, [annotations(&[]), annotations(&[("c", "3")])]);
    let layout = Layout::open(&path).expect("a layout");
    for descriptor in &index.manifests {
        let Document::Manifest(manifest) = layout.document(descriptor).expect("a manifest") else {
            panic!("no manifest")
        };
        assert_eq!(manifest.annotations, annotations(&[("d", "4")]));
    }
}

fn annotation_outside_the_digest_is_written(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\nLABEL a=b\n");
    let (first, before) = fixture.archive().expect("an archive");
    fixture.request.annotations = vec!["manifest-descriptor:a=b".to_owned()];
    let (second, after) = fixture.archive().expect("an archive");
    assert_eq!(first.image_digest, second.image_digest);
    assert!(before != after, "the archive is that of before");
}

fn annotation_without_a_place_is_an_error(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\nLABEL a=b\n");
    let output = |attributes| Output { kind: OutputKind::Image, destination: None, attributes };
    fixture.request.outputs = vec![output(BTreeMap::new())];
    for (text, reason) in [
        ("index:a=b", "index annotations not supported for single platform export"),
        ("manifest[linux/s390x]:a=b", "invalid annotation: no platform linux/s390x found in source"),
        ("a", "invalid annotation \"a\", expected key=value"),
    ] {
        fixture.request.annotations = vec![text.to_owned()];
        assert_eq!(fixture.run().0.expect_err("an error").reason, reason);
    }
}

/// Builds an archive with rewritten times, from a context whose files are from `time` (seconds since 1970).
fn rewritten(time: u64) -> Vec<u8> {
    let mut fixture = Fixture::new();
    fixture.busybox();
    for path in ["d/a", "d/b", "c"] {
        fixture.write(path, &path.repeat(1000));
    }
    std::os::unix::fs::symlink("a", fixture.context("d/link")).expect("a link");
    for path in ["d/a", "d/b", "c", "d", "busybox"] {
        let file = std::fs::File::open(fixture.context(path)).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).expect("a time");
    }
    fixture.dockerfile(
        "FROM scratch\nCOPY busybox /bin/\nCOPY d /d\nCOPY --link c /linked/\n\
         RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox date > /dev/null; /bin/busybox rm /d/b; echo new > /d/new\"]\n\
         WORKDIR /w\nCMD [\"x\"]\n",
    );
    fixture.request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_string());
    let path = fixture.directory.path().join("image.tar");
    let destination = Some(OutputDestination::Path(path.clone()));
    let attributes = [("rewrite-timestamp".to_owned(), "true".to_owned())].into();
    fixture.request.outputs = vec![Output { kind: OutputKind::Oci, destination, attributes }];
    fixture.run().0.expect("an archive");
    std::fs::read(path).expect("an archive")
}

fn rewritten_archives_do_not_depend_on_times(_: &mut Fixture) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let first = rewritten(now - 5000);
    // What steps make has another second, too.
    std::thread::sleep(Duration::from_millis(1100));
    let second = rewritten(now);
    assert!(first == second, "archives of {} and {} bytes differ", first.len(), second.len());
}

fn rewriting_leaves_the_base_alone(fixture: &mut Fixture) {
    let base = with_base(fixture);
    fixture.write("old", "old");
    let old = std::fs::File::open(fixture.context("old")).expect("a file");
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("a time");
    fixture.dockerfile("FROM base\nCOPY file old /\n");
    fixture.request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_string());
    let times = |built: &Written| -> Vec<Vec<i64>> {
        built.entries().iter().map(|layer| layer.iter().map(|entry| entry.mtime).collect()).collect()
    };
    let plain = times(&image(fixture, "plain", &[]));
    let built = image(fixture, "rewritten", &[("rewrite-timestamp", "true")]);
    assert_eq!(built.manifest.layers[0], base.manifest.layers[0]);
    assert!(plain[0][0] > EPOCH && plain[1][0] > EPOCH, "{plain:?}");
    assert_eq!(times(&built), [plain[0].clone(), vec![EPOCH, 1_000_000_000]]);
    let again = image(fixture, "again", &[("rewrite-timestamp", "true"), ("compression", "zstd")]);
    assert_eq!(again.config.diff_ids, built.config.diff_ids);
    assert_eq!(times(&again), times(&built));
    assert_eq!(times(&image(fixture, "plain again", &[])), plain, "what was built stays what it was");
}

fn rewritten_image_is_a_base(fixture: &mut Fixture) {
    fixture.write("file", "content");
    fixture.dockerfile("FROM scratch\nCOPY file /\nWORKDIR /w\n");
    fixture.request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_string());
    fixture.request.tags = vec![rbx_oci::Reference::parse("rewritten").expect("a name")];
    let base = image(fixture, "base", &[("rewrite-timestamp", "true")]);
    fixture.request.tags.clear();
    fixture.request.build_args.clear();
    fixture.dockerfile("FROM rewritten\nCOPY file /other\n");
    let built = image(fixture, "derived", &[]);
    assert_eq!(built.config.diff_ids[..2], base.config.diff_ids);
    let times: Vec<i64> = built.entries()[..2].iter().flatten().map(|entry| entry.mtime).collect();
    assert_eq!(times, [EPOCH; 2]);
}
