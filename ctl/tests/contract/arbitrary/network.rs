//! Networks and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ctl::ipam::Span;
use ctl::{
    HostName, HostPort, IpamFilter, IpamRelease, IpamRequest, Mutation, NetworkConnect,
    NetworkCreate, NetworkDisconnect, NetworkHandover, NetworkRm, NetworkSet, NetworkSettings,
    Overlay, Owner, PoolAdd, Prefix, Query, Shape,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, if_name, mac, mtu, named, netns, parsed, port_name, routes, vxlan};

pub fn subnet() -> impl Strategy<Value = Prefix> {
    select(vec!["10.1.0.0/29", "10.2.0.0/24", "10.2.0.128/25", "fd01::/64", "fd02::/126"])
        .prop_map(parsed)
}

pub fn span() -> impl Strategy<Value = Span> {
    select(vec!["10.1.0.3-10.1.0.5", "10.2.0.0/25", "10.1.0.2", "fd01::10-fd01::12"])
        .prop_map(parsed)
}

fn addr() -> impl Strategy<Value = IpAddr> {
    let some = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.7", "10.2.0.2", "fd01::2", "8.8.8.8"];
    select(some.map(|text| text.parse().unwrap()).to_vec())
}

pub fn owner() -> impl Strategy<Value = Owner> {
    select(vec!["alice", "bob", "0a1b/eth0", "web-eth0"]).prop_map(parsed)
}

fn alias() -> impl Strategy<Value = HostName> {
    select(vec!["db", "db.local"]).prop_map(parsed)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let text = || select(vec!["", "a", "b"]).prop_map(str::to_owned);
    proptest::collection::btree_map(text(), text(), 0..2)
}

fn settings() -> impl Strategy<Value = NetworkSettings> {
    let local = option::weighted(0.9, vxlan::underlay());
    let ends = (vxlan::vni(), local, vec(vxlan::underlay(), 0..2));
    let overlay = ends.prop_map(|(vni, local, remotes)| Overlay { vni, local, via: None, remotes });
    let flags = any::<[bool; 5]>();
    let all = [Shape::Bridged, Shape::Direct, Shape::Routed, Shape::P2p];
    let shape = prop_oneof![Just(Shape::Bridged), select(all.to_vec())];
    let texts = (vec(addr(), 0..2), labels());
    (flags, shape, mtu(), option::weighted(0.2, overlay), texts).prop_map(
        |([internal, isolated, masquerade, dns, dhcp], shape, mtu, vxlan, (resolvers, labels))| {
            NetworkSettings {
                internal,
                isolated,
                shape,
                masquerade,
                mtu,
                vxlan,
                dns,
                resolvers,
                dhcp,
                labels,
            }
        },
    )
}

fn create() -> impl Strategy<Value = NetworkCreate> {
    let spans = (vec(span(), 0..2), vec(span(), 0..2));
    let gateways = (vec(addr(), 0..2), any::<bool>(), any::<bool>());
    let subnets = (vec(subnet(), 0..3), any::<bool>(), vec(subnet(), 0..2));
    (bridge_name(), settings(), subnets, gateways, spans).prop_map(
        |(name, settings, subnets, gateways, (ranges, reserved))| {
            let (subnets, ipv6, avoid) = subnets;
            let (gateways, no_gateway, unnumbered) = gateways;
            NetworkCreate {
                name,
                settings,
                subnets,
                ipv6,
                gateways,
                no_gateway,
                unnumbered,
                ranges,
                reserved,
                avoid,
                host_port: None,
            }
        },
    )
}

fn host_port() -> impl Strategy<Value = HostPort> {
    any::<bool>().prop_map(|is_named| HostPort {
        ifname: is_named.then(|| "host0".parse().unwrap()),
        mac: None,
    })
}

fn simple() -> impl Strategy<Value = NetworkCreate> {
    (bridge_name(), option::of(subnet())).prop_map(|(name, subnet)| NetworkCreate {
        subnets: subnet.into_iter().collect(),
        ..NetworkCreate::new(name)
    })
}

fn set() -> impl Strategy<Value = NetworkSet> {
    let flags = any::<[Option<bool>; 5]>();
    let remotes = option::of(vec(vxlan::underlay(), 0..2));
    let others = (remotes, option::of(vec(addr(), 0..2)), option::of(option::of(host_port())));
    (bridge_name(), flags, option::of(mtu()), others, labels()).prop_map(
        |(name, flags, mtu, (remotes, resolvers, host_port), labels)| {
            let [internal, isolated, masquerade, dns, dhcp] = flags;
            NetworkSet {
                host_port,
                name,
                internal,
                isolated,
                masquerade,
                mtu,
                remotes,
                dns,
                resolvers,
                dhcp,
                labels,
            }
        },
    )
}

fn connect() -> impl Strategy<Value = NetworkConnect> {
    let place = (bridge_name(), netns(), if_name());
    let wishes = (vec(addr(), 0..2), option::of(mac()), option::of(owner()));
    let routing = (any::<bool>(), routes(), vec(subnet(), 0..2), any::<bool>());
    (place, wishes, vec(alias(), 0..2), routing).prop_map(
        |(
            (network, netns, ifname),
            (ips, mac, owner),
            aliases,
            (no_default_route, routes, elsewhere, dhcp),
        )| {
            NetworkConnect {
                network,
                netns,
                ifname,
                ips,
                mac,
                aliases,
                owner,
                no_default_route,
                routes,
                elsewhere,
                dhcp,
            }
        },
    )
}

fn pool() -> impl Strategy<Value = PoolAdd> {
    let spans = (vec(span(), 0..2), vec(span(), 0..2));
    let choice = (option::of(subnet()), any::<bool>(), vec(subnet(), 0..2));
    (choice, option::of(addr()), spans).prop_map(
        |((subnet, ipv6, avoid), gateway, (ranges, reserved))| PoolAdd {
            subnet,
            ipv6,
            gateway,
            ranges,
            reserved,
            avoid,
        },
    )
}

fn filter() -> impl Strategy<Value = IpamFilter> {
    (option::of(bridge_name()), option::of(subnet()))
        .prop_map(|(network, subnet)| IpamFilter { network, subnet })
}

/// Changes of who has which address.
pub fn address_mutation() -> impl Strategy<Value = Mutation> {
    let request = (owner(), filter(), option::of(addr())).prop_map(|(owner, filter, ip)| {
        let IpamFilter { network, subnet } = filter;
        Mutation::IpamRequest(IpamRequest { owner, network, subnet, ip })
    });
    let release = (option::of(owner()), filter(), option::of(addr())).prop_map(
        |(owner, IpamFilter { network, subnet }, ip)| {
            Mutation::IpamRelease(IpamRelease { owner, network, subnet, ip })
        },
    );
    let whose = (option::weighted(0.3, mac()), option::weighted(0.3, owner()));
    let handover = (bridge_name(), port_name(), if_name(), vec(addr(), 0..2), whose).prop_map(
        |(network, port, ifname, ips, (mac, owner))| {
            let handover = NetworkHandover { network, port, ifname, ips, mac, owner };
            Mutation::NetworkHandover(Box::new(handover))
        },
    );
    let disconnect =
        (bridge_name(), netns(), option::of(if_name())).prop_map(|(network, netns, ifname)| {
            Mutation::NetworkDisconnect(NetworkDisconnect { network, netns, ifname })
        });
    prop_oneof![
        6 => connect().prop_map(|connect| Mutation::NetworkConnect(Box::new(connect))),
        3 => handover,
        2 => disconnect,
        3 => request,
        2 => release,
        1 => filter().prop_map(Mutation::IpamFree),
    ]
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let creates = prop_oneof![create(), simple()];
    prop_oneof![
        3 => creates.prop_map(|create| Mutation::NetworkCreate(Box::new(create))),
        1 => (bridge_name(), any::<bool>(), any::<bool>()).prop_map(|(name, if_exists, force)| {
            Mutation::NetworkRm(NetworkRm { name, if_exists, force })
        }),
        1 => set().prop_map(|set| Mutation::NetworkSet(Box::new(set))),
        1 => pool().prop_map(|pool| Mutation::PoolAdd(Box::new(pool))),
        1 => named(subnet()).prop_map(Mutation::PoolDel),
        6 => address_mutation(),
    ]
}

pub fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        Just(Query::NetworkList),
        named(bridge_name()).prop_map(Query::NetworkInspect),
        filter().prop_map(Query::IpamList),
        filter().prop_map(Query::IpamAudit),
    ]
}
