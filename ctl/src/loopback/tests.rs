//! What is relayed, and on which bridge.

use super::*;
use crate::{
    Batch, HostUplink, MacAddr, Mutation, Named, NatAdd, NetdevMode, PortAdd, ServiceAdd,
    ServiceSet, apply, apply_all,
};

/// An uplink that shares the host's interface, another that does not, and a bridge with containers.
fn config() -> Config {
    let mut config = Config::default();
    for (name, gateways) in [
        ("shared", vec!["192.0.2.2/24", "2001:db8::2/64"]),
        ("own", vec!["198.51.100.2/24"]),
        ("inside", vec!["10.0.0.1/24", "fd00::1/64"]),
    ] {
        let gateways = gateways.iter().map(|cidr| cidr.parse().unwrap()).collect();
        config.bridges.insert(name.parse().unwrap(), Bridge { gateways, ..Bridge::default() });
    }
    let device: IfName = "eth0".parse().unwrap();
    let kind = PortKind::Netdev { device, netns: None, mode: NetdevMode::Auto };
    let port = Port { shared: true, ..Port::new("shared".parse().unwrap(), kind) };
    apply(&config, &Mutation::PortAdd(Box::new(PortAdd { name: "up0".parse().unwrap(), port })))
        .unwrap()
}

fn publish(config: &Config, name: &str, forward: &str, on: &str) -> Result<Config, CtlError> {
    let (on, forward) = (on.parse().unwrap(), forward.parse().unwrap());
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    apply(config, &Mutation::NatAdd(NatAdd { name: Some(name.parse().unwrap()), rule }))
}

fn revoke(config: &Config, name: &str) -> Config {
    let named = Named { name: name.parse().unwrap(), if_exists: false };
    apply(config, &Mutation::NatDel(named)).unwrap()
}

fn serve(config: &Config, name: &str, listen: &str, node_port: u16) -> Result<Config, CtlError> {
    let service = Service { node_port: Some(node_port), ..Service::new(listen.parse().unwrap()) };
    let add = ServiceAdd { name: name.parse().unwrap(), service };
    apply(config, &Mutation::ServiceAdd(Box::new(add)))
}

fn addresses(config: &Config) -> Vec<String> {
    config.relayed().map(|one| one.address.to_string()).collect()
}

/// The host has these addresses on the interface that it shares.
fn moved(config: &Config, addresses: &[&str]) -> Config {
    let addresses = addresses.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let host = HostUplink { mac: MacAddr([2; 6]), addresses, routes: BTreeMap::new() };
    config.following(&"shared".parse().unwrap(), &host).unwrap()
}

#[test]
fn what_is_the_hosts_and_what_is_the_loopbacks_is_relayed() {
    let cases = [
        ("8080:10.0.0.2:80/tcp", "shared", vec!["127.0.0.1", "192.0.2.2"]),
        ("8080:[fd00::2]:80/udp", "shared", vec!["::1", "2001:db8::2"]),
        ("192.0.2.2:8080:10.0.0.2:80/tcp", "shared", vec!["192.0.2.2"]),
        ("8080:10.0.0.2:80/sctp", "shared", vec![]),
        ("8080:10.0.0.2:80/tcp", "own", vec![]),
        ("198.51.100.2:8080:10.0.0.2:80/tcp", "own", vec![]),
        ("127.0.0.1:8080:10.0.0.2:80/tcp", "own", vec!["127.0.0.1"]),
        ("127.0.0.5:8080:10.0.0.2:80/tcp", "inside", vec!["127.0.0.5"]),
        ("[::1]:8080:[fd00::2]:80/tcp", "inside", vec!["::1"]),
    ];
    for (forward, on, expected) in cases {
        let config = publish(&config(), "web", forward, on).unwrap();
        assert_eq!(addresses(&config), expected, "{forward} on {on}");
        let is_made = config.bridges.contains_key(&BridgeName::loopback());
        assert_eq!(is_made, !expected.is_empty(), "{forward} on {on}");
    }
}

#[test]
fn the_daemons_bridge_comes_with_the_first_rule_and_goes_with_the_last() {
    let before = config();
    let one = publish(&before, "one", "8080:10.0.0.2:80/tcp", "shared").unwrap();
    let two = publish(&one, "two", "[::1]:81:[fd00::2]:80/tcp", "inside").unwrap();
    assert_eq!((&one.bridges, &one.ports), (&two.bridges, &two.ports));
    let one_again = revoke(&two, "one");
    assert_eq!(one_again.bridges, one.bridges);
    assert_eq!(revoke(&one_again, "two"), before);
    // The interface stays the host's: with it goes what it was for.
    let mut alone = one.clone();
    alone.nat = Default::default();
    settle(&one, &mut alone);
    assert_eq!(alone.bridges, before.bridges);
}

#[test]
fn nobody_else_has_the_daemons_bridge_or_a_port_on_it() {
    let config = publish(&config(), "web", "8080:10.0.0.2:80/tcp", "shared").unwrap();
    let requests = [
        r#"bridge.add {"name":"host-loopback","may_exist":false}"#,
        r#"bridge.del {"name":"host-loopback"}"#,
        r#"bridge.set {"name":"host-loopback","gateways":["10.9.0.1/24"]}"#,
        r#"port.del {"name":"host-loopback"}"#,
        r#"port.set {"name":"host-loopback","isolated":true}"#,
        r#"port.add {"name":"x","port":{"bridge":"host-loopback","kind":{"tap":{}}}}"#,
        r#"nat.add {"rule":{"publish":{"on":"host-loopback","forward":"99:10.0.0.2/tcp"}}}"#,
        r#"nat.add {"rule":{"masquerade":{"from":"host-loopback","to":"own"}}}"#,
    ];
    for request in requests {
        let (op, args) = request.split_once(' ').unwrap();
        let line = format!(r#"{{"v":1,"id":1,"op":"{op}","args":{args}}}"#);
        let request = crate::wire::parse_request(line.as_bytes()).unwrap().request;
        let crate::Request::Mutation(mutation) = request else { panic!("{op} changes nothing") };
        assert!(apply(&config, &mutation).is_err(), "{line}");
    }
    let mut without = config.clone();
    without.nat = Default::default();
    settle(&config, &mut without);
    let add = crate::BridgeAdd::new(BridgeName::loopback());
    assert!(apply(&without, &Mutation::BridgeAdd(add)).is_err(), "the name is taken for good");
}

#[test]
fn one_port_of_the_loopback_leads_to_one_container() {
    let config = publish(&config(), "web", "8080-8089:10.0.0.2:80/tcp", "shared").unwrap();
    let cases = [
        ("127.0.0.1:8085:10.0.0.3:80/tcp", false),
        ("127.0.0.9:8080:10.0.0.2:80/tcp", false),
        ("127.0.0.1:8080-8089:10.0.0.2:80/tcp", true),
        ("127.0.0.1:8085:10.0.0.3:80/udp", true),
        ("[::1]:8085:[fd00::3]:80/tcp", true),
        ("127.0.0.1:8090:10.0.0.3:80/tcp", true),
        ("127.0.0.1:8090:10.0.0.3:80/sctp", false),
    ];
    for (forward, is_possible) in cases {
        let published = publish(&config, "other", forward, "own");
        assert_eq!(published.is_ok(), is_possible, "{forward}: {:?}", published.err());
    }
    // The same place, whether the rule names its bridge or leaves it to be found.
    let forward = "127.0.0.2:8080-8089:10.0.0.2:80/tcp".parse().unwrap();
    let to = Some("inside".parse().unwrap());
    let rule = Publish { on: "own".parse().unwrap(), forward, to, port: None };
    let add = NatAdd { name: None, rule: NatRule::Publish(rule) };
    apply(&config, &Mutation::NatAdd(add)).unwrap();
}

#[test]
fn a_node_port_is_at_every_address_of_the_host() {
    let cases = [
        ("10.96.0.10:80/tcp", vec!["127.0.0.1", "192.0.2.2"]),
        ("[fd96::10]:80/udp", vec!["::1", "2001:db8::2"]),
        ("10.96.0.10:80/sctp", vec![]),
    ];
    for (listen, expected) in cases {
        let config = serve(&config(), "web", listen, 30080).unwrap();
        assert_eq!(addresses(&config), expected, "{listen}");
        let is_made = config.bridges.contains_key(&BridgeName::loopback());
        assert_eq!(is_made, !expected.is_empty(), "{listen}");
    }
    // Where it is not found it is not relayed, and with it goes the bridge.
    let with = serve(&config(), "web", "10.96.0.10:80/tcp", 30080).unwrap();
    let set: ServiceSet = serde_json::from_str(r#"{"name":"web","on":["inside"]}"#).unwrap();
    let elsewhere = apply(&with, &Mutation::ServiceSet(set)).unwrap();
    assert!(addresses(&elsewhere).is_empty());
    assert_eq!(elsewhere.bridges, config().bridges);
}

#[test]
fn a_node_port_and_a_rule_do_not_lead_from_one_port_of_the_loopback() {
    let with = serve(&config(), "web", "10.96.0.10:80/tcp", 8080).unwrap();
    let error = publish(&with, "admin", "127.0.0.1:8080:10.0.0.2:80/tcp", "inside").err().unwrap();
    assert!(error.message.contains("nat rule admin and service web both lead from"), "{error}");
    let with = publish(&config(), "admin", "127.0.0.1:8080:10.0.0.2:80/tcp", "inside").unwrap();
    assert!(serve(&with, "web", "10.96.0.10:80/tcp", 8080).is_err());
}

#[test]
fn an_interface_that_is_shared_on_another_bridge_in_one_step_is_shared_otherwise() {
    let conflicting = |config: &Config| {
        let with = publish(config, "web", "8080:10.0.0.2:80/tcp", "own").unwrap();
        publish(&with, "admin", "127.0.0.1:8080:10.0.0.3:80/tcp", "inside").unwrap()
    };
    let name: PortName = "up0".parse().unwrap();
    let port = Port { bridge: "own".parse().unwrap(), ..config().ports[&name].clone() };
    let step = Batch {
        changes: vec![
            Mutation::PortDel(Named { name: name.clone(), if_exists: false }),
            Mutation::PortAdd(Box::new(PortAdd { name, port })),
        ],
    };
    let before = publish(&config(), "web", "8080:10.0.0.2:80/tcp", "own").unwrap();
    let after = apply_all(&before, &step).unwrap().pop().unwrap();
    assert_eq!(addresses(&after), ["127.0.0.1", "198.51.100.2"]);
    assert!(!after.relays_as(&before));
    // What leads from one port of the loopback to two containers is refused in this step, and not in all later ones.
    let error = apply_all(&conflicting(&config()), &step).err().unwrap();
    assert!(error.message.contains("both lead from"), "{error}");
}

#[test]
fn what_is_relayed_follows_the_addresses_of_the_host() {
    let before = publish(&config(), "web", "192.0.2.2:8080:10.0.0.2:80/tcp", "shared").unwrap();
    let has_bridge = |config: &Config| config.bridges.contains_key(&BridgeName::loopback());
    let away = moved(&before, &["192.0.2.3/24"]);
    assert!(addresses(&away).is_empty() && !has_bridge(&away));
    let back = moved(&away, &["192.0.2.2/24", "fe80::3/64"]);
    assert_eq!(addresses(&back), ["192.0.2.2"]);
    assert!(has_bridge(&back) && !back.relays_as(&away) && back.is_to_relay_as(&away));
}
