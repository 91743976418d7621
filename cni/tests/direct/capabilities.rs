//! What a runtime may ask for a container: published ports, rates, names, name servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ctl::response::{NatInfo, PortInfo};
use ctl::{
    BridgeAdd, Masquerade, Mutation, NatAdd, NatRule, Port, PortAdd, PortKind, PortName, Query,
    RouteAdd, Tap,
};
use netlab::{Container, LabError, Need, Test, TestResult, test};
use serde_json::{Value, json};

use crate::plugin::{Fallible, Host, Run, gone, subnet, with};

const PATIENCE: Duration = Duration::from_secs(10);

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(a_published_port_is_reached_from_outside_and_sees_who_asks),
        test!(a_port_is_published_on_the_uplink_that_has_the_address),
        test!(a_port_that_is_taken_is_refused_and_nothing_is_left),
        test!(a_port_cannot_be_published_where_there_is_no_outside),
        test!(a_port_of_the_hosts_loopback_needs_no_outside),
        test!(rules_go_with_their_container),
        test!(bandwidth_is_the_rate_of_the_port),
        test!(what_is_not_supported_is_refused_by_name),
        test!(names_are_those_of_the_runtime_and_the_pod),
        test!(name_servers_are_the_runtimes_or_the_configurations),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

/// Gives a host an uplink, and somebody outside: 192.0.2.1 and 192.0.2.9.
pub fn outside(host: &Host) -> Fallible<Container> {
    let gateways = vec!["192.0.2.1/24".parse()?];
    host.change(Mutation::BridgeAdd(BridgeAdd { gateways, ..BridgeAdd::new("up".parse()?) }))?;
    let route =
        RouteAdd { on: "up".parse()?, to: "default".parse()?, via: vec!["192.0.2.254".parse()?] };
    host.change(Mutation::RouteAdd(route))?;
    let world = Container::new()?;
    let tap = Tap {
        netns: Some(world.reference()),
        ips: vec!["192.0.2.9/24".parse()?],
        ..Tap::new("eth0".parse()?)
    };
    let port = Port::new("up".parse()?, PortKind::Tap(tap));
    host.change(Mutation::PortAdd(Box::new(PortAdd { name: "world".parse()?, port })))?;
    world.await_ready("eth0")?;
    Ok(world)
}

fn socket_error(source: std::io::Error) -> LabError {
    LabError::Socket { operation: "reach a published port", source }
}

/// Connects to `to`, and returns whom the container on `port` sees.
fn seen(from: &Container, to: &str, container: &Container, port: u16) -> Fallible<SocketAddr> {
    let target: SocketAddr = to.parse()?;
    let listener: TcpListener =
        container.run(|| TcpListener::bind(("0.0.0.0", port)).map_err(socket_error))?;
    let mut near: TcpStream =
        from.run(|| TcpStream::connect_timeout(&target, PATIENCE).map_err(socket_error))?;
    let (mut far, peer) = listener.accept()?;
    near.write_all(b"hello")?;
    let mut heard = [0; 5];
    far.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    Ok(peer)
}

pub fn mappings(list: Value) -> Value {
    json!({ "portMappings": list })
}

fn published(host: &Host) -> Fallible<usize> {
    let rules: Vec<NatInfo> = host.ask(Query::NatList)?;
    Ok(rules.iter().filter(|rule| rule.rule.port().is_some()).count())
}

fn a_published_port_is_reached_from_outside_and_sees_who_asks() -> TestResult {
    let host = Host::new()?;
    let world = outside(&host)?;
    let conf = with(&host.conf("web", subnet("10.1.0.0/24")), "isDefaultGateway", true);
    let wanted = mappings(json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8081, "containerPort": 81, "protocol": "UDP", "hostIP": "192.0.2.1" },
        { "hostPort": 0, "containerPort": 99, "protocol": "tcp" },
    ]));
    let conf = with(&conf, "runtimeConfig", wanted);
    let a = Container::new()?;
    let nobodys = mappings(json!([
        { "hostPort": 8081, "containerPort": 81, "protocol": "udp", "hostIP": "192.0.2.99" },
    ]));
    let (code, message) =
        Run::command("ADD", "a", &a, &with(&conf, "runtimeConfig", nobodys)).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("192.0.2.99 is no address of bridge up"), "{message}");
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(published(&host)?, 2, "zero is not published");
    let peer = seen(&world, "192.0.2.1:8080", &a, 80)?;
    assert_eq!(peer.ip().to_string(), "192.0.2.9");
    Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result.clone())).result()?;
    // Somebody takes one away.
    let rules: Vec<NatInfo> = host.ask(Query::NatList)?;
    let rule = rules.iter().find(|rule| rule.rule.port().is_some()).ok_or("no rule")?;
    host.change(Mutation::NatDel(ctl::Named::new(rule.name.clone())))?;
    let check = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result));
    let (code, message) = check.error()?;
    assert_eq!(code, 104);
    assert!(message.contains("is not published on up"), "{message}");
    Run::command("DEL", "a", &a, &conf).result()?;
    assert_eq!(published(&host)?, 0);
    Ok(())
}

/// As its own, as one that it answers for, or as one that it masquerades by.
fn a_port_is_published_on_the_uplink_that_has_the_address() -> TestResult {
    let host = Host::new()?;
    let _world = outside(&host)?;
    let other = BridgeAdd {
        gateways: vec!["198.51.100.1/24".parse()?],
        proxy: vec!["198.51.100.64/26".parse()?],
        ..BridgeAdd::new("other".parse()?)
    };
    host.change(Mutation::BridgeAdd(other))?;
    host.change(Mutation::BridgeAdd(BridgeAdd {
        gateways: vec!["10.9.0.1/24".parse()?],
        ..BridgeAdd::new("lab".parse()?)
    }))?;
    let pool = Masquerade {
        addresses: Some("198.51.100.10-198.51.100.12".parse()?),
        ..Masquerade::new("lab".parse()?, "other".parse()?)
    };
    host.change(Mutation::NatAdd(NatAdd { name: None, rule: NatRule::Masquerade(pool) }))?;
    let conf = with(&host.conf("web", subnet("10.1.0.0/24")), "publishOn", json!(["up", "other"]));
    let at = |ip: &str| {
        let one = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ip });
        with(&conf, "runtimeConfig", mappings(json!([one])))
    };
    let a = Container::new()?;
    for (ip, on) in [
        ("192.0.2.1", "up"),
        ("198.51.100.1", "other"),
        ("198.51.100.70", "other"),
        ("198.51.100.11", "other"),
    ] {
        Run::command("ADD", "a", &a, &at(ip)).result()?;
        let rules: Vec<NatInfo> = host.ask(Query::NatList)?;
        let found = rules.iter().filter_map(|rule| match &rule.rule {
            NatRule::Publish(rule) => Some(rule.on.as_str()),
            _ => None,
        });
        assert_eq!(found.collect::<Vec<_>>(), [on], "{ip}");
        Run::command("DEL", "a", &a, &at(ip)).result()?;
    }
    let (code, message) = Run::command("ADD", "a", &a, &at("203.0.113.7")).error()?;
    assert_eq!(code, 7, "{message}");
    let own = "203.0.113.7 is no address of bridge up (192.0.2.1) or other (198.51.100.1)";
    assert!(message.contains(own), "{message}");
    Ok(())
}

fn a_port_that_is_taken_is_refused_and_nothing_is_left() -> TestResult {
    let host = Host::new()?;
    let _world = outside(&host)?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let one = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let other = json!({ "hostPort": 9090, "containerPort": 80, "protocol": "tcp" });
    let conf_a = with(&conf, "runtimeConfig", mappings(json!([one])));
    let conf_b = with(&conf, "runtimeConfig", mappings(json!([other, one])));
    let (a, b) = (Container::new()?, Container::new()?);
    Run::command("ADD", "a", &a, &conf_a).result()?;
    let before = (host.ports()?.len(), published(&host)?);
    let (code, message) = Run::command("ADD", "b", &b, &conf_b).error()?;
    assert_eq!(code, 102, "{message}");
    gone(&b, "eth0")?;
    assert_eq!((host.ports()?.len(), published(&host)?), before);
    // It is free when its container is gone.
    Run::command("DEL", "a", &a, &conf_a).result()?;
    Run::command("ADD", "b", &b, &conf_b).result()?;
    Ok(())
}

fn a_port_cannot_be_published_where_there_is_no_outside() -> TestResult {
    let host = Host::new()?;
    let one = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let conf = with(&conf, "runtimeConfig", mappings(json!([one])));
    let a = Container::new()?;
    let (code, message) = Run::command("ADD", "a", &a, &conf).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("has no uplink"), "{message}");
    assert!(message.contains("port add world --netdev eth0 --shared"), "{message}");
    for (key, value, fits) in [
        ("internal", json!(true), "network web is internal"),
        ("shape", json!("routed"), "at their own addresses"),
        ("ipMasq", json!(false), "`vswitchctl nat publish add"),
    ] {
        host.change(Mutation::NetworkRm(ctl::NetworkRm::new("web".parse()?)))?;
        let (code, message) = Run::command("ADD", "a", &a, &with(&conf, key, value)).error()?;
        assert_eq!(code, 7);
        assert!(message.contains(fits) && !message.contains("--shared"), "{message}");
    }
    host.has_nothing().map_err(Into::into)
}

fn a_port_of_the_hosts_loopback_needs_no_outside() -> TestResult {
    let host = Host::new()?;
    let one =
        json!({ "hostPort": 18093, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" });
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let conf = with(&conf, "runtimeConfig", mappings(json!([one])));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    let rules: Vec<NatInfo> = host.ask(Query::NatList)?;
    let on: Vec<_> = rules.iter().flat_map(|rule| rule.rule.bridges()).collect();
    assert!(on.iter().all(|on| on.as_str() == "web") && !on.is_empty(), "{on:?}");
    Run::command("DEL", "a", &a, &conf).result()?;
    assert_eq!(published(&host)?, 0);
    Ok(())
}

fn rules_go_with_their_container() -> TestResult {
    let host = Host::new()?;
    let _world = outside(&host)?;
    let one = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let conf = with(&conf, "runtimeConfig", mappings(json!([one])));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(published(&host)?, 1);
    // Nobody calls DEL: the namespace dies.
    drop(a);
    crate::plugin::eventually("its rule is gone", || {
        published(&host).is_ok_and(|count| count == 0)
    })?;
    Ok(())
}

fn bandwidth_is_the_rate_of_the_port() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let bandwidth = json!({ "ingressRate": 20_000_000, "ingressBurst": 8_000_000, "egressRate": 10_000_000,
        "egressBurst": 4_000_000 });
    let conf = with(&conf, "runtimeConfig", json!({ "bandwidth": bandwidth }));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let ports: Vec<PortInfo> = host.ports()?;
    let egress = ports[0].settings.egress.ok_or("no rate")?;
    assert_eq!((egress.rate.to_string().as_str(), egress.queue_bytes), ("20mbit", Some(1_000_000)));
    let ingress = ports[0].settings.ingress.ok_or("no rate from the container")?;
    let says = (ingress.rate.to_string(), ingress.burst_bytes);
    assert_eq!(says, ("10mbit".to_owned(), Some(500_000)));
    let check = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result));
    check.result()?;
    let name: PortName = ports[0].name.clone();
    let without = [
        ctl::PortSet { ingress: Some(None), ..ctl::PortSet::new(name.clone()) },
        ctl::PortSet {
            egress: Some(None),
            ingress: Some(Some(ingress)),
            ..ctl::PortSet::new(name)
        },
    ];
    for set in without {
        host.change(Mutation::PortSet(set))?;
        assert!(check.error()?.1.contains("another rate"));
    }
    Ok(())
}

fn what_is_not_supported_is_refused_by_name() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let add = Run::command(
        "ADD",
        "a",
        &a,
        &with(&conf, "sysctl", json!({ "net.core.somaxconn": "500" })),
    );
    let (code, message) = add.error()?;
    assert_eq!(code, 2);
    assert!(message.contains("sysctl"), "{message}");
    assert!(host.networks()?.is_empty(), "nothing was made");
    Ok(())
}

fn names_are_those_of_the_runtime_and_the_pod() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    for aliases in [json!(["db", "sql"]), json!({ "web": ["db", "sql"], "other": ["x"] })] {
        let conf = with(&conf, "runtimeConfig", json!({ "aliases": aliases }));
        let a = Container::new()?;
        let add = Run::command("ADD", "a", &a, &conf);
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=shop-7";
        add.with("CNI_ARGS", Some(args)).result()?;
        let networks = host.networks()?;
        let aliases: Vec<_> =
            networks[0].endpoints[0].aliases.iter().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(aliases, ["db", "sql", "shop-7"]);
        Run::command("DEL", "a", &a, &conf).result()?;
    }
    Ok(())
}

fn name_servers_are_the_runtimes_or_the_configurations() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let own = json!({ "nameservers": ["10.1.0.1"], "domain": "example.org", "search": ["a"], "options": ["ndots:2"] });
    let conf = with(&conf, "dns", own.clone());
    let a = Container::new()?;
    assert_eq!(Run::command("ADD", "a", &a, &conf).result()?["dns"], own);
    Run::command("DEL", "a", &a, &conf).result()?;
    let dns = json!({ "servers": ["10.1.0.53"], "searches": ["b"], "options": null });
    let conf = with(&conf, "runtimeConfig", json!({ "dns": dns }));
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(result["dns"], json!({ "nameservers": ["10.1.0.53"], "search": ["b"] }));
    Ok(())
}
