//! Rules: from names to numbers, and from one set to the next.
//!
//! There may be a hundred thousand rules, and most changes are of one. So a set is made from the one before by
//! what differs: rules that are new or other ones, and rules that name a port or bridge whose number
//! is another one now. A rule that names a port without a number, because its device is waited for, is left
//! out until there is one.

mod mentions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ctl::flow::{Criteria, FlowId, FlowRule, LimitRate, Match, StateSet, Step, Verdict, VlanMatch};
use ctl::{BridgeName, Config, Flows, PortName};
use flows::rules::{
    AddressSet, ConnState, ConnStates, FlagsMatch, IcmpMatch, LimitSpec, MacMatch, Meter, RangeSet,
    Rejection, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Scope, Timeouts, Unit,
};
use flows::{BridgeIndex, PortIndex, Vid};
use pktio::wire::MacAddr;

use super::Numbering;
use crate::random::random;
use mentions::{Mentions, Place};

/// The rules in force.
#[derive(Debug, Default)]
pub struct Rules {
    set: Arc<RuleSet>,
    /// What they were made of.
    flows: Flows,
    mentions: Mentions,
    numbers: Numbers,
}

/// The numbers of what rules name.
#[derive(Debug, Default)]
struct Numbers {
    ports: BTreeMap<PortName, PortIndex>,
    /// The bridges and networks of tunnels. What comes in by a tunnel is just that of its network, whichever
    /// remote it is from.
    tunnels: BTreeMap<PortName, (BridgeIndex, u32)>,
    bridges: BTreeMap<BridgeName, BridgeIndex>,
}

impl Numbers {
    fn of(config: &Config, numbering: &Numbering) -> Self {
        let ports = numbering.ports.iter().map(|(name, (index, _))| (name.clone(), *index));
        let bridges = numbering.bridges.iter().map(|(name, slot)| (name.clone(), slot.index));
        let tunnels = config.vxlans.iter().filter_map(|(name, tunnel)| {
            let bridge = numbering.bridges.get(&tunnel.bridge)?.index;
            Some((name.clone(), (bridge, tunnel.vni.number())))
        });
        Self { ports: ports.collect(), tunnels: tunnels.collect(), bridges: bridges.collect() }
    }

    /// What has not the number that it had before.
    fn differing(&self, before: &Self) -> BTreeSet<Place> {
        let ports = differing(&self.ports, &before.ports);
        let tunnels = differing(&self.tunnels, &before.tunnels);
        let bridges =
            differing(&self.bridges, &before.bridges).map(|name| Place::Bridge(name.clone()));
        ports.chain(tunnels).map(|name| Place::Port(name.clone())).chain(bridges).collect()
    }

    /// The bridge on which something is.
    fn bridge_of(&self, config: &Config, place: &Place) -> Option<BridgeIndex> {
        let bridge = match place {
            Place::Bridge(name) => name,
            Place::Port(name) => match self.tunnels.get(name) {
                Some((bridge, _)) => return Some(*bridge),
                None if self.ports.contains_key(name) => &config.ports.get(name)?.bridge,
                None => return None,
            },
        };
        self.bridges.get(bridge).copied()
    }
}

impl Rules {
    /// Makes the rules those of a configuration. Returns the numbers of those that are new: to be begun
    /// before the set is used.
    pub fn update(&mut self, config: &Config, numbering: &Numbering) -> Vec<RuleId> {
        let numbers = Numbers::of(config, numbering);
        let renumbered = numbers.differing(&self.numbers);
        let changed = self.mentions.update(&self.flows, &config.flows);
        let (mut removed, mut added, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for id in changed.into_iter().chain(self.mentions.of(&renumbered)).collect::<BTreeSet<_>>()
        {
            let Some(rule) = config.flows.get(&id) else {
                removed.push(rule_id(id));
                continue;
            };
            let is_known =
                |old: &FlowRule| (old.priority, &old.matches) == (rule.priority, &rule.matches);
            if !self.flows.get(&id).is_some_and(is_known) {
                new.push(rule_id(id));
            }
            match self.lower(rule_id(id), rule, &numbers) {
                Some(lowered) => added.push(lowered),
                None => removed.push(rule_id(id)),
            }
        }
        if !removed.is_empty() || !added.is_empty() {
            // Numbers of rules are below the limit in either world, and no rule is lowered twice.
            match self.set.updated(&removed, added) {
                Ok(set) => self.set = Arc::new(set),
                Err(error) => tracing::error!(%error, "the rules stay as they were"),
            }
        }
        self.flows = config.flows.clone();
        self.numbers = numbers;
        new
    }

    /// The set in force.
    pub fn set(&self) -> Arc<RuleSet> {
        Arc::clone(&self.set)
    }

    /// The rules that go away by themselves, with the time that they have.
    pub fn mortal(&self) -> impl Iterator<Item = (FlowId, Timeouts)> + '_ {
        self.mentions.mortal().filter_map(|id| Some((id, timeouts(self.flows.get(&id)?))))
    }

    /// The bridges on which rules could match. All ports of these are looked into, so that the answers are
    /// seen to what a rule let pass.
    pub fn bridges(&self, config: &Config) -> BTreeSet<BridgeIndex> {
        match self.mentions.matched() {
            Some(places) => {
                places.filter_map(|place| self.numbers.bridge_of(config, place)).collect()
            }
            None => self.numbers.bridges.values().copied().collect(),
        }
    }

    /// A rule in numbers; `None` when something that it names has none.
    fn lower(&self, id: RuleId, rule: &FlowRule, numbers: &Numbers) -> Option<Rule> {
        let before = self.set.get(id);
        let mut meters = before.into_iter().flat_map(meters).cloned();
        let mut steps = Vec::new();
        for step in rule.actions.steps() {
            steps.extend(lower_step(step, numbers, &mut meters)?);
        }
        let verdict = match rule.actions.verdict() {
            Verdict::Allow => flows::rules::Verdict::Allow,
            Verdict::Drop => flows::rules::Verdict::Drop,
            Verdict::Reject => flows::rules::Verdict::Reject(Rejection::ResetOrIcmp),
            Verdict::RejectIcmp => flows::rules::Verdict::Reject(Rejection::Icmp),
            Verdict::Forward(port) => flows::rules::Verdict::Forward(*numbers.ports.get(port)?),
        };
        Some(Rule {
            id,
            priority: rule.priority,
            matches: lower_match(rule.matches.criteria(), numbers)?,
            action: RuleAction { steps: steps.into(), verdict },
            timeouts: timeouts(rule),
        })
    }
}

/// The names of which the values are not the same.
fn differing<'a, K: Ord, V: PartialEq>(
    new: &'a BTreeMap<K, V>,
    old: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let changed = new.iter().filter(|(name, value)| old.get(name) != Some(value));
    let gone = old.keys().filter(|name| !new.contains_key(name));
    changed.map(|(name, _)| name).chain(gone)
}

/// The number of a rule, which is the same in either world.
pub fn rule_id(id: FlowId) -> RuleId {
    RuleId(id.number())
}

/// How long a rule lives.
fn timeouts(rule: &FlowRule) -> Timeouts {
    Timeouts { idle_seconds: rule.idle_timeout, hard_seconds: rule.hard_timeout }
}

fn meters(rule: &Rule) -> impl Iterator<Item = &Arc<Meter>> {
    rule.action.steps.iter().filter_map(|step| match step {
        flows::rules::Step::Limit(meter) => Some(meter),
        _ => None,
    })
}

/// A step in numbers, if there is anything to do; `None` when its port has no number. A limit that is what
/// it was goes on with its meter: `meters` are those of the rule before, in order.
fn lower_step(
    step: &Step,
    numbers: &Numbers,
    meters: &mut impl Iterator<Item = Arc<Meter>>,
) -> Option<Option<flows::rules::Step>> {
    use flows::rules::Step as Lowered;
    Some(Some(match step {
        Step::Count => return Some(None),
        Step::Mirror { port, snap_bytes } => {
            Lowered::Mirror { port: *numbers.ports.get(port)?, snap_bytes: *snap_bytes }
        }
        Step::SetVlan(vlan) => Lowered::SetVid(Vid(vlan.number())),
        Step::SetSrc(mac) => Lowered::SetSourceMac(MacAddr(mac.0)),
        Step::SetDst(mac) => Lowered::SetDestinationMac(MacAddr(mac.0)),
        Step::SetDscp(dscp) => Lowered::SetDscp(*dscp),
        Step::Limit(limit) => {
            let spec = limit_spec(limit);
            let kept = meters.next().filter(|meter| meter.spec() == spec);
            let fresh = || Arc::new(Meter::new(spec, u64::from_ne_bytes(random())));
            Lowered::Limit(kept.unwrap_or_else(fresh))
        }
    }))
}

fn limit_spec(limit: &ctl::flow::Limit) -> LimitSpec {
    let (rate, unit) = match limit.rate {
        LimitRate::Packets(packets) => (packets.into(), Unit::Frames),
        LimitRate::Bits(rate) => (rate.bits_per_second(), Unit::Bits),
    };
    let scope = if limit.per_source { Scope::Source } else { Scope::Rule };
    LimitSpec { rate, burst: limit.burst_units(), unit, scope }
}

/// A match in the numbers of a configuration; `None` when something that it names has none.
pub fn match_in_numbers(
    config: &Config,
    numbering: &Numbering,
    matches: &Match,
) -> Option<RuleMatch> {
    lower_match(matches.criteria(), &Numbers::of(config, numbering))
}

/// A match in numbers; `None` when something that it names has none.
fn lower_match(criteria: &Criteria, numbers: &Numbers) -> Option<RuleMatch> {
    let number = |name: &PortName| numbers.ports.get(name).copied();
    let tunnel = criteria.in_port.as_ref().and_then(|name| numbers.tunnels.get(name)).copied();
    let bridge = |name: &BridgeName| numbers.bridges.get(name).copied();
    let bridge = named(criteria.bridge.as_ref(), bridge)?;
    let vni = criteria.vni.map(|vni| vni.number());
    Some(RuleMatch {
        ingress: named(criteria.in_port.as_ref().filter(|_| tunnel.is_none()), number)?,
        bridge: agreed(bridge, tunnel.map(|(bridge, _)| bridge))?,
        source_mac: criteria.src_mac.map(mac_match),
        destination_mac: criteria.dst_mac.map(mac_match),
        ethertype: criteria.ethertype,
        vid: criteria.vlan.map(|vlan| match vlan {
            VlanMatch::None => Vid::NONE,
            VlanMatch::Id(vlan) => Vid(vlan.number()),
        }),
        source: criteria.src.as_ref().map(addresses),
        destination: criteria.dst.as_ref().map(addresses),
        protocol: criteria.proto,
        source_ports: criteria.sport.as_ref().map(ports),
        destination_ports: criteria.dport.as_ref().map(ports),
        tcp_flags: criteria
            .tcp_flags
            .map(|flags| FlagsMatch { value: flags.value, mask: flags.mask }),
        icmp: criteria.icmp_type.map(|kind| IcmpMatch { kind, code: criteria.icmp_code }),
        dscp: criteria.dscp,
        states: criteria.state.map(states),
        vni: agreed(vni, tunnel.map(|(_, vni)| vni))?,
    })
}

/// What both say, if either says anything; `None` when they contradict each other: nothing is both.
fn agreed<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
        (one, other) => Some(one.or(other)),
    }
}

/// The number of what is named, if anything is; `None` when it has none.
fn named<N, I>(name: Option<&N>, number: impl Fn(&N) -> Option<I>) -> Option<Option<I>> {
    match name {
        Some(name) => number(name).map(Some),
        None => Some(None),
    }
}

fn mac_match(mac: ctl::flow::MacMatch) -> MacMatch {
    MacMatch { value: MacAddr(mac.value), mask: MacAddr(mac.mask) }
}

fn addresses(set: &ctl::flow::AddressSet) -> AddressSet {
    set.prefixes().iter().map(|prefix| (prefix.addr(), prefix.prefix_len())).collect()
}

fn ports(set: &ctl::flow::PortSet) -> RangeSet<u16> {
    set.ranges().iter().copied().collect()
}

fn states(set: StateSet) -> ConnStates {
    let lowered = |state| match state {
        ctl::flow::ConnState::New => ConnState::New,
        ctl::flow::ConnState::Established => ConnState::Established,
        ctl::flow::ConnState::Related => ConnState::Related,
        ctl::flow::ConnState::Invalid => ConnState::Invalid,
    };
    set.iter().map(lowered).collect()
}

#[cfg(test)]
mod tests;
