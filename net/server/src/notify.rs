//! Words to the service manager, as `sd_notify(3)` has them: `READY=1`, `STOPPING=1`.
//!
//! Without `NOTIFY_SOCKET` nothing is said.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
};

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests are answered from now on.
    Ready,
    /// The end has begun.
    Stopping,
}

/// Tells the service manager, if there is one. A deaf one is logged, nothing more.
pub fn tell(state: State) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let word = match state {
        State::Ready => "READY=1\n",
        State::Stopping => "STOPPING=1\n",
    };
    if let Err(error) = send(address.as_encoded_bytes(), word.as_bytes()) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

fn send(address: &[u8], word: &[u8]) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let address = if let Some(name) = address.strip_prefix(b"@") {
        SocketAddr::from_abstract_name(name)?
    } else {
        let path = std::ffi::OsStr::new(std::str::from_utf8(address).unwrap_or_default());
        SocketAddr::from_pathname(Path::new(path))?
    };
    socket.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_encoded_bytes(), b"READY=1\n").unwrap();
        let mut heard = [0; 16];
        assert_eq!(socket.recv(&mut heard).unwrap(), 8);

        let name = format!("narrows-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        send(format!("@{name}").as_bytes(), b"STOPPING=1\n").unwrap();
        assert_eq!(socket.recv(&mut heard).unwrap(), 11);
    }
}
