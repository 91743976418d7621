//! What rules of address translation, and timeouts, keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::{
    bridge_of, check_host, check_number, check_range, no_port, overlapping, routed, shown,
};
use crate::loopback::check_elsewhere;
use crate::plan::{differing, touched};
use crate::uplink::shared_otherwise;
use crate::{
    AddressRanges, Bridge, BridgeName, Config, CtlError, End, ErrorCode, Forward, Masquerade,
    NatRule, Port, PortName, PrefixTranslation, Protocol, Publish, RuleName,
};

/// Anything from a second to more than a week.
const TIMEOUT_SECONDS: RangeInclusive<u32> = 1..=1_000_000;
/// NPTv6 needs a subnet's 64 bits for addresses (RFC 6296, section 3).
const PREFIX_BITS: RangeInclusive<u8> = 1..=64;

/// The most destinations that one masquerade leaves as they are.
const MAX_EXCEPTIONS: usize = 256;

/// Rules in the order of their names.
type Rules<'a> = BTreeMap<&'a RuleName, &'a NatRule>;

/// The rules that have to be looked at after a change: those that differ, and those that lead from or to a bridge that does, or that has
/// the host's addresses now or had them.
pub(super) fn concerned<'a>(old: &'a Config, config: &'a Config) -> Rules<'a> {
    let bridges = touched(&old.bridges, &config.bridges).map(|(name, _)| name);
    let ends: BTreeSet<_> = bridges
        .chain(shared_otherwise(old, config))
        .flat_map(|name| [End::From(name.clone()), End::To(name.clone()), End::Unnamed])
        .collect();
    let about = ends.into_iter().flat_map(|end| config.nat.marked(end));
    about.chain(differing(&old.nat, &config.nat)).collect()
}

/// The rules that are for packets from where a rule that differs is.
fn beside<'a>(old: &'a Config, config: &'a Config) -> Rules<'a> {
    let froms: BTreeSet<_> =
        differing(&old.nat, &config.nat).map(|(_, rule)| rule.from()).collect();
    froms.into_iter().flat_map(|from| config.nat.marked(End::From(from.clone()))).collect()
}

pub(super) fn check(config: &Config, rule: &NatRule) -> Result<(), CtlError> {
    check_elsewhere(rule.bridges())?;
    match rule {
        NatRule::Masquerade(rule) => check_masquerade(config, rule)?,
        NatRule::Publish(rule) => check_publish(config, rule)?,
        NatRule::Prefix(rule) => check_prefix(config, rule)?,
    }
    // The host's addresses come and go: a rule waits for them.
    if rule.bridges().any(|name| config.shared_port(name).is_some()) {
        return Ok(());
    }
    check_addressed(config, rule)
}

/// That no rule is left without the addresses that its bridge had by a port that shared the host's interface, and goes.
pub(super) fn check_left_addressed(old: &Config, config: &Config) -> Result<(), CtlError> {
    let goes = |(_, port): &(&PortName, &Port)| {
        let bridge = &port.bridge;
        config.bridges.contains_key(bridge) && config.shared_port(bridge).is_none()
    };
    for (name, port) in old.ports.iter().filter(|(_, port)| port.shared).filter(goes) {
        let is_nowhere = |rule: &NatRule| match rule {
            NatRule::Publish(rule) => address_nowhere(config, rule).is_some(),
            NatRule::Masquerade(_) | NatRule::Prefix(_) => false,
        };
        let is_left = |(_, rule): &(&RuleName, &NatRule)| {
            rule.bridges().any(|name| *name == port.bridge)
                && (check_addressed(config, rule).is_err() || is_nowhere(rule))
        };
        let left = config.nat.iter().filter(is_left).map(|(rule, _)| rule.to_string());
        let left: Vec<_> = left.collect();
        if !left.is_empty() {
            let message = format!(
                "bridge {} has the host's addresses by port {name}, and nat rules need these: {}; remove them first with \
                 `nat del`, or the containers whose ports they publish",
                port.bridge,
                shown(&left)
            );
            return Err(CtlError::new(ErrorCode::InUse, message));
        }
    }
    Ok(())
}

/// The address that a rule publishes at, if it does not lead to the switch, with the bridge on which it would have to.
pub(crate) fn address_nowhere<'a>(
    config: &'a Config,
    rule: &Publish,
) -> Option<(IpAddr, &'a Bridge)> {
    let address = rule.forward.address.filter(|_| !rule.is_on_loopback())?;
    let bridge = config.bridges.get(&rule.on)?;
    let leads = bridge.leads_from(address, &rule.on, config.nat.values());
    (!leads).then_some((address, bridge))
}

/// That a rule has the addresses that packets leave with, or are sent to.
///
/// # Errors
/// [`CtlError`].
pub(crate) fn check_addressed(config: &Config, rule: &NatRule) -> Result<(), CtlError> {
    match rule {
        NatRule::Publish(Publish { on, forward, .. }) if forward.address.is_none() => {
            check_has_address(config, on, forward.container.is_ipv4())
        }
        NatRule::Masquerade(rule) if rule.addresses.is_none() => {
            let mut versions = [true, false].into_iter().filter(|ipv4| rule.covers(*ipv4));
            versions.try_for_each(|ipv4| check_has_address(config, &rule.to, ipv4))
        }
        _ => Ok(()),
    }
}

/// That no two rules are for the same packets.
pub(super) fn check_apart(old: &Config, config: &Config) -> Result<(), CtlError> {
    let beside = beside(old, config);
    check_once(&beside)?;
    check_published_once(old, &beside)?;
    let is_prefix = |(_, rule): (_, &NatRule)| matches!(rule, NatRule::Prefix(_));
    if differing(&old.nat, &config.nat).any(is_prefix) {
        check_prefixes_once(config)
    } else {
        Ok(())
    }
}

pub(super) fn check_timeouts(config: &Config) -> Result<(), CtlError> {
    for (name, seconds) in config.tracking.timeouts.named() {
        check_range("timeout", seconds, &TIMEOUT_SECONDS)
            .map_err(|error| error.within("timeout", name))?;
    }
    Ok(())
}

fn check_ends(config: &Config, from: &BridgeName, to: &BridgeName) -> Result<(), CtlError> {
    if from == to {
        let message =
            format!("--from and --to cannot both be {from}: nothing is translated within a bridge");
        return Err(CtlError::invalid(message));
    }
    routed(config, from).and_then(|_| bridge_of(config, to)).map(|_| ())
}

fn check_masquerade(config: &Config, rule: &Masquerade) -> Result<(), CtlError> {
    check_ends(config, &rule.from, &rule.to)?;
    let to = bridge_of(config, &rule.to)?;
    check_number("exceptions of one masquerade", rule.except.len(), MAX_EXCEPTIONS)?;
    if !rule.except.is_empty() && config.shared_port(&rule.to).is_some() {
        return Err(CtlError::invalid(
            "--except is of no use there: answers to what leaves an interface that the host shares by \
             another address than the host's do not come to the switch",
        ));
    }
    if [rule.port_quota, rule.session_quota].contains(&Some(0)) {
        return Err(CtlError::invalid(
            "a quota of 0 would let nobody through; leave it out, or use 1 or more",
        ));
    }
    let Some(addresses) = &rule.addresses else { return Ok(()) };
    if rule.ipv6 && addresses.is_ipv4() {
        return Err(CtlError::invalid(
            "--ipv6 needs IPv6 --addresses; use a rule for each IP version",
        ));
    }
    let count = usize::try_from(addresses.count()).unwrap_or(usize::MAX);
    check_number("addresses of one masquerade", count, Masquerade::MOST_ADDRESSES)?;
    check_ranges_of_hosts(to, addresses)
}

/// That there is an address of ours for packets to leave with.
fn check_has_address(config: &Config, name: &BridgeName, ipv4: bool) -> Result<(), CtlError> {
    if bridge_of(config, name)?.outside(ipv4).is_some() {
        return Ok(());
    }
    let version = if ipv4 { "IPv4" } else { "IPv6" };
    let remedy = match config.shared_port(name) {
        Some((port, _)) => format!(
            "its addresses are the host's on the interface behind port {port}: give the host one there (`ip address add`), unless it has \
             one, and `vswitchctl status` says why the bridge does not follow"
        ),
        None => format!(
            "give it one with `bridge set {name} --gateway`, or name the addresses of the rule"
        ),
    };
    Err(CtlError::invalid(format!("bridge {name} has no {version} address to use; {remedy}")))
}

/// Ranges that hold a subnet's first or last address would hand these out.
fn check_ranges_of_hosts(bridge: &Bridge, addresses: &AddressRanges) -> Result<(), CtlError> {
    let ends = |gateway: &crate::IpCidr| match gateway.subnet().addr() {
        IpAddr::V4(first) if gateway.prefix_len < 31 => {
            let last = first.to_bits() | (u32::MAX >> gateway.prefix_len);
            vec![IpAddr::V4(first), IpAddr::from(last.to_be_bytes())]
        }
        _ => Vec::new(),
    };
    let mut unusable = bridge.gateways.iter().flat_map(ends);
    match unusable.find(|addr| addresses.contains(*addr)) {
        Some(addr) => Err(CtlError::invalid(format!(
            "addresses {addresses} include {addr}, which is a subnet's own or its broadcast address; leave it out"
        ))),
        None => Ok(()),
    }
}

fn check_publish(config: &Config, rule: &Publish) -> Result<(), CtlError> {
    bridge_of(config, &rule.on)?;
    let Forward { address, container, protocol, .. } = rule.forward;
    match address {
        Some(address) if rule.is_on_loopback() && protocol == Protocol::Sctp => {
            return Err(CtlError::invalid(format!(
                "SCTP is not relayed from the host's loopback ({address}); publish TCP or UDP there"
            )));
        }
        Some(address) => check_host("published address", address)?,
        None => {}
    }
    check_host("container", container)?;
    if let Some(port) = rule.port.as_ref().filter(|port| !config.ports.contains_key(*port)) {
        return Err(no_port(config, port));
    }
    let to = match &rule.to {
        Some(to) if *to == rule.on && !rule.is_on_loopback() => {
            return Err(CtlError::invalid(format!(
                "the container cannot be on {to} itself, where the port is published"
            )));
        }
        Some(to) => to,
        None => only_holder(config, rule)?,
    };
    routed(config, to)?;
    match config.gateway_for(to, container) {
        None => Err(CtlError::invalid(format!(
            "container {container} is in no subnet of bridge {to}'s gateways; see `bridge show {to}`"
        ))),
        Some(gateway) if gateway.addr == container => {
            Err(CtlError::invalid(format!("container {container} is the router's own address")))
        }
        Some(_) => Ok(()),
    }
}

/// The only bridge on which the container can be.
fn only_holder<'a>(config: &'a Config, rule: &'a Publish) -> Result<&'a BridgeName, CtlError> {
    if let Some(only) = config.container_bridge(rule) {
        return Ok(only);
    }
    let container = rule.forward.container;
    let holders: Vec<_> = config.holders(rule).map(BridgeName::as_str).collect();
    Err(CtlError::invalid(if holders.is_empty() {
        format!(
            "container {container} is in the subnet of no other bridge; \
             give its bridge a gateway with `bridge set BR --gateway`"
        )
    } else {
        format!(
            "container {container} can be on each of {}: say on which, with --to",
            holders.join(", ")
        )
    }))
}

fn check_prefix(config: &Config, rule: &PrefixTranslation) -> Result<(), CtlError> {
    let PrefixTranslation { from, to, inside, outside } = rule;
    check_ends(config, from, to)?;
    routed(config, to)?;
    if config.shared_port(to).is_some() {
        return Err(CtlError::invalid(format!(
            "prefixes cannot be translated towards {to}, whose interface stays the host's: the switch takes from it what is \
             for ports of the host's addresses, and a prefix has none; use `nat masquerade --ipv6`"
        )));
    }
    if inside.is_ipv4() || outside.is_ipv4() {
        return Err(CtlError::invalid(
            "prefixes are translated in IPv6 only; use `nat masquerade`",
        ));
    }
    if inside.prefix_len() != outside.prefix_len() {
        let message = format!("{inside} and {outside} have to be of the same length");
        return Err(CtlError::invalid(message));
    }
    check_range("prefix length", inside.prefix_len(), &PREFIX_BITS)?;
    if inside.overlaps(outside) {
        return Err(CtlError::invalid(format!("{inside} and {outside} are the same addresses")));
    }
    Ok(())
}

/// That of two rules for the same packets neither is in vain.
fn clash(one: &RuleName, other: &RuleName, what: &str) -> CtlError {
    let message =
        format!("nat rules {one} and {other} are both for {what}; `nat del` one of them first");
    CtlError::new(ErrorCode::Exists, message)
}

/// What goes from one bridge to another is translated by one rule of each IP version.
fn check_once(rules: &Rules<'_>) -> Result<(), CtlError> {
    let mut owners = BTreeMap::new();
    for (&name, &rule) in rules {
        let (from, to, versions) = match rule {
            NatRule::Masquerade(rule) => {
                (&rule.from, &rule.to, [true, false].map(|v| rule.covers(v)))
            }
            NatRule::Prefix(rule) => (&rule.from, &rule.to, [false, true]),
            NatRule::Publish(_) => continue,
        };
        let is_prefix = matches!(rule, NatRule::Prefix(_));
        for version in [0, 1].into_iter().filter(|version| versions[*version]) {
            match owners.insert((from, to, version), (name, is_prefix)) {
                // Several prefixes between the same bridges are for different packets.
                Some((_, true)) if is_prefix => {}
                Some((other, _)) => {
                    let version = if version == 0 { "IPv4" } else { "IPv6" };
                    return Err(clash(other, name, &format!("{version} from {from} to {to}")));
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Ports that are taken, by address and first port, with the last one and the rule.
type Taken<'a> = BTreeMap<Option<IpAddr>, BTreeMap<u16, (u16, (&'a RuleName, &'a Publish))>>;

/// That a port leads to somebody already, by this rule.
pub(crate) fn published_already((name, present): (&RuleName, &Publish)) -> CtlError {
    let Publish { on, forward: Forward { protocol, ports, .. }, .. } = present;
    let to = present.target();
    CtlError::new(
        ErrorCode::Exists,
        format!(
            "{protocol} port {ports} on {on} leads to {to} already, by nat rule {name}; publish at another port, or `nat del` it first"
        ),
    )
}

/// A port outside leads to one container.
fn check_published_once(old: &Config, rules: &Rules<'_>) -> Result<(), CtlError> {
    let mut taken: BTreeMap<(&BridgeName, Protocol, bool), Taken<'_>> = BTreeMap::new();
    for (&name, &rule) in rules {
        let NatRule::Publish(publish) = rule else { continue };
        let Publish { on, forward, .. } = publish;
        let Forward { address, ports, container, protocol, .. } = forward;
        let taken = taken.entry((on, *protocol, container.is_ipv4())).or_default();
        let same =
            |other: &Option<IpAddr>| address.is_none() || other.is_none() || other == address;
        // The ranges of one address do not overlap, so that the last to begin is the only candidate.
        let mut candidates =
            taken.iter().filter(|(other, _)| same(other)).filter_map(|(_, ranges)| {
                let (_, (last, owner)) = ranges.range(..=ports.last()).next_back()?;
                (*last >= ports.first()).then_some(owner)
            });
        if let Some((other, owner)) = candidates.next() {
            let (new, present) = match old.nat.contains_key(name) {
                true => (*other, (name, publish)),
                false => (name, (*other, *owner)),
            };
            return Err(published_already(present).within("nat rule", new));
        }
        taken.entry(*address).or_default().insert(ports.first(), (ports.last(), (name, publish)));
    }
    Ok(())
}

/// A prefix is translated to one other from one bridge, and on one bridge it is the translation of one other.
fn check_prefixes_once(config: &Config) -> Result<(), CtlError> {
    let mut networks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, rule) in config.nat.iter() {
        let NatRule::Prefix(rule) = rule else { continue };
        networks.entry((&rule.from, "inside")).or_default().push((rule.inside, name));
        networks.entry((&rule.to, "outside")).or_default().push((rule.outside, name));
    }
    for ((bridge, side), networks) in networks {
        if let Some([(one, first), (_, second)]) = overlapping(networks) {
            return Err(clash(first, second, &format!("{one} {side} on {bridge}")));
        }
    }
    Ok(())
}
