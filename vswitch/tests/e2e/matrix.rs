//! Offload state is never lost: every pair of port kinds carries TCP and UDP, IPv4 and IPv6, at several
//! MTUs, with the containers' offloads on and off, and what arrives is what was sent.

use ctl::{Mutation, Named};
use netlab::transfer::{self, Datagrams};
use netlab::{Container, Need, Path, Test, TestResult, test};

use crate::daemon::{Daemon, Kind, connect};

const MTUS: [u32; 3] = [1500, 9000, 1450];
const TCP_BYTES: u64 = 8 << 20;

pub fn tests() -> Vec<Test> {
    vec![
        test!(tap_to_tap_carries_everything_whole).needs(Need::Tun),
        test!(tap_to_gso_carries_everything_whole).needs(Need::Tun),
        test!(gso_to_gso_carries_everything_whole),
        test!(tap_to_xdp_carries_everything_whole).needs(Need::Tun).needs(Need::Bpf),
        test!(gso_to_xdp_carries_everything_whole).needs(Need::Bpf),
        test!(xdp_to_xdp_carries_everything_whole).needs(Need::Bpf),
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
            for container in [&a, &b] {
                container.set_offloads("eth0", on)?;
            }
            both_ways(&a, &b, mtu).map_err(|error| {
                format!(
                    "MTU {mtu}, offloads {}: {}",
                    if on { "on" } else { "off" },
                    error.message().unwrap_or("failed")
                )
            })?;
        }
        daemon.check_ledger()?;
        for side in ["l", "r"] {
            daemon.change(Mutation::PortDel(Named::new(name(side).parse()?)))?;
        }
    }
    Ok(())
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
