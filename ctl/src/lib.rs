//! The nouns an operator sees: configuration, requests, responses, errors, the wire protocol and its client.
//!
//! Pure, but for the [`Client`]'s socket: [`apply`] makes the next [`Config`] out of this one and a
//! [`Mutation`], [`plan`] says what has to be done to get from one to the other, and [`wire`] turns
//! requests and responses into lines. The daemon does the doing.
#![forbid(unsafe_code)]

mod apply;
mod attach;
mod check;
mod client;
mod config;
mod error;
mod names;
mod plan;
mod request;
pub mod response;
mod vlan;
pub mod wire;

pub use apply::apply;
pub use client::{Client, ClientError, DEFAULT_SOCKET};
pub use config::{
    Bridge, CONFIG_VERSION, Config, ConfigError, NetdevMode, Port, PortKind, StaticMac, Tap,
};
pub use error::{CtlError, ErrorCode};
pub use names::{BadName, BridgeName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, PortName, RawNetns};
pub use plan::{Action, plan};
pub use request::{
    Attach, BridgeAdd, BridgeSet, Detach, FdbFilter, FdbKey, FdbStatic, Mutation, Named, PortAdd,
    PortMove, PortSet, Query, Request,
};
pub use vlan::{Vlan, VlanId, VlanIds};
