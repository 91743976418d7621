//! A userspace packet switch for containers: the glue between the crates.
//!
//! ```text
//!   vswitchctl ──socket──► control thread ──lanes──► workers ──► ports
//!   (cli)                  (control)       (fleet)   (worker)    (pktio)
//! ```
//!
//! * `worker`: one turn of one worker: receive, decide (`flows`), transmit.
//! * `fleet`: the workers as the control thread sees them.
//! * `control`: the daemon: requests, configuration, state on disk, devices that come and go.
//! * `notify`: telling the service manager.
//! * `cli`: `vswitchctl`; `demo`: its demonstration.

pub mod cli;
pub mod control;
pub mod demo;
pub mod fleet;
pub mod notify;
mod random;
pub mod sys;
pub mod worker;
