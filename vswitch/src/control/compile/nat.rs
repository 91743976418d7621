//! Address translation.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ctl::{BridgeName, Config, NatRule, PortRange, PrefixTranslation, RelayedBy, RuleName};
use flows::nat::{Mappings, Nptv6, Pool, Publish, Published, Quota};
use flows::router::Prefix;
use flows::service::Services;
use flows::session::{TcpPolicy, Timeouts};
use flows::{
    BridgeIndex, Endpoint, Filtering, Home, Masquerade, Owners, PrefixRule, Translation, Zone,
};

use super::ways::Ways;
use super::{Numbering, services};

/// Compiles the address translation. The mappings that exist stay.
pub(super) fn translation<'a>(
    config: &'a Config,
    ways: &Ways<'a>,
    numbering: &Numbering,
    mappings: &Mappings,
) -> Translation {
    let index = |name: &BridgeName| numbering.bridges.get(name).map(|slot| slot.index);
    // It is asked for every rule.
    let shared = config.shared_bridges();
    let (mut masquerades, mut prefixes) = (Vec::new(), Vec::new());
    for (name, rule) in config.nat.iter() {
        let usage = numbering.usage(name);
        match rule {
            NatRule::Masquerade(rule) => {
                let Some((from, to)) = index(&rule.from).zip(index(&rule.to)) else { continue };
                let ports = rule.ports_outside(shared.contains_key(&rule.to));
                for pool in pools(config, rule, to.into(), ports) {
                    let (filtering, usage) = (filtering(rule.filtering), Arc::clone(&usage));
                    let except = rule.except.iter();
                    let except = except.filter_map(|to| Prefix::new(to.addr(), to.prefix_len()));
                    let except = except.collect();
                    masquerades.push(Masquerade { from, pool, filtering, except, usage });
                }
            }
            NatRule::Prefix(rule) => {
                let Some((from, to)) = index(&rule.from).zip(index(&rule.to)) else { continue };
                let is_only_way = !config.reached_from(&rule.from).any(|to| *to == rule.to);
                let both = nptv6(rule);
                prefixes.extend(both.map(|prefixes| PrefixRule {
                    from,
                    to,
                    prefixes,
                    is_only_way,
                    usage,
                }));
            }
            NatRule::Publish(_) => {}
        }
    }
    let services = Arc::clone(numbering.services.all());
    let (published, homes) = published(config, numbering);
    masquerades.extend(relayed_masquerades(config, numbering));
    let hairpins = hairpins(config, numbering, &homes, &services);
    let lent = masquerades.iter().chain(&hairpins).flat_map(|rule| {
        rule.pool.addresses().map(|ip| (rule.pool.zone(), ip)).collect::<Vec<_>>()
    });
    Translation {
        mappings: mappings.with_addresses(lent),
        owners: owners(config, ways, numbering),
        masquerades: masquerades.into_iter().collect(),
        hairpins: hairpins.into_iter().collect(),
        published,
        homes,
        services,
        prefixes,
        tcp: TcpPolicy { check_windows: config.tracking.window_checks, ..TcpPolicy::default() },
        timeouts: timeouts(&config.tracking.timeouts),
    }
}

/// Published ports, and where their stations are.
fn published(config: &Config, numbering: &Numbering) -> (Published, HashMap<Publish, Home>) {
    let mut homes = HashMap::new();
    for (name, rule) in config.nat.iter() {
        let NatRule::Publish(rule) = rule else { continue };
        if !rule.is_on_loopback() {
            homes.extend(publish(
                config,
                numbering,
                (name, rule),
                (&rule.on, rule.forward.address),
            ));
        }
    }
    for one in config.relayed().filter(|one| one.address.is_loopback()) {
        let address = Config::relay_gateway(one.address.is_ipv4());
        let place = (&BridgeName::loopback(), Some(address));
        homes.extend(match one.by {
            RelayedBy::Rule(name, rule) => publish(config, numbering, (name, rule), place),
            RelayedBy::Service(name, service) => {
                services::node_port(numbering, (name, service), place)
            }
        });
    }
    homes.extend(services::node_ports(config, numbering));
    (Published::new(homes.keys().copied().collect()).unwrap_or_default(), homes)
}

/// A rule at a bridge and an address there, and where it leads to.
fn publish(
    config: &Config,
    numbering: &Numbering,
    (name, rule): (&RuleName, &ctl::Publish),
    (on, address): (&BridgeName, Option<IpAddr>),
) -> Option<(Publish, Home)> {
    let home = numbering.bridges.get(config.container_bridge(rule)?)?;
    let (zone, forward) = (Zone::from(numbering.bridges.get(on)?.index), rule.forward);
    let internal = Endpoint::new(forward.container, forward.container_port);
    let ports = forward.ports.first()..=forward.ports.last();
    let number = forward.protocol.number(forward.container.is_ipv4());
    // Rules that overlap or make no sense are refused when they are added.
    let published = Publish::new(zone, number, address, ports, internal).ok()?;
    Some((published, Home { bridge: home.index, usage: numbering.usage(name) }))
}

/// What the daemon is hidden behind when it relays: the gateways of the containers' bridges, by which its answers come back
/// whatever other routes the container has.
fn relayed_masquerades(config: &Config, numbering: &Numbering) -> Vec<Masquerade> {
    let Some(from) = numbering.bridges.get(&BridgeName::loopback()) else { return Vec::new() };
    let homes = config.relayed().flat_map(|one| match one.by {
        RelayedBy::Rule(_, rule) => Vec::from_iter(config.container_bridge(rule)),
        RelayedBy::Service(_, service) => config.homes_of(service).collect(),
    });
    let homes: BTreeSet<_> = homes.collect();
    homes
        .into_iter()
        .flat_map(|home| behind_gateways(config, numbering, from.index, home))
        .collect()
}

/// Who comes from a bridge to another is seen as that one's gateways.
fn behind_gateways(
    config: &Config,
    numbering: &Numbering,
    from: BridgeIndex,
    to: &BridgeName,
) -> Vec<Masquerade> {
    let Some(slot) = numbering.bridges.get(to) else { return Vec::new() };
    let gateways = config.bridges.get(to).into_iter().flat_map(|bridge| &bridge.gateways);
    let ports = match config.shared_port(to) {
        Some(_) => PortRange::ABOVE_EPHEMERAL,
        None => PortRange::UNPRIVILEGED,
    };
    let ports = ports.first()..=ports.last();
    let hidden = gateways.filter_map(|cidr| {
        let range = cidr.addr..=cidr.addr;
        let pool = Pool::new(slot.index.into(), range, ports.clone(), Quota::default()).ok()?;
        // The published port's rule counts.
        Some(Masquerade::new(from, pool, Filtering::ByAddress))
    });
    hidden.collect()
}

fn nptv6(rule: &PrefixTranslation) -> Option<Nptv6> {
    let (IpAddr::V6(inside), IpAddr::V6(outside)) = (rule.inside.addr(), rule.outside.addr())
    else {
        return None;
    };
    // Prefixes that cannot be translated are refused when the rule is added.
    Nptv6::new(inside, outside, rule.inside.prefix_len()).ok()
}

/// For each bridge with a station whose port is published, or that serves: its gateway's address, for neighbours of the
/// station, and itself, that come by the published port or the service.
fn hairpins(
    config: &Config,
    numbering: &Numbering,
    homes: &HashMap<Publish, Home>,
    services: &Services,
) -> Vec<Masquerade> {
    let served = services.homes().iter().copied();
    let with_homes: BTreeSet<_> = homes.values().map(|home| home.bridge).chain(served).collect();
    let is_home = |index| with_homes.contains(&index);
    let homes = numbering.bridges.iter().filter(|(_, slot)| is_home(slot.index));
    homes.flat_map(|(name, slot)| behind_gateways(config, numbering, slot.index, name)).collect()
}

/// The pools of a rule: its addresses, or one of each version of the gateway outside, with these ports.
pub(super) fn pools(
    config: &Config,
    rule: &ctl::Masquerade,
    zone: Zone,
    ports: PortRange,
) -> Vec<Pool> {
    let of_gateway = |is_ipv4: bool| {
        let own = config.bridges.get(&rule.to)?.outside(is_ipv4)?;
        Some(own..=own)
    };
    // One for each IP version.
    let pools: Vec<Vec<_>> = match &rule.addresses {
        Some(addresses) => {
            let ranges = addresses.ranges().iter();
            vec![ranges.map(|range| range.first()..=range.last()).collect()]
        }
        None => [true, false]
            .into_iter()
            .filter(|is_ipv4| rule.covers(*is_ipv4))
            .filter_map(of_gateway)
            .map(|own| vec![own])
            .collect(),
    };
    let ports = ports.first()..=ports.last();
    let default = Quota::default();
    let quota = Quota {
        ports: rule.port_quota.unwrap_or(default.ports),
        sessions: rule.session_quota.unwrap_or(default.sessions),
    };
    // Ranges that cannot be pools are refused when the rule is added.
    pools
        .into_iter()
        .filter_map(|ranges| Pool::of_ranges(zone, ranges, ports.clone(), quota).ok())
        .collect()
}

fn filtering(filtering: ctl::Filtering) -> Filtering {
    match filtering {
        ctl::Filtering::Address => Filtering::ByAddress,
        ctl::Filtering::EndpointIndependent => Filtering::EndpointIndependent,
    }
}

/// Where the stations of each bridge find the addresses of the switch that they can reach. Of equal
/// addresses a bridge's own counts.
fn owners<'a>(config: &'a Config, ways: &Ways<'a>, numbering: &Numbering) -> Owners {
    let mut owners = Vec::new();
    for (from, slot, _) in numbering.bridges_of(config) {
        for (owner, is_ipv4) in ways.reachable(from) {
            let Some(at) = numbering.bridges.get(owner) else { continue };
            let others = ways.addresses_on(owner).filter(|ip| ip.is_ipv4() == is_ipv4);
            owners.extend(others.map(|ip| ((slot.index, ip), at.index)));
        }
        let own = ways.addresses_on(from);
        owners.extend(own.map(|ip| ((slot.index, ip), slot.index)));
    }
    // What is published at the host's addresses the daemon relays to these.
    if let Some(station) = numbering.bridges.get(&BridgeName::loopback()) {
        for (name, own) in config.shared_bridges() {
            let Some(at) = numbering.bridges.get(name) else { continue };
            owners.extend(own.into_iter().map(|ip| ((station.index, ip), at.index)));
        }
    }
    owners.into_iter().collect()
}

fn timeouts(wanted: &ctl::Timeouts) -> Timeouts {
    Timeouts {
        udp_unreplied_seconds: wanted.udp_unreplied,
        udp_seconds: wanted.udp,
        tcp_opening_seconds: wanted.tcp_opening,
        tcp_established_seconds: wanted.tcp_established,
        tcp_half_closed_seconds: wanted.tcp_established,
        tcp_closing_seconds: wanted.tcp_closing,
        icmp_seconds: wanted.icmp,
        other_seconds: wanted.other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_kept_by_default_as_long_as_the_scorecard_says() {
        assert_eq!(timeouts(&ctl::Timeouts::default()), Timeouts::default());
    }

    #[test]
    fn every_pool_that_is_accepted_can_be_made() {
        assert_eq!(ctl::Masquerade::MOST_ADDRESSES, usize::from(flows::nat::MAX_ADDRESSES));
    }
}
