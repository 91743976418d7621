//! Whatever comes, under whatever configuration: nothing panics, no frame or buffer is lost, and what
//! sessions had is given back.

use std::time::Duration;

use proptest::prelude::*;

use super::network::{Expose, INSIDE, Network, OUTSIDE, Plan, ROUTERS};
use super::packets::{Kind, Packet, fragments, icmp_error};
use crate::Filtering;
use crate::nat::Quota;

const ENDS: [&str; 8] = [
    "10.0.0.2:5000",
    "10.0.0.3:5000",
    "10.0.0.66:80",
    "10.0.0.1:8000",
    "203.0.113.1:5000",
    "203.0.113.1:8000",
    "203.0.113.9:53",
    "198.51.100.7:53",
];

fn plans() -> impl Strategy<Value = Plan> {
    let hiding = (any::<bool>(), 1u32..4, 5000u16..5004, any::<bool>());
    (hiding, any::<[bool; 4]>(), 1u32..8, 100u32..1500).prop_map(
        |((hides, ports, last, is_open), [allows, publishes, spreads, inspects], sessions, mtu)| {
            let filtering = [Filtering::ByAddress, Filtering::EndpointIndependent];
            let base = if hides { Plan::masqueraded() } else { Plan::routed() };
            let exposed = |protocol| Expose {
                protocol,
                address: None,
                ports: 8000..=8001,
                home: INSIDE,
                internal: "10.0.0.2:5000",
            };
            let plan = Plan {
                allowed: if allows {
                    vec![(INSIDE, OUTSIDE), (OUTSIDE, INSIDE)]
                } else {
                    Vec::new()
                },
                published: if publishes { [6, 17].map(exposed).to_vec() } else { Vec::new() },
                routers: if spreads { vec![ROUTERS[0], "203.0.113.253"] } else { ROUTERS.to_vec() },
                mtus: vec![(1, mtu), (2, mtu)],
                inspected: if inspects { vec![0, 1] } else { Vec::new() },
                sessions,
                ..base
            };
            plan.with(|rule| {
                rule.quota = Quota { ports, sessions: 4 };
                rule.ports = 5000..=last;
                rule.filtering = filtering[usize::from(is_open)];
            })
        },
    )
}

fn kinds() -> impl Strategy<Value = Kind> {
    let flags = prop::sample::select(vec!["S", "SA", "A", "FA", "R", "RA", "", "SF"]);
    prop_oneof![
        Just(Kind::Udp),
        Just(Kind::Ping),
        Just(Kind::Pong),
        (flags, 0u32..3, 0u32..3).prop_map(|(flags, seq, ack)| Kind::Tcp(flags, seq, ack)),
        any::<u8>().prop_map(Kind::Other),
    ]
}

fn packets() -> impl Strategy<Value = Packet> {
    let end = || prop::sample::select(ENDS.to_vec());
    let shape = (prop_oneof![Just(64u8), 0u8..3], any::<bool>(), 0usize..2000);
    (kinds(), end(), end(), shape).prop_map(|(kind, from, to, (ttl, may_fragment, bytes))| Packet {
        ttl,
        may_fragment,
        ..Packet::new(kind, from, to).of_length(bytes)
    })
}

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    Packet(Packet),
    /// Some of a packet's fragments, in this order.
    Fragments(Packet, Vec<prop::sample::Index>),
    /// An error about a packet that went to the other.
    Error(Packet),
    /// A packet, of which a byte is another.
    Damaged(Packet, prop::sample::Index, u8),
    Wait(u64),
    Adopt(Plan),
}

fn events() -> impl Strategy<Value = Event> {
    let any_order = prop::collection::vec(any::<prop::sample::Index>(), 1..5);
    prop_oneof![
        8 => packets().prop_map(Event::Packet),
        2 => (packets(), any_order).prop_map(|(packet, order)| Event::Fragments(packet, order)),
        2 => packets().prop_map(Event::Error),
        2 => (packets(), any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(packet, at, byte)| Event::Damaged(packet, at, byte)),
        1 => (1u64..400).prop_map(Event::Wait),
        1 => plans().prop_map(Event::Adopt),
    ]
}

/// Lets something happen. The network audits itself after every step.
fn happen(network: &mut Network, event: Event) {
    let inject = |network: &mut Network, (port, bytes): (u16, Vec<u8>)| {
        let frame = network.pool.frame_from(&bytes).unwrap();
        network.exchange(port, [frame]);
    };
    match event {
        Event::Packet(packet) => inject(network, Network::framed(&packet)),
        Event::Fragments(packet, order) => {
            let (port, frame) = Network::framed(&packet);
            let pieces = fragments(&frame, 248);
            for at in order.iter().filter(|_| !pieces.is_empty()) {
                inject(network, (port, at.get(&pieces).clone()));
            }
        }
        Event::Error(about) => {
            let (from, to) = (about.to.ip().to_string(), about.from.ip().to_string());
            inject(network, Network::framed(&icmp_error((3, 3, 0), (&from, &to), &about, 60)));
        }
        Event::Damaged(packet, at, byte) => {
            let (port, mut frame) = Network::framed(&packet);
            *at.get_mut(&mut frame) = byte;
            inject(network, (port, frame));
        }
        Event::Wait(seconds) => drop(network.pass(Duration::from_secs(seconds))),
        Event::Adopt(plan) => network.adopt(&plan),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_is_lost_whatever_happens(plan in plans(), events in prop::collection::vec(events(), 1..60)) {
        let mut network = Network::new(&plan);
        for event in events {
            happen(&mut network, event);
        }
        // In the end there is nothing left that anybody waits for.
        network.adopt(&plan);
        network.pass(Duration::from_secs(7500));
        prop_assert!(network.pipeline.is_idle());
        prop_assert_eq!(network.tables.sessions.gauges().used, 0);
        prop_assert_eq!(network.mappings(), (0, 0));
        prop_assert_eq!(network.ledger.total().held, 0);
    }
}
