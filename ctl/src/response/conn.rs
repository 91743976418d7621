//! Answers about sessions.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{BridgeName, ConnState, FiveTuple, RuleName, ServiceName};

/// Some sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnPage {
    /// The sessions.
    pub sessions: Vec<ConnInfo>,
    /// Where to go on, if there are more. Sessions that begin or end in between may be missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnInfo {
    /// The bridge of the one who began.
    pub bridge: BridgeName,
    /// What the one who began sends.
    pub initiator: FiveTuple,
    /// The bridge of the one who answers.
    pub responder_bridge: BridgeName,
    /// What the one who answers sends: the reverse of the other, unless addresses are translated.
    pub responder: FiveTuple,
    /// How far it has come.
    pub state: ConnState,
    /// The state of a TCP connection, by the names of RFC 9293.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// The rule of address translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The service that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Seconds since it began.
    pub age_seconds: u32,
    /// Seconds since something was last said.
    pub idle_seconds: u32,
    /// Seconds after which it ends if nothing is said.
    pub expires_seconds: u32,
    /// From the one who began.
    pub sent: Volume,
    /// To the one who began.
    pub received: Volume,
    /// The kernel carries packets of it by itself (`vswitchd --offload`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_offloaded: bool,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An address that begins sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopInfo {
    /// The bridge.
    pub bridge: BridgeName,
    /// The address.
    pub address: IpAddr,
    /// Its sessions now.
    pub sessions: u64,
    /// The mappings that it holds now: ports outside that are taken.
    pub mappings: u64,
    /// What those sessions moved, both ways.
    pub moved: Volume,
}
