//! Addresses.

use ctl::{IpamFilter, IpamRelease, IpamRequest, Mutation, Named, PoolAdd, Query, Request};

use crate::cli::args::{IpamCommand, IpamFilterOptions, KeepOptions};

pub(super) fn request(command: &IpamCommand) -> Request {
    let mutation = match command {
        IpamCommand::List(filter) => return Request::Query(Query::IpamList(of(filter))),
        IpamCommand::Audit { filter, free: false } => {
            return Request::Query(Query::IpamAudit(of(filter)));
        }
        IpamCommand::Audit { filter, free: true } => Mutation::IpamFree(of(filter)),
        IpamCommand::Request { filter, owner, ip } => {
            let IpamFilter { network, subnet } = of(filter);
            Mutation::IpamRequest(IpamRequest { owner: owner.clone(), network, subnet, ip: *ip })
        }
        IpamCommand::Release { filter, owner, ip } => {
            let IpamFilter { network, subnet } = of(filter);
            Mutation::IpamRelease(IpamRelease { owner: owner.clone(), network, subnet, ip: *ip })
        }
        IpamCommand::Keep(options) => Mutation::PoolAdd(Box::new(keep(options))),
        IpamCommand::Drop { subnet, if_exists } => {
            Mutation::PoolDel(Named { name: *subnet, if_exists: *if_exists })
        }
    };
    Request::Mutation(mutation)
}

fn of(filter: &IpamFilterOptions) -> IpamFilter {
    IpamFilter { network: filter.network.clone(), subnet: filter.subnet }
}

fn keep(options: &KeepOptions) -> PoolAdd {
    PoolAdd {
        subnet: options.subnet,
        ipv6: options.ipv6,
        gateway: options.gateway,
        ranges: options.ranges.clone(),
        reserved: options.reserved.clone(),
        avoid: options.avoid.clone(),
    }
}
