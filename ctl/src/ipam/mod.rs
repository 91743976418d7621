//! Which address is whose: subnets ([`Pool`]), and the addresses of each that are given out ([`Lease`]).
//!
//! Pure, and without a clock: what is given next follows from what was given before, so that the answer is
//! the same after a restart. A lease is part of the configuration, which is saved before anybody hears of it.
//!
//! * No address is two owners', and none is ever given that is reserved, the gateway's, the network's own or
//!   its broadcast address.
//! * Addresses are given in order, each the next free one after the last that was given. One that was given back
//!   rests: it is given again only when no other is left, the one that rests longest first ([`Pool::MOST_RESTING`]
//!   are remembered). So nobody meets what is still addressed to the one before him, as long as that can be.
//! * IPv6 addresses are given in order too: they are short, and the same for whoever reads the state.

mod change;
mod choose;
mod pool;
mod span;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{CtlError, ErrorCode, Owner, PortName, Prefix};

pub use change::PoolChange;
pub(crate) use change::{differing, put};
pub use choose::{SUBNETS_IPV4, choose};
pub use pool::Pool;
pub use span::Span;

/// An address that is given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Whose it is.
    pub owner: Owner,
    /// The port that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// It was asked for by itself, and stays its owner's without a port, until it is released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// Why an address is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IpamError {
    /// All are taken.
    #[error(
        "no address of {subnet} is free: all {addresses} that it gives out are taken, by {leases} leases and {reserved} \
         reserved; see `ipam list` and `ipam audit`, or add a subnet"
    )]
    Exhausted {
        /// The subnet.
        subnet: Prefix,
        /// How many addresses it gives out.
        addresses: u64,
        /// How many of the leases are among them.
        leases: usize,
        /// How many others are reserved.
        reserved: u64,
    },
    /// Somebody else has it.
    #[error("address {addr} is {owner}'s already; `ipam list` shows the others'")]
    Taken {
        /// The address.
        addr: IpAddr,
        /// Whose it is.
        owner: Owner,
    },
    /// It is nobody's to have.
    #[error("address {addr} is {why}; choose another one")]
    Reserved {
        /// The address.
        addr: IpAddr,
        /// What it is.
        why: &'static str,
    },
    /// It is not of the subnet.
    #[error("address {addr} is not in {subnet}")]
    Elsewhere {
        /// The address.
        addr: IpAddr,
        /// The subnet.
        subnet: Prefix,
    },
}

impl From<IpamError> for CtlError {
    fn from(error: IpamError) -> Self {
        let code = match error {
            IpamError::Exhausted { .. } => ErrorCode::Unavailable,
            IpamError::Taken { .. } => ErrorCode::Exists,
            IpamError::Reserved { .. } | IpamError::Elsewhere { .. } => ErrorCode::Invalid,
        };
        Self::new(code, error.to_string())
    }
}
