//! What stands on a command line: the grammars of flags, platforms and references. The first byte chooses.

use std::path::Path;

use rbx_oci::{Digest, Reference};
use rbx_platform::Platform;
use rbx_request::{
    AddHost, Annotation, Attestation, CacheEntry, Call, Network, Output, OutputEntry, Secret, SshForward,
    Ulimit, parse_contexts, parse_entitlements, parse_pairs, parse_platforms, parse_resources, parse_size,
};

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = bytes.byte() % 18;
    let text = String::from_utf8_lossy(bytes.0);
    let text = text.as_ref();
    let here = Path::new("/here");
    match kind {
        0 => {
            if let Ok(reference) = Reference::parse(text) {
                let shown = reference.to_string();
                assert_eq!(Reference::parse(&shown).unwrap(), reference, "{shown}");
                assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference, "{shown}");
                assert!(!reference.domain().is_empty() && !reference.path().is_empty());
            }
        }
        1 => {
            if let Ok(platform) = Platform::parse(text) {
                let normal = platform.normalized();
                assert_eq!(normal.normalized(), normal);
                assert!(platform.matches(&platform));
                assert!(!platform.accepted().is_empty());
                let shown = normal.format_all();
                assert_eq!(Platform::parse(&shown).unwrap().normalized(), normal, "{shown}");
            }
        }
        2 => {
            let _ = Output::parse(text, here);
            if let Ok(entry) = OutputEntry::parse(text) {
                let _ = entry.resolve(here);
            }
        }
        3 => drop(Secret::parse(text, here, &|name| Some(name.to_owned()))),
        4 => drop(SshForward::parse(text, here, Some("/agent"))),
        5 => {
            for entry in CacheEntry::parse_flag(text).unwrap_or_default() {
                drop(entry.resolve(here));
            }
        }
        6 => {
            for annotation in Annotation::parse(text).unwrap_or_default() {
                assert!(!annotation.attribute().is_empty());
            }
        }
        7 => drop(Attestation::parse(text)),
        8 => drop(Attestation::parse_shorthand("provenance", text)),
        9 => drop(Call::parse(text)),
        10 => drop(AddHost::parse(text)),
        11 => drop(Network::parse(text)),
        12 => drop(parse_entitlements(&[text])),
        13 => drop(Ulimit::parse(text)),
        14 => drop(parse_size(text).is_ok_and(|size| size > 0)),
        15 => drop((parse_resources(&[text]), parse_contexts(&[text]))),
        16 => drop((parse_platforms(&[text], &Platform::host()), parse_pairs(&[text], None))),
        _ => {
            if let Ok(digest) = Digest::parse(text) {
                assert_eq!(digest.to_string(), text);
            }
        }
    }
}
