//! Sockets of ports that can be anybody's: they are bound to another port, and the kernel is told to bring them what is sent
//! to theirs.
//!
//! **One port for all.** Those of a transport and an IP version share one port of the loopback (`SO_REUSEPORT`, socket(7)),
//! however many they are and whichever addresses they are for. What is sent to that port itself is for none of
//! them: a filter drops datagrams, and connections are reset when they are let in (`run`).
//!
//! **Answers.** A datagram's answer comes from the port that was asked, which the socket does not have, and the kernel sends
//! from no other than the socket's own (`IP_PKTINFO`, ip(7), names an address and no port). So it is written with its
//! headers to a raw socket (raw(7)), which receives nothing.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, SockFilter, Type};

use crate::bound::{BACKLOG, BY_LOOPBACK, Bound, Listen, Socket, Transport};

/// `IPPROTO_RAW`: headers are written.
const HEADERS: i32 = 255;
/// Nothing is received: `ret`.
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];
/// What the host says of packets that it sends (`ip_default_ttl`, ip(7)).
const HOPS: u8 = 64;

/// Where sockets of ports that can be anybody's are bound, in the namespace of the threads that bind them.
#[derive(Debug, Default)]
pub struct Aside {
    /// By IP version (whether it is IPv4) and transport.
    ports: HashMap<(bool, Transport), u16>,
    senders: HashMap<bool, Arc<socket2::Socket>>,
}

impl Aside {
    /// A port that is another program's or nobody's, for what is to go to `to`: the caller has the kernel bring what is sent
    /// there to [`Bound::socket`].
    ///
    /// # Errors
    /// The kernel's, also where answers cannot be sent from such a port (`CAP_NET_RAW`).
    pub fn bind(&mut self, listen: Listen, to: SocketAddr) -> io::Result<Bound> {
        let shared = self.ports.get(&place(listen)).copied();
        let bound = match shared.map(|port| bind(listen, port)) {
            // Nobody was there any more, and another program has come.
            Some(Err(error)) if error.kind() == ErrorKind::AddrInUse => bind(listen, 0),
            Some(bound) => bound,
            None => bind(listen, 0),
        }?;
        let own = bound.local_addr()?.as_socket().ok_or(ErrorKind::AddrNotAvailable)?;
        self.ports.insert(place(listen), own.port());
        let socket = match listen.transport {
            Transport::Tcp => Socket::Tcp(TcpListener::from(bound)),
            Transport::Udp => Socket::Udp(UdpSocket::from(bound), Some(self.answers(listen.at)?)),
        };
        Ok(Bound { listen, socket, to })
    }

    /// Whether these sockets themselves are bound to a port, so that nobody else can be.
    pub fn is_at(&self, listen: Listen) -> bool {
        listen.at.ip() == loopback(listen.at)
            && self.ports.get(&place(listen)) == Some(&listen.at.port())
    }

    fn answers(&mut self, from: SocketAddr) -> io::Result<Answers> {
        let sender = match self.senders.get(&from.is_ipv4()) {
            Some(sender) => Arc::clone(sender),
            None => {
                let (domain, kind) = (Domain::for_address(from), Type::RAW.nonblocking());
                let sender = socket2::Socket::new(domain, kind, Some(Protocol::from(HEADERS)))?;
                sender.attach_filter(&NOTHING)?;
                Arc::clone(self.senders.entry(from.is_ipv4()).or_insert(Arc::new(sender)))
            }
        };
        Ok(Answers { sender, from })
    }
}

fn place(listen: Listen) -> (bool, Transport) {
    (listen.at.is_ipv4(), listen.transport)
}

/// The loopback's address of an IP version.
fn loopback(at: SocketAddr) -> IpAddr {
    if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn bind(listen: Listen, port: u16) -> io::Result<socket2::Socket> {
    let kind = match listen.transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let at = SocketAddr::new(loopback(listen.at), port);
    let socket = socket2::Socket::new(Domain::for_address(at), kind.nonblocking(), None)?;
    match listen.transport {
        Transport::Tcp => socket.attach_filter(&BY_LOOPBACK)?,
        Transport::Udp => socket.attach_filter(&by_loopback_to(listen.at.port()))?,
    }
    socket.set_reuse_port(true)?;
    socket.bind(&at.into())?;
    if listen.transport == Transport::Tcp {
        // What is accepted inherits it: a connection that is over keeps nobody from its port.
        socket.set_reuse_address(true)?;
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// What was sent to a port, before [`BY_LOOPBACK`]: `ldh` of the destination port, `jeq`.
fn by_loopback_to(port: u16) -> [SockFilter; 6] {
    let [interface, is_loopback, all, nothing] = BY_LOOPBACK;
    let load = SockFilter::new(0x28, 0, 0, 2);
    let is_port = SockFilter::new(0x15, 0, 3, u32::from(port));
    [load, is_port, interface, is_loopback, all, nothing]
}

/// Sends answers from a port that no socket here has.
#[derive(Debug)]
pub(crate) struct Answers {
    sender: Arc<socket2::Socket>,
    from: SocketAddr,
}

impl Answers {
    /// As `send_to` of a socket that is bound to the port. What is longer than the loopback's MTU is an error.
    pub(crate) fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        let builder = match (self.from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), HOPS)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), HOPS)
            }
            _ => return Err(ErrorKind::AddrNotAvailable.into()),
        };
        let builder = builder.udp(self.from.port(), to.port());
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut packet, payload).map_err(io::Error::other)?;
        // To a raw socket the port is a protocol (ipv6(7)).
        let to = SocketAddr::new(to.ip(), 0);
        self.sender.send_to(&packet, &to.into()).map(|_| ())
    }
}
