//! What the switch takes from an interface that it shares with the host.

use std::net::IpAddr;

use ctl::{BridgeName, Config, NatRule, PortRange, Protocol};
use pktio::shared::Claims;
use pktio::wire::field::protocol;

use super::nat::pools;

/// What is for published ports of a bridge and for node ports of services, and what answers masqueraded connections.
pub fn claims(config: &Config, bridge: &BridgeName) -> Claims {
    let mut claims = Claims::default();
    let own = config.bridges.get(bridge).into_iter().flat_map(|bridge| &bridge.gateways);
    let own: Vec<IpAddr> = own.map(|gateway| gateway.addr).collect();
    for rule in config.nat.values() {
        match rule {
            NatRule::Publish(rule) if rule.on == *bridge => {
                let forward = &rule.forward;
                let is_ipv4 = forward.container.is_ipv4();
                let number = forward.protocol.number(is_ipv4);
                let is_meant = |ip: &&IpAddr| {
                    forward.address.map_or(ip.is_ipv4() == is_ipv4, |address| address == **ip)
                };
                for ip in own.iter().filter(is_meant) {
                    claims.add(*ip, number, span(forward.ports));
                }
            }
            NatRule::Masquerade(rule) if rule.to == *bridge => {
                let ports = config.masquerade_ports(rule);
                let pools = pools(config, rule, flows::Zone(0));
                for ip in pools.iter().flat_map(|pool| pool.addresses().collect::<Vec<_>>()) {
                    translated(ip)
                        .into_iter()
                        .for_each(|number| claims.add(ip, number, span(ports)));
                }
            }
            _ => {}
        }
    }
    for service in config.services.values() {
        let Some(port) = service.node_port else { continue };
        let is_ipv4 = service.listen.address.is_ipv4();
        let number = service.listen.protocol.number(is_ipv4);
        if config.bridges_finding(service).any(|on| on == bridge) {
            for ip in own.iter().filter(|ip| ip.is_ipv4() == is_ipv4) {
                claims.add(*ip, number, port..=port);
            }
        }
    }
    claims
}

/// The protocols that are masqueraded.
fn translated(ip: IpAddr) -> [u8; 4] {
    let icmp = Protocol::Icmp.number(ip.is_ipv4());
    [protocol::TCP, protocol::UDP, protocol::SCTP, icmp]
}

fn span(ports: PortRange) -> std::ops::RangeInclusive<u16> {
    ports.first()..=ports.last()
}

/// The ports that masquerading uses on interfaces that are shared, and that the host is to give to nobody by itself.
pub fn reserved(config: &Config) -> Vec<PortRange> {
    let rules = config.nat.values().filter_map(|rule| match rule {
        NatRule::Masquerade(rule) if config.shared_port(&rule.to).is_some() => Some(rule),
        _ => None,
    });
    let mut ranges: Vec<_> = rules.map(|rule| config.masquerade_ports(rule)).collect();
    ranges.sort_unstable_by_key(|range| (range.first(), range.last()));
    ranges.dedup();
    ranges
}
