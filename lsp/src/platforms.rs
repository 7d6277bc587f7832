//! Which platforms a document is built for.

use std::path::Path;

use rbx_dockerfile::Dockerfile;
use rbx_platform::Platform;
use rbx_project::{Platforms, Projects, Said};

/// What is known of a document's platforms beside its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// What is configured, by the client or in the project.
    pub(crate) configured: &'a [Platform],
    /// What files are built for where nobody says it.
    pub(crate) default: &'a [Platform],
    pub(crate) projects: &'a Projects,
    /// Where the document is, if it is a file.
    pub(crate) path: Option<&'a Path>,
}

/// The platforms of a document.
pub(crate) fn platforms(file: &Dockerfile, known: Known<'_>) -> Platforms {
    let said = Said {
        flag: &[],
        configured: known.configured,
        projects: known.path.map(|path| (known.projects, path)),
        environment: known.default,
        host: &Platform::host(),
    };
    Platforms::of(file, &said)
}

/// Names of platforms with commas between them.
pub(crate) fn names(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::format_all).collect::<Vec<_>>().join(", ")
}
