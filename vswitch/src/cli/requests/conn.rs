//! Sessions.

use ctl::{ConnFilter, ConnList, ConnShow, ConnTop, Mutation, Query, Request};

use crate::cli::args::{ConnCommand, ConnFilterOptions};

pub(super) fn request(command: &ConnCommand) -> Request {
    match command {
        ConnCommand::List { filter, limit, after } => Request::Query(Query::ConnList(ConnList {
            filter: filter_of(filter),
            limit: *limit,
            after: *after,
        })),
        ConnCommand::Show { tuple, bridge } => {
            let show = ConnShow { tuple: *tuple, bridge: bridge.clone() };
            Request::Query(Query::ConnShow(show))
        }
        ConnCommand::Flush { filter, all: _ } => {
            Request::Mutation(Mutation::ConnFlush(filter_of(filter)))
        }
        ConnCommand::Top { filter, by, limit } => Request::Query(Query::ConnTop(ConnTop {
            filter: filter_of(filter),
            by: *by,
            limit: *limit,
        })),
    }
}

fn filter_of(options: &ConnFilterOptions) -> ConnFilter {
    ConnFilter {
        from: options.from,
        to: options.to,
        port: options.port,
        protocol: options.proto,
        bridge: options.bridge.clone(),
        state: options.state,
    }
}
