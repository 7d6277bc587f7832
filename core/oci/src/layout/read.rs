//! Reading layouts. They come from users and from other machines: every blob is checked as it is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rbx_platform::Platform;

use super::{INDEX_FILE, OCI_LAYOUT_FILE, blob_path};
use crate::config::ImageConfig;
use crate::descriptor::{ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor};
use crate::digest::{Digest, VerifiedReader};
use crate::entry::EntryKind;
use crate::json::{DOCUMENT_LIMIT, DocumentError};
use crate::manifest::{Document, Index, Manifest};
use crate::media_type;
use crate::tar::{Limits, Members, TarError};

/// How deep indexes may be nested in each other.
const DEPTH_LIMIT: usize = 4;
/// How many manifests and indexes an image may have in all.
const MANIFEST_LIMIT: usize = 1000;
const DEFAULT_TAG: &str = "latest";

/// Why something of a layout could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged.
    #[error("cannot read {path}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: TarError,
    },
    /// Neither a layout nor an archive of one.
    #[error("not an OCI layout, {reason}: {path}")]
    NotLayout {
        /// What is missing or wrong.
        reason: &'static str,
        /// The directory or archive.
        path: PathBuf,
    },
    /// A blob is not there.
    #[error("blob is missing in {path}: {digest}")]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// The layout.
        path: PathBuf,
    },
    /// A blob has another size than what refers to it says.
    #[error("blob has {found} bytes, expected {expected}: {digest}")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The size according to the reference.
        expected: u64,
        /// The size it has.
        found: u64,
    },
    /// A blob's content is another than its name says, or unreadable.
    #[error("cannot read blob {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest, an index or a configuration is invalid.
    #[error("cannot read {name}")]
    Document {
        /// The file or blob.
        name: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// No image has this tag or digest.
    #[error("no image {wanted:?} in {path}, which has: {available}")]
    NoImage {
        /// Tag or digest that was looked for.
        wanted: String,
        /// The layout.
        path: PathBuf,
        /// The tags there are, separated by commas, or `none`.
        available: String,
    },
    /// The image is not there for this platform.
    #[error("no image for platform {wanted} in {path}, which has: {available}")]
    NoPlatform {
        /// The platform that was looked for.
        wanted: String,
        /// The layout.
        path: PathBuf,
        /// The platforms there are, separated by commas, or `none`.
        available: String,
    },
    /// Indexes are nested deeper, or hold more manifests, than any honest image's.
    #[error("image has too many nested indexes or manifests: {digest}")]
    TooComplex {
        /// The index at which it was too much.
        digest: Digest,
    },
}

/// An OCI layout to read from: a directory, or an uncompressed tar archive of one.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    source: Source,
    index: Index,
}

#[derive(Debug)]
enum Source {
    Directory,
    /// Where the content of members starts, and its length.
    Archive(HashMap<Vec<u8>, (u64, u64)>),
}

impl Layout {
    /// Opens the layout in the directory or archive at `path`. Of an archive all headers are read, content is not.
    pub fn open(path: impl Into<PathBuf>) -> Result<Layout, LayoutError> {
        let path = path.into();
        let failed = |source| LayoutError::Io { path: path.clone(), source };
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        let source = if metadata.is_dir() {
            Source::Directory
        } else if metadata.is_file() {
            Source::Archive(scan(&path, &File::open(&path).map_err(failed)?)?)
        } else {
            return Err(LayoutError::NotLayout { reason: "neither a directory nor a file", path });
        };
        let mut layout = Layout { path, source, index: Index::new(media_type::OCI_INDEX, Vec::new()) };
        if let Some(marker) = layout.file(OCI_LAYOUT_FILE)? {
            let marker: serde_json::Value = serde_json::from_slice(&marker).unwrap_or_default();
            let version = marker["imageLayoutVersion"].as_str().unwrap_or_default();
            if !version.starts_with("1.") {
                let reason = "its oci-layout names no known version";
                return Err(LayoutError::NotLayout { reason, path: layout.path });
            }
        }
        let Some(index) = layout.file(INDEX_FILE)? else {
            return Err(LayoutError::NotLayout { reason: "it has no index.json", path: layout.path });
        };
        layout.index = Index::parse(&index).map_err(|source| LayoutError::Document {
            name: layout.path.join(INDEX_FILE).display().to_string(),
            source,
        })?;
        Ok(layout)
    }

    /// The table of contents.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The content `blob` describes. Its size is checked at once, its digest when the end has been read: only a
    /// reader that returned 0 has given the right content.
    pub fn blob(&self, blob: &Descriptor) -> Result<VerifiedReader<impl Read + Send + 'static>, LayoutError> {
        let (file, found) = self.open_blob(blob.digest)?;
        if found != blob.size {
            return Err(LayoutError::WrongSize { digest: blob.digest, expected: blob.size, found });
        }
        Ok(VerifiedReader::new(file.take(found), blob.digest, blob.size))
    }

    /// Opens the file in which a blob is, at its first byte; its size goes with it. Nothing is checked.
    pub fn open_blob(&self, digest: Digest) -> Result<(File, u64), LayoutError> {
        let missing = || LayoutError::MissingBlob { digest, path: self.path.clone() };
        let path = blob_path(digest);
        match &self.source {
            Source::Directory => open_file(&self.path.join(path)),
            Source::Archive(members) => {
                let &(offset, size) = members.get(path.as_bytes()).ok_or_else(missing)?;
                self.open_at(offset).map(|file| (file, size))
            }
        }
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => LayoutError::Blob { digest, source },
        })
    }

    /// The image of a tag, full name or digest for a platform: the way to its manifest through indexes, the manifest
    /// last. Without a name it is the one tagged `latest`, or the only one there is.
    ///
    /// An image of a single platform is taken whatever that platform is, as other builders do; compare
    /// [`ImageConfig::platform`] to warn of it.
    pub fn resolve(&self, name: Option<&str>, wanted: &Platform) -> Result<Vec<Descriptor>, LayoutError> {
        let top = self.find(name)?;
        let mut leaves = Vec::new();
        self.collect(vec![top.clone()], &mut leaves, &mut 0)?;
        if let [only] = leaves.as_slice()
            && only.last().is_some_and(|manifest| manifest.platform.is_none())
        {
            return Ok(only.clone());
        }
        let mut platforms = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            platforms.push(self.platform_of(leaf)?);
        }
        match rbx_platform::best(wanted, platforms.iter()) {
            Some(best) => Ok(leaves.swap_remove(best)),
            None => Err(LayoutError::NoPlatform {
                wanted: wanted.to_string(),
                path: self.path.clone(),
                available: list(platforms.iter().map(ToString::to_string)),
            }),
        }
    }

    /// The manifest, index or other document of a blob.
    pub fn document(&self, blob: &Descriptor) -> Result<Document, LayoutError> {
        let bytes = self.small_blob(blob)?;
        Document::parse(&bytes).map_err(|source| malformed(blob, source))
    }

    /// What the table of contents lists under a tag, full name or digest; without a name, what is tagged `latest` or
    /// is the only thing there.
    pub fn find(&self, name: Option<&str>) -> Result<&Descriptor, LayoutError> {
        let images = &self.index.manifests;
        let annotated = |key: &str, value: &str| {
            images.iter().find(|image| image.annotations.get(key).is_some_and(|found| found == value))
        };
        let wanted = name.unwrap_or(DEFAULT_TAG);
        let found = match Digest::parse(wanted) {
            Ok(digest) => images.iter().find(|image| image.digest == digest),
            Err(_) => {
                annotated(ANNOTATION_IMAGE_NAME, wanted).or_else(|| annotated(ANNOTATION_REF_NAME, wanted))
            }
        };
        // A single image without a tag stands for any tag.
        let stands_in = |only: &Descriptor| {
            name.is_none()
                || (Digest::parse(wanted).is_err() && !only.annotations.contains_key(ANNOTATION_REF_NAME))
        };
        match (found, images.as_slice()) {
            (Some(image), _) => Ok(image),
            (None, [only]) if stands_in(only) => Ok(only),
            _ => Err(self.no_image(wanted)),
        }
    }

    fn no_image(&self, wanted: &str) -> LayoutError {
        let tags = self.index.manifests.iter().filter_map(|image| image.annotations.get(ANNOTATION_REF_NAME));
        LayoutError::NoImage {
            wanted: wanted.to_owned(),
            path: self.path.clone(),
            available: list(tags.cloned()),
        }
    }

    /// Adds the manifests below the end of `chain` to `leaves`, each with the way to it; `seen` counts all that was
    /// looked at.
    fn collect(
        &self,
        chain: Vec<Descriptor>,
        leaves: &mut Vec<Vec<Descriptor>>,
        seen: &mut usize,
    ) -> Result<(), LayoutError> {
        let Some(last) = chain.last() else { return Ok(()) };
        *seen += 1;
        if *seen > MANIFEST_LIMIT || chain.len() > DEPTH_LIMIT + 1 {
            return Err(LayoutError::TooComplex { digest: last.digest });
        }
        if !media_type::is_index(&last.media_type) {
            leaves.push(chain);
            return Ok(());
        }
        let bytes = self.small_blob(last)?;
        let index = Index::parse(&bytes).map_err(|source| malformed(last, source))?;
        for manifest in index.manifests {
            let mut chain = chain.clone();
            chain.push(manifest);
            self.collect(chain, leaves, seen)?;
        }
        Ok(())
    }

    /// The platform of a manifest by its own or the nearest descriptor that says it, else by the image's
    /// configuration.
    fn platform_of(&self, chain: &[Descriptor]) -> Result<Platform, LayoutError> {
        if let Some(platform) = chain.iter().rev().find_map(|descriptor| descriptor.platform.as_ref()) {
            return Ok(platform.into());
        }
        let unknown = || Platform {
            os: "unknown".to_owned(),
            architecture: "unknown".to_owned(),
            variant: None,
            os_version: None,
        };
        let Some(last) = chain.last().filter(|last| media_type::is_manifest(&last.media_type)) else {
            return Ok(unknown());
        };
        let bytes = self.small_blob(last)?;
        let manifest = Manifest::parse(&bytes).map_err(|source| malformed(last, source))?;
        if !media_type::is_config(&manifest.config.media_type) {
            return Ok(unknown());
        }
        let bytes = self.small_blob(&manifest.config)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| malformed(&manifest.config, source))?;
        Ok(config.platform())
    }

    fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let size = usize::try_from(blob.size).unwrap_or(usize::MAX);
        if size > DOCUMENT_LIMIT {
            return Err(malformed(blob, DocumentError::TooLarge { what: "document", size }));
        }
        let mut bytes = Vec::with_capacity(size);
        self.blob(blob)?
            .read_to_end(&mut bytes)
            .map_err(|source| LayoutError::Blob { digest: blob.digest, source })?;
        Ok(bytes)
    }

    /// A small file at the top of the layout, if it is there.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, LayoutError> {
        let read = match &self.source {
            Source::Directory => read_file(&self.path.join(name)),
            Source::Archive(members) => match members.get(name.as_bytes()) {
                Some(&(offset, size)) => self.open_at(offset).and_then(|file| read_small(file, size)),
                None => return Ok(None),
            },
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LayoutError::Io { path: self.path.join(name), source }),
        }
    }

    /// The archive from a place on, with a position of its own.
    fn open_at(&self, offset: u64) -> io::Result<File> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }
}

fn malformed(blob: &Descriptor, source: DocumentError) -> LayoutError {
    LayoutError::Document { name: format!("blob {}", blob.digest), source }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The members of an archive; of those with one name the last, as when it is unpacked.
fn scan(path: &Path, file: &File) -> Result<HashMap<Vec<u8>, (u64, u64)>, LayoutError> {
    let limits = Limits::default();
    let failed = |source| LayoutError::Archive { path: path.to_owned(), source };
    let mut members = Members::seeking(BufReader::new(file), &limits);
    let mut found = HashMap::new();
    loop {
        let raw = match members.next() {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(found),
            Err(TarError::Malformed { offset: 0, .. }) => {
                let reason = "nor an uncompressed tar archive";
                return Err(LayoutError::NotLayout { reason, path: path.to_owned() });
            }
            Err(error) => return Err(failed(error)),
        };
        let offset = raw.content_offset;
        if let Some(entry) = raw.into_entry(&limits).map_err(failed)?
            && let EntryKind::File { size } = entry.kind
        {
            found.insert(entry.path, (offset, size));
        }
    }
}

/// A regular file and its length. Anything else could block, or never end.
pub(super) fn open_file(path: &Path) -> io::Result<(File, u64)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// A file of at most [`DOCUMENT_LIMIT`] bytes.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, length) = open_file(path)?;
    read_small(file, length)
}

fn read_small(file: File, length: u64) -> io::Result<Vec<u8>> {
    if length > DOCUMENT_LIMIT as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("file is too large: {length} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
