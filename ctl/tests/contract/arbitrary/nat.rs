//! Address translation.

use ctl::{
    AddressRanges, Filtering, Forward, Masquerade, Mutation, NatAdd, NatRule, NatSet, Prefix,
    PrefixTranslation, Publish, Query, RuleName, TimeoutsSet,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, named, parsed, port_name};

fn name() -> impl Strategy<Value = RuleName> {
    select(vec!["web", "br0-to-br1", "br1-8080-tcp"]).prop_map(parsed)
}

fn addresses() -> impl Strategy<Value = AddressRanges> {
    select(vec![
        "192.0.2.10-192.0.2.20",
        "10.1.0.9",
        "10.1.0.9,10.1.0.11-10.1.0.12",
        "10.1.0.0-10.1.0.255",
        "fd09::1-fd09::f",
    ])
    .prop_map(parsed)
}

fn forward() -> impl Strategy<Value = Forward> {
    let some = vec![
        "8080:10.0.0.9:80/tcp",
        "8000-8090:10.0.0.9:9000/tcp",
        "8080:10.0.0.9:80/udp",
        "192.0.2.1:8080:10.1.0.9/tcp",
        "53:10.0.0.1/udp",
        "[fd09::1]:443:[fd00::9]:8443/sctp",
        "443:[fd00::9]/tcp",
    ];
    select(some).prop_map(parsed)
}

fn inside() -> impl Strategy<Value = Prefix> {
    select(vec!["fd00::/64", "fd01::/48", "10.0.0.0/24", "2001:db8:1::/48", "2001:db8::/64"])
        .prop_map(parsed)
}

fn masquerade() -> impl Strategy<Value = Masquerade> {
    let quota = || option::of(0u32..3);
    let ports = select(vec!["1024-65535", "1", "40000-50000"]).prop_map(parsed);
    let filtering = select(vec![Filtering::Address, Filtering::EndpointIndependent]);
    let more = (any::<bool>(), prop::collection::vec(inside(), 0..2));
    let rest = (option::of(addresses()), ports, filtering, (quota(), quota()), more);
    (bridge_name(), bridge_name(), rest).prop_map(
        |(from, to, (addresses, ports, filtering, (port_quota, session_quota), (ipv6, except)))| {
            Masquerade {
                addresses,
                ports,
                filtering,
                port_quota,
                session_quota,
                ipv6,
                except,
                ..Masquerade::new(from, to)
            }
        },
    )
}

fn rule() -> impl Strategy<Value = NatRule> {
    let ends = (option::of(bridge_name()), option::of(port_name()));
    let publish = (bridge_name(), forward(), ends)
        .prop_map(|(on, forward, (to, port))| NatRule::Publish(Publish { on, forward, to, port }));
    let prefix = (bridge_name(), bridge_name(), inside(), inside()).prop_map(
        |(from, to, inside, outside)| {
            NatRule::Prefix(PrefixTranslation { from, to, inside, outside })
        },
    );
    prop_oneof![3 => masquerade().prop_map(NatRule::Masquerade), 3 => publish, 1 => prefix]
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let add = (option::of(name()), rule())
        .prop_map(|(name, rule)| Mutation::NatAdd(NatAdd { name, rule }));
    let udp = option::of(select(vec![0, 120, 1_000_001]));
    let set = (udp, option::of(any::<bool>())).prop_map(|(udp, window_checks)| {
        let timeouts = Some(TimeoutsSet { udp, ..TimeoutsSet::default() });
        Mutation::NatSet(NatSet { timeouts, window_checks })
    });
    prop_oneof![6 => add, 1 => named(name()).prop_map(Mutation::NatDel), 1 => set]
}

pub fn query() -> impl Strategy<Value = Query> {
    prop_oneof![Just(Query::NatList), Just(Query::NatSettings)]
}
