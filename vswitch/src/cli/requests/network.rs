//! Networks.

use std::collections::BTreeMap;

use ctl::{
    HostPort, IfName, Mutation, Named, NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRm,
    NetworkSet, NetworkSettings, Overlay, Query, Request, Shape,
};

use super::{NoRequest, instead};
use crate::cli::args::{ConnectOptions, NetworkChanges, NetworkCommand, NetworkOptions};

pub(super) fn request(command: &NetworkCommand) -> Result<Request, NoRequest> {
    let mutation = match command {
        NetworkCommand::List => return Ok(Request::Query(Query::NetworkList)),
        NetworkCommand::Inspect { name } => {
            return Ok(Request::Query(Query::NetworkInspect(Named::new(name.clone()))));
        }
        NetworkCommand::Create(options) => Mutation::NetworkCreate(Box::new(create(options)?)),
        NetworkCommand::Rm { name, if_exists, force } => {
            let (name, if_exists, force) = (name.clone(), *if_exists, *force);
            Mutation::NetworkRm(NetworkRm { name, if_exists, force })
        }
        NetworkCommand::Set(changes) => Mutation::NetworkSet(Box::new(set(changes)?)),
        NetworkCommand::Connect(options) => Mutation::NetworkConnect(Box::new(connect(options))),
        NetworkCommand::Disconnect { network, netns, ifname } => {
            Mutation::NetworkDisconnect(NetworkDisconnect {
                network: network.clone(),
                netns: netns.clone(),
                ifname: ifname.clone(),
            })
        }
    };
    Ok(Request::Mutation(mutation))
}

fn create(options: &NetworkOptions) -> Result<NetworkCreate, NoRequest> {
    let (local, remotes) = (options.local, options.remotes.clone());
    let via = options.via.clone();
    let vxlan = options.vni.map(|vni| Overlay { vni, local, via, remotes });
    Ok(NetworkCreate {
        name: options.name.clone(),
        settings: NetworkSettings {
            internal: options.internal,
            isolated: options.isolated,
            shape: shape(options),
            masquerade: !options.no_masquerade,
            mtu: options.mtu,
            vxlan,
            dns: !options.no_dns,
            resolvers: options.resolvers.clone(),
            dhcp: options.dhcp,
            labels: labels(&options.labels)?,
        },
        subnets: options.subnets.clone(),
        ipv6: options.ipv6,
        gateways: options.gateways.clone(),
        no_gateway: options.no_gateway,
        unnumbered: options.unnumbered,
        ranges: options.ranges.clone(),
        reserved: options.reserved.clone(),
        avoid: options.avoid.clone(),
        host_port: options.host_port.as_ref().map(host_port),
    })
}

/// Each label has one text.
fn labels(given: &[(String, String)]) -> Result<BTreeMap<String, String>, NoRequest> {
    let mut labels = BTreeMap::new();
    for (key, text) in given {
        if labels.insert(key.clone(), text.clone()).is_some() {
            return Err(NoRequest::LabelTwice(key.clone()));
        }
    }
    Ok(labels)
}

fn host_port(ifname: &Option<IfName>) -> HostPort {
    HostPort { ifname: ifname.clone(), mac: None }
}

fn shape(options: &NetworkOptions) -> Shape {
    match (options.direct, options.routed, options.p2p) {
        (true, ..) => Shape::Direct,
        (_, true, _) => Shape::Routed,
        (_, _, true) => Shape::P2p,
        _ => Shape::Bridged,
    }
}

fn set(changes: &NetworkChanges) -> Result<NetworkSet, NoRequest> {
    Ok(NetworkSet {
        name: changes.name.clone(),
        internal: changes.internal,
        isolated: changes.isolated,
        masquerade: changes.masquerade,
        mtu: changes.mtu,
        remotes: instead(&changes.remotes, changes.no_remotes),
        dns: changes.dns,
        resolvers: instead(&changes.resolvers, changes.no_resolvers),
        dhcp: changes.dhcp,
        labels: labels(&changes.labels)?,
        host_port: match &changes.host_port {
            Some(ifname) => Some(Some(host_port(ifname))),
            None => changes.no_host_port.then_some(None),
        },
    })
}

fn connect(options: &ConnectOptions) -> NetworkConnect {
    NetworkConnect {
        network: options.network.clone(),
        netns: options.netns.clone(),
        ifname: options.ifname.clone(),
        ips: options.ips.clone(),
        mac: options.mac,
        aliases: options.aliases.clone(),
        owner: options.owner.clone(),
        no_default_route: options.no_default_route,
        routes: options.routes.clone(),
        elsewhere: Vec::new(),
        dhcp: options.dhcp,
    }
}
