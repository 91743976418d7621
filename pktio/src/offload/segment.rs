//! Software segmentation: a super-frame becomes the frames that a NIC would have made of it.
//!
//! TCP (as `tcp_gso_segment` in the kernel): each segment has the super-frame's headers with its own
//! sequence number; PSH and FIN stay on the last segment only, CWR on the first only (RFC 3168); the IPv4
//! identification counts up by one. UDP (`UDP_SEGMENT`): each piece is a datagram of its own.
//!
//! A packet in a tunnel of the container's own is cut like that too, and each segment gets the outer headers, whose
//! lengths, identification and checksums are its own. Of the tunnel's protocol nothing needs to be known, but where it
//! has a checksum: its header is repeated as it is (as `skb_udp_tunnel_segment` and `gre_gso_segment` do).
//!
//! Every check comes before the first segment is made, so a super-frame is cut up whole or not at all.

use super::{Accepts, Csum, Gso, Offload};
use crate::wire::checksum as sums;
use crate::wire::field::{be16, be32, ipv4, ipv6, protocol, put_be16, put_be32, tcp, udp};
use crate::wire::{Fragment, Layers, Network};
use crate::{Burst, PktBuf, Pool};

/// Into more segments than this nothing is cut: 64 KiB at the smallest segment size that TCP stacks use (48
/// bytes) are fewer. A container can ask for segments of one byte.
const MOST_SEGMENTS: usize = 2048;

/// Why a frame could not be made fit for its egress port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its offload state and its headers contradict each other, or ask for absurdly many segments.
    #[error("offload state and headers contradict each other")]
    BadOffload,
    /// There are not enough free buffers for its segments.
    #[error("no free buffers for the segments")]
    NoBuffer,
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
    let cut = Cut::of(frame.data(), frame.offload)?;
    let begun = out.len();
    for number in 0..cut.count() {
        match make(&cut, number, accepts, pool) {
            Some(segment) => out.push(segment),
            None => {
                out.drain(begun..).for_each(|segment| pool.recycle(segment));
                return Err(Refusal::NoBuffer);
            }
        }
    }
    Ok(())
}

/// Which checksums of a segment are finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The transport checksum is left half done.
    Nothing,
    /// The transport checksum, and not that of a tunnel around it.
    Inner,
    /// Both.
    All,
}

/// Makes segment `number` in a buffer of its own.
fn make(cut: &Cut, number: usize, accepts: &Accepts, pool: &mut Pool) -> Option<PktBuf> {
    let payload = cut.payload(number);
    let bytes = cut.header_bytes + payload.len();
    let mut segment = pool.take_for(bytes)?;
    segment.set_len(bytes);
    // An outer checksum covers the inner one, which then has to be there.
    let finished = !accepts.partial_csum || cut.outer.is_some();
    let (headers, rest) = segment.data_mut().split_at_mut(cut.header_bytes);
    cut.write_headers(number, headers, if finished { Finish::All } else { Finish::Nothing });
    rest.copy_from_slice(payload);
    segment.offload.csum = if finished { Csum::Valid } else { cut.partial };
    Some(segment)
}

/// A super-frame that was found sound, and how it is cut: the one place that knows what the headers of each
/// segment are. Who sends the segments decides where headers and payload are put together.
pub(crate) struct Cut<'f> {
    /// The frame up to the end of its packet.
    packet: &'f [u8],
    /// The packet that is cut.
    layers: Layers,
    /// The one that it is in.
    outer: Option<Layers>,
    /// The checksum state of the super-frame, and of segments whose checksum is left half done.
    partial: Csum,
    /// Position of the checksum field.
    checksum: usize,
    /// Length of all headers.
    header_bytes: usize,
    /// Payload of each segment but the last.
    segment_bytes: usize,
    is_tcp: bool,
}

impl<'f> Cut<'f> {
    /// Checks a super-frame's state against its headers.
    pub(crate) fn of(frame: &'f [u8], offload: Offload) -> Result<Self, Refusal> {
        let Csum::Partial { start, offset } = offload.csum else {
            return Err(Refusal::BadOffload);
        };
        let layers = Layers::parse(frame).ok().flatten().ok_or(Refusal::BadOffload)?;
        let (layers, outer) = match offload.gso {
            Gso::Tunnel { .. } => {
                (inner(frame, &layers, start).ok_or(Refusal::BadOffload)?, Some(layers))
            }
            _ => (layers, None),
        };
        let (expected, network, is_tcp) = match offload.gso {
            Gso::None => return Err(Refusal::BadOffload),
            Gso::Tcp4 { .. } => (tcp::CHECKSUM, Some(Network::V4), true),
            Gso::Tcp6 { .. } => (tcp::CHECKSUM, Some(Network::V6), true),
            Gso::Tunnel { .. } if layers.protocol == protocol::TCP => (tcp::CHECKSUM, None, true),
            Gso::Udp { .. } | Gso::Tunnel { .. } => (udp::CHECKSUM, None, false),
        };
        let segment_bytes = usize::from(offload.gso.segment_bytes().unwrap_or(0));
        let transport = layers.transport_bytes(frame).ok_or(Refusal::BadOffload)?;
        let header_bytes = usize::from(start) + transport;
        let end = usize::try_from(layers.end).map_err(|_| Refusal::BadOffload)?;
        let fits = layers.fragment == Fragment::Whole
            && start == layers.l4
            && usize::from(offset) == expected
            && layers.checksum_offset() == Some(offset)
            && network.is_none_or(|network| network == layers.network)
            && segment_bytes > 0
            && header_bytes <= end
            && (end - header_bytes).div_ceil(segment_bytes) <= MOST_SEGMENTS;
        if !fits {
            return Err(Refusal::BadOffload);
        }
        let checksum = usize::from(start) + expected;
        let (packet, partial) = (&frame[..end], offload.csum);
        Ok(Self { packet, layers, outer, partial, checksum, header_bytes, segment_bytes, is_tcp })
    }

    /// The packet that it is in, if it is in a tunnel.
    pub(super) fn outer(&self) -> Option<&Layers> {
        self.outer.as_ref()
    }

    /// The super-frame's own headers.
    pub(super) fn headers(&self) -> &'f [u8] {
        &self.packet[..self.header_bytes]
    }

    /// Number of segments: at least one.
    pub(crate) fn count(&self) -> usize {
        (self.packet.len() - self.header_bytes).div_ceil(self.segment_bytes).max(1)
    }

    /// Length of each segment's headers.
    pub(crate) fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Payload of each segment but the last, which may have less.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// The payload of segment `number`.
    pub(crate) fn payload(&self, number: usize) -> &'f [u8] {
        let payload = &self.packet[self.header_bytes..];
        let from = payload.len().min(number * self.segment_bytes);
        &payload[from..payload.len().min(from + self.segment_bytes)]
    }

    /// Writes the headers of segment `number` to `headers`, which are [`Cut::header_bytes`] long, with
    /// checksums that are finished or left half done.
    pub(crate) fn write_headers(&self, number: usize, headers: &mut [u8], finish: Finish) {
        headers.copy_from_slice(&self.packet[..self.header_bytes]);
        let payload = self.payload(number);
        for layers in [Some(&self.layers), self.outer.as_ref()].into_iter().flatten() {
            set_lengths(layers, headers, number, self.header_bytes + payload.len());
        }
        if self.is_tcp {
            self.set_tcp(headers, number);
        }
        let l4 = usize::from(self.layers.l4);
        let bytes = self.header_bytes - l4 + payload.len();
        let pseudo = sums::pseudo_header(headers, &self.layers, bytes).unwrap_or(0);
        put_be16(headers, self.checksum, sums::fold(pseudo));
        if finish != Finish::Nothing {
            let total = sums::sum(&headers[l4..]) + sums::sum(payload);
            let checksum = if self.is_tcp { sums::finish(total) } else { sums::udp_finish(total) };
            put_be16(headers, self.checksum, checksum);
            if let Some(outer) = self.outer.as_ref().filter(|_| finish == Finish::All) {
                finish_outer(outer, headers, payload);
            }
        }
    }

    /// Sequence number and flags.
    fn set_tcp(&self, headers: &mut [u8], number: usize) {
        let l4 = usize::from(self.layers.l4);
        let sequence = be32(headers, l4 + tcp::SEQUENCE).unwrap_or(0);
        let sent = u32::try_from(number * self.segment_bytes).unwrap_or(u32::MAX);
        put_be32(headers, l4 + tcp::SEQUENCE, sequence.wrapping_add(sent));
        let flags = &mut headers[l4 + tcp::FLAGS];
        if number + 1 < self.count() {
            *flags &= !(tcp::FIN | tcp::PSH);
        }
        if number > 0 {
            *flags &= !tcp::CWR;
        }
    }
}

/// The packet in a tunnel whose transport header is at `start`: it ends where the outer one does, and has neither options
/// nor extension headers, as what kernels leave to a device to be cut.
fn inner(frame: &[u8], outer: &Layers, start: u16) -> Option<Layers> {
    let shapes = [(Network::V4, ipv4::MIN_BYTES), (Network::V6, ipv6::BYTES)];
    shapes.into_iter().find_map(|(network, bytes)| {
        let l3 = usize::from(start).checked_sub(bytes)?;
        let layers = Layers::parse_quoted(frame, l3, network).ok()?;
        let is_inside = l3 >= usize::from(outer.l4)
            && outer.fragment == Fragment::Whole
            && (start - outer.l4).is_multiple_of(2);
        (is_inside && (layers.l4, layers.end) == (start, outer.end)).then_some(layers)
    })
}

/// IP and UDP lengths, IPv4 identification and header checksum of a segment that ends after so many bytes.
pub(super) fn set_lengths(layers: &Layers, headers: &mut [u8], number: usize, bytes: usize) {
    let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
    let length_from = |at: usize| u16::try_from(bytes.saturating_sub(at)).unwrap_or(u16::MAX);
    match layers.network {
        Network::V4 => {
            put_be16(headers, l3 + ipv4::TOTAL_LENGTH, length_from(l3));
            let id = be16(headers, l3 + ipv4::ID).unwrap_or(0);
            put_be16(headers, l3 + ipv4::ID, id.wrapping_add(low16(number)));
            put_be16(headers, l3 + ipv4::CHECKSUM, 0);
            let checksum = sums::finish(sums::sum(&headers[l3..l4]));
            put_be16(headers, l3 + ipv4::CHECKSUM, checksum);
        }
        Network::V6 => {
            put_be16(headers, l3 + ipv6::PAYLOAD_LENGTH, length_from(l3 + ipv6::BYTES));
        }
    }
    if layers.protocol == protocol::UDP {
        put_be16(headers, l4 + udp::LENGTH, length_from(l4));
    }
}

/// The checksum of a tunnel's header, where it has one, over all that follows: UDP's (RFC 768, where zero says that there
/// is none) or GRE's (RFC 2784 section 2.1).
fn finish_outer(outer: &Layers, headers: &mut [u8], payload: &[u8]) {
    const GRE_HAS_CHECKSUM: u8 = 0x80;
    const GRE_CHECKSUM: usize = 4;
    let l4 = usize::from(outer.l4);
    let is_udp = outer.protocol == protocol::UDP;
    let at = match outer.protocol {
        protocol::UDP if be16(headers, l4 + udp::CHECKSUM) != Some(0) => l4 + udp::CHECKSUM,
        protocol::GRE if headers[l4] & GRE_HAS_CHECKSUM != 0 => l4 + GRE_CHECKSUM,
        _ => return,
    };
    put_be16(headers, at, 0);
    let bytes = headers.len() - l4 + payload.len();
    let pseudo = sums::pseudo_header(headers, outer, bytes).filter(|_| is_udp).unwrap_or(0);
    let total = pseudo + sums::sum(&headers[l4..]) + sums::sum(payload);
    put_be16(headers, at, if is_udp { sums::udp_finish(total) } else { sums::finish(total) });
}

/// The lower 16 bits of a segment's number, by which the identification counts up.
fn low16(number: usize) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}
