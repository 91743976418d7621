//! From the command line to the request.

mod bridge;
mod conn;
mod container;
mod explain;
mod fdb;
mod nat;
mod neighbor;
mod port;
mod route;
mod vxlan;

use ctl::{CtlError, Query, Request};

use super::args::Command;

/// The request of a command that is one.
///
/// # Errors
/// [`CtlError`], for those that need no daemon.
pub fn of(command: &Command) -> Result<Request, CtlError> {
    Ok(match command {
        Command::Bridge(command) => bridge::request(command),
        Command::Port(command) => port::request(command),
        Command::Attach(options) => Request::Mutation(container::attach(options)),
        Command::Detach(options) => Request::Mutation(container::detach(options)),
        Command::AddPort { bridge, device } => port::existing(bridge, device),
        Command::Fdb(command) => fdb::request(command),
        Command::Route(command) => route::request(command),
        Command::Neighbor(command) => neighbor::request(command),
        Command::Vxlan(command) => vxlan::request(command),
        Command::Nat(command) => nat::request(command),
        Command::Conn(command) => conn::request(command),
        Command::Trace(options) => Request::Query(explain::trace(options)?),
        Command::Why(options) => Request::Query(explain::why(options)),
        Command::Stats => Request::Query(Query::Stats),
        Command::Drops => Request::Query(Query::Drops),
        Command::Perf => Request::Query(Query::Perf),
        Command::Status => Request::Query(Query::Status),
        Command::Version => Request::Query(Query::Version),
        Command::Demo(_) | Command::Completions { .. } => {
            return Err(CtlError::invalid("this command needs no daemon"));
        }
    })
}

/// A list that is to take the present one's place: one that was given, or none if that was asked for.
fn instead<T: Clone>(given: &[T], none: bool) -> Option<Vec<T>> {
    (none || !given.is_empty()).then(|| given.to_vec())
}
