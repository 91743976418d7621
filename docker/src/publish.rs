//! Published ports: rules of address translation that are named after the endpoint, so that all of them are found.
//!
//! A port is published on every bridge by which the container's network has a way out, or, if an address outside is
//! given, on the one that has it; at an address of the host's loopback, there alone. The client's address stays what it
//! is, but on the loopback; there is no iptables, and no proxy of Docker's.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ctl::response::{EndpointInfo, NatInfo, NetworkInfo};
use ctl::{
    Batch, BridgeName, ErrorCode, Forward, Mutation, Named, NatAdd, NatRule, PortRange, Protocol,
    Publish,
};

use crate::daemon::Daemon;
use crate::plugin::{EndpointName, PluginError};
use crate::protocol::network::PortBinding;

/// How often other ports are chosen where those that no rule has are refused: a program of the host has one, for instance.
const ATTEMPTS: usize = 10;

/// Where a port may be published: a bridge that leads out, and its addresses.
struct Outside {
    bridge: BridgeName,
    addresses: Vec<IpAddr>,
}

/// A port to publish at one place.
struct Wanted {
    on: BridgeName,
    address: Option<IpAddr>,
    container: IpAddr,
    container_port: u16,
    protocol: Protocol,
    candidates: RangeInclusive<u16>,
}

/// Publishes the ports of an endpoint, and no others, in one step however many they are.
///
/// # Errors
/// [`PluginError`]; what was published before still is.
pub(crate) fn publish(
    daemon: &Daemon,
    name: &EndpointName,
    (network, endpoint): (&NetworkInfo, &EndpointInfo),
    bindings: &[PortBinding],
) -> Result<(), PluginError> {
    if bindings.is_empty() {
        return revoke(daemon, name);
    }
    let outsides = outsides(daemon, network)?;
    let mut all = Vec::new();
    for binding in bindings {
        all.extend(wanted(binding, (network, endpoint), &outsides)?);
    }
    let (mut refused, mut refusals, mut last) = (Vec::new(), 0, None);
    loop {
        let (own, others) = apart(daemon, name)?;
        let chosen = choose(&all, [&others[..], &refused].concat(), &network.name);
        // Who refused the last ones tells more than that none are left.
        let rules = chosen.map_err(|none_left| last.take().unwrap_or(none_left))?;
        let error = match replace(daemon, name, own, &rules) {
            Err(error) if error.code() == Some(ErrorCode::Exists) => error,
            done => return done,
        };
        let chosen = all.iter().zip(rules).filter(|(wanted, _)| wanted.is_choice());
        let chosen: Vec<_> = chosen.map(|(_, rule)| rule).collect();
        let (_, others) = apart(daemon, name)?;
        // Somebody else took one that was free a moment ago, and will be seen to have it.
        if chosen.iter().any(|rule| is_taken(rule, &others)) {
            continue;
        }
        refusals += 1;
        if chosen.is_empty() || refusals == ATTEMPTS {
            return Err(error);
        }
        refused.extend(chosen);
        last = Some(error);
    }
}

/// Takes back what an endpoint published.
///
/// # Errors
/// [`PluginError`].
pub(crate) fn revoke(daemon: &Daemon, name: &EndpointName) -> Result<(), PluginError> {
    let own = rules(daemon, name)?;
    if own.is_empty() { Ok(()) } else { change(daemon, own.into_iter().map(removal).collect()) }
}

/// The rules of an endpoint, and all others.
fn apart(
    daemon: &Daemon,
    name: &EndpointName,
) -> Result<(Vec<NatInfo>, Vec<NatRule>), PluginError> {
    let prefix = name.rule_prefix();
    let is_own = |rule: &NatInfo| rule.name.as_str().starts_with(&prefix);
    let (own, others): (Vec<_>, Vec<_>) = daemon.translations()?.into_iter().partition(is_own);
    Ok((own, others.into_iter().map(|info| info.rule).collect()))
}

/// A rule for each port, none of which is for the same as another, or as one of those that have theirs.
fn choose(
    all: &[Wanted],
    mut taken: Vec<NatRule>,
    to: &BridgeName,
) -> Result<Vec<NatRule>, PluginError> {
    let others = taken.len();
    for wanted in all {
        taken.push(wanted.choose(&taken, to)?);
    }
    Ok(taken.split_off(others))
}

/// Publishes these ports instead of those before.
fn replace(
    daemon: &Daemon,
    name: &EndpointName,
    before: Vec<NatInfo>,
    rules: &[NatRule],
) -> Result<(), PluginError> {
    let mut changes: Vec<_> = before.into_iter().map(removal).collect();
    for (number, rule) in rules.iter().enumerate() {
        let add = NatAdd { name: Some(name.rule(number)?), rule: rule.clone() };
        changes.push(Mutation::NatAdd(add));
    }
    change(daemon, changes)
}

fn removal(rule: NatInfo) -> Mutation {
    Mutation::NatDel(Named { name: rule.name, if_exists: true })
}

/// All of it, or nothing.
fn change(daemon: &Daemon, changes: Vec<Mutation>) -> Result<(), PluginError> {
    daemon.change(Mutation::Batch(Batch { changes }))?;
    Ok(())
}

/// The ports that an endpoint published, with those that were chosen.
///
/// # Errors
/// [`PluginError`].
pub(crate) fn published(
    daemon: &Daemon,
    name: &EndpointName,
) -> Result<Vec<PortBinding>, PluginError> {
    let binding = |rule: NatInfo| match rule.rule {
        NatRule::Publish(Publish { forward, .. }) => Some(PortBinding {
            proto: forward.protocol.number(forward.container.is_ipv4()),
            ip: forward.container.to_string(),
            port: forward.container_port,
            host_ip: forward.address.map_or(String::new(), |address| address.to_string()),
            host_port: forward.ports.first(),
            host_port_end: forward.ports.last(),
        }),
        NatRule::Masquerade(_) | NatRule::Prefix(_) => None,
    };
    Ok(rules(daemon, name)?.into_iter().filter_map(binding).collect())
}

fn rules(daemon: &Daemon, name: &EndpointName) -> Result<Vec<NatInfo>, PluginError> {
    Ok(apart(daemon, name)?.0)
}

fn outsides(daemon: &Daemon, network: &NetworkInfo) -> Result<Vec<Outside>, PluginError> {
    let outside = |bridge: &BridgeName| {
        let gateways = daemon.bridge(bridge)?.settings.gateways;
        let addresses = gateways.iter().map(|gateway| gateway.addr).collect();
        Ok(Outside { bridge: bridge.clone(), addresses })
    };
    network.uplinks.iter().map(outside).collect()
}

/// Where a port is to be published: at each outside and for each of the container's addresses, as far as the IP
/// versions agree.
fn wanted(
    binding: &PortBinding,
    (network, endpoint): (&NetworkInfo, &EndpointInfo),
    outsides: &[Outside],
) -> Result<Vec<Wanted>, PluginError> {
    let refuse = |why: String| {
        let PortBinding { host_ip, host_port, port, .. } = binding;
        Err(PluginError::Publish { what: format!("{host_ip}:{host_port}:{port}"), why })
    };
    let Some(protocol) = protocol(binding.proto) else {
        return refuse(format!("protocol {} has no ports", binding.proto));
    };
    let host_ip = match binding.host_ip.as_str() {
        "" => None,
        text => match text.parse::<IpAddr>() {
            Ok(addr) => Some(addr),
            Err(error) => return refuse(error.to_string()),
        },
    };
    let candidates = match (binding.host_port, binding.host_port_end) {
        (0, _) => PortRange::CHOSEN.first()..=PortRange::CHOSEN.last(),
        (first, last) => first..=last.max(first),
    };
    let mut all = Vec::new();
    for address in &endpoint.addresses {
        let container = address.address.addr;
        let of_version = |addr: &IpAddr| addr.is_ipv4() == container.is_ipv4();
        // `0.0.0.0` is every address of IPv4, `::` of IPv6, and nothing is both.
        if host_ip.is_some_and(|addr| !of_version(&addr)) {
            continue;
        }
        let address = host_ip.filter(|addr| !addr.is_unspecified());
        let wanted = |on: &BridgeName| Wanted {
            on: on.clone(),
            address,
            container,
            container_port: binding.port,
            protocol,
            candidates: candidates.clone(),
        };
        if address.is_some_and(|address| address.is_loopback()) {
            // No uplink is asked: the daemon listens on the host's loopback.
            all.push(wanted(&endpoint.network));
            continue;
        }
        let has_it = |outside: &&Outside| match address {
            Some(address) => outside.addresses.contains(&address),
            None => outside.addresses.iter().any(of_version),
        };
        all.extend(outsides.iter().filter(has_it).map(|outside| wanted(&outside.bridge)));
    }
    if all.is_empty() { refuse(no_outside(network, host_ip, outsides)) } else { Ok(all) }
}

/// Why a port can be published nowhere.
fn no_outside(network: &NetworkInfo, host_ip: Option<IpAddr>, outsides: &[Outside]) -> String {
    let addresses = outsides.iter().flat_map(|outside| &outside.addresses);
    let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
    match host_ip {
        _ if addresses.is_empty() => network.no_uplink(),
        Some(host_ip) => format!(
            "{host_ip} is no address of the switch outside ({}), or the container has none of its IP version",
            addresses.join(", ")
        ),
        None => {
            format!("the container has no address of the IP version of {}", addresses.join(", "))
        }
    }
}

/// Whether the port that a rule publishes is that of others already.
fn is_taken(rule: &NatRule, others: &[NatRule]) -> bool {
    let NatRule::Publish(Publish { on, forward, .. }) = rule else { return false };
    others.iter().any(|other| overlaps(other, on, forward))
}

/// Whether a rule leaves no room for another one.
fn overlaps(rule: &NatRule, on: &BridgeName, forward: &Forward) -> bool {
    match rule {
        NatRule::Publish(other) => other.on == *on && other.forward.overlaps(forward),
        NatRule::Masquerade(other) if other.to == *on => {
            other.chosen_ports().is_some_and(|ports| ports.overlaps(&forward.ports))
        }
        NatRule::Masquerade(_) | NatRule::Prefix(_) => false,
    }
}

impl Wanted {
    fn is_choice(&self) -> bool {
        self.candidates.start() != self.candidates.end()
    }

    /// The first of its candidates that is free. The only one is tried even if it is not, for what the daemon says about it.
    fn choose(&self, taken: &[NatRule], to: &BridgeName) -> Result<NatRule, PluginError> {
        for port in self.candidates.clone() {
            let (on, forward, to) = (self.on.clone(), self.at(port)?, Some(to.clone()));
            let rule = NatRule::Publish(Publish { on, forward, to, port: None });
            if !self.is_choice() || !is_taken(&rule, taken) {
                return Ok(rule);
            }
        }
        Err(PluginError::Publish {
            what: format!("port {} of {}", self.container_port, self.container),
            why: format!("no port of {:?} is free on {}", self.candidates, self.on),
        })
    }

    fn at(&self, port: u16) -> Result<Forward, PluginError> {
        let ports = PortRange::one(port).ok_or_else(|| PluginError::Publish {
            what: format!("port {port}"),
            why: "there is no port 0".to_owned(),
        })?;
        let Self { address, container, container_port, protocol, .. } = *self;
        Ok(Forward { address, ports, container, container_port, protocol })
    }
}

/// A protocol that has ports, by its number.
fn protocol(number: u8) -> Option<Protocol> {
    let with_ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    with_ports.into_iter().find(|one| one.number(true) == number)
}
