//! What an answer to a change says beside itself, because the change may be a slip of the pen.

use crate::attach::attached;
use crate::check::shown;
use crate::{Config, Detach, NatRule, NetworkDisconnect, PortKind};

impl Config {
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
    pub fn leads_to_nobody(&self, rule: &NatRule) -> Option<String> {
        let NatRule::Publish(rule) = rule else { return None };
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
