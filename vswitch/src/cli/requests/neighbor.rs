//! The router's neighbours.

use ctl::{Mutation, NeighborAdd, NeighborFilter, NeighborKey, Query, Request, StaticNeighbor};

use crate::cli::args::{NeighborCommand, NeighborFilterOptions};

pub(super) fn request(command: &NeighborCommand) -> Request {
    match command {
        NeighborCommand::Show(filter) => Request::Query(Query::NeighborShow(filter_of(filter))),
        NeighborCommand::Flush(filter) => {
            Request::Mutation(Mutation::NeighborFlush(filter_of(filter)))
        }
        NeighborCommand::Add { bridge, ip, mac } => {
            Request::Mutation(Mutation::NeighborAdd(NeighborAdd {
                bridge: bridge.clone(),
                neighbor: StaticNeighbor { ip: *ip, mac: *mac },
            }))
        }
        NeighborCommand::Del { bridge, ip } => {
            let key = NeighborKey { bridge: bridge.clone(), ip: *ip };
            Request::Mutation(Mutation::NeighborDel(key))
        }
    }
}

fn filter_of(options: &NeighborFilterOptions) -> NeighborFilter {
    NeighborFilter { bridge: options.bridge.clone(), ip: options.ip }
}
