//! Ports of the host's loopback.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// What is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where is listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listen {
    /// At which address and port.
    pub at: SocketAddr,
    /// For what.
    pub transport: Transport,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{}/{transport}", self.at)
    }
}

/// A port that nobody else can have any more, and that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) listen: Listen,
    pub(crate) socket: Socket,
    pub(crate) to: SocketAddr,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Bound {
    /// Takes a port in the calling thread's namespace, for what is to go to `to`.
    ///
    /// # Errors
    /// The kernel's: `AddrInUse` when another program has it, `AddrNotAvailable` when the host has no such address.
    pub fn bind(listen: Listen, to: SocketAddr) -> io::Result<Self> {
        let socket = match listen.transport {
            Transport::Tcp => {
                let socket = TcpListener::bind(listen.at)?;
                socket.set_nonblocking(true)?;
                Socket::Tcp(socket)
            }
            Transport::Udp => {
                let socket = UdpSocket::bind(listen.at)?;
                socket.set_nonblocking(true)?;
                Socket::Udp(socket)
            }
        };
        Ok(Self { listen, socket, to })
    }

    /// Where it listens.
    pub fn listen(&self) -> Listen {
        self.listen
    }
}
