//! Containers.

use std::net::IpAddr;

use ctl::{Attach, BridgeName, Detach, IpCidr, Mutation, NetworkConnect};

use super::NoRequest;
use super::port::vlan_of;
use crate::cli::args::{AttachOptions, DetachOptions, TypedAddress};

pub(super) fn attach(options: &AttachOptions) -> Result<Mutation, NoRequest> {
    match (&options.network, &options.bridge) {
        (Some(network), _) => to_network(options, network),
        (None, Some(bridge)) => to_bridge(options, bridge),
        (None, None) => Err(NoRequest::NoPlace),
    }
}

fn to_bridge(options: &AttachOptions, bridge: &BridgeName) -> Result<Mutation, NoRequest> {
    let whole = |typed: &TypedAddress| match *typed {
        TypedAddress::Interface(cidr) => Ok(cidr),
        TypedAddress::Alone(addr) => Err(NoRequest::NoPrefix(addr)),
    };
    Ok(Mutation::Attach(Attach {
        netns: options.netns.clone(),
        bridge: bridge.clone(),
        ifname: options.ifname.clone(),
        mac: options.mac,
        ips: options.ips.iter().map(whole).collect::<Result<Vec<IpCidr>, _>>()?,
        gateways: options.gateways.clone(),
        mtu: options.mtu,
        vlan: vlan_of(&options.vlan).unwrap_or_default(),
    }))
}

fn to_network(options: &AttachOptions, network: &BridgeName) -> Result<Mutation, NoRequest> {
    let alone = |typed: &TypedAddress| match *typed {
        TypedAddress::Interface(cidr) => Err(NoRequest::Prefix(cidr)),
        TypedAddress::Alone(addr) => Ok(addr),
    };
    Ok(Mutation::NetworkConnect(Box::new(NetworkConnect {
        ifname: options.ifname.clone(),
        ips: options.ips.iter().map(alone).collect::<Result<Vec<IpAddr>, _>>()?,
        mac: options.mac,
        aliases: options.aliases.clone(),
        dhcp: options.dhcp,
        ..NetworkConnect::new(network.clone(), options.netns.clone())
    })))
}

pub(super) fn detach(options: &DetachOptions) -> Mutation {
    Mutation::Detach(Detach { netns: options.netns.clone(), ifname: options.ifname.clone() })
}
