//! Which address is whose: held to a model, whatever is asked, and whenever the state is saved and loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ctl::ipam::{IpamError, Pool, SUBNETS_IPV4, Span, choose};
use ctl::{Owner, PortName, Prefix};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::network::{owner, subnet};

fn pool(subnet: &str) -> Pool {
    Pool::new(subnet.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn whose(text: &str) -> Owner {
    text.parse().unwrap()
}

/// Gives so many addresses, each to an owner of its own.
fn given(pool: &mut Pool, count: usize) -> Vec<String> {
    let give = |number| pool.give_next(&whose(&format!("o{number}"))).unwrap().to_string();
    (0..count).map(give).collect()
}

#[test]
fn addresses_are_given_in_order_without_those_that_are_no_hosts() {
    let cases = [
        ("10.0.0.0/29", &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"][..]),
        ("10.0.0.0/30", &["10.0.0.2"]),
        ("10.0.0.0/31", &["10.0.0.1"]),
        ("fd00::/126", &["fd00::2", "fd00::3"]),
        ("fd00::/127", &["fd00::1"]),
        ("255.255.255.248/29", &["255.255.255.250"]),
    ];
    for (subnet, expected) in cases {
        let mut pool = pool(subnet);
        assert_eq!(given(&mut pool, expected.len()), expected, "{subnet}");
        if expected.len() > 1 || subnet.starts_with("10") {
            let error = pool.give_next(&whose("late")).unwrap_err();
            assert!(matches!(error, IpamError::Exhausted { .. }), "{subnet}: {error}");
        }
    }
    assert_eq!(given(&mut pool("fd00::/64"), 2), ["fd00::2", "fd00::3"]);
}

#[test]
fn what_was_given_back_rests_until_nothing_else_is_left() {
    let mut pool = pool("10.0.0.0/29");
    given(&mut pool, 3);
    pool.take_back(ip("10.0.0.3"));
    pool.take_back(ip("10.0.0.2"));
    assert_eq!(given(&mut pool, 4), ["10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]);
}

#[test]
fn an_address_given_by_name_is_not_the_next_one() {
    let mut pool = pool("10.0.0.0/29");
    pool.give(ip("10.0.0.2"), &whose("a")).unwrap();
    pool.give(ip("10.0.0.5"), &whose("b")).unwrap();
    assert_eq!(given(&mut pool, 3), ["10.0.0.3", "10.0.0.4", "10.0.0.6"]);
}

#[test]
fn ranges_are_given_from_and_what_is_reserved_is_not() {
    let mut pool = pool("10.0.0.0/24");
    pool.ranges = ["10.0.0.20-10.0.0.22", "10.0.0.10-10.0.0.11"].map(|s| s.parse().unwrap()).into();
    pool.reserved = vec!["10.0.0.21".parse().unwrap()];
    assert_eq!(pool.capacity(), 5);
    assert_eq!(given(&mut pool, 4), ["10.0.0.10", "10.0.0.11", "10.0.0.20", "10.0.0.22"]);
    let error = pool.give_next(&whose("late")).unwrap_err();
    let said = "no address of 10.0.0.0/24 is free: all 5 that it gives out are taken, by 4 leases and 1 reserved";
    assert!(error.to_string().starts_with(said), "{error}");
    pool.give(ip("10.0.0.99"), &whose("asked")).unwrap();
}

#[test]
fn an_address_that_is_nobodys_is_refused_with_the_reason() {
    let mut pool = pool("10.0.0.0/24");
    pool.reserved = vec!["10.0.0.16/30".parse().unwrap()];
    pool.give(ip("10.0.0.9"), &whose("alice")).unwrap();
    let cases = [
        ("10.0.0.0", "the network's own or its broadcast address"),
        ("10.0.0.255", "the network's own or its broadcast address"),
        ("10.0.0.1", "the gateway's"),
        ("10.0.0.17", "reserved"),
        ("10.0.1.2", "not in 10.0.0.0/24"),
        ("fd00::2", "not in 10.0.0.0/24"),
        ("10.0.0.9", "alice's already"),
    ];
    let before = pool.clone();
    for (addr, part) in cases {
        let error = pool.give(ip(addr), &whose("bob")).unwrap_err();
        assert!(error.to_string().contains(part), "{addr}: {error}");
        assert_eq!(pool, before);
    }
    pool.give(ip("10.0.0.9"), &whose("alice")).unwrap();
}

#[test]
fn leases_go_with_their_port_unless_they_are_held() {
    let (mut pool, port) = (pool("10.0.0.0/29"), "p0".parse::<PortName>().unwrap());
    given(&mut pool, 3);
    pool.hold(ip("10.0.0.3"));
    ["10.0.0.2", "10.0.0.3"].into_iter().for_each(|addr| pool.bind(ip(addr), &port));
    assert_eq!(pool.take_back(ip("10.0.0.2")).unwrap().port.as_ref(), Some(&port));
    assert_eq!(pool.leases().len(), 3, "a port has it");
    pool.forget_port(&port);
    let left: Vec<_> = pool.leases().keys().map(ToString::to_string).collect();
    assert_eq!(left, ["10.0.0.3", "10.0.0.4"]);
}

#[test]
fn a_subnet_is_chosen_where_nobody_is() {
    let used = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<Prefix>>();
    let chosen = |texts: &[&str]| choose(true, "x", &used(texts)).map(|subnet| subnet.to_string());
    let cases = [
        (&[][..], Some("10.210.0.0/24")),
        (&["10.210.0.0/25"], Some("10.210.1.0/24")),
        (&["10.210.0.0/24", "10.210.1.7/32"], Some("10.210.2.0/24")),
        (&["10.0.0.0/8"], Some("172.28.0.0/24")),
        (&["10.0.0.0/8", "172.16.0.0/12"], Some("192.168.128.0/24")),
        (&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], None),
    ];
    for (texts, expected) in cases {
        assert_eq!(chosen(texts).as_deref(), expected, "{texts:?}");
    }
    for (first, len, _) in SUBNETS_IPV4 {
        assert!(first.is_private(), "{first}/{len}");
    }
    let one = choose(false, "web", &[]).unwrap();
    assert_eq!(choose(false, "web", &[]), Some(one), "it is the same on all hosts");
    assert!(one.addr().to_string().starts_with("fd") && one.prefix_len() == 64, "{one}");
    let others = [choose(false, "db", &[]).unwrap(), choose(false, "web", &[one]).unwrap()];
    assert!(others.iter().all(|other| !other.overlaps(&one)), "{others:?}");
}

#[test]
fn ranges_are_written_in_three_ways() {
    let cases = [
        ("10.0.0.2", Some(("10.0.0.2", 1))),
        ("10.0.0.2-10.0.0.9", Some(("10.0.0.2-10.0.0.9", 8))),
        ("10.0.0.128/25", Some(("10.0.0.128-10.0.0.255", 128))),
        ("fd00::/64", Some(("fd00::-fd00::ffff:ffff:ffff:ffff", u64::MAX))),
        ("10.0.0.9-10.0.0.2", None),
        ("10.0.0.2-fd00::", None),
        ("", None),
        ("10.0.0.2-", None),
    ];
    for (text, expected) in cases {
        let span = text.parse::<Span>().ok();
        let shown = span.map(|span| (span.to_string(), span.count()));
        assert_eq!(shown, expected.map(|(text, count)| (text.to_owned(), count)), "{text}");
        assert_eq!(span.map(|span| span.to_string().parse().unwrap()), span);
    }
}

/// Something that is done with a pool.
#[derive(Debug, Clone)]
enum Step {
    Give(u8, Owner),
    GiveNext(Owner),
    Hold(u8),
    Bind(u8, PortName),
    TakeBack(u8),
    ForgetPort(PortName),
    SaveAndLoad,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || select(vec!["p0", "p1"]).prop_map(|name| name.parse::<PortName>().unwrap());
    prop_oneof![
        2 => (0u8..10, owner()).prop_map(|(host, owner)| Step::Give(host, owner)),
        6 => owner().prop_map(Step::GiveNext),
        1 => (0u8..10).prop_map(Step::Hold),
        2 => (0u8..10, port()).prop_map(|(host, port)| Step::Bind(host, port)),
        3 => (0u8..10).prop_map(Step::TakeBack),
        1 => port().prop_map(Step::ForgetPort),
        1 => Just(Step::SaveAndLoad),
    ]
}

/// What has to be so, kept in the plainest way.
#[derive(Default)]
struct Model {
    leases: BTreeMap<IpAddr, (Owner, Option<PortName>, bool)>,
    /// When what is free now was given back.
    resting: BTreeMap<IpAddr, usize>,
    now: usize,
}

impl Model {
    fn free(&mut self, addr: IpAddr) {
        self.leases.remove(&addr);
        self.now += 1;
        self.resting.insert(addr, self.now);
    }

    fn gave(&mut self, addr: IpAddr, owner: Owner) {
        self.resting.remove(&addr);
        self.leases.entry(addr).or_insert((owner, None, false));
    }
}

/// The addresses of 10.1.0.0/29 that may be given: not the first, the last, the gateway's and the reserved one.
fn givable() -> BTreeSet<IpAddr> {
    ["10.1.0.2", "10.1.0.3", "10.1.0.5", "10.1.0.6"].map(ip).into()
}

fn take(pool: &mut Pool, model: &mut Model, step: Step) {
    let addr = |host: u8| IpAddr::from([10, 1, 0, host]);
    match step {
        Step::Give(host, owner) => {
            let (addr, given) = (addr(host), pool.give(addr(host), &owner));
            let others = model.leases.get(&addr).is_some_and(|(whose, ..)| *whose != owner);
            assert_eq!(given.is_ok(), givable().contains(&addr) && !others, "{addr}: {given:?}");
            given.into_iter().for_each(|()| model.gave(addr, owner.clone()));
        }
        Step::GiveNext(owner) => {
            let free: Vec<_> =
                givable().into_iter().filter(|addr| !model.leases.contains_key(addr)).collect();
            let fresh = free.iter().any(|addr| !model.resting.contains_key(addr));
            let oldest = free.iter().min_by_key(|addr| model.resting.get(addr)).copied();
            match pool.give_next(&owner) {
                Ok(addr) => {
                    assert!(free.contains(&addr), "{addr} is not free");
                    assert!(!(fresh && model.resting.contains_key(&addr)), "{addr} rests");
                    assert!(fresh || Some(addr) == oldest, "{addr} rests not the longest");
                    model.gave(addr, owner);
                }
                Err(error) => assert!(free.is_empty(), "{error}"),
            }
        }
        Step::Hold(host) => {
            pool.hold(addr(host));
            model.leases.entry(addr(host)).and_modify(|(.., held)| *held = true);
        }
        Step::Bind(host, port) => {
            pool.bind(addr(host), &port);
            model.leases.entry(addr(host)).and_modify(|(_, its, _)| *its = Some(port));
        }
        Step::TakeBack(host) => {
            let taken = pool.take_back(addr(host));
            assert_eq!(taken.is_some(), model.leases.contains_key(&addr(host)));
            model.leases.entry(addr(host)).and_modify(|(.., held)| *held = false);
            if taken.is_some_and(|lease| lease.port.is_none()) {
                model.free(addr(host));
            }
        }
        Step::ForgetPort(port) => {
            pool.forget_port(&port);
            for (addr, (owner, its, held)) in model.leases.clone() {
                if its.as_ref() == Some(&port) {
                    model.leases.insert(addr, (owner, None, held));
                    (!held).then(|| model.free(addr));
                }
            }
        }
        Step::SaveAndLoad => {
            let text = serde_json::to_string(pool).unwrap();
            *pool = serde_json::from_str(&text).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn a_pool_does_what_the_model_says(steps in vec(step(), 0..80)) {
        let (mut pool, mut model) = (pool("10.1.0.0/29"), Model::default());
        pool.reserved = vec!["10.1.0.4".parse().unwrap()];
        for step in steps {
            take(&mut pool, &mut model, step);
            let has: BTreeMap<_, _> = pool.leases().iter().map(|(addr, lease)| {
                (*addr, (lease.owner.clone(), lease.port.clone(), lease.held))
            }).collect();
            prop_assert_eq!(&has, &model.leases);
        }
    }

    #[test]
    fn every_host_of_a_subnet_is_in_it(subnet in subnet()) {
        let hosts = Span::hosts(&subnet);
        prop_assert!(subnet.contains(hosts.first()) && subnet.contains(hosts.last()));
        prop_assert!(Span::of(&subnet).within(&hosts) == Some(hosts));
    }
}
