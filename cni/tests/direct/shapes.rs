//! The shapes of networks, by the key `shape` of a configuration.

use ctl::{Mutation, Port, PortAdd, PortKind, Tap};
use netlab::{Container, Need, Path, Test, TestResult, ping, test, transfer};
use serde_json::{Value, json};

use crate::capabilities::outside;
use crate::plugin::{Fallible, Host, Run, gone, with};

pub fn tests() -> Vec<Test> {
    [
        test!(a_direct_container_is_a_station_of_the_wire),
        test!(a_routed_container_is_reached_from_outside_by_its_own_address),
        test!(p2p_containers_have_an_address_by_itself_and_reach_each_other),
        test!(a_shape_that_does_not_fit_is_refused_whole),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

fn reaches(from: &Container, target: &str) -> TestResult {
    ping::ping(from, target.parse()?, &ping::Options::default())?;
    Ok(())
}

/// The containers are what CHECK expects of the result of the first; then both go, and leave nothing.
fn checked_and_deleted(
    host: &Host,
    conf: &Value,
    (a, b): (&Container, &Container),
    result: Value,
) -> TestResult {
    Run::command("CHECK", "a", a, &with(conf, "prevResult", result)).result()?;
    for (id, container) in [("a", a), ("b", b)] {
        Run::command("DEL", id, container, conf).result()?;
    }
    host.has_nothing().map_err(Into::into)
}

/// Somebody on the wire of a direct network, with an address that the switch does not know.
fn neighbor(host: &Host, network: &str, address: &str) -> Fallible<Container> {
    let neighbor = Container::new()?;
    let tap = Tap { netns: Some(neighbor.reference()), ..Tap::new("eth0".parse()?) };
    let port = Port::new(network.parse()?, PortKind::Tap(tap));
    host.change(Mutation::PortAdd(Box::new(PortAdd { name: "world".parse()?, port })))?;
    neighbor.await_ready("eth0")?;
    neighbor.address("eth0", &[address])?;
    Ok(neighbor)
}

fn a_direct_container_is_a_station_of_the_wire() -> TestResult {
    let host = Host::new()?;
    let range = json!({
        "subnet": "192.0.2.0/24", "rangeStart": "192.0.2.64", "rangeEnd": "192.0.2.71", "gateway": "192.0.2.254",
    });
    let conf = json!({
        "shape": "direct", "isDefaultGateway": true, "ipam": { "type": "vswitch", "ranges": [[range]] },
    });
    let conf = host.conf("lan", conf);
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let ip = json!({ "address": "192.0.2.64/24", "gateway": "192.0.2.254", "interface": 0 });
    assert_eq!(result["ips"], json!([ip]));
    let wire = neighbor(&host, "lan", "192.0.2.9/24")?;
    reaches(&a, "192.0.2.9")?;
    transfer::tcp(&Path::new(&wire, &a, [192, 0, 2, 64]), 1 << 18, 1)?;
    Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result)).result()?;
    Run::command("DEL", "a", &a, &conf).result()?;
    // With its port go the stations of the wire.
    host.change(Mutation::PortDel(ctl::Named::new("world".parse()?)))?;
    host.has_nothing().map_err(Into::into)
}

fn a_routed_container_is_reached_from_outside_by_its_own_address() -> TestResult {
    let host = Host::new()?;
    let world = outside(&host)?;
    let ipam = json!({ "type": "vswitch", "subnet": "192.0.2.128/26" });
    let conf =
        host.conf("dmz", json!({ "shape": "routed", "isDefaultGateway": true, "ipam": ipam }));
    let (a, b) = (Container::new()?, Container::new()?);
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    Run::command("ADD", "b", &b, &conf).result()?;
    assert_eq!(result["ips"][0]["address"], "192.0.2.130/32");
    reaches(&world, "192.0.2.130")?;
    reaches(&a, "192.0.2.9")?;
    reaches(&a, "192.0.2.131")?;
    checked_and_deleted(&host, &conf, (&a, &b), result)
}

fn p2p_containers_have_an_address_by_itself_and_reach_each_other() -> TestResult {
    let host = Host::new()?;
    let ranges = json!([[{ "subnet": "10.1.0.0/24" }], [{ "subnet": "fd01::/64" }]]);
    let ipam = json!({ "type": "vswitch", "ranges": ranges });
    let conf = host.conf("pods", json!({ "shape": "p2p", "ipam": ipam }));
    let (a, b) = (Container::new()?, Container::new()?);
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    Run::command("ADD", "b", &b, &conf).result()?;
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/32");
    assert_eq!(result["ips"][1]["address"], "fd01::2/128");
    reaches(&a, "10.1.0.3")?;
    reaches(&a, "fd01::3")?;
    checked_and_deleted(&host, &conf, (&a, &b), result)
}

fn a_shape_that_does_not_fit_is_refused_whole() -> TestResult {
    let host = Host::new()?;
    let ipam = json!({ "type": "vswitch", "subnet": "10.1.0.0/24" });
    let conf = host.conf("pods", json!({ "shape": "p2p", "ipam": ipam }));
    let a = Container::new()?;
    let cases = [
        (with(&conf, "shape", "round"), "unknown variant `round`"),
        (with(&conf, "isolated", true), "no link in common"),
        (with(&with(&conf, "shape", "routed"), "internal", true), "--p2p with --internal"),
        (
            host.conf("pods", json!({ "shape": "direct", "ipam": { "type": "vswitch" } })),
            "the subnet of its wire",
        ),
    ];
    for (conf, why) in cases {
        let (code, message) = Run::command("ADD", "a", &a, &conf).error()?;
        assert_eq!(code, 7, "{message}");
        assert!(message.contains(why), "{why}: {message}");
        assert_eq!(host.networks()?, []);
    }
    Run::command("ADD", "a", &a, &conf).result()?;
    let b = Container::new()?;
    let (code, message) = Run::command("ADD", "b", &b, &with(&conf, "shape", "routed")).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("shape is another"), "{message}");
    gone(&b, "eth0")?;
    Ok(())
}
