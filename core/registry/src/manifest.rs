//! Manifests and indexes, as far as a client must look into them.

use rbx_oci::{DOCUMENT_LIMIT, Document, DocumentError, media_type};
use reqwest::Response;

use crate::error::RegistryError;

/// What we can read, the list of all platforms before one of them. Registries that know only one of the kinds give
/// that; without this header some give the obsolete schema 1.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// Whether it is the type of something that [`media_type`] can answer.
pub(crate) fn is_known(media_type: &str) -> bool {
    media_type::is_manifest(media_type) || media_type::is_index(media_type)
}

/// Reads an answer's body within the bound.
pub(crate) async fn read(mut response: Response, what: &str, host: &str) -> Result<Vec<u8>, RegistryError> {
    let too_large = || RegistryError::TooLarge {
        what: what.to_owned(),
        host: host.to_owned(),
        limit: DOCUMENT_LIMIT as u64,
    };
    let announced = response.content_length();
    if announced.is_some_and(|length| length > DOCUMENT_LIMIT as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => {
                return Err(RegistryError::CutShort {
                    what: what.to_owned(),
                    host: host.to_owned(),
                    received: bytes.len() as u64,
                    size: announced.unwrap_or_default(),
                    source: Some(Box::new(error.without_url())),
                });
            }
        }
        if bytes.len() > DOCUMENT_LIMIT {
            return Err(too_large());
        }
    }
}

/// The media type of a manifest: what it says of itself, else what the registry said where that fits, else OCI's.
pub(crate) fn media_type(bytes: &[u8], content_type: Option<&str>) -> Result<String, DocumentError> {
    let (stated, fits, default): (_, fn(&str) -> bool, _) = match Document::parse(bytes)? {
        Document::Manifest(manifest) => {
            (manifest.media_type, media_type::is_manifest, media_type::OCI_MANIFEST)
        }
        Document::Index(index) => (index.media_type, media_type::is_index, media_type::OCI_INDEX),
    };
    Ok(stated.unwrap_or_else(|| content_type.filter(|said| fits(said)).unwrap_or(default).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config": {"mediaType": "x", "size": 2,
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    fn of(fields: &str, content_type: Option<&str>) -> Result<String, String> {
        let text = format!(r#"{{"schemaVersion": 2, {fields}}}"#);
        super::media_type(text.as_bytes(), content_type).map_err(|error| error.to_string())
    }

    #[test]
    fn media_types() {
        let index = r#""manifests": []"#;
        let manifest = &format!(r#"{CONFIG}, "layers": []"#);
        assert_eq!(of(index, None).unwrap(), media_type::OCI_INDEX);
        let list = media_type::DOCKER_MANIFEST_LIST;
        assert_eq!(of(index, Some(list)).unwrap(), list);
        assert_eq!(of(index, Some(media_type::OCI_MANIFEST)).unwrap(), media_type::OCI_INDEX);
        assert_eq!(of(manifest, Some("text/plain")).unwrap(), media_type::OCI_MANIFEST);
        let stated = format!(r#""mediaType": "{}", {CONFIG}"#, media_type::DOCKER_MANIFEST);
        assert_eq!(of(&stated, Some(media_type::OCI_MANIFEST)).unwrap(), media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn documents_that_are_refused() {
        assert!(of(&format!(r#""manifests": [], {CONFIG}"#), None).is_err());
        assert!(
            of(&format!(r#""mediaType": "{}", "manifests": []"#, media_type::OCI_MANIFEST), None).is_err()
        );
        assert!(super::media_type(b"<html>", None).is_err());
        assert!(super::media_type(br#"{"schemaVersion": 1, "fsLayers": []}"#, None).is_err());
    }
}
