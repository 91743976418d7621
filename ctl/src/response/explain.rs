//! Answers by which the switch explains itself.

use serde::{Deserialize, Serialize};

use crate::PortName;

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceInfo {
    /// The packet as it came, for people.
    pub packet: String,
    /// What was decided, in order.
    pub stages: Vec<TraceStage>,
    /// What became of it.
    pub outcome: TraceOutcome,
}

/// What one stage decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStage {
    /// The stage.
    pub stage: String,
    /// What it decided.
    pub decision: String,
    /// What decided it: the rule, route, station, neighbour, session or MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceOutcome {
    /// It left.
    Sent {
        /// By these ports.
        ports: Vec<PortName>,
        /// As this packet.
        packet: String,
    },
    /// The switch itself answered.
    Answered {
        /// With this packet.
        packet: String,
    },
    /// It waits.
    Held {
        /// For what.
        until: String,
    },
    /// It was dropped.
    Dropped {
        /// The reason's name.
        reason: String,
        /// What the reason means, and what to do.
        explanation: String,
    },
}

/// Whether one container reaches another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyInfo {
    /// Whether it does, and the answer comes back.
    pub reaches: bool,
    /// Why, in one sentence.
    pub sentence: String,
    /// The way there.
    pub forward: TraceInfo,
    /// The way back, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<TraceInfo>,
}
