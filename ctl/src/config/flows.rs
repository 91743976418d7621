//! [`Flows`]: the rules of a configuration.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::Table;
use crate::flow::{FlowId, FlowRule, Match};

/// The rules, by their numbers and by what they are for: one of a hundred thousand is found without a look at the
/// others. A copy shares what does not change, as a [`Table`] does, as which it is looked at and kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Table<FlowId, FlowRule>", into = "Table<FlowId, FlowRule>")]
pub struct Flows {
    rules: Table<FlowId, FlowRule>,
    /// The hash of each rule's match, and its number.
    by_match: OrdSet<(u64, FlowId)>,
}

impl Flows {
    /// Puts a rule in the place of that with its number, which comes back.
    pub fn insert(&mut self, id: FlowId, rule: FlowRule) -> Option<FlowRule> {
        let entry = (hash(&rule.matches), id);
        let before = self.rules.insert(id, rule);
        self.forget(id, before.as_ref());
        self.by_match.insert(entry);
        before
    }

    /// Takes a rule out.
    pub fn remove(&mut self, id: &FlowId) -> Option<FlowRule> {
        let removed = self.rules.remove(id);
        self.forget(*id, removed.as_ref());
        removed
    }

    /// The numbers of the rules with a match.
    pub fn of_match<'a>(&'a self, matches: &'a Match) -> impl Iterator<Item = FlowId> + 'a {
        let hash = hash(matches);
        let alike = self.by_match.range((hash, FlowId::FIRST)..);
        let alike = alike.take_while(move |(other, _)| *other == hash).map(|(_, id)| *id);
        alike.filter(move |id| self.rules.get(id).is_some_and(|rule| rule.matches == *matches))
    }

    /// The number of the rule that is known by the same priority and match.
    pub fn like(&self, rule: &FlowRule) -> Option<FlowId> {
        let is_it = |id: &FlowId| self.rules.get(id).is_some_and(|it| it.priority == rule.priority);
        self.of_match(&rule.matches).find(is_it)
    }

    fn forget(&mut self, id: FlowId, rule: Option<&FlowRule>) {
        if let Some(rule) = rule {
            self.by_match.remove(&(hash(&rule.matches), id));
        }
    }
}

/// The same everywhere: what is alike is compared besides.
fn hash(matches: &Match) -> u64 {
    let mut hasher = DefaultHasher::new();
    matches.hash(&mut hasher);
    hasher.finish()
}

impl Deref for Flows {
    type Target = Table<FlowId, FlowRule>;

    fn deref(&self) -> &Self::Target {
        &self.rules
    }
}

impl From<Table<FlowId, FlowRule>> for Flows {
    fn from(rules: Table<FlowId, FlowRule>) -> Self {
        let by_match = rules.iter().map(|(id, rule)| (hash(&rule.matches), *id)).collect();
        Self { rules, by_match }
    }
}

impl From<Flows> for Table<FlowId, FlowRule> {
    fn from(flows: Flows) -> Self {
        flows.rules
    }
}

/// What the index says follows from the rules.
impl PartialEq for Flows {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Flows {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few of each, so that they meet.
    fn rule(number: u8) -> FlowRule {
        let (priority, port) = (number % 3, number / 3 % 4);
        format!("{priority} tcp,dport={port} allow").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_rule_is_found_by_its_match_as_a_search_from_end_to_end_finds_it(
            steps in prop::collection::vec((0u32..6, any::<u8>(), any::<bool>()), 0..40)
        ) {
            let mut flows = Flows::default();
            for (id, number, is_put) in steps {
                let id = FlowId::try_from(id).unwrap();
                if is_put {
                    flows.insert(id, rule(number));
                } else {
                    flows.remove(&id);
                }
            }
            for wanted in (0..12).map(rule) {
                let those = flows.iter().filter(|(_, rule)| rule.matches == wanted.matches);
                let same = those.clone().find(|(_, rule)| rule.priority == wanted.priority);
                prop_assert_eq!(flows.like(&wanted), same.map(|(id, _)| *id));
                let those: Vec<_> = those.map(|(id, _)| *id).collect();
                prop_assert_eq!(flows.of_match(&wanted.matches).collect::<Vec<_>>(), those);
            }
            prop_assert_eq!(flows.by_match.len(), flows.len());
            prop_assert_eq!(&Flows::from(flows.rules.clone()).by_match, &flows.by_match);
        }
    }
}
