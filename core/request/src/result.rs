//! What a build answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Metadata;

/// Lines of a file that an error or a warning is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRange {
    /// The file, as people name it.
    pub file: String,
    /// All of its text.
    pub text: Arc<str>,
    /// The first line meant, from 1.
    pub first: u32,
    /// The last line meant.
    pub last: u32,
}

/// What a build made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildResult {
    /// Digest of the image's manifest, or of its index when several platforms were built, `sha256:…`.
    pub image_digest: Option<String>,
    /// Digest of the image's configuration when one platform was built: the image ID of engines without the
    /// containerd store.
    pub config_digest: Option<String>,
    /// Every exporter's answer, in the keys of `--metadata-file` (`containerimage.digest`, `image.name`, …).
    pub metadata: Metadata,
    /// Lines for the user once all is done, such as where the image is and how to take it out.
    pub notes: Vec<String>,
}

/// What a builder answered to `--call`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallAnswer {
    /// The answer as JSON.
    pub json: Option<String>,
    /// The answer as people read it.
    pub text: Option<String>,
    /// What the program is to end with: of `check`, 1 if something was found.
    pub status: i32,
}

/// Why a build failed, as a program that started it reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildFailure {
    /// The reason, in one line.
    pub reason: String,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The step that failed, as its [`Vertex`](crate::Vertex) is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The file that the reason is about, as people name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The lines of that file, first and last, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u32, u32)>,
    /// Nothing failed: whoever started the build ended it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
}
