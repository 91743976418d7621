//! ICMP echo: who can reach whom, and how long it takes.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto,
};

use crate::error::socket;
use crate::{Container, LabError};

/// After how long a request that was not answered is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(200);
/// Bytes of an ICMP echo message before its payload (RFC 792, RFC 4443).
const HEADER_BYTES: usize = 8;

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of payload, behind 28 bytes of IPv4 and ICMP headers or 48 of IPv6 and `ICMPv6`.
    pub payload_bytes: u16,
    /// How long to ask for.
    pub patience: Duration,
}

impl Default for Options {
    /// 56 bytes, as ping(8) has it, for five seconds.
    fn default() -> Self {
        Self { payload_bytes: 56, patience: Duration::from_secs(5) }
    }
}

/// Asks until there is an answer, and returns how long it took from the request that was answered.
///
/// # Errors
/// [`LabError::Unreachable`], when there is none in time; [`LabError::Socket`].
pub fn ping(from: &Container, target: IpAddr, options: &Options) -> Result<Duration, LabError> {
    let echo = Echo::open(from, target)?;
    let deadline = Instant::now() + options.patience;
    let mut attempts = 0u16;
    while Instant::now() < deadline {
        attempts += 1;
        let asked = Instant::now();
        echo.ask(attempts, options.payload_bytes)?;
        if echo.hear(attempts, deadline.min(asked + REPEAT_AFTER))? {
            return Ok(asked.elapsed());
        }
    }
    Err(LabError::Unreachable { target, attempts: u32::from(attempts), waited: options.patience })
}

/// Whether a target does not answer within `patience`. To show that something is kept apart; what can
/// be reached answers long before, so choose it short.
///
/// # Errors
/// [`LabError::Socket`].
pub fn is_silent(from: &Container, target: IpAddr, patience: Duration) -> Result<bool, LabError> {
    match ping(from, target, &Options { patience, ..Options::default() }) {
        Ok(_) => Ok(false),
        Err(LabError::Unreachable { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A raw ICMP socket. It hears the answers to everybody in its container, so requests carry a number
/// of their own.
struct Echo {
    socket: OwnedFd,
    target: IpAddr,
    identifier: u16,
}

impl Echo {
    fn open(from: &Container, target: IpAddr) -> Result<Self, LabError> {
        let (family, protocol): (AddressFamily, Protocol) = match target {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        from.run(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let open = rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol));
            let opened = open.map_err(|errno| socket("open an ICMP socket")(errno.into()))?;
            // The descriptor's number is nobody else's in this process.
            let number = opened.as_raw_fd();
            let identifier = u16::try_from(number).unwrap_or(u16::MAX);
            Ok(Self { socket: opened, target, identifier })
        })
    }

    /// Sends a request. One that cannot be sent now, for want of a route or neighbour, is like one
    /// that is not answered.
    fn ask(&self, number: u16, payload_bytes: u16) -> Result<(), LabError> {
        let request = self.message(number, payload_bytes);
        let target = SocketAddr::new(self.target, 0);
        match rustix::net::sendto(&self.socket, &request, SendFlags::empty(), &target) {
            Ok(_)
            | Err(
                rustix::io::Errno::HOSTUNREACH
                | rustix::io::Errno::NETUNREACH
                | rustix::io::Errno::AGAIN
                | rustix::io::Errno::NOBUFS,
            ) => Ok(()),
            Err(errno) => Err(socket("send an echo request")(errno.into())),
        }
    }

    /// Waits for the answer to a request.
    fn hear(&self, number: u16, deadline: Instant) -> Result<bool, LabError> {
        let failed = |errno: rustix::io::Errno| socket("receive an echo reply")(errno.into());
        let mut packet = vec![0; usize::from(u16::MAX) + 1];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
            if poll(&mut waiting, Some(&timeout)).map_err(failed)? == 0 {
                return Ok(false);
            }
            match rustix::net::recvfrom(&self.socket, &mut packet, RecvFlags::empty()) {
                Ok((count, _, _)) if self.is_answer(&packet[..count], number) => return Ok(true),
                Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::HOSTUNREACH) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// An echo request. The kernel writes the checksum of an `ICMPv6` message itself.
    fn message(&self, number: u16, payload_bytes: u16) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        message[0] = if self.target.is_ipv4() { 8 } else { 128 };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&number.to_be_bytes());
        message.extend((0..payload_bytes).map(|place| place.to_le_bytes()[0]));
        if self.target.is_ipv4() {
            let sum = internet_checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Whether a packet is the reply to a request, its payload included. One of IPv4 begins with its
    /// IP header.
    fn is_answer(&self, packet: &[u8], number: u16) -> bool {
        let skip = match self.target {
            IpAddr::V4(_) => packet.first().map_or(0, |byte| usize::from(byte & 0xf) * 4),
            IpAddr::V6(_) => 0,
        };
        let Some(reply) = packet.get(skip..).filter(|reply| reply.len() >= HEADER_BYTES) else {
            return false;
        };
        let payload_bytes = u16::try_from(reply.len() - HEADER_BYTES).unwrap_or(u16::MAX);
        let reply_type = if self.target.is_ipv4() { 0 } else { 129 };
        reply[0] == reply_type && reply[4..] == self.message(number, payload_bytes)[4..]
    }
}

/// The Internet checksum (RFC 1071).
pub(crate) fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}
