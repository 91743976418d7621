//! [`Flows`]: the rules of a configuration, found by what they are for.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::indexed::{Indexed, Marked};
use crate::flow::{FlowId, FlowRule, Match};

/// The rules, by their numbers and by what they are for.
pub type Flows = Indexed<FlowId, FlowRule>;

impl Flows {
    /// The numbers of the rules with a match.
    pub fn of_match<'a>(&'a self, matches: &'a Match) -> impl Iterator<Item = FlowId> + 'a {
        self.with_match(matches).map(|(id, _)| id)
    }

    /// The number of the rule that is known by the same priority and match.
    pub fn like(&self, rule: &FlowRule) -> Option<FlowId> {
        let mut alike = self.with_match(&rule.matches);
        alike.find(|(_, other)| other.priority == rule.priority).map(|(id, _)| id)
    }

    fn with_match<'a>(
        &'a self,
        matches: &'a Match,
    ) -> impl Iterator<Item = (FlowId, &'a FlowRule)> {
        let alike = self.marked(hash(matches)).filter(|(_, rule)| rule.matches == *matches);
        alike.map(|(id, rule)| (*id, rule))
    }
}

impl Marked for FlowRule {
    /// The hash of a match.
    type Mark = u64;

    fn marks(&self) -> impl Iterator<Item = u64> {
        [hash(&self.matches)].into_iter()
    }
}

/// The same everywhere: what is alike is compared besides.
fn hash(matches: &Match) -> u64 {
    let mut hasher = DefaultHasher::new();
    matches.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FlowRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_is_known_by_its_priority_and_its_match() {
        let texts = ["1 tcp,dport=80 allow", "2 tcp,dport=80 drop", "1 tcp,dport=81 allow"];
        let ids = [0, 1, 2].map(|number| FlowId::try_from(number).unwrap());
        let mut flows = Flows::default();
        for (id, text) in ids.into_iter().zip(texts) {
            flows.insert(id, rule(text));
        }
        assert_eq!(flows.like(&rule("2 tcp,dport=80 allow")), Some(ids[1]), "whatever it does");
        assert_eq!(flows.like(&rule("2 tcp,dport=81 allow")), None);
        let those: Vec<_> = flows.of_match(&rule("9 tcp,dport=80 allow").matches).collect();
        assert_eq!(those, ids[..2]);
    }
}
