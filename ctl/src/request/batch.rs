//! Requests of several changes at once.

use serde::{Deserialize, Serialize};

use crate::Mutation;

/// Several changes, carried out one after the other, all or none of them: they are judged, kept and handed to the
/// workers as one. Only what is kept can be changed so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Mutation>,
}
