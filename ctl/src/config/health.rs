//! Checks of a service's backends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad};

/// How backends are checked, each from the gateway of its bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked of them.
    pub probe: Probe,
    /// The TCP port that is asked; the one that they serve at if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Seconds from one check of a backend to the next.
    #[serde(default = "interval")]
    pub interval: u32,
    /// Seconds in which it has to be answered, from its beginning on.
    #[serde(default = "timeout")]
    pub timeout: u32,
    /// Checks in a row that a backend does not pass until it is passed over.
    #[serde(default = "fall")]
    pub fall: u32,
    /// Checks in a row that it passes until it is given sessions again.
    #[serde(default = "rise")]
    pub rise: u32,
}

fn interval() -> u32 {
    HealthCheck::INTERVAL
}

fn timeout() -> u32 {
    HealthCheck::TIMEOUT
}

fn fall() -> u32 {
    HealthCheck::FALL
}

fn rise() -> u32 {
    HealthCheck::RISE
}

impl HealthCheck {
    /// Seconds between checks unless told otherwise.
    pub const INTERVAL: u32 = 5;
    /// Seconds for an answer unless told otherwise.
    pub const TIMEOUT: u32 = 2;
    /// Bad checks in a row unless told otherwise.
    pub const FALL: u32 = 3;
    /// Good checks in a row unless told otherwise.
    pub const RISE: u32 = 2;

    /// Checks with nothing particular about them.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            port: None,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            fall: Self::FALL,
            rise: Self::RISE,
        }
    }
}

/// What is asked of a backend, `tcp` or `http:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Probe {
    /// A connection.
    Tcp,
    /// This path, by HTTP, which is to be answered with a status of 200 to 399.
    Http(String),
}

impl Probe {
    /// The longest path, in bytes: a request is to fit into one packet.
    const MAX_PATH_BYTES: usize = 512;
}

impl FromStr for Probe {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "use tcp or http:PATH, such as http:/healthz; a path begins with /, has no spaces, and 512 bytes at most";
        let is_path = |path: &&str| {
            let is_sound = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            path.starts_with('/') && path.len() <= Self::MAX_PATH_BYTES && is_sound
        };
        let path = text.strip_prefix("http:").filter(is_path);
        match (text, path) {
            ("tcp", _) => Ok(Self::Tcp),
            (_, Some(path)) => Ok(Self::Http(path.to_owned())),
            _ => Err(bad("health check", text, RULE)),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.pad("tcp"),
            Self::Http(path) => f.pad(&format!("http:{path}")),
        }
    }
}

as_string!(Probe);
