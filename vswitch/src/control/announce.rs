//! Telling the network that a container is at a new place: gratuitous ARP (RFC 5227, section 3) and
//! unsolicited neighbour advertisements (RFC 4861, section 7.2.6), sent on the container's behalf when it
//! is attached. Others update their neighbour tables, and the bridges on the way their stations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctl::{IpCidr, MacAddr};
use pktio::wire::checksum;
use pktio::wire::field::{ethertype, protocol, put_be16};

const BROADCAST: [u8; 6] = [0xff; 6];
/// The group of all nodes, ff02::1, and its Ethernet address (RFC 2464, section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The override flag of an advertisement: what it says replaces what was known.
const OVERRIDE: u8 = 0x20;

/// The frames that announce a container's addresses.
pub fn frames(mac: MacAddr, ips: &[IpCidr]) -> Vec<Vec<u8>> {
    let announce = |cidr: &IpCidr| match cidr.addr {
        IpAddr::V4(addr) => gratuitous_arp(mac, addr),
        IpAddr::V6(addr) => unsolicited_advertisement(mac, addr),
    };
    ips.iter().map(announce).collect()
}

fn ethernet(dst: [u8; 6], src: MacAddr, kind: u16) -> Vec<u8> {
    [&dst[..], &src.0, &kind.to_be_bytes()].concat()
}

/// An ARP announcement: a request for one's own address, which everybody hears.
fn gratuitous_arp(mac: MacAddr, addr: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ethertype::ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths, request
    frame.extend(mac.0);
    frame.extend(addr.octets());
    frame.extend([0; 6]);
    frame.extend(addr.octets());
    frame.resize(60, 0);
    frame
}

fn unsolicited_advertisement(mac: MacAddr, addr: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(addr.octets());
    message.extend([2, 1]); // target link-layer address, 8 bytes
    message.extend(mac.0);
    let pseudo = [&addr.octets()[..], &ALL_NODES.octets()].concat();
    let sum = checksum::sum(&pseudo) + checksum::sum(&message);
    let sum = sum + message.len() as u64 + u64::from(protocol::ICMPV6);
    put_be16(&mut message, 2, checksum::finish(sum));

    let mut frame = ethernet(ALL_NODES_MAC, mac, ethertype::IPV6);
    frame.extend([0x60, 0, 0, 0, 0, 32, protocol::ICMPV6, 255]);
    frame.extend(addr.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use pktio::offload::checksum::verify;
    use pktio::wire::Layers;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_ipv4_address_is_announced_by_an_arp_request_for_itself() {
        let frames = frames(MAC, &["10.0.0.7/24".parse().unwrap()]);
        let frame = &frames[0];
        assert_eq!((&frame[..6], &frame[6..12], frame.len()), (&BROADCAST[..], &MAC.0[..], 60));
        assert_eq!((&frame[28..32], &frame[38..42]), (&[10, 0, 0, 7][..], &[10, 0, 0, 7][..]));
    }

    #[test]
    fn an_ipv6_address_is_announced_by_an_advertisement_with_a_right_checksum() {
        let frames = frames(MAC, &["fd00::7/64".parse().unwrap()]);
        let layers = Layers::parse(&frames[0]).unwrap().unwrap();
        assert_eq!(layers.protocol, protocol::ICMPV6);
        assert_eq!(verify(&frames[0], &layers), Some(true));
    }
}
