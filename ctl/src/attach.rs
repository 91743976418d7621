//! Attaching a container: a TAP port that is named after the container, so that the same request finds
//! the same port.

mod same;

use std::fmt::Display;
use std::net::IpAddr;

use crate::check::is_link_local;
use crate::{
    Attach, BridgeName, Config, CtlError, Detach, ErrorCode, IfName, IpCidr, NetnsRef,
    NetworkConnect, Port, PortKind, PortName, RawNetns, Tap,
};
pub(crate) use same::differences;

/// The most bytes of a port's name.
const LONGEST_NAME: usize = 64;

impl Attach {
    /// The name of the port that it makes: after the namespace and the interface, so that the same
    /// container always has the same.
    ///
    /// # Errors
    /// [`CtlError`], when no valid name comes of it.
    pub fn port_name(&self) -> Result<PortName, CtlError> {
        port_name(&self.netns, &self.ifname)
    }

    /// The port that it makes.
    pub fn port(&self) -> Port {
        let tap = Tap {
            netns: Some(self.netns.clone()),
            mac: self.mac,
            ips: self.ips.clone(),
            gateways: self.gateways.clone(),
            ..Tap::new(self.ifname.clone())
        };
        let port = Port::new(self.bridge.clone(), PortKind::Tap(tap));
        Port { vlan: self.vlan.clone(), mtu: self.mtu, ..port }
    }

    /// The port that it makes of one that is there. What this request cannot say, such as isolation, stays as it is.
    fn over(&self, port: &Port, tap: &Tap) -> Port {
        let Port { bridge, kind, vlan, mtu, .. } = self.port();
        let kind = match kind {
            PortKind::Tap(own) => {
                let (routes, queues, handover) = (tap.routes.clone(), tap.queues, tap.handover);
                PortKind::Tap(Tap { routes, queues, handover, ..own })
            }
            netdev @ PortKind::Netdev { .. } => netdev,
        };
        Port { bridge, kind, vlan, mtu, ..port.clone() }
    }
}

pub(crate) fn difference(what: &str, has: impl Display, asked: impl Display) -> Option<String> {
    let (has, asked) = (has.to_string(), asked.to_string());
    (has != asked).then(|| format!("{what} {has}, not {asked}"))
}

pub(crate) fn list(items: &[impl Display]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

/// The name of the port that a namespace's interface is attached by: `web-eth0`, `pid4711-eth0`, `proc-7-fd-3-eth0`. The end of a long path tells it from others.
fn port_name(netns: &NetnsRef, ifname: &IfName) -> Result<PortName, CtlError> {
    let stem = match netns.raw() {
        RawNetns::Pid(pid) => format!("pid{pid}"),
        RawNetns::Name(name) => name.clone(),
        RawNetns::Path(path) => path.display().to_string().trim_matches('/').replace('/', "-"),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(plain).collect();
    let room = LONGEST_NAME - ifname.as_str().len() - 1;
    let start = stem.len().saturating_sub(room);
    let name = format!("{}-{ifname}", stem[start..].trim_start_matches(['-', '.', '_']));
    name.parse().map_err(|error| {
        CtlError::invalid(format!(
            "cannot name a port after namespace {netns}: {error}; use `port add`"
        ))
    })
}

impl NetworkConnect {
    /// The name of the port that it makes, like [`Attach::port_name`].
    ///
    /// # Errors
    /// [`CtlError`], when no valid name comes of it.
    pub fn port_name(&self) -> Result<PortName, CtlError> {
        port_name(&self.netns, &self.ifname)
    }
}

impl Config {
    /// What is to be said of a port's default gateways that are nobody's who is known on its bridge: they may be routers on the wire.
    /// One that the bridge's own routes lead to is.
    pub fn other_routers(&self, port: &Port) -> Vec<String> {
        let name = self.domain_of(port);
        let (PortKind::Tap(tap), Some(bridge)) = (&port.kind, self.bridges.get(name)) else {
            return Vec::new();
        };
        let note = |gateway: &IpAddr| {
            let own = bridge.gateways.iter().map(|own| own.addr);
            let own: Vec<_> = own.filter(|own| own.is_ipv4() == gateway.is_ipv4()).collect();
            let remedy = match (&own[..], is_link_local(*gateway)) {
                // Each link has routers of these, which nobody gives.
                ([], true) => return None,
                ([], false) => self.as_gateway(port, *gateway),
                _ => String::new(),
            };
            let is_known = own.contains(gateway) || self.is_somebodys(name, *gateway);
            (!is_known).then(|| {
                format!(
                    "{gateway} is no gateway of bridge {name} ({}): unless a router on it has this address, the container reaches nothing \
                     beyond{remedy}",
                    list(&own)
                )
            })
        };
        tap.gateways.iter().filter_map(note).collect()
    }

    /// Whether an address is known to be another's than the switch's on a bridge: that of a router, or of a container that may be one.
    fn is_somebodys(&self, name: &BridgeName, ip: IpAddr) -> bool {
        let mut routes = self.routes.get(name).into_iter().flatten();
        let has_it = |port: &Port| {
            self.domain_of(port) == name && port.kind.addresses().iter().any(|own| own.addr == ip)
        };
        routes.any(|(_, route)| route.via.contains(&ip)) || self.ports.values().any(has_it)
    }

    /// How the switch itself becomes the gateway that a port is given, where its bridge can have one.
    fn as_gateway(&self, port: &Port, gateway: IpAddr) -> String {
        let subnet = port.kind.addresses().iter().find(|own| own.contains(gateway));
        let is_plain = port.vlan.untagged().is_none() && !self.networks.contains_key(&port.bridge);
        let cidr = subnet.filter(|_| is_plain).map(|own| IpCidr { addr: gateway, ..*own });
        cidr.map_or_else(String::new, |cidr| {
            let name = &port.bridge;
            format!("; that the switch is it, run: vswitchctl bridge set {name} --gateway {cidr}")
        })
    }
}

/// Attaches a container, unless it is attached already just so.
pub(crate) fn attach(config: &mut Config, attach: &Attach) -> Result<(), CtlError> {
    let name = attach.port_name()?;
    let wanted = attach.port();
    let Some(existing) = config.ports.get(&name) else {
        config.ports.insert(name, wanted);
        return Ok(());
    };
    let taken = |why: String| Err(CtlError::new(ErrorCode::Exists, why));
    match &existing.kind {
        PortKind::Tap(tap) if existing.kind.interface() == wanted.kind.interface() => {
            let differences = differences(existing, &attach.over(existing, tap));
            if differences.is_empty() {
                return Ok(());
            }
            taken(format!(
                "namespace {} is attached already, by port {name}, otherwise: {}; `detach` it first",
                attach.netns,
                differences.join("; ")
            ))
        }
        _ => taken(format!("port name {name} is taken by another interface; use `port add`")),
    }
}

/// The port by which a container is attached, whoever named it.
pub(crate) fn attached(config: &Config, detach: &Detach) -> Option<PortName> {
    let wanted = (Some(&detach.netns), &detach.ifname);
    config
        .ports
        .iter()
        .find(|(_, port)| port.kind.interface() == wanted)
        .map(|(name, _)| name.clone())
}
