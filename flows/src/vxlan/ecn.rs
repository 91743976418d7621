//! Explicit congestion notification across a tunnel (RFC 6040, which RFC 9599 asks of every tunnel).
//!
//! Going in, the outer field is a copy of the inner one (normal mode, section 4.1), so that routers outside
//! may mark instead of drop. Coming out, the two are combined (section 4.2, figure 4):
//!
//! ```text
//!    inner \ outer | Not-ECT   ECT(0)    ECT(1)    CE
//!    Not-ECT       | Not-ECT   Not-ECT   Not-ECT   drop
//!    ECT(0)        | ECT(0)    ECT(0)    ECT(1)    CE
//!    ECT(1)        | ECT(1)    ECT(1)    ECT(1)    CE
//!    CE            | CE        CE        CE        CE
//! ```
//!
//! What is no IP has no such field, and passes.

use pktio::wire::checksum::update;
use pktio::wire::field::{be16, ipv4, put_be16};
use pktio::wire::{Layers, Network};

/// The two bits of a TOS or traffic class that are about congestion (RFC 3168, section 5).
pub(super) const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// How the congestion field goes in (RFC 6040, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EcnMode {
    /// As it is: for remote endpoints that combine the two fields on the way out, as Linux's and ours do.
    #[default]
    Normal,
    /// Always Not-ECT: for remote endpoints that ignore the outer field, and would lose a mark.
    Compatibility,
}

/// The outer field for an inner one.
#[inline]
pub(super) fn encapsulate(inner: u8, mode: EcnMode) -> u8 {
    match mode {
        EcnMode::Normal => inner,
        EcnMode::Compatibility => NOT_ECT,
    }
}

/// Whether an outer field can say more than the inner one does.
#[inline]
pub(super) fn is_marked(outer_tos: u8) -> bool {
    matches!(outer_tos & MASK, ECT_1 | CE)
}

/// Combines the fields of a packet that comes out of a tunnel. False when it must be dropped; it is then as it
/// was.
#[inline]
#[must_use]
pub(super) fn decapsulate(frame: &mut [u8], layers: &Layers, outer_tos: u8) -> bool {
    if !is_marked(outer_tos) {
        return true;
    }
    let outer = outer_tos & MASK;
    let tos = traffic_class(frame, layers);
    let Some(combined) = combine(tos & MASK, outer) else { return false };
    if combined != tos & MASK {
        set_traffic_class(frame, layers, tos & !MASK | combined);
    }
    true
}

/// RFC 6040, figure 4. `None` means to drop.
fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// TOS (IPv4) or traffic class (IPv6) of a packet.
#[inline]
pub(super) fn traffic_class(frame: &[u8], layers: &Layers) -> u8 {
    let word = be16(frame, usize::from(layers.l3)).unwrap_or(0);
    let word = match layers.network {
        Network::V4 => word,
        Network::V6 => word >> 4,
    };
    word.to_be_bytes()[1]
}

/// Writes it; the IPv4 header checksum follows.
fn set_traffic_class(frame: &mut [u8], layers: &Layers, tos: u8) {
    let l3 = usize::from(layers.l3);
    let (Some(old), Some(checksum)) = (be16(frame, l3), be16(frame, l3 + ipv4::CHECKSUM)) else {
        return;
    };
    match layers.network {
        Network::V4 => {
            let new = old & 0xff00 | u16::from(tos);
            put_be16(frame, l3, new);
            put_be16(frame, l3 + ipv4::CHECKSUM, update(checksum, old, new));
        }
        Network::V6 => put_be16(frame, l3, old & 0xf00f | u16::from(tos) << 4),
    }
}
