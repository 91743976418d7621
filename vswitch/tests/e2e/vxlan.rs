//! Tunnels: two hosts that are joined by a wire, each with a switch and a container, and the kernel's own VXLAN
//! device at the other end.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use ctl::response::{DropInfo, FdbInfo, PortState, VxlanInfo};
use ctl::{
    Allowance, BridgeAdd, BridgeSet, FdbFilter, IpCidr, Mutation, Named, NetdevMode,
    NetworkConnect, NetworkCreate, Overlay, PortKind, Query, Tos, Vxlan, VxlanAdd, VxlanSet,
};
use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::transfer::{self, Datagrams};
use netlab::{Container, Need, PATIENCE, Path, Test, TestResult, ping, test, topology};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually, port, tap, within};
use crate::routing::{container as routed_container, routed_bridge};
use crate::sessions::{sessions, tcp_only};

pub const VNI: u32 = 42;
const BYTES: u64 = 30_000_000;
/// Longer than two sweeps of what timed out.
const SWEEPS: Duration = Duration::from_secs(60);

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub fn tests() -> Vec<Test> {
    [
        test!(containers_on_two_hosts_are_on_one_network),
        test!(a_network_finds_the_hosts_end_of_its_tunnel_once),
        test!(a_network_without_remotes_is_on_the_hosts_only_address_or_is_refused),
        test!(the_kernels_vxlan_device_is_on_one_network_with_a_container),
        test!(a_host_that_sends_is_learned_unless_that_is_forbidden),
        test!(a_learned_host_without_stations_is_forgotten),
        test!(a_host_that_is_removed_takes_its_sessions_along),
        test!(outer_headers_are_as_the_tunnel_is_told),
        test!(tunnel_packets_for_no_network_are_dropped_and_shown),
        test!(what_is_too_long_for_a_tunnel_is_cut_or_its_sender_is_told),
        test!(tunnels_outlive_the_daemon),
        test!(a_tunnel_waits_for_its_address_and_fails_without_when_made),
    ]
    .into_iter()
    .chain([test!(each_of_two_workers_has_its_end_of_the_tunnels).needs(Need::TwoCores)])
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// The IP version of the network between the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    V4,
    V6,
}

impl Outside {
    pub fn ip(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::from([192, 0, 2, host]),
            Self::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    fn prefix_len(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    pub fn inner_mtu(self) -> u32 {
        match self {
            Self::V4 => 1450,
            Self::V6 => 1430,
        }
    }
}

/// Two hosts on one wire.
pub fn hosts() -> Outcome<(Container, Container)> {
    let (a, b) = (Container::new()?, Container::new()?);
    topology::veth(&a, "wire", &b, "wire")?;
    for (host, number) in [(&a, 1u8), (&b, 2)] {
        let addresses = [Outside::V4, Outside::V6].map(|outside| outside.ip(number));
        host.address("wire", &[&format!("{}/24", addresses[0]), &format!("{}/64", addresses[1])])?;
    }
    Ok((a, b))
}

/// A switch on a host.
pub fn switch(host: &Container) -> Outcome<Daemon> {
    switch_with(host, &[])
}

fn switch_with(host: &Container, arguments: &[&str]) -> Outcome<Daemon> {
    let daemon = Daemon::start_on(host, arguments)?;
    daemon.change(Mutation::BridgeAdd(BridgeAdd::new("br0".parse()?)))?;
    Ok(daemon)
}

/// A switch with two workers.
pub fn switch_of_two(host: &Container) -> Outcome<Daemon> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<_> = cores.iter().take(2).map(|core| core.id.to_string()).collect();
    switch_with(host, &["--cores", &cores.join(",")])
}

pub fn tunnel(outside: Outside, number: u8, remotes: &[u8]) -> Outcome<VxlanAdd> {
    let vxlan = Vxlan::new("br0".parse()?, VNI.try_into()?, outside.ip(number));
    let remotes = remotes.iter().map(|remote| outside.ip(*remote)).collect();
    Ok(VxlanAdd { name: "vx0".parse()?, vxlan: Vxlan { remotes, ..vxlan } })
}

/// Makes the tunnel of host `number` to these remotes.
pub fn join(daemon: &Daemon, outside: Outside, number: u8, remotes: &[u8]) -> TestResult {
    daemon.change(Mutation::VxlanAdd(tunnel(outside, number, remotes)?))?;
    Ok(())
}

/// A container on the bridge of a switch.
pub fn container(daemon: &Daemon, number: u8) -> Outcome<Container> {
    let container = Container::new()?;
    let addresses = [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")];
    daemon.add("c", port("br0", tap(&container, &[&addresses[0], &addresses[1]])?)?)?;
    container.await_ready("eth0")?;
    Ok(container)
}

pub fn show(daemon: &Daemon) -> Outcome<VxlanInfo> {
    Ok(daemon.ask(Query::VxlanShow(Named::new("vx0".parse()?)))?)
}

/// Pings, and moves as much each way as takes many super-frames, and compares every byte.
pub fn exchange(near: &Container, far: &Container) -> TestResult {
    for [one, two] in [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]] {
        let [one, two]: [IpAddr; 2] = [one.parse()?, two.parse()?];
        ping::ping(near, two, &ping::Options::default())?;
        transfer::tcp(&Path::new(near, far, two), BYTES, 1)?;
        transfer::tcp(&Path::new(far, near, one), BYTES, 2)?;
    }
    Ok(())
}

pub fn dropped(daemon: &Daemon, port: &str, reason: &str) -> u64 {
    let drops: Vec<DropInfo> = daemon.ask(Query::drops()).unwrap_or_default();
    let is_it = |drop: &&DropInfo| drop.port == port && drop.reason == reason;
    drops.iter().filter(is_it).map(|drop| drop.count).sum()
}

fn containers_on_two_hosts_are_on_one_network() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
        join(&one, outside, 1, &[2])?;
        join(&two, outside, 2, &[1])?;
        let (a, b) = (container(&one, 1)?, container(&two, 2)?);
        assert_eq!(a.link("eth0")?.mtu, outside.inner_mtu());
        exchange(&a, &b)?;
        let info = show(&one)?;
        assert_eq!((info.state, info.inner_mtu), (PortState::Up, outside.inner_mtu()));
        let [vtep] = &info.vteps[..] else { return Err("there is one remote".into()) };
        assert_eq!((vtep.remote, vtep.learned, vtep.stations), (outside.ip(2), false, 1));
        assert!(vtep.counters.received_bytes > BYTES && vtep.counters.transmitted_bytes > BYTES);
        let filter = FdbFilter { port: Some("vx0".parse()?), ..FdbFilter::default() };
        let stations: Vec<FdbInfo> = one.ask(Query::FdbShow(filter))?;
        assert_eq!(stations.len(), 1);
        assert_eq!(stations[0].vtep, Some(outside.ip(2)));
        assert_eq!(Some(stations[0].mac.0), b.link("eth0")?.mac);
        one.check_ledger()?;
        two.check_ledger()?;
    }
    Ok(())
}

/// A network with a tunnel, of which each host gives other addresses. Nobody says which address the host has.
pub fn network(number: u8, remotes: Vec<IpAddr>, via: Option<&str>) -> Outcome<Mutation> {
    let mut create = NetworkCreate::new("all".parse()?);
    create.subnets = vec!["10.3.0.0/24".parse()?];
    create.ranges = vec![format!("10.3.0.{}/28", number * 16).parse()?];
    let via = via.map(str::parse).transpose()?;
    create.settings.vxlan = Some(Overlay { vni: VNI.try_into()?, local: None, via, remotes });
    Ok(Mutation::NetworkCreate(Box::new(create)))
}

/// A container on that network, and its address.
pub fn connected(daemon: &Daemon) -> Outcome<(Container, IpAddr)> {
    let container = Container::new()?;
    let connect = NetworkConnect::new("all".parse()?, container.reference());
    let made = daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    let endpoint = made.endpoint.ok_or("no endpoint in the answer")?;
    container.await_ready("eth0")?;
    Ok((container, endpoint.addresses[0].address.addr))
}

fn a_network_finds_the_hosts_end_of_its_tunnel_once() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let (one, two) = (Daemon::start_on(&hosts.0, &[])?, Daemon::start_on(&hosts.1, &[])?);
        let mut ends = Vec::new();
        for (daemon, number, remote) in [(&one, 1, 2), (&two, 2, 1)] {
            let made = daemon.change(network(number, vec![outside.ip(remote)], None)?)?;
            let settings = made.network.ok_or("no network in the answer")?.settings;
            assert_eq!(settings.vxlan.and_then(|overlay| overlay.local), Some(outside.ip(number)));
            ends.push(connected(daemon)?);
        }
        ping::ping(&ends[0].0, ends[1].1, &ping::Options::default())?;
        // Another address would be found now, and the one that was found stays.
        hosts.0.run(|| {
            let netlink = Netlink::open()?;
            let index = netlink.link("wire")?.index;
            netlink.remove_address(
                index,
                IpCidr { addr: outside.ip(1), prefix_len: outside.prefix_len() },
            )
        })?;
        assert!(!one.change(network(1, vec![outside.ip(2)], None)?)?.changed);
    }
    Ok(())
}

fn a_network_without_remotes_is_on_the_hosts_only_address_or_is_refused() -> TestResult {
    let (host, other) = (Container::new()?, Container::new()?);
    topology::veth(&host, "wire", &other, "wire")?;
    let daemon = Daemon::start_on(&host, &[])?;
    let refused = daemon.change(network(1, Vec::new(), None)?).expect_err("it has no address");
    assert!(refused.to_string().contains("--local"), "{refused}");
    host.address("wire", &["192.0.2.1/24"])?;
    let made =
        daemon.change(network(1, Vec::new(), None)?)?.network.ok_or("no network in the answer")?;
    assert_eq!(made.settings.vxlan.and_then(|overlay| overlay.local), Some(Outside::V4.ip(1)));
    Ok(())
}

fn each_of_two_workers_has_its_end_of_the_tunnels() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch_of_two(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[1])?;
    let (a, b) = (container(&one, 1)?, container(&two, 2)?);
    exchange(&a, &b)?;
    one.check_ledger()?;
    two.check_ledger()
}

fn the_kernels_vxlan_device_is_on_one_network_with_a_container() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let local = SocketAddr::new(outside.ip(2), Vxlan::PORT);
        hosts.1.netlink()?.create_vxlan("vxlan0", VNI, local, outside.ip(1))?;
        hosts.1.address("vxlan0", &["10.0.0.2/24", "fd00::2/64"])?;
        let daemon = switch(&hosts.0)?;
        join(&daemon, outside, 1, &[2])?;
        let near = container(&daemon, 1)?;
        exchange(&near, &hosts.1)?;
        daemon.check_ledger()?;
    }
    Ok(())
}

fn a_host_that_sends_is_learned_unless_that_is_forbidden() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[])?;
    let (a, _b) = (container(&one, 1)?, container(&two, 2)?);
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    let learned = show(&two)?.vteps;
    assert_eq!(learned.len(), 1);
    assert_eq!((learned[0].remote, learned[0].learned), (Outside::V4.ip(1), true));
    let name = "vx0".parse()?;
    two.change(Mutation::VxlanSet(VxlanSet { learning: Some(false), ..VxlanSet::new(name) }))?;
    assert!(show(&two)?.vteps.is_empty());
    assert!(ping::is_silent(&a, "10.0.0.2".parse()?, Duration::from_millis(500))?);
    assert!(dropped(&two, "vx0", "unknown-vtep") > 0);
    one.check_ledger()?;
    two.check_ledger()
}

fn a_learned_host_without_stations_is_forgotten() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[])?;
    let (a, _b) = (container(&one, 1)?, container(&two, 2)?);
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    assert_eq!(show(&two)?.vteps.len(), 1);
    // The host is there, and nobody behind it is heard any more.
    one.change(Mutation::PortDel(Named::new("c".parse()?)))?;
    two.change(Mutation::FdbFlush(FdbFilter::default()))?;
    within(SWEEPS, "the host is forgotten", || show(&two).is_ok_and(|info| info.vteps.is_empty()))?;
    // Configured ones stay.
    assert_eq!(show(&one)?.vteps.len(), 1);
    // It is learned again as soon as somebody is heard.
    let a = container(&one, 1)?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    assert_eq!(show(&two)?.vteps.len(), 1);
    two.check_ledger()
}

fn a_host_that_is_removed_takes_its_sessions_along() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[1])?;
    let gateways = |cidr: &str| -> Outcome<_> { Ok(Some(vec![cidr.parse()?])) };
    let set = BridgeSet { gateways: gateways("10.0.0.254/24")?, ..BridgeSet::new("br0".parse()?) };
    one.change(Mutation::BridgeSet(set))?;
    routed_bridge(&one, "other", &["10.9.0.1/24"])?;
    let allow = |from: &str, to: &str| -> TestResult {
        let allowance = Allowance { from: from.parse()?, to: to.parse()? };
        one.change(Mutation::RouteAllow(allowance))?;
        Ok(())
    };
    allow("other", "br0")?;
    allow("br0", "other")?;
    let far = container(&two, 2)?;
    far.netlink()?.add_default_route([10, 0, 0, 254].into(), far.link("eth0")?.index)?;
    let near = routed_container(&one, "near", "other", &["10.9.0.2/24"], &["10.9.0.1"])?;
    let standing = || sessions(&one, tcp_only()).map(|sessions| sessions.len());
    let _connection = Path::new(&near, &far, [10, 0, 0, 2]).tcp()?;
    assert_eq!(standing()?, 1);
    // Another host comes and goes, and nothing is behind it.
    let name = || -> Outcome<_> { Ok(VxlanSet::new("vx0".parse()?)) };
    let remotes = |hosts: &[u8]| Some(hosts.iter().map(|host| Outside::V4.ip(*host)).collect());
    one.change(Mutation::VxlanSet(VxlanSet { remotes: remotes(&[2, 9]), ..name()? }))?;
    one.change(Mutation::VxlanSet(VxlanSet { remotes: remotes(&[2]), ..name()? }))?;
    assert_eq!(standing()?, 1);
    one.change(Mutation::VxlanSet(VxlanSet { remotes: remotes(&[]), ..name()? }))?;
    assert_eq!(standing()?, 0);
    one.check_ledger()
}

/// TTL and TOS of a packet, of either version.
fn hops_and_tos(frame: &[u8]) -> (u8, u8) {
    match frame[14] >> 4 {
        4 => (frame[22], frame[15]),
        _ => (frame[21], frame[14] << 4 | frame[15] >> 4),
    }
}

/// Whether a frame is a packet of a tunnel, of either version of IP.
pub fn is_wrapped(frame: &[u8]) -> bool {
    let l4 = if frame[12..14] == [8, 0] { 34 } else { 54 };
    frame.get(l4 + 2..l4 + 4) == Some(&Vxlan::PORT.to_be_bytes()[..])
}

fn outer_headers_are_as_the_tunnel_is_told() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let daemon = switch(&hosts.0)?;
        join(&daemon, outside, 1, &[2])?;
        has_outer_headers_as_told(&daemon, &hosts.1)?;
    }
    Ok(())
}

/// That what a new container says comes to another host as its tunnel is told.
pub fn has_outer_headers_as_told(daemon: &Daemon, far: &Container) -> TestResult {
    // A broadcast packet with DSCP 10 and ECT(0), which is what there is to inherit.
    let mut inner = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
    inner.extend([8, 0, 0x45, 0x2a, 0, 20, 0, 0, 0, 0, 33, 200, 0, 0, 10, 0, 0, 1]);
    inner.extend([255; 4]);
    let near = container(daemon, 1)?;
    let (inside, wire) = (RawSocket::open(&near, "eth0")?, RawSocket::open(far, "wire")?);
    // Congestion marks are the inner packet's in any case (RFC 6040).
    for (ttl, tos, seen) in [
        (None, None, (64, 0x02)),
        (Some(9), Some(Tos::Fixed(184)), (9, 184 | 0x02)),
        (Some(255), Some(Tos::Inherit), (255, 0x2a)),
    ] {
        let set = VxlanSet { ttl, tos, ..VxlanSet::new("vx0".parse()?) };
        daemon.change(Mutation::VxlanSet(set))?;
        inside.send(&inner)?;
        let is_it = |frame: &[u8]| is_wrapped(frame) && frame.ends_with(&inner[12..]);
        let frame = wire.receive(PATIENCE, is_it)?.ok_or("nothing comes out")?;
        assert_eq!(hops_and_tos(&frame.bytes), seen);
    }
    daemon.check_ledger()
}

fn tunnel_packets_for_no_network_are_dropped_and_shown() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    let mut other = tunnel(Outside::V4, 1, &[2])?;
    other.vxlan.vni = (VNI + 1).try_into()?;
    one.change(Mutation::VxlanAdd(other))?;
    join(&two, Outside::V4, 2, &[1])?;
    let (a, _b) = (container(&one, 1)?, container(&two, 2)?);
    assert!(ping::is_silent(&a, "10.0.0.2".parse()?, Duration::from_millis(500))?);
    assert!(dropped(&two, "192.0.2.2:4789", "unknown-vni") > 0);
    two.check_ledger()?;
    two.change(Mutation::VxlanDel(Named::new("vx0".parse()?)))?;
    let vxlans: Vec<VxlanInfo> = two.ask(Query::VxlanList)?;
    assert!(vxlans.is_empty());
    two.check_ledger()
}

/// A container that takes no notice of the MTU that the bridge has.
fn stubborn(host: &Container, daemon: &Daemon, number: u8) -> Outcome<Container> {
    let container = Container::new()?;
    host.netlink()?.create_veth("veth0", "eth0", Some(container.namespace().as_fd()))?;
    let kind = PortKind::Netdev { device: "veth0".parse()?, netns: None, mode: NetdevMode::Gso };
    container.address("eth0", &[&format!("10.0.0.{number}/24"), &format!("fd00::{number}/64")])?;
    daemon.add("c", port("br0", kind)?)?;
    container.await_ready("eth0")?;
    Ok(container)
}

fn what_is_too_long_for_a_tunnel_is_cut_or_its_sender_is_told() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[1])?;
    let (a, b) = (stubborn(&hosts.0, &one, 1)?, stubborn(&hosts.1, &two, 2)?);
    assert_eq!(a.link("eth0")?.mtu, 1500);
    // TCP's segments may not be fragmented: their senders learn how long they may be.
    exchange(&a, &b)?;
    assert!(dropped(&one, "c", "too-big") > 0);
    // The kernel's datagrams may not be either, until they have met a shorter path.
    let long = Datagrams { count: 500, payload_bytes: 1460, segments: 1, seed: 3 };
    let path = Path::new(&a, &b, "10.0.0.2".parse::<IpAddr>()?);
    assert_eq!(transfer::udp(&path, &long)?.lost, 0);
    one.check_ledger()?;
    two.check_ledger()
}

fn tunnels_outlive_the_daemon() -> TestResult {
    let hosts = hosts()?;
    let (mut one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    join(&one, Outside::V4, 1, &[2])?;
    join(&two, Outside::V4, 2, &[1])?;
    let (a, b) = (container(&one, 1)?, container(&two, 2)?);
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 16, 1)?;
    one.end(Signal::KILL)?;
    let again = Daemon::start_again_on(&hosts.0, one.directory(), &[])?;
    let status: ctl::response::Status = again.ask(Query::Status)?;
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    a.await_ready("eth0")?;
    exchange(&a, &b)?;
    again.check_ledger()
}

fn a_tunnel_waits_for_its_address_and_fails_without_when_made() -> TestResult {
    let host = Container::new()?;
    let mut daemon = switch(&host)?;
    let Err(error) = daemon.change(Mutation::VxlanAdd(tunnel(Outside::V4, 1, &[2])?)) else {
        return Err("no tunnel without its address".into());
    };
    assert!(error.to_string().contains("give the host this address first"), "{error}");
    let (netlink, far) = (host.netlink()?, Container::new()?);
    topology::veth(&host, "wire", &far, "wire")?;
    host.address("wire", &["192.0.2.1/24"])?;
    join(&daemon, Outside::V4, 1, &[2])?;
    daemon.end(Signal::KILL)?;
    netlink.delete_link(netlink.link("wire")?.index)?;
    let daemon = Daemon::start_again_on(&host, daemon.directory(), &[])?;
    assert!(matches!(show(&daemon)?.state, PortState::Waiting(_)));
    topology::veth(&host, "wire", &far, "wire")?;
    host.address("wire", &["192.0.2.1/24"])?;
    eventually("the tunnel is there again", || {
        show(&daemon).is_ok_and(|info| info.state == PortState::Up)
    })?;
    assert_eq!(show(&daemon)?.vteps.len(), 1);
    Ok(())
}
