//! Networks and addresses.

use ctl::Shape;
use ctl::response::{EndpointInfo, LeaseInfo, NetworkInfo, SubnetInfo, UnusedInfo};

use super::{joined, or_dash};
use crate::cli::table::{Style, aligned, count, facts};

pub(super) fn all(networks: &[NetworkInfo]) -> String {
    let rows = networks.iter().map(|network| {
        let subnets: Vec<_> = network.subnets.iter().map(|subnet| subnet.subnet).collect();
        let gateways: Vec<_> = network.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
        vec![
            network.name.to_string(),
            joined(&subnets),
            joined(&gateways),
            way_out(network),
            network.mtu.to_string(),
            network.endpoints.iter().filter(|endpoint| !endpoint.host).count().to_string(),
        ]
    });
    let headings = ["network", "subnets", "gateways", "way out", "mtu", "containers"];
    aligned(&headings, &[4, 5], rows.collect())
}

/// Where packets of a network go that are for nobody on it.
fn way_out(network: &NetworkInfo) -> String {
    match (&network.settings, network.settings.shape) {
        (_, Shape::Direct) => "the wire".to_owned(),
        (_, Shape::Routed) => "routed".to_owned(),
        (settings, _) if settings.internal => "internal".to_owned(),
        (settings, _) if !settings.masquerade => "by hand".to_owned(),
        _ if network.subnets.iter().all(|subnet| subnet.gateway.is_none()) => {
            "no gateway".to_owned()
        }
        _ if network.uplinks.is_empty() => "no uplink".to_owned(),
        _ => joined(&network.uplinks),
    }
}

pub(super) fn one(network: &NetworkInfo, style: Style) -> String {
    let settings = &network.settings;
    let mut rows: Vec<_> = network.subnets.iter().map(|one| ("  subnet", subnet(one))).collect();
    rows.extend((!settings.shape.is_bridged()).then(|| ("  shape", settings.shape.to_string())));
    rows.push(("  way out", way_out(network)));
    rows.push(("  MTU", network.mtu.to_string()));
    rows.extend(settings.isolated.then(|| ("  isolated", "from each other".to_owned())));
    rows.extend(settings.vxlan.as_ref().map(|overlay| {
        let (local, remotes) = (joined(overlay.local.as_slice()), joined(&overlay.remotes));
        let via = overlay.via.as_ref().map_or_else(String::new, |via| format!(" over {via}"));
        ("  VXLAN", format!("VNI {} at {local}{via}, remotes {remotes}", overlay.vni))
    }));
    rows.push(("  names", names(network)));
    rows.extend(settings.dhcp.then(|| ("  DHCP", "containers ask for their addresses".to_owned())));
    let labels = settings.labels.iter();
    rows.extend(labels.map(|(key, text)| ("  label", format!("{key}={text}"))));
    format!("{}\n{}{}", style.bold(network.name.as_str()), facts(&rows), endpoints(network))
}

/// Whether its gateways answer names, and who is asked about others.
fn names(network: &NetworkInfo) -> String {
    let settings = &network.settings;
    match (settings.dns, &settings.resolvers[..]) {
        _ if network.subnets.iter().all(|subnet| subnet.gateway.is_none()) => {
            "no gateway".to_owned()
        }
        (false, _) => "not answered".to_owned(),
        (true, []) if settings.internal => "its containers' only".to_owned(),
        (true, []) => "others by the host's resolvers".to_owned(),
        (true, resolvers) => format!("others by {}", joined(resolvers)),
    }
}

pub(super) fn subnet(subnet: &SubnetInfo) -> String {
    let mut words = vec![subnet.subnet.to_string()];
    words.extend(subnet.gateway.map(|gateway| format!("gateway {gateway}")));
    words.extend((!subnet.ranges.is_empty()).then(|| format!("gives {}", joined(&subnet.ranges))));
    let reserved = &subnet.reserved;
    words.extend((!reserved.is_empty()).then(|| format!("but for {}", joined(reserved))));
    let leases = u64::try_from(subnet.leases).unwrap_or(u64::MAX);
    words.push(format!("{} given out", count(leases)));
    words.join(", ")
}

fn endpoints(network: &NetworkInfo) -> String {
    let rows = network.endpoints.iter().map(|endpoint| {
        vec![
            endpoint.port.to_string(),
            addresses(endpoint),
            or_dash(endpoint.mac),
            match &endpoint.netns {
                _ if endpoint.host => format!("{} (the host's)", endpoint.ifname),
                Some(netns) => format!("{netns}:{}", endpoint.ifname),
                None => endpoint.ifname.to_string(),
            },
            endpoint.owner.to_string(),
            joined(&endpoint.aliases),
        ]
    });
    aligned(&["port", "addresses", "mac", "interface", "owner", "aliases"], &[], rows.collect())
}

fn addresses(endpoint: &EndpointInfo) -> String {
    joined(&endpoint.addresses.iter().map(|one| one.address).collect::<Vec<_>>())
}

/// What was connected: what the container has now.
pub(super) fn connected(endpoint: &EndpointInfo, changed: bool) -> String {
    let unchanged = if changed { "" } else { " (unchanged)" };
    format!("{} {}{unchanged}\n", endpoint.port, addresses(endpoint))
}

/// What was made: its name, and the subnets that it has.
pub(super) fn created(network: &NetworkInfo, changed: bool) -> String {
    let subnets: Vec<_> = network.subnets.iter().map(|subnet| subnet.subnet).collect();
    let unchanged = if changed { "" } else { " (unchanged)" };
    format!("{} {}{unchanged}\n", network.name, joined(&subnets))
}

pub(super) fn leases(leases: &[LeaseInfo]) -> String {
    let rows = leases.iter().map(|lease| {
        vec![
            lease.address.to_string(),
            or_dash(lease.network.as_ref()),
            lease.owner.to_string(),
            or_dash(lease.port.as_ref()),
            if lease.held { "until released" } else { "with its port" }.to_owned(),
        ]
    });
    aligned(&["address", "network", "owner", "port", "kept"], &[], rows.collect())
}

/// What no port has, and, if there are any, the subnets that no network has.
pub(super) fn unused(unused: &UnusedInfo) -> String {
    let rows = unused.pools.iter().map(|pool| {
        let given = u64::try_from(pool.leases).unwrap_or(u64::MAX);
        vec![pool.subnet.to_string(), or_dash(pool.gateway), count(given)]
    });
    let pools = aligned(&["kept subnet", "gateway", "given out"], &[2], rows.collect());
    leases(&unused.leases) + if unused.pools.is_empty() { "" } else { &pools }
}
