//! What is to be said of a change that is made all the same: it may be otherwise than meant.

use crate::{Allowance, BridgeName, Config, NatRule, Network, Prefix};

impl Config {
    /// What is to be said of a network whose subnets other networks have as well. They are apart, so that it works, as long as nobody
    /// wants more.
    pub fn notes_on_subnets(&self, name: &BridgeName) -> Vec<String> {
        let others = self.networks.iter().filter(|(other, _)| *other != name);
        let own = self.networks.get(name);
        let pairs = others.flat_map(|(other, theirs)| {
            let shared = own.into_iter().flat_map(|own| in_common(own, theirs));
            shared.map(move |(own, theirs)| (own, other, theirs))
        });
        let note = |(own, other, theirs): (&Prefix, &BridgeName, &Prefix)| {
            format!(
                "{own} overlaps {theirs} of network {other}: the two are apart, no rule can join them (`route allow`), and a rule that leads \
                 to an address of both has to say which network it means (`--to`)"
            )
        };
        pairs.map(note).collect()
    }

    /// What is to be said of a port that is published of a container which does not answer.
    pub fn notes_on_publishing(&self, rule: &NatRule) -> Vec<String> {
        let NatRule::Publish(rule) = rule else { return Vec::new() };
        let home = self.container_bridge(rule).filter(|_| !rule.is_on_loopback());
        let Some(home) = home.filter(|home| self.is_internal(home)) else { return Vec::new() };
        let served = match self.shared_port(&rule.on) {
            Some(_) => "only programs of the host itself get an answer",
            None => "nobody gets an answer",
        };
        vec![format!(
            "network {home} is internal, and its containers have no route to who is outside: at this port {served}; connect the \
             container to another network too, and publish the port of its address there"
        )]
    }

    /// What is to be said of a way to or from containers that have no route there.
    pub fn notes_on_allowing(&self, Allowance { from, to }: &Allowance) -> Vec<String> {
        let ways = [(from, to, "begin nothing there"), (to, from, "answer nobody there")];
        let internal = ways.into_iter().filter(|(name, ..)| self.is_internal(name));
        let note = |(name, other, lost): (&BridgeName, &BridgeName, &str)| {
            format!(
                "network {name} is internal, and its containers have no route to {other}: they {lost}, unless they are given one \
                 (`network connect --route`); connect them to {other} too, or `network set {name} --internal false` and connect them anew"
            )
        };
        internal.map(note).collect()
    }
}

/// The subnets of one network and of another that overlap.
fn in_common<'a>(
    one: &'a Network,
    other: &'a Network,
) -> impl Iterator<Item = (&'a Prefix, &'a Prefix)> {
    let pairs = one.pools.keys().flat_map(|own| other.pools.keys().map(move |their| (own, their)));
    pairs.filter(|(own, their)| own.overlaps(their))
}
