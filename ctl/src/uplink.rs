//! Bridges whose uplink is an interface that the host keeps: what the router is there is what the host is there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::check::{check_change, is_link_local};
use crate::loopback;
use crate::network::settle;
use crate::{
    BridgeName, Config, CtlError, ErrorCode, IpCidr, MacAddr, Masquerade, Port, PortName,
    PortRange, Prefix, Route,
};

/// What the host has on an interface that it shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUplink {
    /// The interface's MAC address.
    pub mac: MacAddr,
    /// The host's addresses there.
    pub addresses: Vec<IpCidr>,
    /// The host's routes by routers there.
    pub routes: BTreeMap<Prefix, Vec<IpAddr>>,
}

impl Config {
    /// The port by which a bridge shares an interface with the host.
    pub fn shared_port(&self, bridge: &BridgeName) -> Option<(&PortName, &Port)> {
        self.ports.iter().find(|(_, port)| port.shared && port.bridge == *bridge)
    }

    /// The ports outside that a masquerade uses. Those that nobody chose are, on an interface that is shared, ports that
    /// the host gives to nobody either by itself.
    pub fn masquerade_ports(&self, rule: &Masquerade) -> PortRange {
        if rule.chosen_ports().is_some() || self.shared_port(&rule.to).is_none() {
            rule.ports
        } else {
            PortRange::ABOVE_EPHEMERAL
        }
    }

    /// That a bridge's addresses and routes are not the host's, which alone changes them.
    pub(crate) fn check_own(&self, bridge: &BridgeName) -> Result<(), CtlError> {
        match self.shared_port(bridge) {
            Some((port, _)) => Err(CtlError::new(
                ErrorCode::InUse,
                format!(
                    "bridge {bridge} has the addresses and routes of the host's interface behind port {port}, and follows \
                     them; change them on the host, with `ip address` and `ip route`"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The configuration with a bridge that is, on its shared interface, what the host is there: of the host's addresses in
    /// one subnet the first; of its routes those whose routers are in these subnets, or link-local.
    ///
    /// # Errors
    /// [`CtlError`], when the rest of the configuration does not fit what the host has.
    pub fn following(&self, bridge: &BridgeName, host: &HostUplink) -> Result<Self, CtlError> {
        let mut next = self.clone();
        let Some(present) = next.bridges.get_mut(bridge) else { return Ok(next) };
        present.gateways = first_of_each_subnet(&host.addresses);
        present.gateway_mac = Some(host.mac);
        let subnets = present.gateways.clone();
        let is_near = |via: &IpAddr| {
            is_link_local(*via) || subnets.iter().any(|gateway| gateway.contains(*via))
        };
        let has_version =
            |to: &Prefix| subnets.iter().any(|own| own.addr.is_ipv4() == to.is_ipv4());
        let is_own = |to: &Prefix| subnets.iter().any(|gateway| gateway.subnet() == *to);
        let routes: BTreeMap<_, _> = host
            .routes
            .iter()
            .filter(|(to, via)| has_version(to) && !is_own(to) && via.iter().all(is_near))
            .map(|(to, via)| (*to, Route { via: via.clone() }))
            .collect();
        if routes.is_empty() {
            next.routes.remove(bridge);
        } else {
            next.routes.insert(bridge.clone(), routes);
        }
        settle(&mut next);
        loopback::settle(self, &mut next);
        check_change(self, &next)?;
        Ok(next)
    }

    /// Takes back what a bridge had of the host.
    pub(crate) fn unfollow(&mut self, bridge: &BridgeName) {
        if let Some(present) = self.bridges.get_mut(bridge) {
            present.gateways.clear();
            present.gateway_mac = None;
        }
        self.routes.remove(bridge);
        settle(self);
    }
}

fn first_of_each_subnet(addresses: &[IpCidr]) -> Vec<IpCidr> {
    let mut firsts: Vec<IpCidr> = Vec::new();
    for cidr in addresses {
        let overlaps = |first: &IpCidr| first.subnet().overlaps(&cidr.subnet());
        if !firsts.iter().any(overlaps) {
            firsts.push(*cidr);
        }
    }
    firsts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IfName, Mutation, Named, NetdevMode, PortAdd, PortKind, apply};

    fn shared() -> Config {
        let config = Config::default();
        let device: IfName = "eth0".parse().unwrap();
        let kind = PortKind::Netdev { device, netns: None, mode: NetdevMode::Auto };
        let port = Port { shared: true, ..Port::new("up".parse().unwrap(), kind) };
        let add = PortAdd { name: "up0".parse().unwrap(), port };
        apply(&config, &Mutation::PortAdd(Box::new(add))).unwrap()
    }

    fn host() -> HostUplink {
        let route = |to: &str, via: &str| (to.parse().unwrap(), vec![via.parse().unwrap()]);
        HostUplink {
            mac: "02:00:00:00:00:01".parse().unwrap(),
            addresses: ["192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64"]
                .map(|cidr| cidr.parse().unwrap())
                .to_vec(),
            routes: [
                route("0.0.0.0/0", "192.0.2.1"),
                route("::/0", "fe80::1"),
                route("198.51.100.0/24", "203.0.113.1"),
            ]
            .into(),
        }
    }

    #[test]
    fn a_bridge_is_what_the_host_is_on_the_interface_that_they_share() {
        let up: BridgeName = "up".parse().unwrap();
        let next = shared().following(&up, &host()).unwrap();
        let bridge = &next.bridges[&up];
        let gateways: Vec<_> = bridge.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["192.0.2.2/24", "2001:db8::2/64"]);
        assert_eq!(bridge.gateway_mac, Some(host().mac));
        let routes: Vec<_> = next.routes[&up].keys().map(ToString::to_string).collect();
        assert_eq!(routes, ["0.0.0.0/0", "::/0"], "a router elsewhere is none of this bridge's");
        let bare = HostUplink { addresses: Vec::new(), ..host() };
        let next = next.following(&up, &bare).unwrap();
        assert!(next.bridges[&up].gateways.is_empty() && next.routes.is_empty());
    }

    #[test]
    fn a_port_that_goes_takes_along_what_the_bridge_had_of_the_host() {
        let up: BridgeName = "up".parse().unwrap();
        let next = shared().following(&up, &host()).unwrap();
        let removal = Named { name: "up0".parse().unwrap(), if_exists: false };
        let next = apply(&next, &Mutation::PortDel(removal)).unwrap();
        assert!(next.bridges[&up].gateways.is_empty() && next.routes.is_empty());
    }

    #[test]
    fn masquerading_keeps_to_ports_that_the_host_does_not_give_away() {
        let (up, inside): (BridgeName, BridgeName) = ("up".parse().unwrap(), "in".parse().unwrap());
        let rule = Masquerade::new(inside.clone(), up.clone());
        assert_eq!(shared().masquerade_ports(&rule), PortRange::ABOVE_EPHEMERAL);
        let chosen = Masquerade { ports: "50000-50999".parse().unwrap(), ..rule };
        assert_eq!(shared().masquerade_ports(&chosen), chosen.ports);
        let elsewhere = Masquerade::new(up, inside);
        assert_eq!(shared().masquerade_ports(&elsewhere), PortRange::UNPRIVILEGED);
    }
}
