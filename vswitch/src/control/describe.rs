//! A frame's headers in one line, for people.

use std::fmt::Write;

use flows::Tuple;
use pktio::wire::field::{ethertype, protocol};
use pktio::wire::{EthernetHeader, Fragment, Layers};

/// A ping.
pub const ECHO_REQUEST: &str = "icmp echo request";
/// What answers a ping.
pub const ECHO_REPLY: &str = "icmp echo reply";

/// What a frame is, by its first bytes. Says no more than they do.
pub fn headers(frame: &[u8]) -> String {
    let Some(header) = EthernetHeader::read(frame) else {
        return format!("{} bytes, no Ethernet header", frame.len());
    };
    let mut line = format!("{} > {}", header.src, header.dst);
    if let Some(Some(tag)) = header.vlan(frame) {
        let _ = write!(line, " vlan {}", tag.vid());
    }
    let _ = match network(frame) {
        Some(text) => write!(line, " {text}"),
        None => match header.ethertype {
            ethertype::ARP => write!(line, " arp"),
            other => write!(line, " ethertype {other:#06x}"),
        },
    };
    line
}

/// Between whom a packet is, by the first bytes of its frame.
pub fn tuple(frame: &[u8]) -> Option<Tuple> {
    let whole = padded(frame);
    Tuple::of(&whole, &Layers::parse(&whole).ok()??)
}

/// The IP part. What is remembered of a frame is cut off, so its length field is made to fit.
fn network(frame: &[u8]) -> Option<String> {
    let whole = padded(frame);
    let layers = Layers::parse(&whole).ok()??;
    let (src, dst) = layers.addresses(&whole)?;
    let name = match layers.protocol {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP | protocol::ICMPV6 => icmp(frame, &layers).to_owned(),
        other => format!("protocol {other}"),
    };
    let fragment = if layers.fragment == Fragment::Whole { "" } else { " fragment" };
    Some(match layers.ports(&whole) {
        Some((from, to)) => format!("{name} {src} port {from} > {dst} port {to}{fragment}"),
        None => format!("{name} {src} > {dst}{fragment}"),
    })
}

/// What a message of ICMP is, as far as people send it by hand.
fn icmp(frame: &[u8], layers: &Layers) -> &'static str {
    match (layers.protocol, type_of(frame, layers)) {
        (protocol::ICMP, Some(8)) | (protocol::ICMPV6, Some(128)) => ECHO_REQUEST,
        (protocol::ICMP, Some(0)) | (protocol::ICMPV6, Some(129)) => ECHO_REPLY,
        _ => "icmp",
    }
}

/// The type of a message of ICMP. Not of what is cut off, or a later fragment.
fn type_of(frame: &[u8], layers: &Layers) -> Option<u8> {
    let kind = frame.get(usize::from(layers.l4)).copied();
    kind.filter(|_| layers.fragment != Fragment::Later)
}

/// The type of a frame that is a message of ICMP.
pub fn icmp_type(frame: &[u8]) -> Option<u8> {
    let layers = Layers::parse(&padded(frame)).ok()??;
    let is_icmp = matches!(layers.protocol, protocol::ICMP | protocol::ICMPV6);
    type_of(frame, &layers).filter(|_| is_icmp)
}

/// Between whom a conversation is. The numbers that stand for ports in one of ICMP tell people nothing.
pub fn conversation(tuple: &Tuple) -> String {
    match tuple.protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            format!("icmp {} > {}", tuple.source.ip, tuple.destination.ip)
        }
        _ => tuple.to_string(),
    }
}

/// The longest frame, so that any length field fits.
fn padded(frame: &[u8]) -> Vec<u8> {
    let mut whole = frame.to_vec();
    whole.resize(frame.len() + 65536, 0);
    whole
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_segment_is_described_by_its_addresses_and_ports() {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1234, 80, 0, 0)
            .write(&mut frame, &[0; 500])
            .unwrap();
        let line = headers(&frame[..96]);
        let expected = "02:00:00:00:00:01 > 02:00:00:00:00:02 \
                        tcp 10.0.0.1 port 1234 > 10.0.0.2 port 80";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_ping_and_its_answer_are_called_so_and_have_no_ports() {
        let echo = etherparse::IcmpEchoHeader { id: 49_152, seq: 1 };
        let line = |kind: etherparse::Icmpv4Type, bytes: usize| {
            let mut frame = Vec::new();
            let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
            let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).icmpv4(kind);
            builder.write(&mut frame, &[0; 500]).unwrap();
            headers(&frame[..bytes])
        };
        let asked = line(etherparse::Icmpv4Type::EchoRequest(echo), 96);
        assert!(asked.ends_with(" icmp echo request 10.0.0.1 > 10.0.0.2"), "{asked}");
        let answered = line(etherparse::Icmpv4Type::EchoReply(echo), 96);
        assert!(answered.ends_with(" icmp echo reply 10.0.0.1 > 10.0.0.2"), "{answered}");
        let cut = line(etherparse::Icmpv4Type::EchoRequest(echo), 34);
        assert!(cut.ends_with(" icmp 10.0.0.1 > 10.0.0.2"), "{cut}");
        let tuple = Tuple {
            protocol: protocol::ICMP,
            source: flows::Endpoint::new([10, 0, 0, 1], 49_152),
            destination: flows::Endpoint::new([10, 0, 0, 2], 8),
        };
        assert_eq!(conversation(&tuple), "icmp 10.0.0.1 > 10.0.0.2");
        let tcp = conversation(&Tuple { protocol: protocol::TCP, ..tuple });
        assert_eq!(tcp, "tcp 10.0.0.1:49152 > 10.0.0.2:8");
    }

    #[test]
    fn garbage_is_described_without_panic() {
        for length in 0..96 {
            assert!(!headers(&vec![0x45; length]).is_empty());
        }
    }
}
