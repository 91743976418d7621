//! What a change makes of a configuration. Requests are written as they cross the socket.

use ctl::wire::parse_request;
use ctl::{Batch, Config, CtlError, ErrorCode, Mutation, Request, apply, apply_all};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::arbitrary;

/// The change that a request asks for: `attach {"netns":"web","bridge":"br0"}`.
pub fn change(text: &str) -> Mutation {
    let (op, args) = text.split_once(' ').unwrap_or((text, "{}"));
    let line = format!(r#"{{"v":1,"op":"{op}","args":{args}}}"#);
    match parse_request(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}")).request
    {
        Request::Mutation(mutation) => mutation,
        Request::Query(query) => panic!("{query:?} is no change"),
    }
}

/// The configuration that these changes make.
pub fn config_of(changes: &[&str]) -> Config {
    changes.iter().fold(Config::default(), |config, text| {
        apply(&config, &change(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    })
}

/// A bridge with a VLAN-unaware port, one with an access VLAN, and a trunk.
fn network() -> Config {
    config_of(&[
        r#"bridge.add {"name":"br0"}"#,
        r#"bridge.add {"name":"br1"}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"netns":"web"}}}}"#,
        r#"port.add {"name":"a10","port":{"bridge":"br0","kind":{"netdev":{"device":"veth0"}},
            "vlan":{"access":10}}}"#,
        r#"port.add {"name":"up0","port":{"bridge":"br0","kind":{"netdev":{"device":"eth1"}},
            "vlan":{"trunk":{"allowed":"20-30","native":1}}}}"#,
        r#"fdb.add {"bridge":"br0","station":{"mac":"02:00:00:00:00:01","port":"p0"}}"#,
    ])
}

/// That these changes are refused, with this code and these words, and change nothing.
pub fn refuses(config: &Config, cases: &[(&str, ErrorCode, &str)]) {
    for (text, code, part) in cases {
        let error = apply(config, &change(text)).expect_err(text);
        assert_eq!(error.code, *code, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

fn error_of(text: &str) -> CtlError {
    let config = network();
    let error = apply(&config, &change(text)).expect_err(text);
    assert_eq!(config, network(), "{text}");
    error
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    use ErrorCode::{Exists, InUse, Invalid, NotFound};
    let tap = |rest: &str| {
        format!(r#"port.add {{"name":"x","port":{{"bridge":"br0","kind":{{"tap":{{{rest}}}}}}}}}"#)
    };
    let station = |rest: &str| {
        format!(r#"fdb.add {{"bridge":"br0","station":{{"mac":"02:00:00:00:00:02",{rest}}}}}"#)
    };
    let port_of = |bridge: &str, name: &str| {
        format!(
            r#"port.add {{"name":"{name}","port":{{"bridge":"{bridge}","kind":{{"tap":{{}}}}}}}}"#
        )
    };
    let cases = [
        (r#"bridge.add {"name":"br0"}"#.to_owned(), Exists, "bridge br0 exists already"),
        (r#"bridge.add {"name":"b","ageing_seconds":9}"#.into(), Invalid, "use 10 to 1000000"),
        (r#"bridge.add {"name":"b","mac_limit":0}"#.into(), Invalid, "use 1 to 1048576"),
        (r#"bridge.set {"name":"br9","mtu":1400}"#.into(), NotFound, "there are: br0, br1"),
        (r#"bridge.set {"name":"br0","ageing_seconds":0}"#.into(), Invalid, "ageing time 0"),
        (r#"bridge.del {"name":"br9"}"#.into(), NotFound, "bridge br9 does not exist"),
        (r#"bridge.del {"name":"br0"}"#.into(), InUse, "in use by port a10, port p0, port up0"),
        (port_of("br9", "x"), NotFound, "there are: br0, br1"),
        (port_of("br0", "p0"), Exists, "port p0 exists already"),
        (tap(r#""netns":"web""#), Exists, "eth0 of namespace web cannot be both port p0 and x"),
        (tap(r#""netns":"/run/netns/web""#), Exists, "both port p0 and x"),
        (tap(r#""ifname":"veth0""#), Exists, "veth0 cannot be both port a10 and x"),
        (tap(r#""queues":0"#), Invalid, "number of queues 0 is out of range: use 1 to 16"),
        (tap(r#""queues":17"#), Invalid, "use 1 to 16"),
        (tap(r#""gateways":["10.0.0.1"]"#), Invalid, "in no subnet of its addresses (none)"),
        (
            tap(r#""ips":["10.0.0.2/24"],"gateways":["10.0.1.1"]"#),
            Invalid,
            "gateway 10.0.1.1 is in no subnet of its addresses (10.0.0.2/24)",
        ),
        (
            tap(r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.2"]"#),
            Invalid,
            "both its address and its gateway",
        ),
        (
            tap(r#""ips":["10.0.0.2/24"],"gateways":["10.0.0.1","10.0.0.3"]"#),
            Invalid,
            "at most one gateway of each IP version",
        ),
        (tap(r#""ips":["10.0.0.2/24","10.0.0.2/16"]"#), Invalid, "10.0.0.2 is given twice"),
        (r#"port.move {"name":"p9","worker":0}"#.into(), NotFound, "port p9 does not exist"),
        (r#"port.set {"name":"p9","mtu":1400}"#.into(), NotFound, "port p9 does not exist"),
        (r#"port.set {"name":"p0","mac_limit":0}"#.into(), Invalid, "MAC limit 0"),
        (
            r#"port.set {"name":"p0","vlan":{"access":5}}"#.into(),
            Invalid,
            "station 02:00:00:00:00:01: port p0 (VLANs: access 5) carries VLANs: say which",
        ),
        (r#"port.del {"name":"p9"}"#.into(), NotFound, "`port list`"),
        (r#"port.set {"name":"a10","guard":true}"#.into(), Invalid, "one with --tap"),
        (
            r#"port.set {"name":"p0","egress":{"rate":"1gbit","queue_bytes":131071}}"#.into(),
            Invalid,
            "use 131072 to 67108864",
        ),
        (
            r#"port.set {"name":"p0","ingress":{"rate":"1gbit","burst_bytes":1500}}"#.into(),
            Invalid,
            "ingress burst 1500",
        ),
        (station(r#""port":"p9""#), NotFound, "port p9 does not exist"),
        (station(r#""port":"p0","vlan":10"#), Invalid, "does not carry VLAN 10"),
        (station(r#""port":"a10","vlan":11"#), Invalid, "does not carry VLAN 11"),
        (station(r#""port":"up0","vlan":2"#), Invalid, "does not carry VLAN 2"),
        (station(r#""port":"up0""#), Invalid, "say which"),
        (
            r#"fdb.add {"bridge":"br1","station":{"mac":"02:00:00:00:00:02","port":"p0"}}"#.into(),
            Invalid,
            "port p0, which is of bridge br0",
        ),
        (
            r#"fdb.add {"bridge":"br9","station":{"mac":"02:00:00:00:00:02","port":"p0"}}"#.into(),
            NotFound,
            "bridge br9 does not exist",
        ),
        (r#"fdb.del {"bridge":"br9","mac":"02:00:00:00:00:02"}"#.into(), NotFound, "br9"),
        (r#"fdb.flush {"bridge":"br9"}"#.into(), NotFound, "br9"),
        (r#"fdb.flush {"port":"p9"}"#.into(), NotFound, "p9"),
    ];
    for (text, code, part) in cases {
        let error = error_of(&text);
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_error_about_a_bridge_says_how_to_make_the_first() {
    let error = apply(&Config::default(), &change(r#"bridge.del {"name":"br0"}"#)).unwrap_err();
    assert_eq!(
        error.message,
        "bridge br0 does not exist; there are none yet; make it with `bridge add`"
    );
}

#[test]
fn an_mtu_too_small_for_ipv6_is_refused_whoever_sets_it() {
    let port =
        r#"port.add {"name":"v6","port":{"bridge":"br0","kind":{"tap":{"ips":["fd00::2/64"]}}}}"#;
    let config = config_of(&[r#"bridge.add {"name":"br0"}"#, port]);
    for text in [r#"port.set {"name":"v6","mtu":1279}"#, r#"bridge.set {"name":"br0","mtu":1279}"#]
    {
        let error = apply(&config, &change(text)).expect_err(text);
        assert!(
            error.message.contains("port v6: its IPv6 address needs an MTU of 1280"),
            "{error}"
        );
    }
    apply(&config, &change(r#"bridge.set {"name":"br0","mtu":1280}"#)).unwrap();
}

#[test]
fn a_link_local_gateway_needs_no_address() {
    config_of(&[
        r#"bridge.add {"name":"br0"}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"gateways":["fe80::1"]}}}}"#,
    ]);
}

#[test]
fn a_port_has_its_bridges_mtu_unless_it_has_its_own() {
    let config = config_of(&[
        r#"bridge.add {"name":"br0","mtu":9000}"#,
        r#"port.add {"name":"own","port":{"bridge":"br0","kind":{"tap":{"ifname":"a"}},"mtu":1400}}"#,
        r#"port.add {"name":"with","port":{"bridge":"br0","kind":{"tap":{"ifname":"b"}}}}"#,
    ]);
    let mtu =
        |name: &str| config.mtu_of(&config.ports[&name.parse::<ctl::PortName>().unwrap()]).bytes();
    assert_eq!((mtu("own"), mtu("with")), (1400, 9000));
}

#[test]
fn what_is_not_given_stays() {
    let after = |text: &str| apply(&network(), &change(text)).unwrap();
    let config = after(r#"port.set {"name":"up0","isolated":true,"mtu":1450}"#);
    let (before, port) = (
        &network().ports[&"up0".parse::<ctl::PortName>().unwrap()],
        &config.ports[&"up0".parse::<ctl::PortName>().unwrap()],
    );
    assert!(port.isolated && port.mtu.unwrap().bytes() == 1450);
    assert_eq!((&port.vlan, port.hairpin, port.mac_limit), (&before.vlan, false, None));
    let config = after(r#"bridge.set {"name":"br1","ageing_seconds":60}"#);
    let bridge = &config.bridges[&"br1".parse::<ctl::BridgeName>().unwrap()];
    assert_eq!((bridge.ageing_seconds, bridge.mac_limit, bridge.mtu.bytes()), (60, 8192, 1500));
}

#[test]
fn a_port_can_have_its_bridges_settings_again() {
    let own = config_of(&[
        r#"bridge.add {"name":"br0"}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{}},"mtu":1400,"mac_limit":5,
            "vlan":{"access":10}}}"#,
    ]);
    let again = change(r#"port.set {"name":"p0","mtu":null,"mac_limit":null,"vlan":"unaware"}"#);
    let config = apply(&own, &again).unwrap();
    let port = &config.ports[&"p0".parse::<ctl::PortName>().unwrap()];
    assert_eq!((port.mtu, port.mac_limit, port.vlan.is_unaware()), (None, None, true));
}

#[test]
fn a_port_is_guarded_and_slowed_down_until_it_is_not() {
    let set = |text: &str, config: &Config| apply(config, &change(text)).unwrap();
    let on = r#"port.set {"name":"p0","guard":true,"egress":{"rate":"100mbit"},"ingress":{"rate":"50mbit"}}"#;
    let slowed = set(on, &network());
    let port = &slowed.ports[&"p0".parse::<ctl::PortName>().unwrap()];
    assert_eq!((port.guard, port.egress.unwrap().rate.to_string().as_str()), (true, "100mbit"));
    assert_eq!(port.ingress.unwrap().burst_bytes(), 312_500);
    assert_eq!(set(r#"port.set {"name":"p0","mtu":1400}"#, &slowed).ports.len(), 3);
    let off = r#"port.set {"name":"p0","guard":false,"egress":null,"ingress":null}"#;
    assert_eq!(set(off, &network()), set(off, &slowed));
    assert_eq!(set(off, &slowed), network());
}

#[test]
fn what_may_be_there_or_not_is_no_error_either_way() {
    for text in [
        r#"bridge.add {"name":"br0","mtu":9000,"may_exist":true}"#,
        r#"bridge.del {"name":"br9","if_exists":true}"#,
        r#"port.del {"name":"p9","if_exists":true}"#,
        r#"detach {"netns":"nobody"}"#,
        r#"fdb.del {"bridge":"br0","mac":"02:00:00:00:00:09"}"#,
        "fdb.flush",
    ] {
        assert_eq!(apply(&network(), &change(text)).unwrap(), network(), "{text}");
    }
}

#[test]
fn a_station_behind_a_port_goes_with_it() {
    let bridge =
        |config: &Config| config.bridges[&"br0".parse::<ctl::BridgeName>().unwrap()].statics.len();
    assert_eq!(bridge(&network()), 1);
    for text in [r#"port.del {"name":"p0"}"#, r#"detach {"netns":"web"}"#] {
        assert_eq!(bridge(&apply(&network(), &change(text)).unwrap()), 0, "{text}");
    }
}

#[test]
fn a_station_entered_again_moves() {
    let config = config_of(&[
        r#"bridge.add {"name":"br0"}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"ifname":"a"}}}}"#,
        r#"port.add {"name":"p1","port":{"bridge":"br0","kind":{"tap":{"ifname":"b"}}}}"#,
        r#"fdb.add {"bridge":"br0","station":{"mac":"02:00:00:00:00:01","port":"p0"}}"#,
        r#"fdb.add {"bridge":"br0","station":{"mac":"02:00:00:00:00:01","port":"p1"}}"#,
    ]);
    let statics = &config.bridges[&"br0".parse::<ctl::BridgeName>().unwrap()].statics;
    assert_eq!(statics.len(), 1);
    assert_eq!(statics[0].port.as_str(), "p1");
}

#[test]
fn stations_entered_by_hand_respect_the_mac_limit() {
    let config = config_of(&[
        r#"bridge.add {"name":"br0","mac_limit":1}"#,
        r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{}}}}"#,
        r#"fdb.add {"bridge":"br0","station":{"mac":"02:00:00:00:00:01","port":"p0"}}"#,
    ]);
    let more = r#"fdb.add {"bridge":"br0","station":{"mac":"02:00:00:00:00:02","port":"p0"}}"#;
    let error = apply(&config, &change(more)).unwrap_err();
    assert!(error.message.contains("exceed its MAC limit of 1"), "{error}");
}

proptest! {
    #[test]
    fn a_change_is_made_whole_or_not_at_all_and_its_result_is_a_valid_configuration(
        beginning in arbitrary::beginning(),
        mutations in vec(arbitrary::mutation(), 0..60),
    ) {
        let mut config = beginning;
        for mutation in &mutations {
            let before = config.clone();
            match apply(&config, mutation) {
                Ok(next) => config = next,
                Err(error) => prop_assert!(!error.message.is_empty()),
            }
            if config == before {
                continue;
            }
            // Reading looks at everything anew, a change only at what it touches.
            prop_assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config.clone());
        }
    }
}

proptest! {
    #[test]
    fn a_batch_does_what_its_changes_do_one_after_the_other(
        beginning in arbitrary::beginning(),
        changes in vec(arbitrary::single(), 0..12),
    ) {
        let made = |config: &Config, one: &Mutation| one.is_kept().then(|| apply(config, one).ok()).flatten();
        let mut changes = changes;
        let mut config = beginning.clone();
        // Those that can be made, and that do not merely forget what was learned.
        changes.retain(|one| {
            let forgets = matches!(one, Mutation::FdbDel(_) | Mutation::NeighborDel(_));
            let next = made(&config, one).filter(|next| !forgets || *next != config);
            next.map(|next| config = next).is_some()
        });
        let batch = Batch { changes };
        prop_assert_eq!(apply_all(&beginning, &batch).unwrap().len(), batch.changes.len());
        prop_assert_eq!(apply(&beginning, &Mutation::Batch(batch)).unwrap(), config);
    }
}

#[test]
fn a_batch_is_made_whole_or_not_at_all() {
    let config = network();
    let batch = |changes: &[&str]| {
        let changes = changes.iter().map(|text| change(text)).collect();
        apply(&config, &Mutation::Batch(Batch { changes }))
    };
    let port = r#"port.add {"name":"n0","port":{"bridge":"new","kind":{"tap":{"netns":"n"}}}}"#;
    let bridge = r#"bridge.add {"name":"new"}"#;
    // Judged as a whole: the order is the user's.
    assert!(batch(&[port, bridge]).unwrap().has_port(&"n0".parse().unwrap()));
    let error = batch(&[bridge, port, bridge]).unwrap_err();
    assert!(error.message.starts_with("change 3: "), "{error}");
    assert!(batch(&[port]).unwrap_err().message.contains("new"));
    // What does not fit together is told of the change that brings it.
    let other = r#"bridge.add {"name":"other"}"#;
    let error = batch(&[other, port, r#"bridge.add {"name":"another"}"#]).unwrap_err();
    assert!(error.message.starts_with("change 2: port n0: "), "{error}");
    assert_eq!(error.change(3).map(|(number, _)| number), Some(2));
    assert_eq!(error.change(1), Some((1, &*error.message)));
    assert_eq!(CtlError::invalid("change 4: of three").change(3), None);
    for fleeting in [
        r#"port.move {"name":"p0","worker":0}"#,
        r#"fdb.flush {}"#,
        r#"neighbor.flush {}"#,
        r#"conn.flush {}"#,
        r#"batch {"changes":[]}"#,
        r#"fdb.del {"bridge":"br0","mac":"02:00:00:00:00:77"}"#,
    ] {
        let error = batch(&[bridge, fleeting]).unwrap_err();
        assert!(error.message.starts_with("change 2: "), "{fleeting}: {error}");
    }
}

/// A property over requests that are all refused would say little.
#[test]
fn random_requests_make_some_of_everything() {
    let mut runner = TestRunner::deterministic();
    let mut made = [0; 8];
    for _ in 0..400 {
        let config = arbitrary::config().new_tree(&mut runner).unwrap().current();
        let kinds = [
            config.ports.len(),
            config.vxlans.len(),
            config.routes.len(),
            config.allowed.len(),
            config.nat.len(),
            config.flows.len(),
            config.bridges.values().filter(|bridge| !bridge.neighbors.is_empty()).count(),
            config.bridges.values().filter(|bridge| bridge.advertise.is_some()).count(),
        ];
        made.iter_mut().zip(kinds).for_each(|(made, there)| *made += usize::from(there > 0));
    }
    assert!(made.iter().all(|made| *made >= 5), "of 400: {made:?}");
}
