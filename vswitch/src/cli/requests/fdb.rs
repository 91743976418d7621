//! Stations.

use ctl::{FdbFilter, FdbKey, FdbStatic, Mutation, Query, Request, StaticMac};

use crate::cli::args::{FdbCommand, FdbFilterOptions};

pub(super) fn request(command: &FdbCommand) -> Request {
    match command {
        FdbCommand::Show(filter) => Request::Query(Query::FdbShow(filter_of(filter))),
        FdbCommand::Flush(filter) => Request::Mutation(Mutation::FdbFlush(filter_of(filter))),
        FdbCommand::Add { bridge, mac, port, vlan, vtep } => {
            Request::Mutation(Mutation::FdbAdd(FdbStatic {
                bridge: bridge.clone(),
                station: StaticMac { mac: *mac, vlan: *vlan, port: port.clone(), vtep: *vtep },
            }))
        }
        FdbCommand::Del { bridge, mac, vlan } => Request::Mutation(Mutation::FdbDel(FdbKey {
            bridge: bridge.clone(),
            mac: *mac,
            vlan: *vlan,
        })),
    }
}

fn filter_of(options: &FdbFilterOptions) -> FdbFilter {
    FdbFilter { bridge: options.bridge.clone(), port: options.port.clone(), vlan: options.vlan }
}
