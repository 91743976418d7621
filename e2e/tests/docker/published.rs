//! Published ports of a real Docker.

use std::net::UdpSocket;
use std::time::Duration;

use ctl::{NatRule, PortRange};
use e2e::{Outcome, Switch};
use hostnet::Netns;
use netlab::{LabError, Test, TestResult, test};

use crate::scene::{Scene, with_docker};

pub fn tests() -> Vec<Test> {
    with_docker([
        test!(a_published_port_is_reached_from_outside_and_from_its_own_network),
        test!(a_range_and_a_chosen_port_lead_to_the_container),
        test!(a_datagram_to_a_published_port_is_answered_from_there),
        test!(a_port_is_published_at_the_given_address_only),
        test!(a_port_of_the_hosts_loopback_leads_to_the_container_and_is_nowhere_else),
        test!(a_port_published_on_the_hosts_own_interface_is_reached_by_its_loopback_too),
        test!(a_port_that_cannot_be_published_is_refused_and_leaves_nothing),
        test!(on_an_internal_network_nothing_is_published_and_the_container_starts),
    ])
}

const PATIENCE: Duration = Duration::from_secs(10);

fn a_published_port_is_reached_from_outside_and_from_its_own_network() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "--ipv6")?;
    let verbose =
        "run --detach --name web --network web -p 8080:80 busybox httpd -f -v -p 80 -h /bin";
    scene.docker.run(verbose)?;
    scene.docker.shell("web", "echo hello >/bin/index.html")?;
    let (page, client) = scene.host.fetch("198.51.100.1:8080")?;
    assert!(page.ends_with("hello\n"), "{page}");
    let seen = log_of(&scene, "web")?;
    assert!(seen.contains(&format!("{}]:{}", client.ip(), client.port())), "{seen}");
    assert!(scene.host.fetch("[2001:db8::1]:8080")?.0.ends_with("hello\n"), "by IPv6");
    scene.docker.container("other", "--network web")?;
    for from in ["other", "web"] {
        let page = scene.docker.shell(from, "timeout 5 wget -q -O - http://198.51.100.1:8080/")?;
        assert_eq!(page, "hello", "hairpin from {from}");
    }
    scene.docker.run("rm --force web")?;
    assert!(scene.host.fetch("198.51.100.1:8080").is_err(), "it went with the container");
    Ok(scene.switch.check_ledger()?)
}

/// What a container said.
fn log_of(scene: &Scene, container: &str) -> Outcome<String> {
    let path = scene.docker.run(&format!("inspect --format={{{{.LogPath}}}} {container}"))?;
    Ok(std::fs::read_to_string(path)?)
}

fn a_range_and_a_chosen_port_lead_to_the_container() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "")?;
    // As many ports for as many, one of several, and any.
    let ports = "-p 8000-8001:80-81 -p 8100-8102:80 -p 80";
    scene.docker.container("alpha", &format!("--network web {ports}"))?;
    scene.docker.container("beta", "--network web -p 8100-8102:80")?;
    scene.docker.serve_page("alpha", "alpha")?;
    scene.docker.serve_page("beta", "beta")?;
    scene.docker.shell("alpha", "httpd -p 81 -h /www")?;
    let page = |port: u16| scene.host.fetch(&format!("198.51.100.1:{port}")).map(|(page, _)| page);
    for (port, said) in [(8000, "alpha\n"), (8001, "alpha\n"), (8100, "alpha\n"), (8101, "beta\n")]
    {
        assert!(page(port)?.ends_with(said), "{port}");
    }
    let chosen = scene.switch.translations()?.into_iter().find_map(|rule| match rule.rule {
        NatRule::Publish(publish) => Some(publish.forward.ports)
            .filter(|ports| PortRange::CHOSEN.overlaps(ports))
            .map(|ports| ports.first()),
        _ => None,
    });
    assert!(page(chosen.ok_or("none was chosen")?)?.ends_with("alpha\n"));
    Ok(())
}

fn a_datagram_to_a_published_port_is_answered_from_there() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "")?;
    scene.docker.container("alpha", "--network web -p 5353:53/udp -p 7:7/sctp")?;
    let key = scene.docker.run("inspect --format={{.NetworkSettings.SandboxKey}} alpha")?;
    let failed = |source| LabError::Socket { operation: "bind", source };
    let bind = |address: &'static str| move || UdpSocket::bind(address).map_err(failed);
    let server = Netns::open(&key.parse()?)?.run(bind("0.0.0.0:53"))?;
    let client = scene.host.world.run(bind("198.51.100.9:0"))?;
    server.set_read_timeout(Some(PATIENCE))?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut heard = [0; 16];
    client.send_to(b"hello", "198.51.100.1:5353")?;
    let (bytes, from) = server.recv_from(&mut heard)?;
    assert_eq!((&heard[..bytes], from), (&b"hello"[..], client.local_addr()?));
    server.send_to(b"welcome", from)?;
    let (bytes, from) = client.recv_from(&mut heard)?;
    assert_eq!((&heard[..bytes], from), (&b"welcome"[..], "198.51.100.1:5353".parse()?));
    let rules = scene.switch.translations()?;
    assert!(rules.iter().any(|rule| format!("{:?}", rule.rule).contains("Sctp")), "{rules:?}");
    Ok(())
}

fn a_port_is_published_at_the_given_address_only() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "--ipv6")?;
    scene.docker.container("alpha", "--network web -p 198.51.100.1:8080:80 -p 0.0.0.0:8081:80")?;
    scene.docker.serve_page("alpha", "alpha")?;
    for port in [8080, 8081] {
        assert!(scene.host.fetch(&format!("198.51.100.1:{port}"))?.0.ends_with("alpha\n"));
        assert!(scene.host.fetch(&format!("[2001:db8::1]:{port}")).is_err(), "of IPv4 only");
    }
    Ok(())
}

fn a_port_of_the_hosts_loopback_leads_to_the_container_and_is_nowhere_else() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "--ipv6")?;
    scene.docker.container("alpha", "--network web -p 127.0.0.1:8080:80 -p [::1]:8080:80")?;
    scene.docker.serve_page("alpha", "alpha")?;
    for at in ["127.0.0.1:8080", "[::1]:8080"] {
        assert!(scene.host.fetch_by_itself(at)?.ends_with("alpha\n"), "{at}");
    }
    for at in ["198.51.100.1:8080", "[2001:db8::1]:8080"] {
        assert!(scene.host.fetch(at).is_err(), "{at}: on the loopback only");
    }
    scene.docker.run("rm --force alpha")?;
    assert!(scene.host.fetch_by_itself("127.0.0.1:8080").is_err(), "it went with the container");
    Ok(scene.switch.check_ledger()?)
}

fn a_port_published_on_the_hosts_own_interface_is_reached_by_its_loopback_too() -> TestResult {
    let scene = Scene::with(Switch::start_sharing)?;
    scene.network("web", "--ipv6")?;
    scene.docker.container("alpha", "--network web -p 8080:80 -p 80")?;
    scene.docker.serve_page("alpha", "alpha")?;
    for at in ["198.51.100.1:8080", "[2001:db8::1]:8080"] {
        assert!(scene.host.fetch(at)?.0.ends_with("alpha\n"), "{at}");
    }
    for at in ["127.0.0.1:8080", "[::1]:8080"] {
        assert!(scene.host.fetch_by_itself(at)?.ends_with("alpha\n"), "{at}");
    }
    let rules = scene.switch.translations()?;
    let published = rules.iter().filter_map(|rule| match &rule.rule {
        NatRule::Publish(publish) => Some(publish.forward.ports),
        _ => None,
    });
    let chosen: Vec<_> = published.filter(|ports| ports.first() != 8080).collect();
    let is_apart = |ports: &PortRange| !PortRange::ABOVE_EPHEMERAL.overlaps(ports);
    assert!(
        !chosen.is_empty() && chosen.iter().all(is_apart),
        "{chosen:?}: masquerading's are others"
    );
    Ok(scene.switch.check_ledger()?)
}

fn a_port_that_cannot_be_published_is_refused_and_leaves_nothing() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "")?;
    scene.docker.container("first", "--network web -p 8080:80")?;
    let before = scene.switch.translations()?;
    let cases = [
        ("taken", "-p 8090:80 -p 8080:80", "8080"),
        ("elsewhere", "-p 192.0.2.7:8091:80", "192.0.2.7 is no address of the switch outside"),
    ];
    for (name, ports, why) in cases {
        let refused = scene.docker.container(name, &format!("--network web {ports}"));
        let said = refused.err().ok_or("it was published")?.to_string();
        assert!(said.contains(why), "{said}");
        scene.docker.run(&format!("rm --force {name}"))?;
        assert_eq!(scene.switch.translations()?, before, "{name}");
        assert_eq!(scene.switch.containers()?.len(), 1);
    }
    Ok(())
}

/// As with Docker's own drivers: Docker does not ask for it.
fn on_an_internal_network_nothing_is_published_and_the_container_starts() -> TestResult {
    let scene = Scene::new()?;
    scene.network("inner", "--internal")?;
    scene.docker.container("alpha", "--network inner -p 8080:80 -p 127.0.0.1:8081:80")?;
    assert_eq!(scene.switch.translations()?, []);
    Ok(())
}
