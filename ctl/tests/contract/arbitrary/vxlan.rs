//! Tunnels.

use std::net::IpAddr;

use ctl::{Mtu, Mutation, PortName, Query, Tos, Vni, Vxlan, VxlanAdd, VxlanSet};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, named, parsed, port_name};

/// Addresses of hosts.
pub fn underlay() -> impl Strategy<Value = IpAddr> {
    let some = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "239.1.1.1"];
    select(some.map(|text| text.parse().unwrap()).to_vec())
}

/// Names of tunnels, and of ports that are none.
fn name() -> impl Strategy<Value = PortName> {
    prop_oneof![3 => select(vec!["vx0", "vx1"]).prop_map(parsed), 1 => port_name()]
}

fn tos() -> impl Strategy<Value = Tos> {
    select(vec!["inherit", "0", "184"]).prop_map(parsed)
}

fn underlay_mtu() -> impl Strategy<Value = Mtu> {
    select(vec!["100", "1500", "9000"]).prop_map(parsed)
}

/// Numbers of networks, few of them.
pub fn vni() -> impl Strategy<Value = Vni> {
    (0u32..3).prop_map(|number| Vni::try_from(number).unwrap())
}

fn vxlan() -> impl Strategy<Value = Vxlan> {
    let via = option::weighted(0.2, bridge_name());
    let end = (underlay(), via, vec(underlay(), 0..3), select(vec![0, 4789, 8472]));
    (bridge_name(), vni(), end, tos(), underlay_mtu(), any::<(u8, bool)>()).prop_map(
        |(bridge, vni, (local, via, remotes, dstport), tos, underlay_mtu, (ttl, learning))| Vxlan {
            via,
            remotes,
            dstport,
            ttl,
            tos,
            learning,
            underlay_mtu,
            ..Vxlan::new(bridge, vni, local)
        },
    )
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let add =
        (name(), vxlan()).prop_map(|(name, vxlan)| Mutation::VxlanAdd(VxlanAdd { name, vxlan }));
    let settings = (
        option::of(vec(underlay(), 0..3)),
        option::of(any::<u8>()),
        option::of(tos()),
        option::of(any::<bool>()),
        option::of(underlay_mtu()),
    );
    let set = (name(), settings).prop_map(|(name, (remotes, ttl, tos, learning, underlay_mtu))| {
        Mutation::VxlanSet(VxlanSet { name, remotes, ttl, tos, learning, underlay_mtu })
    });
    prop_oneof![4 => add, 1 => named(name()).prop_map(Mutation::VxlanDel), 1 => set]
}

pub fn query() -> impl Strategy<Value = Query> {
    prop_oneof![Just(Query::VxlanList), named(name()).prop_map(Query::VxlanShow)]
}
