//! A laboratory for packet switches: containers made of namespaces, and real kernel traffic between them.
//!
//! A test, benchmark or demonstration makes [`Container`]s, connects them (with the switch that is to be
//! examined, or with [`topology`]'s veth pair and Linux bridge, to compare), and moves traffic along a
//! [`Path`]: [`tcp::stream`], [`udp::flood`] and [`mod@load`] for speed, [`rr`] for latency, [`transfer`] for
//! integrity, [`mod@ping`] for reachability, [`raw`] for single frames; [`conntrack`] lets time pass for the
//! kernel's connections. The traffic is made by the kernel's
//! own stack, or by packet sockets; no other program is needed.
//!
//! Every routine is bounded in time: a network that loses everything is reported as an error within
//! [`PATIENCE`], and no thread stays behind. A socket belongs to the namespace in which it was opened, so
//! the threads that move the traffic never enter one.
//!
//! Programs call [`test_main`] (tests) or [`hostnet::sandbox::enter`] (everything else) first, so
//! that they need no root and touch nothing outside. `unsafe` lives only in `sys.rs` and
//! `allocations.rs`.

pub mod allocations;
pub mod conntrack;
mod container;
pub mod cpu;
mod error;
mod harness;
pub mod load;
mod oneway;
mod path;
mod pattern;
pub mod ping;
pub mod raw;
pub mod rr;
mod sys;
pub mod tcp;
pub mod topology;
pub mod transfer;
pub mod udp;
mod waiting;

pub use container::{Container, Inhabitant};
pub use error::LabError;
pub use harness::{Need, Test, TestResult, test_main};
pub use path::{Cores, PATIENCE, Path};
pub use waiting::{eventually, within};
