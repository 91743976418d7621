//! The virtio-net header, by which TAP and AF_PACKET tell offload state (virtio 1.2 section 5.1.6;
//! `linux/virtio_net.h`).
//!
//! ```text
//!   0 flags   NEEDS_CSUM = 1, DATA_VALID = 2      4 gso_size      native byte order
//!   1 gso_type                                    6 csum_start
//!   2 hdr_len                                     8 csum_offset
//! ```

use crate::PktBuf;
use crate::offload::{Csum, Gso, Offload, transport_bytes};
use crate::wire::Layers;
use crate::wire::field::{tcp, udp};

/// Length of the header without the buffer count, which neither TAP nor AF_PACKET needs.
pub(crate) const VNET_BYTES: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Added to the TCP types when the super-frame has CWR set.
const GSO_ECN: u8 = 0x80;

/// Takes up what the header in front of a received frame says of it. False when it cannot be: the frame is a kind of
/// super-frame that this switch never asked the kernel for, or contradicts its header.
pub(crate) fn describe(frame: &mut PktBuf, header: [u8; VNET_BYTES]) -> bool {
    let Some(offload) = decode(header) else { return false };
    frame.offload = offload;
    if !is_sound(frame) {
        return false;
    }
    if let Some(size) = offload.gso.segment_bytes()
        && is_tunnelled(frame)
    {
        frame.offload.gso = Gso::Tunnel { size };
    }
    true
}

/// Whether a super-frame is one inside of a tunnel: the kernel says of an AF_PACKET socket's frames how the inner packet
/// is to be cut, and not that there is an outer one.
fn is_tunnelled(frame: &PktBuf) -> bool {
    let Csum::Partial { start, .. } = frame.offload.csum else { return false };
    matches!(Layers::parse(frame.data()), Ok(Some(layers)) if layers.l4 != start)
}

/// Reads a header. `None` for a kind of super-frame that this switch never asked the kernel for.
fn decode(header: [u8; VNET_BYTES]) -> Option<Offload> {
    let [flags, kind, _, _, s0, s1, c0, c1, o0, o1] = header;
    let size = u16::from_ne_bytes([s0, s1]);
    let csum = if flags & NEEDS_CSUM != 0 {
        let (start, offset) = (u16::from_ne_bytes([c0, c1]), u16::from_ne_bytes([o0, o1]));
        Csum::Partial { start, offset }
    } else if flags & DATA_VALID != 0 {
        Csum::Valid
    } else {
        Csum::None
    };
    let gso = match kind & !GSO_ECN {
        GSO_NONE => Gso::None,
        GSO_TCPV4 => Gso::Tcp4 { mss: size },
        GSO_TCPV6 => Gso::Tcp6 { mss: size },
        GSO_UDP_L4 => Gso::Udp { size },
        _ => return None,
    };
    Some(Offload { csum, gso })
}

/// Writes the header of a frame. `None` when the frame's state contradicts its headers.
pub(crate) fn encode(frame: &PktBuf) -> Option<[u8; VNET_BYTES]> {
    let mut header = [0; VNET_BYTES];
    match frame.offload.csum {
        Csum::None => {}
        Csum::Valid => header[0] = DATA_VALID,
        Csum::Partial { start, offset } => {
            header[0] = NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
    }
    let Some(segment) = frame.offload.gso.segment_bytes() else { return Some(header) };
    if matches!(frame.offload.gso, Gso::Tunnel { .. }) {
        return None;
    }
    let Csum::Partial { start, .. } = frame.offload.csum else { return None };
    let headers = start + u16::try_from(transport_bytes(frame)?).ok()?;
    header[1] = gso_type(frame, usize::from(start));
    header[2..4].copy_from_slice(&headers.to_ne_bytes());
    header[4..6].copy_from_slice(&segment.to_ne_bytes());
    Some(header)
}

fn gso_type(frame: &PktBuf, transport: usize) -> u8 {
    let has_cwr = || frame.data().get(transport + tcp::FLAGS).is_some_and(|f| f & tcp::CWR != 0);
    let ecn = |kind| if has_cwr() { kind | GSO_ECN } else { kind };
    match frame.offload.gso {
        Gso::None | Gso::Tunnel { .. } => GSO_NONE,
        Gso::Tcp4 { .. } => ecn(GSO_TCPV4),
        Gso::Tcp6 { .. } => ecn(GSO_TCPV6),
        Gso::Udp { .. } => GSO_UDP_L4,
    }
}

/// Whether state that came from outside fits the frame: a position outside of it, or a super-frame whose
/// transport header is not there, would only be found out at the far end.
fn is_sound(frame: &PktBuf) -> bool {
    let Csum::Partial { start, offset } = frame.offload.csum else {
        return frame.offload.gso == Gso::None;
    };
    let field_end = usize::from(start) + usize::from(offset) + 2;
    let expected = match frame.offload.gso {
        Gso::None | Gso::Tunnel { .. } => None,
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => Some(tcp::CHECKSUM),
        Gso::Udp { .. } => Some(udp::CHECKSUM),
    };
    field_end <= frame.len()
        && expected.is_none_or(|at| at == usize::from(offset) && transport_bytes(frame).is_some())
        && frame.offload.gso.segment_bytes() != Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};
    use proptest::prelude::*;

    fn frame(pool: &mut Pool, offload: Offload) -> PktBuf {
        let mut bytes = vec![0; 2000];
        bytes[34 + 12] = 0x80; // TCP data offset: 32 bytes
        let mut frame = pool.frame_from(&bytes).unwrap();
        frame.offload = offload;
        frame
    }

    fn offloads() -> impl Strategy<Value = Offload> {
        let partial = |offset| Csum::Partial { start: 34, offset };
        prop_oneof![
            Just(Offload::NONE),
            Just(Offload { csum: Csum::Valid, gso: Gso::None }),
            (0u16..100).prop_map(move |at| Offload { csum: partial(at), gso: Gso::None }),
            (1u16..).prop_map(move |mss| Offload { csum: partial(16), gso: Gso::Tcp4 { mss } }),
            (1u16..).prop_map(move |mss| Offload { csum: partial(16), gso: Gso::Tcp6 { mss } }),
            (1u16..).prop_map(move |size| Offload { csum: partial(6), gso: Gso::Udp { size } }),
        ]
    }

    proptest! {
        #[test]
        fn state_survives_the_header(offload in offloads()) {
            let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
            let frame = frame(&mut pool, offload);
            prop_assert!(is_sound(&frame));
            prop_assert_eq!(decode(encode(&frame).unwrap()), Some(offload));
        }

        #[test]
        fn no_header_and_no_bytes_make_it_panic(
            header: [u8; VNET_BYTES], bytes in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
            let mut frame = pool.frame_from(&bytes).unwrap();
            if let Some(offload) = decode(header) {
                frame.offload = offload;
                if is_sound(&frame) {
                    prop_assert!(encode(&frame).is_some());
                }
            }
        }
    }

    #[test]
    fn a_congestion_window_reduction_is_announced_to_the_kernel() {
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
        let csum = Csum::Partial { start: 34, offset: 16 };
        let mut frame = frame(&mut pool, Offload { csum, gso: Gso::Tcp4 { mss: 1448 } });
        frame.data_mut()[34 + 13] = 0x80;
        assert_eq!(encode(&frame).unwrap()[1], GSO_TCPV4 | GSO_ECN);
    }

    #[test]
    fn the_header_length_covers_the_transport_header() {
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
        let csum = Csum::Partial { start: 34, offset: 16 };
        let frame = frame(&mut pool, Offload { csum, gso: Gso::Tcp4 { mss: 1448 } });
        assert_eq!(encode(&frame).unwrap()[2..4], 66u16.to_ne_bytes());
    }
}
