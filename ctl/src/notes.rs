//! What is to be said of a change that is made all the same: it may be otherwise than meant.

use crate::attach::attached;
use crate::check::shown;
use crate::{
    Allowance, BridgeName, Config, Detach, NatRule, Network, NetworkDisconnect, PortKind, Prefix,
    Publish,
};

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

    /// What is to be said of a port that is published of a container which does not answer, or is not there.
    pub fn notes_on_publishing(&self, rule: &NatRule) -> Vec<String> {
        let NatRule::Publish(rule) = rule else { return Vec::new() };
        self.leads_to_silence(rule).into_iter().chain(self.leads_to_nobody(rule)).collect()
    }

    /// What is to be said of a port of a container on an internal network.
    fn leads_to_silence(&self, rule: &Publish) -> Option<String> {
        let home = self.container_bridge(rule).filter(|_| !rule.is_on_loopback())?;
        if !self.is_internal(home) {
            return None;
        }
        let served = match self.shared_port(&rule.on) {
            Some(_) => "only programs of the host itself get an answer",
            None => "nobody gets an answer",
        };
        Some(format!(
            "network {home} is internal, and its containers have no route to who is outside: at this port {served}; connect the \
             container to another network too, and publish the port of its address there"
        ))
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

    /// What is to be said of somebody who is not there to be detached: who is.
    pub fn not_attached(&self, detach: &Detach) -> Option<String> {
        if attached(self, detach).is_some() {
            return None;
        }
        let Detach { netns, ifname } = detach;
        let places = self.ports.values().filter_map(|port| {
            let (netns, ifname) = port.kind.interface();
            netns.map(|netns| format!("{netns} ({ifname})"))
        });
        let places: Vec<_> = places.collect();
        let there = if places.is_empty() { "nobody is".to_owned() } else { shown(&places) };
        Some(format!("namespace {netns} was not attached by {ifname}; attached: {there}"))
    }

    /// What is to be said of somebody who is not on a network to be disconnected: who is.
    pub fn not_connected(&self, request: &NetworkDisconnect) -> Option<String> {
        let NetworkDisconnect { network, netns, ifname } = request;
        let containers = || self.networks.get(network).map(|of| self.containers_on(of));
        if containers()?.any(|(_, netns, ifname)| request.means(netns, ifname)) {
            return None;
        }
        let by = ifname.as_ref().map_or(String::new(), |ifname| format!(" by {ifname}"));
        let places = containers()?.map(|(_, netns, ifname)| format!("{netns} ({ifname})"));
        let places: Vec<_> = places.collect();
        let there = if places.is_empty() { "no container is".to_owned() } else { shown(&places) };
        Some(format!("namespace {netns} was not on network {network}{by}; on it: {there}"))
    }

    /// What is to be said of a port that leads to an address which nobody was given: rules may be there before their containers.
    /// Where somebody is whose addresses are not known, it may be his.
    fn leads_to_nobody(&self, rule: &Publish) -> Option<String> {
        let (to, container) = (self.container_bridge(rule)?, rule.forward.container);
        let whole = self.bridges.get(to)?.vlan_of.as_ref().map_or(to, |vlan| &vlan.bridge);
        let may_have_it = |kind: &PortKind| {
            let ips = kind.addresses();
            ips.is_empty() || ips.iter().any(|cidr| cidr.addr == container)
        };
        let is_known = self.bridges.get(to)?.neighbors.iter().any(|known| known.ip == container);
        let is_somebodys = is_known
            || self.vxlans_of(whole).next().is_some()
            || self.ports_of(whole).any(|(_, port)| may_have_it(&port.kind));
        (!is_somebodys).then(|| {
            format!(
                "nobody on {to} has {container} now; the port leads there when somebody gets it"
            )
        })
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
