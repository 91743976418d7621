//! Finishing checksums that were left half done, and recognising them where nothing marks them.

use super::Csum;
use crate::PktBuf;
use crate::wire::checksum::{finish, fold, pseudo_header, sum, udp_finish};
use crate::wire::field::{be16, be32, protocol, put_be16, put_be32, udp};
use crate::wire::{Fragment, Layers, Network};

/// Position of the UDP checksum field within its header, which marks a [`Csum::Partial`] as UDP's: TCP
/// and ICMPv6 have theirs elsewhere.
const UDP_OFFSET: u16 = 6;
/// Position of SCTP's checksum field, which marks a [`Csum::Partial`] as one that no port takes: what
/// virtio-net and AF_XDP are told is how to finish an Internet checksum, and SCTP has a CRC32c (RFC 9260
/// section 6.8).
pub(super) const SCTP_OFFSET: u16 = 8;
/// Bytes of SCTP's common header.
const SCTP_BYTES: usize = 12;

/// Finishes a [`Csum::Partial`] checksum; the frame then says [`Csum::Valid`]. Frames in any other state
/// stay as they are. False, and unchanged, when the position lies outside the frame.
#[must_use]
pub fn complete(frame: &mut PktBuf) -> bool {
    complete_behind(frame, 0)
}

/// The same for the frame that lies behind so many bytes of a tunnel's header.
#[must_use]
pub(crate) fn complete_behind(frame: &mut PktBuf, front: usize) -> bool {
    let Csum::Partial { start, offset } = frame.offload.csum else { return true };
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    let data = frame.data_mut();
    if at + 2 > data.len() {
        return false;
    }
    match sctp(data, front, start).filter(|_| offset == SCTP_OFFSET) {
        Some(end) => put_crc(&mut data[start..end], at - start),
        None => {
            let total = sum(&data[start..]);
            let checksum = if offset == UDP_OFFSET { udp_finish(total) } else { finish(total) };
            put_be16(data, at, checksum);
        }
    }
    frame.offload.csum = Csum::Valid;
    true
}

/// Where the SCTP packet ends that starts there, in the frame behind `front` bytes; what follows it is padding.
/// `None` when there is none.
fn sctp(data: &[u8], front: usize, start: usize) -> Option<usize> {
    let layers = Layers::parse(data.get(front..)?).ok()??;
    let is_here = usize::from(layers.l4) + front == start && layers.protocol == protocol::SCTP;
    let end = front + usize::try_from(layers.end).ok()?;
    (is_here && end >= start + SCTP_BYTES).then_some(end)
}

/// Writes the CRC32c of an SCTP packet, its least significant byte first (RFC 9260 appendix A).
fn put_crc(packet: &mut [u8], at: usize) {
    put_be32(packet, at, 0);
    let crc = crc32c::crc32c(packet);
    put_be32(packet, at, crc.swap_bytes());
}

/// What the checksum field of a frame that came without metadata (AF_XDP) says of itself.
///
/// A container's kernel leaves only the pseudo-header sum in the field and marks it in the skb, which
/// AF_XDP does not show. A field that equals that sum is taken as [`Csum::Partial`]. A full checksum that
/// happens to have this value is harmless: the rest then sums up to zero, and completing it yields the
/// same value. SCTP has no pseudo-header: its field is then zero, as a CRC may be. Fragments, UDP without a checksum
/// and other protocols are never taken so.
///
/// A container with a VXLAN of its own leaves the checksum of what is inside half done (and an outer one, where it has one, is
/// as if it were not: local checksum offload), so that is looked at too.
pub fn classify(frame: &[u8]) -> Csum {
    let inside = || {
        let front = inside_vxlan(frame)?;
        match partial(frame.get(front..)?)? {
            Csum::Partial { start, offset } => {
                Some(Csum::Partial { start: start + u16::try_from(front).ok()?, offset })
            }
            other => Some(other),
        }
    };
    partial(frame).or_else(inside).unwrap_or(Csum::None)
}

/// Where the frame in a VXLAN packet begins (RFC 7348 section 5), by the ports that are in use: IANA's and Linux' own.
fn inside_vxlan(frame: &[u8]) -> Option<usize> {
    const PORTS: [u16; 2] = [4789, 8472];
    const VXLAN_BYTES: usize = 8;
    let layers = Layers::plain(frame).or_else(|| Layers::parse(frame).ok()?)?;
    let is_whole = layers.fragment == Fragment::Whole && layers.protocol == protocol::UDP;
    let (_, port) = layers.ports(frame).filter(|_| is_whole)?;
    PORTS.contains(&port).then_some(usize::from(layers.l4) + udp::BYTES + VXLAN_BYTES)
}

fn partial(frame: &[u8]) -> Option<Csum> {
    let layers = Layers::parse(frame).ok()??;
    if layers.fragment != Fragment::Whole {
        return None;
    }
    if layers.protocol == protocol::SCTP {
        return partial_crc(frame, &layers);
    }
    let offset = layers.checksum_offset()?;
    let (start, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
    let field = be16(frame, start + usize::from(offset))?;
    if layers.protocol == protocol::UDP && field == 0 {
        return None;
    }
    let pseudo = fold(pseudo_header(frame, &layers, end - start)?);
    (field == pseudo).then_some(Csum::Partial { start: layers.l4, offset })
}

fn partial_crc(frame: &[u8], layers: &Layers) -> Option<Csum> {
    let field = be32(frame, usize::from(layers.l4 + SCTP_OFFSET))?;
    (field == 0).then_some(Csum::Partial { start: layers.l4, offset: SCTP_OFFSET })
}

/// Whether the full checksum of a frame's transport part is right. `None` when it has none to check: zero of UDP over IPv4
/// says so (RFC 768), over IPv6 it is wrong (RFC 8200 section 8.1).
pub fn verify(frame: &[u8], layers: &Layers) -> Option<bool> {
    let offset = layers.checksum_offset()?;
    let (start, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
    let field = be16(frame, start + usize::from(offset))?;
    if field == 0 && layers.protocol == protocol::UDP {
        return (layers.network == Network::V6).then_some(false);
    }
    let pseudo = pseudo_header(frame, layers, end - start)?;
    Some(fold(pseudo + sum(frame.get(start..end)?)) == 0xffff)
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, PacketBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::offload::{Accepts, Gso, Offload};
    use crate::{Pool, PoolConfig};

    const TUNNEL_BYTES: usize = 8;

    /// CRC32c bit by bit (RFC 9260 appendix A): the polynomial 0x1edc6f41, reflected.
    fn crc32c(bytes: &[u8]) -> u32 {
        let bit = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
        let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
        !bytes.iter().fold(!0, byte)
    }

    /// An SCTP packet whose CRC is left to a device, padded as Ethernet wants it, and where SCTP begins.
    fn sctp(is_v6: bool, chunks: &[u8]) -> (Vec<u8>, u16) {
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if is_v6 {
            link.ipv6([1; 16], [2; 16], 64)
        } else {
            link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        let body = [&[0x13, 0x88, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0], chunks].concat();
        ip.write(&mut bytes, IpNumber::SCTP, &body).unwrap();
        bytes.resize(bytes.len().max(60), 0x5a);
        (bytes, if is_v6 { 54 } else { 34 })
    }

    #[test]
    fn a_datagram_without_a_checksum_is_sound_over_ipv4_only() {
        for (is_v6, expected) in [(false, None), (true, Some(false))] {
            let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = if is_v6 {
                link.ipv6([1; 16], [2; 16], 64)
            } else {
                link.ipv4([0, 0, 0, 0], [255, 255, 255, 255], 16)
            };
            let mut frame = Vec::new();
            ip.udp(68, 67).write(&mut frame, b"who am I?").unwrap();
            let layers = Layers::parse(&frame).unwrap().unwrap();
            assert_eq!(verify(&frame, &layers), Some(true));
            let field = usize::from(layers.l4 + layers.checksum_offset().unwrap());
            frame[field..field + 2].fill(0);
            assert_eq!(verify(&frame, &layers), expected);
        }
    }

    proptest! {
        #[test]
        fn the_crc_of_sctp_is_finished_for_every_port_and_behind_a_tunnels_header(
            is_v6: bool, is_wrapped: bool, chunks in prop::collection::vec(any::<u8>(), 0..1400)
        ) {
            let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
            let (bytes, l4) = sctp(is_v6, &chunks);
            let partial = classify(&bytes);
            prop_assert_eq!(partial, Csum::Partial { start: l4, offset: SCTP_OFFSET });
            let offload = Offload { csum: partial, gso: Gso::None };
            prop_assert!(!Accepts::ALL.covers(offload));
            let front = if is_wrapped { TUNNEL_BYTES } else { 0 };
            let mut frame = pool.frame_from(&[&vec![0; front], &bytes[..]].concat()).unwrap();
            frame.offload.csum = Csum::Partial { start: l4 + u16::try_from(front).unwrap(), offset: SCTP_OFFSET };
            prop_assert!(complete_behind(&mut frame, front));
            prop_assert_eq!(frame.offload.csum, Csum::Valid);
            let (after, l4) = (&frame.data()[front..], usize::from(l4));
            let end = l4 + 12 + chunks.len();
            let crc = u32::from_le_bytes(after[l4 + 8..l4 + 12].try_into().unwrap());
            prop_assert_eq!(crc, crc32c(&bytes[l4..end]));
            prop_assert_eq!((&after[..l4 + 8], &after[l4 + 12..]), (&bytes[..l4 + 8], &bytes[l4 + 12..]));
        }
    }

    #[test]
    fn the_polynomial_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_finished_crc_is_not_taken_as_half_done_and_other_protocols_have_none() {
        let (mut bytes, _) = sctp(false, &[1; 40]);
        bytes[34 + 11] = 1;
        assert_eq!(classify(&bytes), Csum::None);
        // Somebody else's half-done checksum at that place is an Internet checksum.
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
        bytes[14 + 9] = 200;
        let mut frame = pool.frame_from(&bytes).unwrap();
        frame.offload.csum = Csum::Partial { start: 34, offset: SCTP_OFFSET };
        assert!(complete(&mut frame));
        assert_eq!(frame.data()[44..], bytes[44..]);
    }
}
