//! Changes of tunnels.

use super::{fdb, otherwise};
use crate::check::no_vxlan;
use crate::{Config, CtlError, ErrorCode, Named, PortName, VxlanAdd, VxlanSet};

pub(super) fn add(config: &mut Config, add: &VxlanAdd) -> Result<(), CtlError> {
    let VxlanAdd { name, vxlan } = add;
    if config.ports.contains_key(name) {
        let message =
            format!("{name} is a port already, and a tunnel is one too; choose another name");
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    match config.vxlans.get(name) {
        Some(present) if present != vxlan => {
            Err(otherwise("vxlan", name, "change it with `vxlan set`, or `vxlan del` it first"))
        }
        _ => {
            config.vxlans.insert(name.clone(), vxlan.clone());
            Ok(())
        }
    }
}

pub(super) fn del(config: &mut Config, named: &Named<PortName>) -> Result<(), CtlError> {
    match config.vxlans.remove(&named.name) {
        Some(vxlan) => fdb::forget_behind(config, &vxlan.bridge, &named.name),
        None if named.if_exists => {}
        None => return Err(no_vxlan(&named.name)),
    }
    Ok(())
}

pub(super) fn set(config: &mut Config, set: &VxlanSet) -> Result<(), CtlError> {
    let Some(vxlan) = config.vxlans.get_mut(&set.name) else { return Err(no_vxlan(&set.name)) };
    if let Some(remotes) = &set.remotes {
        vxlan.remotes.clone_from(remotes);
    }
    vxlan.ttl = set.ttl.unwrap_or(vxlan.ttl);
    vxlan.tos = set.tos.unwrap_or(vxlan.tos);
    vxlan.learning = set.learning.unwrap_or(vxlan.learning);
    vxlan.underlay_mtu = set.underlay_mtu.unwrap_or(vxlan.underlay_mtu);
    Ok(())
}
