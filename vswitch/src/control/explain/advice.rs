//! Why a packet goes no further, and what to do about it.

use std::net::IpAddr;

use ctl::response::{NetworkInfo, TraceOutcome};
use ctl::{
    BridgeName, CtlError, FiveTuple, Forward, NatRule, Party, PortKind, PortRange, Protocol,
    Publish, Sketch, UPLINK_REMEDY, Why,
};
use flows::{DropReason, Fate, Finding};

use super::party::Host;
use super::why::Leg;
use crate::control::switch::Switch;

impl Switch {
    /// That nothing is known of an end, and who could be named instead.
    pub(super) fn unknown(&self, party: &Party) -> CtlError {
        if let Party::Address(ip) = party
            && let Some(up) = self.shared_with(*ip)
        {
            return CtlError::invalid(format!(
                "{ip} is the host's own, on `{up}`: its programs reach published ports there and at 127.0.0.1, and containers by an interface \
                 of the host on their network, which `vswitchctl network set NETWORK --host-port` makes; name that one's address"
            ));
        }
        CtlError::not_found(format!(
            "nothing is known of any address of {party}; name an address that a port was given, or that somebody has used lately"
        ))
    }

    /// That it is not known where packets from an address come in, and how to say it.
    pub(super) fn unrouted(&self, ip: IpAddr, question: &Sketch) -> CtlError {
        CtlError::not_found(format!(
            "nothing is known of any address of {ip}, and no route leads to it by a router, from whom it would come; name an address that \
             a port was given, or that somebody has used lately, or the port by which it comes: vswitchctl trace PORT --like '{question}'"
        ))
    }

    /// Why a packet of a host goes no further, and what to do. `asked` is the conversation as rules see it.
    pub(super) fn reason(
        &self,
        why: &Why,
        (host, to): (&Host, IpAddr),
        (leg, asked): (&Leg, FiveTuple),
    ) -> String {
        let rule = leg.findings().find_map(|found| match found {
            Finding::Rule { decided: Some((id, _)) } => Some(id.0),
            _ => None,
        });
        match (leg.fate(), rule, &leg.info.outcome) {
            (Some(Fate::Dropped(DropReason::NoRoute | DropReason::NotAllowed)), ..) => {
                self.no_route(why, &host.bridge, to)
            }
            (Some(Fate::Dropped(DropReason::RuleDenied)), Some(rule), _) => {
                self.denied(rule, (host, to), asked)
            }
            (_, _, TraceOutcome::Dropped { reason, explanation }) if reason == "no-gateway" => {
                format!("{} sends nothing, because {explanation}", host.port)
            }
            (Some(Fate::Dropped(reason)), ..) => {
                let is_nowhere = matches!(reason, DropReason::NotTranslated | DropReason::Unserved);
                let hosts = is_nowhere.then(|| self.not_published(&host.bridge, to)).flatten();
                hosts.unwrap_or_else(|| reason.explain().to_owned())
            }
            _ => "it goes to somebody else".to_owned(),
        }
    }

    /// Why there is no way from a bridge to an address.
    fn no_route(&self, why: &Why, from: &BridgeName, to: IpAddr) -> String {
        let config = self.config();
        if let Some(hosts) = self.not_published(from, to) {
            return hosts;
        }
        let other = |name: &&BridgeName| *name != from;
        let mut others = config.bridges.keys().filter(other);
        match others.find(|name| config.gateway_for(name, to).is_some()) {
            Some(there) if config.shared_port(from).is_some() => {
                return self.only_published(why, from, (there, to));
            }
            Some(there) if config.shared_port(there).is_some() => {
                return self.not_masqueraded(from, there);
            }
            Some(there) => {
                return format!(
                    "bridge `{from}` may not reach `{there}`; run: vswitchctl route allow {from} {there}"
                );
            }
            None => {}
        }
        let hosts = self.hosts_of(&Party::Address(to)).unwrap_or_default();
        match hosts.iter().map(|host| &host.bridge).find(other) {
            Some(there) => format!(
                "bridge `{there}` has no gateway in the subnet of {to}; run: vswitchctl bridge set {there} \
                 --gateway CIDR"
            ),
            None if self.has_no_uplink(from) => {
                format!(
                    "no route leads from network `{from}` to {to}, as {}",
                    self.lack_of_uplink()
                )
            }
            None => format!(
                "no route leads from bridge `{from}` to {to}; `vswitchctl route list` shows those that there are"
            ),
        }
    }

    /// Why there is no uplink, and how there is one.
    fn lack_of_uplink(&self) -> String {
        let shared = self.config().ports.iter().find(|(_, port)| port.shared);
        match shared {
            Some((name, _)) => format!(
                "the host has no default route by the interface that port {name} shares; `ip route` on the host shows its routes"
            ),
            None => format!("there is no uplink yet by which it could leave; {UPLINK_REMEDY}"),
        }
    }

    /// Why packets do not leave by an interface that the host shares, which they do with its addresses only.
    fn not_masqueraded(&self, from: &BridgeName, there: &BridgeName) -> String {
        if self.config().is_internal(from) {
            return format!(
                "network `{from}` is internal; connect the container to another network too, or run: vswitchctl network set {from} \
                 --internal false"
            );
        }
        if self.has_no_uplink(from) {
            return format!("network `{from}` has no way out, as {}", self.lack_of_uplink());
        }
        format!(
            "bridge `{from}` may not reach `{there}`; run: vswitchctl nat masquerade add --from {from} --to {there}"
        )
    }

    /// Whether a network would have a way out if there was any.
    fn has_no_uplink(&self, network: &BridgeName) -> bool {
        let info = NetworkInfo::of(self.config(), network);
        let leads_out = self.config().networks.get(network).is_some_and(|it| it.masquerades());
        leads_out && info.is_some_and(|info| info.uplinks.is_empty())
    }

    /// The bridge on which an address is the host's, by an interface that the host shares.
    pub(super) fn shared_with(&self, ip: IpAddr) -> Option<&BridgeName> {
        let mut shared = self.config().shared_bridges().into_iter();
        shared.find(|(_, own)| own.contains(&ip)).map(|(name, _)| name)
    }

    /// Why nobody gets to the host's own address, and how else to get to the host; `None` where it is nobody's such address.
    fn not_published(&self, from: &BridgeName, to: IpAddr) -> Option<String> {
        let up = self.shared_with(to)?;
        if up == from {
            return Some(
                "nothing is published there, and what comes there is the host's to answer"
                    .to_owned(),
            );
        }
        let config = self.config();
        let on_it = config.ports.values().filter(|port| config.domain_of(port) == from);
        let mut ips = on_it.flat_map(|port| match &port.kind {
            PortKind::Tap(tap) if tap.is_hosts() => &tap.ips[..],
            _ => &[],
        });
        let own = ips.find(|own| own.addr.is_ipv4() == to.is_ipv4());
        let instead = match own {
            Some(own) => format!("the host is {} here", own.addr),
            None if config.networks.contains_key(from) => format!(
                "give the host an interface here, and use its address; run: vswitchctl network set {from} --host-port"
            ),
            None => {
                let vlan = config.bridges.get(from).and_then(|bridge| bridge.vlan_of.as_ref());
                let place = vlan
                    .map_or(from.to_string(), |of| format!("{} --access {}", of.bridge, of.vlan));
                format!(
                    "give the host an interface here, and use its address; run: vswitchctl port add {from}-host --bridge {place} --host IFNAME \
                     --ip CIDR"
                )
            }
        };
        Some(format!(
            "{to} is the host's own, on `{up}`, and nothing but published ports is reached there; {instead}"
        ))
    }

    /// Why nobody beyond an interface of the host's gets to a container by its own address, and by which he does.
    fn only_published(
        &self,
        why: &Why,
        on: &BridgeName,
        (there, to): (&BridgeName, IpAddr),
    ) -> String {
        let because =
            format!("beyond `{on}`, an interface of the host's, only published ports are reached");
        if self.config().is_internal(there) {
            return format!(
                "{because}, and network `{there}` is internal, so that its containers answer nobody there; connect the container to \
                 another network too, and publish the port there"
            );
        }
        if let Some(at) = self.published_at(why, on, (there, to)) {
            return format!("{because}; this one is, at {at}");
        }
        let asked = why.port.filter(|_| why.protocol.has_ports());
        let (what, protocol, outside, container_port) = match asked {
            Some(port) => ("run", why.protocol, port, port),
            None => ("publish one, such as by", Protocol::Tcp, 8080, 80),
        };
        let Some(ports) = self.free_port(on, protocol, outside) else { return because };
        let forward = Forward { address: None, ports, container: to, container_port, protocol };
        let rule = Publish { on: on.clone(), forward, to: None, port: None };
        let (forward, is_one) = (&rule.forward, self.config().container_bridge(&rule).is_some());
        let which = if is_one { String::new() } else { format!(" --to {there}") };
        format!("{because}; {what}: vswitchctl nat publish add {forward} --on {on}{which}")
    }

    /// The first port from one on that no rule publishes on a bridge.
    fn free_port(&self, on: &BridgeName, protocol: Protocol, from: u16) -> Option<PortRange> {
        let published = self.config().nat.values().filter_map(|rule| match rule {
            NatRule::Publish(rule) if rule.on == *on && rule.forward.protocol == protocol => {
                Some(rule.forward.ports)
            }
            _ => None,
        });
        let published: Vec<_> = published.collect();
        let is_free = |port: &u16| !published.iter().any(|ports| ports.contains(*port));
        (from..=u16::MAX).find(is_free).and_then(PortRange::one)
    }

    /// Where the port that is asked for is published already.
    fn published_at(
        &self,
        why: &Why,
        on: &BridgeName,
        (there, to): (&BridgeName, IpAddr),
    ) -> Option<String> {
        let port = why.port?;
        let outside = |rule: &Publish| {
            let Forward { ports, container, container_port, protocol, .. } = rule.forward;
            let is_his = container == to && self.config().container_bridge(rule) == Some(there);
            let is_it = rule.on == *on && is_his && protocol == why.protocol;
            let number = port.checked_sub(container_port)?.checked_add(ports.first())?;
            (is_it && ports.contains(number)).then_some((rule.forward.address, number))
        };
        let (address, number) = self.config().nat.values().find_map(|rule| match rule {
            NatRule::Publish(rule) => outside(rule),
            NatRule::Masquerade(_) | NatRule::Prefix(_) => None,
        })?;
        let own = self.config().bridges.get(on)?.gateways.iter().map(|own| own.addr);
        let first = address.or_else(|| own.into_iter().find(|own| own.is_ipv4() == to.is_ipv4()));
        Some(format!("{} port {number} of {}", why.protocol, first?))
    }
}
