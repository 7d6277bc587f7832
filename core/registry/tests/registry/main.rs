//! The client against servers: one made of a closure for every corner of the protocol, and the real thing.

#![expect(clippy::unwrap_used, reason = "all of it is tests; clippy knows only functions marked as such")]

mod auth;
mod blobs;
mod manifests;
mod push;
mod real;
mod server;

use std::sync::Arc;

use rbx_oci::{Descriptor, Digest, Reference};
use rbx_registry::{Client, Config, Credentials};
use server::{Reply, Server};

/// A manifest and its digest.
fn sample_manifest() -> (&'static str, Digest) {
    let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
            "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;
    (text, Digest::sha256_of(text.as_bytes()))
}

fn manifest_reply() -> Reply {
    Reply::ok(sample_manifest().0).header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
}

fn client(config: Config) -> Client {
    Client::new(config).unwrap()
}

fn client_as(auths: &str) -> Client {
    let credentials = Credentials::default().with_auth_config(Some(auths)).unwrap();
    client(Config { credentials: Arc::new(credentials), ..Config::default() })
}

fn image(server: &Server) -> Reference {
    format!("{}/team/app:1", server.authority()).parse().unwrap()
}

fn blob(content: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::sha256_of(content), content.len() as u64)
}

/// Content that does not repeat within itself.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[2]).collect()
}

/// An error's text without the ports of this run.
fn text(error: &dyn std::error::Error, servers: &[&Server]) -> String {
    let mut text = error.to_string();
    for (number, server) in servers.iter().enumerate() {
        text = text.replace(&server.authority(), &format!("SERVER{number}"));
    }
    text
}
