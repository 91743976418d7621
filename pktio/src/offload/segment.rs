//! Software segmentation: a super-frame becomes the frames that a NIC would have made of it.
//!
//! TCP (as `tcp_gso_segment` in the kernel): each segment has the super-frame's headers with its own
//! sequence number; PSH and FIN stay on the last segment only, CWR on the first only (RFC 3168); the IPv4
//! identification counts up by one. UDP (`UDP_SEGMENT`): each piece is a datagram of its own.
//!
//! Every check comes before the first segment is made, so a super-frame is cut up whole or not at all.

use super::{Accepts, Csum, Gso, checksum};
use crate::wire::checksum as sums;
use crate::wire::field::{be16, be32, ipv4, ipv6, put_be16, put_be32, tcp, udp};
use crate::wire::{Fragment, Layers, Network};
use crate::{Burst, PktBuf, Pool};

/// Why a frame could not be made fit for its egress port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its offload state and its headers contradict each other.
    #[error("offload state and headers contradict each other")]
    BadOffload,
    /// There are not enough free buffers for its segments.
    #[error("no free buffers for the segments")]
    NoBuffer,
}

/// What is known about a super-frame before it is cut.
struct Plan {
    layers: Layers,
    /// All headers.
    header_bytes: usize,
    /// Payload of each segment but the last.
    segment_bytes: usize,
    is_tcp: bool,
}

/// Cuts a super-frame into segments, appended to `out`. Their checksums are left half done where
/// `accepts` allows it, and finished otherwise. The super-frame stays the caller's.
///
/// # Errors
/// [`Refusal`]; `out` is then as it was.
pub fn segment(
    frame: &PktBuf,
    accepts: &Accepts,
    pool: &mut Pool,
    out: &mut Burst,
) -> Result<(), Refusal> {
    let plan = plan(frame)?;
    let begun = out.len();
    let end = usize::try_from(plan.layers.end).map_err(|_| Refusal::BadOffload)?;
    let payload = &frame.data()[plan.header_bytes..end];
    let count = payload.len().div_ceil(plan.segment_bytes).max(1);
    for number in 0..count {
        let from = number * plan.segment_bytes;
        let piece = &payload[from..payload.len().min(from + plan.segment_bytes)];
        match make(frame, &plan, number, number + 1 == count, piece, accepts, pool) {
            Some(segment) => out.push(segment),
            None => {
                out.drain(begun..).for_each(|segment| pool.recycle(segment));
                return Err(Refusal::NoBuffer);
            }
        }
    }
    Ok(())
}

/// Checks a super-frame's state against its headers.
fn plan(frame: &PktBuf) -> Result<Plan, Refusal> {
    let Csum::Partial { start, offset } = frame.offload.csum else {
        return Err(Refusal::BadOffload);
    };
    let layers = Layers::parse(frame.data()).ok().flatten().ok_or(Refusal::BadOffload)?;
    let (expected, network, is_tcp) = match frame.offload.gso {
        Gso::None => return Err(Refusal::BadOffload),
        Gso::Tcp4 { .. } => (tcp::CHECKSUM, Some(Network::V4), true),
        Gso::Tcp6 { .. } => (tcp::CHECKSUM, Some(Network::V6), true),
        Gso::Udp { .. } => (udp::CHECKSUM, None, false),
    };
    let segment_bytes = usize::from(frame.offload.gso.segment_bytes().unwrap_or(0));
    let transport = layers.transport_bytes(frame.data()).ok_or(Refusal::BadOffload)?;
    let fits = layers.fragment == Fragment::Whole
        && start == layers.l4
        && usize::from(offset) == expected
        && layers.checksum_offset() == Some(offset)
        && network.is_none_or(|network| network == layers.network)
        && segment_bytes > 0;
    if !fits {
        return Err(Refusal::BadOffload);
    }
    Ok(Plan { layers, header_bytes: usize::from(start) + transport, segment_bytes, is_tcp })
}

/// Makes segment `number`: headers copied and adjusted, then the payload.
fn make(
    frame: &PktBuf,
    plan: &Plan,
    number: usize,
    is_last: bool,
    payload: &[u8],
    accepts: &Accepts,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let bytes = plan.header_bytes + payload.len();
    let mut segment = pool.take_for(bytes)?;
    segment.set_len(bytes);
    let data = segment.data_mut();
    data[..plan.header_bytes].copy_from_slice(&frame.data()[..plan.header_bytes]);
    data[plan.header_bytes..].copy_from_slice(payload);
    set_lengths(data, plan, number);
    if plan.is_tcp {
        set_tcp(data, plan, number, is_last);
    }
    let l4 = usize::from(plan.layers.l4);
    let layers = Layers { end: u32::try_from(bytes).ok()?, ..plan.layers };
    let pseudo = sums::pseudo_header(data, &layers, bytes - l4)?;
    let Csum::Partial { offset, .. } = frame.offload.csum else { return None };
    put_be16(data, l4 + usize::from(offset), sums::fold(pseudo));
    segment.offload.csum = frame.offload.csum;
    (accepts.partial_csum || checksum::complete(&mut segment)).then_some(segment)
}

/// IP and UDP lengths, IPv4 identification and header checksum.
fn set_lengths(data: &mut [u8], plan: &Plan, number: usize) {
    let (l3, l4) = (usize::from(plan.layers.l3), usize::from(plan.layers.l4));
    let bytes = data.len();
    let length_from = |at: usize| u16::try_from(bytes.saturating_sub(at)).unwrap_or(u16::MAX);
    match plan.layers.network {
        Network::V4 => {
            put_be16(data, l3 + ipv4::TOTAL_LENGTH, length_from(l3));
            let id = be16(data, l3 + ipv4::ID).unwrap_or(0);
            put_be16(data, l3 + ipv4::ID, id.wrapping_add(low16(number)));
            put_be16(data, l3 + ipv4::CHECKSUM, 0);
            let checksum = sums::finish(sums::sum(&data[l3..l4]));
            put_be16(data, l3 + ipv4::CHECKSUM, checksum);
        }
        Network::V6 => put_be16(data, l3 + ipv6::PAYLOAD_LENGTH, length_from(l3 + ipv6::BYTES)),
    }
    if !plan.is_tcp {
        put_be16(data, l4 + udp::LENGTH, length_from(l4));
    }
}

/// Sequence number and flags.
fn set_tcp(data: &mut [u8], plan: &Plan, number: usize, is_last: bool) {
    let l4 = usize::from(plan.layers.l4);
    let sequence = be32(data, l4 + tcp::SEQUENCE).unwrap_or(0);
    let sent = u32::try_from(number * plan.segment_bytes).unwrap_or(u32::MAX);
    put_be32(data, l4 + tcp::SEQUENCE, sequence.wrapping_add(sent));
    let flags = &mut data[l4 + tcp::FLAGS];
    if !is_last {
        *flags &= !(tcp::FIN | tcp::PSH);
    }
    if number > 0 {
        *flags &= !tcp::CWR;
    }
}

/// The lower 16 bits of a segment's number, by which the identification counts up.
fn low16(number: usize) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}
