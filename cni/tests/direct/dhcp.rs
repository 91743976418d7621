//! Addresses that the plugin `dhcp` asks for through the container's interface: of the switch's own server, and of
//! somebody on the wire.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ctl::{Mutation, NetworkCreate};
use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use serde_json::{Value, json};

use crate::addressing::led_elsewhere;
use crate::delegation::{log, plugin, run};
use crate::plugin::{Fallible, Host, Run, eventually, gone, subnet, unique, with};

pub fn tests() -> Vec<Test> {
    let scripted = [
        test!(the_interface_is_there_when_the_plugin_asks_and_when_it_gives_back),
        test!(whatever_fails_gives_the_lease_back_and_leaves_nothing),
        test!(a_default_route_comes_with_the_lease_or_with_the_configuration),
        test!(what_a_container_reaches_by_another_interface_is_left_out_of_the_lease),
        test!(a_port_is_not_published_for_an_address_that_the_switch_does_not_know),
    ];
    let iproute = Need::Installed { program: "/usr/sbin/ip", package: "iproute2" };
    let scripted = scripted.map(|test| test.needs(iproute));
    let daemon =
        Need::Installed { program: "/usr/lib/cni/dhcp", package: "containernetworking-plugins" };
    let real = [
        test!(the_gateway_leases_what_the_reference_plugin_asks_for),
        test!(without_its_daemon_nothing_is_left),
    ];
    let real = real.map(|test| test.needs(daemon));
    let mut tests: Vec<_> =
        scripted.into_iter().chain(real).map(|test| test.needs(Need::Tun)).collect();
    tests.push(test!(a_network_whose_containers_ask_is_not_for_those_that_are_told));
    tests
}

/// Notes each command, and whether the interface is there.
const NOTES: &str =
    "echo $CNI_COMMAND $(nsenter --net=$CNI_NETNS ip -o link show $CNI_IFNAME 2>&1 | grep -c UP)";

const GIVES: &str = r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}],
"routes":[{"dst":"10.9.0.0/16"}],"dns":{"nameservers":["10.7.0.53"]}}'"#;

fn addresses(container: &Container) -> Fallible<Vec<String>> {
    let netlink = container.netlink()?;
    let all = netlink.addresses(netlink.link("eth0")?.index)?;
    Ok(all.iter().filter(|cidr| cidr.addr.is_ipv4()).map(ToString::to_string).collect())
}

fn routes(container: &Container) -> Fallible<String> {
    let path = container.reference().path();
    let output = Command::new("nsenter")
        .arg(format!("--net={}", path.display()))
        .args(["ip", "-o", "route", "show"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

fn the_interface_is_there_when_the_plugin_asks_and_when_it_gives_back() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("wire", json!({ "shape": "direct", "ipam": { "type": "dhcp" } }));
    let directory = plugin("dhcp", NOTES, GIVES)?;
    let (a, b) = (Container::new()?, Container::new()?);
    let result = run("ADD", &a, &conf, &directory).result()?;
    let ip = json!({ "address": "10.7.0.5/24", "gateway": "10.7.0.1", "interface": 0 });
    assert_eq!(result["ips"], json!([ip]));
    assert_eq!(result["routes"], json!([{ "dst": "10.9.0.0/16", "gw": "10.7.0.1" }]));
    assert_eq!(result["dns"], json!({ "nameservers": ["10.7.0.53"] }));
    assert_eq!(addresses(&a)?, ["10.7.0.5/24"]);
    assert!(routes(&a)?.contains("10.9.0.0/16 via 10.7.0.1"), "{}", routes(&a)?);
    run("CHECK", &a, &with(&conf, "prevResult", result), &directory).result()?;
    let other = plugin("dhcp", NOTES, &GIVES.replace("10.7.0.5", "10.7.0.6"))?;
    let b_runs = |command| run(command, &b, &conf, &other).with("CNI_CONTAINERID", Some("b"));
    b_runs("ADD").result()?;
    transfer::tcp(&Path::new(&a, &b, [10, 7, 0, 6]), 1 << 18, 1)?;
    run("DEL", &a, &conf, &directory).result()?;
    b_runs("DEL").result()?;
    assert_eq!(log(&directory)?, "ADD 1\nCHECK 1\nDEL 1\n");
    gone(&a, "eth0")?;
    host.has_nothing().map_err(Into::into)
}

fn whatever_fails_gives_the_lease_back_and_leaves_nothing() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("wire", json!({ "ipam": { "type": "dhcp" } }));
    let a = Container::new()?;
    let cases = [
        (r#"echo '{"code": 11, "msg": "nobody answers"}'; exit 1"#, 11, "dhcp: nobody answers"),
        (r#"echo '{"ips": [], "routes": [{"dst": "10.9.0.0/16"}]}'"#, 7, "it has no gw"),
        (
            r#"echo '{"ips": [{"address": "10.7.0.5/24"}, {"address": "10.7.0.5/24"}]}'"#,
            100,
            "10.7.0.5/24",
        ),
    ];
    for (says, code, text) in cases {
        let directory = plugin("dhcp", NOTES, says)?;
        let (found, message) = run("ADD", &a, &conf, &directory).error()?;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(text), "{message}");
        assert_eq!(log(&directory)?, "ADD 1\nDEL 1\n");
        gone(&a, "eth0")?;
        host.has_nothing()?;
    }
    Ok(())
}

fn a_default_route_comes_with_the_lease_or_with_the_configuration() -> TestResult {
    let host = Host::new()?;
    let plain = host.conf("wire", json!({ "ipam": { "type": "dhcp" } }));
    let says = GIVES.replace("10.9.0.0/16", "0.0.0.0/0");
    let cases = [
        (plain.clone(), GIVES, false),
        (with(&plain, "isDefaultGateway", true), GIVES, true),
        (plain.clone(), says.as_str(), true),
        (with(&plain, "isDefaultGateway", true), says.as_str(), true),
    ];
    for (conf, says, leads_out) in cases {
        let directory = plugin("dhcp", NOTES, says)?;
        let a = Container::new()?;
        run("ADD", &a, &conf, &directory).result()?;
        let found = routes(&a)?;
        assert_eq!(found.contains("default via 10.7.0.1"), leads_out, "{conf} {found}");
        run("DEL", &a, &conf, &directory).result()?;
    }
    Ok(())
}

fn what_a_container_reaches_by_another_interface_is_left_out_of_the_lease() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("wire", json!({ "ipam": { "type": "dhcp" }, "isDefaultGateway": true }));
    let directory = plugin(
        "dhcp",
        NOTES,
        &GIVES.replace(
            r#"[{"dst":"10.9.0.0/16"}]"#,
            r#"[{"dst":"10.9.0.0/16"},{"dst":"10.8.0.0/16"}]"#,
        ),
    )?;
    let a = Container::new()?;
    let (netlink, own) = led_elsewhere(&a)?;
    let result = run("ADD", &a, &conf, &directory).result()?;
    assert_eq!(result["routes"], json!([{ "dst": "10.8.0.0/16", "gw": "10.7.0.1" }]));
    run("DEL", &a, &conf, &directory).result()?;
    assert_eq!(netlink.routes_by(own)?.len(), 2);
    Ok(())
}

fn a_port_is_not_published_for_an_address_that_the_switch_does_not_know() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("wire", json!({ "ipam": { "type": "dhcp" }, "publishOn": ["wire"] }));
    let mapping = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let conf = with(&conf, "runtimeConfig", json!({ "portMappings": [mapping] }));
    let directory = plugin("dhcp", NOTES, GIVES)?;
    let a = Container::new()?;
    let (code, message) = run("ADD", &a, &conf, &directory).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("portMappings, 8080: the switch gives the container no address"));
    gone(&a, "eth0")?;
    host.has_nothing().map_err(Into::into)
}

fn a_network_whose_containers_ask_is_not_for_those_that_are_told() -> TestResult {
    let host = Host::new()?;
    let mut create = NetworkCreate::new("web".parse()?);
    create.settings.dhcp = true;
    host.change(Mutation::NetworkCreate(Box::new(create)))?;
    let a = Container::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "vswitch" } }));
    let (code, message) = Run::command("ADD", "a", &a, &conf).error()?;
    assert_eq!(code, 7);
    assert!(message.contains("ipam is another"), "{message}");
    Ok(())
}

/// The daemon of the reference plugin, for as long as this lives.
struct Dhcp {
    daemon: Child,
    socket: PathBuf,
}

impl Dhcp {
    fn start() -> Fallible<Self> {
        let socket = PathBuf::from(unique("/run/dhcp-"));
        let daemon = Command::new("/usr/lib/cni/dhcp")
            .args(["daemon", "-socketpath"])
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn()?;
        eventually("the daemon listens", || socket.exists())?;
        Ok(Self { daemon, socket })
    }

    fn ipam(&self) -> Value {
        json!({ "type": "dhcp", "daemonSocketPath": self.socket })
    }
}

impl Drop for Dhcp {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn the_gateway_leases_what_the_reference_plugin_asks_for() -> TestResult {
    let (host, dhcp) = (Host::new()?, Dhcp::start()?);
    let made = Container::new()?;
    let network = with(&host.conf("web", subnet("10.9.0.0/24")), "cniVersion", "1.0.0");
    Run::command("ADD", "made", &made, &network).result()?;
    // The network is there, and the other container's address by its own plugin.
    let conf = with(&with(&network, "ipam", dhcp.ipam()), "isDefaultGateway", true);
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(1), "{result}");
    assert_eq!(result["ips"][0]["address"], "10.9.0.3/24");
    assert_eq!(result["ips"][0]["gateway"], "10.9.0.1");
    assert_eq!(addresses(&a)?, ["10.9.0.3/24"]);
    assert!(routes(&a)?.contains("default via 10.9.0.1"), "{}", routes(&a)?);
    transfer::tcp(&Path::new(&made, &a, [10, 9, 0, 3]), 1 << 18, 1)?;
    Run::command("CHECK", "a", &a, &with(&conf, "prevResult", result)).result()?;
    Run::command("DEL", "a", &a, &conf).result()?;
    Run::command("DEL", "a", &a, &conf).result()?;
    gone(&a, "eth0")?;
    Run::command("DEL", "made", &made, &network).result()?;
    host.has_nothing().map_err(Into::into)
}

fn without_its_daemon_nothing_is_left() -> TestResult {
    let host = Host::new()?;
    let ipam = json!({ "type": "dhcp", "daemonSocketPath": "/run/nobody.sock" });
    let conf = with(&host.conf("web", json!({ "ipam": ipam })), "cniVersion", "1.0.0");
    let a = Container::new()?;
    let (code, message) = Run::command("ADD", "a", &a, &conf).error()?;
    assert_ne!(code, 105, "its own error, not ours: {message}");
    assert!(message.contains("/run/nobody.sock"), "{message}");
    gone(&a, "eth0")?;
    // The runtime may try again to have the lease given back; the interface does not wait for that.
    assert!(Run::command("DEL", "a", &a, &conf).error()?.1.contains("/run/nobody.sock"));
    host.has_nothing().map_err(Into::into)
}
