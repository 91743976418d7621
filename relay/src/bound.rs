//! Ports of the host, for programs on the host itself.
//!
//! What a host sends to an address of its own, whichever it is, goes by its loopback interface and no other. So a filter on
//! each socket lets these programs be heard, and nobody else, at any of the host's addresses. (To bind the sockets to the
//! interface would not do: to them, a packet to a NIC's address has come by the NIC, by whatever interface it came.)

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, SockFilter, Type};

use crate::aside::Answers;

/// The number of the loopback interface in every namespace (`LOOPBACK_IFINDEX` of the kernel's include/net/net_namespace.h).
const LOOPBACK: u32 = 1;
/// Where a filter reads the number of the interface by which a packet came (`SKF_AD_OFF + SKF_AD_IFINDEX`, linux/filter.h).
const INTERFACE: u32 = 0xffff_f008;
/// What came by the loopback interface, whole (Documentation/networking/filter.rst): `ld`, `jeq`, `ret`, `ret`.
pub(crate) const BY_LOOPBACK: [SockFilter; 4] = [
    SockFilter::new(0x20, 0, 0, INTERFACE),
    SockFilter::new(0x15, 0, 1, LOOPBACK),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];
/// Connections that wait to be let in, where the system allows as many (`net.core.somaxconn`).
pub(crate) const BACKLOG: i32 = 4096;

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

/// A port whose clients come here, and that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) listen: Listen,
    pub(crate) socket: Socket,
    pub(crate) to: SocketAddr,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    /// With who answers, where the socket itself has another port than the one that it is for.
    Udp(UdpSocket, Option<Answers>),
}

impl Bound {
    /// Takes a port in the calling thread's namespace, for what is to go to `to`. An address that is none of the loopback's
    /// need not be there, or not yet: the host may get it, or get it back.
    ///
    /// # Errors
    /// The kernel's: `AddrInUse` when another program has it, `AddrNotAvailable` when the host has no such loopback address.
    pub fn bind(listen: Listen, to: SocketAddr) -> io::Result<Self> {
        let socket = match listen.transport {
            Transport::Tcp => Socket::Tcp(listener(listen.at)?),
            Transport::Udp => {
                let socket = on_loopback(listen.at, Type::DGRAM)?;
                socket.bind(&listen.at.into())?;
                Socket::Udp(socket.into(), None)
            }
        };
        Ok(Self { listen, socket, to })
    }

    /// The socket that connections or datagrams come to.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Udp(socket, _) => socket.as_fd(),
        }
    }

    /// Whether the port itself is bound, so that no other program has it.
    pub fn is_held(&self) -> bool {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().is_ok_and(|own| own == self.listen.at),
            Socket::Udp(_, answers) => answers.is_none(),
        }
    }

    /// What it listens for.
    pub fn listen(&self) -> Listen {
        self.listen
    }
}

fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = on_loopback(at, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that hears what comes by the loopback interface only, and does not wait.
fn on_loopback(at: SocketAddr, kind: Type) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(at), kind.nonblocking(), None)?;
    socket.attach_filter(&BY_LOOPBACK)?;
    match at {
        _ if at.ip().is_loopback() => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    Ok(socket)
}
