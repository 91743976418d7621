//! Address translation, and what sessions are kept by.

use ctl::ErrorCode::{Exists, Invalid, NotFound};
use ctl::{Config, Forward, Masquerade, Mutation, NatRule, PortRange, apply};

use crate::apply::{change, config_of, refuses};
use crate::networks::{SHOP, UPLINK, WEB, after, rules};
use crate::routing::ROUTED;

fn with(rules: &[&str]) -> Config {
    let rules: Vec<_> = rules.iter().map(|rule| format!("nat.add {{{rule}}}")).collect();
    let rules: Vec<_> = rules.iter().map(String::as_str).collect();
    config_of(&[&ROUTED[..], &[MORE], &rules].concat())
}

fn check_refused(config: &Config, cases: &[(&str, ctl::ErrorCode, &str)]) {
    let requests: Vec<_> = cases.iter().map(|(rule, ..)| format!("nat.add {{{rule}}}")).collect();
    let cases =
        requests.iter().zip(cases).map(|(request, case)| (request.as_str(), case.1, case.2));
    refuses(config, &cases.collect::<Vec<_>>());
}

/// Addresses besides the gateways' for which the router answers.
const MORE: &str = r#"bridge.set {"name":"up","proxy":["192.0.2.8/31","2001:db8::9/128"]}"#;
const MASQUERADE: &str = r#""rule":{"masquerade":{"from":"br0","to":"up"}}"#;
const PUBLISH: &str = r#""rule":{"publish":{"on":"up","forward":"8080:10.0.0.2:80/tcp"}}"#;
const PREFIX: &str = r#""rule":{"prefix":{"from":"br0","to":"up","inside":"fd00::/64",
    "outside":"2001:db8:1::/64"}}"#;

#[test]
fn a_masquerade_that_cannot_be_is_refused_with_a_reason() {
    let more = |rest: &str| {
        format!(r#""name":"x","rule":{{"masquerade":{{"from":"br0","to":"up",{rest}}}}}"#)
    };
    let cases = [
        (MASQUERADE.replace("up", "br0"), Invalid, "nothing is translated within a bridge"),
        (MASQUERADE.replace("up", "br9"), NotFound, "bridge br9"),
        (MASQUERADE.replace("br0", "plain"), Invalid, "bridge plain has no gateway address"),
        (MASQUERADE.replace("up", "plain"), Invalid, "bridge plain has no IPv4 address to use"),
        (more(r#""port_quota":0"#), Invalid, "a quota of 0"),
        (more(r#""session_quota":0"#), Invalid, "a quota of 0"),
        (more(r#""ipv6":true,"addresses":"192.0.2.9""#), Invalid, "a rule for each IP version"),
        (
            more(r#""addresses":"192.0.2.200-192.0.2.255""#),
            Invalid,
            "include 192.0.2.255, which is a subnet's own or its broadcast address",
        ),
        (
            more(r#""addresses":"192.0.2.9,192.0.2.250-192.0.2.255""#),
            Invalid,
            "include 192.0.2.255, which is a subnet's own or its broadcast address",
        ),
        (
            more(r#""addresses":"198.18.0.1-198.18.3.254,198.18.5.1-198.18.5.3""#),
            Invalid,
            "1025 addresses of one masquerade are too many; give 1024 at most",
        ),
    ];
    let cases = cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part));
    check_refused(&with(&[]), &cases);
    check_refused(
        &with(&[MASQUERADE]),
        &[
            (
                r#""name":"again","rule":{"masquerade":{"from":"br0","to":"up"}}"#,
                Exists,
                "nat rules again and br0-to-up are both for IPv4 from br0 to up",
            ),
            (
                r#""name":"br0-to-up","rule":{"masquerade":{"from":"br1","to":"up"}}"#,
                Exists,
                "give this one another name",
            ),
        ],
    );
}

#[test]
fn each_ip_version_is_masqueraded_by_one_rule() {
    let six =
        r#""name":"six","rule":{"masquerade":{"from":"br0","to":"up","addresses":"2001:db8::9"}}"#;
    with(&[MASQUERADE, six]);
    with(&[MASQUERADE, PREFIX]);
    let both = r#""name":"both","rule":{"masquerade":{"from":"br1","to":"up","ipv6":true}}"#;
    let prefix = PREFIX.replace("br0", "br1").replace("fd00", "fd01");
    let clash = "are both for IPv6 from br1 to up";
    check_refused(&with(&[both]), &[(&prefix, Exists, clash)]);
}

#[test]
fn a_published_port_that_cannot_be_is_refused_with_a_reason() {
    let forward = |forward: &str| {
        format!(r#""name":"x","rule":{{"publish":{{"on":"up","forward":"{forward}"}}}}"#)
    };
    let cases = [
        (PUBLISH.replace("up", "br9"), NotFound, "bridge br9"),
        (PUBLISH.replace("up", "plain"), Invalid, "bridge plain has no IPv4 address to use"),
        (forward("80:10.7.0.2/tcp"), Invalid, "in the subnet of no other bridge"),
        (forward("80:192.0.2.7/tcp"), Invalid, "in the subnet of no other bridge"),
        (forward("80:10.0.0.1/tcp"), Invalid, "container 10.0.0.1 is the router's own address"),
        (forward("80:255.255.255.255/tcp"), Invalid, "not the address of one host"),
        (
            r#""rule":{"publish":{"on":"up","to":"up","forward":"80:192.0.2.7/tcp"}}"#.into(),
            Invalid,
            "cannot be on up itself",
        ),
        (
            r#""rule":{"publish":{"on":"up","to":"br1","forward":"80:10.0.0.2/tcp"}}"#.into(),
            Invalid,
            "in no subnet of bridge br1's gateways",
        ),
    ];
    let cases = cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part));
    check_refused(&with(&[]), &cases);
}

#[test]
fn a_port_is_published_at_an_address_that_leads_to_the_switch() {
    let at = |address: &str| {
        let forward = format!("{address}:80:10.0.0.2/tcp");
        format!(r#""rule":{{"publish":{{"on":"up","to":"br0","forward":"{forward}"}}}}"#)
    };
    let lent =
        r#""rule":{"masquerade":{"from":"br0","to":"up","addresses":"192.0.2.20-192.0.2.22"}}"#;
    let config = with(&[lent]);
    for other in ["192.0.2.99", "198.51.100.7", "10.0.0.1"] {
        let part = format!("{other} is no address of bridge up (192.0.2.1 2001:db8::1)");
        check_refused(&config, &[(&at(other), Invalid, &part)]);
    }
    for own in ["192.0.2.1", "192.0.2.9", "192.0.2.22", "127.0.0.1"] {
        apply(&config, &change(&format!("nat.add {{{}}}", at(own)))).expect(own);
    }
    // One that was is kept, and may be said again.
    let gone = r#"bridge.set {"name":"up","gateways":["192.0.2.2/24"]}"#;
    let add = format!("nat.add {{{}}}", at("192.0.2.1"));
    let config = config_of(&[&ROUTED[..], &[&add, gone]].concat());
    assert_eq!(apply(&config, &change(&add)).unwrap(), config);
}

#[test]
fn a_port_outside_leads_to_one_container() {
    let config = with(&[
        PUBLISH,
        r#""rule":{"publish":{"on":"up",
        "forward":"192.0.2.9:5000-5010:10.0.0.2/udp"}}"#,
    ]);
    let forward = |forward: &str| {
        format!(r#""name":"x","rule":{{"publish":{{"on":"up","forward":"{forward}"}}}}"#)
    };
    for taken in [
        "8080:10.0.0.3/tcp",
        "192.0.2.1:8080:10.0.0.3/tcp",
        "8000-8080:10.0.0.3/tcp",
        "8080-9000:10.0.0.3/tcp",
        "192.0.2.9:5010:10.0.0.3/udp",
        "4000-6000:10.0.0.3/udp",
    ] {
        let told =
            "already, by nat rule up-8080-tcp; publish at another port, or `nat del` it first";
        let told = if taken.ends_with("tcp") { told } else { "5000-5010 on up leads to 10.0.0.2" };
        check_refused(&config, &[(&forward(taken), Exists, told)]);
    }
    for free in [
        "8080:10.0.0.3/udp",
        "8081-9000:10.0.0.3/tcp",
        "8080:[fd00::3]/tcp",
        "192.0.2.8:5000-5010:10.0.0.3/udp",
        "5000-5010:10.0.0.3/tcp",
    ] {
        apply(&config, &change(&format!("nat.add {{{}}}", forward(free)))).expect(free);
    }
    let elsewhere = r#"nat.add {"rule":{"publish":{"on":"br1","forward":"8080:10.0.0.2:80/tcp"}}}"#;
    apply(&config, &change(elsewhere)).unwrap();
}

#[test]
fn the_containers_bridge_is_found_by_its_address_unless_there_are_two() {
    let config = with(&[PUBLISH]);
    let Some(NatRule::Publish(rule)) = config.nat.values().next() else { panic!("{config:?}") };
    assert_eq!(config.container_bridge(rule).unwrap().as_str(), "br0");
    let twin = r#"bridge.add {"name":"twin","gateways":["10.0.0.1/24"]}"#;
    let twins = config_of(&[&ROUTED[..], &[twin]].concat());
    let several = "container 10.0.0.2 can be on each of br0, twin: say on which, with --to";
    check_refused(&twins, &[(PUBLISH, Invalid, several)]);
    let said = PUBLISH.replace(r#""on":"up""#, r#""on":"up","to":"twin""#);
    apply(&twins, &change(&format!("nat.add {{{said}}}"))).unwrap();
    // Making the second one is refused as well.
    refuses(&config, &[(twin, Invalid, several)]);
}

#[test]
fn a_prefix_that_cannot_be_translated_is_refused_with_a_reason() {
    let cases = [
        (PREFIX.replace("\"up\"", "\"br0\""), Invalid, "within a bridge"),
        (PREFIX.replace("\"up\"", "\"plain\""), Invalid, "bridge plain has no gateway"),
        (PREFIX.replace("fd00::/64", "10.0.0.0/24"), Invalid, "use `nat masquerade`"),
        (PREFIX.replace("fd00::/64", "fd00::/48"), Invalid, "of the same length"),
        (PREFIX.replace("::/64", "::/96"), Invalid, "use 1 to 64"),
        (PREFIX.replace("2001:db8:1::/64", "fd00::/64"), Invalid, "are the same addresses"),
    ];
    let cases = cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part));
    check_refused(&with(&[]), &cases);
    let again = PREFIX.replace("\"rule\"", r#""name":"again","rule""#);
    let inside = again.replace("2001:db8:1::", "2001:db8:2::");
    let outside = again.replace("fd00::", "fd00:0:0:1::");
    check_refused(
        &with(&[PREFIX]),
        &[
            (&inside, Exists, "are both for fd00::/64 inside on br0"),
            (&outside, Exists, "are both for 2001:db8:1::/64 outside on up"),
        ],
    );
}

#[test]
fn a_rule_without_a_name_is_named_after_what_it_does() {
    let six = r#""rule":{"publish":{"on":"up","forward":"[2001:db8::9]:443:[fd00::2]/tcp"}}"#;
    let both = r#""rule":{"publish":{"on":"up","forward":"8080:[fd00::2]:80/tcp"}}"#;
    let range = r#""rule":{"publish":{"on":"up","forward":"192.0.2.9:5000-5010:10.0.0.2/udp"}}"#;
    let config = with(&[MASQUERADE, PUBLISH, PREFIX, six, both, range]);
    let names: Vec<_> = config.nat.keys().map(|name| name.as_str()).collect();
    let expected = [
        "br0-fd00---64",
        "br0-to-up",
        "up-192.0.2.9-5000-5010-udp",
        "up-2001-db8--9-443-tcp",
        "up-8080-tcp",
        "up-8080-tcp-ipv6",
    ];
    assert_eq!(names, expected);
    let Mutation::NatAdd(add) = change(&format!("nat.add {{{PUBLISH}}}")) else { panic!() };
    assert_eq!(add.rule_name().unwrap().as_str(), "up-8080-tcp");
}

#[test]
fn a_rule_is_added_once_and_removed_by_its_name() {
    let config = with(&[MASQUERADE]);
    assert_eq!(apply(&config, &change(&format!("nat.add {{{MASQUERADE}}}"))).unwrap(), config);
    assert_eq!(apply(&config, &change(r#"nat.del {"name":"br0-to-up"}"#)).unwrap(), with(&[]));
    let missing = r#"nat.del {"name":"nobody"}"#;
    refuses(&config, &[(missing, NotFound, "nat rule nobody does not exist; `nat list`")]);
    let maybe = change(r#"nat.del {"name":"nobody","if_exists":true}"#);
    assert_eq!(apply(&config, &maybe).unwrap(), config);
}

#[test]
fn timeouts_are_set_one_by_one() {
    let set = r#"nat.set {"timeouts":{"udp":600,"tcp-established":86400}}"#;
    let config = apply(&with(&[]), &change(set)).unwrap();
    let named = config.tracking.timeouts.named().map(|(_, seconds)| seconds);
    assert_eq!(named, [600, 300, 86_400, 240, 240, 60, 600]);
    assert!(config.tracking.window_checks);
    let off = apply(&config, &change(r#"nat.set {"window_checks":false}"#)).unwrap();
    assert_eq!(
        (off.tracking.timeouts, off.tracking.window_checks),
        (config.tracking.timeouts, false)
    );
    refuses(
        &config,
        &[
            (
                r#"nat.set {"timeouts":{"icmp":0}}"#,
                Invalid,
                "timeout icmp: timeout 0 is out of range",
            ),
            (r#"conn.flush {"bridge":"br9"}"#, NotFound, "br9"),
        ],
    );
}

#[test]
fn a_rule_goes_with_its_port_however_the_port_goes() {
    let publish = |port: &str| {
        format!(
            r#"nat.add {{"rule":{{"publish":{{"on":"up","forward":"8080:10.1.0.2:80","port":"{port}"}}}}}}"#
        )
    };
    let [bridge, route] = UPLINK;
    let before = config_of(&[bridge, route, WEB, SHOP]);
    let config = after(&before, &publish("shop-eth0"));
    assert_eq!(rules(&config), ["up-8080-tcp", "web-to-up"]);
    for removal in [
        r#"port.del {"name":"shop-eth0"}"#,
        r#"network.disconnect {"network":"web","netns":"shop"}"#,
        r#"detach {"netns":"shop"}"#,
    ] {
        assert_eq!(rules(&after(&config, removal)), ["web-to-up"], "{removal}");
    }
    refuses(&before, &[(&publish("other-eth0"), NotFound, "port other-eth0")]);
}

#[test]
fn a_rule_that_goes_with_a_port_leads_to_an_address_of_it() {
    let [bridge, route] = UPLINK;
    let other = r#"network.connect {"network":"web","netns":"other"}"#;
    let config = config_of(&[bridge, route, WEB, SHOP, other]);
    let publish = |container: &str, port: &str| {
        format!(
            r#"nat.add {{"rule":{{"publish":{{"on":"up","forward":"8080:{container}:80","port":"{port}"}}}}}}"#
        )
    };
    let not_its = "10.1.0.3 is port other-eth0's, and not of port shop-eth0 (10.1.0.2 fd01::2)";
    refuses(&config, &[(&publish("10.1.0.3", "shop-eth0"), Invalid, not_its)]);
    after(&config, &publish("10.1.0.2", "shop-eth0"));
    // It may have given itself one more.
    after(&config, &publish("10.1.0.9", "shop-eth0"));
    // Of what is behind an interface of the host no address is known.
    let netdev =
        r#"port.add {"name":"vm","port":{"bridge":"web","kind":{"netdev":{"device":"vm0"}}}}"#;
    after(&after(&config, netdev), &publish("10.1.0.9", "vm"));
}

#[test]
fn a_port_that_is_published_already_is_named_with_where_it_leads() {
    let [bridge, route] = UPLINK;
    let other = r#"network.connect {"network":"web","netns":"other"}"#;
    let first = r#"nat.add {"rule":{"publish":{"on":"up","forward":"8080:10.1.0.2:80","port":"shop-eth0"}}}"#;
    let config = config_of(&[bridge, route, WEB, SHOP, other, first]);
    let same_name = r#"nat.add {"rule":{"publish":{"on":"up","forward":"8080:10.1.0.3:80"}}}"#;
    let another = same_name.replace(r#"{"rule""#, r#"{"name":"a","rule""#);
    let [leads, both] = [
        "tcp port 8080 on up leads to 10.1.0.2:80 of port shop-eth0 already, by nat rule up-8080-tcp; publish at another port",
        "nat rule a: tcp port 8080 on up leads to 10.1.0.2:80 of port shop-eth0 already, by nat rule up-8080-tcp",
    ];
    refuses(&config, &[(same_name, Exists, leads), (&another, Exists, both)]);
    let by_port = r#"nat.del {"name":"8080"}"#;
    refuses(&config, &[(by_port, NotFound, "port 8080 is published by up-8080-tcp")]);
    // Another port by a name that is taken needs another name.
    let elsewhere = another.replace(r#""a""#, r#""up-8080-tcp""#).replace("8080:", "8081:");
    refuses(&config, &[(&elsewhere, Exists, "give this one another name")]);
}

#[test]
fn a_container_without_a_link_in_common_is_found_by_its_networks_subnet() {
    let [bridge, route] = UPLINK;
    let parted = |name: &str, shape: &str, subnet: &str| {
        format!(
            r#"network.create {{"name":"{name}","subnets":["{subnet}"],"settings":{{"shape":"{shape}"}}}}"#
        )
    };
    let (pods, dmz) =
        (parted("pods", "p2p", "10.4.0.0/24"), parted("dmz", "routed", "192.0.2.128/26"));
    let config = config_of(&[bridge, route, &pods, &dmz]);
    let publish = |address: &str, container: &str| {
        format!(
            r#"nat.add {{"rule":{{"publish":{{"on":"dmz","forward":"{address}8080:{container}:80"}}}}}}"#
        )
    };
    // An address of the routed network is of the uplink's subnet as well, and nobody's there.
    for container in ["10.4.0.2", "192.0.2.130"] {
        after(&config, &publish("127.0.0.1:", container));
    }
    let backend = |at: &str| {
        format!(
            r#"service.add {{"name":"s","service":{{"listen":"10.96.0.1:80/tcp","backends":[{{"at":"{at}:80"}}]}}}}"#
        )
    };
    for at in ["10.4.0.2", "192.0.2.130", "192.0.2.7"] {
        after(&config, &backend(at));
    }
    refuses(&config, &[(&backend("10.4.1.2"), Invalid, "is in the subnet of no bridge")]);
    // A rule that leads there keeps others from its subnet.
    let led = after(&config, &backend("10.4.0.2"));
    let again = parted("twin", "p2p", "10.4.0.0/16");
    refuses(&led, &[(&again, Exists, "service s leads to 10.4.0.2 on network pods")]);
}

#[test]
fn masquerading_keeps_to_ports_that_the_host_does_not_give_away() {
    let rule = Masquerade::new("in".parse().unwrap(), "up".parse().unwrap());
    assert_eq!(rule.ports_outside(true), PortRange::ABOVE_EPHEMERAL);
    assert_eq!(rule.ports_outside(false), PortRange::UNPRIVILEGED);
    let chosen = Masquerade { ports: "50000-50999".parse().unwrap(), ..rule };
    assert_eq!(chosen.ports_outside(true), chosen.ports);
}

#[test]
fn of_what_is_published_the_part_that_is_wrong_is_named() {
    let cases = [
        ("99999:10.0.0.2:80", "\"99999\" is no range of ports: use 1 to 65535"),
        ("8080:10.0.0.2:0", "\"0\" is no port: use 1 to 65535"),
        ("8080:10.0.0.2:80/tpc", "\"tpc\" is no protocol with ports: use tcp, udp or sctp"),
        ("8080:10.0.0.2:80/icmp", "\"icmp\" is no protocol with ports"),
        (
            "8083:web:80/tcp",
            "\"web\" is no address of a container: write its address, not its name",
        ),
        ("8083:web", "\"web\" is no address of a container"),
        ("8080", "write [IP:]PORT"),
    ];
    for (text, told) in cases {
        let error = text.parse::<Forward>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn what_is_wrong_with_a_network_is_told_without_what_is_refused_elsewhere() {
    for (text, told) in [
        ("10.5.0.0/33", "a prefix length is at most 32 in IPv4"),
        ("fd00::/129", "and 128 in IPv6"),
        ("10.5.0.300/16", "write a network with its prefix length"),
    ] {
        let error = text.parse::<ctl::Prefix>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}
