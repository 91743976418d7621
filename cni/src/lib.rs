//! The switch as a plugin of the Container Network Interface (CNI), versions 0.3.1 to 1.1.0 of its
//! specification.
//!
//! A runtime (podman, containerd, CRI-O, Multus) runs `vswitch-cni` for each thing that it wants done, with the
//! container in the environment ([`Environment`]) and the network on standard input ([`NetConf`]), and reads a
//! result ([`Outcome`]) or an error ([`CniError`]) from standard output.
//!
//! * The plugin has no state: whatever it makes is an endpoint of a network in the daemon, whose owner says which network,
//!   container and interface of the runtime it is ([`Label`]). So DEL, CHECK and GC find it by asking, also after a
//!   crash of either, and whatever is bound to it (addresses, published ports, rates) goes when it goes.
//! * ADD is a transaction: when a step fails, what the steps before it made is taken back. One that is killed
//!   leaves an endpoint that DEL or GC finds.
//! * It talks to the daemon only by the control socket, and waits for an answer no longer than it says
//!   ([`Switch`]).
//!
//! Source: SPEC.md and CONVENTIONS.md of containernetworking/cni. `docs/CONTAINERS.md` says key by key what is supported.
#![forbid(unsafe_code)]

mod args;
mod config;
mod delegate;
mod environment;
mod error;
mod label;
mod result;
mod runtime;
mod switch;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};

use serde_json::Value;

pub use args::Args;
pub use config::{Ipam, Keys, NetConf, Range, Subnets, Tunnel, Valid, decode};
pub use delegate::Delegate;
pub use environment::{Attachment, Command, ContainerId, Environment, Sandbox};
pub use error::CniError;
pub use label::Label;
pub use result::{Address, Dns, Interface, Outcome, Route};
pub use runtime::{Aliases, Bandwidth, PortMapping, RequestedIp, ResolverSettings, RuntimeConfig};
pub use version::SpecVersion;
