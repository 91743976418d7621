//! A host with the switch, its plugin and Docker.

use e2e::{Docker, Host, Installed, Outcome, Plugin, Switch};
use netlab::{Need, Test};

/// Everything that a test with a real engine needs. Docker is the first to end.
pub struct Scene {
    pub docker: Docker,
    pub switch: Switch,
    pub host: Host,
}

impl Scene {
    pub fn new() -> Outcome<Self> {
        Self::with(Switch::start)
    }

    /// One whose switch is started like this.
    pub fn with(start: fn(&Host, &[&str]) -> Outcome<Switch>) -> Outcome<Self> {
        let host = Host::new()?;
        let plugin = format!("--docker={}", Plugin::socket(&host).display());
        let switch = start(&host, &[&plugin])?;
        let docker = Docker::start(&host)?;
        Ok(Self { docker, switch, host })
    }

    /// Makes a network of ours whose addresses are ours too, unless the options say otherwise.
    pub fn network(&self, name: &str, options: &str) -> Outcome<()> {
        let driver = self.host.name();
        let ipam = if options.contains("--ipam-driver") { "" } else { "--ipam-driver" };
        let of = if ipam.is_empty() { "" } else { driver };
        self.docker.run(&format!("network create -d {driver} {ipam} {of} {options} {name}"))?;
        Ok(())
    }

    /// Whether one container reaches an address or name.
    pub fn pings(&self, container: &str, target: &str) -> bool {
        let ping = if target.contains(':') { "ping6" } else { "ping" };
        self.docker.shell(container, &format!("{ping} -c 1 -w 5 {target}")).is_ok()
    }

    /// Whether an address stays silent.
    pub fn is_silent(&self, container: &str, target: &str) -> bool {
        self.docker.shell(container, &format!("ping -c 1 -W 1 {target}")).is_err()
    }

    /// An address of a container, by the name of the network.
    pub fn address(&self, container: &str, network: &str, field: &str) -> Outcome<String> {
        let format = format!("--format={{{{.NetworkSettings.Networks.{network}.{field}}}}}");
        self.docker.run(&format!("inspect {format} {container}"))
    }
}

/// Tests that need an engine.
pub fn with_docker<const N: usize>(tests: [Test; N]) -> Vec<Test> {
    let needs = [Installed::DOCKER, Installed::BUSYBOX];
    let with = |test: Test| needs.into_iter().fold(test, |test, one| test.needs(one.need()));
    tests.into_iter().map(|test| with(test.needs(Need::Tun))).collect()
}
