//! Where rows differ, and where docker-rbx differs from buildx.

use rbx_tests::builders::Row;
use rbx_tests::table::{Explained, Lists, Omitted, Otherwise, Verdict};

const DIND: &[Row] = &[Row::ContainerDind];
const EMBEDDED: &[Row] = &[Row::Embedded];
const BUILDKIT: &[Row] =
    &[Row::DockerContainerd, Row::DockerGraph, Row::ContainerBuildKit, Row::ContainerDind, Row::RemoteUnix];
const CONTAINERD: &[Row] = &[Row::DockerContainerd];
const GRAPH: &[Row] = &[Row::DockerGraph];

/// Where the topic of failures is tried, and outputs can be archives.
const DESTINATIONS: &[Row] = &[Row::Embedded, Row::DockerContainerd, Row::ContainerDind, Row::RemoteTls];

pub(super) const LISTS: Lists = Lists { otherwise: OTHERWISE, omitted: OMITTED, explained: EXPLAINED };

/// What ends otherwise on some rows.
const OTHERWISE: &[Otherwise] = &[
    Otherwise {
        rows: GRAPH,
        columns: &[
            "annotations",
            "annotations-of-an-index",
            "annotations-of-no-index",
            "oci",
            "oci-directory",
            "oci-named",
            "oci-uncompressed",
            "platforms",
            "several",
        ],
        verdict: Verdict::Fails(1, "OCI exporter is not supported for the docker driver."),
        reason: "without containerd the Engine has no archives to give",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["docker"],
        verdict: Verdict::Fails(1, "Docker exporter is not supported for the docker driver."),
        reason: "without containerd the Engine has no archives to give",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["load-platforms", "named-layout-platforms"],
        verdict: Verdict::Fails(1, "docker exporter does not currently support exporting manifest lists"),
        reason: "without containerd the Engine has one platform of each image",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["local-platforms", "push-platforms"],
        verdict: Verdict::Fails(1, "Multi-platform build is not supported for the docker driver."),
        reason: "without containerd the Engine has one platform of each image",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["named-layout"],
        verdict: Verdict::Fails(1, "unknown scheme oci-layout: not found"),
        reason: "without containerd the Engine's BuildKit asks no client for what an image is made of",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["cache-unknown"],
        verdict: Verdict::Fails(1, "the embedded engine does not have exported caches yet"),
        reason: "caches are to come",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["cache-absent"],
        verdict: Verdict::Fails(1, "the embedded engine does not have imported caches yet"),
        reason: "caches are to come",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["query-unknown"],
        verdict: Verdict::Fails(
            1,
            "the embedded engine does not have other calls than build, check, outline and targets yet",
        ),
        reason: "there is one front end, and it has no others",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["insecure"],
        verdict: Verdict::Fails(1, "security.insecure is not allowed"),
        reason: "the language is known, and what lacks is the entitlement",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["no-credentials"],
        verdict: Verdict::Fails(
            1,
            "push access denied, repository does not exist or may require authorization",
        ),
        reason: "the base is in the store since an earlier build",
    },
    Otherwise {
        rows: EMBEDDED,
        columns: &["provenance", "provenance-max"],
        verdict: Verdict::Fails(1, "the embedded engine does not have attestations yet"),
        reason: "attestations are to come",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["cache-unknown"],
        verdict: Verdict::Fails(1, "Cache export is not supported for the docker driver."),
        reason: "without containerd the Engine keeps no layers that a cache could be made of",
    },
    Otherwise {
        rows: GRAPH,
        columns: &["provenance", "provenance-max"],
        verdict: Verdict::Fails(1, "Attestation is not supported for the docker driver."),
        reason: "without containerd the Engine has no indexes that they could be in",
    },
];

/// What is not built on some rows.
const OMITTED: &[Omitted] = &[
    Omitted {
        rows: GRAPH,
        columns: &["push-refused"],
        reason: "without containerd the Engine pushes by itself, and asks a registry that refuses for 50 seconds",
    },
    Omitted {
        rows: GRAPH,
        columns: &["destination-unusable"],
        reason: "there is no archive, and which of two errors is said is of no use to anybody",
    },
    Omitted {
        rows: EMBEDDED,
        columns: &["cache-inline", "cache-local", "cache-registry"],
        reason: "caches are to come",
    },
    Omitted {
        rows: GRAPH,
        columns: &["cache-local", "cache-registry"],
        reason: "without containerd the Engine keeps no layers that a cache could be made of",
    },
];

/// Where docker-rbx does otherwise than buildx.
const EXPLAINED: &[Explained] = &[
    Explained {
        rows: GRAPH,
        columns: &[
            "annotations",
            "annotations-of-an-index",
            "annotations-of-no-index",
            "cache-unknown",
            "docker",
            "local-platforms",
            "oci",
            "oci-directory",
            "oci-named",
            "oci-uncompressed",
            "platforms",
            "provenance",
            "provenance-max",
            "push-platforms",
            "several",
        ],
        differences: &["words: Switch to a different driver", "words: nothing | it is turned on by "],
        reason: "what to do is a hint, and says how",
    },
    Explained {
        rows: BUILDKIT,
        columns: &["query-unknown"],
        differences: &["words: ERROR: ", "words: nothing | ERROR: "],
        reason: "one reason is said once",
    },
    Explained {
        rows: BUILDKIT,
        columns: &["http-dockerfile"],
        differences: &["steps: [internal] load build definition from Dockerfile"],
        reason: "what the daemon fetches by itself is not sent to it",
    },
    Explained {
        rows: DESTINATIONS,
        columns: &["destination-unusable"],
        differences: &["words: ERROR: ", "words: nothing | ERROR: "],
        reason: "errors begin with the reason",
    },
    Explained {
        rows: BUILDKIT,
        columns: &["cache-absent"],
        differences: &["words: WARNING: local cache import", "words: nothing | local cache import"],
        reason: "no lock is looked for in a directory that is only read",
    },
    Explained {
        rows: CONTAINERD,
        columns: &["load"],
        differences: &["seen 2: .containerimage.config.digest: "],
        reason: "such an Engine knows no image by its configuration; later releases of buildx leave it out, too",
    },
    Explained {
        rows: CONTAINERD,
        columns: &["push"],
        differences: &["seen 1: .containerimage.config.digest: "],
        reason: "such an Engine knows no image by its configuration; later releases of buildx leave it out, too",
    },
    Explained {
        rows: BUILDKIT,
        columns: &["warnings"],
        differences: &["seen 0: .buildx.build.warnings"],
        reason: "the language of a Dockerfile is known",
    },
    Explained {
        rows: DIND,
        columns: &["none"],
        differences: &[
            "words: WARNING: No output specified with remote driver.",
            "words: nothing | WARNING: No output specified with docker-container driver.",
        ],
        reason: "buildx has the same BuildKit by another driver",
    },
    Explained {
        rows: DIND,
        columns: &["provenance-max"],
        differences: &["seen 0: .image.name: ", "seen 0: nothing | .image.name: "],
        reason: "the name of an image has its tag",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["git-unknown", "image-missing", "push-refused", "stage-missing"],
        differences: &["words: ERROR: ", "words: nothing | ERROR: "],
        reason: "errors begin with the reason, and then say where",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["dockerfile-missing"],
        differences: &["words: nothing | ------", "words: nothing |  > [internal] load build definition"],
        reason: "a step that fails is shown, also this one",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["step-has-no-program"],
        differences: &["words: TIME runc run failed: ", "words: ERROR: ", "words: nothing | ERROR: "],
        reason: "there is no runc, and its words are said as the reason",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["platform-missing"],
        differences: &["words: ERROR: ", "words: nothing | ERROR: "],
        reason: "errors begin with the reason",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["warnings"],
        differences: &[
            "seen 0: .buildx.build.provenance",
            "seen 0: .buildx.build.ref",
            "seen 0: .buildx.build.warnings",
        ],
        reason: "there are no records of builds and no attestations yet, and the language of a Dockerfile is known",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["check-json"],
        differences: &["seen 0: .sources[0].definition"],
        reason: "no daemon has been asked for the Dockerfile, so no definition says where it is from",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["none"],
        differences: &["words: nothing | WARNING: No output specified with embedded driver."],
        reason: "nothing goes to an Engine that has no name",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["docker", "load", "load-again", "load-platforms", "push", "push-platforms"],
        differences: &["index ", "manifest.mediaType: ", "layers' media types: "],
        reason: "images are OCI's unless oci-mediatypes=false says otherwise",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["load", "push"],
        differences: &["seen"],
        reason: "the media types are in the metadata, too, and there are no records of builds yet",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["oci-named"],
        differences: &[
            "seen 1: .buildx.build.ref: ",
            "seen 1: .containerimage.descriptor.annotations.org.opencontainers.image.created",
        ],
        reason: "there are no records of builds yet, and the time of one is in the image itself",
    },
    Explained {
        rows: EMBEDDED,
        columns: &["load", "load-again"],
        differences: &["descriptor.annotations.config.digest: "],
        reason: "the Engine's BuildKit notes it for the Engine, which knows it",
    },
];
