//! Networks: containers are connected in one word, get addresses, and keep to their network.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use ctl::response::{
    BridgeInfo, DropInfo, EndpointInfo, LeaseInfo, NatInfo, NetworkInfo, UnusedInfo, WhyInfo,
};
use ctl::{
    Attach, ClientError, Detach, ErrorCode, HostPort, IpCidr, IpamFilter, IpamRelease, IpamRequest,
    Mutation, Named, NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRm, NetworkSet,
    Party, PoolAdd, Port, PortKind, PortSet, Protocol, Query, RouteAdd, Tap, TapRoute, Vlan, Why,
};
use netlab::{Container, Need, Path, Test, TestResult, ping, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually};
use crate::routing::{container, reaches, routed_bridge};

/// Longer than an answer takes.
const SILENT: Duration = Duration::from_millis(500);

pub fn tests() -> Vec<Test> {
    [
        test!(containers_on_a_network_reach_each_other_and_their_gateway),
        test!(networks_are_apart_and_a_container_on_both_reaches_both),
        test!(what_a_container_reaches_by_another_interface_it_reaches_by_that_one_still),
        test!(containers_of_an_isolated_network_reach_the_gateway_only),
        test!(a_network_is_masqueraded_towards_the_uplinks_unless_it_is_internal),
        test!(what_is_for_another_network_leaves_by_no_uplink),
        test!(global_addresses_of_ipv6_go_out_as_they_are),
        test!(a_dead_containers_addresses_are_free_and_held_ones_stay),
        test!(a_killed_daemon_comes_back_with_the_same_leases),
        test!(a_container_that_died_with_the_daemon_leaves_no_lease),
        test!(a_network_with_containers_is_not_removed),
        test!(a_subnet_is_chosen_that_the_host_has_no_route_to),
        test!(a_container_without_ipv6_says_nothing_by_it_until_it_is_given_an_address),
        test!(a_container_whose_engine_switched_ipv6_off_has_it_on_a_network_that_has_it),
        test!(connecting_fails_whole),
        test!(the_host_itself_is_on_a_network),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn create(daemon: &Daemon, name: &str, subnets: &[&str]) -> Fallible<NetworkInfo> {
    let subnets = subnets.iter().map(|cidr| cidr.parse()).collect::<Result<_, _>>()?;
    create_as(daemon, NetworkCreate { subnets, ..NetworkCreate::new(name.parse()?) })
}

fn create_as(daemon: &Daemon, create: NetworkCreate) -> Fallible<NetworkInfo> {
    let changed = daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    Ok(*changed.network.ok_or("no network in the answer")?)
}

/// Connects a container by an interface.
fn connect(
    daemon: &Daemon,
    network: &str,
    container: &Container,
    ifname: &str,
) -> Fallible<EndpointInfo> {
    let connect = NetworkConnect::new(network.parse()?, container.reference());
    let connect = NetworkConnect { ifname: ifname.parse()?, ..connect };
    let changed = daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    container.await_ready(ifname)?;
    Ok(*changed.endpoint.ok_or("no endpoint in the answer")?)
}

/// A container with one interface on a network, and its first address.
fn joined(daemon: &Daemon, network: &str) -> Fallible<(Container, IpAddr)> {
    let container = Container::new()?;
    let endpoint = connect(daemon, network, &container, "eth0")?;
    Ok((container, endpoint.addresses[0].address.addr))
}

fn leases(daemon: &Daemon) -> Result<Vec<LeaseInfo>, ClientError> {
    daemon.ask(Query::IpamList(IpamFilter::default()))
}

fn addresses(leases: &[LeaseInfo]) -> Vec<String> {
    leases.iter().map(|lease| lease.address.to_string()).collect()
}

fn is_silent(from: &Container, to: IpAddr) -> Fallible<bool> {
    Ok(ping::is_silent(from, to, SILENT)?)
}

fn containers_on_a_network_reach_each_other_and_their_gateway() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24", "fd01::/64"])?;
    let containers = [Container::new()?, Container::new()?, Container::new()?];
    for (number, one) in (2..).zip(&containers) {
        let endpoint = connect(&daemon, "web", one, "eth0")?;
        let has = endpoint.addresses.iter().map(|has| has.address.to_string()).collect::<Vec<_>>();
        assert_eq!(has, [format!("10.1.0.{number}/24"), format!("fd01::{number}/64")]);
        assert_eq!(endpoint.mac.map(|mac| mac.0), one.link("eth0")?.mac);
        assert_eq!(endpoint.mtu, one.link("eth0")?.mtu);
        assert_eq!(endpoint.default_gateways.len(), 2);
    }
    for from in &containers {
        for host in 1..=4 {
            reaches(from, &format!("10.1.0.{host}"))?;
        }
        reaches(from, "fd01::1")?;
    }
    reaches(&containers[0], "fd01::3")?;
    let again = connect(&daemon, "web", &containers[1], "eth0")?;
    assert_eq!(again.addresses[0].address.to_string(), "10.1.0.3/24");
    daemon.check_ledger()
}

fn a_container_without_ipv6_says_nothing_by_it_until_it_is_given_an_address() -> TestResult {
    let daemon = Daemon::start()?;
    let local = |container: &Container| -> Fallible<usize> {
        let has = container.netlink()?.addresses(container.link("eth0")?.index)?;
        let is_local =
            |cidr: &&IpCidr| matches!(cidr.addr, IpAddr::V6(ip) if ip.is_unicast_link_local());
        Ok(has.iter().filter(is_local).count())
    };
    for (name, subnets, expected) in
        [("four", &["10.1.0.0/24"][..], 0), ("both", &["10.2.0.0/24", "fd02::/64"], 1)]
    {
        create(&daemon, name, subnets)?;
        assert_eq!(local(&joined(&daemon, name)?.0)?, expected, "{name}");
    }
    routed_bridge(&daemon, "lan", &["10.3.0.1/24"])?;
    let plain = container(&daemon, "plain", "lan", &["10.3.0.2/24"], &["10.3.0.1"])?;
    assert_eq!(local(&plain)?, 0);
    let ips = vec!["10.3.0.2/24".parse()?, "fd03::2/64".parse()?];
    daemon
        .change(Mutation::PortSet(PortSet { ips: Some(ips), ..PortSet::new("plain".parse()?) }))?;
    assert_eq!(local(&plain)?, 1);
    daemon.check_ledger()
}

fn a_container_whose_engine_switched_ipv6_off_has_it_on_a_network_that_has_it() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "both", &["10.1.0.0/24", "fd01::/64"])?;
    create(&daemon, "four", &["10.2.0.0/24"])?;
    let (container, _) = made_by_another_engine()?;
    for which in ["all", "default"] {
        container.sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
    }
    connect(&daemon, "four", &container, "eth0")?;
    connect(&daemon, "both", &container, "eth1")?;
    reaches(&container, "fd01::1")?;
    let addresses = |name| -> Fallible<Vec<IpCidr>> {
        Ok(container.netlink()?.addresses(container.link(name)?.index)?)
    };
    for other in ["own", "eth0"] {
        assert!(addresses(other)?.iter().all(|cidr| cidr.addr.is_ipv4()), "{other} stays without");
    }
    daemon.check_ledger()
}

fn networks_are_apart_and_a_container_on_both_reaches_both() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "a", &["10.1.0.0/24"])?;
    create(&daemon, "b", &["10.2.0.0/24"])?;
    let (one, here) = joined(&daemon, "a")?;
    let (two, there) = joined(&daemon, "b")?;
    assert!(is_silent(&one, there)?, "networks are apart");
    let (both, _) = joined(&daemon, "a")?;
    let second = connect(&daemon, "b", &both, "eth1")?;
    assert!(second.default_gateways.is_empty(), "the first network gave it a default route");
    reaches(&both, &here.to_string())?;
    reaches(&both, &there.to_string())?;
    reaches(&two, &second.addresses[0].address.addr.to_string())?;
    let disconnect = NetworkDisconnect {
        network: "b".parse()?,
        netns: both.reference(),
        ifname: Some("eth1".parse()?),
    };
    assert!(daemon.change(Mutation::NetworkDisconnect(disconnect.clone()))?.changed);
    let again = daemon.change(Mutation::NetworkDisconnect(disconnect))?;
    assert_eq!((again.changed, again.notes.len()), (false, 1));
    assert!(both.link("eth1").is_err());
    reaches(&both, &here.to_string())?;
    daemon.check_ledger()
}

/// A container as another engine has made it: with an interface, and a default route of IPv4 by it.
fn made_by_another_engine() -> Fallible<(Container, u32)> {
    let container = Container::new()?;
    container.netlink()?.create_veth("own", "far", None)?;
    let index = container.address("own", &["192.0.2.2/24"])?.index;
    container.netlink()?.add_default_route("192.0.2.1".parse()?, index)?;
    Ok((container, index))
}

fn what_a_container_reaches_by_another_interface_it_reaches_by_that_one_still() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24", "fd01::/64"])?;
    let (container, own) = made_by_another_engine()?;
    let route =
        |to: &str| -> Fallible<_> { Ok(TapRoute { to: to.parse()?, via: "10.1.0.1".parse()? }) };
    let wanted = NetworkConnect {
        routes: vec![route("192.0.2.0/24")?, route("198.51.100.0/24")?],
        ..NetworkConnect::new("web".parse()?, container.reference())
    };
    let wanted = Mutation::NetworkConnect(Box::new(wanted));
    let endpoint = daemon.change(wanted.clone())?.endpoint.ok_or("no endpoint in the answer")?;
    assert_eq!(endpoint.default_gateways, ["fd01::1".parse::<IpAddr>()?]);
    assert_eq!(endpoint.routes, [route("198.51.100.0/24")?]);
    assert!(!daemon.change(wanted)?.changed, "its own routes by it are nobody else's");
    let netlink = container.netlink()?;
    let by_us = netlink.routes_by(container.link("eth0")?.index)?;
    let default = TapRoute { to: "::/0".parse()?, via: "fd01::1".parse()? };
    assert_eq!(by_us, [route("198.51.100.0/24")?, default]);
    let disconnect =
        NetworkDisconnect { network: "web".parse()?, netns: container.reference(), ifname: None };
    daemon.change(Mutation::NetworkDisconnect(disconnect))?;
    let own = netlink.routes_by(own)?;
    assert_eq!(own, [TapRoute { to: "0.0.0.0/0".parse()?, via: "192.0.2.1".parse()? }]);
    routed_bridge(&daemon, "lan", &["10.3.0.1/24"])?;
    let forced = Attach {
        netns: container.reference(),
        bridge: "lan".parse()?,
        ifname: "eth0".parse()?,
        mac: None,
        ips: vec!["10.3.0.2/24".parse()?],
        gateways: vec!["10.3.0.1".parse()?],
        mtu: None,
        vlan: Vlan::Unaware,
    };
    let refused = daemon.change(Mutation::Attach(forced));
    assert!(
        matches!(&refused, Err(ClientError::Refused(error)) if error.code == ErrorCode::Exists
        && error.message.contains("cannot add route 0.0.0.0/0 by 10.3.0.1: another interface")),
        "{refused:?}"
    );
    assert!(container.link("eth0").is_err(), "nothing is left behind");
    daemon.check_ledger()
}

fn containers_of_an_isolated_network_reach_the_gateway_only() -> TestResult {
    let daemon = Daemon::start()?;
    let mut isolated = NetworkCreate::new("cells".parse()?);
    isolated.subnets = vec!["10.1.0.0/24".parse()?];
    isolated.settings.isolated = true;
    create_as(&daemon, isolated)?;
    let (one, _) = joined(&daemon, "cells")?;
    let (_two, other) = joined(&daemon, "cells")?;
    reaches(&one, "10.1.0.1")?;
    assert!(is_silent(&one, other)?);
    daemon.check_ledger()
}

fn a_network_is_masqueraded_towards_the_uplinks_unless_it_is_internal() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "up", &["192.0.2.1/24"])?;
    let world = container(&daemon, "world", "up", &["192.0.2.9/24"], &[])?;
    create(&daemon, "web", &["10.1.0.0/24"])?;
    let (inside, _) = joined(&daemon, "web")?;
    assert!(is_silent(&inside, "192.0.2.9".parse()?)?, "there is no way out yet");
    let route =
        RouteAdd { to: "default".parse()?, on: "up".parse()?, via: vec!["192.0.2.9".parse()?] };
    daemon.change(Mutation::RouteAdd(route))?;
    let (_near, far) = Path::new(&inside, &world, "192.0.2.9".parse::<IpAddr>()?).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), "192.0.2.1".parse::<IpAddr>()?, "it is masqueraded");
    let rules: Vec<NatInfo> = daemon.ask(Query::NatList)?;
    assert_eq!(
        rules.iter().map(|rule| rule.network.clone()).collect::<Vec<_>>(),
        [Some("web".parse()?)]
    );
    let mut internal = NetworkCreate::new("db".parse()?);
    internal.subnets = vec!["10.2.0.0/24".parse()?];
    internal.settings.internal = true;
    create_as(&daemon, internal)?;
    let hidden = Container::new()?;
    let endpoint = connect(&daemon, "db", &hidden, "eth0")?;
    assert!(endpoint.default_gateways.is_empty());
    let rules: Vec<NatInfo> = daemon.ask(Query::NatList)?;
    assert_eq!(rules.len(), 1, "nothing of an internal network is masqueraded");
    let from = Party::Address(endpoint.addresses[0].address.addr);
    let (to, protocol) = (Party::Address("8.8.8.8".parse()?), Protocol::Icmp);
    let answer: WhyInfo = daemon.ask(Query::Why(Why { from, to, protocol, port: None }))?;
    assert!(answer.sentence.contains("network `db` is internal"), "{}", answer.sentence);
    daemon.check_ledger()
}

fn what_is_for_another_network_leaves_by_no_uplink() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "up", &["192.0.2.1/24"])?;
    // The world would answer for everybody.
    let _world = container(&daemon, "world", "up", &["192.0.2.9/24", "10.2.0.2/32"], &[])?;
    let route =
        RouteAdd { to: "default".parse()?, on: "up".parse()?, via: vec!["192.0.2.9".parse()?] };
    daemon.change(Mutation::RouteAdd(route))?;
    create(&daemon, "web", &["10.1.0.0/24"])?;
    let (inside, _) = joined(&daemon, "web")?;
    let other = "10.2.0.2".parse()?;
    reaches(&inside, "10.2.0.2")?;
    create(&daemon, "db", &["10.2.0.0/24"])?;
    let (_db, ip) = joined(&daemon, "db")?;
    assert_eq!(ip, other);
    assert!(is_silent(&inside, other)?, "it is not the world's any more");
    reaches(&inside, "192.0.2.9")?;
    let drops: Vec<DropInfo> = daemon.ask(Query::drops())?;
    assert!(drops.iter().any(|drop| drop.reason == "not-allowed"), "{drops:?}");
    daemon.check_ledger()
}

fn global_addresses_of_ipv6_go_out_as_they_are() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "up", &["192.0.2.1/24", "2001:db8:9::1/64"])?;
    let world = container(&daemon, "world", "up", &["2001:db8:9::9/64"], &["2001:db8:9::1"])?;
    let (to, via) = ("default".parse()?, vec!["192.0.2.9".parse()?]);
    daemon.change(Mutation::RouteAdd(RouteAdd { to, on: "up".parse()?, via }))?;
    create(&daemon, "web", &["2001:db8:1::/64"])?;
    let (inside, own) = joined(&daemon, "web")?;
    let there: IpAddr = "2001:db8:9::9".parse()?;
    let (_near, far) = Path::new(&inside, &world, there).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), own, "it is not hidden");
    assert!(is_silent(&world, own)?, "nobody outside begins");
    daemon.check_ledger()
}

fn a_dead_containers_addresses_are_free_and_held_ones_stay() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24", "fd01::/64"])?;
    let request = IpamRequest {
        owner: "alice".parse()?,
        network: Some("web".parse()?),
        subnet: Some("10.1.0.0/24".parse()?),
        ip: None,
    };
    let held = daemon.change(Mutation::IpamRequest(request.clone()))?.leases;
    assert_eq!(addresses(&held), ["10.1.0.2/24"]);
    assert_eq!(daemon.change(Mutation::IpamRequest(request))?.leases, held);
    let (dying, holder) = (Container::new()?, Container::new()?);
    connect(&daemon, "web", &dying, "eth0")?;
    let own = NetworkConnect {
        owner: Some("alice".parse()?),
        ..NetworkConnect::new("web".parse()?, holder.reference())
    };
    daemon.change(Mutation::NetworkConnect(Box::new(own)))?;
    let all = ["10.1.0.2/24", "10.1.0.3/24", "fd01::2/64", "fd01::3/64"];
    assert_eq!(addresses(&leases(&daemon)?), all);
    drop((dying, holder));
    let left = || leases(&daemon).is_ok_and(|leases| addresses(&leases) == ["10.1.0.2/24"]);
    eventually("the leases are gone, but that which is held", left)?;
    daemon.change(Mutation::PoolAdd(Box::new(PoolAdd {
        subnet: Some("10.9.0.0/24".parse()?),
        ..PoolAdd::default()
    })))?;
    let audit: UnusedInfo = daemon.ask(Query::IpamAudit(IpamFilter::default()))?;
    assert_eq!(addresses(&audit.leases), ["10.1.0.2/24"]);
    assert_eq!(audit.pools.iter().map(|pool| pool.leases).collect::<Vec<_>>(), [0]);
    let (_next, ip) = joined(&daemon, "web")?;
    assert_eq!(ip.to_string(), "10.1.0.4", "what was given back rests");
    let release = IpamRelease { owner: Some("alice".parse()?), ..IpamRelease::default() };
    assert_eq!(daemon.change(Mutation::IpamRelease(release))?.removed, Some(1));
    daemon.check_ledger()
}

fn a_killed_daemon_comes_back_with_the_same_leases() -> TestResult {
    let mut daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24", "fd01::/64"])?;
    let (one, _) = joined(&daemon, "web")?;
    let (two, there) = joined(&daemon, "web")?;
    let before = leases(&daemon)?;
    let networks: Vec<NetworkInfo> = daemon.ask(Query::NetworkList)?;
    daemon.end(Signal::KILL)?;
    let directory = daemon.directory().to_owned();
    let daemon = Daemon::start_in(&directory, &[])?;
    assert_eq!(leases(&daemon)?, before);
    assert_eq!(daemon.ask::<Vec<NetworkInfo>>(Query::NetworkList)?, networks);
    one.await_ready("eth0")?;
    two.await_ready("eth0")?;
    reaches(&one, &there.to_string())?;
    let (_three, next) = joined(&daemon, "web")?;
    assert_eq!(next.to_string(), "10.1.0.4");
    daemon.check_ledger()
}

fn a_container_that_died_with_the_daemon_leaves_no_lease() -> TestResult {
    let mut daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24"])?;
    let (dying, _) = joined(&daemon, "web")?;
    daemon.end(Signal::KILL)?;
    drop(dying);
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    assert_eq!(leases(&daemon)?, []);
    daemon.change(Mutation::NetworkRm(NetworkRm::new("web".parse()?)))?;
    Ok(())
}

fn a_network_with_containers_is_not_removed() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24"])?;
    let (container, _) = joined(&daemon, "web")?;
    let name: ctl::BridgeName = "web".parse()?;
    let rm = || daemon.change(Mutation::NetworkRm(NetworkRm::new(name.clone())));
    match rm() {
        Err(ClientError::Refused(error)) => {
            assert_eq!(error.code, ErrorCode::InUse);
            let remedy = format!("network disconnect web {}", container.reference());
            assert!(error.message.contains(&remedy), "{error}");
        }
        other => return Err(format!("{other:?}").into()),
    }
    let detach = Detach { netns: container.reference(), ifname: "eth0".parse()? };
    daemon.change(Mutation::Detach(detach))?;
    rm()?;
    let bridges: Vec<BridgeInfo> = daemon.ask(Query::BridgeList)?;
    assert_eq!(bridges.len(), 1, "its bridge is gone with it");
    Ok(())
}

fn a_subnet_is_chosen_that_the_host_has_no_route_to() -> TestResult {
    let host = Container::new()?;
    let peer = Container::new()?;
    host.run(|| {
        let netlink = hostnet::Netlink::open()?;
        netlink.create_veth("wan", "eth0", Some(peer.namespace().as_fd()))?;
        Ok::<_, netlab::LabError>(())
    })?;
    host.address("wan", &["10.210.0.7/16"])?;
    let daemon = Daemon::start_on(&host, &[])?;
    let first = create(&daemon, "a", &[])?;
    assert_eq!(first.subnets[0].subnet.to_string(), "172.28.0.0/24");
    let both = NetworkCreate { ipv6: true, ..NetworkCreate::new("b".parse()?) };
    let second = create_as(&daemon, both)?;
    assert_eq!(second.subnets[0].subnet.to_string(), "172.28.1.0/24");
    assert!(second.subnets[1].subnet.to_string().starts_with("fd"), "{second:?}");
    Ok(())
}

fn connecting_fails_whole() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24"])?;
    let gone = NetworkConnect::new("web".parse()?, "nobody-here".parse()?);
    assert!(daemon.change(Mutation::NetworkConnect(Box::new(gone))).is_err());
    assert_eq!(leases(&daemon)?, []);
    let (_one, ip) = joined(&daemon, "web")?;
    assert_eq!(ip.to_string(), "10.1.0.2");
    Ok(())
}

/// The host's endpoints on a network, as `(port, interface, addresses, MAC address)`.
fn hosts_on(daemon: &Daemon, network: &str) -> Fallible<Vec<(String, String, String, String)>> {
    let network: NetworkInfo = daemon.ask(Query::NetworkInspect(Named::new(network.parse()?)))?;
    let hosts = network.endpoints.into_iter().filter(|endpoint| endpoint.host);
    let facts = hosts.map(|host| {
        let addresses: Vec<_> = host.addresses.iter().map(|one| one.address.to_string()).collect();
        let mac = host.mac.map(|mac| mac.to_string()).unwrap_or_default();
        (host.port.to_string(), host.ifname.to_string(), addresses.join(" "), mac)
    });
    Ok(facts.collect())
}

fn the_host_itself_is_on_a_network() -> TestResult {
    let host = Container::new()?;
    let mut daemon = Daemon::start_on(&host, &[])?;
    let name: ctl::BridgeName = "shop".parse()?;
    let create = NetworkCreate {
        subnets: vec!["10.1.0.0/24".parse()?, "fd01::/64".parse()?],
        settings: ctl::NetworkSettings { isolated: true, ..ctl::NetworkSettings::default() },
        host_port: Some(HostPort::default()),
        ..NetworkCreate::new(name.clone())
    };
    daemon.change(Mutation::NetworkCreate(Box::new(create.clone())))?;
    let changed = daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    assert!(!changed.changed, "it is safe to repeat");
    let hosts = hosts_on(&daemon, "shop")?;
    let [(port, ifname, addresses, mac)] = hosts.as_slice() else {
        return Err(format!("{hosts:?}").into());
    };
    assert_eq!((port.as_str(), ifname.as_str()), ("shop-host", "shop"));
    assert_eq!(addresses, "10.1.0.2/24 fd01::2/64");
    assert!(!mac.is_empty());
    let web = Container::new()?;
    let connect = NetworkConnect::new(name.clone(), web.reference());
    daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    let reach = |host: &Container| -> TestResult {
        for (own, others) in [("10.1.0.2", "10.1.0.3"), ("fd01::2", "fd01::3")] {
            ping::ping(host, others.parse()?, &ping::Options::default())?;
            ping::ping(&web, own.parse()?, &ping::Options::default())?;
        }
        Ok(())
    };
    reach(&host)?;
    // It is there again after a restart, and known by the same addresses.
    let directory = daemon.directory().to_owned();
    daemon.end(Signal::KILL)?;
    drop(daemon);
    let daemon = Daemon::start_again_on(&host, &directory, &[])?;
    assert_eq!(hosts_on(&daemon, "shop")?, hosts);
    reach(&host)?;
    // Another one, made by hand, has the next address; a name that the host has already is refused, and leaves nothing.
    let by_hand = |ifname: &str| -> Fallible<Port> {
        let tap = Tap::new(ifname.parse()?);
        Ok(Port::new(name.clone(), PortKind::Tap(tap)))
    };
    let refused = daemon.add("second", by_hand("lo")?).err().ok_or("it is the loopback's")?;
    assert!(refused.to_string().contains("there is an interface lo"), "{refused}");
    daemon.add("second", by_hand("shop1")?)?;
    let hosts = hosts_on(&daemon, "shop")?;
    assert_eq!(hosts[0].2, "10.1.0.4/24 fd01::4/64");
    let set = NetworkSet { host_port: Some(None), ..NetworkSet::new(name.clone()) };
    daemon.change(Mutation::NetworkSet(Box::new(set)))?;
    assert_eq!(hosts_on(&daemon, "shop")?, []);
    assert!(host.link("shop").is_err() && host.link("shop1").is_err());
    let host_port = Some(Some(HostPort { ifname: Some("shop2".parse()?), mac: None }));
    let set = NetworkSet { host_port, ..NetworkSet::new(name.clone()) };
    let changed = daemon.change(Mutation::NetworkSet(Box::new(set)))?;
    let endpoint = changed.endpoint.ok_or("it is not told by what the host is there")?;
    assert_eq!((endpoint.port.as_str(), endpoint.ifname.as_str()), ("shop-host", "shop2"));
    // Containers keep a network from being removed; the host does not.
    let rm = Mutation::NetworkRm(NetworkRm::new(name.clone()));
    let refused = daemon.change(rm.clone()).err().ok_or("a container is on it")?.to_string();
    assert!(!refused.contains("host") && refused.contains("endpoints"), "{refused}");
    let (netns, ifname) = (web.reference(), None);
    let disconnect = NetworkDisconnect { network: name.clone(), netns, ifname };
    daemon.change(Mutation::NetworkDisconnect(disconnect))?;
    daemon.change(rm)?;
    assert!(host.link("shop2").is_err(), "it went with the network");
    daemon.check_ledger()
}
