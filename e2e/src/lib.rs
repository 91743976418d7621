//! Real container engines on a host of their own: a network namespace plays the host, in which the engine and the
//! switch run, and another one the world. The tests are in `tests/`, one program for each engine.
//!
//! * [`Host`]: the host and its world; [`Switch`]: `vswitchd` on it, or the Docker plugin in a process of its own;
//!   [`Docker`]: dockerd and containerd on it, started by hand; [`Podman`], which finds `vswitch-cni`; [`image`]: the image of both.
//! * [`process`]: a program that is ended with its value; [`Installed`]: what of the engines this system has.
//!
//! Call [`netlab::test_main`] in `main`, so that `/run`, where engines keep what they share, is this program's own.

pub mod docker;
pub mod host;
pub mod image;
pub mod installed;
pub mod podman;
pub mod process;
pub mod switch;

pub use docker::Docker;
pub use host::Host;
pub use installed::Installed;
pub use podman::Podman;
pub use process::{Process, ProcessError, eventually};
pub use switch::{Plugin, Switch};

/// What a step of a test gives, or why it failed.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
