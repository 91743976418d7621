//! Whether a network that is there is the one that a configuration describes. What the configuration does not say
//! is no difference: somebody else may have made the network.

use ctl::Shape;
use ctl::response::NetworkInfo;

use crate::wanted::Wanted;
use crate::{CniError, Ipam};

/// That a network is as the configuration has it.
///
/// # Errors
/// [`CniError::Invalid`], with all that is otherwise.
pub(crate) fn check(wanted: &Wanted, present: &NetworkInfo) -> Result<(), CniError> {
    let mut found: Vec<String> =
        other_settings(wanted, present).map(|key| format!("{key} is another")).collect();
    found.extend(other_subnets(wanted, present));
    found.extend(other_ranges(wanted, present)?);
    if found.is_empty() {
        return Ok(());
    }
    let name = &present.name;
    let why = format!("{}; `vswitchctl network inspect {name}` shows it", found.join(", "));
    Err(CniError::invalid(format!("network {name} exists otherwise"), why))
}

/// The keys of which the network has other values.
fn other_settings(wanted: &Wanted, present: &NetworkInfo) -> impl Iterator<Item = &'static str> {
    let (keys, has) = (&wanted.conf.keys, &present.settings);
    let is_other = |asked: Option<bool>, has: bool| asked.is_some_and(|asked| asked != has);
    let tunnel = keys.vxlan.as_ref().map(|tunnel| tunnel.vni);
    let vni = has.vxlan.as_ref().map(|overlay| overlay.vni);
    let other_ipam = has_other_ipam(&wanted.conf.ipam, present);
    let all = [
        (is_other(keys.internal, has.internal), "internal"),
        (is_other(keys.isolated, has.isolated), "isolated"),
        (keys.shape.is_some_and(|shape| shape != has.shape), "shape"),
        (is_other(keys.ip_masq, has.masquerade), "ipMasq"),
        (keys.mtu.is_some_and(|mtu| mtu != has.mtu), "mtu"),
        (tunnel.is_some() && tunnel != vni, "vxlan.vni"),
        (other_ipam, "ipam"),
    ];
    all.into_iter().filter_map(|(is_other, key)| is_other.then_some(key))
}

/// Whether a container gets its addresses otherwise there. Where the switch tells them by DHCP it configures none itself.
fn has_other_ipam(ipam: &Ipam, present: &NetworkInfo) -> bool {
    let gives_addresses = !present.subnets.is_empty();
    let is_served = present.settings.shape != Shape::Direct
        && present.subnets.iter().any(|of| of.subnet.is_ipv4() && of.gateway.is_some());
    match ipam {
        Ipam::Nobody => gives_addresses,
        _ if ipam.asks_through_interface() => gives_addresses && !is_served,
        Ipam::Daemon(_) => !gives_addresses || present.settings.dhcp,
        Ipam::Plugin(_) => present.settings.dhcp,
    }
}

fn other_subnets(wanted: &Wanted, present: &NetworkInfo) -> Vec<String> {
    let mut found = Vec::new();
    for (subnet, gateway) in wanted.subnets() {
        match present.subnets.iter().find(|present| present.subnet == subnet) {
            None => found.push(format!("it has not the subnet {subnet}")),
            Some(present) if gateway.is_some() && present.gateway != gateway => {
                found.push(format!("the gateway of {subnet} is another"));
            }
            Some(_) => {}
        }
    }
    found
}

fn other_ranges(wanted: &Wanted, present: &NetworkInfo) -> Result<Option<String>, CniError> {
    let has: Vec<_> = present.subnets.iter().flat_map(|subnet| &subnet.ranges).collect();
    let missing = wanted.spans()?.into_iter().find(|span| !has.contains(&span));
    Ok(missing.map(|span| format!("it does not give the range {span}")))
}
