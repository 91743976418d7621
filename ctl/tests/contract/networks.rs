//! Networks: what they are made of, and that nothing of theirs is changed behind their back.

use ctl::ErrorCode::{Exists, InUse, Invalid, NotFound, Unavailable};
use ctl::response::{EndpointInfo, LeaseInfo, NetworkInfo};
use ctl::{BridgeName, Config, IpamFilter, PortName, apply};

use crate::apply::{change, config_of, refuses};

pub(crate) const WEB: &str =
    r#"network.create {"name":"web","subnets":["10.1.0.0/24","fd01::/64"]}"#;
pub(crate) const SMALL: &str = r#"network.create {"name":"small","subnets":["10.2.0.0/30"]}"#;
pub(crate) const SHOP: &str = r#"network.connect {"network":"web","netns":"shop"}"#;
pub(crate) const UPLINK: [&str; 2] = [
    r#"bridge.add {"name":"up","gateways":["192.0.2.1/24","2001:db8::1/64"]}"#,
    r#"route.add {"to":"default","on":"up","via":["192.0.2.9"]}"#,
];

pub(crate) fn after(config: &Config, text: &str) -> Config {
    apply(config, &change(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn endpoint(config: &Config, port: &str) -> EndpointInfo {
    EndpointInfo::of(config, &port.parse().unwrap()).unwrap()
}

pub(crate) fn addresses(config: &Config, port: &str) -> Vec<String> {
    let has = endpoint(config, port).addresses;
    has.iter().map(|one| one.address.to_string()).collect()
}

pub(crate) fn rules(config: &Config) -> Vec<&str> {
    config.nat.keys().map(ctl::RuleName::as_str).collect()
}

pub(crate) fn info(config: &Config, name: &str) -> NetworkInfo {
    NetworkInfo::of(config, &name.parse().unwrap()).unwrap()
}

#[test]
fn a_network_is_a_bridge_with_gateways() {
    let config = config_of(&[WEB]);
    let bridge = &config.bridges[&"web".parse::<BridgeName>().unwrap()];
    let gateways: Vec<_> = bridge.gateways.iter().map(ToString::to_string).collect();
    assert_eq!(gateways, ["10.1.0.1/24", "fd01::1/64"]);
    assert_eq!(after(&config, r#"network.rm {"name":"web"}"#), Config::default());
}

#[test]
fn a_network_is_made_once_and_what_is_not_said_is_no_difference() {
    let config = config_of(&[WEB]);
    for text in
        [WEB, r#"network.create {"name":"web"}"#, r#"network.create {"name":"web","ipv6":true}"#]
    {
        assert_eq!(after(&config, text), config, "{text}");
    }
    let otherwise = |rest: &str| format!(r#"network.create {{"name":"web",{rest}}}"#);
    let cases = [
        otherwise(r#""subnets":["10.9.0.0/24"]"#),
        otherwise(r#""gateways":["10.1.0.9"]"#),
        otherwise(r#""no_gateway":true"#),
        otherwise(r#""settings":{"internal":true}"#),
    ];
    refuses(
        &config,
        &cases.each_ref().map(|text| (text.as_str(), Exists, "change it with `network set`")),
    );
}

#[test]
fn a_network_that_cannot_be_is_refused_with_a_reason() {
    let create = |rest: &str| format!(r#"network.create {{"name":"x",{rest}}}"#);
    let cases = [
        (create(r#""subnets":["10.9.0.0/24","10.9.0.0/25"]"#), Invalid, "overlap"),
        (
            create(r#""subnets":["10.9.0.0/24"],"gateways":["10.8.0.1"]"#),
            Invalid,
            "is in no subnet",
        ),
        (create(r#""subnets":["10.9.0.0/24"],"gateways":["10.9.0.0"]"#), Invalid, "broadcast"),
        (
            create(r#""subnets":["10.9.0.0/24"],"ranges":["10.8.0.0/25"]"#),
            Invalid,
            "is in no subnet",
        ),
        (
            create(r#""subnets":["10.9.0.0/24"],"ranges":["10.9.0.9-10.9.1.9"]"#),
            Invalid,
            "is not in it",
        ),
        (create(r#""subnets":["10.9.0.9/32"]"#), Invalid, "no room"),
        (create(r#""subnets":["224.0.0.0/24"]"#), Invalid, "is not the address of one host"),
        (create(r#""avoid":["0.0.0.0/0"]"#), Unavailable, "give one with --subnet"),
        (WEB.replace("\"web\"", "\"br0\""), Exists, "there is one that is not its"),
        (r#"network.rm {"name":"x"}"#.into(), NotFound, "there are: small, web"),
        (r#"network.set {"name":"web","remotes":[]}"#.into(), Invalid, "has no tunnel"),
    ];
    let config = config_of(&[WEB, SMALL, r#"bridge.add {"name":"br0"}"#]);
    refuses(&config, &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn subnets_are_chosen_where_nobody_is() {
    let config = config_of(&[
        r#"network.create {"name":"a"}"#,
        r#"bridge.add {"name":"b","gateways":["10.210.1.9/24"]}"#,
        r#"pool.add {"subnet":"10.210.2.0/24"}"#,
        r#"network.create {"name":"c","ipv6":true,"avoid":["10.210.3.0/30"]}"#,
    ]);
    let subnets = info(&config, "c").subnets;
    assert_eq!(subnets[0].subnet.to_string(), "10.210.4.0/24");
    assert_eq!((subnets.len(), subnets[1].subnet.is_ipv4()), (2, false));
}

#[test]
fn networks_follow_the_uplinks() {
    let config = config_of(&[&[WEB][..], &UPLINK].concat());
    assert_eq!(rules(&config), ["web-to-up"]);
    assert!(
        matches!(&config.nat.values().next(), Some(ctl::NatRule::Masquerade(rule)) if rule.ipv6)
    );
    assert_eq!(info(&config, "web").uplinks.len(), 1);
    let closed = after(&config, r#"network.set {"name":"web","internal":true}"#);
    assert!(rules(&closed).is_empty());
    assert_eq!(
        rules(&after(&closed, r#"network.set {"name":"web","internal":false}"#)),
        ["web-to-up"]
    );
    let gone = after(&config, r#"route.del {"to":"default","on":"up"}"#);
    assert!(rules(&gone).is_empty());
    let second = config_of(&[&UPLINK[..], &[WEB, SMALL]].concat());
    assert_eq!(rules(&second), ["small-to-up", "web-to-up"]);
    assert_eq!(rules(&after(&second, r#"network.rm {"name":"web"}"#)), ["small-to-up"]);
}

#[test]
fn a_rule_that_has_the_name_already_is_left_alone() {
    let config = config_of(&[
        UPLINK[0],
        r#"bridge.add {"name":"br0","gateways":["10.7.0.1/24"]}"#,
        r#"nat.add {"name":"web-to-up","rule":{"masquerade":{"from":"br0","to":"up"}}}"#,
        WEB,
        UPLINK[1],
    ]);
    assert_eq!(rules(&config), ["web-to-up", "web-to-up-2"]);
}

#[test]
fn what_is_a_networks_is_changed_through_it_only() {
    let overlay = r#"network.create {"name":"all","subnets":["10.3.0.0/24"],
                     "settings":{"vxlan":{"vni":7,"local":"192.0.2.1"}}}"#;
    let config = config_of(&[&[WEB, overlay, SHOP][..], &UPLINK].concat());
    let cases = [
        (r#"bridge.del {"name":"web"}"#, InUse, "`network rm`"),
        (r#"bridge.set {"name":"web","gateways":[]}"#, InUse, "`network set`"),
        (r#"nat.del {"name":"web-to-up"}"#, InUse, "is network web's"),
        (r#"nat.add {"rule":{"masquerade":{"from":"web","to":"up"}}}"#, InUse, "is network web's"),
        (r#"vxlan.del {"name":"all"}"#, InUse, "is network all's"),
        (r#"vxlan.set {"name":"all","ttl":3}"#, InUse, "is network all's"),
        (
            r#"port.add {"name":"x","port":{"bridge":"web","kind":{"tap":{"netns":"y","ips":["10.1.0.9/24"]}}}}"#,
            InUse,
            "`network connect --ip`",
        ),
        (r#"bridge.del {"name":"up"}"#, InUse, "nat rule web-to-up"),
    ];
    refuses(&config, &cases);
    let by_hand = after(&config, r#"network.set {"name":"web","masquerade":false}"#);
    let by_hand = after(&by_hand, cases[3].0);
    refuses(
        &by_hand,
        &[(r#"network.set {"name":"web","masquerade":true}"#, InUse, "`nat del` it")],
    );
}

#[test]
fn the_tunnel_of_a_network_follows_it() {
    let overlay = r#"network.create {"name":"all","subnets":["10.3.0.0/24"],
                     "settings":{"vxlan":{"vni":7,"local":"192.0.2.1"}}}"#;
    let config = config_of(&[overlay]);
    assert_eq!(info(&config, "all").mtu, 1450);
    let set = after(&config, r#"network.set {"name":"all","remotes":["192.0.2.2"]}"#);
    assert_eq!(set.vxlans[&"all".parse::<PortName>().unwrap()].remotes.len(), 1);
    assert_eq!(after(&set, r#"network.rm {"name":"all"}"#), Config::default());
}

#[test]
fn a_network_in_use_is_not_removed() {
    let owned = r#"network.connect {"network":"web","netns":"db","owner":"0a1b/eth0"}"#;
    let config =
        config_of(&[WEB, SMALL, SHOP, owned, r#"route.allow {"from":"small","to":"web"}"#]);
    let cases = [
        (r#"network.rm {"name":"web"}"#, InUse, "has endpoints"),
        (r#"network.rm {"name":"small"}"#, InUse, "is in use by route allow small web"),
    ];
    refuses(&config, &cases);
}

#[test]
fn isolation_is_that_of_all_containers() {
    let config = config_of(&[WEB, SHOP, r#"network.set {"name":"web","isolated":true}"#]);
    let isolated = |config: &Config| config.ports.values().filter(|port| port.isolated).count();
    assert_eq!(isolated(&config), 1);
    let next = after(&config, r#"network.connect {"network":"web","netns":"db"}"#);
    assert_eq!(isolated(&next), 2);
    assert_eq!(isolated(&after(&next, r#"network.set {"name":"web","isolated":false}"#)), 0);
}

#[test]
fn a_subnet_that_was_kept_is_taken_over_with_its_leases() {
    let keep = r#"pool.add {"subnet":"10.1.0.0/24","gateway":"10.1.0.254"}"#;
    let request = r#"ipam.request {"owner":"alice","subnet":"10.1.0.0/24"}"#;
    let kept = config_of(&[keep, request]);
    assert_eq!(after(&after(&kept, keep), request), kept, "safe to repeat");
    let config = after(&kept, WEB);
    assert!(config.pools.is_empty());
    assert_eq!(info(&config, "web").subnets[0].leases, 1);
    let bridge = &config.bridges[&"web".parse::<BridgeName>().unwrap()];
    assert_eq!(bridge.gateways[0].to_string(), "10.1.0.254/24");
    let overlapping = r#"pool.add {"subnet":"10.1.0.128/25"}"#;
    refuses(&config, &[(overlapping, Exists, "overlaps network web's 10.1.0.0/24")]);
    refuses(&config, &[(r#"pool.del {"name":"10.1.0.0/24"}"#, NotFound, "or is a network's")]);
    refuses(&config, &[(request.replace("10.1", "10.8").as_str(), NotFound, "no such subnet")]);
}

#[test]
fn a_part_of_a_bridges_subnet_may_be_kept_for_a_routed_network() {
    let kept = config_of(&[
        r#"bridge.add {"name":"up","gateways":["192.0.2.2/24"]}"#,
        r#"route.add {"to":"0.0.0.0/0","on":"up","via":["192.0.2.1"]}"#,
        r#"pool.add {"subnet":"192.0.2.128/26"}"#,
    ]);
    let routed = r#"network.create {"name":"dmz","subnets":["192.0.2.128/26"],"settings":{"shape":"routed"}}"#;
    assert!(after(&kept, routed).pools.is_empty());
    // Another network would share it with the uplink, and is told so.
    let bridged = r#"network.create {"name":"dmz","subnets":["192.0.2.128/26"]}"#;
    refuses(&kept, &[(bridged, Invalid, "subnets that do not overlap")]);
}

#[test]
fn a_network_that_is_there_gets_no_interface_of_the_host_by_being_made_again() {
    let config = config_of(&[WEB]);
    let with = WEB.replace('}', r#","host_port":{}}"#);
    refuses(&config, &[(&with, Exists, "`network set --host-port` makes it")]);
    let set = after(&config, r#"network.set {"name":"web","host_port":{}}"#);
    assert_eq!(after(&set, &with), set);
}

#[test]
fn the_host_itself_is_on_a_network_and_keeps_nobody_from_removing_it() {
    let hosts = |config: &Config| -> Vec<(String, String, Vec<String>)> {
        let hosts = info(config, "web").endpoints.into_iter().filter(|endpoint| endpoint.host);
        let facts = |host: EndpointInfo| {
            let name = host.port.as_str().to_owned();
            (name.clone(), host.ifname.to_string(), addresses(config, &name))
        };
        hosts.map(facts).collect()
    };
    let one = |port: &str, ifname: &str, ips: [&str; 2]| {
        (port.to_owned(), ifname.to_owned(), ips.map(str::to_owned).to_vec())
    };
    let with = WEB.replace('}', r#","settings":{"isolated":true},"host_port":{}}"#);
    let config = config_of(&[&with]);
    let first = one("web-host", "web", ["10.1.0.2/24", "fd01::2/64"]);
    assert_eq!(hosts(&config), std::slice::from_ref(&first));
    assert_eq!(after(&config, &with), config, "it is safe to repeat");
    let port = &config.ports[&"web-host".parse::<PortName>().unwrap()];
    assert!(!port.isolated, "the host reaches containers that do not reach each other");
    let again = after(&config, r#"network.set {"name":"web","isolated":true}"#);
    assert_eq!(again.ports, config.ports);
    // By hand, with the next addresses or with those that are asked for.
    let by_hand = r#"port.add {"name":"two","port":{"bridge":"web","kind":{"tap":{"ifname":"b","ips":["10.1.0.9/24"]}}}}"#;
    let two = after(&config, by_hand);
    let second = one("two", "b", ["10.1.0.9/24", "fd01::3/64"]);
    assert_eq!(hosts(&two), [second, first]);
    assert_eq!(after(&two, r#"port.del {"name":"two"}"#).ports, config.ports);
    let none = after(&two, r#"network.set {"name":"web","host_port":null}"#);
    assert_eq!(hosts(&none), []);
    assert_eq!(LeaseInfo::all(&none, &IpamFilter::default()), []);
    assert_eq!(after(&two, r#"network.rm {"name":"web"}"#), Config::default());
    let taken = r#"port.add {"name":"x","port":{"bridge":"web","kind":{"tap":{"ifname":"c","ips":["10.1.0.2/24"]}}}}"#;
    let other = r#"network.create {"name":"web","settings":{"isolated":true},"host_port":{"ifname":"other"}}"#;
    refuses(
        &config,
        &[(taken, Exists, "is web-host's already"), (other, Exists, "by interface web;")],
    );
    let long = r#"network.create {"name":"a-network-with-a-long-name","host_port":{}}"#;
    let kernels = r#"network.create {"name":"all","host_port":{}}"#;
    let unnamed = |name| (name, Invalid, "--host-port NAME");
    refuses(&config, &[unnamed(long), unnamed(kernels)]);
}

#[test]
fn a_tunnel_needs_an_end_on_this_host() {
    let create = |vxlan: &str| {
        format!(
            r#"network.create {{"name":"web","subnets":["10.1.0.0/24"],"settings":{{"vxlan":{{"vni":7{vxlan}}}}}}}"#
        )
    };
    let (nobody, remote) = (create(""), create(r#","remotes":["192.0.2.2"]"#));
    refuses(
        &Config::default(),
        &[
            (
                &nobody,
                Invalid,
                "there is no default route, and not one address only; give the host's address with --local",
            ),
            (&remote, Invalid, "no route leads to 192.0.2.2"),
        ],
    );
    let config = config_of(&[&create(r#","local":"192.0.2.1""#)]);
    assert_eq!(config.vxlans[&"web".parse::<PortName>().unwrap()].local.to_string(), "192.0.2.1");
}

#[test]
fn a_network_that_is_otherwise_than_asked_for_is_told_in_what() {
    const SHOP: &str = r#"network.create {"name":"shop","subnets":["10.1.0.0/24","fd01::/64"],
        "ranges":["10.1.0.128/25"],"reserved":["10.1.0.200"],"settings":{"labels":{"a":"b"}}}"#;
    let config = config_of(&[SHOP]);
    let asked = |rest: &str, settings: &str| {
        format!(
            r#"network.create {{"name":"shop","settings":{{"labels":{{"a":"b"}}{settings}}}{rest}}}"#
        )
    };
    assert_eq!(after(&config, &asked(r#","reserved":["10.1.0.200"]"#, "")), config);
    let cases = [
        (r#","ranges":["10.1.0.0/25"]"#, "", "it does not give the range 10.1.0.0-10.1.0.127"),
        (r#","reserved":["10.1.0.201"]"#, "", "it does not reserve 10.1.0.201"),
        (r#","subnets":["10.2.0.0/24"]"#, "", "it has not the subnet 10.2.0.0/24"),
        (r#","gateways":["10.1.0.2"]"#, "", "10.1.0.2 is not its gateway"),
        (r#","no_gateway":true"#, "", "it has gateways"),
        ("", r#","mtu":1400"#, "MTU 1500, not 1400"),
        ("", r#","internal":true"#, "internal false, not true"),
        ("", r#","vxlan":{"vni":7,"local":"192.0.2.1"}"#, "another tunnel"),
    ];
    for (rest, settings, part) in cases {
        let part = format!("network shop exists already, otherwise: {part}");
        refuses(&config, &[(&asked(rest, settings), Exists, &part)]);
    }
}

#[test]
fn what_a_network_cannot_have_twice_or_for_nothing_is_refused() {
    refuses(
        &config_of(&[]),
        &[
            (
                r#"network.create {"name":"a","subnets":["10.1.0.0/24"],"gateways":["10.1.0.1","10.1.0.2"]}"#,
                Invalid,
                "gateways 10.1.0.1 and 10.1.0.2 are both of 10.1.0.0/24",
            ),
            (
                r#"network.create {"name":"a","settings":{"dns":false,"resolvers":["192.0.2.53"]}}"#,
                Invalid,
                "leave out --no-dns or --resolver",
            ),
        ],
    );
}

#[test]
fn a_bridge_does_not_become_the_resolver_of_a_network() {
    let asks = r#"network.create {"name":"a","subnets":["10.1.0.0/24"],"settings":{"resolvers":["192.0.2.53"]}}"#;
    let config = config_of(&[asks, r#"bridge.add {"name":"b"}"#]);
    let refused = "network a: resolver 192.0.2.53 is the gateway of bridge b";
    refuses(
        &config,
        &[(r#"bridge.set {"name":"b","gateways":["192.0.2.53/24"]}"#, Invalid, refused)],
    );
}

#[test]
fn what_is_reserved_in_a_kept_subnet_adds_up_and_goes_with_it() {
    let reserve =
        |addr: &str| format!(r#"pool.add {{"subnet":"10.1.0.0/24","reserved":["{addr}"]}}"#);
    let (one, two) = (reserve("10.1.0.2"), reserve("10.1.0.3"));
    let create = r#"network.create {"name":"a","subnets":["10.1.0.0/24"],"reserved":["10.1.0.2"]}"#;
    let config = config_of(&[&one, &two, &one, create]);
    let pool = &info(&config, "a").subnets[0];
    assert_eq!(pool.reserved, ["10.1.0.2", "10.1.0.3"].map(|addr| addr.parse().unwrap()));
    assert!(LeaseInfo::all(&config, &IpamFilter::default()).is_empty());
}

#[test]
fn a_kept_subnet_that_no_network_has_is_freed_with_what_is_given_out_of_it() {
    let request = r#"ipam.request {"owner":"alice","subnet":"10.1.0.0/24"}"#;
    let keep = |subnet: &str| format!(r#"pool.add {{"subnet":"{subnet}"}}"#);
    let (one, two) = (keep("10.1.0.0/24"), keep("10.2.0.0/24"));
    let create = r#"network.create {"name":"a","subnets":["10.3.0.0/24"]}"#;
    let config = config_of(&[&one, &two, create, request]);
    assert_eq!(after(&config, r#"ipam.free {"network":"a"}"#), config);
    let freed = after(&config, r#"ipam.free {"subnet":"10.1.0.0/24"}"#);
    assert_eq!(freed, config_of(&[&two, create]));
    assert_eq!(after(&config, "ipam.free {}"), config_of(&[create]));
}
