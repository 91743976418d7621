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
//!   (`switch`).
//!
//! Source: SPEC.md and CONVENTIONS.md of containernetworking/cni. `docs/CONTAINERS.md` says key by key what is supported.
#![forbid(unsafe_code)]

mod add;
mod args;
mod check;
mod config;
mod delegate;
mod environment;
mod error;
mod fits;
mod label;
mod lease;
mod remove;
mod result;
mod runtime;
mod status;
mod switch;
mod version;
mod wanted;

use std::ffi::OsString;
use std::io::{self, Write};

use serde_json::{Map, Value};

pub use args::Args;
pub use config::{Ipam, Keys, NetConf, Range, Subnets, Tunnel, Valid, decode};
pub use delegate::Delegate;
pub use environment::{Attachment, Command, ContainerId, Environment, Sandbox};
pub use error::CniError;
pub use label::Label;
pub use result::{Address, Dns, Interface, Outcome, Route};
pub use runtime::{Aliases, Bandwidth, PortMapping, RequestedIp, ResolverSettings, RuntimeConfig};
pub use version::SpecVersion;

/// A command with its network.
struct Call {
    conf: NetConf,
    args: Args,
    path: Vec<std::path::PathBuf>,
    input: Vec<u8>,
}

impl Call {
    /// The other plugin that gives the addresses, if one does.
    fn delegate(&self) -> Result<Option<Delegate<'_>>, CniError> {
        let Ipam::Plugin(name) = &self.conf.ipam else { return Ok(None) };
        Delegate::find(name, &self.path, &self.input).map(Some)
    }
}

/// What the runtime reads from standard output, and by the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result, or the error; nothing for commands that have no result.
    pub said: Option<Value>,
    /// Whether it is an error.
    pub is_error: bool,
}

impl Answer {
    /// Writes it down.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_to(&self, output: &mut impl Write) -> io::Result<()> {
        match &self.said {
            Some(said) => writeln!(output, "{said}").and_then(|()| output.flush()),
            None => Ok(()),
        }
    }
}

/// Carries out what the environment asks for, on the network that is on standard input.
pub fn answer(variable: impl Fn(&str) -> Option<OsString>, input: io::Result<Vec<u8>>) -> Answer {
    let object = input.map_err(CniError::from).and_then(|input| Ok((decode(&input)?, input)));
    // An error speaks the version of the configuration, as far as that can be known.
    let version = object.as_ref().ok().and_then(|(object, _)| SpecVersion::of(object).ok());
    let done = Environment::read(variable).and_then(|environment| match environment.command {
        Command::Version => report(object.map(|(object, _)| object)).map(Some),
        _ => object.and_then(|(object, input)| carry_out(environment, object, input)),
    });
    match done {
        Ok(said) => Answer { said, is_error: false },
        Err(error) => {
            let report = error.report(version.unwrap_or(SpecVersion::NEWEST));
            Answer { said: Some(report), is_error: true }
        }
    }
}

/// The answer to VERSION. A configuration is not needed for it, nor one of a version that is spoken.
fn report(object: Result<Map<String, Value>, CniError>) -> Result<Value, CniError> {
    let version = object.and_then(|object| SpecVersion::of(&object));
    Ok(version.unwrap_or(SpecVersion::NEWEST).report())
}

fn carry_out(
    environment: Environment,
    object: Map<String, Value>,
    input: Vec<u8>,
) -> Result<Option<Value>, CniError> {
    let Environment { command, args, path } = environment;
    let call = Call { conf: NetConf::read(object)?, args, path, input };
    let version = call.conf.version;
    match &command {
        Command::Add(attachment, sandbox) => add::add(&call, attachment, sandbox).map(Some),
        Command::Del(attachment) => remove::del(&call, attachment).map(|()| None),
        Command::Check(attachment, sandbox) => {
            version.require(SpecVersion::V0_4_0, "CHECK")?;
            check::check(&call, attachment, sandbox).map(|()| None)
        }
        Command::Gc => {
            version.require(SpecVersion::V1_1_0, "GC")?;
            remove::gc(&call).map(|()| None)
        }
        Command::Status => {
            version.require(SpecVersion::V1_1_0, "STATUS")?;
            status::status(&call).map(|()| None)
        }
        Command::Version => Ok(Some(version.report())),
    }
}
