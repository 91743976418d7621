//! Gateways, routes, neighbours, and which bridges reach which.

use ctl::ErrorCode::{Exists, InUse, Invalid, NotFound};
use ctl::{BridgeName, Config, Destination, apply};

use crate::apply::{change, config_of, refuses};

/// Two bridges of containers and an uplink, all with gateways.
pub const ROUTED: [&str; 4] = [
    r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24","fd00::1/64"]}"#,
    r#"bridge.add {"name":"br1","gateways":["10.1.0.1/24","fd01::1/64"]}"#,
    r#"bridge.add {"name":"up","gateways":["192.0.2.1/24","2001:db8::1/64"]}"#,
    r#"bridge.add {"name":"plain"}"#,
];

fn routed() -> Config {
    config_of(&ROUTED)
}

fn bridge(name: &str) -> BridgeName {
    name.parse().unwrap()
}

#[test]
fn a_gateway_that_cannot_be_is_refused_with_a_reason() {
    let port =
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"ips":["10.0.0.2/24"]}}}}"#;
    let config = config_of(&[&ROUTED[..], &[port]].concat());
    refuses(
        &config,
        &[
            (
                r#"bridge.set {"name":"br0","gateways":["127.0.0.1/8"]}"#,
                Invalid,
                "a loopback address",
            ),
            (
                r#"bridge.set {"name":"br0","gateways":["10.0.0.1/24","10.0.0.9/24"]}"#,
                Invalid,
                "10.0.0.1/24 and 10.0.0.9/24 are in overlapping subnets",
            ),
            (
                r#"bridge.set {"name":"br0","gateways":["10.0.0.1/24","10.0.7.1/8"]}"#,
                Invalid,
                "overlapping subnets",
            ),
            (
                r#"bridge.set {"name":"br0","gateways":["10.0.0.2/24"]}"#,
                Exists,
                "port p0: 10.0.0.2 is",
            ),
            (r#"bridge.set {"name":"br0","mtu":1279}"#, Invalid, "needs an MTU of 1280 or more"),
            (r#"bridge.set {"name":"plain","advertise":{}}"#, Invalid, "needs an IPv6 gateway"),
            (
                r#"bridge.set {"name":"plain","gateways":["fe80::1/64"],"advertise":{}}"#,
                Invalid,
                "needs an IPv6 gateway",
            ),
            (
                r#"bridge.set {"name":"br0","advertise":{"interval_seconds":3}}"#,
                Invalid,
                "use 4 to 1800",
            ),
            (
                r#"bridge.set {"name":"br0","advertise":{"lifetime_seconds":599}}"#,
                Invalid,
                "use 600 to 9000",
            ),
            (
                r#"bridge.set {"name":"br0","gateways":["fd00::1/48"],"advertise":{}}"#,
                Invalid,
                "advertise it with no-autonomous",
            ),
            (r#"bridge.set {"name":"plain","proxy":["10.0.7.0/24"]}"#, Invalid, "add --gateway"),
            (
                r#"bridge.set {"name":"br0","proxy":["10.0.7.0/24","10.0.7.9/32"]}"#,
                Invalid,
                "10.0.7.0/24 and 10.0.7.9/32 overlap",
            ),
        ],
    );
}

#[test]
fn a_route_that_cannot_be_is_refused_with_a_reason() {
    let config = config_of(
        &[&ROUTED[..], &[r#"route.add {"to":"10.9.0.0/16","on":"up","via":["192.0.2.9"]}"#]]
            .concat(),
    );
    let route = |rest: &str| format!("route.add {{{rest}}}");
    let cases = [
        (route(r#""to":"default","on":"br9","via":["192.0.2.9"]"#), NotFound, "bridge br9"),
        (route(r#""to":"default","on":"up","via":[]"#), Invalid, "say --via"),
        (
            route(r#""to":"default","on":"plain","via":["192.0.2.9"]"#),
            Invalid,
            "bridge plain has no",
        ),
        (
            route(r#""to":"default","on":"up","via":["10.0.0.9"]"#),
            Invalid,
            "route 0.0.0.0/0 on up: next hop 10.0.0.9 is in no subnet of the bridge's gateways \
             (192.0.2.1/24, 2001:db8::1/64)",
        ),
        (route(r#""to":"default","on":"up","via":["192.0.2.1"]"#), Invalid, "router's own address"),
        (route(r#""to":"default","on":"up","via":["192.0.2.9","192.0.2.9"]"#), Invalid, "twice"),
        (
            route(r#""to":"default","on":"up","via":["192.0.2.9","fe80::9"]"#),
            Invalid,
            "not of the network's IP version",
        ),
        (route(r#""to":"fd09::/48","on":"up","via":["192.0.2.9"]"#), Invalid, "IP version"),
        (route(r#""to":"192.0.2.0/24","on":"up","via":["192.0.2.9"]"#), Invalid, "own subnet"),
        (route(r#""to":"224.0.0.0/4","on":"up","via":["192.0.2.9"]"#), Invalid, "not routed"),
        (
            route(r#""to":"10.9.0.0/16","on":"up","via":["192.0.2.8"]"#),
            Exists,
            "route 10.9.0.0/16 on up exists already, and is another one; `route del` it first",
        ),
        (r#"route.del {"to":"default","on":"up"}"#.into(), NotFound, "`route list`"),
        (r#"route.allow {"from":"br0","to":"br0"}"#.into(), Invalid, "reaches itself"),
        (r#"route.allow {"from":"br0","to":"br9"}"#.into(), NotFound, "there are: br0"),
        (
            r#"route.allow {"from":"br0","to":"plain"}"#.into(),
            Invalid,
            "give it one with `bridge set plain --gateway`",
        ),
        (r#"route.deny {"from":"br9","to":"br0"}"#.into(), NotFound, "br9"),
    ];
    refuses(&config, &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn a_route_is_added_once_and_default_is_of_the_next_hops_version() {
    let add = r#"route.add {"to":"default","on":"up","via":["192.0.2.9","192.0.2.8"]}"#;
    let six = r#"route.add {"to":"default","on":"up","via":["fe80::9"]}"#;
    let once = config_of(&[&ROUTED[..], &[add, six]].concat());
    assert_eq!(apply(&once, &change(add)).unwrap(), once);
    let routes: Vec<_> = once.routes[&bridge("up")].keys().map(ToString::to_string).collect();
    assert_eq!(routes, ["0.0.0.0/0", "::/0"]);
    let none = apply(&once, &change(r#"route.del {"to":"default","on":"up"}"#)).unwrap();
    assert_eq!(none, routed());
    let del = change(r#"route.del {"to":"default","on":"up","if_exists":true}"#);
    assert_eq!(apply(&none, &del).unwrap(), none);
    assert_eq!(Destination::Default.network(false).to_string(), "::/0");
}

#[test]
fn bridges_reach_each_other_once_allowed_and_until_denied() {
    let allow = change(r#"route.allow {"from":"br0","to":"br1"}"#);
    let allowed = apply(&routed(), &allow).unwrap();
    assert!(allowed.allowed[&bridge("br0")].contains(&bridge("br1")));
    assert_eq!(apply(&allowed, &allow).unwrap(), allowed);
    let deny = change(r#"route.deny {"from":"br0","to":"br1"}"#);
    assert_eq!(apply(&allowed, &deny).unwrap(), routed());
    assert_eq!(apply(&routed(), &deny).unwrap(), routed());
}

#[test]
fn subnets_may_overlap_only_where_no_rule_joins_them() {
    let twin = r#"bridge.add {"name":"twin","gateways":["10.0.0.1/16"]}"#;
    let config = config_of(&[&ROUTED[..], &[twin]].concat());
    let part = "10.0.0.0/16 on twin overlaps 10.0.0.0/24 on br0";
    refuses(
        &config,
        &[
            (r#"route.allow {"from":"br0","to":"twin"}"#, Invalid, part),
            (r#"nat.add {"rule":{"masquerade":{"from":"br0","to":"twin"}}}"#, Invalid, part),
        ],
    );
    // Both reached from a third.
    let one = apply(&config, &change(r#"route.allow {"from":"up","to":"br0"}"#)).unwrap();
    refuses(
        &one,
        &[
            (
                r#"route.allow {"from":"up","to":"twin"}"#,
                Invalid,
                "10.0.0.0/16 on twin overlaps 10.0.0.0/24 on br0, and what up sends there could go to either",
            ),
            (
                r#"nat.add {"rule":{"publish":{"on":"up","forward":"80:10.0.1.9/tcp"}}}"#,
                Invalid,
                "could go to either",
            ),
        ],
    );
    // A link-local subnet is every bridge's.
    config_of(&[
        r#"bridge.add {"name":"a","gateways":["fe80::1/64"]}"#,
        r#"bridge.add {"name":"b","gateways":["fe80::1/64"]}"#,
        r#"route.allow {"from":"a","to":"b"}"#,
    ]);
}

#[test]
fn what_needs_a_gateway_keeps_it() {
    let config = config_of(&[
        &ROUTED[..],
        &[
            r#"route.add {"to":"default","on":"up","via":["192.0.2.9"]}"#,
            r#"route.allow {"from":"br0","to":"br1"}"#,
            r#"neighbor.add {"bridge":"br0","neighbor":{"ip":"10.0.0.9","mac":"02:00:00:00:00:09"}}"#,
        ],
    ]
    .concat());
    refuses(
        &config,
        &[
            (
                r#"bridge.set {"name":"up","gateways":[]}"#,
                Invalid,
                "routes on up: bridge up has no",
            ),
            (
                r#"bridge.set {"name":"up","gateways":["198.51.100.1/24"]}"#,
                Invalid,
                "route 0.0.0.0/0 on up: next hop 192.0.2.9",
            ),
            (
                r#"bridge.set {"name":"br1","gateways":[]}"#,
                Invalid,
                "route allow br0 br1: bridge br1",
            ),
            (
                r#"bridge.set {"name":"br0","gateways":["fd00::1/64"]}"#,
                Invalid,
                "neighbour 10.0.0.9",
            ),
        ],
    );
}

#[test]
fn a_bridge_in_use_is_not_removed_and_the_error_says_by_what() {
    let config = config_of(
        &[
            &ROUTED[..],
            &[
                r#"port.add {"name":"p0","port":{"bridge":"up","kind":{"tap":{}}}}"#,
                r#"vxlan.add {"name":"vx0","vxlan":{"bridge":"up","vni":7,"local":"203.0.113.1"}}"#,
                r#"route.add {"to":"default","on":"up","via":["192.0.2.9"]}"#,
                r#"route.allow {"from":"br0","to":"up"}"#,
                r#"nat.add {"rule":{"masquerade":{"from":"br0","to":"up"}}}"#,
                r#"flow.add {"priority":1,"match":"bridge=up","actions":"drop"}"#,
            ],
        ]
        .concat(),
    );
    refuses(
        &config,
        &[(
            r#"bridge.del {"name":"up"}"#,
            InUse,
            "bridge up is in use by port p0, vxlan vx0, route 0.0.0.0/0 on up, route allow br0 up, \
         nat rule br0-to-up, rule 0; remove these first",
        )],
    );
}

#[test]
fn a_neighbour_that_cannot_be_is_refused_with_a_reason() {
    let neighbor = |bridge: &str, ip: &str| {
        format!(
            r#"neighbor.add {{"bridge":"{bridge}","neighbor":{{"ip":"{ip}","mac":"02:00:00:00:00:09"}}}}"#
        )
    };
    let cases = [
        (neighbor("br9", "10.0.0.9"), NotFound, "br9"),
        (neighbor("br0", "10.1.0.9"), Invalid, "in no subnet of the bridge's gateways"),
        (neighbor("br0", "10.0.0.1"), Invalid, "the router's own address"),
        (neighbor("br0", "224.0.0.1"), Invalid, "not the address of one host"),
        (r#"neighbor.del {"bridge":"br9","ip":"10.0.0.9"}"#.into(), NotFound, "br9"),
        (r#"neighbor.flush {"bridge":"br9"}"#.into(), NotFound, "br9"),
    ];
    refuses(&routed(), &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn a_neighbour_entered_again_has_the_new_address() {
    let enter = |mac: &str| {
        format!(r#"neighbor.add {{"bridge":"br0","neighbor":{{"ip":"10.0.0.9","mac":"{mac}"}}}}"#)
    };
    let (one, two) = (enter("02:00:00:00:00:01"), enter("02:00:00:00:00:02"));
    let config = config_of(&[&ROUTED[..], &[&one, &two]].concat());
    let neighbors = &config.bridges[&bridge("br0")].neighbors;
    assert_eq!(neighbors.len(), 1);
    assert_eq!(neighbors[0].mac.to_string(), "02:00:00:00:00:02");
    let gone = change(r#"neighbor.del {"bridge":"br0","ip":"10.0.0.9"}"#);
    assert_eq!(apply(&config, &gone).unwrap(), routed());
}

#[test]
fn the_routers_mac_address_comes_of_the_bridges_name_and_never_changes() {
    let config = routed();
    let mac = |config: &Config, name: &str| {
        config.bridges[&bridge(name)].router_mac(&bridge(name)).to_string()
    };
    // These are on other hosts and in other programs' tables: they stay what they are in every version.
    assert_eq!(mac(&config, "br0"), "66:19:13:6f:7b:9f");
    assert_eq!(mac(&config, "up"), "3a:07:b5:66:d9:80");
    let set = change(r#"bridge.set {"name":"br0","gateway_mac":"02:00:00:00:00:07"}"#);
    let own = apply(&config, &set).unwrap();
    assert_eq!(mac(&own, "br0"), "02:00:00:00:00:07");
    let again = apply(&own, &change(r#"bridge.set {"name":"br0","gateway_mac":null}"#)).unwrap();
    assert_eq!(again, config);
}

/// A bridge with ports, of which two VLANs have gateways.
const WITH_VLANS: [&str; 5] = [
    r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24"]}"#,
    r#"bridge.add {"name":"a20","vlan_of":{"bridge":"br0","vlan":20},"gateways":["10.0.20.1/24"]}"#,
    r#"bridge.add {"name":"z30","vlan_of":{"bridge":"br0","vlan":30},"gateways":["10.0.30.1/24"]}"#,
    r#"route.allow {"from":"a20","to":"z30"}"#,
    r#"port.add {"name":"p","port":{"bridge":"br0","vlan":{"access":20},"kind":{"tap":{"ips":["10.0.20.2/24"]}}}}"#,
];

#[test]
fn a_vlan_that_the_router_takes_for_a_bridge_has_no_more_than_what_is_the_routers() {
    let config = config_of(&WITH_VLANS);
    let vlan_of = |bridge: &str, vlan: u16, rest: &str| {
        format!(
            r#"bridge.add {{"name":"v","vlan_of":{{"bridge":"{bridge}","vlan":{vlan}}}{rest}}}"#
        )
    };
    let cases = [
        (vlan_of("br9", 20, ""), NotFound, "bridge br9 does not exist"),
        (vlan_of("a20", 40, ""), Invalid, "bridge a20 is a VLAN itself"),
        (vlan_of("v", 40, ""), Invalid, "bridge v is a VLAN itself"),
        (vlan_of("br0", 20, ""), Exists, "is VLAN 20 of bridge br0 already"),
        (vlan_of("br0", 40, r#","mtu":1400"#), Invalid, "set them on bridge br0"),
        (vlan_of("br0", 40, r#","ageing_seconds":60"#), Invalid, "set them on bridge br0"),
        (r#"bridge.set {"name":"a20","mac_limit":5}"#.into(), Invalid, "set them on bridge br0"),
        (r#"bridge.del {"name":"br0"}"#.into(), InUse, "bridge a20, bridge z30"),
        (r#"network.create {"name":"a20"}"#.into(), Exists, "there is one that is not its"),
        (
            r#"port.add {"name":"q","port":{"bridge":"a20","kind":{"tap":{}}}}"#.into(),
            Invalid,
            "bridge a20 is VLAN 20 of bridge br0, whose ports it has",
        ),
        (
            r#"vxlan.add {"name":"x","vxlan":{"bridge":"a20","vni":7,"local":"192.0.2.1"}}"#.into(),
            Invalid,
            "name bridge br0, and VLAN 20",
        ),
        (
            r#"fdb.add {"bridge":"a20","station":{"mac":"02:00:00:00:00:01","vlan":20,"port":"p"}}"#
                .into(),
            Invalid,
            "set them on bridge br0",
        ),
        (
            r#"bridge.set {"name":"a20","gateways":["10.0.20.2/24"]}"#.into(),
            Exists,
            "port p: 10.0.20.2 is the address of bridge a20's gateway",
        ),
        (
            r#"bridge.set {"name":"z30","gateways":["10.0.20.1/24"]}"#.into(),
            Invalid,
            "could go to either",
        ),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(text, code, why)| (text.as_str(), *code, *why)).collect();
    refuses(&config, &cases);
}

#[test]
fn a_bridge_comes_before_its_vlans_and_goes_after_them() {
    let (empty, full) = (Config::default(), config_of(&WITH_VLANS));
    let names = |from: &Config, to: &Config| -> Vec<String> {
        let steps = ctl::plan(from, to).into_iter().filter_map(|step| match step {
            ctl::Action::PutBridge(name, _) | ctl::Action::RemoveBridge(name) => {
                Some(name.to_string())
            }
            _ => None,
        });
        steps.collect()
    };
    assert_eq!(names(&empty, &full), ["br0", "a20", "z30"]);
    assert_eq!(names(&full, &empty), ["a20", "z30", "br0"]);
}

#[test]
fn what_is_behind_a_port_is_on_the_vlan_of_its_untagged_frames() {
    let config = config_of(&WITH_VLANS);
    let domain = |vlan: &str| {
        let text = format!(r#"{{"bridge":"br0","vlan":{vlan},"kind":{{"tap":{{}}}}}}"#);
        let port: ctl::Port = serde_json::from_str(&text).unwrap();
        config.domain_of(&port).to_string()
    };
    assert_eq!(domain(r#""unaware""#), "br0");
    assert_eq!(domain(r#"{"access":20}"#), "a20");
    assert_eq!(domain(r#"{"access":21}"#), "br0");
    assert_eq!(domain(r#"{"trunk":{"allowed":"20,30"}}"#), "br0");
    assert_eq!(domain(r#"{"trunk":{"allowed":"20","native":30}}"#), "z30");
}

#[test]
fn a_bridge_need_not_be_told_apart_from_itself() {
    let publish =
        r#"nat.add {"rule":{"publish":{"on":"br0","forward":"127.0.0.1:9000:10.0.0.2:9000/tcp"}}}"#;
    assert_eq!(config_of(&[ROUTED[0], publish]).nat.len(), 1);
}
