//! Requests about rules.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::flow::{FlowId, FlowRule, Match};
use crate::{CtlError, Limit};

/// Rules to list, some at a time, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowList {
    /// How many at most; a thousand if not given.
    #[serde(default)]
    pub limit: Limit,
    /// Those behind this one: the last of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FlowId>,
}

/// Which rules are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKey {
    /// The one of this number.
    Id(FlowId),
    /// Those of just this match, whatever their priorities.
    Match(Match),
}

impl FromStr for FlowKey {
    type Err = CtlError;

    /// A number, or else a match.
    fn from_str(text: &str) -> Result<Self, CtlError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let id = text.parse::<FlowId>();
            return id.map(Self::Id).map_err(|error| CtlError::invalid(error.to_string()));
        }
        let matches = text.parse::<Match>();
        matches.map(Self::Match).map_err(|error| CtlError::invalid(error.to_string()))
    }
}

/// What the rules shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowReplace {
    /// The rules. Those that are there already keep their numbers and counters.
    pub rules: Vec<FlowRule>,
}
