//! The cache against a map that forgets nothing, and keys against the packets they are made of.

use std::collections::HashMap;

use etherparse::PacketBuilder;
use pktio::wire::Layers;
use proptest::prelude::*;

use super::*;
use crate::{PortIndex, Vid};

#[derive(Debug, Clone, Copy)]
struct Shape {
    port: u16,
    vid: u16,
    macs: [u8; 2],
    hosts: [u8; 2],
    ports: [u16; 2],
    v6: bool,
    tcp: bool,
    syn: bool,
    dscp: u8,
}

fn packet(shape: Shape) -> Vec<u8> {
    let mac = |last| [2, 0, 0, 0, 0, last];
    let ethernet = PacketBuilder::ethernet2(mac(shape.macs[0]), mac(shape.macs[1]));
    let [from, to] = shape.hosts;
    let mut bytes = Vec::new();
    let ip = if shape.v6 {
        ethernet.ipv6([from; 16], [to; 16], 64)
    } else {
        ethernet.ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
    };
    let [source, destination] = shape.ports;
    if shape.tcp {
        let tcp = ip.tcp(source, destination, 1, 500);
        if shape.syn { tcp.syn() } else { tcp.ack(7) }.write(&mut bytes, &[1, 2]).unwrap();
    } else {
        ip.udp(source, destination).write(&mut bytes, &[1, 2]).unwrap();
    }
    if shape.v6 {
        bytes[14] |= shape.dscp >> 2;
        bytes[15] |= shape.dscp << 6;
    } else {
        bytes[15] = shape.dscp << 2;
    }
    bytes
}

fn key(shape: Shape, fields: KeyFields) -> FlowKey {
    let frame = packet(shape);
    let layers = Layers::parse(&frame).unwrap().unwrap();
    FlowKey::of(PortIndex(shape.port), Vid(shape.vid), &frame, &layers, fields).unwrap()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let two = 0u8..2;
    (
        0u16..2,
        0u16..2,
        [two.clone(), two.clone()],
        [two.clone(), two],
        [0u16..2, 0..2],
        any::<[bool; 3]>(),
        0u8..2,
    )
        .prop_map(|(port, vid, macs, hosts, ports, [v6, tcp, syn], dscp)| Shape {
            port,
            vid,
            macs,
            hosts,
            ports,
            v6,
            tcp,
            syn,
            dscp,
        })
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_when_everything_that_matters_is(
        a in shapes(), b in shapes(), by_flags: bool, by_dscp: bool
    ) {
        let fields = KeyFields { tcp_flags: if by_flags { 0x02 } else { 0 }, dscp: by_dscp };
        let same = (a.port, a.vid, a.macs, a.hosts, a.ports, a.v6, a.tcp)
            == (b.port, b.vid, b.macs, b.hosts, b.ports, b.v6, b.tcp)
            && (!by_flags || !a.tcp || a.syn == b.syn)
            && (!by_dscp || a.dscp == b.dscp);
        prop_assert_eq!(key(a, fields) == key(b, fields), same);
    }

    #[test]
    fn a_cache_never_answers_with_what_was_not_put_last(
        operations in prop::collection::vec((0u16..200, 0u8..2), 1..600), capacity in 8usize..64,
        seed: u64, approached: bool,
    ) {
        let mut cache = FlowCache::new(capacity, seed);
        let mut model = HashMap::new();
        for (at, (port, operation)) in operations.into_iter().enumerate() {
            let shape = |port| Shape {
                port, vid: 0, macs: [0, 1], hosts: [0, 1], ports: [1, 2], v6: port % 2 == 0, tcp: true,
                syn: false, dscp: 0,
            };
            let sought = |cache: &FlowCache<_>, port| {
                cache.prepare(key(shape(port), KeyFields::default()))
            };
            let mut flow = sought(&cache, port);
            if approached {
                // What it was approached as may be another's by the time that it is found.
                cache.approach(&mut flow);
                let other = sought(&cache, port ^ 1);
                cache.put(&other, at);
                model.insert(port ^ 1, at);
            }
            match operation {
                0 => {
                    cache.put(&flow, at);
                    model.insert(port, at);
                    prop_assert_eq!(cache.find(&flow).copied(), Some(at));
                }
                _ => if let Some(found) = cache.find(&flow) {
                    prop_assert_eq!(model.get(&port), Some(&*found));
                },
            }
            prop_assert!(cache.len() <= capacity.max(WAYS));
        }
    }
}

#[test]
fn every_seed_spreads_flows_that_differ_little() {
    let shape = |port| Shape {
        port: 0,
        vid: 0,
        macs: [0, 1],
        hosts: [0, 1],
        ports: [port, 53],
        v6: false,
        tcp: false,
        syn: false,
        dscp: 0,
    };
    let keys: Vec<_> = (0..4096).map(|port| key(shape(port), KeyFields::default())).collect();
    for seed in [0, 1, 7, 1 << 63, u64::MAX] {
        let secrets = secrets(seed);
        let mut load = [0u16; 512];
        keys.iter().for_each(|key| load[bucket_of(key.hash(&secrets)) % 512] += 1);
        // By chance 8 come to each, and 30 to one of the buckets once in a hundred thousand times.
        assert!(load.iter().all(|flows| *flows < 30), "seed {seed}: {load:?}");
    }
}

#[test]
fn flows_fit_up_to_the_capacity_and_the_unused_go_first() {
    let mut cache = FlowCache::new(1024, 9);
    let flow = |cache: &FlowCache<u16>, port| {
        let shape = Shape {
            port,
            vid: 0,
            macs: [0, 1],
            hosts: [0, 1],
            ports: [1, 2],
            v6: false,
            tcp: false,
            syn: false,
            dscp: 0,
        };
        cache.prepare(key(shape, KeyFields::default()))
    };
    for port in 0..1024 {
        let flow = flow(&cache, port);
        cache.put(&flow, port);
    }
    let present = |cache: &mut FlowCache<u16>, range: std::ops::Range<u16>| {
        range
            .filter(|port| {
                let flow = flow(cache, *port);
                cache.find(&flow).is_some()
            })
            .count()
    };
    // A bucket holds eight; that one of 256 buckets overflows at half load is rare, but not impossible.
    assert!(present(&mut cache, 0..1024) >= 1000);
    for port in 1024..3000 {
        let one = flow(&cache, port);
        cache.put(&one, port);
        let favourite = flow(&cache, 7);
        if cache.find(&favourite).is_none() {
            cache.put(&favourite, 7);
        }
    }
    assert_eq!(cache.len(), 1024);
    assert_eq!(present(&mut cache, 7..8), 1);
}
