//! What registries answer: manifests, indexes, configurations, challenges; and files of credentials. The first byte
//! chooses.

use rbx_oci::{Document, ImageConfig, Index, Manifest};
use rbx_registry::Credentials;

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = bytes.byte() % 4;
    let data = bytes.0;
    match kind {
        0 => {
            // What is read back is what was written, to the byte from then on.
            if let Ok(manifest) = Manifest::parse(data) {
                assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
            }
            if let Ok(index) = Index::parse(data) {
                assert_eq!(Index::parse(&index.to_bytes()).unwrap(), index);
                assert_eq!(Index::parse(&index.to_compact_bytes()).unwrap(), index);
            }
            match Document::parse(data) {
                Ok(Document::Manifest(manifest)) => assert_eq!(Manifest::parse(data).unwrap(), manifest),
                Ok(Document::Index(index)) => assert_eq!(Index::parse(data).unwrap(), index),
                Err(_) => {}
            }
        }
        1 => {
            if let Ok(config) = ImageConfig::parse(data) {
                config.platform();
                let again = ImageConfig::parse(&config.to_bytes()).unwrap();
                assert_eq!(known(again), known(config));
            }
        }
        2 => {
            let header = String::from_utf8_lossy(data);
            for (scheme, parameters) in rbx_registry::fuzz::challenges(&header) {
                assert!(!scheme.is_empty() && scheme == scheme.to_ascii_lowercase());
                assert!(parameters.keys().all(|name| !name.is_empty() && header.len() >= name.len()));
            }
        }
        _ => {
            let text = String::from_utf8_lossy(data);
            let _ = Credentials::default().with_auth_config(Some(&text));
        }
    }
}

/// What has a meaning in a configuration. Of what nobody here knows, numbers beyond 64 bits lose digits.
fn known(mut config: ImageConfig) -> ImageConfig {
    config.extra.clear();
    config.config.extra.clear();
    config
}
