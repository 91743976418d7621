//! VXLAN (RFC 7348): frames into tunnels and out of them.
//!
//! Pure: a frame goes in with eight bytes of header room and comes out with the VXLAN header in front, and a
//! [`Mark`] beside it that says what the outer headers are to be; the outer headers themselves are the
//! kernel's ([`pktio::underlay`]), or the switch's own where packets travel over a bridge (`outer.rs`). The other way
//! [`decap`] takes the header off, and [`admit`] lets the frame into the network that the header named.
//!
//! ```text
//!   outer Ethernet | outer IP | UDP | VXLAN |  inner Ethernet | inner IP | ...
//!                     20 / 40    8      8           14           <= inner MTU
//! ```
//!
//! * Reserved bits are sent as zero and not looked at; a header without the I flag is refused (section 5).
//! * VLAN tags stay outside of tunnels unless the tunnel carries them (section 6.1): they are stripped on the
//!   way in, and a tagged frame is refused on the way out.
//! * The source port tells flows apart, and no more: all fragments of a datagram leave by one, so the first
//!   one's ports do not count either (`entropy.rs`).
//! * Congestion marks pass both ways (RFC 6040, `ecn.rs`). DSCP and TTL are the tunnel's own, or the frame's.
//!
//! [`Tunnels`] says which port leads to which remote endpoint, and by which port a frame comes in.
//!
//! For workers: nothing allocates, locks or waits. Offload state travels along, so a super-frame goes in and
//! out like any frame.

mod ecn;
mod entropy;
pub(crate) mod outer;
mod tunnels;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU8;

use pktio::PktBuf;
use pktio::underlay::Mark;
use pktio::wire::field::{ipv4, ipv6, vxlan};
use pktio::wire::{ETHERNET_BYTES, Layers, Network};

pub use ecn::EcnMode;
pub use entropy::entropy;
pub(crate) use tunnels::reason_of;
pub use tunnels::{Arrival, Misfit, Native, Segment, Tunnels, Vtep};

use crate::pipeline::vlan::tag_bytes;

/// The VXLAN header, as frames grow and shrink.
const HEADER: u16 = 8;
/// Both MAC addresses: what stands in front of a VLAN tag.
const ADDRESSES_BYTES: usize = 12;
/// What an inner packet costs outside: UDP, VXLAN and the inner Ethernet header, and the outer IP header.
const OVERHEAD_BYTES: u32 = 8 + 8 + 14;
const OVERHEAD_V4_BYTES: u32 = OVERHEAD_BYTES + 20;
const OVERHEAD_V6_BYTES: u32 = OVERHEAD_BYTES + 40;

/// A VXLAN network identifier: 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vni(u32);

impl Vni {
    /// The network of this number, if it has 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number < 1 << 24 { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Vni {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an outer DSCP comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dscp {
    /// Always this one, of 6 bits (RFC 2983: the tunnel is a link of its own class).
    Fixed(u8),
    /// The inner packet's; 0 when there is none.
    Inherited,
}

/// Where an outer TTL or hop limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// The endpoint's own: the tunnel is one hop, however long it is.
    Endpoint,
    /// Always this one: of tunnels that share an endpoint, one may want another.
    Fixed(NonZeroU8),
    /// The inner packet's; the endpoint's own when there is none.
    Inherited,
}

/// How frames of one VXLAN network are put into tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// The network.
    pub vni: Vni,
    /// Outer DSCP.
    pub dscp: Dscp,
    /// Outer TTL.
    pub ttl: Ttl,
    /// Outer congestion marks.
    pub ecn: EcnMode,
    /// Whether inner frames keep their VLAN tags.
    pub carries_tags: bool,
}

impl Tunnel {
    /// A tunnel as RFC 7348 and RFC 6040 want one: no tags, DSCP 0, own TTL, congestion marks copied.
    pub const fn new(vni: Vni) -> Self {
        let (dscp, ttl) = (Dscp::Fixed(0), Ttl::Endpoint);
        Self { vni, dscp, ttl, ecn: EcnMode::Normal, carries_tags: false }
    }
}

/// Why a tunnel packet is not taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Shorter than a VXLAN header.
    #[error("shorter than a VXLAN header; the sender is broken, or this is no VXLAN")]
    Short,
    /// Without the I flag: its network identifier is not valid.
    #[error("the I flag of its VXLAN header is not set; the sender is broken, or this is no VXLAN")]
    NoVni,
    /// In pieces, or shorter than its headers say.
    #[error(
        "a fragment, or cut off; tunnel packets must not be fragmented (RFC 7348): is the underlay's MTU right?"
    )]
    Broken,
    /// Its outer checksum is wrong.
    #[error("its outer UDP checksum is wrong; it was damaged on its way")]
    BadChecksum,
    /// The frame inside is shorter than an Ethernet header.
    #[error("the frame inside is shorter than an Ethernet header; the sender is broken")]
    InnerRunt,
    /// The frame inside has a VLAN tag, and the tunnel carries none.
    #[error("the frame inside has a VLAN tag; strip it at the sender, or let the VXLAN carry tags")]
    InnerTagged,
    /// Congestion was met outside, and the sender inside would not learn of it (RFC 6040, section 4.2).
    #[error(
        "marked for congestion outside, while the packet inside cannot be; the underlay is congested"
    )]
    Congestion,
}

/// Puts a frame into a tunnel. `layers` are where its headers are, if it has any. `None` when the header room
/// is too short; the frame then has no VXLAN header.
#[inline]
#[must_use]
pub fn encap(frame: &mut PktBuf, layers: Option<&Layers>, tunnel: &Tunnel) -> Option<Mark> {
    let mark = mark(frame.data(), layers, tunnel);
    if !tunnel.carries_tags {
        strip_tags(frame);
    }
    if !frame.grow_front(HEADER) {
        return None;
    }
    let header: &mut [u8; vxlan::BYTES] = frame.data_mut().first_chunk_mut()?;
    let flags = u64::from(vxlan::VNI_VALID) << 56;
    *header = (flags | u64::from(tunnel.vni.0) << 8).to_be_bytes();
    Some(mark)
}

/// Takes the VXLAN header off, and says which network the frame is of.
///
/// # Errors
/// [`Refusal`]; the frame is then as it was.
#[inline]
pub fn decap(frame: &mut PktBuf) -> Result<Vni, Refusal> {
    let data = frame.data();
    let header = u64::from_be_bytes(*data.first_chunk().ok_or(Refusal::Short)?);
    let [flags, _, _, _, high, middle, low, _] = header.to_be_bytes();
    if flags & vxlan::VNI_VALID == 0 {
        return Err(Refusal::NoVni);
    }
    if data.len() < vxlan::BYTES + ETHERNET_BYTES || !frame.shrink_front(HEADER) {
        return Err(Refusal::InnerRunt);
    }
    Ok(Vni(u32::from_be_bytes([0, high, middle, low])))
}

/// Lets a frame that was taken out of a tunnel into its network: its VLAN tag must be allowed, and what the
/// outer header says of congestion is handed on. `layers` are where its headers are, if it has any.
///
/// # Errors
/// [`Refusal::InnerTagged`], [`Refusal::Congestion`]; the frame is then as it was.
#[inline]
pub fn admit(
    frame: &mut PktBuf,
    layers: Option<&Layers>,
    outer_tos: u8,
    tunnel: &Tunnel,
) -> Result<(), Refusal> {
    if !tunnel.carries_tags && tag_bytes(frame.data()) > 0 {
        return Err(Refusal::InnerTagged);
    }
    let Some(layers) = layers else { return Ok(()) };
    if ecn::decapsulate(frame.data_mut(), layers, outer_tos) {
        Ok(())
    } else {
        Err(Refusal::Congestion)
    }
}

/// The longest inner packet, in bytes, that fits an outer packet of so many towards a remote endpoint (IPv4:
/// less 50; IPv6: less 70).
pub const fn inner_mtu_bytes(outer_mtu_bytes: u32, remote: IpAddr) -> u32 {
    let overhead = match remote {
        IpAddr::V4(_) => OVERHEAD_V4_BYTES,
        IpAddr::V6(_) => OVERHEAD_V6_BYTES,
    };
    outer_mtu_bytes.saturating_sub(overhead)
}

/// What the outer headers of a frame are to be.
#[inline]
fn mark(frame: &[u8], layers: Option<&Layers>, tunnel: &Tunnel) -> Mark {
    let inner = layers.map_or(0, |layers| ecn::traffic_class(frame, layers));
    let dscp = match tunnel.dscp {
        Dscp::Fixed(dscp) => dscp << 2,
        Dscp::Inherited => inner & !ecn::MASK,
    };
    let ttl = match (tunnel.ttl, layers) {
        (Ttl::Fixed(ttl), _) => Some(ttl),
        (Ttl::Inherited, Some(layers)) => NonZeroU8::new(hops(frame, layers)),
        _ => None,
    };
    let tos = dscp | ecn::encapsulate(inner & ecn::MASK, tunnel.ecn);
    Mark { tos, ttl, entropy: entropy(frame, layers) }
}

/// TTL or hop limit.
fn hops(frame: &[u8], layers: &Layers) -> u8 {
    let field = match layers.network {
        Network::V4 => ipv4::TTL,
        Network::V6 => ipv6::HOP_LIMIT,
    };
    frame.get(usize::from(layers.l3) + field).copied().unwrap_or(0)
}

/// Takes off the VLAN tags that a frame begins with.
fn strip_tags(frame: &mut PktBuf) {
    let bytes = tag_bytes(frame.data());
    // A frame that ends within its tags has nothing behind them, and stays.
    if let Ok(tags @ 1..) = u16::try_from(bytes)
        && frame.len() >= ETHERNET_BYTES + bytes
    {
        frame.data_mut().copy_within(..ADDRESSES_BYTES, bytes);
        // It was seen to be longer than that.
        let _ = frame.shrink_front(tags);
    }
}
