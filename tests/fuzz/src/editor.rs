//! What an editor says to the language server. The first byte chooses: messages that are framed here, divided by zeros,
//! or bytes as they come.

use rbx_lsp::{Surroundings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bytes::Bytes;

/// Where the server's answer to a fault of its own begins.
const FAULT: &[u8] = b"\"code\":-32603";

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let said = if bytes.byte().is_multiple_of(2) {
        let bodies = bytes.0.split(|byte| *byte == 0);
        let framed = bodies.flat_map(|body| {
            let header = format!("Content-Length: {}\r\n\r\n", body.len());
            header.into_bytes().into_iter().chain(body.iter().copied())
        });
        framed.collect()
    } else {
        bytes.0.to_vec()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(theirs);
        let (mut answers, mut questions) = tokio::io::split(ours);
        let server = serve(input, output, Surroundings::default());
        let write = async {
            // A server that has heard `exit` does not listen any more.
            let _ = questions.write_all(&said).await;
            let _ = questions.shutdown().await;
        };
        let mut heard = Vec::new();
        let read = answers.read_to_end(&mut heard);
        let (_, (), read) = tokio::join!(server, write, read);
        read.unwrap();
        assert!(!heard.windows(FAULT.len()).any(|window| window == FAULT), "the server is at fault");
    });
}
