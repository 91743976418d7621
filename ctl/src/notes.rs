//! What is to be said of a change that is made all the same: it may be otherwise than meant.

use std::collections::BTreeMap;

use crate::attach::attached;
use crate::check::{shown, subnets};
use crate::{
    Allowance, BridgeName, Config, Detach, IfName, IpCidr, NatRule, NetnsRef, NetworkDisconnect,
    NetworkSet, Port, PortKind, PortName, Prefix, Publish, RuleName,
};

impl Config {
    /// What is to be said of a port that has an address which another one has too.
    pub fn notes_on_addresses(&self, name: &PortName, port: &Port) -> Vec<String> {
        let segment = |port: &Port| (port.bridge.clone(), port.vlan.untagged());
        let own = segment(port);
        let note = |cidr: &IpCidr| {
            let has_it = |(other, it): &(&PortName, &Port)| {
                *other != name
                    && segment(it) == own
                    && it.kind.addresses().iter().any(|its| its.addr == cidr.addr)
            };
            let others =
                self.ports.iter().filter(has_it).map(|(other, _)| format!("port {other}'s"));
            let others: Vec<_> = others.collect();
            (!others.is_empty()).then(|| {
                format!(
                    "{} is {} on bridge {} too: packets to it go to whichever answered last; give one of them another",
                    cidr.addr,
                    shown(&others),
                    port.bridge
                )
            })
        };
        port.kind.addresses().iter().filter_map(note).collect()
    }

    /// What is to be said of a bridge or network whose subnets others have as well. They are apart, so that it works, as long as nobody
    /// wants more.
    pub fn notes_on_subnets(&self, name: &BridgeName) -> Vec<String> {
        let mut common: BTreeMap<Prefix, Vec<String>> = BTreeMap::new();
        for other in self.bridges.keys().filter(|other| *other != name) {
            let kind = if self.networks.contains_key(other) { "network" } else { "bridge" };
            let theirs = self.subnets_beside(other, name);
            for subnet in self.subnets_beside(name, other) {
                let its = theirs.iter().filter(|its| subnet.overlaps(its));
                let its: Vec<_> = its.map(|its| format!("{its} of {kind} {other}")).collect();
                if !its.is_empty() {
                    common.entry(subnet).or_default().extend(its);
                }
            }
        }
        let note = |(subnet, theirs): (Prefix, Vec<String>)| {
            format!(
                "{subnet} overlaps {}: they are apart, no rule can join them (`route allow`), and a rule that leads to an address of \
                 several has to say which of them it means (`--to`)",
                shown(&theirs)
            )
        };
        common.into_iter().map(note).collect()
    }

    /// The subnets of a bridge that it should not have in common with another one: of networks all that containers get addresses of.
    fn subnets_beside(&self, name: &BridgeName, other: &BridgeName) -> Vec<Prefix> {
        match (self.networks.get(name), self.networks.get(other)) {
            (Some(network), Some(_)) => network.pools.keys().copied().collect(),
            _ => subnets(self, name),
        }
    }

    /// What is to be said of a port that is published of a container which does not answer, or is not there.
    pub fn notes_on_publishing(&self, rule: &NatRule) -> Vec<String> {
        let NatRule::Publish(rule) = rule else { return Vec::new() };
        self.leads_to_silence(rule).or_else(|| self.leads_to_nobody(rule)).into_iter().collect()
    }

    /// What is to be said of a port that is published no more, of which the container's engine may believe that it is.
    pub fn notes_on_unpublishing(&self, name: &RuleName) -> Vec<String> {
        let port = self.nat.get(name).and_then(NatRule::port);
        let is_engines = |kind: &PortKind| matches!(kind, PortKind::Tap(tap) if tap.handover);
        let engines =
            port.filter(|port| self.ports.get(*port).is_some_and(|it| is_engines(&it.kind)));
        let note = |port: &PortName| {
            format!(
                "if the engine of port {port} published this, it still shows it, and publishes it anew when the container is started again"
            )
        };
        engines.map(note).into_iter().collect()
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
        let untranslated = self.leaves_untranslated(from, to);
        internal.map(note).chain(untranslated).collect()
    }

    /// What is to be said of a way to an interface that the host shares, where the packets would keep the containers' addresses.
    fn leaves_untranslated(&self, from: &BridgeName, to: &BridgeName) -> Option<String> {
        self.shared_port(to)?;
        let is_masqueraded = self.nat.values().any(
            |rule| matches!(rule, NatRule::Masquerade(rule) if rule.from == *from && rule.to == *to),
        );
        (!is_masqueraded).then(|| {
            format!(
                "packets from {from} leave by {to} with the containers' own addresses, and answers to these do not come to the switch on an \
                 interface that the host shares; run: vswitchctl nat masquerade add --from {from} --to {to}"
            )
        })
    }

    /// What is to be said of a network that is internal from now on, or no more: who has not the routes that go with that.
    pub fn notes_on_opening(&self, set: &NetworkSet, old: &Self) -> Vec<String> {
        let name = &set.name;
        let is_internal = self.is_internal(name);
        let Some(network) = self.networks.get(name) else { return Vec::new() };
        if old.is_internal(name) == is_internal {
            return Vec::new();
        }
        let is_left = |port: &&PortName| match self.ports.get(*port).map(|port| &port.kind) {
            Some(PortKind::Tap(tap)) => !tap.is_hosts() && (tap.handover || !is_internal),
            _ => false,
        };
        let left: Vec<_> =
            network.endpoints.keys().filter(is_left).map(ToString::to_string).collect();
        if left.is_empty() {
            return Vec::new();
        }
        let lacks = match is_internal {
            true => {
                "keep the default route that their engine gave them, and are reached and reach out by it"
            }
            false => "have no default route by it",
        };
        vec![format!(
            "containers that are on network {name} already {lacks}; disconnect and connect them anew: {}",
            shown(&left)
        )]
    }

    /// What is to be said of somebody who is not there to be detached: who is.
    pub fn not_attached(&self, detach: &Detach) -> Option<String> {
        if attached(self, detach).is_some() {
            return None;
        }
        let Detach { netns, ifname } = detach;
        let places = self.ports.values().filter_map(|port| {
            let (netns, ifname) = port.kind.interface();
            Some((netns?, ifname))
        });
        let there = listed(places, "nobody is");
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
        let places = containers()?.map(|(_, netns, ifname)| (netns, ifname));
        let there = listed(places, "no container is");
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
                "the switch has given {container} to nobody on {to} yet; the port leads there when somebody has it"
            )
        })
    }
}

/// The interfaces of containers, each with its namespace, or that there are none.
fn listed<'a>(places: impl Iterator<Item = (&'a NetnsRef, &'a IfName)>, none: &str) -> String {
    let places: Vec<_> = places.map(|(netns, ifname)| format!("{netns} ({ifname})")).collect();
    if places.is_empty() { none.to_owned() } else { shown(&places) }
}
