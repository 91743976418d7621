//! Attaching containers: safe to repeat, and clear about what is in the way.

use ctl::{Attach, ErrorCode, Mutation, apply};

use crate::apply::{change, config_of, refuses};

const BRIDGES: [&str; 2] = [r#"bridge.add {"name":"br0"}"#, r#"bridge.add {"name":"br1"}"#];
const WEB: &str =
    r#"attach {"netns":"web","bridge":"br0","ips":["10.0.0.2/24"],"gateways":["10.0.0.1"]}"#;

fn attach(text: &str) -> Attach {
    match change(text) {
        Mutation::Attach(attach) => attach,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_port_is_named_after_the_container() {
    let long = format!("/run/{}", "x".repeat(100));
    let cases = [
        ("web", "web-eth0".to_owned()),
        ("/run/netns/web", "web-eth0".to_owned()),
        ("4711", "pid4711-eth0".to_owned()),
        ("/proc/7/fd/3", "proc-7-fd-3-eth0".to_owned()),
        ("/run/docker/netns/0a1b", "run-docker-netns-0a1b-eth0".to_owned()),
        ("my web\\n", "my_web_-eth0".to_owned()),
        ("-web", "web-eth0".to_owned()),
        (&long, format!("{}-eth0", "x".repeat(59))),
    ];
    for (netns, name) in cases {
        let text = format!(r#"attach {{"netns":"{netns}","bridge":"br0"}}"#);
        assert_eq!(attach(&text).port_name().unwrap().as_str(), name, "{netns}");
    }
}

#[test]
fn a_namespace_after_which_no_port_can_be_named_is_refused_with_the_way_out() {
    for netns in ["---", "/"] {
        let text = format!(r#"attach {{"netns":"{netns}","bridge":"br0"}}"#);
        let error = apply(&config_of(&BRIDGES), &change(&text)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.contains("use `port add`"), "{error}");
    }
}

#[test]
fn attaching_again_changes_nothing() {
    let once = config_of(&[&BRIDGES[..], &[WEB]].concat());
    let again = [WEB, &WEB.replace("\"web\"", "\"/run/netns/web\"")];
    for text in again {
        assert_eq!(apply(&once, &change(text)).unwrap(), once);
    }
}

#[test]
fn a_default_gateway_that_may_be_nobodys_is_told() {
    let bridges = [
        r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24","fd00::1/64"]}"#,
        r#"bridge.add {"name":"staff","gateways":["10.0.20.1/24"],"vlan_of":{"bridge":"br0","vlan":20}}"#,
        r#"bridge.add {"name":"plain"}"#,
        r#"route.add {"to":"default","on":"br0","via":["10.0.0.254"]}"#,
    ];
    let config = config_of(&bridges);
    let notes = |bridge: &str, rest: &str| {
        let text = format!(r#"attach {{"netns":"web","bridge":"{bridge}",{rest}}}"#);
        config.other_routers(&attach(&text).port())
    };
    let odd = notes("br0", r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.9"]"#);
    let [note] = odd.as_slice() else { panic!("{odd:?}") };
    assert!(
        note.starts_with("10.0.0.9 is no gateway of bridge br0 (10.0.0.1): unless a router"),
        "{note}"
    );
    let vlan = r#""ips":["10.0.20.2/24"],"vlan":{"access":20},"gateways""#;
    assert_eq!(notes("br0", &format!(r#"{vlan}:["10.0.0.1"]"#)).len(), 1);
    let fine = [
        ("br0", r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.1","fd00::1"]"#.to_owned()),
        // The bridge's own routes lead to this router.
        ("br0", r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.254"]"#.to_owned()),
        ("br0", format!(r#"{vlan}:["10.0.20.1"]"#)),
        ("plain", r#""ips":["fd00::2/64"],"gateways":["fe80::9"]"#.to_owned()),
    ];
    for (bridge, rest) in fine {
        assert_eq!(notes(bridge, &rest), Vec::<String>::new(), "{rest}");
    }
}

#[test]
fn a_default_gateway_on_a_bridge_without_any_is_told_unless_somebody_has_its_address() {
    let router = r#"attach {"netns":"router","bridge":"routed","ips":["10.0.0.9/24"]}"#;
    let bridges = ["plain", "routed"].map(|name| format!(r#"bridge.add {{"name":"{name}"}}"#));
    let config = config_of(&[&bridges[0], &bridges[1], router]);
    let notes = |bridge: &str, rest: &str| {
        let text = format!(r#"attach {{"netns":"web","bridge":"{bridge}",{rest}}}"#);
        config.other_routers(&attach(&text).port())
    };
    let given = r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.9"]"#;
    let told = "10.0.0.9 is no gateway of bridge plain (none): unless a router on it has this address, the container reaches nothing beyond";
    let remedy = "; that the switch is it, run: vswitchctl bridge set plain --gateway 10.0.0.9/24";
    assert_eq!(notes("plain", given), [format!("{told}{remedy}")]);
    // Of one VLAN a bridge's gateway is none.
    assert_eq!(notes("plain", &format!(r#"{given},"vlan":{{"access":20}}"#)), [told]);
    assert_eq!(notes("routed", given), Vec::<String>::new());
}

#[test]
fn an_address_that_another_port_of_the_bridge_has_is_told() {
    let one = r#"attach {"netns":"web","bridge":"br0","ips":["10.0.0.2/24"]}"#;
    let config = config_of(&[r#"bridge.add {"name":"br0"}"#, r#"bridge.add {"name":"br1"}"#, one]);
    let notes = |netns: &str, bridge: &str, ip: &str| {
        let text = format!(r#"attach {{"netns":"{netns}","bridge":"{bridge}","ips":["{ip}/24"]}}"#);
        let request = attach(&text);
        config.notes_on_addresses(&request.port_name().unwrap(), &request.port())
    };
    let told = notes("db", "br0", "10.0.0.2");
    let [note] = &told[..] else { panic!("{told:?}") };
    assert!(note.starts_with("10.0.0.2 is port web-eth0's on bridge br0 too"), "{note}");
    for (netns, bridge, ip) in
        [("web", "br0", "10.0.0.2"), ("db", "br1", "10.0.0.2"), ("db", "br0", "10.0.0.3")]
    {
        assert_eq!(notes(netns, bridge, ip), Vec::<String>::new(), "{netns} on {bridge}");
    }
    // Each VLAN is by itself.
    let tagged = |netns: &str, vlan: u16| {
        let ips = r#""ips":["10.0.0.2/24"]"#;
        format!(r#"attach {{"netns":"{netns}","bridge":"br1",{ips},"vlan":{{"access":{vlan}}}}}"#)
    };
    let config = apply(&config, &change(&tagged("a", 10))).unwrap();
    for (vlan, expected) in [(10, 1), (20, 0)] {
        let request = attach(&tagged("b", vlan));
        let told = config.notes_on_addresses(&request.port_name().unwrap(), &request.port());
        assert_eq!(told.len(), expected, "{told:?}");
    }
}

#[test]
fn what_attach_cannot_say_is_no_difference() {
    let set = r#"port.set {"name":"web-eth0","isolated":true,"hairpin":true,"mac_limit":5}"#;
    let changed = config_of(&[&BRIDGES[..], &[WEB, set]].concat());
    assert_eq!(apply(&changed, &change(WEB)).unwrap(), changed);
}

#[test]
fn attaching_otherwise_is_refused_with_what_differs() {
    let once = config_of(&[&BRIDGES[..], &[WEB]].concat());
    let otherwise = r#"attach {"netns":"web","bridge":"br1","ips":["10.0.0.3/24"],"mtu":1400}"#;
    let error = apply(&once, &change(otherwise)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Exists);
    let expected = "namespace web is attached already, by port web-eth0, otherwise: bridge br0, not br1; \
                    addresses 10.0.0.2/24, not 10.0.0.3/24; gateways 10.0.0.1, not none; \
                    MTU the bridge's, not 1400; `detach` it first";
    assert_eq!(error.message, expected);
}

#[test]
fn an_address_that_was_chosen_is_no_difference_and_another_one_is() {
    let with_mac = |mac: &str| WEB.replace("\"ips\"", &format!("\"mac\":\"{mac}\",\"ips\""));
    let chosen = with_mac("02:00:00:00:00:01");
    let once = config_of(&[&BRIDGES[..], &[&chosen]].concat());
    apply(&once, &change(WEB)).unwrap();
    let error = apply(&once, &change(&with_mac("02:00:00:00:00:02"))).unwrap_err();
    assert!(error.message.contains("MAC 02:00:00:00:00:01, not 02:00:00:00:00:02"), "{error}");
}

#[test]
fn an_interface_that_another_port_has_is_not_attached() {
    let port = r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"netns":"web"}}}}"#;
    let error = apply(&config_of(&[&BRIDGES[..], &[port]].concat()), &change(WEB)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Exists);
    assert!(error.message.contains("cannot be both port p0 and web-eth0"), "{error}");
}

#[test]
fn a_port_that_only_has_the_name_is_not_taken_for_the_containers() {
    let named = |kind: &str| {
        format!(r#"port.add {{"name":"web-eth0","port":{{"bridge":"br0","kind":{kind}}}}}"#)
    };
    for kind in [r#"{"tap":{"netns":"other"}}"#, r#"{"netdev":{"device":"eth0","netns":"web"}}"#] {
        let config = config_of(&[&BRIDGES[..], &[&named(kind)]].concat());
        let error = apply(&config, &change(WEB)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Exists);
        assert!(error.message.contains("port name web-eth0 is taken"), "{error}");
    }
}

#[test]
fn detaching_undoes_attaching_and_may_be_repeated() {
    let before = config_of(&BRIDGES);
    let attached = config_of(&[&BRIDGES[..], &[WEB]].concat());
    let other = r#"detach {"netns":"web","ifname":"net1"}"#;
    assert_eq!(apply(&attached, &change(other)).unwrap(), attached);
    let detach = change(r#"detach {"netns":"web"}"#);
    assert_eq!(apply(&attached, &detach).unwrap(), before);
    assert_eq!(apply(&before, &detach).unwrap(), before);
}

#[test]
fn a_container_has_no_use_for_ipv6_where_the_switch_routes_and_nobody_has_an_address_of_it() {
    let cases = [
        (r#""10.0.0.1/24""#, r#""10.0.0.2/24""#, true),
        (r#""10.0.0.1/24""#, "", false),
        ("", r#""10.0.0.2/24""#, false),
        (r#""10.0.0.1/24","fd00::1/64""#, r#""10.0.0.2/24""#, false),
        (r#""10.0.0.1/24""#, r#""10.0.0.2/24","fd00::2/64""#, false),
    ];
    for (gateways, ips, expected) in cases {
        let bridge = format!(r#"bridge.add {{"name":"br0","gateways":[{gateways}]}}"#);
        let attach = format!(r#"attach {{"netns":"web","bridge":"br0","ips":[{ips}]}}"#);
        let config = config_of(&[&bridge, &attach]);
        let port = &config.ports[&"web-eth0".parse::<ctl::PortName>().unwrap()];
        assert_eq!(config.is_ipv4_only(port), expected, "{gateways} {ips}");
    }
}

#[test]
fn a_mac_address_is_one_ports_and_not_the_routers() {
    let routed =
        r#"bridge.add {"name":"br0","gateways":["10.0.0.1/24"],"gateway_mac":"02:00:00:00:00:01"}"#;
    let attach = |netns: &str, mac: &str| {
        format!(r#"attach {{"netns":"{netns}","bridge":"br0","mac":"02:00:00:00:00:{mac}"}}"#)
    };
    let config = config_of(&[routed, BRIDGES[1], &attach("web", "02")]);
    let both = "02:00:00:00:00:02 cannot be both port web-eth0's and port db-eth0's on bridge br0";
    let port = |vlan: &str| {
        format!(
            r#"port.add {{"name":"db-eth0","port":{{"bridge":"br0","vlan":{vlan},"kind":{{"tap":{{"mac":"02:00:00:00:00:02"}}}}}}}}"#
        )
    };
    refuses(
        &config,
        &[
            (&attach("db", "02"), ErrorCode::Exists, both),
            (&port(r#""unaware""#), ErrorCode::Exists, both),
            (&attach("db", "01"), ErrorCode::Exists, "is the MAC address of bridge br0's gateway"),
            (
                r#"bridge.set {"name":"br0","gateway_mac":"02:00:00:00:00:02"}"#,
                ErrorCode::Exists,
                "port web-eth0: 02:00:00:00:00:02 is the MAC address",
            ),
        ],
    );
    // The same again is no other; nor is one of another bridge or VLAN in the way.
    assert_eq!(apply(&config, &change(&attach("web", "02"))).unwrap(), config);
    apply(&config, &change(&attach("db", "02").replace("br0", "br1"))).unwrap();
    apply(&config, &change(&port(r#"{"access":7}"#))).unwrap();
}
