//! Services, and the flows to them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use flows::service::{Backend, Balance, Endurance, Service, Services};
use flows::{BridgeIndex, Endpoint, Usage};
use pktio::wire::field::protocol;

use super::frames::Ends;

/// The port of every service, and that of its backends.
const PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;
/// Backends of a service.
const BACKENDS: u16 = 2;
/// Flows from one address.
const SOURCES: usize = 40_000;

/// So many services, whose backends are beyond a bridge.
pub(super) fn of(count: u32, home: BridgeIndex) -> Services {
    Services::new((0..count).map(|number| service(number, home)))
}

fn service(number: u32, bridge: BridgeIndex) -> Service {
    let backend = |backend| Backend {
        endpoint: Endpoint::new(backend_ip(number, backend), BACKEND_PORT),
        bridge,
        number: backend,
        is_draining: false,
        health: Arc::default(),
    };
    Service {
        usage: Arc::new(Usage::of(number)),
        protocol: protocol::UDP,
        vip: Endpoint::new(vip(number), PORT),
        on: None,
        backends: (0..BACKENDS).map(backend).collect(),
        balance: Balance::RoundRobin(Arc::default()),
        affinity_seconds: None,
        endurance: Endurance { failures: 1, rest_seconds: 10 },
        is_checked: false,
    }
}

fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 0)) + number)
}

fn backend_ip(service: u32, backend: u16) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    Ipv4Addr::from(first + service * u32::from(BACKENDS) + u32::from(backend))
}

/// The `number`th of many flows: each of so many services has its turn, and no two flows have the same addresses and ports.
pub(super) fn flow(number: usize, services: u32) -> Ends {
    let count = usize::try_from(services).unwrap_or(usize::MAX);
    let service = u32::try_from(number % count).unwrap_or(0);
    let port = u16::try_from(20_000 + number % SOURCES).unwrap_or(u16::MAX);
    let client = u32::try_from(number / SOURCES).unwrap_or(0);
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 2)) + client);
    Ends { ips: [source, vip(service)], ports: [port, PORT], ..Ends::USUAL }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_is_found_and_no_two_flows_are_the_same() {
        let services = of(100, BridgeIndex(1));
        let mut seen = BTreeSet::new();
        for number in 0..100_000 {
            let Ends { ips: [source, to], ports, .. } = flow(number, 100);
            assert!(seen.insert((source, to, ports)));
            assert!(services.at(protocol::UDP, Endpoint::new(to, ports[1])).is_some());
        }
    }
}
