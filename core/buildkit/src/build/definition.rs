//! Definitions of what the daemon fetches by itself.

use std::collections::BTreeMap;

use prost::Message as _;
use rbx_oci::Digest;

use crate::proto::pb;

/// A file over HTTP, as a directory that has it under `filename`. `name` is what progress shows.
pub(super) fn http(url: &str, filename: &str, name: &str) -> pb::Definition {
    let source = pb::SourceOp {
        identifier: url.to_owned(),
        attrs: BTreeMap::from([("http.filename".to_owned(), filename.to_owned())]),
    };
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = Digest::sha256_of(&source).to_string();
    // The last one does nothing: it says which output of which operation is meant.
    let result = pb::Op { inputs: vec![pb::Input { digest: digest.clone(), index: 0 }], ..pb::Op::default() };
    let metadata = pb::OpMetadata {
        description: BTreeMap::from([("llb.customname".to_owned(), name.to_owned())]),
        caps: BTreeMap::from([("source.http".to_owned(), true)]),
        ..pb::OpMetadata::default()
    };
    pb::Definition {
        def: vec![source, result.encode_to_vec()],
        metadata: BTreeMap::from([(digest, metadata)]),
        source: None,
    }
}
