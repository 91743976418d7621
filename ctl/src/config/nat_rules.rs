//! [`NatRules`]: the rules of address translation of a configuration.

use std::ops::Deref;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use super::nat::NatRule;
use crate::{BridgeName, RuleName, Table};

/// An end of a rule: the bridge that packets come from, or the one that they go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Packets that come from this bridge are translated, or those that come to it, where a port is published.
    From(BridgeName),
    /// They go to this one then.
    To(BridgeName),
    /// They go wherever the container's address is: the rule does not name a bridge.
    Unnamed,
}

/// The rules, by their names and by their ends: those of one of ten thousand networks are found without a look at the others'.
/// A copy shares what does not change, as a [`Table`] does, as which it is looked at and kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Table<RuleName, NatRule>", into = "Table<RuleName, NatRule>")]
pub struct NatRules {
    rules: Table<RuleName, NatRule>,
    by_end: OrdSet<(End, RuleName)>,
}

impl NatRules {
    /// Puts a rule in the place of that with its name, which comes back.
    pub fn insert(&mut self, name: RuleName, rule: NatRule) -> Option<NatRule> {
        let before = self.remove(&name);
        self.by_end.extend(rule.ends().map(|end| (end, name.clone())));
        self.rules.insert(name, rule);
        before
    }

    /// Takes a rule out.
    pub fn remove(&mut self, name: &RuleName) -> Option<NatRule> {
        let removed = self.rules.remove(name)?;
        for end in removed.ends() {
            self.by_end.remove(&(end, name.clone()));
        }
        Some(removed)
    }

    /// The rules with an end, in the order of their names.
    pub fn with_end(&self, end: End) -> impl Iterator<Item = (&RuleName, &NatRule)> + '_ {
        let from = (end.clone(), RuleName::BEFORE_ALL);
        let those = self.by_end.range(from..).take_while(move |(other, _)| *other == end);
        those.filter_map(|(_, name)| self.rules.get_key_value(name))
    }
}

impl NatRule {
    /// Where packets come from, and where they go to.
    fn ends(&self) -> [End; 2] {
        [End::From(self.from().clone()), self.to().cloned().map_or(End::Unnamed, End::To)]
    }
}

impl Deref for NatRules {
    type Target = Table<RuleName, NatRule>;

    fn deref(&self) -> &Self::Target {
        &self.rules
    }
}

impl From<Table<RuleName, NatRule>> for NatRules {
    fn from(rules: Table<RuleName, NatRule>) -> Self {
        let ends = |(name, rule): (&RuleName, &NatRule)| rule.ends().map(|end| (end, name.clone()));
        let by_end = rules.iter().flat_map(ends).collect();
        Self { rules, by_end }
    }
}

impl From<NatRules> for Table<RuleName, NatRule> {
    fn from(rules: NatRules) -> Self {
        rules.rules
    }
}

/// What the index says follows from the rules.
impl PartialEq for NatRules {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for NatRules {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Masquerade, Publish};

    fn bridge(number: u8) -> BridgeName {
        format!("br{}", number % 3).parse().unwrap()
    }

    /// Few of each, so that they meet.
    fn rule(number: u8) -> NatRule {
        let (one, other) = (bridge(number), bridge(number / 3));
        match number / 9 % 3 {
            0 => NatRule::Masquerade(Masquerade::new(one, other)),
            kind => NatRule::Publish(Publish {
                on: one,
                forward: "80:10.0.0.2:80/tcp".parse().unwrap(),
                to: (kind == 1).then_some(other),
                port: None,
            }),
        }
    }

    proptest! {
        #[test]
        fn a_rule_is_found_by_its_ends_as_a_search_from_end_to_end_finds_it(
            steps in prop::collection::vec((0u8..6, any::<u8>(), any::<bool>()), 0..40)
        ) {
            let mut rules = NatRules::default();
            for (name, number, is_put) in steps {
                let name: RuleName = format!("rule{name}").parse().unwrap();
                if is_put {
                    rules.insert(name, rule(number));
                } else {
                    rules.remove(&name);
                }
            }
            let ends = (0..3).flat_map(|it| [End::From(bridge(it)), End::To(bridge(it))]);
            for end in ends.chain([End::Unnamed]) {
                let those: Vec<_> =
                    rules.iter().filter(|(_, rule)| rule.ends().contains(&end)).collect();
                prop_assert_eq!(rules.with_end(end).collect::<Vec<_>>(), those);
            }
            prop_assert_eq!(rules.by_end.len(), rules.len() * 2);
            prop_assert_eq!(&NatRules::from(rules.rules.clone()).by_end, &rules.by_end);
        }
    }
}
