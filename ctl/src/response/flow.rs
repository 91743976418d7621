//! Answers about rules.

use serde::{Deserialize, Serialize};

use crate::flow::{FlowId, FlowRule, RuleDiff};

/// Some rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPage {
    /// The rules, by their numbers.
    pub flows: Vec<FlowInfo>,
    /// The number of the last one, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<FlowId>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// Its number.
    pub id: FlowId,
    /// What it is.
    pub rule: FlowRule,
    /// Packets that it was used for.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds since it was added.
    pub age_seconds: u32,
    /// Seconds since it was last used, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
}

/// How many rules are not what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowChanges {
    /// New ones.
    pub added: usize,
    /// Those that are no more.
    pub removed: usize,
    /// Those whose actions or timeouts are others.
    pub changed: usize,
    /// Those that are as they were.
    pub kept: usize,
}

impl From<&RuleDiff> for FlowChanges {
    fn from(diff: &RuleDiff) -> Self {
        Self {
            added: diff.added.len(),
            removed: diff.removed.len(),
            changed: diff.changed.len(),
            kept: diff.kept,
        }
    }
}
