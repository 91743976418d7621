//! Docker, podman and bare namespaces side by side: on one network of the switch, and while everything is killed.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ctl::response::UnusedInfo;
use ctl::{IpamFilter, Mutation, Named, NetworkConnect, NetworkCreate, NetworkDisconnect, Query};
use e2e::process::on;
use e2e::{Docker, Host, Installed, Outcome, Plugin, Podman, Switch};
use netlab::{Container, Need, Test, TestResult, test};
use rustix::process::Signal;

fn main() -> ExitCode {
    let tests = [
        test!(docker_podman_and_a_bare_namespace_are_on_one_network),
        test!(engines_and_switch_that_are_killed_at_any_time_leave_nothing_that_cannot_be_found),
    ];
    let needs = [Installed::DOCKER, Installed::PODMAN, Installed::RUNC, Installed::BUSYBOX];
    let with = |test: Test| needs.into_iter().fold(test, |test, one| test.needs(one.need()));
    netlab::test_main(tests.into_iter().map(|test| with(test.needs(Need::Tun))))
}

/// The keys of podman's configuration of the network.
const SHARED: &str = r#""isDefaultGateway":true,"ipam":{"type":"vswitch","subnet":"10.55.0.0/24"}"#;

fn plugin(host: &Host) -> String {
    format!("--docker={}", Plugin::socket(host).display())
}

/// A switch with the network `shared`, which Docker and podman are told of.
fn shared(host: &Host) -> Outcome<(Switch, Docker, Podman<'_>)> {
    let switch = Switch::start(host, &[&plugin(host)])?;
    let subnets = vec!["10.55.0.0/24".parse()?];
    let create = NetworkCreate { subnets, ..NetworkCreate::new("shared".parse()?) };
    switch.change(Mutation::NetworkCreate(Box::new(create)))?;
    let (docker, podman) = (Docker::start(host)?, Podman::new(host)?);
    let (driver, name) = (host.name(), "vswitch.network=shared");
    let options = format!("--ipam-driver {driver} -o {name} --ipam-opt {name}");
    docker.run(&format!("network create -d {driver} {options} shared"))?;
    podman.network(&switch, "shared", SHARED)?;
    Ok((switch, docker, podman))
}

/// What runs a script in a container, and returns what it printed.
type Shell<'a> = Box<dyn Fn(&str) -> Outcome<String> + 'a>;

/// Somebody on the network: an address, and how a script of the shell is run there.
struct Member<'a> {
    name: &'a str,
    ip: String,
    shell: Shell<'a>,
}

fn docker_podman_and_a_bare_namespace_are_on_one_network() -> TestResult {
    let host = Host::new()?;
    let (switch, docker, podman) = shared(&host)?;
    docker.container("alpha", "--network shared")?;
    podman.container("beta", "--network shared")?;
    let bare = Container::new()?;
    let connect = NetworkConnect::new("shared".parse()?, bare.reference());

    switch.change(Mutation::NetworkConnect(Box::new(connect)))?;
    bare.await_ready("eth0")?;
    // The programs of the containers' image are those of the bare namespace too.
    let programs: PathBuf = host.directory().join("docker/image/bin");
    let in_bare = |script: &str| {
        on(&bare, Command::new(programs.join("sh")).env("PATH", &programs).args(["-c", script]))
    };
    let members = [
        member("alpha", 2, |script| docker.shell("alpha", script)),
        member("beta", 3, |script| podman.shell("beta", script)),
        member("bare", 4, in_bare),
    ];
    for from in &members {
        for to in members.iter().filter(|to| to.ip != from.ip) {
            (from.shell)(&format!("ping -c 1 -w 5 {}", to.ip))?;
        }
        (from.shell)(&format!("ping -c 1 -w 5 {}", Host::WORLD))?;
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        stream(&members[from], &members[to])?;
        stream(&members[to], &members[from])?;
    }
    drop(members);
    docker.run("rm --force alpha")?;
    podman.run("rm --force --all --time 0")?;
    drop(bare);
    Ok(switch.check_left_nothing()?)
}

fn member<'a>(name: &'a str, host: u8, shell: impl Fn(&str) -> Outcome<String> + 'a) -> Member<'a> {
    Member { name, ip: format!("10.55.0.{host}"), shell: Box::new(shell) }
}

/// A file that no two runs have alike, from one to the other.
fn stream(from: &Member, to: &Member) -> Outcome<()> {
    let (dir, port) = (format!("/tmp/from-{}-to-{}", from.name, to.name), 8000);
    let make = format!(
        "mkdir -p {dir}; cd {dir}; dd if=/dev/urandom of=sent bs=64k count=64 2>/dev/null; sha256sum <sent; \
         (httpd -f -p {port} -h {dir} >/dev/null 2>&1 & echo $! >{dir}/pid)"
    );
    let sent = (from.shell)(&make)?;
    // It may be asked before it listens.
    let fetch = format!("until wget -q -O - http://{}:{port}/sent; do sleep 0.1; done", from.ip);
    let received = (to.shell)(&format!("timeout 20 sh -c '{fetch}' | sha256sum"))?;
    (from.shell)(&format!("kill $(cat {dir}/pid)"))?;
    assert_eq!(received, sent, "from {} to {}", from.name, to.name);
    Ok(())
}

/// A number from a seed (Marsaglia, "Xorshift RNGs"): the same in each run, so that what failed fails again.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Switch and dockerd are killed some time while containers of both engines come and go. Afterwards the engines remove what they
/// know of, and the audit finds the rest.
fn engines_and_switch_that_are_killed_at_any_time_leave_nothing_that_cannot_be_found() -> TestResult
{
    const ROUNDS: u32 = 8;
    /// About as long as a container takes to come and go.
    const MOST_MS: u64 = 1500;
    let mut seed = 0x5eed_0004;
    let host = Host::new()?;
    let (mut switch, mut docker, podman) = shared(&host)?;
    for round in 0..ROUNDS {
        let delay = Duration::from_millis(next(&mut seed) % MOST_MS);
        let ports = format!("--network shared -p {}:80", 8000 + round);
        std::thread::scope(|scope| -> Outcome<()> {
            // What becomes of them is not known: they are in the middle of it.
            let by_docker = scope.spawn(|| {
                let _ = docker.container(&format!("d{round}"), &ports);
                let _ = docker.run(&format!("rm --force d{round}"));
            });
            let by_podman = scope.spawn(|| {
                let _ = podman.container(&format!("p{round}"), "--network shared -p 7000:80");
                let _ = podman.run(&format!("rm --force --time 0 p{round}"));
            });
            std::thread::sleep(delay);
            switch.end(Signal::KILL)?;
            if round % 2 == 0 {
                docker.kill()?;
            }
            switch = Switch::start_again(&host, &[&plugin(&host)])?;
            let joined = by_docker.join().and(by_podman.join());
            joined.map_err(|_| "somebody who adds containers panicked".into())
        })?;
        docker.restart(&host, Signal::KILL)?;
    }
    for container in docker.run("ps --all --quiet")?.lines() {
        docker.run(&format!("rm --force {container}"))?;
    }
    podman.run("rm --force --all --time 0")?;
    let found = audit(&switch)?;
    println!("the engines forgot, and the audit found: {found:?}");
    docker.run("network rm shared")?;
    Ok(switch.check_left_nothing()?)
}

/// Takes away the ports that no engine knows of any more, and the addresses that nobody uses.
fn audit(switch: &Switch) -> Outcome<Vec<String>> {
    let found = switch.leftovers()?;
    for network in switch.networks()? {
        for endpoint in &network.endpoints {
            match endpoint.netns.clone() {
                Some(netns) => {
                    let network = network.name.clone();
                    let ifname = Some(endpoint.ifname.clone());
                    let disconnect = NetworkDisconnect { network, netns, ifname };
                    switch.change(Mutation::NetworkDisconnect(disconnect))?;
                }
                None => {
                    switch.change(Mutation::PortDel(Named::new(endpoint.port.clone())))?;
                }
            }
        }
    }
    let unused: UnusedInfo = switch.ask(Query::IpamAudit(IpamFilter::default()))?;
    let freed = switch.change(Mutation::IpamFree(IpamFilter::default()))?.removed;
    assert_eq!(freed.unwrap_or_default(), unused.leases.len() + unused.pools.len());
    Ok(found)
}
