//! What a network is made of: the one place where its bridge, its tunnel and its masquerading come from.
//!
//! They are part of the configuration like those made by hand, so that everything that shows or carries out bridges,
//! tunnels and rules shows and carries out these. [`settle`] makes them what the networks and the uplinks say, after
//! every change; [`protect`] refuses changes of them that do not go through the network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::check::is_unique_local;
use crate::plan::touched;
use crate::{
    Bridge, BridgeName, Config, CtlError, End, ErrorCode, Masquerade, Mutation, NatRule, Network,
    PortName, Prefix, RuleName, Shape,
};

/// Makes what belongs to the networks what it should be, after a change of a configuration in which it was. That is looked at
/// only of networks that differ themselves or in what belongs to them, unless the uplinks do.
pub(crate) fn settle(before: &Config, config: &mut Config) {
    let present = config.clone();
    let ways_out = ways_out(&present);
    let names = match ways_out == self::ways_out(before) {
        true => disturbed(before, &present),
        false => present.networks.keys().collect(),
    };
    let concerned = names.into_iter().filter_map(|name| present.networks.get_key_value(name));
    let mut missing = Vec::new();
    for (name, network) in concerned {
        settle_link(config, name, network);
        missing.extend(settle_rules(config, name, network, &ways_out));
    }
    for rule in missing.into_iter().map(NatRule::Masquerade) {
        if let Some(name) = free_name(config, &rule) {
            config.nat.insert(name, rule);
        }
    }
}

/// The bridges of which, or of whose networks, tunnels or rules, something differs.
fn disturbed<'a>(before: &'a Config, config: &'a Config) -> BTreeSet<&'a BridgeName> {
    let networks = touched(&before.networks, &config.networks).map(|(name, _)| name);
    let bridges = touched(&before.bridges, &config.bridges).map(|(name, _)| name);
    let vxlans = touched(&before.vxlans, &config.vxlans).flat_map(|(_, both)| both).flatten();
    let rules = touched(&before.nat, &config.nat).flat_map(|(_, both)| both).flatten();
    let rules = rules.flat_map(NatRule::bridges);
    networks.chain(bridges).chain(vxlans.map(|vxlan| &vxlan.bridge)).chain(rules).collect()
}

/// Makes the bridge and the tunnel of a network what they should be.
fn settle_link(config: &mut Config, name: &BridgeName, network: &Network) {
    let present = config.bridges.get(name);
    let wanted = bridge(network, present);
    if present != Some(&wanted) {
        config.bridges.insert(name.clone(), wanted);
    }
    let overlay = network.settings.vxlan.as_ref();
    if let Some(vxlan) = overlay.and_then(|overlay| overlay.vxlan(name.clone())) {
        config.vxlans.insert(name.clone().into(), vxlan);
    }
}

/// Takes away the masquerades of a network that it should not have; returns those that it should have and has not.
fn settle_rules(
    config: &mut Config,
    name: &BridgeName,
    network: &Network,
    ways_out: &[WayOut<'_>],
) -> Vec<Masquerade> {
    let mut wanted = masquerades(ways_out, name, network);
    let mut gone = Vec::new();
    for (name, rule) in masquerades_from(config, name) {
        match wanted.iter().position(|wanted| wanted == rule) {
            Some(found) => _ = wanted.remove(found),
            None if network.masquerades() => gone.push(name.clone()),
            None => {}
        }
    }
    gone.iter().for_each(|name| drop(config.nat.remove(name)));
    wanted
}

/// The rules by which a bridge is masqueraded.
pub(crate) fn masquerades_from<'a>(
    config: &'a Config,
    bridge: &BridgeName,
) -> impl Iterator<Item = (&'a RuleName, &'a Masquerade)> + 'a {
    config.nat.marked(End::From(bridge.clone())).filter_map(|(name, rule)| match rule {
        NatRule::Masquerade(rule) => Some((name, rule)),
        NatRule::Publish(_) | NatRule::Prefix(_) => None,
    })
}

/// Takes away what belongs to a network that is about to go, or to become another one.
pub(crate) fn dismantle(config: &mut Config, name: &BridgeName, network: &Network) {
    config.bridges.remove(name);
    if network.settings.vxlan.is_some() {
        config.vxlans.remove(&PortName::from(name.clone()));
    }
    if network.masquerades() {
        let its: Vec<_> = masquerades_from(config, name).map(|(name, _)| name.clone()).collect();
        its.iter().for_each(|name| drop(config.nat.remove(name)));
    }
}

/// How a switch gets an uplink, for who is told that there is none.
pub const UPLINK_REMEDY: &str = "share the host's interface (`vswitchctl port add world --netdev eth0 --shared`), or give a bridge an \
                                 interface of its own, an address and a default route";

/// The bridges by which there is a way out: where a default route leads, and the switch has an address that
/// containers can be masqueraded as.
pub(crate) fn uplinks(config: &Config) -> impl Iterator<Item = (&BridgeName, &Bridge)> + '_ {
    config.routes.keys().filter_map(|name| uplink(config, name))
}

/// A bridge, if it is one of these.
fn uplink<'a>(config: &'a Config, name: &BridgeName) -> Option<(&'a BridgeName, &'a Bridge)> {
    let leads_out = |to: &Prefix| to.is_ipv4() && to.prefix_len() == 0;
    if !config.routes.get(name)?.keys().any(leads_out) || config.networks.contains_key(name) {
        return None;
    }
    config.bridges.get_key_value(name).filter(|(_, bridge)| bridge.outside(true).is_some())
}

/// The uplinks that are the switch's own, by which packets leave with the addresses of containers too: to these nobody's answers
/// come to the switch on an interface that the host shares.
pub(crate) fn own_uplinks(config: &Config) -> impl Iterator<Item = &BridgeName> + '_ {
    uplinks(config).map(|(name, _)| name).filter(|name| config.shared_port(name).is_none())
}

impl Config {
    /// The bridges that packets of a bridge may go out to as they are: those that it is allowed to reach, and from a network
    /// that is routed the uplinks of the switch's own, and back. From one with global addresses of IPv6 these too, where IPv4 is masqueraded.
    pub fn reached_from<'a>(
        &'a self,
        from: &'a BridgeName,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        let allowed = self.allowed.get(from).into_iter().flatten();
        let leaves = |network: &&Arc<Network>| is_routed(network) || goes_out_by_ipv6(network);
        let untranslated = self.networks.get(from).filter(leaves);
        let out = untranslated.into_iter().flat_map(|_| own_uplinks(self));
        allowed.chain(out).chain(self.routed_behind(from))
    }

    /// The containers for which the gateways of a bridge answer: its own, if they have no link in common, and on an
    /// uplink those of the networks that are routed.
    pub fn answered_on<'a>(&'a self, bridge: &'a BridgeName) -> impl Iterator<Item = IpAddr> + 'a {
        let networks = std::iter::once(bridge).chain(self.routed_behind(bridge));
        networks.flat_map(|network| self.parted_on(network)).map(|(ip, _)| ip)
    }

    /// The networks that are routed to an uplink.
    fn routed_behind<'a>(
        &'a self,
        name: &'a BridgeName,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        let own = uplink(self, name).filter(|(name, _)| self.shared_port(name).is_none());
        let networks = own.into_iter().flat_map(|_| &self.networks);
        networks.filter(|(_, network)| is_routed(network)).map(|(name, _)| name)
    }
}

fn is_routed(network: &Network) -> bool {
    network.settings.shape == Shape::Routed
}

/// Whether a network that is masqueraded has addresses of IPv6 that need not be.
fn goes_out_by_ipv6(network: &Network) -> bool {
    let is_global = |addr: IpAddr| addr.is_ipv6() && !is_unique_local(addr);
    network.masquerades() && network.gateways().any(|gateway| is_global(gateway.addr))
}

fn bridge(network: &Network, present: Option<&Bridge>) -> Bridge {
    let entered = present.cloned().unwrap_or_default();
    Bridge {
        mtu: network.settings.mtu,
        gateways: network.gateways().collect(),
        statics: entered.statics,
        neighbors: entered.neighbors,
        ..Bridge::default()
    }
}

/// An uplink, as far as masquerading goes.
#[derive(PartialEq, Eq)]
struct WayOut<'a> {
    bridge: &'a BridgeName,
    /// The host shares its interface: answers to addresses of containers do not come to the switch there.
    is_shared: bool,
    /// What IPv6 leaves with.
    ipv6: Option<IpAddr>,
}

impl<'a> WayOut<'a> {
    fn of(config: &Config, (name, bridge): (&'a BridgeName, &Bridge)) -> Self {
        let is_shared = config.shared_port(name).is_some();
        Self { bridge: name, is_shared, ipv6: bridge.outside(false) }
    }

    /// Whether an address of IPv6 leaves by it behind another one: unique local ones, which are nothing outside, and where answers
    /// to it would not come back global ones too. These are not hidden behind what is nothing outside itself.
    fn hides(&self, inside: IpAddr) -> bool {
        let hidden_by = |own| is_unique_local(inside) || self.is_shared && !is_unique_local(own);
        inside.is_ipv6() && self.ipv6.is_some_and(hidden_by)
    }
}

fn ways_out(config: &Config) -> Vec<WayOut<'_>> {
    uplinks(config).map(|way| WayOut::of(config, way)).collect()
}

/// One masquerade for each uplink.
fn masquerades(ways_out: &[WayOut<'_>], name: &BridgeName, network: &Network) -> Vec<Masquerade> {
    if !network.masquerades() {
        return Vec::new();
    }
    let rule = |way: &WayOut<'_>| Masquerade {
        ipv6: network.gateways().any(|gateway| way.hides(gateway.addr)),
        ..Masquerade::new(name.clone(), way.bridge.clone())
    };
    ways_out.iter().map(rule).collect()
}

fn is_networks(config: &Config, rule: &Masquerade) -> bool {
    config.networks.get(&rule.from).is_some_and(|network| network.masquerades())
}

/// The name that the rule would have if it were added by hand, or one like it that nobody has.
fn free_name(config: &Config, rule: &NatRule) -> Option<RuleName> {
    let first = rule.default_name().ok()?;
    let others = (2..).map_while(|number| format!("{first}-{number}").parse().ok());
    std::iter::once(first.clone()).chain(others).find(|name| !config.nat.contains_key(name))
}

impl Config {
    /// The network that a rule of address translation is of.
    pub fn network_of_rule<'a>(&self, rule: &'a NatRule) -> Option<&'a BridgeName> {
        match rule {
            NatRule::Masquerade(rule) => is_networks(self, rule).then_some(&rule.from),
            NatRule::Publish(_) | NatRule::Prefix(_) => None,
        }
    }

    /// The network that a tunnel is of.
    pub fn network_of_vxlan(&self, name: &PortName) -> Option<&BridgeName> {
        let bridge = &self.vxlans.get(name)?.bridge;
        let network: &Arc<Network> = self.networks.get(bridge)?;
        let is_its = network.settings.vxlan.is_some() && bridge.as_str() == name.as_str();
        is_its.then_some(bridge)
    }
}

/// That a change is not one of what belongs to a network.
///
/// # Errors
/// [`CtlError`], which says how it is changed.
pub(crate) fn protect(config: &Config, mutation: &Mutation) -> Result<(), CtlError> {
    let of = |what: String, network: &BridgeName, remedy: &str| {
        let message = format!("{what} is network {network}'s; {remedy}");
        Err(CtlError::new(ErrorCode::InUse, message))
    };
    match mutation {
        Mutation::BridgeDel(named) if config.networks.contains_key(&named.name) => {
            of(format!("bridge {}", named.name), &named.name, "remove it with `network rm`")
        }
        Mutation::BridgeSet(set) if config.networks.contains_key(&set.name) => {
            of(format!("bridge {}", set.name), &set.name, "change it with `network set`")
        }
        Mutation::NatDel(named) => {
            let rule = config.nat.get(&named.name);
            match rule.and_then(|rule| config.network_of_rule(rule)) {
                Some(network) => of(
                    format!("nat rule {}", named.name),
                    network,
                    &format!("take it away with `network set {network} --masquerade false`"),
                ),
                None => Ok(()),
            }
        }
        Mutation::NatAdd(add) => match config.network_of_rule(&add.rule) {
            Some(network) => of(
                format!("what {network} is masqueraded as"),
                network,
                &format!("to say it by hand, `network set {network} --masquerade false` first"),
            ),
            None => Ok(()),
        },
        Mutation::VxlanDel(named) => match config.network_of_vxlan(&named.name) {
            Some(network) => of(format!("vxlan {}", named.name), network, "use `network rm`"),
            None => Ok(()),
        },
        Mutation::VxlanSet(set) => match config.network_of_vxlan(&set.name) {
            Some(network) => {
                of(format!("vxlan {}", set.name), network, "change it with `network set`")
            }
            None => Ok(()),
        },
        _ => Ok(()),
    }
}
