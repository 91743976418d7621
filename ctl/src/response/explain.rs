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

/// How the following of real packets ended. The packets came as events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowInfo {
    /// Packets that were followed.
    pub followed: u64,
    /// Packets that were followed as well, and came faster than they were taken.
    pub missed: u64,
}

/// A piece of a capture, which comes as an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturePiece {
    /// Whole blocks of a pcapng file, in base64 (RFC 4648 section 4).
    pub pcapng: String,
}

/// How a capture ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureInfo {
    /// Frames that were captured.
    pub frames: u64,
    /// Frames that should have been, and came faster than they were taken.
    pub missed: u64,
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
    /// Packets between the two that were lost lately, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostPacket>,
}

/// A packet between two ends that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPacket {
    /// The port where it was lost.
    pub port: String,
    /// `in`: it came by it; `out`: it should have left by it.
    pub side: String,
    /// The reason's name.
    pub reason: String,
    /// What the reason means, and what to do.
    pub explanation: String,
    /// When, in milliseconds before the answer.
    pub milliseconds_ago: u64,
    /// Its headers, for people.
    pub summary: String,
    /// It answers, and is none of who begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_answer: bool,
}
