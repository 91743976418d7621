//! Containers of a real Docker on networks of the switch.

use ctl::{Mutation, NetworkConnect, NetworkCreate};
use e2e::Outcome;
use netlab::{Container, Test, TestResult, ping, test};

use crate::scene::{Scene, with_docker};

pub fn tests() -> Vec<Test> {
    with_docker([
        test!(containers_on_a_network_reach_resolve_and_stream_to_each_other),
        test!(networks_are_apart_and_a_container_on_two_reaches_both),
        test!(a_container_has_the_addresses_that_were_asked_for),
        test!(an_internal_network_has_no_way_out),
        test!(a_network_has_ipv6_if_it_is_asked_for),
        test!(containers_of_an_isolated_network_do_not_reach_each_other),
        test!(a_container_and_a_bare_namespace_share_a_network),
        test!(a_network_with_containers_is_not_removed_and_nothing_is_left_of_one_that_was),
        test!(many_containers_come_and_go_and_leave_nothing),
    ])
}

/// Some megabytes that no two runs have alike, from one container to the other.
fn stream(scene: &Scene, from: &str, to: &str) -> Outcome<()> {
    let make = "mkdir -p /www; dd if=/dev/urandom of=/www/file bs=64k count=256 2>/dev/null; \
                sha256sum </www/file; httpd -p 8000 -h /www";
    let sent = scene.docker.shell(from, make)?;
    let fetch = format!("wget -q -O - http://{from}:8000/file | sha256sum");
    assert_eq!(scene.docker.shell(to, &fetch)?, sent);
    Ok(())
}

fn containers_on_a_network_reach_resolve_and_stream_to_each_other() -> TestResult {
    let scene = Scene::new()?;
    scene.network("ours", "")?;
    // With Docker's own addresses, which the plugin is told of.
    scene.network("dockers", "--ipam-driver default")?;
    for network in ["ours", "dockers"] {
        let names = [format!("{network}-a"), format!("{network}-b")];
        for name in &names {
            scene.docker.container(name, &format!("--network {network}"))?;
        }
        let [a, b] = &names;
        assert!(scene.pings(a, b), "by name on {network}");
        assert!(scene.pings(b, &scene.address(a, network, "IPAddress")?), "by address");
        assert!(scene.pings(a, e2e::Host::WORLD), "the world from {network}");
        stream(&scene, a, b)?;
    }
    Ok(scene.switch.check_ledger()?)
}

fn networks_are_apart_and_a_container_on_two_reaches_both() -> TestResult {
    let scene = Scene::new()?;
    scene.network("left", "")?;
    scene.network("right", "")?;
    scene.docker.container("alpha", "--network left")?;
    scene.docker.container("beta", "--network right")?;
    let there = scene.address("beta", "right", "IPAddress")?;
    assert!(scene.is_silent("alpha", &there), "networks are apart");
    scene.docker.run("network connect right alpha")?;
    assert!(scene.pings("alpha", "beta") && scene.pings("beta", "alpha"));
    assert!(scene.docker.shell("alpha", "ip addr show eth1")?.contains("inet "));
    scene.docker.run("network disconnect right alpha")?;
    assert!(scene.is_silent("alpha", &there), "it is apart again");
    assert!(scene.docker.shell("alpha", "ip addr show eth1").is_err());
    assert_eq!(scene.switch.containers()?.len(), 2);
    Ok(scene.switch.check_ledger()?)
}

fn a_container_has_the_addresses_that_were_asked_for() -> TestResult {
    let scene = Scene::new()?;
    let subnets = "--subnet 10.88.0.0/24 --gateway 10.88.0.254 --ip-range 10.88.0.128/29 \
                   --aux-address printer=10.88.0.129";
    for (network, options) in [("ours", ""), ("dockers", "--ipam-driver default")] {
        let subnets =
            if options.is_empty() { subnets.to_owned() } else { subnets.replace(".88.", ".89.") };
        let net = if options.is_empty() { "10.88.0" } else { "10.89.0" };
        scene.network(network, &format!("{options} {subnets}"))?;
        let fixed = format!("--network {network} --ip {net}.77 --mac-address 02:00:5e:00:53:01");
        scene.docker.container(&format!("{network}-fixed"), &fixed)?;
        scene.docker.container(&format!("{network}-any"), &format!("--network {network}"))?;
        let shown =
            scene.docker.shell(&format!("{network}-fixed"), "ip addr show eth0; ip route")?;
        for part in
            [&format!("{net}.77/24"), "02:00:5e:00:53:01", &format!("default via {net}.254")]
        {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        // The first of the range that is nobody's; Docker's own begins with the range's own address.
        let any = scene.address(&format!("{network}-any"), network, "IPAddress")?;
        assert!([format!("{net}.128"), format!("{net}.130")].contains(&any), "{any}");
        let again = format!("--network {network} --ip {net}.77");
        let refused = scene.docker.container(&format!("{network}-again"), &again);
        assert!(refused.is_err(), "an address is one container's");
        assert!(scene.pings(&format!("{network}-any"), &format!("{net}.77")));
    }
    Ok(())
}

fn an_internal_network_has_no_way_out() -> TestResult {
    let scene = Scene::new()?;
    scene.network("inner", "--internal")?;
    scene.docker.container("alpha", "--network inner")?;
    scene.docker.container("beta", "--network inner")?;
    assert!(scene.pings("alpha", "beta"));
    assert!(!scene.docker.shell("alpha", "ip route")?.contains("default"));
    assert!(scene.is_silent("alpha", e2e::Host::WORLD));
    let gateway = scene.switch.networks()?[0].subnets[0].gateway.ok_or("no gateway")?;
    scene.docker.run("run --rm --network none busybox true")?;
    let forced = format!("ip route add default via {gateway}; ping -c 1 -W 1 {}", e2e::Host::WORLD);
    assert!(scene.docker.shell("alpha", &forced).is_err(), "not even for who insists");
    Ok(())
}

fn a_network_has_ipv6_if_it_is_asked_for() -> TestResult {
    let scene = Scene::new()?;
    scene.network("both", "--ipv6")?;
    scene.network("given", "--ipam-driver default --ipv6 --subnet fd12:3456::/64")?;
    for network in ["both", "given"] {
        let [a, b] = ["a", "b"].map(|end| format!("{network}-{end}"));
        scene.docker.container(&a, &format!("--network {network}"))?;
        scene.docker.container(&b, &format!("--network {network}"))?;
        let address = scene.address(&b, network, "GlobalIPv6Address")?;
        assert!(scene.pings(&a, &address), "{address}");
        assert!(scene.pings(&a, e2e::Host::WORLD_IPV6), "the world, by masquerading");
    }
    Ok(())
}

fn containers_of_an_isolated_network_do_not_reach_each_other() -> TestResult {
    let scene = Scene::new()?;
    scene.network(
        "apart",
        "-o com.docker.network.bridge.enable_icc=false -o com.docker.network.driver.mtu=1400",
    )?;
    scene.docker.container("alpha", "--network apart")?;
    scene.docker.container("beta", "--network apart")?;
    assert!(scene.is_silent("alpha", &scene.address("beta", "apart", "IPAddress")?));
    assert!(scene.pings("alpha", e2e::Host::WORLD));
    assert!(scene.docker.shell("alpha", "ip link show eth0")?.contains("mtu 1400"));
    let misspelled = scene.network("other", "-o vswitch.isolatd=true");
    let said = misspelled.err().ok_or("a misspelled option was taken")?.to_string();
    assert!(said.contains("vswitch.isolatd") && said.contains("vswitch.isolated"), "{said}");
    Ok(())
}

fn a_container_and_a_bare_namespace_share_a_network() -> TestResult {
    let scene = Scene::new()?;
    let create = NetworkCreate::new("shared".parse()?);
    scene.switch.change(Mutation::NetworkCreate(Box::new(create)))?;
    let bare = Container::new()?;
    let connect = NetworkConnect::new("shared".parse()?, bare.reference());
    let connected = scene.switch.change(Mutation::NetworkConnect(Box::new(connect)))?;
    let endpoint = connected.endpoint.ok_or("not connected")?;
    bare.await_ready("eth0")?;
    scene.network("here", "-o vswitch.network=shared --ipam-opt vswitch.network=shared")?;
    scene.docker.container("alpha", "--network here")?;
    assert!(scene.pings("alpha", &endpoint.addresses[0].address.addr.to_string()));
    let container = scene.address("alpha", "here", "IPAddress")?.parse()?;
    ping::ping(&bare, container, &ping::Options::default())?;
    let refused = scene.network("wrong", "-o vswitch.network=shared");
    assert!(refused.is_err(), "another subnet than the network's");
    scene.docker.run("rm --force alpha")?;
    scene.docker.run("network rm here")?;
    let left = scene.switch.networks()?;
    assert_eq!((left.len(), left[0].endpoints.len()), (1, 1), "it was there before Docker's");
    assert!(left[0].settings.labels.is_empty());
    Ok(())
}

fn a_network_with_containers_is_not_removed_and_nothing_is_left_of_one_that_was() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "")?;
    scene.docker.container("alpha", "--network web")?;
    assert!(scene.docker.run("network rm web").is_err());
    assert!(scene.pings("alpha", e2e::Host::WORLD));
    scene.docker.run("rm --force alpha")?;
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}

/// Nothing is left of any container or network.
pub fn is_clean(scene: &Scene) -> TestResult {
    assert_eq!(scene.switch.networks()?, []);
    assert_eq!(scene.switch.translations()?, []);
    let links = scene.host.namespace.netlink()?.links()?;
    let left: Vec<_> = links.iter().filter(|link| link.name.starts_with("vsw")).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(scene.switch.check_left_nothing()?)
}

fn many_containers_come_and_go_and_leave_nothing() -> TestResult {
    const AT_ONCE: usize = 4;
    const ROUNDS: usize = 6;
    let scene = Scene::new()?;
    scene.network("web", "--subnet 10.90.0.0/26")?;
    std::thread::scope(|scope| -> Outcome<()> {
        let come_and_go = |lane: usize| {
            let scene = &scene;
            move || -> Outcome<()> {
                for round in 0..ROUNDS {
                    let name = format!("c{lane}x{round}");
                    let port = 9000 + lane;
                    scene
                        .docker
                        .container(&name, &format!("--network web -p {port}:80 -p 53/udp"))?;
                    scene.docker.run(&format!("rm --force {name}"))?;
                }
                Ok(())
            }
        };
        let lanes: Vec<_> = (0..AT_ONCE).map(|lane| scope.spawn(come_and_go(lane))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "a lane panicked")?)
    })?;
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}
