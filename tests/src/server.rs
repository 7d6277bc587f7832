//! Servers of files: HTTP, and git's own protocol.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::Parts;
use crate::daemon::Daemon;
use crate::registry::free_address;

/// A directory that is served on free ports of the loopback interface: over HTTP, each file with its time and a tag
/// made of its content, and its repositories over git's protocol. Dropping it ends both.
#[derive(Debug)]
pub struct Server {
    address: String,
    git: String,
    ended: Arc<AtomicBool>,
    _daemon: Daemon,
}

impl Server {
    /// Serves a directory.
    ///
    /// # Panics
    ///
    /// If there is no git, or it does not answer within 10 s, three times over.
    pub fn start(directory: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface is free");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, root) = (ended.clone(), directory.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let root = root.clone();
                std::thread::spawn(move || answer(&stream, &root));
            }
        });
        let (git, daemon) = serve_git(directory);
        Self { address, git, ended, _daemon: daemon }
    }

    /// Its address over HTTP, where it is a proxy, too: it has its files under the name of every host.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The names that stand for its addresses in the files of a case, and the addresses: `server.test` for HTTP,
    /// `git.test` for git.
    pub fn names(&self) -> Vec<(String, String)> {
        vec![("server.test".to_owned(), self.address.clone()), ("git.test".to_owned(), self.git.clone())]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve_git(directory: &Path) -> (String, Daemon) {
    let parts = Parts::locate();
    let output = Command::new("git").arg("--exec-path").output().expect("git can be run");
    let program = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("git-daemon");
    // Another process may take the free port before the daemon does.
    for _ in 0..3 {
        let address = free_address();
        let port = address.rsplit_once(':').expect("an address has a port").1;
        let arguments = [
            "--export-all".to_owned(),
            "--reuseaddr".to_owned(),
            "--listen=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--base-path={}", directory.display()),
        ];
        let daemon = Daemon::start(Daemon::directory("git"), &program, &arguments, &parts.path());
        if Daemon::wait_until(Duration::from_secs(10), || TcpStream::connect(&address).is_ok()) {
            return (address, daemon);
        }
    }
    panic!("git daemon does not answer");
}

/// Answers the requests of one connection.
fn answer(stream: &TcpStream, root: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let mut words = head.first()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        // Asked as a proxy, it is whatever host was meant.
        let local =
            target.strip_prefix("http://").map_or(target, |it| it.split_once('/').map_or("", |it| it.1));
        let path = local.split('?').next()?.trim_start_matches('/');
        let file = Some(root.join(path)).filter(|file| !path.contains("..") && file.is_file());
        let mut text = String::new();
        let mut body = Vec::new();
        if let Some(file) = file {
            body = fs::read(&file).ok()?;
            let modified = fs::metadata(&file).ok()?.modified().ok()?;
            let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..8]));
            let known = head
                .iter()
                .any(|line| line.to_lowercase().starts_with("if-none-match:") && line.contains(&tag));
            text += if known { "HTTP/1.1 304 Not Modified\r\n" } else { "HTTP/1.1 200 OK\r\n" };
            text.extend(["ETag: ", &tag, "\r\nLast-Modified: ", &httpdate::fmt_http_date(modified), "\r\n"]);
            if known {
                body.clear();
            }
        } else {
            text += "HTTP/1.1 404 Not Found\r\n";
        }
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n"]);
        let mut out = stream;
        out.write_all(text.as_bytes()).ok()?;
        if method == "GET" {
            out.write_all(&body).ok()?;
        }
    }
}
