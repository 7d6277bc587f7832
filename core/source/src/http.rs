//! Files over HTTP.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::write::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use rbx_oci::{Digest, Sha256Writer};
use rbx_registry::Transport;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Method, Request, Response, StatusCode, Url};

use crate::error::SourceError;

/// Bytes that a file may have, as it is after the transfer's own compression was undone: 64 GiB.
pub const MAX_SIZE: u64 = 64 << 30;
/// Space that stays free on the disk that a file is written to, in bytes.
const RESERVE: u64 = 64 << 20;
/// An `ETag` that is longer than this many bytes is not kept.
const MAX_TAG: usize = 1024;

/// Fetches files over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    transport: Arc<Transport>,
}

/// The value of an `Authorization` header. It is in no message.
#[derive(Clone)]
pub struct Authorization(HeaderValue);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(…)")
    }
}

impl Authorization {
    /// The header's value as it is; `None` if no header can have it.
    pub fn header(value: &[u8]) -> Option<Self> {
        let mut value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// A bearer's token.
    pub fn token(token: &[u8]) -> Option<Self> {
        Self::header(&[b"Bearer ", token.trim_ascii()].concat())
    }
}

/// What a server says of a file.
#[derive(Debug)]
pub enum HttpAnswer {
    /// It is the one at hand.
    Same,
    /// It is this one.
    File(Box<HttpFile>),
}

/// A file that a server has begun to send.
#[derive(Debug)]
pub struct HttpFile {
    url: String,
    response: Response,
    /// Its `ETag`, without the mark of a weak one.
    pub etag: Option<String>,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// Its size in bytes as it is sent, if the server says so.
    pub length: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The file's digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Http {
    /// A client that uses the connections, trust and proxies of another.
    pub fn new(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    /// Asks for a file. `etag` is that of the file at hand, which is then not sent again.
    ///
    /// A user and password in the address are sent as such, unless there is an `authorization`.
    pub async fn get(
        &self,
        address: &str,
        etag: Option<&str>,
        authorization: Option<&Authorization>,
    ) -> Result<HttpAnswer, SourceError> {
        let shown = redacted(address);
        let invalid = |reason: String| SourceError::Address { url: shown.clone(), reason };
        let mut url = Url::parse(address).map_err(|error| invalid(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("unsupported protocol scheme {:?}", url.scheme())));
        }
        let own = own_authorization(&mut url);
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        // As BuildKit's client: a server may then send less, and the file is what it was before.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(Authorization(value)) = authorization.or(own.as_ref()) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(value) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(IF_NONE_MATCH, value);
        }
        let sent = self.transport.send_patiently(&request).await;
        let response = sent.map_err(|error| transfer(&shown, error))?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && etag.is_some() {
            return Ok(HttpAnswer::Same);
        }
        if !status.is_success() {
            return Err(SourceError::Status { status: status.as_u16(), url: shown });
        }
        let headers = response.headers();
        let found = text(headers, &ETAG).filter(|tag| tag.len() <= MAX_TAG);
        let found = found.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned());
        // Some servers name a tag and do not heed it when they are asked.
        if etag.is_some() && found.as_deref() == etag {
            return Ok(HttpAnswer::Same);
        }
        let modified = text(headers, &LAST_MODIFIED).and_then(seconds);
        let length = response.content_length();
        Ok(HttpAnswer::File(Box::new(HttpFile { url: shown, response, etag: found, modified, length })))
    }
}

impl HttpFile {
    /// Writes all of it to an empty file. `received` is told how many bytes have come each time some do.
    pub async fn save(mut self, file: File, mut received: impl FnMut(u64)) -> Result<Saved, SourceError> {
        let url = std::mem::take(&mut self.url);
        if let Some(length) = self.length {
            if length > MAX_SIZE {
                return Err(too_large(url));
            }
            let free = free_space(&file).map_err(|source| SourceError::Write { url: url.clone(), source })?;
            if length.saturating_add(RESERVE) > free {
                let reason = format!("{length} bytes where {free} are free");
                return Err(SourceError::TooLarge { reason, url });
            }
        }
        let packed = text(self.response.headers(), &CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
        let file = Sha256Writer::new(Bounded { file, left: MAX_SIZE });
        let mut out =
            if packed { Body::Gzip(Box::new(MultiGzDecoder::new(file))) } else { Body::Plain(file) };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::FileTooLarge => too_large(url.clone()),
            _ => SourceError::Write { url: url.clone(), source },
        };
        loop {
            let chunk = self.response.chunk().await.map_err(|error| transfer(&url, error))?;
            let Some(chunk) = chunk else { break };
            out.write_all(&chunk).map_err(&failed)?;
            received(chunk.len() as u64);
        }
        let (_, digest, size) = out.finish().map_err(failed)?.finish();
        Ok(Saved { digest, size })
    }
}

/// The writer for a body, as it is or in the transfer's compression.
enum Body {
    Plain(Sha256Writer<Bounded>),
    Gzip(Box<MultiGzDecoder<Sha256Writer<Bounded>>>),
}

impl Body {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Sha256Writer<Bounded>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(out) => (*out).finish(),
        }
    }
}

/// A file that takes no more than it may.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = self.file.write(bytes)?;
        self.left -= length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn too_large(url: String) -> SourceError {
    SourceError::TooLarge { reason: format!("more than {MAX_SIZE} bytes"), url }
}

fn transfer(url: &str, error: reqwest::Error) -> SourceError {
    // The address in it may have a password.
    SourceError::Transfer { url: url.to_owned(), source: error.without_url() }
}

fn free_space(file: &File) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(file)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn text<'h>(headers: &'h HeaderMap, name: &reqwest::header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A date of HTTP as seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Takes user and password out of an address.
fn own_authorization(url: &mut Url) -> Option<Authorization> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [&decoded(url.username())[..], b":", &decoded(url.password().unwrap_or_default())].concat();
    // Neither fails for an address that has a host, as all of HTTP have.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Authorization::header(format!("Basic {}", STANDARD.encode(pair)).as_bytes())
}

/// An address without user and password, for people to read.
pub fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        None => address.to_owned(),
        Some((user, host)) => {
            let mask = if user.contains(':') { "xxxxx:xxxxx" } else { "xxxxx" };
            format!("{scheme}://{mask}@{host}{}", &rest[end..])
        }
    }
}

/// The name of the file at an address: the last part of its path, decoded; `None` where it has none.
pub fn file_name(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let (_, path) = rest.split_once('/')?;
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let usable = !matches!(name, "" | "." | "..") && !name.contains('\0');
    usable.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_part_of_the_path() {
        for (address, name) in [
            ("https://example.com/a/b.tar.gz?x=/y#z", Some("b.tar.gz")),
            ("https://example.com/a%20b", Some("a b")),
            ("https://example.com/a%2Fb", Some("b")),
            ("https://example.com/a/", Some("a")),
            ("https://example.com/%2e%2e", None),
            ("https://example.com/", None),
            ("https://example.com?a/b", None),
            ("https://example.com", None),
            ("https://example.com/%00", None),
        ] {
            assert_eq!(file_name(address).as_deref(), name, "{address}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("https://a:b@host/x", "https://xxxxx:xxxxx@host/x"),
            ("https://token@host?x", "https://xxxxx@host?x"),
            ("ssh://git@host/a@b", "ssh://xxxxx@host/a@b"),
            ("https://host/a@b", "https://host/a@b"),
            ("git@host:x", "git@host:x"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }

    #[test]
    fn dates_before_1970_and_nonsense_are_none() {
        assert_eq!(seconds("Mon, 03 Feb 2020 04:05:06 GMT"), Some(1_580_702_706));
        assert_eq!(seconds("yesterday"), None);
    }
}
