//! A relay before a server of HTTP: it tells what was asked, and fails as it is told to.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a request fails at a [`Relay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this status and this header, if it is not empty, once all was read that was sent.
    Status(u16, &'static str),
    /// The connection ends when half of what is sent was read.
    Cut,
}

/// What a relay does with a request, `PUT /v2/…`, if it does not pass it on. The number says how many of the same
/// method came before.
type Judge = dyn Fn(&str, usize) -> Option<Fault> + Send + Sync;

/// A relay on a free port of the loopback interface. It passes requests on to a server over HTTP, one in each
/// connection; asked as a proxy, it passes them on, too, whatever host is meant. Dropping it ends it.
pub struct Relay {
    address: String,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: String,
    judge: Box<Judge>,
    seen: Mutex<Vec<String>>,
    /// The most that were passed on at a time.
    busy: Mutex<(usize, usize)>,
    ended: AtomicBool,
}

impl fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts one before the server at an address.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub fn start(
        upstream: &str,
        judge: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface is free");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            judge: Box::new(judge),
            seen: Mutex::default(),
            busy: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let relay = Self { address, inner: inner.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inner.ended.load(Ordering::Relaxed) {
                    break;
                }
                let inner = inner.clone();
                std::thread::spawn(move || drop(inner.serve(&stream)));
            }
        });
        relay
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests that came, `PUT /v2/…`, in order.
    pub fn seen(&self) -> Vec<String> {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests of a method came whose path has a text in it.
    pub fn count(&self, method: &str, text: &str) -> usize {
        let is = |line: &&String| line.starts_with(&format!("{method} ")) && line.contains(text);
        self.seen().iter().filter(is).count()
    }

    /// How many requests were passed on at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.inner.busy.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Inner {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let mut words = lines.first().map_or("", String::as_str).split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = match target.strip_prefix("http://") {
            Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => target,
        };
        let length = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let length: u64 = length.unwrap_or(0);
        let request = format!("{method} {path}");
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let before = seen.iter().filter(|line| line.starts_with(&format!("{method} "))).count();
            seen.push(request.clone());
            before
        };
        match (self.judge)(&request, before) {
            Some(Fault::Status(status, header)) => {
                io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
                let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
                let mut writer = stream;
                write!(
                    writer,
                    "HTTP/1.1 {status} Told so\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
            }
            Some(Fault::Cut) => {
                io::copy(&mut (&mut reader).take(length / 2), &mut io::sink())?;
                stream.shutdown(Shutdown::Both)
            }
            None => {
                self.count(1);
                let passed = self.pass(stream, &mut reader, &request, &lines[1..], length);
                self.count(-1);
                passed
            }
        }
    }

    fn count(&self, change: isize) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.0 = busy.0.saturating_add_signed(change);
        busy.1 = busy.1.max(busy.0);
    }

    fn pass(
        &self,
        mut stream: &TcpStream,
        reader: &mut impl Read,
        request: &str,
        headers: &[String],
        length: u64,
    ) -> io::Result<()> {
        let mut upstream = TcpStream::connect(&self.upstream)?;
        let mut head = format!("{request} HTTP/1.1\r\n");
        for header in headers.iter().filter(|header| !header.to_ascii_lowercase().starts_with("connection:"))
        {
            head += header;
            head += "\r\n";
        }
        head += "Connection: close\r\n\r\n";
        upstream.write_all(head.as_bytes())?;
        // A server that answers early need not read all.
        let _ = io::copy(&mut reader.take(length), &mut upstream);
        io::copy(&mut upstream, &mut stream)?;
        stream.shutdown(Shutdown::Write)
    }
}
