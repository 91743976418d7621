//! Tunnels whose packets travel over a bridge: by an interface that the host keeps, and by an uplink of the switch's own. At the
//! other end are the kernel's own VXLAN device, a switch with a socket, and another like this one.

use std::net::{IpAddr, SocketAddr};

use ctl::response::PortState;
use ctl::{Mutation, Named, NetdevMode, Port, PortKind, Query, RouteAdd, Vxlan};
use netlab::raw::RawSocket;
use netlab::transfer::{self, Datagrams};
use netlab::{Container, Need, PATIENCE, Path, Test, TestResult, ping, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually};
use crate::routing::routed_bridge;
use crate::vxlan::{
    Outside, VNI, connected, container, dropped, exchange, has_outer_headers_as_told, hosts,
    is_wrapped, join, network, show, switch, switch_of_two, tunnel,
};

pub fn tests() -> Vec<Test> {
    [
        test!(a_tunnel_travels_over_an_interface_that_the_host_keeps),
        test!(a_tunnel_travels_over_an_interface_that_is_shared_by_xdp),
        test!(a_tunnel_travels_over_an_uplink_of_the_switchs_own),
        test!(a_tunnel_over_a_bridge_reaches_one_by_a_socket),
        test!(a_tunnel_over_a_bridge_goes_by_its_routes),
        test!(outer_headers_over_a_bridge_are_as_the_tunnel_is_told),
        test!(a_host_heard_over_a_bridge_is_learned),
        test!(damaged_tunnel_packets_are_dropped_into_the_endpoints_books),
        test!(frames_wait_until_the_next_hop_of_their_tunnel_is_known),
        test!(a_bridge_that_a_tunnel_travels_over_is_checked),
        test!(a_tunnel_over_a_bridge_outlives_the_daemon),
        test!(a_network_travels_over_the_interface_that_the_host_keeps),
    ]
    .into_iter()
    .chain([test!(each_of_two_workers_sends_over_the_bridge).needs(Need::TwoCores)])
    .map(|test| test.needs(Need::Tun).needs(Need::Bpf))
    .collect()
}

/// Lets the wire of host 1 be an uplink, in a bridge `out`: shared with the host, or with these addresses of the switch's own.
fn uplink(daemon: &Daemon, mode: NetdevMode, own: Option<&[&str]>) -> TestResult {
    if let Some(addresses) = own {
        routed_bridge(daemon, "out", addresses)?;
    }
    let kind = PortKind::Netdev { device: "wire".parse()?, netns: None, mode };
    daemon.add("up0", Port { shared: own.is_none(), ..Port::new("out".parse()?, kind) })?;
    Ok(())
}

fn join_over(daemon: &Daemon, outside: Outside, remotes: &[u8]) -> TestResult {
    let mut add = tunnel(outside, 1, remotes)?;
    add.vxlan.via = Some("out".parse()?);
    daemon.change(Mutation::VxlanAdd(add))?;
    Ok(())
}

/// The kernel's own VXLAN device, as 10.0.0.2 and fd00::2.
fn kernel(host: &Container, outside: Outside) -> TestResult {
    let local = SocketAddr::new(outside.ip(2), Vxlan::PORT);
    host.netlink()?.create_vxlan("vxlan0", VNI, local, outside.ip(1))?;
    host.address("vxlan0", &["10.0.0.2/24", "fd00::2/64"])?;
    Ok(())
}

fn shared(mode: NetdevMode) -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        kernel(&hosts.1, outside)?;
        let daemon = switch(&hosts.0)?;
        uplink(&daemon, mode, None)?;
        join_over(&daemon, outside, &[2])?;
        let near = container(&daemon, 1)?;
        assert_eq!(near.link("eth0")?.mtu, outside.inner_mtu());
        exchange(&near, &hosts.1)?;
        // What a sender leaves to be cut, and what it cuts.
        for segments in [1, 30] {
            let datagrams = Datagrams { count: 300, payload_bytes: 1200, segments, seed: 3 };
            let path = Path::new(&near, &hosts.1, "10.0.0.2".parse::<IpAddr>()?);
            assert_eq!(transfer::udp(&path, &datagrams)?.lost, 0);
        }
        let info = show(&daemon)?;
        assert_eq!(info.state, PortState::Up);
        assert_eq!((info.vteps.len(), info.vteps[0].stations), (1, 1));
        // The host's own packets by the same interface are its own.
        ping::ping(&hosts.0, outside.ip(2), &ping::Options::default())?;
        ping::ping(&hosts.1, outside.ip(1), &ping::Options::default())?;
        daemon.check_ledger()?;
    }
    Ok(())
}

fn a_tunnel_travels_over_an_interface_that_the_host_keeps() -> TestResult {
    shared(NetdevMode::Gso)
}

fn a_tunnel_travels_over_an_interface_that_is_shared_by_xdp() -> TestResult {
    shared(NetdevMode::Xdp)
}

fn a_tunnel_travels_over_an_uplink_of_the_switchs_own() -> TestResult {
    for mode in [NetdevMode::Gso, NetdevMode::Xdp] {
        for outside in [Outside::V4, Outside::V6] {
            let hosts = hosts()?;
            kernel(&hosts.1, outside)?;
            let daemon = switch(&hosts.0)?;
            without_addresses(&hosts.0)?;
            uplink(&daemon, mode, Some(&["192.0.2.1/24", "2001:db8::1/64"]))?;
            join_over(&daemon, outside, &[2])?;
            let near = container(&daemon, 1)?;
            exchange(&near, &hosts.1)?;
            daemon.check_ledger()?;
        }
    }
    Ok(())
}

fn a_tunnel_over_a_bridge_reaches_one_by_a_socket() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
        uplink(&one, NetdevMode::Auto, None)?;
        join_over(&one, outside, &[2])?;
        join(&two, outside, 2, &[1])?;
        let (a, b) = (container(&one, 1)?, container(&two, 2)?);
        exchange(&a, &b)?;
        one.check_ledger()?;
        two.check_ledger()?;
    }
    Ok(())
}

/// A host without addresses on its wire.
fn without_addresses(host: &Container) -> TestResult {
    let (netlink, wire) = (host.netlink()?, host.link("wire")?.index);
    for cidr in netlink.addresses(wire)? {
        netlink.remove_address(wire, cidr)?;
    }
    Ok(())
}

/// The endpoint of the other host is behind a router, which is that host itself.
fn a_tunnel_over_a_bridge_goes_by_its_routes() -> TestResult {
    let hosts = hosts()?;
    hosts.1.address("lo", &["198.51.100.2/32"])?;
    let local = SocketAddr::new("198.51.100.2".parse()?, Vxlan::PORT);
    hosts.1.netlink()?.create_vxlan("vxlan0", VNI, local, Outside::V4.ip(1))?;
    hosts.1.address("vxlan0", &["10.0.0.2/24", "fd00::2/64"])?;
    let daemon = switch(&hosts.0)?;
    without_addresses(&hosts.0)?;
    uplink(&daemon, NetdevMode::Auto, Some(&["192.0.2.1/24"]))?;
    let mut add = tunnel(Outside::V4, 1, &[])?;
    add.vxlan.via = Some("out".parse()?);
    add.vxlan.remotes = vec![local.ip()];
    daemon.change(Mutation::VxlanAdd(add))?;
    let near = container(&daemon, 1)?;
    let silent = || dropped(&daemon, "vx0", "tunnel-unreachable") > 0;
    let far: IpAddr = "10.0.0.2".parse()?;
    assert!(ping::is_silent(&near, far, std::time::Duration::from_millis(300))?);
    assert!(silent(), "nothing says that there is no route");
    let to = "198.51.100.0/24".parse()?;
    let via = vec![Outside::V4.ip(2)];
    daemon.change(Mutation::RouteAdd(RouteAdd { to, on: "out".parse()?, via }))?;
    exchange(&near, &hosts.1)?;
    daemon.check_ledger()
}

fn outer_headers_over_a_bridge_are_as_the_tunnel_is_told() -> TestResult {
    for outside in [Outside::V4, Outside::V6] {
        let hosts = hosts()?;
        let daemon = switch(&hosts.0)?;
        uplink(&daemon, NetdevMode::Auto, None)?;
        join_over(&daemon, outside, &[2])?;
        has_outer_headers_as_told(&daemon, &hosts.1)?;
    }
    Ok(())
}

fn a_host_heard_over_a_bridge_is_learned() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (switch(&hosts.0)?, switch(&hosts.1)?);
    uplink(&one, NetdevMode::Auto, None)?;
    join_over(&one, Outside::V4, &[])?;
    join(&two, Outside::V4, 2, &[1])?;
    let (_a, b) = (container(&one, 1)?, container(&two, 2)?);
    ping::ping(&b, "10.0.0.1".parse()?, &ping::Options::default())?;
    let learned = show(&one)?.vteps;
    assert_eq!(learned.len(), 1);
    assert_eq!((learned[0].remote, learned[0].learned), (Outside::V4.ip(2), true));
    one.check_ledger()
}

fn damaged_tunnel_packets_are_dropped_into_the_endpoints_books() -> TestResult {
    let hosts = hosts()?;
    let daemon = switch(&hosts.0)?;
    uplink(&daemon, NetdevMode::Auto, None)?;
    join_over(&daemon, Outside::V4, &[2])?;
    let wire = RawSocket::open(&hosts.1, "wire")?;
    let to = hosts.0.link("wire")?.mac.ok_or("a wire has an address")?;
    let from = hosts.1.link("wire")?.mac.ok_or("a wire has an address")?;
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &[0xff; 6], &[2; 6], &[0x08, 0x06], &[0; 28]];
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ethernet2(from, to)
        .ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64)
        .udp(50000, Vxlan::PORT)
        .write(&mut packet, &vxlan.concat())?;
    let damaged = |at: usize, value: u8| {
        let mut packet = packet.clone();
        packet[at] = value;
        packet
    };
    // A checksum, the length of the datagram, the I flag, and the number of the network.
    let cases = [
        (damaged(41, packet[41] ^ 1), "malformed-tunnel"),
        (damaged(38, 0x7f), "malformed-tunnel"),
        (without_checksum(damaged(42, 0)), "malformed-tunnel"),
        (without_checksum(damaged(48, 43)), "unknown-vni"),
    ];
    for (number, (packet, reason)) in cases.into_iter().enumerate() {
        let before = dropped(&daemon, "192.0.2.1:4789", reason);
        wire.send(&packet)?;
        let is_counted = || dropped(&daemon, "192.0.2.1:4789", reason) == before + 1;
        eventually(&format!("case {number} is counted"), is_counted)?;
    }
    daemon.check_ledger()
}

fn without_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    packet[40..42].fill(0);
    packet
}

fn frames_wait_until_the_next_hop_of_their_tunnel_is_known() -> TestResult {
    let hosts = hosts()?;
    let daemon = switch(&hosts.0)?;
    without_addresses(&hosts.0)?;
    without_addresses(&hosts.1)?;
    uplink(&daemon, NetdevMode::Auto, Some(&["192.0.2.1/24"]))?;
    join_over(&daemon, Outside::V4, &[2])?;
    let near = container(&daemon, 1)?;
    let (inside, wire) = (RawSocket::open(&near, "eth0")?, RawSocket::open(&hosts.1, "wire")?);
    let frame =
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, 7], &[0x88, 0xb5], b"somebody waits for this"].concat();
    inside.send(&frame)?;
    let asks = |frame: &[u8]| frame[12..14] == [8, 6];
    wire.receive(PATIENCE, asks)?.ok_or("nobody asks for the next hop")?;
    hosts.1.address("wire", &["192.0.2.2/24"])?;
    let is_it = |seen: &[u8]| is_wrapped(seen) && seen.ends_with(&frame[12..]);
    wire.receive(PATIENCE, is_it)?.ok_or("what waited does not come out")?;
    daemon.check_ledger()
}

fn a_bridge_that_a_tunnel_travels_over_is_checked() -> TestResult {
    let hosts = hosts()?;
    let daemon = switch(&hosts.0)?;
    without_addresses(&hosts.0)?;
    uplink(&daemon, NetdevMode::Auto, Some(&["192.0.2.1/24"]))?;
    for (local, via, expected) in [
        (Outside::V4.ip(1), "nowhere", "nowhere does not exist"),
        (Outside::V4.ip(1), "br0", "cannot travel over that bridge itself"),
        (Outside::V4.ip(7), "out", "does not have the address 192.0.2.7"),
    ] {
        let mut add = tunnel(Outside::V4, 1, &[])?;
        (add.vxlan.local, add.vxlan.via) = (local, Some(via.parse()?));
        let refused = daemon.change(Mutation::VxlanAdd(add)).err();
        let error = refused.ok_or("a tunnel over nothing")?.to_string();
        assert!(error.contains(expected), "{error}");
    }
    join_over(&daemon, Outside::V4, &[2])?;
    let mut other = tunnel(Outside::V4, 1, &[])?;
    (other.name, other.vxlan.vni) = ("vx1".parse()?, (VNI + 1).try_into()?);
    let refused = daemon.change(Mutation::VxlanAdd(other)).err();
    let error = refused.ok_or("one address in two ways")?.to_string();
    assert!(error.contains("use the same --via"), "{error}");
    let removal = Mutation::BridgeDel(Named::new("out".parse()?));
    let error = daemon.change(removal).err().ok_or("the tunnel travels over it")?.to_string();
    assert!(error.contains("vxlan vx0"), "{error}");
    daemon.change(Mutation::VxlanDel(Named::new("vx0".parse()?)))?;
    daemon.check_ledger()
}

fn a_tunnel_over_a_bridge_outlives_the_daemon() -> TestResult {
    let hosts = hosts()?;
    kernel(&hosts.1, Outside::V4)?;
    let mut daemon = switch(&hosts.0)?;
    uplink(&daemon, NetdevMode::Auto, None)?;
    join_over(&daemon, Outside::V4, &[2])?;
    let near = container(&daemon, 1)?;
    exchange(&near, &hosts.1)?;
    daemon.end(Signal::KILL)?;
    let again = Daemon::start_again_on(&hosts.0, daemon.directory(), &[])?;
    let status: ctl::response::Status = again.ask(Query::Status)?;
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    near.await_ready("eth0")?;
    exchange(&near, &hosts.1)?;
    again.check_ledger()
}

fn each_of_two_workers_sends_over_the_bridge() -> TestResult {
    let hosts = hosts()?;
    kernel(&hosts.1, Outside::V4)?;
    let daemon = switch_of_two(&hosts.0)?;
    uplink(&daemon, NetdevMode::Auto, None)?;
    join_over(&daemon, Outside::V4, &[2])?;
    let near = container(&daemon, 1)?;
    exchange(&near, &hosts.1)?;
    daemon.check_ledger()
}

/// And its end here is the host's address there.
fn a_network_travels_over_the_interface_that_the_host_keeps() -> TestResult {
    let hosts = hosts()?;
    let (one, two) = (Daemon::start_on(&hosts.0, &[])?, Daemon::start_on(&hosts.1, &[])?);
    let mut ends = Vec::new();
    for (daemon, number, remote) in [(&one, 1, 2), (&two, 2, 1)] {
        uplink(daemon, NetdevMode::Auto, None)?;
        let made = daemon.change(network(number, vec![Outside::V4.ip(remote)], Some("out"))?)?;
        let overlay = made.network.and_then(|network| network.settings.vxlan);
        let local = overlay.ok_or("a network without a tunnel")?.local;
        assert_eq!(local, Some(Outside::V4.ip(number)));
        ends.push(connected(daemon)?);
    }
    transfer::tcp(&Path::new(&ends[0].0, &ends[1].0, ends[1].1), 8 << 20, 1)?;
    transfer::tcp(&Path::new(&ends[1].0, &ends[0].0, ends[0].1), 8 << 20, 2)?;
    one.check_ledger()?;
    two.check_ledger()
}
