//! A registry that answers what a test gives it, and nothing else: one request a connection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use rbx_oci::Digest;

/// An answer: its body, and how much of it is sent.
#[derive(Clone)]
pub(super) struct Answer {
    media_type: &'static str,
    body: Vec<u8>,
    /// The connection ends after so many bytes.
    sent: usize,
}

/// What is at each path.
type Content = Arc<Mutex<HashMap<String, Answer>>>;

pub(super) struct Registry {
    address: SocketAddr,
    content: Content,
}

impl Registry {
    pub(super) fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let content = Content::default();
        let shared = content.clone();
        // It ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = shared.clone();
                std::thread::spawn(move || serve(stream, &content));
            }
        });
        Registry { address, content }
    }

    /// The name of the image.
    pub(super) fn image(&self) -> String {
        format!("{}/image:1", self.address)
    }

    fn put(&self, path: String, media_type: &'static str, body: &[u8], sent: usize) {
        let answer = Answer { media_type, body: body.to_vec(), sent };
        self.content.lock().unwrap_or_else(PoisonError::into_inner).insert(path, answer);
    }

    /// Gives a blob under its own digest; answers that.
    pub(super) fn blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256_of(content);
        self.blob_as(digest, content, content.len());
        digest
    }

    /// Gives the first `sent` bytes of something under a digest.
    pub(super) fn blob_as(&self, digest: Digest, content: &[u8], sent: usize) {
        self.put(format!("/v2/image/blobs/{digest}"), "application/octet-stream", content, sent);
    }

    /// Gives a manifest or index under its own digest, and under the tag.
    pub(super) fn manifest(&self, media_type: &'static str, content: &[u8]) -> Digest {
        let digest = Digest::sha256_of(content);
        self.manifest_as(&digest.to_string(), media_type, content);
        self.manifest_as("1", media_type, content);
        digest
    }

    /// Gives a manifest under whatever name.
    pub(super) fn manifest_as(&self, name: &str, media_type: &'static str, content: &[u8]) {
        self.put(format!("/v2/image/manifests/{name}"), media_type, content, content.len());
    }
}

fn serve(mut stream: TcpStream, content: &Content) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut request = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        if request.is_empty() {
            request.clone_from(&line);
        }
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = content.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    // Who asked may be gone already.
    let _ = match answer {
        Some(Answer { media_type, body, sent }) => write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .and_then(|()| if request.starts_with("HEAD") { Ok(()) } else { stream.write_all(&body[..sent]) }),
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    };
}
