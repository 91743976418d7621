//! Published ports: rules of address translation that are named after the endpoint, so that all of them are found.
//!
//! A port is published on every bridge by which the container's network has a way out, or, if an address outside is
//! given, on the one where it leads to the switch; at an address of the host's loopback, there alone. The client's
//! address stays what it is, but on the loopback; there is no iptables, and no proxy of Docker's.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ctl::response::{BridgeInfo, EndpointInfo, NatInfo, NetworkInfo};
use ctl::{
    Batch, BridgeName, ErrorCode, Forward, Mutation, Named, NatAdd, NatRule, PortName, PortRange,
    Protocol, Publish,
};

use crate::daemon::Daemon;
use crate::plugin::{EndpointName, PluginError};
use crate::protocol::network::PortBinding;

/// How long free ports are looked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// For whom ports are published, and where that may be.
struct Places<'a> {
    network: &'a NetworkInfo,
    endpoint: &'a EndpointInfo,
    bridges: Vec<BridgeInfo>,
    rules: Vec<NatRule>,
}

/// A port to publish at one place.
struct Wanted {
    on: BridgeName,
    address: Option<IpAddr>,
    container: IpAddr,
    container_port: u16,
    protocol: Protocol,
    candidates: RangeInclusive<u16>,
    /// The container's network and port.
    to: BridgeName,
    port: PortName,
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
    let places = Places::of(daemon, (network, endpoint), bindings)?;
    let mut all = Vec::new();
    for binding in bindings {
        all.extend(wanted(binding, &places)?);
    }
    let (mut refused, mut last) = (Vec::new(), None);
    let (begun, mut present) = (Instant::now(), apart(daemon, name)?);
    loop {
        let (own, others) = present;
        let chosen = choose(&all, [&others[..], &refused].concat());
        // Who refused the last ones tells more than that none are left.
        let rules = chosen.map_err(|none_left| last.take().unwrap_or(none_left))?;
        let error = match replace(daemon, name, own, &rules) {
            Err(error) if error.code() == Some(ErrorCode::Exists) => error,
            done => return done,
        };
        // Docker waits for half a minute, and must not hear of a port then that nobody waits for any more.
        if begun.elapsed() > PATIENCE {
            return Err(error);
        }
        present = apart(daemon, name)?;
        let others = &present.1;
        let choices = || all.iter().zip(&rules).enumerate().filter(|(_, (one, _))| one.is_choice());
        // Somebody else took one that was free a moment ago, and will be seen to have it.
        if choices().any(|(_, (_, rule))| is_taken(rule, others)) {
            continue;
        }
        // One that no rule has may be refused: a program of the host has it, for instance.
        let told = error.to_string();
        let mut blamed = choices().filter(|(number, _)| names(&told, name, *number));
        let Some((_, (_, rule))) = blamed.next() else { return Err(error) };
        refused.push(rule.clone());
        last = Some(error);
    }
}

/// Whether the daemon blames a rule of an endpoint for what it refuses.
fn names(told: &str, name: &EndpointName, number: usize) -> bool {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let mut words = told.split(|letter| !is_of_name(letter));
    name.rule(number).is_ok_and(|rule| words.any(|word| word == rule.as_str()))
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
fn choose(all: &[Wanted], mut taken: Vec<NatRule>) -> Result<Vec<NatRule>, PluginError> {
    let others = taken.len();
    for wanted in all {
        taken.push(wanted.choose(&taken)?);
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

impl<'a> Places<'a> {
    /// What is asked of the daemon: its uplinks or, where a port is for one address outside, all that could have it.
    fn of(
        daemon: &Daemon,
        (network, endpoint): (&'a NetworkInfo, &'a EndpointInfo),
        bindings: &[PortBinding],
    ) -> Result<Self, PluginError> {
        let is_at_one = |binding: &PortBinding| {
            let address = binding.host_ip.parse::<IpAddr>();
            address.is_ok_and(|address| !address.is_unspecified() && !address.is_loopback())
        };
        if bindings.iter().any(is_at_one) {
            let rules = daemon.translations()?.into_iter().map(|info| info.rule).collect();
            return Ok(Self { network, endpoint, bridges: daemon.bridges()?, rules });
        }
        let uplinks = network.uplinks.iter().map(|uplink| daemon.bridge(uplink));
        let bridges = uplinks.collect::<Result<_, _>>()?;
        Ok(Self { network, endpoint, bridges, rules: Vec::new() })
    }

    fn uplinks(&self) -> impl Iterator<Item = &BridgeInfo> {
        self.bridges.iter().filter(|bridge| self.network.uplinks.contains(&bridge.name))
    }

    /// Where a port is published for an address of the container: on the uplinks, or, if an address outside is given, where
    /// that leads to the switch, be it an uplink or not.
    fn at(&self, address: Option<IpAddr>, container: IpAddr) -> Vec<&BridgeName> {
        let has_version = |bridge: &&BridgeInfo| {
            let mut gateways = bridge.settings.gateways.iter();
            gateways.any(|gateway| gateway.addr.is_ipv4() == container.is_ipv4())
        };
        let Some(address) = address else {
            return self.uplinks().filter(has_version).map(|bridge| &bridge.name).collect();
        };
        if address.is_loopback() {
            // No uplink is asked: the daemon listens on the host's loopback.
            return vec![&self.endpoint.network];
        }
        let leads =
            |bridge: &&BridgeInfo| bridge.settings.leads_from(address, &bridge.name, &self.rules);
        let uplinks: Vec<_> = self.uplinks().filter(leads).map(|bridge| &bridge.name).collect();
        if !uplinks.is_empty() || self.network.settings.internal {
            return uplinks;
        }
        let is_outside = |bridge: &&BridgeInfo| bridge.name != self.endpoint.network;
        self.bridges.iter().filter(is_outside).filter(leads).map(|bridge| &bridge.name).collect()
    }

    /// Why a port can be published nowhere.
    fn nowhere(&self, host_ip: Option<IpAddr>) -> String {
        let gateways = self.uplinks().flat_map(|bridge| &bridge.settings.gateways);
        let own: Vec<_> = gateways.map(|gateway| gateway.addr.to_string()).collect();
        let own = own.join(", ");
        let has_version = |ip: &IpAddr| {
            let mut addresses = self.endpoint.addresses.iter();
            addresses.any(|one| one.address.addr.is_ipv4() == ip.is_ipv4())
        };
        match host_ip {
            Some(ip) if !has_version(&ip) => {
                format!("the container has no address of the IP version of {ip}")
            }
            _ if own.is_empty() => self.network.no_uplink(),
            Some(ip) if !ip.is_unspecified() => format!(
                "{ip} is no address of the switch outside ({own}); publish at one that is, or at all by naming none; if {ip} is \
                 the host's on another interface, share that one too, with `vswitchctl port add NAME --netdev INTERFACE --shared`"
            ),
            _ => format!(
                "the switch has no address outside ({own}) of the IP version of one of the container's"
            ),
        }
    }
}

/// Where a port is to be published: at each place and for each of the container's addresses, as far as the IP versions
/// agree.
fn wanted(binding: &PortBinding, places: &Places<'_>) -> Result<Vec<Wanted>, PluginError> {
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
    let EndpointInfo { network, port, addresses, .. } = places.endpoint;
    let containers = addresses.iter().map(|info| info.address.addr);
    // `0.0.0.0` is every address of IPv4, `::` of IPv6, and nothing is both.
    let of_version =
        |addr: &IpAddr| host_ip.is_none_or(|host_ip| host_ip.is_ipv4() == addr.is_ipv4());
    let address = host_ip.filter(|addr| !addr.is_unspecified());
    let mut all = Vec::new();
    for container in containers.filter(of_version) {
        let wanted = |on: &BridgeName| Wanted {
            on: on.clone(),
            address,
            container,
            container_port: binding.port,
            protocol,
            candidates: candidates.clone(),
            to: network.clone(),
            port: port.clone(),
        };
        all.extend(places.at(address, container).into_iter().map(wanted));
    }
    if all.is_empty() { refuse(places.nowhere(host_ip)) } else { Ok(all) }
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
    fn choose(&self, taken: &[NatRule]) -> Result<NatRule, PluginError> {
        for port in self.candidates.clone() {
            let (on, forward) = (self.on.clone(), self.at(port)?);
            let (to, its) = (Some(self.to.clone()), Some(self.port.clone()));
            let rule = NatRule::Publish(Publish { on, forward, to, port: its });
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
