//! Routes.

use ctl::{Allowance, Mutation, Query, Request, RouteAdd, RouteDel};

use crate::cli::args::RouteCommand;

pub(super) fn request(command: &RouteCommand) -> Request {
    match command {
        RouteCommand::Add { to, on, via } => Request::Mutation(Mutation::RouteAdd(RouteAdd {
            to: *to,
            on: on.clone(),
            via: via.clone(),
        })),
        RouteCommand::Del { to, on, if_exists } => {
            let del = RouteDel { to: *to, on: on.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::RouteDel(del))
        }
        RouteCommand::List => Request::Query(Query::RouteList),
        RouteCommand::Allow { from, to } => {
            let allowance = Allowance { from: from.clone(), to: to.clone() };
            Request::Mutation(Mutation::RouteAllow(allowance))
        }
        RouteCommand::Deny { from, to } => {
            let allowance = Allowance { from: from.clone(), to: to.clone() };
            Request::Mutation(Mutation::RouteDeny(allowance))
        }
    }
}
