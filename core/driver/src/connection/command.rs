//! Programs whose standard input and output are a connection: `ssh`, and `docker system dial-stdio`.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::DriverError;

/// How long a program may take to end after its input has.
const LAST_TIME: Duration = Duration::from_secs(1);
/// How much of what a program complains about is kept, in bytes.
const COMPLAINTS: usize = 4 << 10;

/// In whose words the end of a program is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// The way led to an Engine.
    Engine,
    /// The way led to a daemon of `BuildKit`.
    Daemon,
}

impl Words {
    fn advice(self) -> &'static str {
        match self {
            Self::Engine => {
                "make sure the URL is valid, and Docker 18.09 or later is installed on the remote host"
            }
            Self::Daemon => "make sure the URL is valid, and buildctl is installed on the remote host",
        }
    }
}

/// The command that reaches an Engine by `ssh://[user@]host[:port][/path/of/its/socket]`.
pub(crate) fn ssh_to_engine(address: &str) -> Result<Vec<String>, DriverError> {
    let (mut command, path) = ssh(address, &["-o", "ConnectTimeout=30", "-T"])?;
    command.push("docker".to_owned());
    if !path.trim_matches('/').is_empty() {
        command.push(quoted(&format!("--host=unix://{path}")));
    }
    command.extend(["system", "dial-stdio"].map(str::to_owned));
    Ok(command)
}

/// The command that reaches a daemon by `ssh://[user@]host[:port][/path/of/its/socket]`.
pub(super) fn ssh_to_daemon(address: &str) -> Result<Vec<String>, DriverError> {
    let (mut command, path) = ssh(address, &[])?;
    command.push("buildctl".to_owned());
    if !path.is_empty() {
        command.extend(["--addr".to_owned(), quoted(&format!("unix://{path}"))]);
    }
    command.push("dial-stdio".to_owned());
    Ok(command)
}

/// The command before what is to run on the other machine, and the path of the address.
fn ssh(address: &str, options: &[&str]) -> Result<(Vec<String>, String), DriverError> {
    let wrong = |reason| DriverError::UnsupportedHost { host: address.to_owned(), reason };
    let rest = address.strip_prefix("ssh://").unwrap_or(address);
    if rest.contains('?') {
        return Err(wrong("invalid SSH URL: query parameters are not allowed"));
    }
    if rest.contains('#') {
        return Err(wrong("invalid SSH URL: fragments are not allowed"));
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if user.is_some_and(|user| user.contains(':')) {
        return Err(wrong("invalid SSH URL: plain-text password is not supported"));
    }
    let (host, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are within its brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (host, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong("invalid SSH URL: hostname is empty"));
    }
    // `ssh` takes both for itself; neither may be an option of it or a word of a shell.
    let plain = |word: &str| {
        !word.starts_with('-') && word.chars().all(|c| c.is_alphanumeric() || "._-%:+@\\".contains(c))
    };
    if !plain(host) || !user.is_none_or(plain) {
        return Err(wrong("invalid SSH URL: invalid character in user or host"));
    }
    let mut command = vec!["ssh".to_owned()];
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        command.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        if port.parse::<u16>().is_err() {
            return Err(wrong("invalid SSH URL: invalid port"));
        }
        command.extend(["-p".to_owned(), port.to_owned()]);
    }
    command.extend(options.iter().map(|option| (*option).to_owned()));
    command.extend(["--".to_owned(), host.to_owned()]);
    Ok((command, path.to_owned()))
}

/// A word as the shell of the other machine reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Starts a program. It is ended when the connection is dropped.
pub(super) fn start(command: &[String], words: Words) -> io::Result<Program> {
    let (name, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::other(format!("{error}: {name}")))?;
    let missing = || io::Error::other(format!("no pipe to a program: {name}"));
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let (mut ended, end) = oneshot::channel();
    let shown = command.join(" ");
    tokio::spawn(async move {
        if let Some((status, said)) = watch(child, stderr, &mut ended).await {
            let said = String::from_utf8_lossy(&said);
            let advice = words.advice();
            let end = (!status.success()).then(|| {
                format!(
                    "command [{shown}] has exited with {}, {advice}: stderr={}",
                    exit(status),
                    said.trim()
                )
            });
            let _ = ended.send(end);
        }
    });
    Ok(Program { stdin: Some(stdin), stdout, end: Some(end), heard: false })
}

/// How a program ended, as Go says it.
fn exit(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// Waits until the program ends; none if nobody wants to know any more, and then it is ended.
async fn watch(
    mut child: Child,
    mut stderr: ChildStderr,
    wanted: &mut oneshot::Sender<Option<String>>,
) -> Option<(ExitStatus, Vec<u8>)> {
    let mut said = Vec::new();
    let mut listening = true;
    let mut piece = [0; 1024];
    loop {
        tokio::select! {
            status = child.wait() => {
                // Others may hold its standard error and live on.
                while let Ok(Ok(read @ 1..)) = timeout(LAST_TIME / 10, stderr.read(&mut piece)).await {
                    keep(&mut said, &piece[..read]);
                }
                return status.ok().map(|status| (status, said));
            }
            read = stderr.read(&mut piece), if listening => match read {
                Ok(read @ 1..) => keep(&mut said, &piece[..read]),
                _ => listening = false,
            },
            () = wanted.closed() => {
                // Its input has ended, and so it ends by itself, which leaves nothing behind on other machines.
                if timeout(LAST_TIME, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
                return None;
            }
        }
    }
}

fn keep(said: &mut Vec<u8>, piece: &[u8]) {
    let room = COMPLAINTS.saturating_sub(said.len());
    said.extend_from_slice(&piece[..piece.len().min(room)]);
}

/// A connection through a program.
#[derive(Debug)]
pub(super) struct Program {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// What there is to say about its end.
    end: Option<oneshot::Receiver<Option<String>>>,
    /// Something came.
    heard: bool,
}

impl Program {
    /// Why it failed before the first byte came; a connection that ends later has no reason of that kind.
    fn poll_reason(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Error>> {
        if self.heard {
            return Poll::Ready(None);
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let reason = ready!(Pin::new(end).poll(context));
        self.end = None;
        Poll::Ready(reason.ok().flatten().map(io::Error::other))
    }
}

impl AsyncRead for Program {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            self.heard = true;
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = ready!(self.poll_reason(context)) {
            return Poll::Ready(Err(reason));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Program {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stdin) = &mut self.stdin else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match ready!(Pin::new(stdin).poll_write(context, bytes)) {
            // It does not read any more: it failed, and says why.
            Err(error) => match ready!(self.poll_reason(context)) {
                Some(reason) => Poll::Ready(Err(reason)),
                None => Poll::Ready(Err(error)),
            },
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.as_mut().map_or(Poll::Ready(Ok(())), |stdin| Pin::new(stdin).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            ready!(Pin::new(stdin).poll_shutdown(context))?;
        }
        // The pipe is closed by dropping it.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
