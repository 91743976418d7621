//! The README, followed in order by somebody who has just installed the switch.

use std::path::Path;
use std::process::{Command, Output};

use hostnet::Netns;
use netlab::{Container, LabError, Need, Test, TestResult, test, topology};

use crate::daemon::Daemon;

const README: &str = include_str!("../../../README.md");

pub fn tests() -> Vec<Test> {
    let test = test!(every_command_of_the_readme_works_where_it_stands);
    vec![test.needs(Need::Tun).needs(Need::Bpf)]
}

/// The commands of the README in order, without their comments; but those that wait for traffic or for another
/// program, and the one about a network that podman made.
fn commands() -> Vec<String> {
    let waits = ["capture ", "--live", "network inspect web"];
    let typed = README.lines().filter_map(|line| line.strip_prefix("# vswitchctl "));
    let bare = typed.map(|command| command.split("  #").next().unwrap_or_default().trim());
    let bare = bare.map(|command| command.split(" # ").next().unwrap_or_default().to_owned());
    bare.filter(|command| !waits.iter().any(|word| command.contains(word))).collect()
}

/// Types a command on a host.
fn vswitchctl(host: &Container, daemon: &Daemon, command: &str) -> Result<Output, LabError> {
    let program = Path::new(env!("CARGO_BIN_EXE_vswitchctl")).display();
    host.run(|| {
        Command::new("sh")
            .args(["-c", &format!("'{program}' {command}")])
            .env("VSWITCH_SOCKET", daemon.socket())
            .current_dir(daemon.directory())
            .output()
            .map_err(|source| LabError::Socket { operation: "run a command", source })
    })
}

fn every_command_of_the_readme_works_where_it_stands() -> TestResult {
    const NAMES: [&str; 4] = ["web", "db", "app", "far"];
    let host = Container::new()?;
    let containers: Result<Vec<_>, _> = NAMES.iter().map(|_| Container::new()).collect();
    let containers = containers?;
    for (name, container) in NAMES.iter().zip(&containers) {
        container.namespace().give_name(name)?;
    }
    let (others, ends) = ([Container::new()?, Container::new()?], Container::new()?);
    let processes = [others[0].inhabit()?, others[1].inhabit()?];
    for device in ["veth0", "veth1", "eth0", "eth1", "eth2", "eth3", "under"] {
        topology::veth(&host, device, &ends, device)?;
    }
    host.address("under", &["198.51.100.1/24"])?;
    host.address("eth0", &["203.0.113.1/24"])?;
    let daemon = Daemon::start_on(&host, &[])?;
    std::fs::write(daemon.directory().join("network"), "bridge add br9\n")?;
    let commands = commands();
    assert!(commands.len() > 40, "{commands:?}");
    for command in commands {
        let typed = command
            .replace("4711", &processes[0].reference().to_string())
            .replace("4712", &processes[1].reference().to_string());
        let output = vswitchctl(&host, &daemon, &typed)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
    }
    NAMES.iter().try_for_each(|name| Ok(Netns::forget_name(name)?))
}
