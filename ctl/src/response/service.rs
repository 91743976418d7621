//! Answers about services.

use std::fmt;
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
    /// For how many seconds it has been up or down; not given if it was never down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u32>,
    /// Why it was passed over last; not given if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What checks say of it; not given if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
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
    /// It is passed over.
    Down {
        /// Seconds until it gets another chance; not given if that is for checks to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u32>,
    },
}

/// What was wrong with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It refused a connection, or a datagram.
    Refused,
    /// A connection was not answered in time.
    Silent,
    /// Nobody on the link answers for its address.
    Absent,
    /// A check's connection came about, and its request was not answered in time.
    Hanging,
    /// A check's connection ended before its request was answered.
    Closed,
    /// What answered a check's request was no HTTP.
    NotHttp,
    /// It answered a check's request with this HTTP status.
    Status(u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.pad("it refuses"),
            Self::Silent => f.pad("it does not answer"),
            Self::Absent => f.pad("it is not on its link"),
            Self::Hanging => f.pad("it does not answer requests"),
            Self::Closed => f.pad("it closes without an answer"),
            Self::NotHttp => f.pad("it speaks no HTTP"),
            Self::Status(status) => f.pad(&format!("it answers {status}")),
        }
    }
}

/// What checks say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checks {
    /// Nothing yet.
    Pending,
    /// It may get sessions.
    Passing,
    /// It may not.
    Failing,
    /// It cannot be checked: its bridge shares an interface with the host, whose answers these would be.
    Impossible,
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Passing => "passing",
            Self::Failing => "failing",
            Self::Impossible => "impossible",
        })
    }
}
