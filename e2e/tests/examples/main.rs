//! The scripts of `examples/`, as people run them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ctl::{Mutation, NetworkConnect, NetworkCreate};
use e2e::process::{on, ours, say};
use e2e::{Docker, Host, Installed, Outcome, Podman, Switch};
use netlab::{Container, LabError, Need, TestResult, test, topology};

fn main() -> ExitCode {
    let plain = [
        test!(the_scripts_are_safe_for_the_shell).needs(Installed::SHELLCHECK.need()),
        test!(the_unit_is_one_that_systemd_takes).needs(Installed::SYSTEMD.need()),
        test!(a_namespace_is_made_and_attached).needs(Installed::IPROUTE.need()),
        test!(an_existing_veth_is_attached),
        test!(a_virtual_machines_tap_is_attached).needs(Installed::IPROUTE.need()),
        test!(a_pod_is_made_by_the_plugin_and_taken_away).needs(Installed::IPROUTE.need()),
        test!(two_hosts_have_one_network),
    ];
    let engines = [
        test!(a_running_container_of_docker_is_attached_by_name).needs(Installed::DOCKER.need()),
        test!(a_running_container_of_podman_is_attached_by_name)
            .needs(Installed::PODMAN.need())
            .needs(Installed::RUNC.need()),
    ];
    let engines = engines.map(|test| test.needs(Installed::BUSYBOX.need()));
    let all = plain.into_iter().chain(engines);
    netlab::test_main(all.map(|test| test.needs(Need::Tun)))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A call of a script that finds the switch and its tool.
fn script(switch: &Switch, name: &str, arguments: &str) -> Outcome<Command> {
    let mut command = Command::new(examples().join(name));
    command.args(arguments.split_whitespace());
    command.env("VSWITCH_SOCKET", switch.socket()).env("VSWITCHCTL", ours("vswitchctl")?);
    Ok(command)
}

/// Runs a script on a host, and returns what it says.
fn run(host: &Host, switch: &Switch, name: &str, arguments: &str) -> Outcome<String> {
    on(&host.namespace, &mut script(switch, name, arguments)?)
}

/// A switch with the network `shop`, 10.1.0.0/24.
fn shop(host: &Host) -> Outcome<Switch> {
    let switch = Switch::start(host, &[])?;
    let subnets = vec!["10.1.0.0/24".parse()?];
    let create = NetworkCreate { subnets, ..NetworkCreate::new("shop".parse()?) };
    switch.change(Mutation::NetworkCreate(Box::new(create)))?;
    Ok(switch)
}

/// That somebody in a namespace reaches an address.
fn pings(namespace: &Container, address: &str) -> TestResult {
    netlab::ping::ping(namespace, address.parse()?, &netlab::ping::Options::default())?;
    Ok(())
}

fn pings_by_name(namespace: &str, address: &str) -> Outcome<String> {
    say(Command::new("ip").args(["netns", "exec", namespace]).args(PING).arg(address))
}

const PING: [&str; 6] = ["busybox", "ping", "-c", "1", "-w", "5"];

fn the_scripts_are_safe_for_the_shell() -> TestResult {
    let scripts = std::fs::read_dir(examples())?.collect::<Result<Vec<_>, _>>()?;
    let scripts = scripts.into_iter().map(|entry| entry.path());
    let scripts: Vec<_> =
        scripts.filter(|path| path.extension().is_some_and(|end| end == "sh")).collect();
    assert!(scripts.len() > 5);
    say(Command::new("shellcheck").args(scripts))?;
    Ok(())
}

fn the_unit_is_one_that_systemd_takes() -> TestResult {
    // It looks for the program, too: here it is where the workspace has it.
    let unit = std::fs::read_to_string(examples().join("vswitchd.service"))?;
    let program = ours("vswitchd")?.display().to_string();
    let here = unit.replace("/usr/local/bin/vswitchd", &program);
    assert_ne!(here, unit);
    let path = "/run/vswitchd.service";
    std::fs::write(path, &here)?;
    say(Command::new("systemd-analyze").args(["verify", "--man=no", path]))?;
    // And the program takes its arguments.
    let start = here.lines().find_map(|line| line.strip_prefix("ExecStart=")).ok_or("no start")?;
    let mut words = start.split_whitespace();
    let command = words.next().ok_or("no command")?;
    say(Command::new(command).args(words).arg("--version"))?;
    Ok(())
}

fn a_namespace_is_made_and_attached() -> TestResult {
    let host = Host::new()?;
    let switch = shop(&host)?;
    let said = run(&host, &switch, "attach-netns.sh", "shop plain --ip 10.1.0.9")?;
    assert!(said.contains("10.1.0.9/24"), "{said}");
    let again = run(&host, &switch, "attach-netns.sh", "shop plain --ip 10.1.0.9")?;
    assert!(again.contains("unchanged"), "{again}");
    pings_by_name("plain", "10.1.0.1")?;
    run(&host, &switch, "attach-netns.sh", "other plain --ifname eth1")?;
    assert_eq!(switch.networks()?.len(), 2, "a network is made, too");
    say(Command::new("ip").args(["netns", "delete", "plain"]))?;
    Ok(switch.check_left_nothing()?)
}

fn an_existing_veth_is_attached() -> TestResult {
    let host = Host::new()?;
    let switch = shop(&host)?;
    let container = Container::new()?;
    topology::veth(&host.namespace, "ve0", &container, "eth0")?;
    container.address("eth0", &["10.1.0.200/24"])?;
    run(&host, &switch, "attach-veth.sh", "shop ve0")?;
    pings(&container, "10.1.0.1")?;
    let missing = run(&host, &switch, "attach-veth.sh", "shop ve9");
    assert!(missing.is_err_and(|error| error.to_string().contains("ve9")));
    Ok(switch.check_ledger()?)
}

/// The machine's end of a TAP device: it asks for the gateway by ARP, and hears the answer.
fn a_virtual_machines_tap_is_attached() -> TestResult {
    let host = Host::new()?;
    let switch = shop(&host)?;
    run(&host, &switch, "attach-vm.sh", "shop vm0")?;
    let failed = |source| LabError::Socket { operation: "be a virtual machine", source };
    let open = || tun_tap::Iface::without_packet_info("vm0", tun_tap::Mode::Tap).map_err(failed);
    let machine = host.namespace.run(open)?;
    let mac = [2, 0, 0, 0, 0, 0x42];
    let question = [
        &[0xff; 6][..],
        &mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &[10, 1, 0, 77],
        &[0; 6],
        &[10, 1, 0, 1],
    ];
    machine.send(&question.concat())?;
    let mut frame = [0; 2048];
    let is_answer = |frame: &[u8]| frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
    loop {
        let bytes = machine.recv(&mut frame)?;
        if is_answer(&frame[..bytes]) {
            break;
        }
    }
    assert_eq!(frame[28..32], [10, 1, 0, 1]);
    let again = run(&host, &switch, "attach-vm.sh", "nowhere vm1");
    assert!(again.is_err() && host.namespace.link("vm1").is_err(), "it leaves nothing");
    Ok(())
}

fn a_pod_is_made_by_the_plugin_and_taken_away() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    // The socket is part of the configuration, as the plugin's environment is the runtime's.
    let conf = std::fs::read_to_string(examples().join("pod.conf"))?;
    let mut conf: serde_json::Value = serde_json::from_str(&conf)?;
    conf["socket"] = switch.socket().display().to_string().into();
    let path = host.directory().join("pod.conf");
    std::fs::write(&path, conf.to_string())?;
    let plugins = ours("vswitch-cni")?.parent().ok_or("no directory")?.to_owned();
    let pod = |arguments: &str| {
        let mut command = script(&switch, "pod.sh", arguments)?;
        on(&host.namespace, command.env("CNI_PATH", &plugins))
    };
    let path = path.display();
    let result: serde_json::Value = serde_json::from_str(&pod(&format!("add web {path}"))?)?;
    let address = result["ips"][0]["address"].as_str().ok_or("no address")?.to_owned();
    assert_eq!(address, "10.42.0.2/16");
    pod("run web busybox ping -c 1 -w 5 10.42.0.1")?;
    // Two processes of the pod meet on its loopback.
    let address = pod("run web ip -oneline addr show dev eth0")?;
    assert!(address.contains("10.42.0.2/16"), "{address}");
    pod("run web busybox ping -c 1 -w 5 127.0.0.1")?;
    assert_eq!(switch.networks()?[0].endpoints[0].aliases[0].as_str(), "web");
    for _ in 0..2 {
        pod(&format!("del web {path}"))?;
    }
    Ok(switch.check_left_nothing()?)
}

fn two_hosts_have_one_network() -> TestResult {
    let hosts = [Host::new()?, Host::new()?];
    topology::veth(&hosts[0].namespace, "under", &hosts[1].namespace, "under")?;
    let addresses = ["203.0.113.1", "203.0.113.2"];
    let mut switches = Vec::new();
    let mut containers = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let (here, there) = (addresses[number], addresses[1 - number]);
        host.namespace.address("under", &[&format!("{here}/24")])?;
        let switch = Switch::start(host, &[])?;
        let range = ["10.77.0.16/28", "10.77.0.32/28"][number];
        run(host, &switch, "two-hosts.sh", &format!("all {here} {there} {range}"))?;
        let container = Container::new()?;
        let connect = NetworkConnect::new("all".parse()?, container.reference());
        switch.change(Mutation::NetworkConnect(Box::new(connect)))?;
        container.await_ready("eth0")?;
        containers.push(container);
        switches.push(switch);
    }
    pings(&containers[0], "10.77.0.32")?;
    pings(&containers[1], "10.77.0.16")?;
    Ok(())
}

fn a_running_container_of_docker_is_attached_by_name() -> TestResult {
    let host = Host::new()?;
    let switch = shop(&host)?;
    let docker = Docker::start(&host)?;
    docker.container("plain", "--network none")?;
    let mut command = script(&switch, "attach-container.sh", "shop plain --ip 10.1.0.9")?;
    let said = on(&host.namespace, command.env("ENGINE", docker.client_words()))?;
    assert!(said.contains("10.1.0.9/24"), "{said}");
    assert_eq!(switch.networks()?[0].endpoints[0].aliases[0].as_str(), "plain");
    docker.shell("plain", "ping -c 1 -w 5 10.1.0.1")?;
    docker.run("kill plain")?;
    let mut late = script(&switch, "attach-container.sh", "shop plain")?;
    let late = on(&host.namespace, late.env("ENGINE", docker.client_words()));
    assert!(late.is_err_and(|error| error.to_string().contains("does not run")));
    Ok(switch.check_left_nothing()?)
}

fn a_running_container_of_podman_is_attached_by_name() -> TestResult {
    let host = Host::new()?;
    let switch = shop(&host)?;
    let podman = Podman::new(&host)?;
    podman.container("plain", "--network none")?;
    let mut command = script(&switch, "attach-container.sh", "shop plain --ifname net7")?;
    on(&host.namespace, command.env("ENGINE", podman.client_words()))?;
    podman.shell("plain", "ping -c 1 -w 5 10.1.0.1")?;
    let shown = podman.shell("plain", "ip addr show net7")?;
    assert!(shown.contains("10.1.0.2/24"), "{shown}");
    podman.run("rm --force --all --time 0")?;
    Ok(switch.check_left_nothing()?)
}
