//! Address translation.

use std::collections::HashMap;

use ctl::NatRule;
use ctl::response::NatInfo;
use flows::nat::Mapping;

use crate::control::switch::Switch;

/// What a rule has now.
#[derive(Debug, Clone, Copy, Default)]
struct Holding {
    sessions: u64,
    mappings: u64,
}

impl Switch {
    /// The rules of address translation, and how much each is used.
    pub fn translations(&self) -> Vec<NatInfo> {
        let holdings = self.holdings();
        let info = |(name, rule): (&ctl::RuleName, &NatRule)| {
            let usage = self.numbering().nat.get(name)?;
            let Holding { sessions, mappings } =
                holdings.get(&usage.rule()).copied().unwrap_or_default();
            let container_bridge = match rule {
                NatRule::Publish(rule) => self.config().container_bridge(rule).cloned(),
                NatRule::Masquerade(_) | NatRule::Prefix(_) => None,
            };
            Some(NatInfo {
                name: name.clone(),
                rule: rule.clone(),
                network: self.config().network_of_rule(rule).cloned(),
                container_bridge,
                sessions,
                mappings,
                begun: usage.begun(),
                exhausted: usage.refused(),
            })
        };
        self.config().nat.iter().filter_map(info).collect()
    }

    /// What each rule has, by its number.
    fn holdings(&self) -> HashMap<u32, Holding> {
        let mut holdings: HashMap<u32, Holding> = HashMap::new();
        for session in self.fleet_ref().tables().sessions.iter(self.now()) {
            if let Some(usage) = self.snapshot().translating(&session) {
                holdings.entry(usage.rule()).or_default().sessions += 1;
            }
        }
        for mapping in self.snapshot().translation().mappings.iter() {
            let Mapping { zone, outside, external, .. } = mapping;
            let rule = self.snapshot().translation().rule_of(zone, outside, external.ip);
            if let Some(rule) = rule {
                holdings.entry(rule.usage.rule()).or_default().mappings += 1;
            }
        }
        holdings
    }
}
