//! From the command line to the request.

use ctl::{
    Attach, BridgeAdd, BridgeName, BridgeSet, CtlError, Detach, FdbFilter, FdbKey, FdbStatic,
    IfName, Mutation, Named, NetdevMode, Port, PortAdd, PortKind, PortMove, PortSet, Query,
    Request, StaticMac, Tap, Vlan,
};

use super::args::{
    AttachOptions, BridgeCommand, Command, FdbCommand, FdbFilterOptions, PortCommand, PortOptions,
    VlanOptions,
};

/// The request of a command that is one.
///
/// # Errors
/// [`CtlError`], for those that need no daemon.
pub fn of(command: &Command) -> Result<Request, CtlError> {
    Ok(match command {
        Command::Bridge(command) => bridge(command),
        Command::Port(command) => port(command),
        Command::Attach(options) => Request::Mutation(Mutation::Attach(attach(options))),
        Command::Detach(options) => Request::Mutation(Mutation::Detach(Detach {
            netns: options.netns.clone(),
            ifname: options.ifname.clone(),
        })),
        Command::AddPort { bridge, device } => existing(bridge, device),
        Command::Fdb(command) => fdb(command),
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

fn bridge(command: &BridgeCommand) -> Request {
    match command {
        BridgeCommand::Add { name, settings, may_exist } => {
            Request::Mutation(Mutation::BridgeAdd(BridgeAdd {
                name: name.clone(),
                ageing_seconds: settings.ageing,
                mac_limit: settings.mac_limit,
                mtu: settings.mtu,
                may_exist: *may_exist,
            }))
        }
        BridgeCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::BridgeDel(named))
        }
        BridgeCommand::List => Request::Query(Query::BridgeList),
        BridgeCommand::Show { name } => Request::Query(Query::BridgeShow(Named::new(name.clone()))),
        BridgeCommand::Set { name, settings } => {
            Request::Mutation(Mutation::BridgeSet(BridgeSet {
                name: name.clone(),
                ageing_seconds: settings.ageing,
                mac_limit: settings.mac_limit,
                mtu: settings.mtu,
            }))
        }
    }
}

fn port(command: &PortCommand) -> Request {
    match command {
        PortCommand::Add(options) => Request::Mutation(Mutation::PortAdd(Box::new(PortAdd {
            name: options.name.clone(),
            port: new_port(options),
        }))),
        PortCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::PortDel(named))
        }
        PortCommand::List => Request::Query(Query::PortList),
        PortCommand::Show { name } => Request::Query(Query::PortShow(Named::new(name.clone()))),
        PortCommand::Move { name, worker } => {
            let (name, worker) = (name.clone(), *worker);
            Request::Mutation(Mutation::PortMove(PortMove { name, worker }))
        }
        PortCommand::Set { name, vlan, no_vlans, isolated, hairpin, mac_limit, mtu } => {
            Request::Mutation(Mutation::PortSet(PortSet {
                name: name.clone(),
                vlan: vlan_of(vlan).or_else(|| no_vlans.then_some(Vlan::Unaware)),
                isolated: *isolated,
                hairpin: *hairpin,
                mac_limit: mac_limit.map(|limit| limit.0),
                mtu: mtu.map(|mtu| mtu.0),
            }))
        }
    }
}

/// An existing interface as a port of its own name.
fn existing(bridge: &BridgeName, device: &IfName) -> Request {
    let kind =
        PortKind::Netdev { device: device.clone(), netns: None, mode: NetdevMode::default() };
    let port = Port::new(bridge.clone(), kind);
    let add = PortAdd { name: device.clone().into(), port };
    Request::Mutation(Mutation::PortAdd(Box::new(add)))
}

fn new_port(options: &PortOptions) -> Port {
    let interface = &options.interface;
    let kind = match &options.netdev {
        Some(device) => PortKind::Netdev {
            device: device.clone(),
            netns: options.netns.clone(),
            mode: options.mode,
        },
        None => PortKind::Tap(Tap {
            netns: options.netns.clone(),
            ifname: interface.ifname.clone(),
            mac: interface.mac,
            ips: interface.ips.clone(),
            gateways: interface.gateways.clone(),
            queues: options.queues,
        }),
    };
    Port {
        bridge: options.bridge.clone(),
        kind,
        vlan: vlan_of(&options.vlan).unwrap_or_default(),
        isolated: options.isolated,
        hairpin: options.hairpin,
        mac_limit: options.mac_limit,
        mtu: options.mtu,
    }
}

fn vlan_of(options: &VlanOptions) -> Option<Vlan> {
    match (options.access, &options.trunk) {
        (Some(vlan), _) => Some(Vlan::Access(vlan)),
        (None, Some(allowed)) => {
            Some(Vlan::Trunk { allowed: allowed.clone(), native: options.native })
        }
        (None, None) => None,
    }
}

fn attach(options: &AttachOptions) -> Attach {
    Attach {
        netns: options.netns.clone(),
        bridge: options.bridge.clone(),
        ifname: options.ifname.clone(),
        mac: options.mac,
        ips: options.ips.clone(),
        gateways: options.gateways.clone(),
        mtu: options.mtu,
        vlan: vlan_of(&options.vlan).unwrap_or_default(),
    }
}

fn fdb(command: &FdbCommand) -> Request {
    match command {
        FdbCommand::Show(filter) => Request::Query(Query::FdbShow(filter_of(filter))),
        FdbCommand::Flush(filter) => Request::Mutation(Mutation::FdbFlush(filter_of(filter))),
        FdbCommand::Add { bridge, mac, port, vlan } => {
            Request::Mutation(Mutation::FdbAdd(FdbStatic {
                bridge: bridge.clone(),
                station: StaticMac { mac: *mac, vlan: *vlan, port: port.clone() },
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
