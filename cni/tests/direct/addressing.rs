//! Whose address is what: the daemon's choice, the user's, the runtime's; and routes.

use ctl::IpCidr;
use hostnet::Netlink;
use netlab::{Container, Need, Test, TestResult, test};
use serde_json::{Value, json};

use crate::plugin::{Fallible, Host, Run, gone, subnet, with};

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(an_address_and_a_mac_are_asked_for_in_four_ways),
        test!(an_address_that_is_taken_is_refused_whole),
        test!(ranges_of_the_runtime_come_before_those_of_the_configuration),
        test!(a_subnet_is_chosen_where_none_is_given),
        test!(routes_are_the_containers),
        test!(what_a_container_reaches_by_another_interface_stays_and_is_not_reported),
        test!(without_ipam_an_interface_has_no_address),
        test!(an_address_given_back_is_not_given_again_at_once),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

fn an_address_and_a_mac_are_asked_for_in_four_ways() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let runtime = json!({ "ips": ["10.1.0.11/24"], "mac": "02:00:00:00:00:11" });
    let args = json!({ "cni": { "ips": ["10.1.0.12"], "mac": "02:00:00:00:00:12" }, "other": 1 });
    let cases = [
        (with(&conf, "runtimeConfig", runtime), None, 11),
        (with(&conf, "args", args), None, 12),
        (conf.clone(), Some("IgnoreUnknown=1;FOO=x;IP=10.1.0.13;MAC=02:00:00:00:00:19"), 13),
    ];
    for (conf, args, number) in cases {
        let a = Container::new()?;
        let add = Run::command("ADD", "a", &a, &conf).with("CNI_ARGS", args);
        let result = add.result()?;
        assert_eq!(result["ips"][0]["address"], format!("10.1.0.{number}/24"));
        let last = if number == 13 { 19 } else { number };
        assert_eq!(result["interfaces"][0]["mac"], format!("02:00:00:00:00:{last}"));
        let mac = a.link("eth0")?.mac.ok_or("no MAC address")?;
        assert_eq!(ctl::MacAddr(mac).to_string(), format!("02:00:00:00:00:{last}"));
        Run::command("DEL", "a", &a, &conf).result()?;
    }
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &with(&conf, "mac", "02:00:00:00:00:14")).result()?;
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:14");
    Ok(())
}

fn an_address_that_is_taken_is_refused_whole() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let conf = with(&conf, "runtimeConfig", json!({ "ips": ["10.1.0.9"] }));
    let (a, b) = (Container::new()?, Container::new()?);
    Run::command("ADD", "a", &a, &conf).result()?;
    let (code, message) = Run::command("ADD", "b", &b, &conf).error()?;
    assert_eq!(code, 102);
    assert!(message.contains("10.1.0.9 is cni/web/a/eth0's already"), "{message}");
    gone(&b, "eth0")?;
    assert_eq!(host.ports()?.len(), 1);
    for wrong in ["10.1.0.1", "10.1.0.255", "10.2.0.9"] {
        let conf = with(&conf, "runtimeConfig", json!({ "ips": [wrong] }));
        assert_eq!(Run::command("ADD", "b", &b, &conf).error()?.0, 7, "{wrong}");
    }
    Ok(())
}

fn ranges_of_the_runtime_come_before_those_of_the_configuration() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let ranges = json!([[{
        "subnet": "10.5.0.0/24", "rangeStart": "10.5.0.100", "rangeEnd": "10.5.0.101", "gateway": "10.5.0.254",
    }]]);
    let conf = with(&conf, "runtimeConfig", json!({ "ipRanges": ranges }));
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let ip = json!({ "address": "10.5.0.100/24", "gateway": "10.5.0.254", "interface": 0 });
    assert_eq!(result["ips"], json!([ip]));
    Run::command("ADD", "b", &b, &conf).result()?;
    let (code, message) = Run::command("ADD", "c", &c, &conf).error()?;
    assert_eq!(code, 11, "{message}");
    Ok(())
}

fn a_subnet_is_chosen_where_none_is_given() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "vswitch" } }));
    let (a, b) = (Container::new()?, Container::new()?);
    let first = Run::command("ADD", "a", &a, &conf).result()?;
    let second = Run::command("ADD", "b", &b, &conf).result()?;
    assert_eq!(first["ips"][0]["gateway"], second["ips"][0]["gateway"]);
    assert_ne!(first["ips"][0]["address"], second["ips"][0]["address"]);
    Ok(())
}

fn routes_are_the_containers() -> TestResult {
    let host = Host::new()?;
    let routes = json!([
        { "dst": "10.9.0.0/16" }, { "dst": "10.8.0.0/16", "gw": "10.1.0.77" },
        { "dst": "fd08::/64" }, { "dst": "0.0.0.0/0" },
    ]);
    let ranges = json!([[{ "subnet": "10.1.0.0/24" }], [{ "subnet": "fd01::/64" }]]);
    let ipam = json!({ "type": "vswitch", "ranges": ranges, "routes": routes });
    let conf = host.conf("web", json!({ "ipam": ipam }));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let reported = json!([
        { "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0", "gw": "fd01::1" },
        { "dst": "10.9.0.0/16", "gw": "10.1.0.1" }, { "dst": "10.8.0.0/16", "gw": "10.1.0.77" },
        { "dst": "fd08::/64", "gw": "fd01::1" },
    ]);
    assert_eq!(result["routes"], reported);
    let present = a.netlink()?.routes()?;
    for network in ["10.9.0.0/16", "10.8.0.0/16", "fd08::/64"] {
        assert!(present.contains(&network.parse()?), "{network}: {present:?}");
    }
    let none = json!({ "type": "vswitch", "routes": [{ "dst": "fd09::/64" }] });
    let conf = host.conf("ipv4", json!({ "ipam": none }));
    let b = Container::new()?;
    let (code, message) = Run::command("ADD", "b", &b, &conf).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("route to fd09::/64"), "{message}");
    assert_eq!(host.ports()?.len(), 1);
    Ok(())
}

fn what_a_container_reaches_by_another_interface_stays_and_is_not_reported() -> TestResult {
    let host = Host::new()?;
    let routes = json!([{ "dst": "10.9.0.0/16" }, { "dst": "10.8.0.0/16" }]);
    let ipam = json!({ "type": "vswitch", "subnet": "10.1.0.0/24", "routes": routes });
    let conf = host.conf("web", json!({ "isDefaultGateway": true, "ipam": ipam }));
    let a = Container::new()?;
    let (netlink, own) = led_elsewhere(&a)?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(result["routes"], json!([{ "dst": "10.8.0.0/16", "gw": "10.1.0.1" }]));
    Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result)).result()?;
    assert_eq!(netlink.routes_by(a.link("eth0")?.index)?.len(), 1);
    Run::command("DEL", "a", &a, &conf).result()?;
    assert_eq!(netlink.routes_by(own)?.len(), 2);
    Ok(())
}

/// Gives a container an interface that is not the switch's, and by it a default route and one to 10.9.0.0/16.
pub fn led_elsewhere(container: &Container) -> Fallible<(Netlink, u32)> {
    let (netlink, router) = (container.netlink()?, "192.0.2.1".parse()?);
    netlink.create_veth("own", "far", None)?;
    let index = container.address("own", &["192.0.2.2/24"])?.index;
    netlink.add_default_route(router, index)?;
    let network = IpCidr { addr: "10.9.0.0".parse()?, prefix_len: 16 };
    netlink.add_route(network, router, index)?;
    Ok((netlink, index))
}

fn without_ipam_an_interface_has_no_address() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("plain", json!({}));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(result["ips"], json!([]));
    assert_eq!(result.get("routes"), None);
    let check = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result));
    assert_eq!(check.result()?, Value::Null);
    assert!(host.networks()?[0].subnets.is_empty());
    Run::command("DEL", "a", &a, &conf).result()?;
    host.has_nothing().map_err(Into::into)
}

fn an_address_given_back_is_not_given_again_at_once() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let mut last = String::new();
    for _ in 0..5 {
        let a = Container::new()?;
        let result = Run::command("ADD", "a", &a, &conf).result()?;
        let address = result["ips"][0]["address"].as_str().ok_or("no address")?.to_owned();
        assert_ne!(address, last);
        last = address;
        Run::command("DEL", "a", &a, &conf).result()?;
    }
    host.has_nothing().map_err(Into::into)
}
