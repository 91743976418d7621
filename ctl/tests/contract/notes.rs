//! What is said of changes that are made all the same, and what is advised where they are not.

use ctl::ErrorCode::{Exists, Invalid};
use ctl::response::NetworkInfo;
use ctl::{BridgeName, Config, HostUplink, Mutation, apply};

use crate::apply::{change, config_of, refuses};

const WEB: &str = r#"network.create {"name":"web","subnets":["10.1.0.0/24"]}"#;
const TWIN: &str = r#"network.create {"name":"twin","subnets":["10.1.0.0/16"]}"#;
const CLOSED: &str =
    r#"network.create {"name":"db","settings":{"internal":true},"subnets":["10.2.0.0/24"]}"#;
const UPLINK: [&str; 2] = [
    r#"bridge.add {"name":"up","gateways":["192.0.2.1/24"]}"#,
    r#"route.add {"to":"default","on":"up","via":["192.0.2.9"]}"#,
];
const SHARED: &str = r#"port.add {"name":"up0","port":{"bridge":"out","shared":true,"kind":{"netdev":{"device":"eth0"}}}}"#;

fn name(text: &str) -> BridgeName {
    text.parse().unwrap()
}

/// A host with an address, and a router beyond it.
fn host(address: &str, router: &str) -> HostUplink {
    HostUplink {
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        routes: [("0.0.0.0/0".parse().unwrap(), vec![router.parse().unwrap()])].into(),
    }
}

fn says(error: &impl ToString, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn what_has_the_hosts_subnet_is_named_with_the_way_to_another_one() {
    let same = r#"network.create {"name":"web","subnets":["192.0.2.0/24"]}"#;
    let here = host("192.0.2.2/24", "192.0.2.9");
    let refused = config_of(&[same, SHARED]).following(&name("out"), &here).unwrap_err();
    let told = ["192.0.2.0/24 on web", "make network web with another --subnet", "`network rm`"];
    says(&refused, &told);
    let followed = config_of(&[SHARED]).following(&name("out"), &here).unwrap();
    refuses(&followed, &[(same, Invalid, "make network web with another --subnet")]);
    let bridge = r#"bridge.add {"name":"br0","gateways":["192.0.2.1/24"]}"#;
    let masquerade = r#"nat.add {"rule":{"masquerade":{"from":"br0","to":"out"}}}"#;
    let elsewhere = config_of(&[SHARED, bridge]);
    let elsewhere =
        elsewhere.following(&name("out"), &host("198.51.100.2/24", "198.51.100.9")).unwrap();
    let joined = apply(&elsewhere, &change(masquerade)).unwrap();
    let refused = joined.following(&name("out"), &here).unwrap_err();
    says(&refused, &["give br0 another one, with `bridge set br0 --gateway`"]);
}

#[test]
fn where_a_bridge_has_no_address_of_the_hosts_none_is_to_be_given_to_the_bridge() {
    let config = config_of(&[WEB, SHARED]);
    let publish = r#"nat.add {"rule":{"publish":{"on":"out","forward":"80:10.1.0.2/tcp"}}}"#;
    let refused = apply(&config, &change(publish)).unwrap_err();
    says(&refused, &["bridge out has no IPv4 address", "behind port up0", "`vswitchctl status`"]);
    assert!(!refused.message.contains("bridge set"), "{refused}");
}

#[test]
fn a_subnet_to_which_a_rule_leads_is_that_of_one_network_and_the_refusal_names_it() {
    let published = r#"nat.add {"rule":{"publish":{"on":"up","forward":"80:10.1.0.2/tcp"}}}"#;
    let served = r#"service.add {"name":"shop","service":{"listen":"10.96.0.1:80/tcp",
                    "backends":[{"at":"10.1.0.3:80"}]}}"#;
    for (rule, what) in [
        (published, "nat rule up-80-tcp leads to 10.1.0.2 on network web"),
        (served, "service shop leads to 10.1.0.3 on network web"),
    ] {
        let config = config_of(&[UPLINK[0], WEB, rule]);
        let refused = apply(&config, &change(TWIN)).unwrap_err();
        assert_eq!(refused.code, Exists);
        says(&refused, &["network twin: ", what, "subnet 10.1.0.0/16", "choose another --subnet"]);
    }
    // A rule that says where it leads to does not mind, and neither does a network that is nobody's router there.
    let said = published.replace(r#""on":"up""#, r#""on":"up","to":"web""#);
    config_of(&[UPLINK[0], WEB, &said, TWIN]);
    let bare = TWIN.replace('}', r#","no_gateway":true}"#);
    config_of(&[UPLINK[0], WEB, published, &bare]);
}

#[test]
fn networks_with_one_subnet_are_made_and_noted() {
    let config = config_of(&[WEB, CLOSED, TWIN]);
    let [note] = &config.notes_on_subnets(&name("twin"))[..] else { panic!("{config:?}") };
    assert!(note.starts_with("10.1.0.0/16 overlaps 10.1.0.0/24 of network web:"), "{note}");
    assert_eq!(config.notes_on_subnets(&name("web")).len(), 1, "whichever was there first");
    assert_eq!(config.notes_on_subnets(&name("db")), Vec::<String>::new());
}

#[test]
fn bridges_with_one_subnet_are_made_and_noted() {
    let staff = r#"bridge.add {"name":"staff","gateways":["10.0.0.1/24","fe80::1/64"],"vlan_of":{"bridge":"inside","vlan":20}}"#;
    let config = config_of(&[
        r#"bridge.add {"name":"inside","gateways":["10.0.0.1/24","fe80::1/64"]}"#,
        r#"bridge.add {"name":"other","gateways":["10.3.0.1/24"]}"#,
        r#"network.create {"name":"web","subnets":["10.3.0.0/16"]}"#,
        staff,
    ]);
    for (bridge, start) in [
        ("staff", "10.0.0.0/24 overlaps 10.0.0.0/24 of bridge inside: they are apart,"),
        ("inside", "10.0.0.0/24 overlaps 10.0.0.0/24 of bridge staff:"),
        ("other", "10.3.0.0/24 overlaps 10.3.0.0/16 of network web:"),
        ("web", "10.3.0.0/16 overlaps 10.3.0.0/24 of bridge other:"),
    ] {
        let [note] = &config.notes_on_subnets(&name(bridge))[..] else { panic!("{bridge}") };
        assert!(note.starts_with(start), "{note}");
    }
    // A routed network has addresses of its uplink's subnet.
    let routed = r#"network.create {"name":"dmz","settings":{"shape":"routed"},"subnets":["192.0.2.128/25"]}"#;
    let config = config_of(&[&UPLINK[..], &[routed]].concat());
    for bridge in ["dmz", "up"] {
        assert_eq!(config.notes_on_subnets(&name(bridge)), Vec::<String>::new(), "{bridge}");
    }
}

fn notes_on(config: &Config, request: &str) -> Vec<String> {
    match change(request) {
        Mutation::NatAdd(add) => config.notes_on_publishing(&add.rule),
        Mutation::RouteAllow(allowance) => config.notes_on_allowing(&allowance),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_leads_to_an_internal_network_is_noted_where_nobody_is_answered() {
    let connect = [
        r#"network.connect {"network":"web","netns":"shop"}"#,
        r#"network.connect {"network":"db","netns":"db"}"#,
    ];
    let config = config_of(&[&[WEB, CLOSED, SHARED], &UPLINK[..], &connect[..]].concat());
    let publish = |rest: &str| format!(r#"nat.add {{"rule":{{"publish":{{{rest}}}}}}}"#);
    let cases = [
        (publish(r#""on":"up","forward":"80:10.2.0.2/tcp""#), "nobody gets an answer"),
        (publish(r#""on":"out","forward":"80:10.2.0.2/tcp""#), "only programs of the host itself"),
        (r#"route.allow {"from":"web","to":"db"}"#.into(), "they answer nobody there"),
        (r#"route.allow {"from":"db","to":"web"}"#.into(), "they begin nothing there"),
    ];
    for (request, part) in &cases {
        let notes = notes_on(&config, request);
        let [note] = &notes[..] else { panic!("{request}: {notes:?}") };
        assert!(note.contains("network db is internal") && note.contains(part), "{note}");
    }
    let answered = [
        publish(r#""on":"up","forward":"80:10.1.0.2/tcp""#),
        publish(r#""on":"db","forward":"127.0.0.1:80:10.2.0.2/tcp""#),
        r#"nat.add {"rule":{"masquerade":{"from":"web","to":"up"}}}"#.into(),
        r#"route.allow {"from":"up","to":"web"}"#.into(),
    ];
    for request in &answered {
        assert_eq!(notes_on(&config, request), Vec::<String>::new(), "{request}");
    }
}

#[test]
fn who_publishes_where_there_is_no_uplink_is_told_what_fits_the_network() {
    let create =
        |rest: &str| format!(r#"network.create {{"name":"x","subnets":["10.3.0.0/24"],{rest}}}"#);
    let cases = [
        (create(r#""settings":{"internal":true}"#), "network x is internal"),
        (create(r#""settings":{"shape":"routed"}"#), "at their own addresses"),
        (create(r#""settings":{"shape":"direct"}"#), "on its wire at their own addresses"),
        (create(r#""settings":{"masquerade":false}"#), "`vswitchctl nat publish add"),
        (create(r#""no_gateway":true"#), "network x has no gateway"),
        (create(r#""settings":{}"#), "`vswitchctl port add world --netdev eth0 --shared`"),
        (
            create(r#""settings":{"shape":"p2p"}"#),
            "`vswitchctl port add world --netdev eth0 --shared`",
        ),
    ];
    for (request, part) in &cases {
        let info = NetworkInfo::of(&config_of(&[request]), &name("x")).unwrap();
        assert!(info.no_uplink().contains(part), "{request}: {}", info.no_uplink());
    }
}

#[test]
fn a_network_that_becomes_internal_takes_the_default_routes_of_its_containers() {
    let connect = r#"network.connect {"network":"web","netns":"shop"}"#;
    let handover = r#"network.handover {"network":"web","port":"docker-3f4442aa0bb3","ifname":"vsw3f4442aa0bb3","mac":"02:00:00:00:00:01"}"#;
    let config = config_of(&[&[WEB, connect, handover], &UPLINK[..]].concat());
    let set = |value: bool| format!(r#"network.set {{"name":"web","internal":{value}}}"#);
    let notes = |old: &Config, text: &str| {
        let Mutation::NetworkSet(set) = change(text) else { panic!("{text}") };
        let next = apply(old, &change(text)).unwrap();
        (next.notes_on_opening(&set, old), next)
    };
    let gateways = |config: &Config| {
        let port = &config.ports[&"shop-eth0".parse::<ctl::PortName>().unwrap()];
        let ctl::PortKind::Tap(tap) = &port.kind else { panic!("{port:?}") };
        tap.gateways.len()
    };
    assert_eq!(gateways(&config), 1);
    let (told, closed) = notes(&config, &set(true));
    assert_eq!(gateways(&closed), 0);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.contains("keep the default route") && told.ends_with("docker-3f4442aa0bb3"));
    let (told, open) = notes(&closed, &set(false));
    assert_eq!(gateways(&open), 0);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.contains("have no default route") && told.contains("shop-eth0"), "{told}");
    assert!(notes(&open, &set(false)).0.is_empty());
}

#[test]
fn what_would_leave_a_shared_interface_untranslated_is_noted() {
    let bridge = r#"bridge.add {"name":"br0","gateways":["10.9.0.1/24"]}"#;
    let config =
        config_of(&[SHARED, bridge]).following(&name("out"), &host("192.0.2.2/24", "192.0.2.9"));
    let allow = r#"route.allow {"from":"br0","to":"out"}"#;
    let [note] = &notes_on(&config.unwrap(), allow)[..] else { panic!("no note") };
    assert!(note.ends_with("vswitchctl nat masquerade add --from br0 --to out"), "{note}");
}

#[test]
fn an_engine_may_show_a_port_of_its_container_that_is_published_no_more() {
    let handover = r#"network.handover {"network":"web","port":"docker-3f4442aa0bb3","ifname":"vsw3f4442aa0bb3","mac":"02:00:00:00:00:01"}"#;
    let published = |port: &str, rest: &str| {
        format!(
            r#"nat.add {{"name":"of-{port}","rule":{{"publish":{{"on":"up","forward":"{port}:10.1.0.2:80/tcp"{rest}}}}}}}"#
        )
    };
    let its = published("8080", r#","port":"docker-3f4442aa0bb3""#);
    let config =
        config_of(&[&[WEB, handover][..], &UPLINK[..], &[&its, &published("8081", "")]].concat());
    let notes = |rule: &str| config.notes_on_unpublishing(&rule.parse().unwrap());
    let [note] = &notes("of-8080")[..] else { panic!("{:?}", notes("of-8080")) };
    assert!(note.starts_with("if the engine of port docker-3f4442aa0bb3 published this"), "{note}");
    for other in ["of-8081", "nobodys"] {
        assert_eq!(notes(other), Vec::<String>::new(), "{other}");
    }
}
