//! The program itself, and the ways in which clients reach it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::framed;

const LONG: Duration = Duration::from_secs(30);

fn server(flags: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rbx-lsp"))
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A short session.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let messages = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "capabilities": {} } }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "shutdown" }),
        json!({ "jsonrpc": "2.0", "method": "exit" }),
    ];
    let text: String = messages.iter().map(framed).collect();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = String::new();
    timeout(LONG, stream.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.contains("\"serverInfo\"") && said.contains("\"id\":2"), "{said}");
}

async fn code(mut server: Child) -> Option<i32> {
    timeout(LONG, server.wait()).await.unwrap().unwrap().code()
}

#[tokio::test]
async fn standard_input_and_output() {
    for flags in [&[][..], &["--stdio"], &["--stdio", "--clientProcessId=4194303"]] {
        let mut server = server(flags);
        let (input, output) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        talk(tokio::io::join(output, input)).await;
        assert_eq!(code(server).await, Some(0));
    }
}

#[tokio::test]
async fn sockets_of_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let by_port = server(&["--socket", &port]);
    talk(timeout(LONG, listener.accept()).await.unwrap().unwrap().0).await;
    assert_eq!(code(by_port).await, Some(0));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let by_pipe = server(&[&format!("--pipe={}", path.display())]);
    talk(timeout(LONG, listener.accept()).await.unwrap().unwrap().0).await;
    assert_eq!(code(by_pipe).await, Some(0));
    drop(listener);

    let nobody = server(&[&format!("--pipe={}", path.display())]).wait_with_output().await.unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.starts_with("ERROR: Connection refused") && said.contains("no client at"), "{said}");
}

#[tokio::test]
async fn sockets_of_the_server() {
    let mut server = server(&["--listen", "0"]);
    let mut errors = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    timeout(LONG, errors.read_line(&mut line)).await.unwrap().unwrap();
    let address = line.trim().strip_prefix("listening at ").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    talk(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(code(server).await, Some(0), "it ends with its client");
}

#[tokio::test]
async fn the_server_ends_with_the_clients_process() {
    let mut editor = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let process = editor.id().unwrap();
    let flag = format!("--clientProcessId={process}");
    let mut servers = [server(&[&flag]), server(&[])];
    for (server, named) in servers.iter_mut().zip([None, Some(process)]) {
        let params = json!({ "capabilities": {}, "processId": named });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        server.stdin.as_mut().unwrap().write_all(framed(&message).as_bytes()).await.unwrap();
        // It has seen its client once it answers.
        let mut first = [0; 1];
        timeout(LONG, server.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap().unwrap();
    }
    editor.kill().await.unwrap();
    for server in servers {
        assert_eq!(code(server).await, Some(1));
    }
}

#[tokio::test]
async fn flags_are_explained() {
    let help = server(&["--help"]).wait_with_output().await.unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--stdio", "--socket", "--pipe", "--listen", "--clientProcessId"] {
        assert!(help.contains(flag), "{flag}");
    }
    let wrong = server(&["--nothing"]).wait_with_output().await.unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).starts_with("ERROR: unknown flag: --nothing"));
}
