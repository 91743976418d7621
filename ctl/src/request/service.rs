//! Requests about services.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::given;
use crate::{Affinity, Balance, BridgeName, HealthCheck, Service, ServiceName, Target};

/// A service to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAdd {
    /// Its name.
    pub name: ServiceName,
    /// What it is.
    pub service: Service,
}

/// A service to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSet {
    /// Its name.
    pub name: ServiceName,
    /// See [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// See [`Service`]; `null`, which is `Some(None)`, for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Option<Affinity>>,
    /// See [`Service`]; `null`, which is `Some(None)`, for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub node_port: Option<Option<u16>>,
    /// See [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<BTreeSet<BridgeName>>,
    /// See [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
    /// See [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_timeout: Option<u32>,
    /// See [`Service`]; `null`, which is `Some(None)`, for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub health: Option<Option<HealthCheck>>,
}

impl ServiceSet {
    /// No change yet.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            balance: None,
            affinity: None,
            node_port: None,
            on: None,
            max_fails: None,
            fail_timeout: None,
            health: None,
        }
    }
}

/// Backends of a service that come, drain and go, in one step; safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceBackends {
    /// The service's name.
    pub name: ServiceName,
    /// They serve; those that drained do so no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Target>,
    /// They keep the sessions that they have, and get no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<Target>,
    /// They serve no more, and their sessions end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub del: Vec<Target>,
}
