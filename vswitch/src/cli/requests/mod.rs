//! From the command line to the request.

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
mod vxlan;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ctl::flow::{BadRules, FlowSyntax};
use ctl::{IpCidr, Query, Request};

use super::args::Command;

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
    /// A rule that cannot be understood.
    #[error("the rule is not understood: {0}")]
    Rule(#[from] FlowSyntax),
    /// A file that cannot be read.
    #[error("cannot read the rules of {path}: {source}", path = .path.display())]
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
}

/// The request of a command that is one. Reads the file of rules that the command names.
///
/// # Errors
/// [`NoRequest`].
pub fn of(command: &Command) -> Result<Request, NoRequest> {
    Ok(match command {
        Command::Bridge(command) => bridge::request(command),
        Command::Port(command) => port::request(command),
        Command::Network(command) => network::request(command),
        Command::Ipam(command) => ipam::request(command),
        Command::Attach(options) => Request::Mutation(container::attach(options)?),
        Command::Detach(options) => Request::Mutation(container::detach(options)),
        Command::AddPort { bridge, device } => port::existing(bridge, device),
        Command::Fdb(command) => fdb::request(command),
        Command::Route(command) => route::request(command),
        Command::Neighbor(command) => neighbor::request(command),
        Command::Vxlan(command) => vxlan::request(command),
        Command::Nat(command) => nat::request(command),
        Command::Conn(command) => conn::request(command),
        Command::Flow(command) => flow::request(command)?,
        Command::Trace(options) => Request::Query(explain::trace(options)?),
        Command::Why(options) => Request::Query(explain::why(options)),
        Command::Stats => Request::Query(Query::Stats),
        Command::Drops => Request::Query(Query::Drops),
        Command::Perf => Request::Query(Query::Perf),
        Command::Status => Request::Query(Query::Status),
        Command::Version => Request::Query(Query::Version),
        Command::Demo(_) | Command::Completions { .. } => {
            return Err(NoRequest::NotOne);
        }
    })
}

/// A list that is to take the present one's place: one that was given, or none if that was asked for.
fn instead<T: Clone>(given: &[T], none: bool) -> Option<Vec<T>> {
    (none || !given.is_empty()).then(|| given.to_vec())
}
