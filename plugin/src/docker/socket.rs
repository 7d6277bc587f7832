//! The socket by which docker tells a plugin to end.

use std::io::Read;
use std::thread;

use crate::env::Env;

/// Set by docker to the name of the socket.
const SOCKET: &str = "DOCKER_CLI_PLUGIN_SOCKET";

/// Calls `ended` when docker closes the socket, which is how it passes signals on. Where docker opened none, never.
pub(crate) fn watch(env: &Env, ended: impl FnOnce() + Send + 'static) {
    let Some(mut stream) = env.filled(SOCKET).and_then(connect) else { return };
    // The thread ends with the program: nothing else is ever read from the socket.
    thread::spawn(move || {
        let mut byte = [0];
        while matches!(stream.read(&mut byte), Ok(1..)) {}
        ended();
    });
}

#[cfg(unix)]
fn connect(name: &str) -> Option<std::os::unix::net::UnixStream> {
    use std::os::unix::net::UnixStream;

    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::SocketAddr;

        let address = SocketAddr::from_abstract_name(name).ok()?;
        return UnixStream::connect_addr(&address).ok();
    }
    UnixStream::connect(name).ok()
}

#[cfg(not(unix))]
fn connect(_: &str) -> Option<std::io::Empty> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_the_socket_is_told() {
        let name = format!("docker_rbx_test_{}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let (sender, ended) = mpsc::channel();
        watch(&Env::with(&[(SOCKET, &format!("@{name}"))]), move || sender.send(()).unwrap());
        let (connection, _) = listener.accept().unwrap();
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "too early");
        drop(connection);
        ended.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn no_socket_is_no_end() {
        watch(&Env::with(&[]), || panic!("nothing ended"));
        watch(&Env::with(&[(SOCKET, "@docker_rbx_no_such_socket")]), || panic!("nothing ended"));
    }
}
