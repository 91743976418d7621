//! What tunnels keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{bridge_for_ports, check_host, check_number};
use crate::{Config, CtlError, ErrorCode, PortName, Vxlan};

/// The most hosts of one tunnel: each gets a copy of every broadcast.
const MAX_REMOTES: usize = 1024;

pub(super) fn check(config: &Config, name: &PortName, vxlan: &Vxlan) -> Result<(), CtlError> {
    bridge_for_ports(config, &vxlan.bridge)?;
    if config.ports.contains_key(name) {
        return Err(CtlError::new(ErrorCode::Exists, "a port has this name already"));
    }
    check_host("--local", vxlan.local)?;
    if vxlan.dstport == 0 || vxlan.ttl == 0 {
        return Err(CtlError::invalid("neither --dstport nor --ttl can be 0"));
    }
    if let Err(error) = vxlan.inner_mtu() {
        return Err(CtlError::invalid(format!(
            "an underlay MTU of {} leaves too little for what is inside: {error}",
            vxlan.underlay_mtu
        )));
    }
    check_number("remotes of one tunnel", vxlan.remotes.len(), MAX_REMOTES)?;
    let mut remotes = BTreeSet::new();
    for remote in &vxlan.remotes {
        check_remote(vxlan, *remote)?;
        if !remotes.insert(remote) {
            return Err(CtlError::invalid(format!("remote {remote} is given twice")));
        }
    }
    Ok(())
}

fn check_remote(vxlan: &Vxlan, remote: IpAddr) -> Result<(), CtlError> {
    let local = vxlan.local;
    if remote.is_multicast() {
        return Err(CtlError::invalid(format!(
            "remote {remote} is a multicast group; name each host with a --remote of its own"
        )));
    }
    check_host("remote", remote)?;
    if remote == local {
        return Err(CtlError::invalid(format!("{remote} cannot be both --local and --remote")));
    }
    if remote.is_ipv4() != local.is_ipv4() {
        return Err(CtlError::invalid(format!(
            "remote {remote} and local {local} are not of one IP version"
        )));
    }
    Ok(())
}

/// What arrives at an address and port with a VNI can be for one tunnel only.
pub(super) fn check_endpoints(config: &Config) -> Result<(), CtlError> {
    let mut owners = BTreeMap::new();
    for (name, vxlan) in &config.vxlans {
        let Vxlan { vni, local, dstport, .. } = vxlan;
        let Some(other) = owners.insert((local, dstport, vni), name) else { continue };
        let message = format!(
            "VNI {vni} at {local} port {dstport} cannot be both vxlan {other} and {name}; \
             use another --vni, --local or --dstport"
        );
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    Ok(())
}
