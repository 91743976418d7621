//! Tunnels.

use ctl::ErrorCode::{Exists, InUse, Invalid, NotFound};
use ctl::{Config, apply};

use crate::apply::{change, config_of, refuses};

const TUNNEL: [&str; 3] = [
    r#"bridge.add {"name":"br0"}"#,
    r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{}}}}"#,
    r#"vxlan.add {"name":"vx0","vxlan":{"bridge":"br0","vni":7,"local":"192.0.2.1",
       "remotes":["192.0.2.2"]}}"#,
];

fn tunnel() -> Config {
    config_of(&TUNNEL)
}

fn mtu(config: &Config) -> u32 {
    config.mtu_of(&config.ports[&"p0".parse::<ctl::PortName>().unwrap()]).bytes()
}

#[test]
fn a_tunnel_that_cannot_be_is_refused_with_a_reason() {
    let vxlan = |rest: &str| {
        format!(
            r#"vxlan.add {{"name":"x","vxlan":{{"bridge":"br0","vni":8,"local":"192.0.2.1"{rest}}}}}"#
        )
    };
    let cases = [
        (vxlan("").replace("br0", "br9"), NotFound, "vxlan x: bridge br9"),
        (vxlan("").replace("192.0.2.1", "0.0.0.0"), Invalid, "--local 0.0.0.0 is not"),
        (vxlan("").replace("192.0.2.1", "239.0.0.1"), Invalid, "not the address of one host"),
        (vxlan(r#","remotes":["239.0.0.1"]"#), Invalid, "name each host with a --remote"),
        (
            vxlan(r#","remotes":["192.0.2.1"]"#),
            Invalid,
            "both --local, an address of this host, and --remote",
        ),
        (vxlan(r#","remotes":["2001:db8::2"]"#), Invalid, "not of one IP version"),
        (vxlan(r#","remotes":["192.0.2.2","192.0.2.2"]"#), Invalid, "given twice"),
        (vxlan(r#","dstport":0"#), Invalid, "can be 0"),
        (vxlan(r#","ttl":0"#), Invalid, "can be 0"),
        (vxlan(r#","underlay_mtu":100"#), Invalid, "leaves too little"),
        (
            vxlan("").replace(":8,", ":7,"),
            Exists,
            "VNI 7 at 192.0.2.1 port 4789 cannot be both vxlan vx0 and x",
        ),
        (vxlan("").replace("\"x\"", "\"p0\""), Exists, "p0 is a port already"),
        (vxlan("").replace("\"x\"", "\"vx0\""), Exists, "change it with `vxlan set`"),
        (
            r#"port.add {"name":"vx0","port":{"bridge":"br0","kind":{"tap":{"ifname":"b"}}}}"#
                .into(),
            Exists,
            "vxlan vx0: a port has this name already",
        ),
        (r#"port.del {"name":"vx0"}"#.into(), NotFound, "is a tunnel; use `vxlan`"),
        (r#"port.set {"name":"vx0","mtu":1400}"#.into(), NotFound, "use `vxlan`, not `port`"),
        (r#"vxlan.del {"name":"p0"}"#.into(), NotFound, "`vxlan list`"),
        (r#"vxlan.set {"name":"x","ttl":1}"#.into(), NotFound, "vxlan x does not exist"),
        (r#"vxlan.set {"name":"vx0","ttl":0}"#.into(), Invalid, "can be 0"),
    ];
    refuses(&tunnel(), &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn the_same_number_may_be_on_another_port_or_address() {
    let other = |end: &str| {
        format!(r#"vxlan.add {{"name":"vx1","vxlan":{{"bridge":"br0","vni":7,{end}}}}}"#)
    };
    for end in [r#""local":"192.0.2.1","dstport":8472"#, r#""local":"192.0.2.9""#] {
        apply(&tunnel(), &change(&other(end))).unwrap();
    }
}

#[test]
fn a_tunnel_is_made_once() {
    assert_eq!(apply(&tunnel(), &change(TUNNEL[2])).unwrap(), tunnel());
    let gone = apply(&tunnel(), &change(r#"vxlan.del {"name":"vx0"}"#)).unwrap();
    let del = change(r#"vxlan.del {"name":"vx0","if_exists":true}"#);
    assert_eq!(apply(&gone, &del).unwrap(), gone);
}

#[test]
fn ports_have_the_mtu_that_the_tunnel_carries() {
    assert_eq!(mtu(&config_of(&TUNNEL[..2])), 1500);
    let config = tunnel();
    assert_eq!(mtu(&config), 1450);
    let after = |text: &str| apply(&config, &change(text)).unwrap();
    assert_eq!(mtu(&after(r#"vxlan.set {"name":"vx0","underlay_mtu":9000}"#)), 1500);
    assert_eq!(mtu(&after(r#"bridge.set {"name":"br0","mtu":9000}"#)), 1450);
    let six = r#"vxlan.add {"name":"vx1","vxlan":{"bridge":"br0","vni":7,"local":"2001:db8::1"}}"#;
    assert_eq!(mtu(&after(six)), 1430);
    refuses(
        &config,
        &[(
            r#"port.set {"name":"p0","mtu":1451}"#,
            Invalid,
            "its MTU of 1451 is more than the 1450 bytes that vxlan vx0 carries",
        )],
    );
    assert_eq!(mtu(&after(r#"port.set {"name":"p0","mtu":1450}"#)), 1450);
}

#[test]
fn a_tunnel_too_small_for_an_ipv6_gateway_is_refused() {
    let routed =
        apply(&tunnel(), &change(r#"bridge.set {"name":"br0","gateways":["fd00::1/64"]}"#));
    refuses(
        &routed.unwrap(),
        &[(
            r#"vxlan.set {"name":"vx0","underlay_mtu":1300}"#,
            Invalid,
            "its IPv6 gateway needs an MTU of 1280 or more, and the bridge or a tunnel has 1250",
        )],
    );
}

#[test]
fn a_station_behind_a_tunnel_is_on_one_of_its_hosts() {
    let station = |rest: &str| {
        format!(r#"fdb.add {{"bridge":"br0","station":{{"mac":"02:00:00:00:00:02",{rest}}}}}"#)
    };
    let cases = [
        (station(r#""port":"vx0""#), Invalid, "say on which host, with --vtep"),
        (station(r#""port":"vx0","vtep":"192.0.2.3""#), Invalid, "`vxlan set vx0 --remote`"),
        (station(r#""port":"p0","vtep":"192.0.2.2""#), Invalid, "is no tunnel"),
        (station(r#""port":"vx0","vtep":"192.0.2.2","vlan":7"#), Invalid, "does not carry VLAN 7"),
    ];
    refuses(&tunnel(), &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
    let behind = station(r#""port":"vx0","vtep":"192.0.2.2""#);
    let config = apply(&tunnel(), &change(&behind)).unwrap();
    let statics =
        |config: &Config| config.bridges[&"br0".parse::<ctl::BridgeName>().unwrap()].statics.len();
    let gone = apply(&config, &change(r#"vxlan.del {"name":"vx0"}"#)).unwrap();
    assert_eq!((statics(&config), statics(&gone)), (1, 0));
    refuses(&config, &[(r#"vxlan.set {"name":"vx0","remotes":[]}"#, Invalid, "is no remote of")]);
    apply(&config, &change(r#"fdb.flush {"port":"vx0"}"#)).unwrap();
}

#[test]
fn what_is_not_given_stays() {
    let set = r#"vxlan.set {"name":"vx0","tos":"inherit","learning":false}"#;
    let config = apply(&tunnel(), &change(set)).unwrap();
    let vxlan = &config.vxlans[&"vx0".parse::<ctl::PortName>().unwrap()];
    assert_eq!((vxlan.tos.to_string().as_str(), vxlan.learning, vxlan.ttl), ("inherit", false, 64));
    assert_eq!((vxlan.remotes.len(), vxlan.dstport, vxlan.vni.number()), (1, 4789, 7));
}

#[test]
fn a_tunnel_travels_over_a_bridge_that_has_its_address() {
    let out = r#"bridge.add {"name":"out","gateways":["192.0.2.1/24"]}"#;
    let over = |via: &str, rest: &str| {
        format!(
            r#"vxlan.add {{"name":"vx0","vxlan":{{"bridge":"br0","vni":7,"local":"192.0.2.1","via":"{via}"{rest}}}}}"#
        )
    };
    let bare = config_of(&[TUNNEL[0], out]);
    let elsewhere = over("out", "").replace("192.0.2.1", "192.0.2.7");
    refuses(
        &bare,
        &[
            (&over("nowhere", ""), NotFound, "vxlan vx0: bridge nowhere"),
            (&over("br0", ""), Invalid, "over that bridge itself"),
            (&elsewhere, Invalid, "bridge out does not have the address 192.0.2.7"),
        ],
    );
    let config = apply(&bare, &change(&over("out", ""))).unwrap();
    let by_socket = over("out", "").replace("vx0", "vx1").replace(":7,", ":8,");
    let by_socket = by_socket.replace(r#","via":"out""#, "");
    refuses(
        &config,
        &[
            (&by_socket, Invalid, "use the same --via"),
            (r#"bridge.set {"name":"out","gateways":[]}"#, Invalid, "does not have the address"),
            (r#"bridge.del {"name":"out"}"#, InUse, "vxlan vx0"),
        ],
    );
    // On an interface of the host's it is the host that has the address.
    let shared = r#"port.add {"name":"up0","port":{"bridge":"shared","shared":true,"kind":{"netdev":{"device":"eth0"}}}}"#;
    let config = apply(&config_of(&[TUNNEL[0], shared]), &change(&over("shared", ""))).unwrap();
    let gone = apply(&config, &change(r#"vxlan.del {"name":"vx0"}"#)).unwrap();
    assert_eq!((config.vxlans.len(), gone.vxlans.len()), (1, 0));
}
