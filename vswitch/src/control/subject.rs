//! What a change is about, as its answer names it.

use ctl::flow::diff;
use ctl::response::{Changed, EndpointInfo, FlowChanges, LeaseInfo, NetworkInfo, SubnetInfo};
use ctl::{
    BridgeName, Config, CtlError, DiffItem, HostPort, IpamFilter, Mutation, Port, PortName, Prefix,
};

/// The answer to a change, as far as the configurations before and after it tell: the names and numbers that were
/// chosen, and what was removed.
///
/// # Errors
/// [`CtlError`], when no valid name comes of what was asked for.
pub fn of(mutation: &Mutation, old: &Config, next: &Config) -> Result<Changed, CtlError> {
    let none = Changed::default();
    let connected = |port: PortName| {
        let endpoint = EndpointInfo::of(next, &port).map(Box::new);
        Changed { port: Some(port), endpoint, ..Changed::default() }
    };
    Ok(match mutation {
        Mutation::PortAdd(add) => {
            let notes = on_port(next, &add.name, &add.port);
            Changed { port: Some(add.name.clone()), notes, ..none }
        }
        Mutation::PortSet(set) => {
            let port = next.ports.get(&set.name).filter(|_| set.ips.is_some());
            let notes = port.map_or_else(Vec::new, |port| on_port(next, &set.name, port));
            Changed { notes, ..none }
        }
        Mutation::Attach(attach) => {
            let name = attach.port_name()?;
            let notes = on_port(next, &name, &attach.port());
            Changed { port: Some(name), notes, ..none }
        }
        Mutation::Detach(detach) => {
            Changed { notes: old.not_attached(detach).into_iter().collect(), ..none }
        }
        Mutation::NetworkDisconnect(request) => {
            Changed { notes: old.not_connected(request).into_iter().collect(), ..none }
        }
        Mutation::BridgeAdd(add) => Changed { notes: next.notes_on_subnets(&add.name), ..none },
        Mutation::BridgeSet(set) if set.gateways.is_some() => {
            Changed { notes: next.notes_on_subnets(&set.name), ..none }
        }
        Mutation::VxlanAdd(add) => Changed { port: Some(add.name.clone()), ..none },
        Mutation::NatAdd(add) => {
            let name = add.rule_name().map_err(|error| CtlError::invalid(error.to_string()))?;
            let notes = next.notes_on_publishing(&add.rule);
            Changed { rule: Some(name), notes, ..none }
        }
        Mutation::NatDel(named) => {
            Changed { notes: old.notes_on_unpublishing(&named.name), ..none }
        }
        Mutation::RouteAllow(allowance) => {
            Changed { notes: next.notes_on_allowing(allowance), ..none }
        }
        Mutation::NetworkCreate(create) => {
            let network = NetworkInfo::of(next, &create.name).map(Box::new);
            let notes = next.notes_on_subnets(&create.name);
            Changed { network, notes, ..none }
        }
        Mutation::NetworkSet(set) => {
            let notes = next.notes_on_opening(set, old);
            let host = match &set.host_port {
                Some(Some(_)) => connected(port_of_host(&set.name)?),
                _ => none,
            };
            Changed { notes, ..host }
        }
        Mutation::NetworkRm(rm) if rm.force => {
            let gone = old.strangers_on(&rm.name).into_iter();
            let notes = gone.map(|what| format!("{what} went with network {}", rm.name)).collect();
            Changed { notes, ..none }
        }
        Mutation::NetworkConnect(connect) => connected(connect.port_name()?),
        Mutation::NetworkHandover(handover) => connected(handover.port.clone()),
        Mutation::PoolAdd(add) => {
            // The one that was asked for, or the one that was chosen: it was not there before.
            let is_it = |subnet: &&Prefix| match add.subnet {
                Some(asked) => asked == **subnet,
                None => !old.pools.contains_key(*subnet),
            };
            let pool = next.pools.iter().find(|(subnet, _)| is_it(subnet));
            Changed { pool: pool.map(|(_, pool)| Box::new(SubnetInfo::of(pool))), ..none }
        }
        Mutation::IpamRequest(request) => {
            let filter = IpamFilter { network: request.network.clone(), subnet: request.subnet };
            let mut leases = LeaseInfo::all(next, &filter);
            leases.retain(|lease| {
                lease.owner == request.owner && request.ip.is_none_or(|ip| ip == lease.address.addr)
            });
            Changed { leases, ..none }
        }
        Mutation::IpamRelease(_) | Mutation::IpamFree(_) => {
            let all = IpamFilter::default();
            let leases = LeaseInfo::all(old, &all).len() - LeaseInfo::all(next, &all).len();
            let removed = leases + (old.pools.len() - next.pools.len());
            Changed { removed: Some(removed), ..none }
        }
        Mutation::FlowAdd(rule) => {
            // Found by what differs, unless nothing does: there may be many rules.
            let put = old.flows.diff(&next.flows).find_map(|item| match item {
                DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } => Some(*id),
                DiffItem::Remove(..) => None,
            });
            Changed { flow: put.or_else(|| next.flows.like(rule)), ..none }
        }
        Mutation::FlowDel(_) => {
            Changed { removed: Some(old.flows.len() - next.flows.len()), ..none }
        }
        Mutation::FlowReplace(replace) => {
            let changes = FlowChanges::from(&diff(&old.flows, &replace.rules));
            Changed { flows: Some(changes), ..none }
        }
        _ => none,
    })
}

/// The port by which the host is on a network.
fn port_of_host(network: &BridgeName) -> Result<PortName, CtlError> {
    HostPort::port_name(network).map_err(|error| CtlError::invalid(error.to_string()))
}

/// What is to be said of a port with the addresses and gateways that it is given.
fn on_port(config: &Config, name: &PortName, port: &Port) -> Vec<String> {
    let mut notes = config.other_routers(port);
    notes.extend(config.notes_on_addresses(name, port));
    notes
}
