//! The messages of the protocol, with the names that Docker gives them. What a Go program leaves empty may come as
//! `null`, as nothing, or as an empty text; fields that are not known are passed over, because later versions add some.

pub mod ipam;
pub mod network;

use serde::{Deserialize, Deserializer, Serialize};

/// The answer where there is nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Nothing {}

/// What the plugin can do: the answer to `/Plugin.Activate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Activated {
    /// The drivers that it has.
    pub implements: [&'static str; 2],
}

/// A value, or what is there without one.
pub(crate) fn nullable<'de, T, D>(value: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(value).map(Option::unwrap_or_default)
}
