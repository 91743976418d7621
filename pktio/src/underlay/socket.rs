//! The UDP sockets of an underlay: which options they have, and why.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::c_int;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::{SOURCES, UnderlayConfig, UnderlayError};
use crate::sys::{get_option, receive_buffer, set_option};

/// Buffers asked for: a batch of datagrams is charged with twice its length, and a sender may send a whole
/// TCP window at once.
const RECEIVE_BUFFER_BYTES: c_int = 32 * 1024 * 1024;
const SEND_BUFFER_BYTES: c_int = 8 * 1024 * 1024;
/// Source ports of tunnels are taken from the dynamic range (RFC 7348, section 5; RFC 6335), but for its end, which the switch
/// masquerades connections by where it shares the host's interface: it would be told there, in the kernel's place, that the
/// way has become narrower.
pub const SOURCE_PORTS: RangeInclusive<u16> = 49152..=60999;
/// Ports tried for one that is free.
const TRIES: usize = 64;

/// One source port. Over IPv4 a datagram goes out without a checksum, which the kernel does not do for
/// datagrams that it cuts itself: so there are two sockets on the port.
#[derive(Debug)]
pub(super) struct Source {
    single: OwnedFd,
    /// `None` when `single` does both.
    cutting: Option<OwnedFd>,
}

impl Source {
    /// The socket for messages that the kernel cuts, or for those that it does not.
    pub(super) fn fd(&self, cuts: bool) -> BorrowedFd<'_> {
        match &self.cutting {
            Some(fd) if cuts => fd.as_fd(),
            _ => self.single.as_fd(),
        }
    }
}

/// The sockets of all queues: the receiving one and the sources of each.
pub(super) fn open_all(
    config: &UnderlayConfig,
    queues: u16,
) -> Result<Vec<(OwnedFd, Vec<Source>)>, UnderlayError> {
    let ip = config.local.ip();
    // Our own queues share the port; nobody else may.
    drop(exclusive(config.local)?);
    let mut ports = Vec::new();
    while ports.len() < SOURCES {
        let port = free_port(ip)?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let queue = |_| {
        let sources = ports.iter().map(|port| source(config, SocketAddr::new(ip, *port)));
        Ok((receiving(config)?, sources.collect::<Result<_, _>>()?))
    };
    (0..queues).map(queue).collect()
}

/// The longest packet that reaches `remote` from `local`, headers included, as the kernel knows it now: the
/// MTU of the route, or what an ICMP error has said since. For the control thread, in the namespace of the
/// underlay.
///
/// # Errors
/// [`UnderlayError`], when there is no route.
pub fn mtu_towards(local: IpAddr, remote: SocketAddr) -> Result<u32, UnderlayError> {
    let failed = |operation| move |source| UnderlayError { operation, address: remote, source };
    let fd = bound(SocketAddr::new(local, 0), false)?;
    let (level, name) = if local.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    connect(&fd, &remote).map_err(|errno| failed("find a route to")(errno.into()))?;
    let mtu = get_option::<c_int>(fd.as_fd(), level, name);
    let mtu = mtu.map_err(failed("ask for the MTU towards"))?;
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// Frames that a socket lost since it was opened because its buffer was full.
pub(super) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // linux/sock_diag.h: the ninth number.
    const DROPS: usize = 8;
    Ok(get_option::<[u32; 9]>(fd, libc::SOL_SOCKET, libc::SO_MEMINFO)?[DROPS])
}

/// A socket that shares its address with nobody, to find out whether it is free.
fn exclusive(address: SocketAddr) -> Result<OwnedFd, UnderlayError> {
    bound(address, false)
}

fn bound(address: SocketAddr, shared: bool) -> Result<OwnedFd, UnderlayError> {
    let failed = |operation| move |source| UnderlayError { operation, address, source };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::DGRAM, flags, None)
        .map_err(|errno| failed("open a socket for")(errno.into()))?;
    if shared {
        set_option::<c_int>(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, &1)
            .map_err(failed("share"))?;
    }
    bind(&fd, &address).map_err(|errno| failed("bind to")(errno.into()))?;
    Ok(fd)
}

/// A port of the dynamic range that nobody uses on this address.
fn free_port(ip: IpAddr) -> Result<u16, UnderlayError> {
    let mut refused = None;
    for _ in 0..TRIES {
        let port = any_source_port();
        match exclusive(SocketAddr::new(ip, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    let address = SocketAddr::new(ip, *SOURCE_PORTS.start());
    let source = io::ErrorKind::AddrInUse.into();
    Err(refused.unwrap_or(UnderlayError { operation: "bind to", address, source }))
}

fn any_source_port() -> u16 {
    let mut bytes = [0; 2];
    // Without entropy all tries are at the same port, which may be free all the same.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let count = SOURCE_PORTS.end() - SOURCE_PORTS.start() + 1;
    SOURCE_PORTS.start() + u16::from_ne_bytes(bytes) % count
}

/// The socket of a queue that receives.
fn receiving(config: &UnderlayConfig) -> Result<OwnedFd, UnderlayError> {
    let fd = bound(config.local, true)?;
    let (level, facts) = if config.local.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_RECVTOS)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)
    };
    let set = || {
        set_option::<c_int>(fd.as_fd(), level, facts, &1)?;
        set_option::<c_int>(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &1)?;
        receive_buffer(fd.as_fd(), RECEIVE_BUFFER_BYTES)
    };
    set().map_err(|source| UnderlayError {
        operation: "set up the receiving socket of",
        address: config.local,
        source,
    })?;
    Ok(fd)
}

/// The sockets of a source port.
fn source(config: &UnderlayConfig, address: SocketAddr) -> Result<Source, UnderlayError> {
    let single = sending(config, address)?;
    if address.is_ipv6() {
        return Ok(Source { single, cutting: None });
    }
    set_option::<c_int>(single.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, &1).map_err(
        |source| UnderlayError { operation: "send without checksums from", address, source },
    )?;
    Ok(Source { single, cutting: Some(sending(config, address)?) })
}

/// A socket that only sends. A VTEP does not fragment (RFC 7348, section 4.3): what is too long is refused.
fn sending(config: &UnderlayConfig, address: SocketAddr) -> Result<OwnedFd, UnderlayError> {
    let fd = bound(address, true)?;
    let ttl = c_int::from(config.ttl.get());
    let (level, discover, never_fragment, hops) = if address.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO, libc::IP_TTL)
    } else {
        let hops = libc::IPV6_UNICAST_HOPS;
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO, hops)
    };
    let set = || {
        set_option::<c_int>(fd.as_fd(), level, discover, &never_fragment)?;
        set_option::<c_int>(fd.as_fd(), level, hops, &ttl)?;
        let (sent, received) = (SEND_BUFFER_BYTES, 0);
        set_option::<c_int>(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &sent)
            .or_else(|_| set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, &sent))?;
        // Whoever answers to a source port is not listened to.
        set_option::<c_int>(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &received)
    };
    let failed = |source| UnderlayError { operation: "set up sending from", address, source };
    set().map_err(failed).map(|()| fd)
}
