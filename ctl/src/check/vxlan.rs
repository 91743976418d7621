//! What tunnels keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{bridge_for_ports, bridge_of, check_host, check_number};
use crate::{BridgeName, Config, CtlError, ErrorCode, PortName, Vxlan};

/// The most hosts of one tunnel: each gets a copy of every broadcast.
const MAX_REMOTES: usize = 1024;

pub(super) fn check(config: &Config, name: &PortName, vxlan: &Vxlan) -> Result<(), CtlError> {
    bridge_for_ports(config, &vxlan.bridge)?;
    if config.ports.contains_key(name) {
        return Err(CtlError::new(ErrorCode::Exists, "a port has this name already"));
    }
    check_host("--local", vxlan.local)?;
    check_via(config, vxlan)?;
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

/// The bridge that packets travel over is not the one inside, and its gateway is where they arrive. What its addresses are on
/// an interface that is the host's is the host's to say.
fn check_via(config: &Config, vxlan: &Vxlan) -> Result<(), CtlError> {
    let Some(via) = &vxlan.via else { return Ok(()) };
    let bridge = bridge_of(config, via)?;
    if *via == vxlan.bridge {
        return Err(CtlError::invalid(format!(
            "the packets of a tunnel of bridge {via} cannot travel over that bridge itself; \
             name the bridge of the uplink with --via"
        )));
    }
    let is_own = |local| bridge.gateways.iter().any(|gateway| gateway.addr == local);
    if is_own(vxlan.local) || config.shared_port(via).is_some() {
        return Ok(());
    }
    Err(CtlError::invalid(format!(
        "bridge {via} does not have the address {} at which packets are to arrive; give it one with \
         `bridge set {via} --gateway`, or name another --local",
        vxlan.local
    )))
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
        return Err(CtlError::invalid(format!(
            "{remote} cannot be both --local, an address of this host, and --remote, the other host's"
        )));
    }
    if remote.is_ipv4() != local.is_ipv4() {
        return Err(CtlError::invalid(format!(
            "remote {remote} and local {local} are not of one IP version"
        )));
    }
    Ok(())
}

/// What arrives at an address and port arrives there for all tunnels in one way.
fn check_way<'a>(
    ways: &mut BTreeMap<(IpAddr, u16), (&'a PortName, &'a Option<BridgeName>)>,
    name: &'a PortName,
    vxlan: &'a Vxlan,
) -> Result<(), CtlError> {
    let Vxlan { local, dstport, via, .. } = vxlan;
    let (other, way) = *ways.entry((*local, *dstport)).or_insert((name, via));
    if way == via {
        return Ok(());
    }
    let by = |via: &Option<BridgeName>| {
        via.as_ref().map_or("by the host".to_owned(), |via| format!("over bridge {via}"))
    };
    Err(CtlError::invalid(format!(
        "packets for {local} port {dstport} cannot arrive both {} (vxlan {other}) and {} (vxlan {name}); \
         use the same --via, another --local or another --dstport",
        by(way),
        by(via)
    )))
}

/// What arrives at an address and port with a VNI can be for one tunnel only.
pub(super) fn check_endpoints(config: &Config) -> Result<(), CtlError> {
    let (mut owners, mut ways) = (BTreeMap::new(), BTreeMap::new());
    for (name, vxlan) in &config.vxlans {
        check_way(&mut ways, name, vxlan)?;
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
