//! Packets as somebody would send them, made of a sketch.

use std::net::IpAddr;

use ctl::{FiveTuple, Protocol, Sketch};
use pktio::wire::field::{ethertype, ipv4, put_be16};
use pktio::wire::{Layers, MacAddr, checksum};

use crate::control::describe;

/// IPv4 "don't fragment".
const DONT_FRAGMENT: u16 = 0x4000;
/// The identifier of a query whose sketch has none.
const QUERY: u16 = 1;

/// Which packet of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// One that begins it, or goes on in that direction.
    Question,
    /// The answer to an ICMP query.
    Answer,
}

/// The type of a message of ICMP.
pub fn echo(turn: Turn, is_ipv4: bool) -> u8 {
    match (is_ipv4, turn) {
        (true, Turn::Question) => 8,
        (true, Turn::Answer) => 0,
        (false, Turn::Question) => 128,
        (false, Turn::Answer) => 129,
    }
}

/// A packet that nobody sends, for people.
pub fn summary(sketch: &Sketch, turn: Turn) -> String {
    let FiveTuple { protocol, source, destination } = sketch.tuple;
    let name = match turn {
        _ if protocol != Protocol::Icmp => return sketch.to_string(),
        Turn::Question => describe::ECHO_REQUEST,
        Turn::Answer => describe::ECHO_REPLY,
    };
    format!("{name} {} > {}", source.ip(), destination.ip())
}

/// The frame of a sketched packet from one station to another, with all checksums but SCTP's, which nobody on the
/// way looks at.
pub fn frame(sketch: &Sketch, turn: Turn, (from, to): (MacAddr, MacAddr)) -> Vec<u8> {
    let (source, destination) = (sketch.tuple.source.ip(), sketch.tuple.destination.ip());
    let kind = if source.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
    let mut frame = [to.0, from.0].concat();
    if let Some(vlan) = sketch.vlan {
        frame.extend(ethertype::VLAN.to_be_bytes());
        frame.extend(vlan.number().to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    let l3 = frame.len();
    let transport = transport(sketch, turn);
    let protocol = sketch.tuple.protocol.number(source.is_ipv4());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let flags = if sketch.dont_fragment { DONT_FRAGMENT } else { 0 };
            frame.extend([0x45, sketch.tos]);
            frame.extend(length(20 + transport.len()).to_be_bytes());
            frame.extend([0, 0]);
            frame.extend(flags.to_be_bytes());
            frame.extend([sketch.ttl, protocol, 0, 0]);
            frame.extend([source.octets(), destination.octets()].concat());
            let sum = checksum::finish(checksum::sum(&frame[l3..]));
            put_be16(&mut frame, l3 + ipv4::CHECKSUM, sum);
        }
        (source, destination) => {
            let [high, low] = [sketch.tos >> 4, sketch.tos << 4];
            frame.extend([0x60 | high, low, 0, 0]);
            frame.extend(length(transport.len()).to_be_bytes());
            frame.extend([protocol, sketch.ttl]);
            frame.extend([source, destination].map(octets).concat());
        }
    }
    frame.extend(transport);
    seal(&mut frame, sketch.tuple.protocol);
    frame
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The longest packet, when there would be more.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// The transport header and the payload, without the checksum.
fn transport(sketch: &Sketch, turn: Turn) -> Vec<u8> {
    let (from, to) = (sketch.tuple.source.port(), sketch.tuple.destination.port());
    let payload = usize::from(sketch.payload_bytes);
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    match sketch.tuple.protocol {
        Protocol::Tcp => {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
            bytes.extend([0x50, sketch.flags.bits(), 0xff, 0xff, 0, 0, 0, 0]);
        }
        Protocol::Udp => {
            bytes.extend(length(8 + payload).to_be_bytes());
            bytes.extend([0, 0]);
        }
        Protocol::Sctp => bytes.extend([0; 8]),
        Protocol::Icmp => {
            let kind = echo(turn, sketch.tuple.source.is_ipv4());
            let id = if from == 0 { QUERY } else { from };
            bytes = vec![kind, 0, 0, 0];
            bytes.extend(id.to_be_bytes());
            bytes.extend([0, 1]);
        }
        Protocol::Other(_) => bytes.clear(),
    }
    bytes.resize(bytes.len() + payload, 0);
    bytes
}

/// Puts the transport's checksum in.
fn seal(frame: &mut [u8], protocol: Protocol) {
    let Ok(Some(layers)) = Layers::parse(frame) else { return };
    let l4 = usize::from(layers.l4);
    let at = match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => 2,
        Protocol::Sctp | Protocol::Other(_) => return,
    };
    let is_icmp4 = protocol == Protocol::Icmp && layers.network == pktio::wire::Network::V4;
    let bytes = frame.len() - l4;
    let pseudo = if is_icmp4 { Some(0) } else { checksum::pseudo_header(frame, &layers, bytes) };
    let sum = pseudo.unwrap_or(0) + checksum::sum(&frame[l4..]);
    let sum = if at == 6 { checksum::udp_finish(sum) } else { checksum::finish(sum) };
    put_be16(frame, l4 + at, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use pktio::offload::checksum::verify;

    const ENDS: (MacAddr, MacAddr) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));

    #[test]
    fn a_sketch_becomes_a_packet_that_others_read_as_it_was_meant() {
        let sketches = [
            "tcp 10.0.0.2:4000 > 10.1.0.3:80 len=9 flags=syn+ack ttl=3",
            "udp 10.0.0.2:4000 > 10.1.0.3:53 len=100 df tos=184",
            "icmp 10.0.0.2 > 10.1.0.3",
            "tcp [fd00::2]:4000 > [fd01::3]:80",
            "udp [fd00::2]:4000 > [fd01::3]:53 len=3 tos=184",
            "icmp fd00::2 > fd01::3 vlan=7",
            "sctp 10.0.0.2:1 > 10.1.0.3:2",
            "proto-47 10.0.0.2 > 10.1.0.3 len=4",
        ];
        for text in sketches {
            let sketch: Sketch = text.parse().unwrap();
            let bytes = frame(&sketch, Turn::Question, ENDS);
            let layers = Layers::parse(&bytes).unwrap().unwrap();
            assert_eq!(layers.protocol, sketch.tuple.protocol.number(text.contains('.')), "{text}");
            assert_ne!(verify(&bytes, &layers), Some(false), "{text}");
            let read = etherparse::PacketHeaders::from_ethernet_slice(&bytes).unwrap();
            let is_v4 = matches!(read.net, Some(etherparse::NetHeaders::Ipv4(..)));
            assert_eq!(is_v4, sketch.tuple.source.is_ipv4(), "{text}");
            let tuple = flows::Tuple::of(&bytes, &layers).unwrap();
            assert_eq!(tuple.destination.ip, sketch.tuple.destination.ip(), "{text}");
            if sketch.tuple.protocol.has_ports() {
                let ports = (tuple.source.port, tuple.destination.port);
                let (source, destination) = (sketch.tuple.source, sketch.tuple.destination);
                assert_eq!(ports, (source.port(), destination.port()), "{text}");
            }
        }
    }

    #[test]
    fn a_packet_that_nobody_sends_is_told_in_the_words_of_its_protocol() {
        let told = |text: &str, turn| summary(&text.parse().unwrap(), turn);
        let ping = "icmp 10.0.0.2:49152 > 10.1.0.3:49152";
        assert_eq!(told(ping, Turn::Question), "icmp echo request 10.0.0.2 > 10.1.0.3");
        assert_eq!(told(ping, Turn::Answer), "icmp echo reply 10.0.0.2 > 10.1.0.3");
        let tcp = "tcp 10.0.0.2:80 > 10.1.0.3:4000 flags=syn+ack";
        assert_eq!(told(tcp, Turn::Answer), tcp);
    }

    #[test]
    fn the_answer_to_a_query_is_its_reverse() {
        for (there, back) in [
            ("icmp 10.0.0.2:9 > 10.1.0.3:9", "icmp 10.1.0.3:9 > 10.0.0.2:9"),
            ("icmp [fd00::2]:9 > [fd01::3]:9", "icmp [fd01::3]:9 > [fd00::2]:9"),
        ] {
            let tuple = |text: &str, turn| {
                let bytes = frame(&text.parse().unwrap(), turn, ENDS);
                flows::Tuple::of(&bytes, &Layers::parse(&bytes).unwrap().unwrap()).unwrap()
            };
            let asked = tuple(there, Turn::Question);
            assert_eq!(asked.reversed(), tuple(back, Turn::Answer), "{there}");
        }
    }
}
