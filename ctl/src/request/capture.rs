//! The request to capture frames.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::PortName;
use crate::flow::Match;

/// Frames to capture. They come as events, until there are enough or the client says no more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// Of these ports and tunnels; of all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortName>,
    /// Those that match this; all if not given. It means frames as they are where they are captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Match>,
    /// Those that are lost, with the reason, instead of those that come in and go out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drops: bool,
    /// So many; without end if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<NonZeroU64>,
    /// So many bytes of each at most; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<NonZeroU32>,
}
