//! Docker's containers on networks of the other shapes: on the wire, routed, and each on a link of its own.

use ctl::{Mutation, NetdevMode, Port, PortAdd, PortKind, Shape};
use e2e::{Host, Outcome};
use netlab::{Test, TestResult, ping, test};

use crate::networks::is_clean;
use crate::scene::{Scene, with_docker};

pub fn tests() -> Vec<Test> {
    with_docker([
        test!(a_direct_container_is_on_the_wire_with_an_address_of_its_own),
        test!(a_direct_container_without_ipam_has_what_others_give_it),
        test!(a_routed_container_is_reached_by_its_address_from_outside),
        test!(p2p_containers_reach_each_other_and_the_world_by_their_gateway),
        test!(what_does_not_go_with_a_shape_is_refused_by_docker_too),
    ])
}

/// A second wire of the host, with a neighbour on it.
struct Wire {
    neighbor: netlab::Container,
}

impl Wire {
    const NEIGHBOR: &str = "192.0.2.9";

    /// A wire on a network's bridge.
    fn on(scene: &Scene, network: &str) -> Outcome<Self> {
        let neighbor = netlab::Container::new()?;
        netlab::topology::veth(&scene.host.namespace, "lan0", &neighbor, "eth0")?;
        neighbor.address("eth0", &[&format!("{}/24", Self::NEIGHBOR)])?;
        let kind =
            PortKind::Netdev { device: "lan0".parse()?, netns: None, mode: NetdevMode::default() };
        let add = PortAdd { name: "lan0".parse()?, port: Port::new(network.parse()?, kind) };
        scene.switch.change(Mutation::PortAdd(Box::new(add)))?;
        Ok(Self { neighbor })
    }

    fn pings(&self, address: &str) -> TestResult {
        ping::ping(&self.neighbor, address.parse()?, &ping::Options::default())?;
        Ok(())
    }
}

fn shape_of(scene: &Scene, network: &str) -> Outcome<Shape> {
    let networks = scene.switch.networks()?;
    let found = networks.iter().find(|of| of.name.as_str() == network).ok_or("no network")?;
    Ok(found.settings.shape)
}

fn a_direct_container_is_on_the_wire_with_an_address_of_its_own() -> TestResult {
    let scene = Scene::new()?;
    for (network, ipam) in [("ours", ""), ("dockers", "--ipam-driver default")] {
        let options = "--subnet 192.0.2.0/24 --gateway 192.0.2.254 --ip-range 192.0.2.64/26";
        let shape = format!("-o vswitch.shape=direct -o vswitch.network={network}");
        scene.network(network, &format!("{ipam} {options} {shape}"))?;
        assert_eq!(shape_of(&scene, network)?, Shape::Direct);
        let wire = Wire::on(&scene, network)?;
        scene.docker.container("alpha", &format!("--network {network}"))?;
        assert!(scene.pings("alpha", Wire::NEIGHBOR), "{network}");
        wire.pings(&scene.address("alpha", network, "IPAddress")?)?;
        // The wire's router leads out, and not the switch.
        assert!(scene.docker.shell("alpha", "ip route")?.contains("default via 192.0.2.254"));
        scene.docker.run("rm --force alpha")?;
        let gone = ctl::Named::new("lan0".parse()?);
        scene.switch.change(Mutation::PortDel(gone))?;
        scene.docker.run(&format!("network rm {network}"))?;
        scene.host.namespace.netlink()?.delete_link(scene.host.namespace.link("lan0")?.index)?;
    }
    is_clean(&scene)
}

fn a_direct_container_without_ipam_has_what_others_give_it() -> TestResult {
    let scene = Scene::new()?;
    scene.network("lan", "--ipam-driver null -o vswitch.shape=direct -o vswitch.network=lan")?;
    let wire = Wire::on(&scene, "lan")?;
    scene.docker.container("alpha", "--network lan --cap-add NET_ADMIN")?;
    assert!(!scene.docker.shell("alpha", "ip addr show eth0")?.contains("inet "));
    // As a client of DHCP would do it.
    scene.docker.shell("alpha", "ip addr add 192.0.2.77/24 dev eth0")?;
    assert!(scene.pings("alpha", Wire::NEIGHBOR));
    wire.pings("192.0.2.77")?;
    assert_eq!(scene.switch.leases()?, []);
    Ok(scene.switch.check_ledger()?)
}

fn a_routed_container_is_reached_by_its_address_from_outside() -> TestResult {
    let scene = Scene::new()?;
    for (network, ipam) in [("ours", ""), ("dockers", "--ipam-driver default")] {
        // A part of the uplink's own subnet.
        let part = format!("{ipam} --subnet 198.51.100.128/26");
        let shape = format!("-o vswitch.shape=routed -o vswitch.network={network}");
        scene.network(network, &format!("{part} {shape}"))?;
        assert_eq!(shape_of(&scene, network)?, Shape::Routed);
        scene.docker.container("alpha", &format!("--network {network}"))?;
        scene.docker.container("beta", &format!("--network {network}"))?;
        let address = scene.address("alpha", network, "IPAddress")?;
        ping::ping(&scene.host.world, address.parse()?, &ping::Options::default())?;
        assert!(scene.pings("alpha", Host::WORLD));
        assert!(scene.pings("beta", "alpha"), "by the gateway, though Docker gives them a link");
        scene.docker.run("rm --force alpha beta")?;
        scene.docker.run(&format!("network rm {network}"))?;
    }
    Ok(scene.switch.check_ledger()?)
}

fn p2p_containers_reach_each_other_and_the_world_by_their_gateway() -> TestResult {
    let scene = Scene::new()?;
    for (network, ipam) in [("ours", ""), ("dockers", "--ipam-driver default")] {
        scene.network(
            network,
            &format!("{ipam} -o vswitch.shape=p2p -o vswitch.network={network}"),
        )?;
        let [a, b] = ["a", "b"].map(|end| format!("{network}-{end}"));
        for name in [&a, &b] {
            scene.docker.container(name, &format!("--network {network}"))?;
        }
        assert!(scene.pings(&a, &b) && scene.pings(&b, &a), "{network}");
        assert!(scene.pings(&a, Host::WORLD), "{network}");
        // Each is alone on its link: whom it knows there is the gateway, whatever it asked for.
        let known = scene.docker.shell(&a, "cat /proc/net/arp")?;
        let stations: std::collections::BTreeSet<_> =
            known.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)).collect();
        assert_eq!(stations.len(), 1, "{known}");
    }
    Ok(scene.switch.check_ledger()?)
}

fn what_does_not_go_with_a_shape_is_refused_by_docker_too() -> TestResult {
    let scene = Scene::new()?;
    let cases = [
        ("-o vswitch.shape=p2p -o vswitch.isolated=true", "no link in common"),
        ("-o vswitch.shape=routed --internal", "--p2p with --internal"),
        ("-o vswitch.shape=round", "vswitch.shape=round"),
        ("--ipam-driver null -o vswitch.shape=p2p", "give a --subnet"),
    ];
    for (options, why) in cases {
        let refused = scene.network("wrong", options);
        let said = refused.err().ok_or("it was taken")?.to_string();
        assert!(said.contains(why), "{options}: {said}");
    }
    assert_eq!(scene.switch.networks()?, []);
    Ok(())
}
