//! From the command line to the request.

mod batch;
mod bridge;
mod conn;
mod container;
mod explain;
mod fdb;
mod flow;
mod ipam;
mod nat;
mod neighbor;
mod network;
mod port;
mod route;
mod service;
mod vxlan;

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ctl::flow::{BadRules, FlowSyntax};
use ctl::{BadName, IpCidr, Query, Request, TrafficFilter};

use super::args::{Command, TrafficOptions};
use batch::BadLines;
pub use batch::{Refused, Script};

/// Why no request comes of a command. Nobody was asked then.
#[derive(Debug, thiserror::Error)]
pub enum NoRequest {
    /// It is none.
    #[error("this command needs no daemon")]
    NotOne,
    /// It does not say which packet is meant.
    #[error("give a frame, or a packet with --like")]
    NoPacket,
    /// It does not say where a container is attached.
    #[error("say where with --bridge or --network")]
    NoPlace,
    /// An address on a bridge, of which it is not known how long its subnet's prefix is.
    #[error("write {0} with its prefix length, such as {0}/24, or use --network")]
    NoPrefix(IpAddr),
    /// An address on a network, which knows its subnet by itself.
    #[error("write {addr}, not {0}: the network knows its prefix length", addr = .0.addr)]
    Prefix(IpCidr),
    /// A port whose bridge was to be called like it.
    #[error("{0}; say with --bridge what the port's bridge is called")]
    Bridge(#[from] BadName),
    /// A rule that cannot be understood.
    #[error("the rule is not understood: {0}")]
    Rule(#[from] FlowSyntax),
    /// Two notes of one name.
    #[error("label {0} is given twice; give each key one text")]
    LabelTwice(String),
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// A file with rules that cannot be understood, by lines.
    #[error("the rules of {path} are not understood, and none is changed:\n{wrong}", path = .path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: BadRules,
    },
    /// A file with commands that cannot be carried out together, by lines.
    #[error("the commands of {path} are not understood, and none is carried out:\n{wrong}", path = .path.display())]
    Commands {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: BadLines,
    },
}

/// The request of a command that is one. Reads the file that the command names.
///
/// # Errors
/// [`NoRequest`].
pub fn of(command: &Command) -> Result<Request, NoRequest> {
    Ok(match command {
        Command::Bridge(command) => bridge::request(command),
        Command::Port(command) => port::request(command)?,
        Command::Network(command) => network::request(command)?,
        Command::Ipam(command) => ipam::request(command),
        Command::Attach(options) => Request::Mutation(container::attach(options)?),
        Command::Detach(options) => Request::Mutation(container::detach(options)),
        Command::AddPort { bridge, device } => port::existing(bridge, device),
        Command::Fdb(command) => fdb::request(command),
        Command::Route(command) => route::request(command),
        Command::Neighbor(command) => neighbor::request(command),
        Command::Vxlan(command) => vxlan::request(command),
        Command::Nat(command) => nat::request(command),
        Command::Service(command) => service::request(command),
        Command::Conn(command) => conn::request(command),
        Command::Flow(command) => flow::request(command)?,
        Command::Trace(options) => Request::Query(explain::trace(options)?),
        Command::Capture(options) => Request::Query(explain::capture(options)),
        Command::Why(options) => Request::Query(explain::why(options)),
        Command::Batch { file } => Script::read(file)?.request,
        Command::Stats(options) => Request::Query(Query::Stats(traffic(options))),
        Command::Drops(options) => Request::Query(Query::Drops(traffic(options))),
        Command::Perf => Request::Query(Query::Perf),
        Command::Status => Request::Query(Query::Status),
        Command::Version => Request::Query(Query::Version),
        Command::Demo(_) | Command::Completions { .. } => {
            return Err(NoRequest::NotOne);
        }
    })
}

fn traffic(options: &TrafficOptions) -> TrafficFilter {
    TrafficFilter { ports: options.ports.clone() }
}

/// The text of a file, or of standard input.
fn text_of(path: &Path) -> Result<String, NoRequest> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|source| NoRequest::Unreadable { path: path.to_owned(), source })
}

/// A list that is to take the present one's place: one that was given, or none if that was asked for.
fn instead<T: Clone>(given: &[T], none: bool) -> Option<Vec<T>> {
    (none || !given.is_empty()).then(|| given.to_vec())
}
