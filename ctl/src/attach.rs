//! Attaching a container: a TAP port that is named after the container, so that the same request finds
//! the same port.

mod same;

use std::fmt::Display;
use std::net::IpAddr;

use crate::{
    Attach, Config, CtlError, Detach, ErrorCode, IfName, NetnsRef, NetworkConnect, Port, PortKind,
    PortName, RawNetns, Tap,
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
    /// What is to be said of a port's default gateways that are not those of its bridge: they may be routers on the wire. One that the
    /// bridge's own routes lead to is.
    pub fn other_routers(&self, port: &Port) -> Vec<String> {
        let name = self.domain_of(port);
        let (PortKind::Tap(tap), Some(bridge)) = (&port.kind, self.bridges.get(name)) else {
            return Vec::new();
        };
        let routes = self.routes.get(name);
        let routers = || routes.into_iter().flatten().flat_map(|(_, route)| &route.via);
        let note = |gateway: &IpAddr| {
            let own = bridge.gateways.iter().map(|own| own.addr);
            let own: Vec<_> = own.filter(|own| own.is_ipv4() == gateway.is_ipv4()).collect();
            let is_known = own.contains(gateway) || routers().any(|router| router == gateway);
            (!own.is_empty() && !is_known).then(|| {
                format!(
                    "{gateway} is no gateway of bridge {name} ({}): unless a router on it has this address, the container reaches nothing beyond",
                    list(&own)
                )
            })
        };
        tap.gateways.iter().filter_map(note).collect()
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
