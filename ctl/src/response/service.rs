//! Answers about services.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{BridgeName, Service, ServiceName};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Its name.
    pub name: ServiceName,
    /// What it is.
    pub service: Service,
    /// Its backends, in the same order, and how they do.
    pub backends: Vec<BackendInfo>,
    /// Sessions that it has now.
    pub sessions: u64,
    /// Sessions that it began so far.
    pub begun: u64,
}

/// A backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInfo {
    /// Its address and port.
    pub at: SocketAddr,
    /// Its bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
    /// Whether it gets sessions.
    pub state: BackendState,
    /// Sessions that it has now.
    pub sessions: u64,
    /// Sessions that it was given so far.
    pub begun: u64,
    /// Sessions that it did not take so far.
    pub failed: u64,
}

/// Whether a backend gets sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// It does.
    Up,
    /// It does not, and keeps those that it has.
    Draining,
    /// It did not take those that it was given, and gets another chance after so many seconds.
    Down {
        /// The seconds.
        seconds: u32,
    },
}
