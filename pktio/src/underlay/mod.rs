//! The underlay: tunnel packets over the host's own IP, by UDP sockets of the kernel.
//!
//! An [`Underlay`] is one queue of one tunnel endpoint (VTEP): a socket on the endpoint's address that
//! receives, and sockets on a few source ports that send. The kernel does routing and neighbours. What is
//! between the UDP header and the Ethernet frame is the tunnel header of [`TUNNEL_BYTES`]; an underlay needs
//! its length and nothing else of it, and every frame that it takes or gives has it in front.
//!
//! ```text
//!   data of a frame:  | VXLAN header | Ethernet | IP | TCP | payload ... |
//!   offload.csum.start --------------------------------^
//! ```
//!
//! * **A super-frame is cut once, at the wire.** One `sendmsg` with `UDP_SEGMENT` takes up to 64 segments as a
//!   gather list: headers that were written for each, and slices of the super-frame's payload, which is
//!   copied by the kernel only. The inner checksums are finished in software, since no device knows them.
//! * **Datagrams of a batch come as one** (`UDP_GRO`), one behind the other in one buffer. Where they are the
//!   segments of one TCP stream they become a super-frame in place; otherwise each gets a buffer of its own.
//! * **What a kernel on the same machine sends** is not always what comes by a wire: its inner checksum may be
//!   half done, and the whole may be an uncut super-frame, both without a mark. The first is recognised by
//!   its value ([`checksum::classify`](crate::offload::checksum::classify)), the second by its length if it is
//!   TCP; of UDP nothing tells into what it should be cut, and it passes as the overlong frame that it is.
//! * **Source ports carry the entropy** of the inner flow (RFC 7348, section 5): which one is the caller's
//!   [`Mark::entropy`]; all queues of an endpoint have the same ports.
//! * **Nothing is fragmented** (section 4.3): what is too long is refused, and [`mtu_towards`] says how long
//!   it may be.
//! * **Outer checksums**: 0 over IPv4 where the kernel can (not where it cuts), full over IPv6 always; the
//!   receiver takes either over IPv4, only full ones over IPv6, and the kernel verifies what is not 0.
//!
//! Open the queues in the namespace of the endpoint's address; use each from one thread at a time. Sending
//! never fails as a whole: an address that is unreachable now may be reachable later. See `udp(7)`,
//! `Documentation/networking/vxlan.rst`.

mod control;
mod receive;
mod send;
mod socket;
mod sys;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::buffer::{Pool, Spares};
use crate::port::Missed;
use crate::wire::field::vxlan;

pub use send::Tally;
pub use socket::{SOURCE_PORTS, mtu_towards};

/// Length of the tunnel header in front of each frame.
pub const TUNNEL_BYTES: usize = vxlan::BYTES;

/// [`TUNNEL_BYTES`], as checksum positions move.
const TUNNEL: u16 = 8;
/// Source ports of an endpoint.
const SOURCES: usize = 8;
/// Messages per system call, either way.
const MESSAGES: usize = 64;

/// What an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderlayConfig {
    /// Its address, and the port on which it and its peers receive (4789 by RFC 7348).
    pub local: SocketAddr,
    /// Time to live, or hop limit, of what it sends.
    pub ttl: NonZeroU8,
    /// The longest inner packet that is not a super-frame, in bytes.
    pub inner_mtu_bytes: u16,
}

/// What the outer headers of a received frame said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Who sent it.
    pub remote: IpAddr,
    /// Its TOS or traffic class: DSCP and ECN.
    pub tos: u8,
}

/// What the outer headers of a frame are to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// TOS or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Time to live, or hop limit; that of the endpoint if not given.
    pub ttl: Option<NonZeroU8>,
    /// A hash of the inner flow, which chooses the source port.
    pub entropy: u16,
}

/// Why there is no underlay.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {address}: {source}{}", hint(.source))]
pub struct UnderlayError {
    operation: &'static str,
    address: SocketAddr,
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => "; give the host this address first",
        io::ErrorKind::AddrInUse => {
            "; does the kernel's own vxlan device, or another switch, have it?"
        }
        _ => "",
    }
}

/// Opens an endpoint with so many queues, in the calling thread's network namespace. The kernel spreads
/// what comes over them, each flow to one.
///
/// # Errors
/// [`UnderlayError`]; nothing is left behind.
pub fn open(config: &UnderlayConfig, queues: u16) -> Result<Vec<Underlay>, UnderlayError> {
    let sockets = socket::open_all(config, queues)?;
    Ok(sockets.into_iter().map(|(fd, sources)| Underlay::new(config, fd, sources)).collect())
}

/// One queue of an endpoint.
pub struct Underlay {
    config: UnderlayConfig,
    fd: OwnedFd,
    sources: Vec<socket::Source>,
    inbound: sys::Inbound,
    outbound: sys::Outbound,
    spares: Spares,
    /// Messages to ask for at the next receive: many when they are short, few when they are batches.
    batch: usize,
    /// What was received and does not fit the burst that was asked for.
    waiting: VecDeque<receive::Arrival>,
    /// Headers of the segments that are being sent.
    headers: Vec<u8>,
    /// What is to be done with each frame that is being sent.
    steps: Vec<send::Step>,
    /// Losses that were reported, of those that the kernel counts since the socket was opened.
    reported_drops: u32,
    no_buffer: u64,
}

impl Underlay {
    fn new(config: &UnderlayConfig, fd: OwnedFd, sources: Vec<socket::Source>) -> Self {
        Self {
            config: *config,
            fd,
            sources,
            inbound: sys::Inbound::new(MESSAGES),
            outbound: sys::Outbound::new(MESSAGES, send::PIECES),
            spares: Spares::with_room_for(MESSAGES),
            batch: receive::FEW,
            waiting: VecDeque::with_capacity(MESSAGES),
            headers: vec![0; send::HEADER_BYTES],
            steps: Vec::with_capacity(crate::Burst::CAPACITY),
            reported_drops: 0,
            no_buffer: 0,
        }
    }

    /// The endpoint's address and port.
    pub fn local(&self) -> SocketAddr {
        self.config.local
    }

    /// From now on the longest inner packet that is not a super-frame has so many bytes.
    pub fn set_inner_mtu(&mut self, bytes: u16) {
        self.config.inner_mtu_bytes = bytes;
    }

    /// The descriptor that becomes readable when datagrams wait. It says nothing of what a call of
    /// [`Underlay::rx_burst`] left for the next one: call until there is nothing.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Gives unused buffers back; for when the worker sleeps.
    pub fn housekeep(&mut self, pool: &mut Pool) {
        self.spares.give_back(pool);
    }

    /// Datagrams that were lost before they could be received, since the last call.
    pub fn take_missed(&mut self) -> Missed {
        let drops = socket::drops(self.fd.as_fd()).unwrap_or(self.reported_drops);
        let ring_full = u64::from(drops.wrapping_sub(self.reported_drops));
        self.reported_drops = drops;
        let no_buffer = std::mem::take(&mut self.no_buffer);
        Missed { ring_full, no_buffer, ..Missed::default() }
    }
}
