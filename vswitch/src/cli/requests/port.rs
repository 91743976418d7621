//! Ports.

use ctl::{
    BridgeName, Egress, IfName, Ingress, Mutation, Named, NetdevMode, Port, PortAdd, PortFilter,
    PortKind, PortMove, PortSet, Query, Rate, Request, Tap, Vlan,
};

use super::{NoRequest, instead};
use crate::cli::args::{PortCommand, PortOptions, VlanOptions};

pub(super) fn request(command: &PortCommand) -> Result<Request, NoRequest> {
    Ok(match command {
        PortCommand::Add(options) => Request::Mutation(Mutation::PortAdd(Box::new(PortAdd {
            name: options.name.clone(),
            port: new_port(options)?,
        }))),
        PortCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::PortDel(named))
        }
        PortCommand::List { bridge } => {
            Request::Query(Query::PortList(PortFilter { bridge: bridge.clone() }))
        }
        PortCommand::Show { name } => Request::Query(Query::PortShow(Named::new(name.clone()))),
        PortCommand::Move { name, worker } => {
            let (name, worker) = (name.clone(), *worker);
            Request::Mutation(Mutation::PortMove(PortMove { name, worker }))
        }
        PortCommand::Set {
            name,
            vlan,
            no_vlans,
            isolated,
            hairpin,
            mac_limit,
            mtu,
            guard,
            egress_rate,
            egress_queue,
            ingress_rate,
            ingress_burst,
            netns,
            ips,
            no_ip,
            gateways,
            no_gateway,
        } => Request::Mutation(Mutation::PortSet(PortSet {
            name: name.clone(),
            vlan: vlan_of(vlan).or_else(|| no_vlans.then_some(Vlan::Unaware)),
            isolated: *isolated,
            hairpin: *hairpin,
            mac_limit: mac_limit.map(|limit| limit.0),
            mtu: mtu.map(|mtu| mtu.0),
            guard: *guard,
            egress: egress_rate.map(|rate| egress(rate.0, *egress_queue)),
            ingress: ingress_rate.map(|rate| ingress(rate.0, *ingress_burst)),
            netns: netns.clone(),
            ips: instead(ips, *no_ip),
            gateways: instead(gateways, *no_gateway),
        })),
    })
}

/// An existing interface as a port of its own name.
pub(super) fn existing(bridge: &BridgeName, device: &IfName) -> Request {
    let kind =
        PortKind::Netdev { device: device.clone(), netns: None, mode: NetdevMode::default() };
    let port = Port::new(bridge.clone(), kind);
    let add = PortAdd { name: device.clone().into(), port };
    Request::Mutation(Mutation::PortAdd(Box::new(add)))
}

fn new_port(options: &PortOptions) -> Result<Port, NoRequest> {
    let bridge = match &options.bridge {
        Some(bridge) => bridge.clone(),
        None => options.name.as_str().parse()?,
    };
    let interface = &options.interface;
    let kind = match &options.netdev {
        Some(device) => PortKind::Netdev {
            device: device.clone(),
            netns: options.netns.clone(),
            mode: options.mode,
        },
        None => PortKind::Tap(Tap {
            netns: options.netns.clone(),
            ifname: options.host.as_ref().unwrap_or(&interface.ifname).clone(),
            mac: interface.mac,
            ips: interface.ips.clone(),
            gateways: interface.gateways.clone(),
            routes: Vec::new(),
            queues: options.queues,
            handover: options.handover,
        }),
    };
    Ok(Port {
        bridge,
        kind,
        vlan: vlan_of(&options.vlan).unwrap_or_default(),
        isolated: options.isolated,
        hairpin: options.hairpin,
        mac_limit: options.mac_limit,
        mtu: options.mtu,
        guard: options.guard,
        egress: egress(options.rates.egress_rate, options.rates.egress_queue),
        ingress: ingress(options.rates.ingress_rate, options.rates.ingress_burst),
        dhcp: false,
        shared: options.shared,
        place: None,
    })
}

fn egress(rate: Option<Rate>, queue_bytes: Option<u32>) -> Option<Egress> {
    rate.map(|rate| Egress { rate, queue_bytes })
}

fn ingress(rate: Option<Rate>, burst_bytes: Option<u32>) -> Option<Ingress> {
    rate.map(|rate| Ingress { rate, burst_bytes })
}

pub(super) fn vlan_of(options: &VlanOptions) -> Option<Vlan> {
    match (options.access, &options.trunk) {
        (Some(vlan), _) => Some(Vlan::Access(vlan)),
        (None, Some(allowed)) => {
            Some(Vlan::Trunk { allowed: allowed.clone(), native: options.native })
        }
        (None, None) => None,
    }
}
