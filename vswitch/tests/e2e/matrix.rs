//! Offload state is never lost: every pair of port kinds carries TCP and UDP, IPv4 and IPv6, at several
//! MTUs, with the containers' offloads on and off, and what arrives is what was sent.

use ctl::{Mutation, Named, NetdevMode, Port, PortKind, Vlan};
use hostnet::{Interface, Netlink};
use netlab::transfer::{self, Datagrams};
use netlab::{Container, Need, Path, Test, TestResult, test};

use crate::daemon::{Daemon, Kind, bridge, connect, port, tap, unique};

const MTUS: [u32; 3] = [1500, 9000, 1450];
const TCP_BYTES: u64 = 8 << 20;
/// What is left of 1500 bytes in a tunnel over IPv6.
const TUNNELLED_MTU: u32 = 1430;

pub fn tests() -> Vec<Test> {
    vec![
        test!(tap_to_tap_carries_everything_whole).needs(Need::Tun),
        test!(tap_to_gso_carries_everything_whole).needs(Need::Tun),
        test!(gso_to_gso_carries_everything_whole),
        test!(tap_to_xdp_carries_everything_whole).needs(Need::Tun).needs(Need::Bpf),
        test!(gso_to_xdp_carries_everything_whole).needs(Need::Bpf),
        test!(xdp_to_xdp_carries_everything_whole).needs(Need::Bpf),
        test!(a_gso_trunk_carries_everything_whole).needs(Need::Tun),
        test!(an_xdp_trunk_carries_everything_whole).needs(Need::Tun).needs(Need::Bpf),
        test!(a_tunnel_of_the_containers_own_carries_everything_whole).needs(Need::Tun),
        test!(a_tunnel_of_the_containers_own_carries_everything_whole_by_xdp).needs(Need::Bpf),
    ]
}

fn tap_to_tap_carries_everything_whole() -> TestResult {
    all(Kind::Tap, Kind::Tap)
}

fn tap_to_gso_carries_everything_whole() -> TestResult {
    all(Kind::Tap, Kind::Gso)
}

fn gso_to_gso_carries_everything_whole() -> TestResult {
    all(Kind::Gso, Kind::Gso)
}

fn tap_to_xdp_carries_everything_whole() -> TestResult {
    all(Kind::Tap, Kind::Xdp)
}

fn gso_to_xdp_carries_everything_whole() -> TestResult {
    all(Kind::Gso, Kind::Xdp)
}

fn xdp_to_xdp_carries_everything_whole() -> TestResult {
    all(Kind::Xdp, Kind::Xdp)
}

fn all(left: Kind, right: Kind) -> TestResult {
    let daemon = Daemon::start()?;
    for mtu in MTUS {
        let (a, b) = (Container::new()?, Container::new()?);
        let name = |side: &str| format!("{side}{mtu}");
        connect(&daemon, &name("l"), left, &a, (mtu, &["10.0.0.1/24", "fd00::1/64"]))?;
        connect(&daemon, &name("r"), right, &b, (mtu, &["10.0.0.2/24", "fd00::2/64"]))?;
        for on in [true, false] {
            carries(&a, &b, mtu, on)?;
        }
        daemon.check_ledger()?;
        for side in ["l", "r"] {
            daemon.change(Mutation::PortDel(Named::new(name(side).parse()?)))?;
        }
    }
    Ok(())
}

fn a_gso_trunk_carries_everything_whole() -> TestResult {
    a_trunk(NetdevMode::Gso)
}

fn an_xdp_trunk_carries_everything_whole() -> TestResult {
    a_trunk(NetdevMode::Xdp)
}

/// Two bridges with a trunk between them, and containers in one of its VLANs: tags come and go in front of
/// frames of every offload state.
fn a_trunk(mode: NetdevMode) -> TestResult {
    for mtu in [1500, 9000] {
        let daemon = Daemon::start()?;
        bridge(&daemon, "br1")?;
        let (a, b) = (Container::new()?, Container::new()?);
        let (near, far) = (unique("t"), unique("t"));
        Netlink::open()?.create_veth(&near, &far, None)?;
        let left: [&str; 2] = ["10.0.0.1/24", "fd00::1/64"];
        let right = ["10.0.0.2/24", "fd00::2/64"];
        for (bridge, device, container, addresses) in
            [("br0", near, &a, left), ("br1", far, &b, right)]
        {
            let kind = PortKind::Netdev { device: device.parse()?, netns: None, mode };
            let allowed = Vlan::Trunk { allowed: "10,20".parse()?, native: Some(20.try_into()?) };
            let mtu = Some(mtu.try_into()?);
            daemon.add(&device, Port { vlan: allowed, mtu, ..port(bridge, kind)? })?;
            let vlan = Vlan::Access(10.try_into()?);
            let kind = tap(container, &addresses)?;
            daemon.add(&unique("a"), Port { vlan, mtu, ..port(bridge, kind)? })?;
        }
        for on in [true, false] {
            carries(&a, &b, mtu, on)?;
        }
        daemon.check_ledger()?;
    }
    Ok(())
}

/// Containers with a `vxlan` device of their own, as nested container hosts have: the kernel leaves it to a veth to cut what is
/// in the tunnel.
fn a_tunnel_of_the_containers_own_carries_everything_whole() -> TestResult {
    tunnels(&[(Kind::Gso, Kind::Gso), (Kind::Gso, Kind::Tap), (Kind::Tap, Kind::Tap)])
}

fn a_tunnel_of_the_containers_own_carries_everything_whole_by_xdp() -> TestResult {
    tunnels(&[(Kind::Gso, Kind::Xdp), (Kind::Xdp, Kind::Xdp)])
}

fn tunnels(pairs: &[(Kind, Kind)]) -> TestResult {
    for &(left, right) in pairs {
        for underlay in [["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]] {
            let daemon = Daemon::start()?;
            let (a, b) = (Container::new()?, Container::new()?);
            for (number, (kind, container)) in [(left, &a), (right, &b)].into_iter().enumerate() {
                let own: std::net::IpAddr = underlay[number].parse()?;
                let peer: std::net::IpAddr = underlay[1 - number].parse()?;
                let address = format!("{own}/{}", if own.is_ipv4() { 24 } else { 64 });
                connect(&daemon, &unique("c"), kind, container, (1500, &[&address]))?;
                container.netlink()?.create_vxlan("vx0", 42, (own, 4789).into(), peer)?;
                let ips = [format!("10.0.0.{}/24", number + 1), format!("fd00::{}/64", number + 1)];
                let ips: Vec<_> = ips.iter().map(|ip| ip.parse()).collect::<Result<_, _>>()?;
                let mtu = Some(TUNNELLED_MTU);
                container
                    .configure("vx0", &Interface { ips: &ips, mtu, ..Interface::default() })?;
            }
            both_ways(&a, &b, TUNNELLED_MTU).map_err(|error| {
                format!("{left:?} to {right:?}: {}", error.message().unwrap_or("failed"))
            })?;
            daemon.check_ledger()?;
        }
    }
    Ok(())
}

/// Checks that everything arrives whole with the containers' offloads on, or off.
fn carries(a: &Container, b: &Container, mtu: u32, on: bool) -> TestResult {
    for container in [a, b] {
        container.set_offloads("eth0", on)?;
    }
    both_ways(a, b, mtu).map_err(|error| {
        let (offloads, what) = (if on { "on" } else { "off" }, error.message().unwrap_or("failed"));
        format!("MTU {mtu}, offloads {offloads}: {what}").into()
    })
}

fn both_ways(a: &Container, b: &Container, mtu: u32) -> TestResult {
    for (from, to, v4, v6) in [(a, b, "10.0.0.2", "fd00::2"), (b, a, "10.0.0.1", "fd00::1")] {
        for address in [v4, v6] {
            let path = Path::new(from, to, address.parse::<std::net::IpAddr>()?);
            transfer::tcp(&path, TCP_BYTES, 7)
                .map_err(|error| format!("TCP to {address}: {error}"))?;
            let headers = if address == v4 { 28 } else { 48 };
            let payload_bytes = u16::try_from(mtu - headers)?;
            for segments in [1, 4] {
                let datagrams = Datagrams { count: 400, payload_bytes, segments, seed: 7 };
                let delivery = transfer::udp(&path, &datagrams)
                    .map_err(|error| format!("UDP to {address} by {segments}: {error}"))?;
                if delivery.lost > 0 {
                    return Err(format!("UDP to {address} by {segments}: {delivery:?}").into());
                }
            }
        }
    }
    Ok(())
}
