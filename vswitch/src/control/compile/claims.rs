//! What the switch takes from an interface that it shares with the host.

use std::net::IpAddr;

use ctl::{BridgeName, Config, NatRule, PortRange, Protocol};
use pktio::shared::Claims;
use pktio::wire::field::protocol;

use super::nat::pools;

/// What is for published ports of a bridge, for node ports of services and for tunnels that travel over it, and what answers
/// masqueraded connections.
pub fn claims(config: &Config, bridge: &BridgeName) -> Claims {
    let mut claims = Claims::default();
    let own = config.bridges.get(bridge).into_iter().flat_map(|bridge| &bridge.gateways);
    let own: Vec<IpAddr> = own.map(|gateway| gateway.addr).collect();
    let is_shared = config.shared_port(bridge).is_some();
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
                let ports = rule.ports_outside(is_shared);
                let pools = pools(config, rule, flows::Zone(0), ports);
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
    for (_, vxlan) in config.vxlans_over(bridge) {
        claims.add(vxlan.local, protocol::UDP, vxlan.dstport..=vxlan.dstport);
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

/// The ports that masquerading takes from interfaces that are shared.
pub fn lent(config: &Config) -> Vec<PortRange> {
    let shared = config.shared_bridges();
    let ranges = config.nat.values().filter_map(|rule| match rule {
        NatRule::Masquerade(rule) if shared.contains_key(&rule.to) => {
            Some(rule.ports_of_the_host())
        }
        _ => None,
    });
    PortRange::joined(ranges.collect())
}

/// The ports that the switch takes from interfaces that are shared, with those that are lent to masquerading, whoever uses
/// them there: the host is to give them to nobody by itself, whose answers the switch would get.
pub fn reserved(config: &Config, lent: &[PortRange]) -> Vec<PortRange> {
    // It is asked for every rule and every service.
    let shared = config.shared_bridges();
    let is_shared = |bridge: &BridgeName| shared.contains_key(bridge);
    let rules = config.nat.values().filter_map(|rule| match rule {
        NatRule::Publish(rule) if !rule.is_on_loopback() && is_shared(&rule.on) => {
            Some(rule.forward.ports)
        }
        _ => None,
    });
    let nodes = config.services.values().filter_map(|service| {
        let port = PortRange::one(service.node_port?);
        port.filter(|_| config.bridges_finding(service).any(is_shared))
    });
    let tunnels = config.vxlans.values().filter_map(|vxlan| {
        let is_taken = vxlan.via.as_ref().is_some_and(is_shared);
        PortRange::one(vxlan.dstport).filter(|_| is_taken)
    });
    let lent = lent.iter().copied();
    PortRange::joined(lent.chain(rules).chain(nodes).chain(tunnels).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctl::{Bridge, IfName, Masquerade, NetdevMode, Port, PortKind, Publish};

    #[test]
    fn the_host_gives_nobody_a_port_that_the_switch_takes_from_it() {
        let mut config = Config::default();
        for (name, gateway) in [("up", "192.0.2.2/24"), ("in", "10.0.0.1/24")] {
            let gateways = vec![gateway.parse().unwrap()];
            config.bridges.insert(name.parse().unwrap(), Bridge { gateways, ..Bridge::default() });
        }
        let publish = |forward: &str| {
            let on = "up".parse().unwrap();
            let (forward, to, port) = (forward.parse().unwrap(), None, None);
            NatRule::Publish(Publish { on, forward, to, port })
        };
        let masquerade = Masquerade::new("in".parse().unwrap(), "up".parse().unwrap());
        let rules = [
            publish("40000:10.0.0.2:80/tcp"),
            publish("40001-40003:10.0.0.2:80/udp"),
            publish("127.0.0.1:45000:10.0.0.2:80/tcp"),
            NatRule::Masquerade(masquerade),
        ];
        for (number, rule) in rules.into_iter().enumerate() {
            config.nat.insert(format!("rule{number}").parse().unwrap(), rule);
        }
        assert!(reserved(&config, &lent(&config)).is_empty(), "an interface of the switch's own");
        let device: IfName = "eth0".parse().unwrap();
        let kind = PortKind::Netdev { device, netns: None, mode: NetdevMode::Auto };
        let port = Port { shared: true, ..Port::new("up".parse().unwrap(), kind) };
        config.ports.insert("up0".parse().unwrap(), port);
        let expected = ["40000-40003", "61000-65535"].map(|range| range.parse().unwrap());
        assert_eq!(reserved(&config, &lent(&config)), expected);
    }
}
