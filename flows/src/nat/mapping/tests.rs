//! Requirements one by one, a model with fake time, and several workers at once.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use pktio::wire::field::protocol::{ICMP, SCTP, TCP, UDP};
use proptest::prelude::*;

use super::*;

const INSIDE: Zone = Zone(1);
const OUTSIDE: Zone = Zone(2);
const SEED: u64 = 0x5eed;

fn outside(last: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, last).into()
}

fn container(number: u16, port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::from(0x0a00_0000 | u32::from(number)), port)
}

fn pool(ports: std::ops::RangeInclusive<u16>, quota: Quota) -> Pool {
    Pool::new(OUTSIDE, outside(1)..=outside(1), ports, quota).unwrap()
}

/// All unprivileged ports of one address.
fn wide() -> Pool {
    pool(1024..=65535, Quota::default())
}

fn mappings() -> Mappings {
    Mappings::new(1024, SEED).with_addresses((1..=4).map(|last| (OUTSIDE, outside(last))))
}

fn at(seconds: u64) -> Nanos {
    Nanos::from_secs(seconds)
}

fn claim(mappings: &Mappings, internal: Endpoint, pool: &Pool, now: u64) -> Claim {
    mappings.claim(INSIDE, UDP, internal, (pool, &Published::default()), at(now)).unwrap()
}

#[test]
fn rfc4787_req_1_a_mapping_is_endpoint_independent_and_shared_by_its_sessions() {
    let (mappings, pool) = (mappings(), wide());
    let first = claim(&mappings, container(1, 4000), &pool, 0);
    assert_eq!(claim(&mappings, container(1, 4000), &pool, 900), first);
    mappings.release(first.mapping, at(901));
    assert_eq!(claim(&mappings, container(1, 4000), &pool, 902), first);
    let listed: Vec<_> = mappings.iter().collect();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].external, listed[0].sessions), (first.external, 2));
    assert_eq!((listed[0].internal, listed[0].zone), (container(1, 4000), INSIDE));
}

#[test]
fn rfc4787_req_2_all_of_a_container_is_behind_one_address() {
    let mappings = mappings();
    let pool = Pool::new(OUTSIDE, outside(1)..=outside(4), 1024..=65535, Quota::default()).unwrap();
    let mut used = HashSet::new();
    for number in 0..64 {
        let mut addresses = HashSet::new();
        for (protocol, port) in [(UDP, 4000), (UDP, 4001), (TCP, 80), (SCTP, 9), (ICMP, 4000)] {
            let internal = container(number, port);
            let claim = mappings
                .claim(INSIDE, protocol, internal, (&pool, &Published::default()), at(0))
                .unwrap();
            addresses.insert(claim.external.ip);
        }
        assert_eq!(addresses.len(), 1);
        used.extend(addresses);
    }
    assert_eq!(used.len(), 4, "the containers are spread over the pool");
}

#[test]
fn rfc4787_req_3_and_rfc5382_req_7_no_two_endpoints_share_an_external_port() {
    let (mappings, pool) = (mappings(), wide());
    for protocol in [TCP, UDP, SCTP, ICMP] {
        let externals: HashSet<Endpoint> = (0..500)
            .map(|number| {
                mappings.claim(
                    INSIDE,
                    protocol,
                    container(number, 4000),
                    (&pool, &Published::default()),
                    at(0),
                )
            })
            .map(|claim| claim.unwrap().external)
            .collect();
        assert_eq!(externals.len(), 500);
    }
    // The same internal endpoint on another bridge is another endpoint.
    let other = mappings
        .claim(Zone(7), UDP, container(1, 4000), (&pool, &Published::default()), at(0))
        .unwrap();
    assert_ne!(other.external, claim(&mappings, container(1, 4000), &pool, 0).external);
}

#[test]
fn a_free_port_is_preserved() {
    let (mappings, pool) = (mappings(), wide());
    let external = Endpoint::new(outside(1), 4000);
    assert_eq!(claim(&mappings, container(1, 4000), &pool, 0).external, external);
    assert_ne!(claim(&mappings, container(2, 4000), &pool, 0).external, external);
}

#[test]
fn rfc4787_req_3a_and_4_another_port_is_of_the_same_class_and_parity() {
    let (mappings, pool) = (mappings(), pool(1..=65535, Quota::default()));
    for (number, port) in [(0, 123), (1, 4001), (2, 1000), (3, 4000)] {
        for copy in 0..20 {
            let external = claim(&mappings, container(number + copy * 4, port), &pool, 0).external;
            assert_eq!(external.port < 1024, port < 1024, "{port} became {external}");
            assert_eq!(external.port % 2, port % 2, "{port} became {external}");
        }
    }
}

#[test]
fn rfc6888_req_15_another_port_cannot_be_foreseen_without_the_seed() {
    let chosen = |seed| {
        let mappings = Mappings::new(16, seed).with_addresses([(OUTSIDE, outside(1))]);
        claim(&mappings, container(1, 4000), &wide(), 0);
        claim(&mappings, container(2, 4000), &wide(), 0).external.port
    };
    assert_eq!(chosen(1), chosen(1), "a simulation can be repeated");
    assert_eq!((1..=8).map(chosen).collect::<HashSet<_>>().len(), 8);
}

#[test]
fn rfc6888_req_8_a_port_is_kept_from_others_for_120_seconds() {
    let (mappings, one) = (mappings(), pool(5000..=5000, Quota::default()));
    let first = claim(&mappings, container(1, 7), &one, 10);
    mappings.release(first.mapping, at(20));
    let other =
        |now| mappings.claim(INSIDE, UDP, container(2, 7), (&one, &Published::default()), at(now));
    assert_eq!(other(139), Err(Unclaimed::Ports { address: outside(1) }));
    assert_eq!(claim(&mappings, container(1, 7), &one, 139), first, "but not from its own");
    mappings.release(first.mapping, at(140));
    assert!(other(259).is_err());
    assert_eq!(other(260).unwrap().external, first.external);
}

#[test]
fn rfc6888_req_4_a_container_has_no_more_ports_than_its_quota() {
    let mappings = mappings();
    let pool = pool(1024..=65535, Quota { ports: 3, sessions: 100 });
    let ip = container(1, 0).ip;
    let claims: Vec<_> =
        (0..3).map(|port| claim(&mappings, container(1, 4000 + port), &pool, 0)).collect();
    let more =
        || mappings.claim(INSIDE, TCP, container(1, 4000), (&pool, &Published::default()), at(0));
    assert_eq!(more(), Err(Unclaimed::PortQuota { ip, limit: 3 }));
    claim(&mappings, container(1, 4000), &pool, 0); // a further session of a mapping
    claim(&mappings, container(2, 4000), &pool, 0); // another container
    mappings.release(claims[1].mapping, at(1));
    assert!(more().is_ok());
    assert_eq!(mappings.events().quota_exceeded, 1);
}

#[test]
fn rfc6888_req_5_a_container_has_no_more_sessions_than_its_quota() {
    let mappings = mappings();
    let quota = Quota { ports: 100, sessions: 3 };
    let pool = pool(1024..=65535, quota);
    let ip = container(1, 0).ip;
    let first = claim(&mappings, container(1, 4000), &pool, 0);
    claim(&mappings, container(1, 4000), &pool, 0);
    claim(&mappings, container(1, 4001), &pool, 0);
    let full = Err(Unclaimed::SessionQuota { ip, limit: 3 });
    assert_eq!(
        mappings.claim(INSIDE, UDP, container(1, 4000), (&pool, &Published::default()), at(0)),
        full
    );
    assert_eq!(mappings.join(OUTSIDE, UDP, first.external, quota), None);
    mappings.release(first.mapping, at(0));
    assert!(mappings.join(OUTSIDE, UDP, first.external, quota).is_some());
}

#[test]
fn rfc6888_req_11_exhaustion_is_an_error_and_evicts_nobody() {
    let (mappings, three) = (mappings(), pool(5000..=5002, Quota::default()));
    let claims: Vec<_> =
        (0..3).map(|number| claim(&mappings, container(number, 99), &three, 0)).collect();
    let fourth =
        mappings.claim(INSIDE, UDP, container(3, 99), (&three, &Published::default()), at(0));
    assert_eq!(fourth, Err(Unclaimed::Ports { address: outside(1) }));
    assert_eq!(mappings.events().ports_exhausted, 1);
    for (number, held) in (0..3).zip(&claims) {
        let found = mappings.find(OUTSIDE, UDP, held.external).unwrap();
        assert_eq!(found.internal, container(number, 99));
    }
    // The fourth left nothing behind.
    assert_eq!(mappings.iter().count(), 3);
}

#[test]
fn rfc4787_req_8_an_inbound_packet_finds_its_mapping_and_may_join_it() {
    let (mappings, pool) = (mappings(), wide());
    let held = claim(&mappings, container(1, 4000), &pool, 0);
    let found = Inbound { zone: INSIDE, internal: container(1, 4000), mapping: held.mapping };
    assert_eq!(mappings.find(OUTSIDE, UDP, held.external), Some(found));
    assert_eq!(mappings.join(OUTSIDE, UDP, held.external, pool.quota()), Some(found));
    mappings.release(held.mapping, at(1));
    assert_eq!(mappings.find(OUTSIDE, UDP, held.external), Some(found), "the joined one holds it");
    mappings.release(held.mapping, at(2));
    assert_eq!(mappings.find(OUTSIDE, UDP, held.external), None);
    assert_eq!(mappings.join(OUTSIDE, UDP, held.external, pool.quota()), None);
    assert_eq!(mappings.find(OUTSIDE, TCP, held.external), None);
    assert_eq!(mappings.find(INSIDE, UDP, held.external), None);
}

#[test]
fn rfc5508_req_1_identifiers_are_mapped_like_ports() {
    let (mappings, pool) = (mappings(), wide());
    let ping = |number| {
        mappings.claim(INSIDE, ICMP, container(number, 4000), (&pool, &Published::default()), at(0))
    };
    assert_eq!(ping(1), ping(1));
    assert_ne!(ping(1).unwrap().external, ping(2).unwrap().external);
}

#[test]
fn a_protocol_without_ports_is_refused() {
    let refused =
        mappings().claim(INSIDE, 47, container(1, 0), (&wide(), &Published::default()), at(0));
    assert_eq!(refused, Err(Unclaimed::Protocol { protocol: 47 }));
}

#[test]
fn ipv6_is_mapped_too_and_told_apart() {
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    let mappings = Mappings::new(16, SEED).with_addresses([(OUTSIDE, address)]);
    let pool = Pool::new(OUTSIDE, address..=address, 1024..=65535, Quota::default()).unwrap();
    let internal = Endpoint::new("fd00::2".parse::<IpAddr>().unwrap(), 4000);
    let held = claim(&mappings, internal, &pool, 0);
    assert_eq!(held.external, Endpoint::new(address, 4000));
    assert_eq!(mappings.find(OUTSIDE, UDP, held.external).unwrap().internal, internal);
}

#[test]
fn mappings_outlive_a_change_of_addresses_until_they_are_released() {
    let (before, pool) = (mappings(), wide());
    let held = claim(&before, container(1, 4000), &pool, 0);
    let kept = before.with_addresses([(OUTSIDE, outside(1))]);
    assert!(kept.find(OUTSIDE, UDP, held.external).is_some());
    let gone = kept.with_addresses([(OUTSIDE, outside(2))]);
    assert_eq!(gone.find(OUTSIDE, UDP, held.external), None);
    let refused =
        gone.claim(INSIDE, UDP, container(1, 4001), (&pool, &Published::default()), at(0));
    assert_eq!(refused, Err(Unclaimed::Address { address: outside(1) }));
    let back = gone.with_addresses([(OUTSIDE, outside(1))]);
    assert!(back.find(OUTSIDE, UDP, held.external).is_some());
    gone.release(held.mapping, at(1));
    assert_eq!(back.find(OUTSIDE, UDP, held.external), None);
    // Nothing is left of the container either: its address can be given to others.
    let again = gone.with_addresses([]).with_addresses([(OUTSIDE, outside(1))]);
    assert_eq!(again.iter().count(), 0);
    again.release(held.mapping, at(2));
}

#[test]
fn a_mapping_that_is_claimed_while_its_address_goes_can_be_released() {
    let (before, pool) = (mappings(), wide());
    let after = before.with_addresses([]);
    // A worker that has not heard of it.
    let held = claim(&before, container(1, 4000), &pool, 0);
    let later = after.with_addresses([]);
    later.release(held.mapping, at(1));
    assert_eq!((before.len(), later.events().released), (0, 1));
}

#[test]
fn internal_addresses_are_forgotten_after_the_quarantine_and_not_before() {
    let mappings = Mappings::new(1, SEED).with_addresses([(OUTSIDE, outside(1))]);
    let pool = wide();
    let held = claim(&mappings, container(1, 4000), &pool, 0);
    claim(&mappings, container(2, 4000), &pool, 0);
    let other = |now| {
        mappings.claim(INSIDE, UDP, container(3, 4001), (&pool, &Published::default()), at(now))
    };
    assert_eq!(other(500), Err(Unclaimed::Hosts { limit: 2 }));
    mappings.release(held.mapping, at(1000));
    assert_eq!(other(1120), Err(Unclaimed::Hosts { limit: 2 }));
    assert!(other(1121).is_ok());
    assert_eq!(mappings.events().refused, 2);
}

/// An operation on the mappings, and on the model.
#[derive(Debug, Clone)]
enum Step {
    Claim(u16, u16),
    Release(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u16..5, 5000u16..5006).prop_map(|(host, port)| Step::Claim(host, port)),
        3 => any::<usize>().prop_map(Step::Release),
        1 => (0u64..100).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..150)
}

/// What the requirements allow: who has, or had, each external port.
#[derive(Default)]
struct Model {
    /// By internal endpoint: its external port, and its sessions or when the last one ended.
    ports: HashMap<Endpoint, (u16, Result<u32, u64>)>,
    held: Vec<(Endpoint, Claim)>,
}

impl Model {
    fn sessions_of(&self, ip: IpAddr) -> usize {
        self.held.iter().filter(|(internal, _)| internal.ip == ip).count()
    }

    fn ports_of(&self, ip: IpAddr) -> usize {
        let mapped = |(_, use_): &(u16, Result<u32, u64>)| use_.is_ok();
        self.ports.iter().filter(|(internal, entry)| internal.ip == ip && mapped(entry)).count()
    }

    /// Whether an endpoint may not have a port, because of another endpoint.
    fn is_kept_from(&self, internal: Endpoint, port: u16, now: u64) -> bool {
        self.ports.iter().any(|(other, (held, use_))| {
            let quarantined = |end: &u64| now - end < 120;
            *other != internal && *held == port && use_.as_ref().err().is_none_or(quarantined)
        })
    }

    /// The port that an endpoint must get, if it must.
    fn due(&self, internal: Endpoint, now: u64) -> Option<u16> {
        let (port, use_) = self.ports.get(&internal)?;
        use_.as_ref().err().is_none_or(|end| now - end < 120).then_some(*port)
    }
}

const SMALL: (u16, u16) = (5000, 5007);
const TIGHT: Quota = Quota { ports: 4, sessions: 7 };

proptest! {
    #[test]
    fn mappings_behave_as_the_requirements_say(steps in steps()) {
        let mappings = Mappings::new(16, SEED).with_addresses([(OUTSIDE, outside(1))]);
        let pool = pool(SMALL.0..=SMALL.1, TIGHT);
        let mut model = Model::default();
        let mut now = 1;
        for step in steps {
            match step {
                Step::Claim(host, port) => {
                    let internal = container(host, port);
                    let claim = mappings.claim(INSIDE, UDP, internal, (&pool, &Published::default()), at(now));
                    let (ip, due) = (internal.ip, model.due(internal, now));
                    let is_mapped = model.ports.get(&internal).is_some_and(|entry| entry.1.is_ok());
                    if model.sessions_of(ip) == 7 {
                        prop_assert_eq!(claim, Err(Unclaimed::SessionQuota { ip, limit: 7 }));
                    } else if !is_mapped && model.ports_of(ip) == 4 {
                        let quota = Err(Unclaimed::PortQuota { ip, limit: 4 });
                        let none_free = Err(Unclaimed::Ports { address: outside(1) });
                        prop_assert!(claim == quota || claim == none_free);
                    } else if let Ok(held) = claim {
                        let port = held.external.port;
                        prop_assert!((SMALL.0..=SMALL.1).contains(&port));
                        prop_assert!(due.is_none_or(|due| due == port));
                        prop_assert!(!model.is_kept_from(internal, port, now));
                        let found = mappings.find(OUTSIDE, UDP, held.external).unwrap();
                        prop_assert_eq!(found.internal, internal);
                        let sessions = model.held.iter().filter(|held| held.0 == internal).count();
                        model.ports.insert(internal, (port, Ok(u32::try_from(sessions).unwrap() + 1)));
                        model.held.push((internal, held));
                    } else {
                        prop_assert_eq!(claim, Err(Unclaimed::Ports { address: outside(1) }));
                        prop_assert!(due.is_none());
                        let is_kept = |port| model.is_kept_from(internal, port, now);
                        prop_assert!((SMALL.0..=SMALL.1).all(is_kept));
                    }
                }
                Step::Release(nth) if !model.held.is_empty() => {
                    let (internal, held) = model.held.swap_remove(nth % model.held.len());
                    mappings.release(held.mapping, at(now));
                    let left = model.held.iter().filter(|held| held.0 == internal).count();
                    let left = u32::try_from(left).unwrap();
                    let use_ = if left == 0 { Err(now) } else { Ok(left) };
                    model.ports.insert(internal, (held.external.port, use_));
                }
                Step::Release(_) => (),
                Step::Wait(seconds) => now += seconds,
            }
        }
        let listed: Vec<Mapping> = mappings.iter().collect();
        prop_assert_eq!(listed.len(), model.ports.values().filter(|entry| entry.1.is_ok()).count());
        for listed in listed {
            let (port, sessions) = model.ports[&listed.internal];
            prop_assert_eq!((listed.external.port, Ok(listed.sessions)), (port, sessions));
        }
    }
}

/// A worker's share of the crowd below: claims and releases at random, and watches.
fn jostle(mappings: &Mappings, pool: &Pool, mut dice: u64) {
    let mut held: Vec<(Endpoint, Claim)> = Vec::new();
    for turn in 0..40_000 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let number = u16::try_from(dice % 4).unwrap();
        let internal = container(number, 5000 + u16::try_from(dice / 4 % 3).unwrap());
        if dice >> 60 < 8 && held.len() < 12 {
            // Ten seconds a turn: nothing is in quarantine for long.
            if let Ok(claim) =
                mappings.claim(INSIDE, UDP, internal, (pool, &Published::default()), at(turn * 10))
            {
                let found = mappings.find(OUTSIDE, UDP, claim.external).unwrap();
                assert_eq!(found.internal, internal);
                let mine = held.iter().find(|held| held.0 == internal);
                assert!(mine.is_none_or(|mine| mine.1 == claim), "two ports for {internal}");
                held.push((internal, claim));
            }
        } else if let Some((_, claim)) = held.pop() {
            mappings.release(claim.mapping, at(turn * 10));
        }
    }
    for (_, claim) in held {
        mappings.release(claim.mapping, at(400_000));
    }
}

#[test]
fn workers_that_claim_at_once_agree_and_leave_nothing_behind() {
    let (mappings, pool) = (mappings(), pool(5000..=5009, Quota::default()));
    std::thread::scope(|scope| {
        for dice in 1..=4 {
            let (mappings, pool) = (&mappings, &pool);
            scope.spawn(move || jostle(mappings, pool, dice));
        }
    });
    let events = mappings.events();
    assert_eq!((mappings.iter().count(), events.claimed), (0, events.released));
    let quota = Quota { ports: 3, sessions: 3 };
    for port in 5000..5003 {
        let pool = Pool::new(OUTSIDE, outside(1)..=outside(1), 5000..=5009, quota).unwrap();
        assert!(
            mappings
                .claim(INSIDE, UDP, container(1, port), (&pool, &Published::default()), at(500_000))
                .is_ok()
        );
    }
}
