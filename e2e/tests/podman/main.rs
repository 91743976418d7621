//! Podman, with its containers on networks of the switch by the Container Network Interface.

use std::process::ExitCode;

use e2e::{Host, Installed, Podman, Switch};
use netlab::{Need, Test, TestResult, test};
use rustix::process::Signal;

fn main() -> ExitCode {
    let tests = [
        test!(containers_of_a_network_reach_each_other_and_stream_whole),
        test!(networks_are_apart_and_a_container_on_two_reaches_both),
        test!(a_published_port_is_reached_from_outside),
        test!(a_published_port_is_reached_where_the_host_shares_its_interface),
        test!(addresses_are_those_that_were_asked_for),
        test!(containers_that_come_and_go_leave_nothing),
        test!(a_restarted_switch_has_the_same_containers),
    ];
    let needs = [Installed::PODMAN, Installed::RUNC, Installed::BUSYBOX];
    let with = |test: Test| needs.into_iter().fold(test, |test, one| test.needs(one.need()));
    netlab::test_main(tests.into_iter().map(|test| with(test.needs(Need::Tun))))
}

const WEB: &str = r#""isDefaultGateway":true,"ipam":{"type":"vswitch","subnet":"10.1.0.0/24"}"#;
const BACK: &str = r#""ipam":{"type":"vswitch","subnet":"10.2.0.0/24"}"#;

fn pings(podman: &Podman, from: &str, target: &str) -> bool {
    podman.shell(from, &format!("ping -c 1 -w 5 {target}")).is_ok()
}

fn containers_of_a_network_reach_each_other_and_stream_whole() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    podman.container("alpha", "--network web")?;
    podman.container("beta", "--network web")?;
    assert!(pings(&podman, "alpha", "10.1.0.3"));
    assert!(pings(&podman, "alpha", Host::WORLD), "by masquerading");
    podman.shell("beta", "dd if=/dev/urandom of=/tmp/sent bs=64k count=64 2>/dev/null")?;
    podman.shell("beta", "httpd -p 80 -h /tmp")?;
    let sum = |text: String| text.split_whitespace().next().map(str::to_owned);
    let sent = sum(podman.shell("beta", "sha256sum /tmp/sent")?);
    let fetch = "timeout 20 wget -q -O - http://10.1.0.3/sent | sha256sum";
    let received = podman.shell("alpha", fetch)?;
    assert_eq!(sum(received), sent);
    podman.run("rm --force --all --time 0")?;
    Ok(switch.check_left_nothing()?)
}

fn networks_are_apart_and_a_container_on_two_reaches_both() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    podman.network(&switch, "back", BACK)?;
    podman.container("front", "--network web")?;
    podman.container("db", "--network back")?;
    podman.container("both", "--network web,back")?;
    assert!(pings(&podman, "both", "10.1.0.2") && pings(&podman, "both", "10.2.0.2"));
    assert!(podman.shell("front", "ping -c 1 -W 1 10.2.0.2").is_err());
    podman.run("network disconnect back both")?;
    assert!(podman.shell("both", "ping -c 1 -W 1 10.2.0.2").is_err());
    podman.run("network connect back both")?;
    assert!(pings(&podman, "both", "10.2.0.2"));
    Ok(switch.check_ledger()?)
}

fn a_published_port_is_reached_from_outside() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    podman.container("shop", "--network web -p 8080:80")?;
    podman.shell("shop", "mkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www")?;
    assert!(host.fetch("198.51.100.1:8080")?.0.ends_with("hello\n"));
    let taken = podman.container("other", "--network web -p 8080:80");
    assert!(taken.is_err_and(|error| error.to_string().contains("8080")));
    podman.run("rm --force --all --time 0")?;
    assert!(host.fetch("198.51.100.1:8080").is_err());
    Ok(switch.check_left_nothing()?)
}

/// Podman reserves the ports by listening there itself, after the switch has them; after its restart, too.
fn a_published_port_is_reached_where_the_host_shares_its_interface() -> TestResult {
    let host = Host::new()?;
    let mut switch = Switch::start_sharing(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    podman.container("shop", "--network web -p 8080:80 -p 127.0.0.1:9090:80 -p 5353:53/udp")?;
    podman.shell("shop", "mkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www")?;
    let is_reached = || -> TestResult {
        assert!(host.fetch("198.51.100.1:8080")?.0.ends_with("hello\n"));
        for at in ["127.0.0.1:8080", "198.51.100.1:8080", "127.0.0.1:9090"] {
            assert!(host.fetch_by_itself(at)?.ends_with("hello\n"), "{at}");
        }
        Ok(())
    };
    is_reached()?;
    switch.end(Signal::KILL)?;
    let switch = Switch::start_again(&host, &[])?;
    is_reached()?;
    podman.run("rm --force --all --time 0")?;
    for at in ["127.0.0.1:8080", "198.51.100.1:8080", "127.0.0.1:9090"] {
        assert!(host.fetch_by_itself(at).is_err(), "{at}");
    }
    Ok(switch.check_ledger()?)
}

fn addresses_are_those_that_were_asked_for() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    let fixed = "--network web --ip 10.1.0.77 --mac-address 02:00:00:00:00:77 --network-alias db";
    podman.container("fixed", fixed)?;
    let shown = podman.shell("fixed", "ip addr show eth0")?;
    assert!(shown.contains("10.1.0.77/24") && shown.contains("02:00:00:00:00:77"), "{shown}");
    let networks = switch.networks()?;
    let endpoint = networks.iter().flat_map(|network| &network.endpoints).next();
    let names = endpoint.map(|endpoint| endpoint.aliases.clone()).unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    assert!(names.contains(&"db") && names.contains(&"fixed"), "{names:?}");
    Ok(())
}

fn containers_that_come_and_go_leave_nothing() -> TestResult {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    for _ in 0..10 {
        podman.run("run --rm --network web busybox ping -c 1 -w 5 10.1.0.1")?;
    }
    Ok(switch.check_left_nothing()?)
}

fn a_restarted_switch_has_the_same_containers() -> TestResult {
    let host = Host::new()?;
    let mut switch = Switch::start(&host, &[])?;
    let podman = Podman::new(&host)?;
    podman.network(&switch, "web", WEB)?;
    podman.container("alpha", "--network web")?;
    podman.container("beta", "--network web")?;
    switch.end(Signal::KILL)?;
    assert!(podman.container("late", "--network web").is_err(), "nobody serves it");
    let switch = Switch::start_again(&host, &[])?;
    assert!(pings(&podman, "alpha", "10.1.0.3"));
    podman.run("rm --force --all --time 0")?;
    Ok(switch.check_left_nothing()?)
}
