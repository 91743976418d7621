//! What is asked for again, and what may be a slip of the pen: it is done, and told.

use ctl::ErrorCode::{Exists, Invalid};
use ctl::{Config, Mutation, apply};

use crate::apply::{change, config_of, refuses};

const BRIDGE: &str = r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24"]}"#;
const WEB: &str = r#"network.create {"name":"web","subnets":["10.1.0.0/24"]}"#;
const SHOP: &str = r#"network.connect {"network":"web","netns":"shop"}"#;

fn after(config: &Config, text: &str) -> Config {
    apply(config, &change(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_port_that_is_asked_for_again_just_so_is_left_as_it_is() {
    let cases = [
        r#"port.add {"name":"up0","port":{"bridge":"up0","shared":true,"kind":{"netdev":{"device":"eth0"}}}}"#,
        r#"port.add {"name":"v0","port":{"bridge":"br0","kind":{"netdev":{"device":"v0","mode":"gso"}},"vlan":{"access":7}}}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","guard":true,"kind":{"tap":{"netns":"a","ips":["10.0.0.2/24"],
            "gateways":["10.0.0.1"]}},"egress":{"rate":"1gbit"},"ingress":{"rate":"1mbit","burst_bytes":131072}}}"#,
        r#"port.add {"name":"h0","port":{"bridge":"web","kind":{"tap":{"ifname":"shop0"}}}}"#,
        r#"port.add {"name":"h1","port":{"bridge":"web","kind":{"tap":{"ifname":"shop1","ips":["10.1.0.9/24"]}}}}"#,
    ];
    for text in cases {
        let config = config_of(&[BRIDGE, WEB, text]);
        assert_eq!(after(&config, text), config, "{text}");
    }
    // What was left open is no difference, and neither is where an engine took an interface.
    let handed = r#"port.add {"name":"e0","port":{"bridge":"br0","kind":{"tap":{"ifname":"e0","mac":"02:00:00:00:00:01","handover":true}}}}"#;
    let moved = config_of(&[BRIDGE, handed, r#"port.set {"name":"e0","netns":"/run/x"}"#]);
    assert_eq!(after(&moved, handed), moved);
}

#[test]
fn a_port_that_is_there_otherwise_is_told_with_what_differs() {
    let tap = r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"netns":"a"}}}}"#;
    let egress = r#"port.set {"name":"p0","egress":{"rate":"1gbit","queue_bytes":131072}}"#;
    let config = config_of(&[BRIDGE, WEB, tap, egress]);
    let other = |from: &str, to: &str| tap.replace(from, to);
    let cases = [
        (other("br0", "web"), "otherwise: bridge br0, not web; "),
        (other(r#""a""#, r#""b""#), "otherwise: namespace a, not b; "),
        (
            other(r#""netns":"a""#, r#""netns":"a","ifname":"e1","queues":2"#),
            "otherwise: interface eth0, not e1; queues 1, not 2; ",
        ),
        (
            other(r#""netns":"a""#, r#""netns":"a","ips":["10.0.0.2/24"]"#),
            "otherwise: addresses none, not 10.0.0.2/24; ",
        ),
        (
            other(r#"{"bridge""#, r#"{"isolated":true,"mtu":1400,"bridge""#),
            "MTU the bridge's, not 1400; isolated false, not true; ",
        ),
        (
            tap.to_owned(),
            "otherwise: egress rate 1gbit with 131072 bytes waiting, not none; change it with `port set`",
        ),
        (
            other(r#""tap":{"netns":"a"}"#, r#""netdev":{"device":"v0"}"#),
            "otherwise: an interface that the switch made, not one that is there without it; ",
        ),
    ];
    for (text, part) in cases {
        refuses(&config, &[(&text, Exists, part)]);
    }
}

#[test]
fn who_is_not_there_to_be_taken_away_is_told_with_who_is() {
    let config = config_of(&[WEB, BRIDGE, SHOP, r#"attach {"netns":"db","bridge":"br0"}"#]);
    let detached = |text: &str| match change(text) {
        Mutation::Detach(detach) => config.not_attached(&detach),
        Mutation::NetworkDisconnect(request) => config.not_connected(&request),
        other => panic!("{other:?}"),
    };
    for (text, told) in [
        (
            r#"detach {"netns":"bd"}"#,
            "namespace bd was not attached by eth0; attached: db (eth0), shop (eth0)",
        ),
        (
            r#"network.disconnect {"network":"web","netns":"db"}"#,
            "namespace db was not on network web; on it: shop (eth0)",
        ),
        (
            r#"network.disconnect {"network":"web","netns":"shop","ifname":"eth1"}"#,
            "namespace shop was not on network web by eth1; on it: shop (eth0)",
        ),
    ] {
        assert_eq!(detached(text).as_deref(), Some(told));
        assert_eq!(after(&config, text), config, "{text}");
    }
    for text in
        [r#"detach {"netns":"db"}"#, r#"network.disconnect {"network":"web","netns":"shop"}"#]
    {
        assert_eq!(detached(text), None, "{text}");
    }
}

#[test]
fn a_published_port_that_leads_to_nobody_is_told_unless_somebody_may_have_the_address() {
    let outside = r#"bridge.add {"name":"up","gateways":["192.0.2.1/24"]}"#;
    let to = |config: &Config, container: &str| {
        let text = format!(
            r#"nat.add {{"rule":{{"publish":{{"on":"up","forward":"80:{container}:80"}}}}}}"#
        );
        let Mutation::NatAdd(add) = change(&text) else { panic!("{text}") };
        after(config, &text).notes_on_publishing(&add.rule)
    };
    let config = config_of(&[outside, WEB, BRIDGE, SHOP]);
    assert!(to(&config, "10.1.0.2").is_empty());
    let told = "the switch has given 10.1.0.7 to nobody on web yet; the port leads there when somebody has it";
    assert_eq!(to(&config, "10.1.0.7"), [told]);
    assert_eq!(to(&config, "10.0.0.7").len(), 1);
    for somebody in [
        r#"port.add {"name":"v0","port":{"bridge":"br0","kind":{"netdev":{"device":"v0"}}}}"#,
        r#"attach {"netns":"vm","bridge":"br0"}"#,
        r#"neighbor.add {"bridge":"br0","neighbor":{"ip":"10.0.0.7","mac":"02:00:00:00:00:01"}}"#,
        r#"vxlan.add {"name":"vx0","vxlan":{"bridge":"br0","vni":7,"local":"192.0.2.1"}}"#,
    ] {
        assert!(to(&after(&config, somebody), "10.0.0.7").is_empty(), "{somebody}");
    }
}

#[test]
fn a_subnet_without_the_length_of_its_prefix_is_told_how_it_is_written() {
    let create = |rest: &str| format!(r#"network.create {{"name":"x","subnets":{rest}}}"#);
    for (text, told) in [
        (create(r#"["10.1.0.0"]"#), "subnet 10.1.0.0/32: it has no room"),
        (create(r#"["10.1.0.0"],"gateways":["10.1.0.1"]"#), "its prefix, such as 10.1.0.0/24"),
        (create(r#"["fd00::7"]"#), "its prefix, such as fd00::/64"),
        (r#"pool.add {"subnet":"10.1.0.9"}"#.to_owned(), "such as 10.1.0.0/24"),
    ] {
        refuses(&Config::default(), &[(&text, Invalid, told)]);
    }
}
