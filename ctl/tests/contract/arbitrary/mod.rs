//! Values for properties. Names come from small sets, so that requests meet what others made.

mod explain;
mod flow;
mod nat;
pub mod network;
mod route;
mod service;
mod session;
mod vxlan;

use std::net::IpAddr;

use ctl::{
    Attach, Batch, BridgeAdd, BridgeName, BridgeSet, Config, Detach, Egress, FdbFilter, FdbKey,
    FdbStatic, IfName, Ingress, IpCidr, MacAddr, Mtu, Mutation, Named, NetdevMode, NetnsIdentity,
    NetnsRef, Port, PortAdd, PortFilter, PortKind, PortMove, PortName, PortSet, Query, Request,
    StaticMac, Tap, TapRoute, TrafficFilter, Vlan, VlanId, VlanIds, VlanOf, apply,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub use explain::sketch;

fn parsed<T: std::str::FromStr<Err = ctl::BadName>>(text: &str) -> T {
    text.parse().unwrap()
}

fn bridge_name() -> impl Strategy<Value = BridgeName> {
    select(vec!["br0", "br1", "9-lives"]).prop_map(parsed)
}

fn port_name() -> impl Strategy<Value = PortName> {
    select(vec!["p0", "p1", "web-eth0", "pid7-eth0", "run-x-eth0"]).prop_map(parsed)
}

fn if_name() -> impl Strategy<Value = IfName> {
    select(vec!["eth0", "net1"]).prop_map(parsed)
}

fn netns() -> impl Strategy<Value = NetnsRef> {
    select(vec!["web", "7", "/run/x", "/run/netns/12", "\u{fc}ber \n"]).prop_map(parsed)
}

fn mac() -> impl Strategy<Value = MacAddr> {
    (0u8..64).prop_map(|last| MacAddr::local([0, 0, 0, 0, 0, last]))
}

fn mtu() -> impl Strategy<Value = Mtu> {
    let bytes = prop_oneof![3 => select(vec![1280, 1400, 9000]), 1 => Mtu::MIN..=Mtu::MAX];
    bytes.prop_map(|bytes| Mtu::try_from(bytes).unwrap())
}

fn vlan_id() -> impl Strategy<Value = VlanId> {
    select(vec![1u16, 10, 4094]).prop_map(|number| VlanId::try_from(number).unwrap())
}

/// Any set of VLANs, as text.
pub fn vlan_numbers() -> impl Strategy<Value = Vec<u16>> {
    vec(1u16..=4094, 1..40)
}

fn vlan_ids() -> impl Strategy<Value = VlanIds> {
    vlan_numbers().prop_map(|numbers| {
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        parsed(&numbers.join(","))
    })
}

fn vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![
        Just(Vlan::Unaware),
        vlan_id().prop_map(Vlan::Access),
        (vlan_ids(), option::of(vlan_id()))
            .prop_map(|(allowed, native)| Vlan::Trunk { allowed, native }),
    ]
}

fn ips() -> impl Strategy<Value = Vec<IpCidr>> {
    let some = vec!["10.0.0.2/24", "10.0.0.3/24", "192.168.1.1/32", "fd00::2/64"];
    vec(select(some).prop_map(parsed), 0..3)
}

fn gateways() -> impl Strategy<Value = Vec<IpAddr>> {
    let some = ["10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1", "8.8.8.8"];
    vec(select(some.map(|text| text.parse().unwrap()).to_vec()), 0..2)
}

fn routes() -> impl Strategy<Value = Vec<TapRoute>> {
    let some = [("10.9.0.0/16", "10.0.0.1"), ("fd09::/64", "fd00::1"), ("10.9.0.0/16", "fe80::1")];
    let route = |(to, via): (&str, &str)| TapRoute { to: parsed(to), via: via.parse().unwrap() };
    vec(select(some.map(route).to_vec()), 0..2)
}

fn tap() -> impl Strategy<Value = Tap> {
    let addressing = (ips(), gateways(), routes());
    let settings = (option::of(netns()), if_name(), option::of(mac()), addressing);
    (settings, 0u16..18, any::<bool>()).prop_map(
        |((netns, ifname, mac, (ips, gateways, routes)), queues, handover)| Tap {
            netns,
            ifname,
            mac,
            ips,
            gateways,
            routes,
            queues,
            handover,
        },
    )
}

fn kind() -> impl Strategy<Value = PortKind> {
    let mode = select(vec![NetdevMode::Auto, NetdevMode::Gso, NetdevMode::Xdp]);
    prop_oneof![
        tap().prop_map(PortKind::Tap),
        (if_name(), option::of(netns()), mode).prop_map(|(device, netns, mode)| PortKind::Netdev {
            device,
            netns,
            mode
        }),
    ]
}

fn limit() -> impl Strategy<Value = Option<u32>> {
    option::weighted(0.3, select(vec![0, 1, 2, 8192, 1_048_576, u32::MAX]))
}

fn port() -> impl Strategy<Value = Port> {
    let flags = any::<(bool, bool, bool)>();
    let limits = (limit(), option::of(mtu()), option::of(egress()), option::of(ingress()));
    (bridge_name(), kind(), vlan(), flags, limits, option::of(place())).prop_map(
        |(bridge, kind, vlan, (isolated, hairpin, guard), limits, place)| {
            let (mac_limit, mtu, egress, ingress) = limits;
            Port {
                bridge,
                kind,
                vlan,
                isolated,
                hairpin,
                mac_limit,
                mtu,
                guard,
                egress,
                ingress,
                dhcp: false,
                shared: false,
                place,
            }
        },
    )
}

fn ingress() -> impl Strategy<Value = Ingress> {
    egress().prop_map(|Egress { rate, queue_bytes }| Ingress { rate, burst_bytes: queue_bytes })
}

fn place() -> impl Strategy<Value = NetnsIdentity> {
    let boot = select(vec!["1c9e6fd8-5cb0-4a4e-9a4f-0ac7a2ba1a4e", "0"]);
    (boot, any::<u64>()).prop_map(|(boot, cookie)| NetnsIdentity { boot: boot.to_owned(), cookie })
}

fn egress() -> impl Strategy<Value = Egress> {
    let rate = select(vec!["8kbit", "100mbit", "1000gbit"]).prop_map(parsed);
    let queue = option::of(select(vec![0, Egress::MIN_QUEUE_BYTES, Egress::MAX_QUEUE_BYTES]));
    (rate, queue).prop_map(|(rate, queue_bytes)| Egress { rate, queue_bytes })
}

fn named<T: std::fmt::Debug>(name: impl Strategy<Value = T>) -> impl Strategy<Value = Named<T>> {
    (name, any::<bool>()).prop_map(|(name, if_exists)| Named { name, if_exists })
}

fn traffic() -> impl Strategy<Value = TrafficFilter> {
    vec(port_name(), 0..3).prop_map(|ports| TrafficFilter { ports })
}

fn filter() -> impl Strategy<Value = FdbFilter> {
    (option::of(bridge_name()), option::of(port_name()), option::of(vlan_id()))
        .prop_map(|(bridge, port, vlan)| FdbFilter { bridge, port, vlan })
}

fn bridge_settings() -> impl Strategy<Value = (Option<u32>, Option<u32>, Option<Mtu>)> {
    let ageing = option::weighted(0.3, select(vec![0, 10, 300, 1_000_001]));
    (ageing, limit(), option::weighted(0.3, mtu()))
}

fn bridge_mutation() -> impl Strategy<Value = Mutation> {
    let router = (route::gateways(), option::of(mac()), option::of(route::advertise()));
    let vlan_of = (bridge_name(), vlan_id()).prop_map(|(bridge, vlan)| VlanOf { bridge, vlan });
    let kind = (option::weighted(0.3, vlan_of), any::<bool>());
    let add = (bridge_name(), bridge_settings(), router, route::proxy(), kind).prop_map(
        |(name, (ageing_seconds, mac_limit, mtu), router, proxy, (vlan_of, may_exist))| {
            let (gateways, gateway_mac, advertise) = router;
            Mutation::BridgeAdd(BridgeAdd {
                name,
                vlan_of,
                ageing_seconds,
                mac_limit,
                mtu,
                gateways,
                gateway_mac,
                advertise,
                proxy,
                may_exist,
            })
        },
    );
    let router = (
        option::of(route::gateways()),
        option::of(option::of(mac())),
        option::of(option::of(route::advertise())),
        option::of(route::proxy()),
    );
    let set = (bridge_name(), bridge_settings(), router).prop_map(
        |(name, (ageing_seconds, mac_limit, mtu), (gateways, gateway_mac, advertise, proxy))| {
            Mutation::BridgeSet(BridgeSet {
                name,
                ageing_seconds,
                mac_limit,
                mtu,
                gateways,
                gateway_mac,
                advertise,
                proxy,
            })
        },
    );
    prop_oneof![4 => add, 1 => named(bridge_name()).prop_map(Mutation::BridgeDel), 3 => set]
}

fn port_mutation() -> impl Strategy<Value = Mutation> {
    let flags = any::<(Option<bool>, Option<bool>, Option<bool>)>();
    let rates = (option::of(option::of(egress())), option::of(option::of(ingress())));
    let limits = (option::of(limit()), option::of(option::of(mtu())), rates);
    let addresses = (
        option::weighted(0.2, ips()),
        option::weighted(0.2, gateways()),
        option::weighted(0.2, netns()),
    );
    let set = (port_name(), option::of(vlan()), flags, limits, addresses).prop_map(
        |(
            name,
            vlan,
            (isolated, hairpin, guard),
            (mac_limit, mtu, (egress, ingress)),
            (ips, gateways, netns),
        )| {
            Mutation::PortSet(PortSet {
                name,
                vlan,
                isolated,
                hairpin,
                mac_limit,
                mtu,
                guard,
                egress,
                ingress,
                ips,
                gateways,
                netns,
            })
        },
    );
    let add = (port_name(), port())
        .prop_map(|(name, port)| Mutation::PortAdd(Box::new(PortAdd { name, port })));
    let to = (port_name(), any::<u16>())
        .prop_map(|(name, worker)| Mutation::PortMove(PortMove { name, worker }));
    prop_oneof![4 => add, 1 => named(port_name()).prop_map(Mutation::PortDel), 1 => set, 1 => to]
}

fn container_mutation() -> impl Strategy<Value = Mutation> {
    let settings = (option::of(mac()), ips(), gateways(), option::of(mtu()), vlan());
    let attach = (netns(), bridge_name(), if_name(), settings).prop_map(
        |(netns, bridge, ifname, (mac, ips, gateways, mtu, vlan))| {
            Mutation::Attach(Attach { netns, bridge, ifname, mac, ips, gateways, mtu, vlan })
        },
    );
    let detach =
        (netns(), if_name()).prop_map(|(netns, ifname)| Mutation::Detach(Detach { netns, ifname }));
    prop_oneof![3 => attach, 1 => detach]
}

fn station_mutation() -> impl Strategy<Value = Mutation> {
    let vtep = option::weighted(0.3, vxlan::underlay());
    let add = (bridge_name(), mac(), option::of(vlan_id()), port_name(), vtep).prop_map(
        |(bridge, mac, vlan, port, vtep)| {
            Mutation::FdbAdd(FdbStatic { bridge, station: StaticMac { mac, vlan, port, vtep } })
        },
    );
    let del = (bridge_name(), mac(), option::of(vlan_id()))
        .prop_map(|(bridge, mac, vlan)| Mutation::FdbDel(FdbKey { bridge, mac, vlan }));
    prop_oneof![3 => add, 1 => del, 1 => filter().prop_map(Mutation::FdbFlush)]
}

/// Any change, sensible or not.
pub fn mutation() -> impl Strategy<Value = Mutation> {
    let batch = vec(single(), 0..6).prop_map(|changes| Mutation::Batch(Batch { changes }));
    prop_oneof![20 => single(), 1 => batch]
}

/// Any change that is not made of several.
pub fn single() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => bridge_mutation(),
        2 => port_mutation(),
        1 => container_mutation(),
        2 => station_mutation(),
        2 => route::mutation(),
        2 => vxlan::mutation(),
        2 => nat::mutation(),
        2 => service::mutation(),
        2 => network::mutation(),
        1 => session::mutation(),
        2 => flow::mutation(),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        Just(Query::BridgeList),
        named(bridge_name()).prop_map(Query::BridgeShow),
        option::of(bridge_name()).prop_map(|bridge| Query::PortList(PortFilter { bridge })),
        named(port_name()).prop_map(Query::PortShow),
        filter().prop_map(Query::FdbShow),
        route::query(),
        vxlan::query(),
        nat::query(),
        service::query(),
        network::query(),
        session::query(),
        flow::query(),
        explain::query(),
        traffic().prop_map(Query::Stats),
        traffic().prop_map(Query::Drops),
        Just(Query::Perf),
        Just(Query::Status),
        Just(Query::Version),
    ]
}

/// Any request, sensible or not.
pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![query().prop_map(Request::Query), mutation().prop_map(Request::Mutation)]
}

/// A configuration to begin with: the empty one, one in which most requests make sense, or one with an uplink and a network.
pub fn beginning() -> impl Strategy<Value = Config> {
    let routed = [
        r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24","fd00::1/64"]}"#,
        r#"bridge.add {"name":"br1","gateways":["10.1.0.1/24","fd01::1/48"]}"#,
        r#"bridge.add {"name":"9-lives","gateways":["10.2.0.1/24"]}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"netns":"nobody"}}}}"#,
    ];
    let networked = [
        r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24","2001:db8::1/64"]}"#,
        r#"route.add {"to":"default","on":"br0","via":["10.0.0.254"]}"#,
        r#"network.create {"name":"br1","subnets":["10.1.0.0/29","fd01::/64"]}"#,
    ];
    prop_oneof![
        1 => Just(Config::default()),
        3 => Just(crate::apply::config_of(&routed)),
        2 => Just(crate::apply::config_of(&networked)),
    ]
}

/// A configuration that requests made.
pub fn config() -> impl Strategy<Value = Config> {
    (beginning(), vec(mutation(), 0..40)).prop_map(|(beginning, mutations)| {
        mutations
            .iter()
            .fold(beginning, |config, mutation| apply(&config, mutation).unwrap_or(config))
    })
}
