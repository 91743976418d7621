//! Services and their backends.

use ctl::ErrorCode::{Exists, InUse, Invalid, NotFound};
use ctl::{Affinity, Balance, Config, HealthCheck, Listen, Probe, Target, apply};

use crate::apply::{change, config_of, refuses};
use crate::routing::ROUTED;

const WEB: &str = r#"service.add {"name":"web","service":{"listen":"10.96.0.10:80/tcp",
    "backends":[{"at":"10.0.0.2:8080"},{"at":"10.1.0.2:8080"}]}}"#;

fn with(requests: &[&str]) -> Config {
    config_of(&[&ROUTED[..], requests].concat())
}

fn web(rest: &str) -> String {
    format!(r#"service.add {{"name":"x","service":{{{rest}}}}}"#)
}

#[test]
fn a_service_that_cannot_be_is_refused_with_a_reason() {
    let listening = |listen: &str, rest: &str| web(&format!(r#""listen":"{listen}"{rest}"#));
    let served =
        |at: &str| listening("10.96.0.11:80/tcp", &format!(r#","backends":[{{"at":"{at}"}}]"#));
    let more = |rest: &str| listening("10.96.0.11:80/tcp", &format!(",{rest}"));
    let checked = |rest: &str| more(&format!(r#""health":{{"probe":"tcp"{rest}}}"#));
    let many: Vec<_> = (1..258).map(|port| format!(r#"{{"at":"10.0.0.2:{port}"}}"#)).collect();
    let cases = [
        (listening("10.0.0.99:80/tcp", ""), Invalid, "in subnet 10.0.0.0/24 of bridge br0"),
        (listening("224.0.0.1:80/tcp", ""), Invalid, "is not the address of one host"),
        (listening("127.0.0.1:80/tcp", ""), Invalid, "is not routed"),
        (served("10.9.0.2:80"), Invalid, "in the subnet of no bridge"),
        (served("10.0.0.1:80"), Invalid, "the router's own address"),
        (served("10.0.0.2:0"), Invalid, "needs a port"),
        (served("[fd00::2]:80"), Invalid, "not of the service's IP version"),
        (more(r#""backends":[{"at":"10.0.0.2:80"},{"at":"10.0.0.2:80"}]"#), Invalid, "given twice"),
        (
            more(&format!(r#""backends":[{}]"#, many.join(","))),
            Invalid,
            "backends of one service are too many; give 256 at most",
        ),
        (more(r#""on":["br9"]"#), NotFound, "bridge br9"),
        (more(r#""on":["plain"]"#), Invalid, "bridge plain has no gateway address"),
        (more(r#""to":"br1","backends":[{"at":"10.0.0.2:80"}]"#), Invalid, "of no bridge that it"),
        (more(r#""node_port":0"#), Invalid, "one of 1 to 65535"),
        (more(r#""fail_timeout":0"#), Invalid, "fail timeout 0 is out of range"),
        (checked(r#","interval":0"#), Invalid, "health check interval 0 is out of range"),
        (checked(r#","interval":3601"#), Invalid, "health check interval 3601 is out of range"),
        (checked(r#","timeout":61"#), Invalid, "health check timeout 61 is out of range"),
        (checked(r#","fall":0"#), Invalid, "health check fall 0 is out of range"),
        (checked(r#","rise":101"#), Invalid, "health check rise 101 is out of range"),
        (checked(r#","port":0"#), Invalid, "a health check's port"),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(text, code, part)| (text.as_str(), *code, *part)).collect();
    refuses(&with(&[]), &cases);
    with(&[&listening("10.0.0.99:80/tcp", r#","on":["br1"]"#)]);
}

#[test]
fn no_two_are_for_the_same_packets() {
    let node = r#"service.set {"name":"web","node_port":30080}"#;
    let config = with(&[WEB, node]);
    let twin = web(r#""listen":"10.96.0.10:80/tcp""#);
    let node = web(r#""listen":"10.96.0.11:80/tcp","node_port":30080,"on":["up"]"#);
    let publish =
        r#"nat.add {"rule":{"publish":{"on":"up","forward":"30000-30100:10.0.0.2:1000/tcp"}}}"#;
    refuses(
        &config,
        &[
            (&twin, Exists, "services web and x are both for 10.96.0.10:80/tcp"),
            (&node, Exists, "services web and x are both for tcp port 30080 on up"),
            (publish, Exists, "the node port of service web are both for tcp port 30080 on up"),
            (
                r#"bridge.set {"name":"br0","gateways":[]}"#,
                Invalid,
                "service web: backend 10.0.0.2",
            ),
        ],
    );
    for free in [r#""10.96.0.10:80/udp","node_port":30080"#, r#""10.96.0.10:81/tcp""#] {
        apply(&config, &change(&web(&format!(r#""listen":{free}"#)))).expect(free);
    }
}

#[test]
fn an_address_that_several_bridges_may_have_needs_to_be_told_where() {
    let twin = r#"bridge.add {"name":"twin","gateways":["10.0.0.1/24"]}"#;
    let service = |rest: &str| {
        web(&format!(r#""listen":"10.96.0.10:80/tcp","backends":[{{"at":"10.0.0.2:80"}}]{rest}"#))
    };
    let config = with(&[twin]);
    refuses(&config, &[(&service(""), Invalid, "can be on each of br0, twin: say on which")]);
    apply(&config, &change(&service(r#","to":"twin""#))).unwrap();
    let joined = service(r#","to":"twin","on":["br0"]"#);
    refuses(&config, &[(&joined, Invalid, "could go to either")]);
}

#[test]
fn a_bridge_that_a_service_names_is_in_use() {
    let on = web(r#""listen":"10.96.0.10:80/tcp","on":["up"]"#);
    refuses(&with(&[&on]), &[(r#"bridge.del {"name":"up"}"#, InUse, "service x")]);
}

#[test]
fn backends_come_drain_and_go() {
    let config = with(&[WEB]);
    let after = |request: &str| {
        let next = apply(&config, &change(request)).unwrap();
        let web = next.services.values().next().unwrap().clone();
        let tell = |it: &ctl::Backend| format!("{}{}", it.at, if it.draining { " d" } else { "" });
        web.backends.iter().map(tell).collect::<Vec<_>>()
    };
    let change_of = |what: &str| format!(r#"service.backends {{"name":"web",{what}}}"#);
    let added = after(&change_of(r#""add":["10.0.0.3","10.0.0.2:8080"]"#));
    assert_eq!(added, ["10.0.0.2:8080", "10.1.0.2:8080", "10.0.0.3:80"], "its own port by default");
    let rolled = after(&change_of(
        r#""add":["10.0.0.3:8080"],"drain":["10.0.0.2:8080"],"del":["10.1.0.2:8080"]"#,
    ));
    assert_eq!(rolled, ["10.0.0.2:8080 d", "10.0.0.3:8080"]);
    assert_eq!(after(&change_of(r#""del":["10.0.0.77"]"#)).len(), 2, "safe to repeat");
    let drained = apply(&config, &change(&change_of(r#""drain":["10.0.0.2:8080"]"#))).unwrap();
    let again = apply(&drained, &change(&change_of(r#""add":["10.0.0.2:8080"]"#))).unwrap();
    assert_eq!(again, config, "it serves again");
    refuses(
        &config,
        &[
            (&change_of(r#""drain":["10.0.0.7"]"#), NotFound, "no backend 10.0.0.7:80"),
            (r#"service.backends {"name":"db"}"#, NotFound, "service db does not exist"),
        ],
    );
}

#[test]
fn a_service_is_added_changed_and_deleted() {
    let config = with(&[WEB]);
    assert_eq!(apply(&config, &change(WEB)).unwrap(), config, "safe to repeat");
    let other = WEB.replace("10.96.0.10", "10.96.0.11");
    let set = r#"service.set {"name":"web","balance":"maglev","affinity":"client-ip","node_port":30080,
        "on":["up"],"max_fails":0,"fail_timeout":60}"#;
    let changed = apply(&config, &change(set)).unwrap();
    let web = changed.services.values().next().unwrap();
    assert_eq!((web.balance, web.node_port), (Balance::Maglev, Some(30080)));
    assert_eq!(web.affinity, Some(Affinity { seconds: 10_800 }));
    assert_eq!((web.max_fails, web.fail_timeout, web.on.len()), (0, 60, 1));
    let back = r#"service.set {"name":"web","balance":"round-robin","affinity":null,"node_port":null,
        "on":[],"max_fails":3,"fail_timeout":10}"#;
    assert_eq!(apply(&changed, &change(back)).unwrap(), config);
    assert_eq!(apply(&config, &change(r#"service.del {"name":"web"}"#)).unwrap(), with(&[]));
    refuses(
        &config,
        &[
            (&other, Exists, "service web exists already, and is another one"),
            (r#"service.del {"name":"db"}"#, NotFound, "`service list`"),
        ],
    );
    apply(&config, &change(r#"service.del {"name":"db","if_exists":true}"#)).unwrap();
}

#[test]
fn checks_of_backends_are_set_as_a_whole_and_taken_away() {
    let config = with(&[WEB]);
    let set =
        r#"service.set {"name":"web","health":{"probe":"http:/healthz","port":9000,"fall":1}}"#;
    let checked = apply(&config, &change(set)).unwrap();
    let health = checked.services.values().next().unwrap().health.clone().unwrap();
    let expected = HealthCheck {
        port: Some(9000),
        fall: 1,
        ..HealthCheck::new(Probe::Http("/healthz".to_owned()))
    };
    assert_eq!(health, expected);
    let other = r#"service.set {"name":"web","max_fails":5}"#;
    let kept = apply(&checked, &change(other)).unwrap();
    assert_eq!(kept.services.values().next().unwrap().health, Some(expected));
    let none = r#"service.set {"name":"web","health":null}"#;
    assert_eq!(apply(&checked, &change(none)).unwrap(), config);
}

#[test]
fn internal_networks_find_only_the_services_that_name_them() {
    let config = with(&[
        r#"network.create {"name":"closed","settings":{"internal":true},"subnets":["10.7.0.0/24"]}"#,
        WEB,
    ]);
    let web = config.services.values().next().unwrap();
    let found: Vec<_> = config.bridges_finding(web).map(ctl::BridgeName::as_str).collect();
    assert_eq!(found, ["br0", "br1", "up"]);
}

#[test]
fn a_node_port_does_not_take_the_names_of_a_network() {
    let node = |listen: &str, rest: &str| {
        web(&format!(r#""listen":"10.96.0.11:53/{listen}","node_port":53{rest}"#))
    };
    let network = r#"network.create {"name":"named","subnets":["10.7.0.0/24"]}"#;
    let config = with(&[network]);
    for protocol in ["udp", "tcp"] {
        let all = node(protocol, "");
        refuses(&config, &[(&all, Invalid, "the gateway of network named answers names")]);
        apply(&config, &change(&node(protocol, r#","on":["br0"]"#))).unwrap();
    }
    refuses(
        &with(&[&node("udp", "")]),
        &[(network, Invalid, "service x: at node port 53 the gateway of network named")],
    );
}

#[test]
fn what_is_typed_is_read_or_refused_with_the_rule() {
    for text in ["10.96.0.10:80/tcp", "[fd00:96::10]:53/udp", "10.96.0.10:9/sctp"] {
        assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
    }
    for text in ["10.96.0.10/tcp", "10.96.0.10:0/tcp", "10.96.0.10:80/icmp", "web:80/tcp", ""] {
        assert!(text.parse::<Listen>().is_err(), "{text}");
    }
    for text in ["10.0.0.2", "10.0.0.2:80", "fd00::2", "[fd00::2]:80"] {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
    }
    for text in ["10.0.0.2:0", "10.0.0.2:", "fd00::2:x", "web", "10.0.0.2:65536"] {
        assert!(text.parse::<Target>().is_err(), "{text}");
    }
    for text in ["tcp", "http:/", "http:/healthz?deep=1&x=%20"] {
        assert_eq!(text.parse::<Probe>().unwrap().to_string(), text);
    }
    let long = format!("http:/{}", "x".repeat(512));
    for text in
        ["", "udp", "http", "http:", "http:x", "http:/a b", "http:/a\r\nHost: x", "http:/é", &long]
    {
        assert!(text.parse::<Probe>().is_err(), "{text}");
    }
    assert_eq!("client-ip".parse::<Affinity>().unwrap().to_string(), "client-ip:10800");
    for text in ["client-ip:", "client-ip:0", "client-ip:86401", "client", "client-ip9"] {
        assert!(text.parse::<Affinity>().is_err(), "{text}");
    }
}
