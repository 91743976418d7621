//! [`Ways`]: where packets of each bridge may go, and the addresses that translated ones leave with.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ctl::{BridgeName, Config, NatRule};
use flows::Zone;

use super::nat::pools;

/// What the rules of a configuration say of bridges, looked up by their names: the rules are gone over once, however many
/// bridges there are.
#[derive(Debug)]
pub struct Ways<'a> {
    config: &'a Config,
    /// Where packets of a bridge are translated to, each with an IP version.
    translated: HashMap<&'a BridgeName, Vec<(&'a BridgeName, bool)>>,
    /// The addresses that masquerading uses on a bridge beside the gateway's own.
    lent: HashMap<&'a BridgeName, BTreeSet<IpAddr>>,
}

impl<'a> Ways<'a> {
    /// Goes over the rules.
    pub fn of(config: &'a Config) -> Self {
        let mut ways = Self { config, translated: HashMap::new(), lent: HashMap::new() };
        for rule in config.nat.values() {
            match rule {
                NatRule::Masquerade(rule) => {
                    let versions =
                        [true, false].into_iter().filter(|is_ipv4| rule.covers(*is_ipv4));
                    let to = versions.map(|is_ipv4| (&rule.to, is_ipv4));
                    ways.translated.entry(&rule.from).or_default().extend(to);
                    let pools = pools(config, rule, Zone(0), rule.ports);
                    let lent = pools.iter().flat_map(|pool| pool.addresses());
                    ways.lent.entry(&rule.to).or_default().extend(lent);
                }
                NatRule::Prefix(rule) => {
                    ways.translated.entry(&rule.from).or_default().push((&rule.to, false));
                }
                NatRule::Publish(_) => {}
            }
        }
        for (name, lent) in &mut ways.lent {
            let own = config.bridges.get(*name).into_iter().flat_map(|bridge| &bridge.gateways);
            own.for_each(|gateway| _ = lent.remove(&gateway.addr));
        }
        ways
    }

    /// The bridges that packets of a bridge may go out to, each with an IP version (`true`: IPv4): those that it is allowed to
    /// reach, by both, and those where it is translated, by what is.
    pub fn reachable(&self, from: &'a BridgeName) -> BTreeSet<(&'a BridgeName, bool)> {
        let by_both = |to| [(to, true), (to, false)];
        let allowed = self.config.reached_from(from).flat_map(by_both);
        allowed.chain(self.translated.get(from).into_iter().flatten().copied()).collect()
    }

    /// The addresses on a bridge that masquerading uses beside the gateway's own.
    pub fn lent_on(&self, bridge: &BridgeName) -> impl Iterator<Item = IpAddr> + '_ {
        self.lent.get(bridge).into_iter().flatten().copied()
    }

    /// The addresses of the switch on a bridge: those of its gateway, and what masquerading uses beside them.
    pub fn addresses_on(&self, name: &BridgeName) -> impl Iterator<Item = IpAddr> + '_ {
        let bridge = self.config.bridges.get(name).into_iter();
        let own = bridge.flat_map(|bridge| &bridge.gateways).map(|gateway| gateway.addr);
        own.chain(self.lent_on(name))
    }
}
