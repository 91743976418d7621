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
    transport: Transport,
    syn: bool,
    dscp: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
    /// An echo request; the first port is its identifier.
    Ping,
}

impl Shape {
    /// The same, with what another one has where the mask says so.
    fn with(self, other: &Self, mask: u16) -> Self {
        let is_others = |bit: u32| mask >> bit & 1 == 1;
        let pick = |bit, own: u16, others| if is_others(bit) { others } else { own };
        let both = |bit, own: [u8; 2], others: [u8; 2]| {
            [(bit, 0), (bit + 1, 1)]
                .map(|(bit, at)| if is_others(bit) { others[at] } else { own[at] })
        };
        Self {
            port: pick(0, self.port, other.port),
            vid: pick(1, self.vid, other.vid),
            macs: both(2, self.macs, other.macs),
            hosts: both(4, self.hosts, other.hosts),
            ports: [pick(6, self.ports[0], other.ports[0]), pick(7, self.ports[1], other.ports[1])],
            v6: if is_others(8) { other.v6 } else { self.v6 },
            transport: if is_others(9) { other.transport } else { self.transport },
            syn: if is_others(10) { other.syn } else { self.syn },
            dscp: if is_others(11) { other.dscp } else { self.dscp },
        }
    }

    /// The ports, or what stands for them: the sequence number of a ping says nothing.
    fn ends(&self) -> [u16; 2] {
        let [first, second] = self.ports;
        if self.transport == Transport::Ping { [first, 0] } else { [first, second] }
    }
}

fn packet(shape: Shape) -> Vec<u8> {
    // What differs may be in the first byte or in the last one.
    let mac = |at: u8| [0x02 | (at & 2) << 2, 0, 0, 0, 0, at & 1];
    let ethernet = PacketBuilder::ethernet2(mac(shape.macs[0]), mac(shape.macs[1]));
    let [from, to] = shape.hosts;
    let mut bytes = Vec::new();
    let ip = if shape.v6 {
        let address = |host: u8| {
            let mut address = [0xfd; 16];
            (address[1], address[15]) = (host >> 1, host & 1);
            address
        };
        ethernet.ipv6(address(from), address(to), 64)
    } else {
        ethernet.ipv4([10 + (from >> 1), 0, 0, from & 1], [10 + (to >> 1), 0, 0, to & 1], 64)
    };
    let [source, destination] = shape.ports;
    match shape.transport {
        Transport::Tcp => {
            let tcp = ip.tcp(source, destination, 1, 500);
            if shape.syn { tcp.syn() } else { tcp.ack(7) }.write(&mut bytes, &[1, 2]).unwrap();
        }
        Transport::Udp => ip.udp(source, destination).write(&mut bytes, &[1, 2]).unwrap(),
        Transport::Ping if shape.v6 => {
            ip.icmpv6_echo_request(source, destination).write(&mut bytes, &[1, 2]).unwrap();
        }
        Transport::Ping => {
            ip.icmpv4_echo_request(source, destination).write(&mut bytes, &[1, 2]).unwrap();
        }
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
    let number = || prop::sample::select(vec![0u16, 1, 0x100]);
    let transport = prop::sample::select(vec![Transport::Tcp, Transport::Udp, Transport::Ping]);
    let ends = ([0u8..4, 0..4], [0u8..4, 0..4], [number(), number()]);
    (number(), number(), ends, any::<[bool; 2]>(), transport, 0u8..2).prop_map(
        |(port, vid, (macs, hosts, ports), [v6, syn], transport, dscp)| Shape {
            port,
            vid,
            macs,
            hosts,
            ports,
            v6,
            transport,
            syn,
            dscp,
        },
    )
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_when_everything_that_matters_is(
        a in shapes(), other in shapes(), mask: u16, by_flags: bool, by_dscp: bool
    ) {
        let b = a.with(&other, mask);
        let fields = KeyFields { tcp_flags: if by_flags { 0x02 } else { 0 }, dscp: by_dscp };
        let is_tcp = a.transport == Transport::Tcp;
        let same = (a.port, a.vid, a.macs, a.hosts, a.ends(), a.v6, a.transport)
            == (b.port, b.vid, b.macs, b.hosts, b.ends(), b.v6, b.transport)
            && (!by_flags || !is_tcp || a.syn == b.syn)
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
                port, vid: 0, macs: [0, 1], hosts: [0, 1], ports: [1, 2], v6: port % 2 == 0,
                transport: Transport::Tcp,
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
        transport: Transport::Udp,
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
            transport: Transport::Udp,
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
