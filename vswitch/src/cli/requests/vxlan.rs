//! Tunnels.

use ctl::{Mutation, Named, Query, Request, Vxlan, VxlanAdd, VxlanSet};

use super::instead;
use crate::cli::args::{VxlanCommand, VxlanOptions};

pub(super) fn request(command: &VxlanCommand) -> Request {
    match command {
        VxlanCommand::Add(options) => Request::Mutation(Mutation::VxlanAdd(VxlanAdd {
            name: options.name.clone(),
            vxlan: new_vxlan(options),
        })),
        VxlanCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::VxlanDel(named))
        }
        VxlanCommand::List => Request::Query(Query::VxlanList),
        VxlanCommand::Show { name } => Request::Query(Query::VxlanShow(Named::new(name.clone()))),
        VxlanCommand::Set { name, remotes, no_remotes, ttl, tos, learning, underlay_mtu } => {
            Request::Mutation(Mutation::VxlanSet(VxlanSet {
                name: name.clone(),
                remotes: instead(remotes, *no_remotes),
                ttl: *ttl,
                tos: *tos,
                learning: *learning,
                underlay_mtu: *underlay_mtu,
            }))
        }
    }
}

fn new_vxlan(options: &VxlanOptions) -> Vxlan {
    Vxlan {
        bridge: options.bridge.clone(),
        vni: options.vni,
        local: options.local,
        via: options.via.clone(),
        remotes: options.remotes.clone(),
        dstport: options.dstport,
        ttl: options.ttl,
        tos: options.tos,
        learning: !options.no_learning,
        underlay_mtu: options.underlay_mtu,
    }
}
