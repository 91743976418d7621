//! Requests about address translation.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{BadName, bad, digits};
use crate::{NatRule, RuleName, Timeouts};

/// A rule to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatAdd {
    /// Its name; made of what it does if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RuleName>,
    /// What it does.
    pub rule: NatRule,
}

impl NatAdd {
    /// The name that it has or gets.
    ///
    /// # Errors
    /// [`BadName`], when no valid name comes of what it does.
    pub fn rule_name(&self) -> Result<RuleName, BadName> {
        self.name.clone().map_or_else(|| self.rule.default_name(), Ok)
    }
}

/// What sessions are kept by; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatSet {
    /// See [`crate::Tracking`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSet>,
    /// See [`crate::Tracking`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_checks: Option<bool>,
}

/// Timeouts in seconds; see [`Timeouts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TimeoutsSet {
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u32>,
    /// UDP without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_unreplied: Option<u32>,
    /// Established TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<u32>,
    /// TCP connections that begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_opening: Option<u32>,
    /// TCP connections that end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_closing: Option<u32>,
    /// ICMP queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<u32>,
    /// Everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<u32>,
}

impl TimeoutsSet {
    /// The timeouts after the change.
    pub(crate) fn over(&self, present: Timeouts) -> Timeouts {
        Timeouts {
            udp: self.udp.unwrap_or(present.udp),
            udp_unreplied: self.udp_unreplied.unwrap_or(present.udp_unreplied),
            tcp_established: self.tcp_established.unwrap_or(present.tcp_established),
            tcp_opening: self.tcp_opening.unwrap_or(present.tcp_opening),
            tcp_closing: self.tcp_closing.unwrap_or(present.tcp_closing),
            icmp: self.icmp.unwrap_or(present.icmp),
            other: self.other.unwrap_or(present.other),
        }
    }

    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            udp: self.udp.or(other.udp),
            udp_unreplied: self.udp_unreplied.or(other.udp_unreplied),
            tcp_established: self.tcp_established.or(other.tcp_established),
            tcp_opening: self.tcp_opening.or(other.tcp_opening),
            tcp_closing: self.tcp_closing.or(other.tcp_closing),
            icmp: self.icmp.or(other.icmp),
            other: self.other.or(other.other),
        }
    }
}

/// One timeout, `udp=300`.
impl FromStr for TimeoutsSet {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "write NAME=SECONDS, where the name is udp, udp-unreplied, tcp-established, tcp-opening, \
                            tcp-closing, icmp or other, such as udp=300";
        let wrong = || bad("timeout", text, RULE);
        let (name, seconds) = text.split_once('=').ok_or_else(wrong)?;
        let seconds = Some(digits(seconds).ok_or_else(wrong)?);
        let none = Self::default();
        Ok(match name {
            "udp" => Self { udp: seconds, ..none },
            "udp-unreplied" => Self { udp_unreplied: seconds, ..none },
            "tcp-established" => Self { tcp_established: seconds, ..none },
            "tcp-opening" => Self { tcp_opening: seconds, ..none },
            "tcp-closing" => Self { tcp_closing: seconds, ..none },
            "icmp" => Self { icmp: seconds, ..none },
            "other" => Self { other: seconds, ..none },
            _ => return Err(wrong()),
        })
    }
}
