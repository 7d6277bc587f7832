//! A server of tokens, as registries send their clients to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{PASSWORD, USER};

/// Who it says it is, and what for.
pub(crate) const ISSUER: &str = "tokens.test";
pub(crate) const SERVICE: &str = "registry.test";

/// A server of tokens on a free port of the loopback interface: the one user it knows may do all that is asked for,
/// others may read. Dropping it ends it.
#[derive(Debug)]
pub struct TokenServer {
    address: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    asked: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl TokenServer {
    /// Starts one, with its key and certificate in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let output = Command::new("openssl")
            .current_dir(directory)
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tokens"])
            .args(["-keyout", "token.key", "-out", "token.crt"])
            .output()
            .expect("openssl can be run (`cargo xtask setup` installs it)");
        assert!(output.status.success(), "no certificate: {}", String::from_utf8_lossy(&output.stderr));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface is free");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let inner = Arc::new(Inner {
            directory: directory.to_owned(),
            asked: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let server = Self { address, inner: inner.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inner.ended.load(Ordering::Relaxed) {
                    break;
                }
                let inner = inner.clone();
                std::thread::spawn(move || inner.serve(&stream));
            }
        });
        server
    }

    /// Where it answers.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate that its tokens are signed by.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.inner.directory.join("token.crt")
    }

    /// The scopes that it was asked for, with the user before each, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Inner {
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut lines = reader.by_ref().lines();
        let first = lines.next()?.ok()?;
        let (mut authorization, mut length) = (String::new(), 0);
        for line in lines {
            let line = line.ok()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("authorization") {
                value.trim().clone_into(&mut authorization);
            } else if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let known = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let query = if first.starts_with("POST ") {
            let mut form = String::new();
            reader.take(length).read_to_string(&mut form).ok()?;
            form
        } else {
            first.split(' ').nth(1)?.split_once('?').map_or("", |(_, query)| query).to_owned()
        };
        let values = |name: &str| -> Vec<String> {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
        };
        let scopes: Vec<String> = values("scope")
            .iter()
            .flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        // OAuth has both in the form.
        if let ([user], [password]) = (&values("username")[..], &values("password")[..]) {
            authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        }
        let user = if authorization.is_empty() { "nobody" } else { USER };
        let asked = format!("{user} {}", scopes.join(" "));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let (status, body) = if authorization.is_empty() || authorization == known {
            let token = self.token(&scopes, user);
            ("200 OK", json!({ "token": token, "access_token": token, "expires_in": 300 }))
        } else {
            ("401 Unauthorized", json!({ "details": "wrong password" }))
        };
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .ok()
    }

    fn token(&self, scopes: &[String], user: &str) -> String {
        let access: Vec<Value> = scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let granted: Vec<&str> =
                    actions.split(',').filter(|action| user == USER || *action == "pull").collect();
                Some(json!({ "type": kind, "name": name, "actions": granted }))
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let certificate = fs::read_to_string(self.directory.join("token.crt")).expect("the certificate");
        let der: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [der] });
        let claims = json!({
            "iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now,
            "jti": "1", "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())))
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let mut openssl = Command::new("openssl")
            .current_dir(&self.directory)
            .args(["dgst", "-sha256", "-sign", "token.key"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl can be run");
        openssl.stdin.take().expect("a pipe").write_all(text).expect("openssl reads");
        openssl.wait_with_output().expect("openssl ends").stdout
    }
}

/// A part of a query without its escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escaped = (byte == b'%').then(|| rest.get(..2)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &rest[2..];
            }
            None => bytes.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
