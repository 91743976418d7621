//! Frames that are made up, without check sequence.

use std::net::Ipv4Addr;

use pktio::wire::field::{ethertype, ipv4, protocol, put_be16};
use pktio::wire::{Layers, MacAddr, checksum};
use pktio::{Csum, Gso, Offload};

/// The shortest frame.
pub(super) const SHORTEST_BYTES: usize = 60;
/// Headers of Ethernet and IPv4.
const L4: usize = 14 + 20;
/// Headers of a TCP segment.
pub(super) const TCP_HEADERS: usize = L4 + 20;
/// What a segment carries at MTU 1500.
pub(super) const MSS: u16 = 1460;

/// Who sends a frame to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Destination first, as on the wire.
    pub(super) stations: [MacAddr; 2],
    /// Source first, as on the wire.
    pub(super) ips: [Ipv4Addr; 2],
    pub(super) ports: [u16; 2],
}

impl Ends {
    /// Two containers.
    pub(super) const USUAL: Self = Self {
        stations: [MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1])],
        ips: [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
        ports: [40_000, 80],
    };

    /// The `number`th of many flows: no two have the same addresses and ports.
    pub(super) fn flow(number: usize) -> Self {
        let [.., high, low] = (number / 1000).to_be_bytes();
        let port = u16::try_from(20_000 + number % 1000).unwrap_or(u16::MAX);
        let ips = [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(198, 51, high, low)];
        Self { ips, ports: [port, 53], ..Self::USUAL }
    }

    /// A datagram without checksum, in a frame of so many bytes.
    pub(super) fn udp(&self, bytes: usize) -> Vec<u8> {
        let mut frame = self.packet(protocol::UDP, bytes);
        put_be16(&mut frame, L4 + 4, u16::try_from(bytes - L4).unwrap_or(u16::MAX));
        frame
    }

    /// A segment with a checksum of which the pseudo header is done, in a frame of so many bytes.
    pub(super) fn tcp(&self, bytes: usize, sequence: u32) -> Vec<u8> {
        let mut frame = self.packet(protocol::TCP, bytes.max(TCP_HEADERS));
        frame[L4 + 4..L4 + 8].copy_from_slice(&sequence.to_be_bytes());
        frame[L4 + 8..L4 + 14].copy_from_slice(&[0, 0, 0, 1, 0x50, 0x10]);
        put_be16(&mut frame, L4 + 14, 1000);
        let layers = Layers::parse(&frame).ok().flatten();
        let pseudo = layers.and_then(|layers| checksum::pseudo_header(&frame, &layers, bytes - L4));
        put_be16(&mut frame, L4 + 16, checksum::fold(pseudo.unwrap_or(0)));
        frame
    }

    /// Ethernet, IPv4 and ports.
    fn packet(&self, protocol: u8, bytes: usize) -> Vec<u8> {
        let mut frame = [self.stations[0].0, self.stations[1].0].concat();
        frame.resize(bytes, 0x5a);
        put_be16(&mut frame, 12, ethertype::IPV4);
        frame[14..L4].fill(0);
        frame[14] = 0x45;
        put_be16(
            &mut frame,
            14 + ipv4::TOTAL_LENGTH,
            u16::try_from(bytes - 14).unwrap_or(u16::MAX),
        );
        // As Linux sends them.
        put_be16(&mut frame, 14 + ipv4::FRAGMENT, ipv4::DONT_FRAGMENT);
        frame[14 + ipv4::TTL] = 64;
        frame[14 + ipv4::PROTOCOL] = protocol;
        frame[14 + 12..L4].copy_from_slice(&[self.ips[0].octets(), self.ips[1].octets()].concat());
        let sum = checksum::finish(checksum::sum(&frame[14..L4]));
        put_be16(&mut frame, 14 + ipv4::CHECKSUM, sum);
        frame[L4..L4 + 8].fill(0);
        put_be16(&mut frame, L4, self.ports[0]);
        put_be16(&mut frame, L4 + 2, self.ports[1]);
        frame
    }
}

/// What a container's kernel says of a TCP frame of so many bytes: a checksum to finish, and segments to cut if it is long.
pub(super) fn unfinished_tcp(bytes: usize) -> Offload {
    let csum = Csum::Partial { start: u16::try_from(L4).unwrap_or(u16::MAX), offset: 16 };
    let is_long = bytes > TCP_HEADERS + usize::from(MSS);
    Offload { csum, gso: if is_long { Gso::Tcp4 { mss: MSS } } else { Gso::None } }
}

#[cfg(test)]
mod tests {
    use pktio::offload::checksum::{complete, verify};
    use pktio::{Pool, PoolConfig};

    use super::*;

    #[test]
    fn a_datagram_is_sound_whatever_its_length() {
        for bytes in [60, 1514, 65_536] {
            let frame = Ends::flow(1234).udp(bytes);
            assert_eq!(frame.len(), bytes);
            let layers = Layers::parse(&frame).unwrap().unwrap();
            assert_eq!(layers.ports(&frame), Some((20_234, 53)));
            assert_eq!(usize::try_from(layers.end).unwrap(), bytes);
        }
    }

    #[test]
    fn the_checksum_of_a_segment_can_be_finished() {
        let mut pool = Pool::new(PoolConfig { small: 64, slabs: 4 }).unwrap();
        let mut frame = pool.frame_from(&Ends::USUAL.tcp(1000, 7)).unwrap();
        frame.offload = unfinished_tcp(1000);
        assert!(complete(&mut frame));
        let layers = Layers::parse(frame.data()).unwrap().unwrap();
        assert_eq!(verify(frame.data(), &layers), Some(true));
    }

    #[test]
    fn flows_differ() {
        let all: std::collections::BTreeSet<_> =
            (0..100_000).map(|number| Ends::flow(number).udp(60)).collect();
        assert_eq!(all.len(), 100_000);
    }
}
