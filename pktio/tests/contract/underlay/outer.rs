//! What is outside of the frames: headers, MTU, addresses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use netlab::TestResult;
use netlab::raw::RawSocket;
use pktio::underlay::{self, Mark, UnderlayConfig, mtu_towards};
use pktio::{Burst, Pool};

use super::{BOTH, Outside, PATIENCE, PORT, hosts, inner, open, tunnelled};
use crate::kernel::Outcome2;
use crate::suite::{MEMORY, Outcome};

/// What is seen of tunnel packets on the wire, without the frame inside.
#[derive(Debug)]
struct OnTheWire {
    source_port: u16,
    hops: u8,
    tos: u8,
    checksum: u16,
    may_be_fragmented: bool,
}

fn next_on_the_wire(wire: &RawSocket) -> Outcome<OnTheWire> {
    let to_us = |frame: &[u8]| {
        let udp = SlicedPacket::from_ethernet(frame).ok().and_then(|packet| packet.transport);
        matches!(udp, Some(TransportSlice::Udp(udp)) if udp.destination_port() == PORT)
    };
    let frame = wire.receive(PATIENCE, to_us)?.ok_or("nothing is on the wire")?;
    let packet = SlicedPacket::from_ethernet(&frame.bytes)?;
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return Err("no UDP".into()) };
    let (hops, tos, may_be_fragmented) = match packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            let tos = header.dscp.value() << 2 | header.ecn.value();
            (header.time_to_live, tos, !header.dont_fragment)
        }
        Some(NetSlice::Ipv6(ip)) => (ip.header().hop_limit(), ip.header().traffic_class(), false),
        _ => return Err("no IP".into()),
    };
    let (source_port, checksum) = (udp.source_port(), udp.checksum());
    Ok(OnTheWire { source_port, hops, tos, checksum, may_be_fragmented })
}

pub fn outer_headers_are_as_rfc_7348_wants_them() -> TestResult {
    for outside in BOTH {
        let mut pool = Pool::new(MEMORY)?;
        let hosts = hosts()?;
        let config =
            UnderlayConfig { ttl: NonZeroU8::new(33).expect("not 0"), ..outside.config(1) };
        let mut a = open(&hosts.0, config)?;
        let wire = RawSocket::open(&hosts.1, "eth0")?;
        let mut ports = HashMap::new();
        let entropies = (0..64).map(|n| n * 1024);
        for (number, entropy) in entropies.clone().chain(entropies).enumerate() {
            let ttl = if number == 5 { NonZeroU8::new(9) } else { None };
            let mark = Mark { tos: 0xb9, ttl, entropy };
            let mut burst = Burst::new();
            burst.push(tunnelled(&mut pool, &inner(number, 60)));
            assert_eq!(a.tx_burst(&mut pool, &mut burst, &[mark], outside.ip(2)).sent, 1);
            let seen = next_on_the_wire(&wire)?;
            assert_eq!((seen.hops, seen.tos), (if ttl.is_some() { 9 } else { 33 }, 0xb9));
            assert_eq!(seen.checksum == 0, outside == Outside::V4, "{seen:?}");
            let is_none_of_masquerading = (49152..=60999).contains(&seen.source_port);
            assert!(is_none_of_masquerading && !seen.may_be_fragmented, "{seen:?}");
            let port = *ports.entry(entropy).or_insert(seen.source_port);
            assert_eq!(port, seen.source_port, "a flow keeps its port");
        }
        let different: HashSet<_> = ports.values().collect();
        assert_eq!(different.len(), 8);
    }
    Ok(())
}

pub fn the_mtu_towards_a_remote_endpoint_is_that_of_the_route() -> TestResult {
    for outside in BOTH {
        let hosts = hosts()?;
        let remote = SocketAddr::new(outside.ip(2), PORT);
        let ask = || hosts.0.run(|| -> Outcome2<_> { Ok(mtu_towards(outside.ip(1), remote)?) });
        assert_eq!(ask()?, 1500);
        let netlink = hosts.0.netlink()?;
        netlink.set_mtu(netlink.link("eth0")?.index, 1400)?;
        assert_eq!(ask()?, 1400);
        let nowhere = SocketAddr::new(IpAddr::from([203, 0, 113, 1]), PORT);
        let asked = hosts
            .0
            .run(|| -> Outcome2<_> { Ok(mtu_towards(IpAddr::from([192, 0, 2, 1]), nowhere)?) });
        assert!(asked.is_err());
    }
    Ok(())
}

pub fn an_endpoint_is_had_by_one_switch_and_all_of_its_queues() -> TestResult {
    let hosts = hosts()?;
    let config = Outside::V4.config(1);
    let open = |config: UnderlayConfig| {
        hosts.0.run(move || -> Outcome2<_> { Ok(underlay::open(&config, 3)?) })
    };
    let queues = open(config)?;
    assert_eq!(queues.len(), 3);
    let taken = open(config).err().ok_or("it was opened twice")?;
    assert!(format!("{taken:?}").contains("192.0.2.1:4789"), "{taken:?}");
    let elsewhere = UnderlayConfig { local: "192.0.2.77:4789".parse()?, ..config };
    let absent = open(elsewhere).err().ok_or("the address is nobody's")?;
    assert!(format!("{absent:?}").contains("give the host this address"), "{absent:?}");
    drop(queues);
    open(config)?;
    Ok(())
}
