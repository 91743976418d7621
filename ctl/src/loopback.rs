//! Published ports on the host's own loopback, where no packet of an uplink ever comes: which they are, and the bridge
//! by which the daemon relays what comes there.
//!
//! A program on the host that connects to `127.0.0.1` speaks with another program on the host: the daemon listens there,
//! and passes on what it hears. For that it is a station of the switch like any other, alone on a bridge
//! ([`BridgeName::loopback`]) on which the same ports are published, in a namespace of its own that nobody else is in. So
//! the host gets no interface, no address and no route by it, and containers see the connection come from their gateway,
//! whatever other networks they are on.
//!
//! Bridge and port are part of the configuration, so that whatever shows or carries out bridges and ports shows and
//! carries out these. [`settle`] makes them with the first rule that needs them, and takes them away with the last.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use imbl::ordmap::DiffItem;

use crate::check::references;
use crate::{
    Bridge, BridgeName, Config, CtlError, ErrorCode, IfName, IpCidr, NatRule, Port, PortKind,
    PortName, Protocol, Publish, RuleName, Tap,
};

/// The switch's addresses and the daemon's, on a link that nobody else sees: of IPv4 out of what is set apart for such
/// links (RFC 7335), of IPv6 a unique local prefix.
const SWITCH: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 1), Ipv6Addr::new(0xfd6c, 0x6f6f, 0x7062, 0, 0, 0, 0, 1));
const DAEMON: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 2), Ipv6Addr::new(0xfd6c, 0x6f6f, 0x7062, 0, 0, 0, 0, 2));

/// Where the daemon listens on the host's loopback for a published port, and where that leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed<'a> {
    /// The rule.
    pub name: &'a RuleName,
    /// What it says.
    pub rule: &'a Publish,
    /// The address on the loopback.
    pub address: IpAddr,
}

impl Relayed<'_> {
    /// The ports, one after another, each with its address.
    pub fn listened(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let ports = self.rule.forward.ports;
        (ports.first()..=ports.last()).map(|port| SocketAddr::new(self.address, port))
    }

    /// Whether both say the same about the same ports.
    fn agrees_with(&self, other: &Self) -> bool {
        let meaning = |one: &Self| {
            let forward = one.rule.forward;
            (forward.ports, forward.container, forward.container_port, one.rule.to.clone())
        };
        meaning(self) == meaning(other)
    }
}

impl Publish {
    /// Whether it leads from the host's loopback, and from nowhere else.
    pub fn is_on_loopback(&self) -> bool {
        self.forward.address.is_some_and(|address| address.is_loopback())
    }
}

impl Config {
    /// The published ports that are relayed from the host's loopback: TCP and UDP ports that are published there and nowhere
    /// else, and those that are published on every address of a bridge that is, on its interface, what the host is.
    pub fn relayed(&self) -> impl Iterator<Item = Relayed<'_>> + '_ {
        let shared: BTreeSet<_> =
            self.ports.values().filter(|port| port.shared).map(|port| &port.bridge).collect();
        self.nat.iter().filter_map(move |(name, rule)| {
            let NatRule::Publish(rule) = rule else { return None };
            let address = loopback_of(rule, |bridge| shared.contains(bridge))?;
            Some(Relayed { name, rule, address })
        })
    }

    /// Whether the same ports are relayed as with another configuration, since nothing differs that they follow from.
    pub fn relays_as(&self, other: &Self) -> bool {
        self.nat == other.nat && !shares_otherwise(other, self)
    }

    /// The address by which the daemon reaches published ports from its own bridge.
    pub fn relay_gateway(is_ipv4: bool) -> IpAddr {
        if is_ipv4 { SWITCH.0.into() } else { SWITCH.1.into() }
    }
}

/// The address on the loopback from which a rule leads, if it is one.
fn loopback_of(rule: &Publish, is_shared: impl Fn(&BridgeName) -> bool) -> Option<IpAddr> {
    let forward = &rule.forward;
    let is_carried = matches!(forward.protocol, Protocol::Tcp | Protocol::Udp);
    match forward.address {
        _ if !is_carried => None,
        Some(address) => address.is_loopback().then_some(address),
        None if !is_shared(&rule.on) => None,
        None if forward.container.is_ipv4() => Some(Ipv4Addr::LOCALHOST.into()),
        None => Some(Ipv6Addr::LOCALHOST.into()),
    }
}

/// Makes the daemon's bridge and port after a change if a rule needs them, and takes them away if none does any more.
pub(crate) fn settle(before: &Config, next: &mut Config) {
    if !is_concerned(before, next) {
        return;
    }
    let name = BridgeName::loopback();
    let is_needed = next.relayed().next().is_some();
    let is_ours = next.ports.get(&PortName::from(name.clone())) == Some(&port());
    if is_needed && !next.bridges.contains_key(&name) {
        next.bridges.insert(name.clone(), bridge());
        next.ports.insert(name.into(), port());
    } else if !is_needed && is_ours && references(next, &name).len() == 1 {
        // Who refers to it otherwise, such as a rule about its packets, finds it when it is needed again.
        next.bridges.remove(&name);
        next.ports.remove(&PortName::from(name));
    }
}

/// Whether a change can have made a rule one that is relayed, or one that is not any more.
fn is_concerned(before: &Config, next: &Config) -> bool {
    let is_made = next.bridges.contains_key(&BridgeName::loopback());
    let is_relayed = |rule: &NatRule| {
        let is_shared = |bridge: &BridgeName| next.shared_port(bridge).is_some();
        matches!(rule, NatRule::Publish(rule) if loopback_of(rule, is_shared).is_some())
    };
    let concerns = |item| match item {
        DiffItem::Add(_, rule) | DiffItem::Update { new: (_, rule), .. } if !is_made => {
            is_relayed(rule)
        }
        DiffItem::Add(..) => false,
        DiffItem::Update { .. } | DiffItem::Remove(..) => is_made,
    };
    before.nat.diff(&next.nat).any(concerns) || shares_otherwise(before, next)
}

/// Whether other interfaces are shared with the host than before.
fn shares_otherwise(before: &Config, next: &Config) -> bool {
    let is_shared = |item: DiffItem<'_, '_, PortName, Port>| match item {
        DiffItem::Add(_, port) | DiffItem::Remove(_, port) => port.shared,
        DiffItem::Update { old: (_, old), new: (_, new) } => old.shared != new.shared,
    };
    before.ports.diff(&next.ports).any(is_shared)
}

fn cidr(addr: impl Into<IpAddr>) -> IpCidr {
    let addr = addr.into();
    IpCidr { addr, prefix_len: if addr.is_ipv4() { 29 } else { 64 } }
}

fn bridge() -> Bridge {
    Bridge { gateways: vec![cidr(SWITCH.0), cidr(SWITCH.1)], ..Bridge::default() }
}

fn port() -> Port {
    let kind = PortKind::Tap(Tap {
        ips: vec![cidr(DAEMON.0), cidr(DAEMON.1)],
        ..Tap::new(IfName::loopback())
    });
    Port::new(BridgeName::loopback(), kind)
}

/// That the daemon's bridge and port are what they have to be, if they are there.
///
/// # Errors
/// [`CtlError`].
pub(crate) fn check(config: &Config) -> Result<(), CtlError> {
    let name = BridgeName::loopback();
    let own = PortName::from(name.clone());
    let Some(present) = config.bridges.get(&name) else {
        return match config.has_port(&own) {
            true => Err(reserved(&name)),
            false => Ok(()),
        };
    };
    let made = bridge();
    let is_made = (&present.gateways, present.mtu, present.gateway_mac)
        == (&made.gateways, made.mtu, made.gateway_mac);
    let mut ports = config.ports_of(&name);
    let is_alone =
        ports.all(|(other, _)| *other == own) && config.vxlans_of(&name).next().is_none();
    let is_there = config.ports.get(&own).is_some_and(|present| *present == port());
    if is_made && is_alone && is_there { Ok(()) } else { Err(reserved(&name)) }
}

/// That something is not on the daemon's bridge, where the daemon publishes.
///
/// # Errors
/// [`CtlError`].
pub(crate) fn check_elsewhere<'a>(
    mut bridges: impl Iterator<Item = &'a BridgeName>,
) -> Result<(), CtlError> {
    bridges.find(|name| name.is_loopback()).map_or(Ok(()), |name| Err(reserved(name)))
}

fn reserved(name: &BridgeName) -> CtlError {
    let message = format!(
        "bridge and port {name} are the daemon's own, for ports that are published on the host's loopback: they come and \
         go with these, and stay as they are; use another name"
    );
    CtlError::new(ErrorCode::InUse, message)
}

/// A port of the loopback leads to one container, from whichever of its addresses.
///
/// # Errors
/// [`CtlError`], which names the rules.
pub(crate) fn check_once(old: &Config, config: &Config) -> Result<(), CtlError> {
    if config.relays_as(old) {
        return Ok(());
    }
    let mut relayed: Vec<_> = config.relayed().collect();
    let of = |one: &Relayed<'_>| {
        (one.rule.forward.protocol, one.address.is_ipv4(), one.rule.forward.ports)
    };
    relayed.sort_by_key(of);
    let mut widest: Option<Relayed<'_>> = None;
    for one in relayed {
        let (protocol, is_ipv4, ports) = of(&one);
        if let Some(other) =
            widest.filter(|other| (of(other).0, of(other).1) == (protocol, is_ipv4))
        {
            if ports.overlaps(&of(&other).2) && !one.agrees_with(&other) {
                let message = format!(
                    "nat rules {} and {} both lead from {protocol} port {ports} of the host's loopback; publish one of them \
                     at an address of its bridge alone, or at another port",
                    other.name, one.name
                );
                return Err(CtlError::new(ErrorCode::Exists, message));
            }
            if of(&other).2.last() >= ports.last() {
                continue;
            }
        }
        widest = Some(one);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mutation, Named, NatAdd, NetdevMode, PortAdd, apply};

    /// An uplink that shares the host's interface, another that does not, and a bridge with containers.
    fn config() -> Config {
        let mut config = Config::default();
        for (name, gateways) in [
            ("shared", vec!["192.0.2.2/24", "2001:db8::2/64"]),
            ("own", vec!["198.51.100.2/24"]),
            ("inside", vec!["10.0.0.1/24", "fd00::1/64"]),
        ] {
            let gateways = gateways.iter().map(|cidr| cidr.parse().unwrap()).collect();
            config.bridges.insert(name.parse().unwrap(), Bridge { gateways, ..Bridge::default() });
        }
        let device: IfName = "eth0".parse().unwrap();
        let kind = PortKind::Netdev { device, netns: None, mode: NetdevMode::Auto };
        let port = Port { shared: true, ..Port::new("shared".parse().unwrap(), kind) };
        apply(&config, &Mutation::PortAdd(Box::new(PortAdd { name: "up0".parse().unwrap(), port })))
            .unwrap()
    }

    fn publish(config: &Config, name: &str, forward: &str, on: &str) -> Result<Config, CtlError> {
        let (on, forward) = (on.parse().unwrap(), forward.parse().unwrap());
        let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
        apply(config, &Mutation::NatAdd(NatAdd { name: Some(name.parse().unwrap()), rule }))
    }

    fn revoke(config: &Config, name: &str) -> Config {
        let named = Named { name: name.parse().unwrap(), if_exists: false };
        apply(config, &Mutation::NatDel(named)).unwrap()
    }

    #[test]
    fn what_is_the_hosts_and_what_is_the_loopbacks_is_relayed() {
        let cases = [
            ("8080:10.0.0.2:80/tcp", "shared", Some("127.0.0.1")),
            ("8080:[fd00::2]:80/udp", "shared", Some("::1")),
            ("192.0.2.2:8080:10.0.0.2:80/tcp", "shared", None),
            ("8080:10.0.0.2:80/sctp", "shared", None),
            ("8080:10.0.0.2:80/tcp", "own", None),
            ("127.0.0.1:8080:10.0.0.2:80/tcp", "own", Some("127.0.0.1")),
            ("127.0.0.5:8080:10.0.0.2:80/tcp", "inside", Some("127.0.0.5")),
            ("[::1]:8080:[fd00::2]:80/tcp", "inside", Some("::1")),
        ];
        for (forward, on, expected) in cases {
            let config = publish(&config(), "web", forward, on).unwrap();
            let at: Vec<_> = config.relayed().map(|one| one.address.to_string()).collect();
            assert_eq!(at, Vec::from_iter(expected), "{forward} on {on}");
            let is_made = config.bridges.contains_key(&BridgeName::loopback());
            assert_eq!(is_made, expected.is_some(), "{forward} on {on}");
        }
    }

    #[test]
    fn the_daemons_bridge_comes_with_the_first_rule_and_goes_with_the_last() {
        let before = config();
        let one = publish(&before, "one", "8080:10.0.0.2:80/tcp", "shared").unwrap();
        let two = publish(&one, "two", "[::1]:81:[fd00::2]:80/tcp", "inside").unwrap();
        assert_eq!((&one.bridges, &one.ports), (&two.bridges, &two.ports));
        let one_again = revoke(&two, "one");
        assert_eq!(one_again.bridges, one.bridges);
        assert_eq!(revoke(&one_again, "two"), before);
        // The interface stays the host's: with it goes what it was for.
        let mut alone = one.clone();
        alone.nat = Default::default();
        settle(&one, &mut alone);
        assert_eq!(alone.bridges, before.bridges);
    }

    #[test]
    fn nobody_else_has_the_daemons_bridge_or_a_port_on_it() {
        let config = publish(&config(), "web", "8080:10.0.0.2:80/tcp", "shared").unwrap();
        let requests = [
            r#"bridge.add {"name":"host-loopback","may_exist":false}"#,
            r#"bridge.del {"name":"host-loopback"}"#,
            r#"bridge.set {"name":"host-loopback","gateways":["10.9.0.1/24"]}"#,
            r#"port.del {"name":"host-loopback"}"#,
            r#"port.set {"name":"host-loopback","isolated":true}"#,
            r#"port.add {"name":"x","port":{"bridge":"host-loopback","kind":{"tap":{}}}}"#,
            r#"nat.add {"rule":{"publish":{"on":"host-loopback","forward":"99:10.0.0.2/tcp"}}}"#,
            r#"nat.add {"rule":{"masquerade":{"from":"host-loopback","to":"own"}}}"#,
        ];
        for request in requests {
            let (op, args) = request.split_once(' ').unwrap();
            let line = format!(r#"{{"v":1,"id":1,"op":"{op}","args":{args}}}"#);
            let request = crate::wire::parse_request(line.as_bytes()).unwrap().request;
            let crate::Request::Mutation(mutation) = request else {
                panic!("{op} changes nothing")
            };
            assert!(apply(&config, &mutation).is_err(), "{line}");
        }
        let mut without = config.clone();
        without.nat = Default::default();
        settle(&config, &mut without);
        let add = crate::BridgeAdd::new(BridgeName::loopback());
        assert!(apply(&without, &Mutation::BridgeAdd(add)).is_err(), "the name is taken for good");
    }

    #[test]
    fn one_port_of_the_loopback_leads_to_one_container() {
        let config = publish(&config(), "web", "8080-8089:10.0.0.2:80/tcp", "shared").unwrap();
        let cases = [
            ("127.0.0.1:8085:10.0.0.3:80/tcp", false),
            ("127.0.0.9:8080:10.0.0.2:80/tcp", false),
            ("127.0.0.1:8080-8089:10.0.0.2:80/tcp", true),
            ("127.0.0.1:8085:10.0.0.3:80/udp", true),
            ("[::1]:8085:[fd00::3]:80/tcp", true),
            ("127.0.0.1:8090:10.0.0.3:80/tcp", true),
            ("127.0.0.1:8090:10.0.0.3:80/sctp", false),
        ];
        for (forward, is_possible) in cases {
            let published = publish(&config, "other", forward, "own");
            assert_eq!(published.is_ok(), is_possible, "{forward}: {:?}", published.err());
        }
    }
}
