//! [`SpecVersion`]: the versions of the specification that the plugin speaks, and what each of them has.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::CniError;

/// A version of the specification, older ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecVersion {
    /// Chains of plugins.
    V0_3_1,
    /// CHECK, and `prevResult` on DEL.
    V0_4_0,
    /// Addresses no longer say which IP version they are of.
    V1_0_0,
    /// GC and STATUS; the MTU of interfaces; more about routes.
    V1_1_0,
}

impl SpecVersion {
    /// All of them, older ones first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of a network configuration. One that says nothing is of a version from before there was
    /// anything to say.
    ///
    /// # Errors
    /// [`CniError::Decode`] for what is no text, [`CniError::Version`] for a version that is not spoken.
    pub fn of(configuration: &Map<String, Value>) -> Result<Self, CniError> {
        let found = match configuration.get("cniVersion") {
            None => "0.1.0",
            Some(Value::String(version)) => version,
            Some(other) => {
                return Err(CniError::Decode(format!("cniVersion is {other}, which is no text")));
            }
        };
        found.parse()
    }

    /// The answer to VERSION.
    pub fn report(self) -> Value {
        json!({
            "cniVersion": self.as_str(),
            "supportedVersions": Self::ALL.map(Self::as_str),
        })
    }

    /// Refuses a command that this version of the specification does not have.
    ///
    /// # Errors
    /// [`CniError::TooOld`].
    pub fn require(self, since: Self, command: &'static str) -> Result<(), CniError> {
        if self >= since { Ok(()) } else { Err(CniError::TooOld { command, since, found: self }) }
    }
}

impl FromStr for SpecVersion {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        let known = Self::ALL.into_iter().find(|version| version.as_str() == text);
        known.ok_or_else(|| CniError::Version { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
