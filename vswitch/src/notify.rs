//! Telling the service manager how the daemon does: systemd's protocol, which is a datagram to the socket that
//! `NOTIFY_SOCKET` names (`sd_notify(3)`). Without one there is nobody to tell.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The daemon serves.
pub const READY: &str = "READY=1";
/// It is about to end.
pub const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one. That it cannot be told is logged: the daemon serves all the same.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, "the service manager (NOTIFY_SOCKET) is not told {state}");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // An abstract name is written with an @ in the place of its zero.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
        let name = format!("notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let listeners = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&abstract_name).unwrap()),
        ];
        for (socket, listener) in listeners {
            send(&socket, READY).unwrap();
            let mut bytes = [0; 64];
            let count = listener.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], b"READY=1", "{socket:?}");
        }
        std::fs::remove_file(&path).unwrap();
        send(path.as_os_str(), READY).unwrap_err();
    }
}
