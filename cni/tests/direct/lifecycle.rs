//! ADD, DEL, CHECK, GC, STATUS and VERSION, one after the other and many at once.

use std::time::{Duration, Instant};

use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use serde_json::{Value, json};

use crate::plugin::{Fallible, Host, Run, gone, subnet, with};

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(two_containers_reach_each_other),
        test!(the_result_has_the_form_of_each_version),
        test!(del_takes_everything_away_and_may_be_repeated),
        test!(del_needs_no_namespace),
        test!(an_interface_that_exists_is_refused),
        test!(a_container_that_is_gone_is_told_by_its_code),
        test!(check_finds_what_is_not_as_add_left_it),
        test!(gc_removes_what_is_not_listed_and_nothing_of_others),
        test!(gc_without_a_list_removes_nothing),
        test!(several_interfaces_of_a_container_are_apart),
        test!(twenty_containers_at_once_get_addresses_of_their_own),
        test!(of_several_that_add_the_same_interface_one_succeeds_and_nothing_of_it_is_undone),
        test!(the_hosts_own_namespace_is_no_containers),
        test!(a_result_of_plugins_before_is_passed_through),
        test!(status_tells_an_exhausted_network),
        test!(a_network_that_is_otherwise_is_refused),
    ];
    let mut tests = tap.into_iter().map(|test| test.needs(Need::Tun)).collect::<Vec<_>>();
    tests.extend([
        test!(without_a_daemon_all_say_so_at_once),
        test!(a_silent_daemon_is_not_waited_for),
        test!(version_needs_neither_daemon_nor_configuration),
        test!(every_wrong_variable_is_named),
        test!(what_cannot_be_decoded_or_understood_is_told_by_its_code),
        test!(commands_that_a_version_does_not_have_are_refused),
    ]);
    tests
}

fn two_containers_reach_each_other() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let (a, b) = (Container::new()?, Container::new()?);
    Run::command("ADD", "a", &a, &conf).result()?;
    let result = Run::command("ADD", "b", &b, &conf).result()?;
    assert_eq!(result["ips"][0]["address"], "10.1.0.3/24");
    netlab::ping::ping(&a, "10.1.0.3".parse()?, &netlab::ping::Options::default())?;
    transfer::tcp(&Path::new(&a, &b, [10, 1, 0, 3]), 1 << 20, 1)?;
    Ok(())
}

fn the_result_has_the_form_of_each_version() -> TestResult {
    let host = Host::new()?;
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let a = Container::new()?;
        let conf = host.conf("web", json!({
            "ipam": { "type": "vswitch", "ranges": [[{ "subnet": "10.1.0.0/24" }], [{ "subnet": "fd01::/64" }]],
                      "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.9.0.0/16" }] },
        }));
        let conf = with(&conf, "cniVersion", version);
        let result = Run::command("ADD", "a", &a, &conf).result()?;
        let link = a.link("eth0")?;
        let mac = ctl::MacAddr(link.mac.ok_or("no MAC address")?).to_string();
        let mut interface = json!({ "name": "eth0", "mac": mac, "sandbox": a.reference().path() });
        if version == "1.1.0" {
            interface["mtu"] = 1500.into();
        }
        let ips = result["ips"].as_array().ok_or("no addresses")?;
        let families: Vec<_> = ips.iter().map(|ip| ip.get("version").cloned()).collect();
        let said = version < "1.0.0";
        assert_eq!(
            families,
            if said { [Some(json!("4")), Some(json!("6"))] } else { [None, None] }
        );
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["interfaces"], json!([interface]));
        assert_eq!(ips[0]["gateway"], "10.1.0.1");
        assert_eq!(ips[1]["interface"], 0);
        let routes = json!([
            { "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0", "gw": "fd01::1" },
            { "dst": "10.9.0.0/16", "gw": "10.1.0.1" },
        ]);
        assert_eq!(result["routes"], routes);
        Run::command("DEL", "a", &a, &conf).result()?;
    }
    host.has_nothing().map_err(Into::into)
}

fn del_takes_everything_away_and_may_be_repeated() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let del = Run::command("DEL", "a", &a, &with(&conf, "prevResult", result));
    for _ in 0..3 {
        assert_eq!(del.result()?, Value::Null, "DEL has no result");
        gone(&a, "eth0")?;
        host.has_nothing()?;
    }
    // A container of which nobody has ever heard, on a network that nobody has made.
    Run::command("DEL", "x", &a, &host.conf("none", json!({}))).result()?;
    Ok(())
}

fn del_needs_no_namespace() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    let del = Run::command("DEL", "a", &a, &conf);
    del.with("CNI_NETNS", None).with("CNI_PATH", None).result()?;
    gone(&a, "eth0")?;
    host.has_nothing()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    let del = Run::command("DEL", "a", &a, &conf);
    drop(a);
    del.with("CNI_NETNS", Some("/run/netns/gone")).result()?;
    host.has_nothing().map_err(Into::into)
}

fn an_interface_that_exists_is_refused() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let add = Run::command("ADD", "a", &a, &conf);
    add.result()?;
    let before = host.ports()?;
    let (code, message) = add.error()?;
    assert_eq!(code, 101);
    assert!(message.contains("eth0 exists already"), "{message}");
    let (code, _) = add.clone().with("CNI_CONTAINERID", Some("other")).error()?;
    assert_eq!(code, 101);
    assert_eq!(host.ports()?, before, "what is there stays");
    let b = Container::new()?;
    netlab::topology::veth(&b, "eth0", &b, "far")?;
    assert_eq!(Run::command("ADD", "b", &b, &conf).error()?.0, 101);
    assert_eq!(host.ports()?, before);
    Ok(())
}

fn a_container_that_is_gone_is_told_by_its_code() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let add = Run::command("ADD", "a", &a, &conf).with("CNI_NETNS", Some("/run/netns/gone"));
    assert_eq!(add.error()?.0, 3);
    host.has_nothing().map_err(Into::into)
}

fn check_finds_what_is_not_as_add_left_it() -> TestResult {
    let host = Host::new()?;
    let conf = with(&host.conf("web", subnet("10.1.0.0/24")), "isDefaultGateway", true);
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let (code, _) = Run::command("CHECK", "a", &a, &conf).error()?;
    assert_eq!(code, 7, "prevResult is missing");
    let check = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result.clone()));
    check.result()?;
    let netlink = a.netlink()?;
    let index = netlink.link("eth0")?.index;
    let found = |what: &str| -> Fallible<()> {
        let (code, message) = check.error()?;
        assert_eq!(code, 104, "{message}");
        assert!(message.contains(what), "{what}: {message}");
        Ok(())
    };
    netlink.set_up(index, false)?;
    found("eth0 is switched off")?;
    netlink.set_up(index, true)?;
    netlink.set_mtu(index, 1400)?;
    found("MTU 1400, not 1500")?;
    netlink.set_mtu(index, 1500)?;
    // With the switched off interface went its routes.
    found("eth0 has not the route to 0.0.0.0/0")?;
    let gateway = "10.1.0.1".parse()?;
    netlink.add_default_route(gateway, index)?;
    check.result()?;
    netlink.remove_default_route(gateway, index)?;
    let mut without = result.clone();
    without["routes"] = json!([]);
    // A plugin after this one took the route away, and says so.
    Run::command("CHECK", "a", &a, &with(&conf, "prevResult", without)).result()?;
    netlink.add_default_route(gateway, index)?;
    let mut other = result;
    other["ips"][0]["address"] = "10.1.0.77/24".into();
    let other = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", other));
    assert!(other.error()?.1.contains("eth0 has not the address 10.1.0.77/24"));
    Run::command("DEL", "a", &a, &conf).result()?;
    found("there is no eth0")?;
    found("the switch has no endpoint")?;
    Ok(())
}

fn gc_removes_what_is_not_listed_and_nothing_of_others() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    // Another network of the runtime on the same network of the switch.
    let other = host.conf("other", json!({ "network": "web", "ipam": { "type": "vswitch" } }));
    let [a, b, c, d] = [Container::new()?, Container::new()?, Container::new()?, Container::new()?];
    for (id, container) in [("a", &a), ("b", &b)] {
        Run::command("ADD", id, container, &conf).result()?;
    }
    Run::command("ADD", "c", &c, &other).result()?;
    let connect = ctl::NetworkConnect::new("web".parse()?, d.reference());
    host.change(ctl::Mutation::NetworkConnect(Box::new(connect)))?;
    let valid = json!([{ "containerID": "b", "ifname": "eth0" }]);
    let gc = |conf: &Value| {
        let variables = json!({ "CNI_COMMAND": "GC", "CNI_PATH": "/usr/lib/cni" });
        Run::of(variables, conf)
    };
    gc(&with(&conf, "cni.dev/valid-attachments", valid.clone())).result()?;
    gone(&a, "eth0")?;
    assert!([&b, &c, &d].iter().all(|container| container.link("eth0").is_ok()));
    // The key of the specification's first text of 1.1, and Go's way to write an empty list.
    gc(&with(&conf, "cni.dev/attachments", Value::Null)).result()?;
    gone(&b, "eth0")?;
    assert!([&c, &d].iter().all(|container| container.link("eth0").is_ok()));
    Ok(())
}

fn gc_without_a_list_removes_nothing() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    let gc = Run::of(json!({ "CNI_COMMAND": "GC", "CNI_PATH": "/usr/lib/cni" }), &conf);
    assert_eq!(gc.error()?.0, 7);
    a.link("eth0")?;
    Ok(())
}

fn several_interfaces_of_a_container_are_apart() -> TestResult {
    let host = Host::new()?;
    let first = host.conf("first", subnet("10.1.0.0/24"));
    let first = with(&first, "isDefaultGateway", true);
    let second = host.conf("second", subnet("10.2.0.0/24"));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &first).result()?;
    let net1 = Run::command("ADD", "a", &a, &second).with("CNI_IFNAME", Some("net1"));
    let result = net1.result()?;
    assert!(result.get("routes").is_none(), "no default route unless asked: {result}");
    let net2 = Run::command("ADD", "a", &a, &first).with("CNI_IFNAME", Some("net2"));
    assert_eq!(net2.result()?["ips"][0]["address"], "10.1.0.3/24");
    let del = Run::command("DEL", "a", &a, &second).with("CNI_IFNAME", Some("net1"));
    del.result()?;
    gone(&a, "net1")?;
    assert!(a.link("eth0").is_ok() && a.link("net2").is_ok());
    Ok(())
}

fn twenty_containers_at_once_get_addresses_of_their_own() -> TestResult {
    let host = Host::new()?;
    // None is there yet: all of them make the network.
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let containers = (0..20).map(|_| Container::new()).collect::<Result<Vec<_>, _>>()?;
    let named = || containers.iter().enumerate().map(|(number, c)| (format!("c{number}"), c));
    let adds = named().map(|(id, container)| Run::command("ADD", &id, container, &conf).start());
    let mut addresses = Vec::new();
    for child in adds.collect::<Result<Vec<_>, _>>()? {
        let output = child.wait_with_output()?;
        let said = String::from_utf8(output.stdout)?;
        assert!(output.status.success(), "{said}");
        let result: Value = serde_json::from_str(&said)?;
        addresses.push(result["ips"][0]["address"].to_string());
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 20);
    assert_eq!(host.networks()?.len(), 1);
    let dels = named().map(|(id, container)| Run::command("DEL", &id, container, &conf).start());
    for child in dels.collect::<Result<Vec<_>, _>>()? {
        assert!(child.wait_with_output()?.status.success());
    }
    host.has_nothing().map_err(Into::into)
}

fn of_several_that_add_the_same_interface_one_succeeds_and_nothing_of_it_is_undone() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let bandwidth = json!({ "ingressRate": 1_000_000, "ingressBurst": 1_048_576 });
    let conf = with(&conf, "runtimeConfig", json!({ "bandwidth": bandwidth }));
    for round in 0..5 {
        let a = Container::new()?;
        let add = Run::command("ADD", "a", &a, &conf);
        let runs = (0..6).map(|_| add.start()).collect::<Fallible<Vec<_>>>()?;
        let mut results = Vec::new();
        for run in runs {
            let output = run.wait_with_output()?;
            let said: Value = serde_json::from_slice(&output.stdout)?;
            if output.status.success() {
                results.push(said);
            } else {
                assert_eq!(said["code"], 101, "round {round}: {said}");
            }
        }
        let [result] = &results[..] else { return Err(format!("{results:?}").into()) };
        let conf = with(&conf, "prevResult", result.clone());
        Run::command("CHECK", "a", &a, &conf).result()?;
        Run::command("DEL", "a", &a, &conf).result()?;
        gone(&a, "eth0")?;
    }
    host.has_nothing().map_err(Into::into)
}

fn the_hosts_own_namespace_is_no_containers() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    let conf = with(&conf, "prevResult", result);
    for path in ["/proc/self/ns/net", "/proc/thread-self/ns/net"] {
        let run = |command| Run::command(command, "b", &a, &conf).with("CNI_NETNS", Some(path));
        let (code, message) = run("ADD").error()?;
        assert_eq!(code, 8, "{message}");
        assert!(message.contains(path), "{message}");
        // What cannot have been added is no failure to take away.
        run("DEL").result()?;
    }
    assert_eq!(host.ports()?.len(), 1);
    Ok(())
}

fn a_result_of_plugins_before_is_passed_through() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let before = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "host0", "mac": "02:00:00:00:00:09", "theirs": 1 }],
        "ips": [{ "address": "192.0.2.7/24", "interface": 0 }],
        "dns": { "nameservers": ["192.0.2.1"] },
    });
    let result = Run::command("ADD", "a", &a, &with(&conf, "prevResult", before)).result()?;
    assert_eq!(result["interfaces"][0]["theirs"], 1);
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["ips"][0]["address"], "192.0.2.7/24");
    assert_eq!(result["ips"][1]["interface"], 1);
    assert_eq!(result["dns"], json!({ "nameservers": ["192.0.2.1"] }));
    let check = Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result));
    check.result()?;
    Ok(())
}

fn status_tells_an_exhausted_network() -> TestResult {
    let host = Host::new()?;
    // Two hosts, one of which is the gateway.
    let conf = host.conf("tiny", subnet("10.1.0.0/30"));
    let status = Run::of(json!({ "CNI_COMMAND": "STATUS" }), &conf);
    assert_eq!(status.result()?, Value::Null);
    let (a, b) = (Container::new()?, Container::new()?);
    Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(status.error()?.0, 50);
    let (code, message) = Run::command("ADD", "b", &b, &conf).error()?;
    assert_eq!(code, 11, "{message}");
    gone(&b, "eth0")?;
    Run::command("DEL", "a", &a, &conf).result()?;
    status.result()?;
    Run::command("ADD", "b", &b, &conf).result()?;
    Ok(())
}

fn a_network_that_is_otherwise_is_refused() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    Run::command("ADD", "a", &a, &conf).result()?;
    let b = Container::new()?;
    let others = [
        ("isolated", json!(true), "isolated is another"),
        ("mtu", json!(9000), "mtu is another"),
        ("ipam", Value::Null, "ipam is another"),
        ("ipam", subnet("10.2.0.0/24")["ipam"].clone(), "it has not the subnet 10.2.0.0/24"),
    ];
    for (key, value, found) in others {
        let (code, message) = Run::command("ADD", "b", &b, &with(&conf, key, value)).error()?;
        assert_eq!(code, 7);
        assert!(message.contains(found), "{message}");
    }
    assert_eq!(host.ports()?.len(), 1);
    Ok(())
}

fn without_a_daemon_all_say_so_at_once() -> TestResult {
    let host = Host::without_daemon();
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let conf = with(&conf, "cni.dev/valid-attachments", json!([]));
    let a = Container::new()?;
    for command in ["ADD", "DEL", "GC", "STATUS"] {
        let begun = Instant::now();
        let (code, message) = Run::command(command, "a", &a, &conf).error()?;
        assert_eq!(code, 51, "{command}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{command}");
    }
    Ok(())
}

fn a_silent_daemon_is_not_waited_for() -> TestResult {
    let host = Host::without_daemon();
    // Somebody who listens, and neither accepts nor answers.
    let listener = std::os::unix::net::UnixListener::bind(host.socket())?;
    let status = Run::of(json!({ "CNI_COMMAND": "STATUS" }), &host.conf("web", json!({})));
    let (code, message) = status.error()?;
    assert_eq!(code, 50, "{message}");
    assert!(message.contains("does not answer"), "{message}");
    drop(listener);
    Ok(())
}

fn version_needs_neither_daemon_nor_configuration() -> TestResult {
    let version = Run::of(json!({ "CNI_COMMAND": "VERSION" }), &json!({ "cniVersion": "1.0.0" }));
    let all = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!(version.result()?, json!({ "cniVersion": "1.0.0", "supportedVersions": all }));
    let newest = json!({ "cniVersion": "1.1.0", "supportedVersions": all });
    assert_eq!(version.clone().input("").result()?, newest);
    assert_eq!(version.input(r#"{"cniVersion":"9.9.9"}"#).result()?, newest);
    Ok(())
}

fn every_wrong_variable_is_named() -> TestResult {
    let host = Host::without_daemon();
    let conf = host.conf("web", json!({}));
    let a = Container::new()?;
    let run = |command| Run::command(command, "a", &a, &conf);
    let cases: [(Run, &[&str]); 9] = [
        (run("ADD").with("CNI_COMMAND", None), &["CNI_COMMAND is missing"]),
        (run("MOVE"), &["CNI_COMMAND", "MOVE"]),
        (
            run("ADD").with("CNI_NETNS", None).with("CNI_IFNAME", Some("")),
            &["CNI_NETNS", "CNI_IFNAME"],
        ),
        (run("CHECK").with("CNI_CONTAINERID", None), &["CNI_CONTAINERID"]),
        (run("DEL").with("CNI_CONTAINERID", Some("-a")), &["CNI_CONTAINERID"]),
        (run("ADD").with("CNI_IFNAME", Some("a/b")), &["CNI_IFNAME"]),
        (run("ADD").with("CNI_IFNAME", Some("sixteen-and-more")), &["CNI_IFNAME"]),
        (run("ADD").with("CNI_ARGS", Some("FOO=1")), &["CNI_ARGS", "FOO"]),
        (run("GC").with("CNI_PATH", None), &["CNI_PATH"]),
    ];
    for (run, named) in cases {
        let (code, message) = run.error()?;
        assert_eq!(code, 4, "{message}");
        assert!(named.iter().all(|name| message.contains(name)), "{named:?}: {message}");
    }
    Ok(())
}

fn what_cannot_be_decoded_or_understood_is_told_by_its_code() -> TestResult {
    let host = Host::without_daemon();
    let conf = host.conf("web", json!({}));
    let a = Container::new()?;
    let add = Run::command("ADD", "a", &a, &conf);
    for input in ["", "{", "[]", "null", "\u{0}"] {
        assert_eq!(add.clone().input(input).error()?.0, 6, "{input:?}");
    }
    let cases = [
        (with(&conf, "cniVersion", "0.2.0"), 1, "0.2.0"),
        (with(&conf, "cniVersion", "2.0.0"), 1, "2.0.0"),
        (with(&conf, "cniVersion", 1), 6, "cniVersion"),
        (with(&conf, "brigde", "br0"), 2, "brigde = \"br0\""),
        (with(&conf, "ipam", json!({ "type": "vswitch", "subnets": [] })), 2, "ipam.subnets"),
        (with(&conf, "runtimeConfig", json!({ "infinibandGUID": "x" })), 2, "infinibandGUID"),
        (with(&conf, "name", "a/b"), 7, "name"),
        (with(&conf, "name", Value::Null), 7, "name"),
        (with(&conf, "socket", "vswitch.sock"), 7, "socket"),
        (with(&conf, "mtu", 17), 7, "MTU"),
        (with(&conf, "ipam", json!({ "type": "../bin/sh" })), 7, "ipam.type"),
        (with(&conf, "ipam", json!({ "subnet": "10.0.0.0/24" })), 7, "ipam.type"),
        (
            with(&conf, "ipam", json!({ "type": "vswitch", "subnet": "10.0.0.1/24" })),
            7,
            "10.0.0.1/24",
        ),
        (with(&with(&conf, "bridge", "a"), "network", "b"), 7, "network and bridge"),
    ];
    for (conf, wanted, named) in cases {
        let (code, message) = Run::command("ADD", "a", &a, &conf).error()?;
        assert_eq!(code, wanted, "{message}");
        assert!(message.contains(named), "{named}: {message}");
    }
    Ok(())
}

fn commands_that_a_version_does_not_have_are_refused() -> TestResult {
    let host = Host::without_daemon();
    let conf = host.conf("web", json!({}));
    let a = Container::new()?;
    for (command, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "0.4.0")] {
        let run = Run::command(command, "a", &a, &with(&conf, "cniVersion", version));
        let said = run.run()?;
        let error: Value = serde_json::from_str(&said.output)?;
        assert_eq!(
            (error["code"].as_u64(), error["cniVersion"].as_str()),
            (Some(1), Some(version))
        );
    }
    Ok(())
}
