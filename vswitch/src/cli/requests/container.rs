//! Containers.

use ctl::{Attach, Detach, Mutation};

use super::port::vlan_of;
use crate::cli::args::{AttachOptions, DetachOptions};

pub(super) fn attach(options: &AttachOptions) -> Mutation {
    Mutation::Attach(Attach {
        netns: options.netns.clone(),
        bridge: options.bridge.clone(),
        ifname: options.ifname.clone(),
        mac: options.mac,
        ips: options.ips.clone(),
        gateways: options.gateways.clone(),
        mtu: options.mtu,
        vlan: vlan_of(&options.vlan).unwrap_or_default(),
    })
}

pub(super) fn detach(options: &DetachOptions) -> Mutation {
    Mutation::Detach(Detach { netns: options.netns.clone(), ifname: options.ifname.clone() })
}
