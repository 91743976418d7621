//! Bridges.

use ctl::{BridgeAdd, BridgeSet, Mutation, Named, Query, Request, VlanOf};

use super::instead;
use crate::cli::args::BridgeCommand;

pub(super) fn request(command: &BridgeCommand) -> Request {
    match command {
        BridgeCommand::Add { name, whole, vlan, settings, router, may_exist } => {
            let vlan_of = whole.clone().zip(*vlan);
            Request::Mutation(Mutation::BridgeAdd(BridgeAdd {
                name: name.clone(),
                vlan_of: vlan_of.map(|(bridge, vlan)| VlanOf { bridge, vlan }),
                ageing_seconds: settings.ageing,
                mac_limit: settings.mac_limit,
                mtu: settings.mtu,
                gateways: router.gateways.clone(),
                gateway_mac: router.gateway_mac,
                advertise: router.advertise.clone(),
                proxy: router.proxy.clone(),
                may_exist: *may_exist,
            }))
        }
        BridgeCommand::Del { name, if_exists } => {
            let named = Named { name: name.clone(), if_exists: *if_exists };
            Request::Mutation(Mutation::BridgeDel(named))
        }
        BridgeCommand::List => Request::Query(Query::BridgeList),
        BridgeCommand::Show { name } => Request::Query(Query::BridgeShow(Named::new(name.clone()))),
        BridgeCommand::Set { name, settings, router } => {
            Request::Mutation(Mutation::BridgeSet(BridgeSet {
                name: name.clone(),
                ageing_seconds: settings.ageing,
                mac_limit: settings.mac_limit,
                mtu: settings.mtu,
                gateways: instead(&router.gateways, router.no_gateway),
                gateway_mac: router.gateway_mac.map(|mac| mac.0),
                advertise: router
                    .advertise
                    .clone()
                    .map(Some)
                    .or_else(|| router.no_advertise.then_some(None)),
                proxy: instead(&router.proxy, router.no_proxy),
            }))
        }
    }
}
