//! What a router checks and changes in every packet that it forwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pktio::wire::checksum::{fold, sum, update};
use pktio::wire::field::{be16, ipv4, ipv6, put_be16};
use pktio::wire::{Layers, Network};

/// Why a packet may not be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The checksum of its IPv4 header is wrong (RFC 1812 section 5.2.2).
    #[error("the IPv4 header checksum is wrong")]
    BadChecksum,
    /// Its source or destination is none that a packet on the wire may have (RFC 1812 section 5.3.7,
    /// RFC 4291 section 2.5).
    #[error("the source or destination address may not appear on the wire")]
    Martian,
    /// Its source or destination means something on its own link only (RFC 3927 section 2.7, RFC 4291
    /// section 2.5.6).
    #[error("the source or destination address is link-local")]
    LinkLocal,
    /// It is for a group; this router knows no multicast routing.
    #[error("the destination is a group")]
    Group,
    /// Its time to live or hop limit is used up: to be answered with "time exceeded".
    #[error("the time to live is used up")]
    Expired,
}

/// Checks whether a packet may be forwarded at all.
///
/// # Errors
/// [`Obstacle`]; only [`Obstacle::Expired`] is to be answered, the others are dropped silently.
pub fn check(frame: &[u8], layers: &Layers) -> Result<(), Obstacle> {
    let (source, destination) = layers.addresses(frame).ok_or(Obstacle::Martian)?;
    if !has_sound_header(frame, layers) {
        return Err(Obstacle::BadChecksum);
    }
    if is_group(destination) {
        return Err(Obstacle::Group);
    }
    if is_martian(source) || is_group(source) || is_martian(destination) {
        return Err(Obstacle::Martian);
    }
    if is_link_local(source) || is_link_local(destination) {
        return Err(Obstacle::LinkLocal);
    }
    if expires(frame, layers) { Err(Obstacle::Expired) } else { Ok(()) }
}

/// Whether a packet's time to live or hop limit does not allow another hop.
#[inline]
pub fn expires(frame: &[u8], layers: &Layers) -> bool {
    frame.get(ttl_at(layers)).is_none_or(|ttl| *ttl <= 1)
}

/// Takes one off the time to live or hop limit, and updates the header checksum. Call it for packets that
/// do not expire.
#[inline]
pub fn decrement(frame: &mut [u8], layers: &Layers) {
    let l3 = usize::from(layers.l3);
    let ttl = frame.get(ttl_at(layers)).map_or(0, |ttl| ttl.saturating_sub(1));
    match layers.network {
        Network::V4 => set_ttl(frame, l3, ttl),
        Network::V6 => {
            if let Some(field) = frame.get_mut(ttl_at(layers)) {
                *field = ttl;
            }
        }
    }
}

/// Sets the time to live of an IPv4 header and updates its checksum.
pub(super) fn set_ttl(frame: &mut [u8], l3: usize, ttl: u8) {
    let word_at = l3 + ipv4::TTL;
    let Some(old) = be16(frame, word_at) else { return };
    let Some(checksum) = be16(frame, l3 + ipv4::CHECKSUM) else { return };
    // The time to live shares its word with the protocol.
    let new = u16::from(ttl) << 8 | (old & 0xff);
    put_be16(frame, word_at, new);
    put_be16(frame, l3 + ipv4::CHECKSUM, update(checksum, old, new));
}

fn ttl_at(layers: &Layers) -> usize {
    usize::from(layers.l3)
        + match layers.network {
            Network::V4 => ipv4::TTL,
            Network::V6 => ipv6::HOP_LIMIT,
        }
}

/// Whether the checksum of an IPv4 header is right (RFC 1812 section 5.2.2). Only the header of IPv6 has none.
#[inline(always)]
pub fn has_sound_header(frame: &[u8], layers: &Layers) -> bool {
    let l3 = usize::from(layers.l3);
    if layers.network == Network::V4
        && layers.l4 == layers.l3 + 20
        && let Some(header) = frame.get(l3..).and_then(<[u8]>::first_chunk)
    {
        return is_sound(header);
    }
    layers.network == Network::V6 || has_sound_options(frame, l3)
}

/// Whether the sum of an IPv4 header that may have options is right.
#[inline(never)]
fn has_sound_options(frame: &[u8], l3: usize) -> bool {
    let bytes = frame.get(l3).map_or(0, |first| usize::from(first & 0x0f) * 4);
    frame.get(l3..l3 + bytes).is_some_and(|header| fold(sum(header)) == 0xffff)
}

/// Whether the sum of an IPv4 header without options is right.
#[inline(always)]
fn is_sound(header: &[u8; ipv4::MIN_BYTES]) -> bool {
    // The sum of 16-bit words is that of 32-bit words, folded, in whatever order their bytes are (RFC 1071, section 2). What it
    // is folded to is 0xffff where it is a multiple of that and not 0, as no header's is.
    let (words, _) = header.as_chunks();
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>() % 0xffff == 0
}

/// Addresses that no packet on the wire may have: "this network", loopback, reserved; the unspecified
/// one, loopback, and IPv4 in disguise.
pub(super) fn is_martian(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            first == 0 || first >= 240 || ip.is_loopback()
        }
        IpAddr::V6(ip) => {
            ip == Ipv6Addr::UNSPECIFIED || ip.is_loopback() || ip.to_ipv4_mapped().is_some()
        }
    }
}

/// Whether an address is that of many: multicast, or everybody on the link.
pub(super) fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4HeaderSlice, PacketBuilder};
    use proptest::prelude::*;

    fn v4(source: [u8; 4], destination: [u8; 4], ttl: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, ttl);
        builder.udp(1, 2).write(&mut frame, b"payload").unwrap();
        frame
    }

    fn v6(source: &str, destination: &str, ttl: u8) -> Vec<u8> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6(octets(source), octets(destination), ttl)
            .udp(1, 2)
            .write(&mut frame, b"payload")
            .unwrap();
        frame
    }

    fn checked(frame: &[u8]) -> Result<(), Obstacle> {
        check(frame, &Layers::parse(frame).unwrap().unwrap())
    }

    #[test]
    fn only_packets_from_one_host_to_another_are_forwarded() {
        let (host, other) = ([10, 0, 0, 2], [10, 1, 0, 2]);
        for (from, to, expected) in [
            (host, other, Ok(())),
            ([127, 0, 0, 1], other, Err(Obstacle::Martian)),
            ([0, 0, 0, 0], other, Err(Obstacle::Martian)),
            ([224, 0, 0, 1], other, Err(Obstacle::Martian)),
            ([255; 4], other, Err(Obstacle::Martian)),
            (host, [127, 0, 0, 1], Err(Obstacle::Martian)),
            (host, [0, 0, 0, 0], Err(Obstacle::Martian)),
            (host, [224, 0, 0, 251], Err(Obstacle::Group)),
            (host, [255; 4], Err(Obstacle::Group)),
            (host, [240, 0, 0, 1], Err(Obstacle::Martian)),
            (host, [169, 254, 1, 1], Err(Obstacle::LinkLocal)),
        ] {
            assert_eq!(checked(&v4(from, to, 64)), expected, "{from:?} > {to:?}");
        }
        for (from, to, expected) in [
            ("fd00::2", "fd01::2", Ok(())),
            ("::", "fd01::2", Err(Obstacle::Martian)),
            ("::1", "fd01::2", Err(Obstacle::Martian)),
            ("::ffff:10.0.0.2", "fd01::2", Err(Obstacle::Martian)),
            ("fd00::2", "ff02::1", Err(Obstacle::Group)),
            ("fe80::2", "fd01::2", Err(Obstacle::LinkLocal)),
            ("fd00::2", "fe80::2", Err(Obstacle::LinkLocal)),
        ] {
            assert_eq!(checked(&v6(from, to, 64)), expected, "{from} > {to}");
        }
    }

    #[test]
    fn a_packet_on_its_last_hop_expires() {
        assert_eq!(checked(&v4([10, 0, 0, 2], [10, 1, 0, 2], 1)), Err(Obstacle::Expired));
        assert_eq!(checked(&v4([10, 0, 0, 2], [10, 1, 0, 2], 2)), Ok(()));
        assert_eq!(checked(&v6("fd00::2", "fd01::2", 1)), Err(Obstacle::Expired));
        assert_eq!(checked(&v6("fd00::2", "fd01::2", 0)), Err(Obstacle::Expired));
    }

    #[test]
    fn a_damaged_header_is_found() {
        let mut frame = v4([10, 0, 0, 2], [10, 1, 0, 2], 9);
        frame[14 + ipv4::ID] ^= 1;
        assert_eq!(checked(&frame), Err(Obstacle::BadChecksum));
    }

    proptest! {
        #[test]
        fn a_decremented_header_has_the_checksum_that_it_should(
            source: [u8; 4], destination: [u8; 4], ttl in 2u8..
        ) {
            let mut frame = v4(source, destination, ttl);
            let layers = Layers::parse(&frame).unwrap().unwrap();
            decrement(&mut frame, &layers);
            let header = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap();
            prop_assert_eq!(header.ttl(), ttl - 1);
            prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        }
    }

    #[test]
    fn a_hop_limit_goes_down_by_one() {
        let mut frame = v6("fd00::2", "fd01::2", 64);
        let layers = Layers::parse(&frame).unwrap().unwrap();
        decrement(&mut frame, &layers);
        assert_eq!(frame[14 + ipv6::HOP_LIMIT], 63);
    }
}
