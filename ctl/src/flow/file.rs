//! Rules in a file, one a line, and what has to be done to get from one set of rules to another.

use std::collections::HashMap;
use std::fmt;

use super::error::FlowSyntax;
use super::{FlowId, FlowRule, Match};
use crate::Table;

/// A line that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It cannot be understood.
    #[error(transparent)]
    Syntax(#[from] FlowSyntax),
    /// Another line has the same priority and match.
    #[error(
        "line {first} has the same priority and match already; only one of them can be meant: remove the other"
    )]
    Repeated {
        /// The other line.
        first: usize,
    },
}

/// All that is wrong with a file of rules, by lines, which are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRules(pub Vec<(usize, BadLine)>);

impl std::error::Error for BadRules {}

impl fmt::Display for BadRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (line, wrong)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}line {line}: {wrong}")?;
        }
        Ok(())
    }
}

/// Reads rules, one a line; `#` begins a comment.
///
/// # Errors
/// [`BadRules`], with everything that is wrong, not just the first.
pub fn parse_rules(text: &str) -> Result<Vec<FlowRule>, BadRules> {
    let mut rules = Vec::new();
    let mut wrong = Vec::new();
    let mut seen: HashMap<(u32, Match), usize> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Blanks before the rule stay: positions are those of the line.
        let line = line.split('#').next().unwrap_or_default().trim_end();
        if line.is_empty() {
            continue;
        }
        match line.parse::<FlowRule>() {
            Err(syntax) => wrong.push((number, syntax.into())),
            Ok(rule) => match seen.insert((rule.priority, rule.matches.clone()), number) {
                Some(first) => wrong.push((number, BadLine::Repeated { first })),
                None => rules.push(rule),
            },
        }
    }
    if wrong.is_empty() { Ok(rules) } else { Err(BadRules(wrong)) }
}

/// What has to be done to get from one set of rules to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleDiff {
    /// Rules that are new, in the order in which they were given.
    pub added: Vec<FlowRule>,
    /// Rules that are not there any more.
    pub removed: Vec<FlowId>,
    /// Rules of which actions or timeouts are others now; they keep their numbers, and so their counters.
    pub changed: Vec<(FlowId, FlowRule)>,
    /// How many rules stay as they are.
    pub kept: usize,
}

impl RuleDiff {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Does it. `None` when there are more rules than there are numbers.
    pub fn apply(self, rules: &Table<FlowId, FlowRule>) -> Option<Table<FlowId, FlowRule>> {
        let mut rules = rules.clone();
        self.removed.iter().for_each(|id| drop(rules.remove(id)));
        rules.extend(self.changed);
        for rule in self.added {
            rules.insert(FlowId::next(&rules)?, rule);
        }
        Some(rules)
    }
}

/// The difference between rules that there are and rules that there shall be. Rules are the same ones
/// if they have the same priority and match; of several such, the first is meant.
pub fn diff(old: &Table<FlowId, FlowRule>, new: &[FlowRule]) -> RuleDiff {
    let mut wanted: HashMap<_, _> =
        new.iter().rev().map(|rule| ((rule.priority, &rule.matches), rule)).collect();
    let mut diff = RuleDiff::default();
    for (id, rule) in old {
        match wanted.remove(&(rule.priority, &rule.matches)) {
            None => diff.removed.push(*id),
            Some(same) if same == rule => diff.kept += 1,
            Some(other) => diff.changed.push((*id, other.clone())),
        }
    }
    for rule in new {
        let left = wanted.remove(&(rule.priority, &rule.matches));
        diff.added.extend(left.cloned());
    }
    diff
}
