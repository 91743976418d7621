//! The host's networking as the switch sees it: namespaces, links, addresses, routes and device offloads.
//!
//! Everything goes to the kernel directly, by netlink, ioctl and `/proc`; no other program is needed. A
//! [`Netlink`] handle and the ethtool calls act on the network namespace of the thread that opened them
//! ([`Netns::run`] gets a thread there). Calls block for as long as the kernel takes, milliseconds at
//! most: they are for the control thread, tests and benchmarks, never for a worker.
//!
//! `unsafe` lives only in `sys.rs`.

mod error;
pub mod ethtool;
mod interface;
mod link;
mod monitor;
mod names;
mod netlink;
mod netns;
mod route;
pub mod sandbox;
pub mod sockets;
mod source;
mod sys;
mod uplink;

pub use error::HostError;
pub use interface::{Interface, await_ready, configure, readdress};
pub use link::{Link, MacBytes, Settings, Traffic};
pub use monitor::{LinkEvent, LinkMonitor};
pub use netlink::Netlink;
pub use netns::{Netns, NetnsId};
pub use uplink::{Uplink, UplinkEvent, UplinkMonitor};
