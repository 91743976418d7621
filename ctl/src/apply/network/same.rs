//! Whether a network that is there is the one that a request describes. What the request does not say is no difference.

use std::net::IpAddr;

use crate::attach::{difference, list};
use crate::ipam::Span;
use crate::{Config, CtlError, ErrorCode, Network, NetworkCreate, NetworkSettings};

/// That a network which is there is the one that is asked for.
///
/// # Errors
/// [`ErrorCode::Exists`], with all that is otherwise.
pub(super) fn check(
    config: &Config,
    present: &Network,
    create: &NetworkCreate,
) -> Result<(), CtlError> {
    let mut found = other_settings(&present.settings, &create.settings);
    if create.host_port.is_some() && config.host_ports(present).next().is_none() {
        found.push(
            "without an interface of the host (`network set --host-port` makes it)".to_owned(),
        );
    }
    found.extend(other_addresses(present, create));
    if found.is_empty() {
        return Ok(());
    }
    let message = format!(
        "network {} exists already, otherwise: {}; `network inspect` shows it; change it with `network set`, or `network rm` it first",
        create.name,
        found.join("; ")
    );
    Err(CtlError::new(ErrorCode::Exists, message))
}

fn other_settings(has: &NetworkSettings, asked: &NetworkSettings) -> Vec<String> {
    let labels = |of: &NetworkSettings| {
        let labels = of.labels.iter().map(|(key, text)| format!("{key}={text}"));
        list(&labels.collect::<Vec<_>>())
    };
    let tunnel = (has.vxlan != asked.vxlan).then(|| "another tunnel, or none".to_owned());
    let found = [
        difference("internal", has.internal, asked.internal),
        difference("isolated", has.isolated, asked.isolated),
        difference("shape", has.shape, asked.shape),
        difference("masquerade", has.masquerade, asked.masquerade),
        difference("MTU", has.mtu, asked.mtu),
        tunnel,
        difference("names answered", has.dns, asked.dns),
        difference("resolvers", list(&has.resolvers), list(&asked.resolvers)),
        difference("DHCP", has.dhcp, asked.dhcp),
        difference("labels", labels(has), labels(asked)),
    ];
    found.into_iter().flatten().collect()
}

/// What a request says of subnets and addresses that is otherwise.
fn other_addresses(present: &Network, create: &NetworkCreate) -> Vec<String> {
    let pools = || present.pools.values();
    let has_gateways = pools().any(|pool| pool.gateway.is_some());
    let subnets = create.subnets.iter().filter(|subnet| !present.pools.contains_key(subnet));
    let is_gateway = |addr: &IpAddr| pools().any(|pool| pool.gateway == Some(*addr));
    let gateways = create.gateways.iter().filter(|addr| !is_gateway(addr));
    let gives = |span: &Span| pools().any(|pool| pool.ranges.contains(span));
    let ranges = create.ranges.iter().filter(|span| !gives(span));
    let reserves = |span: &Span| pools().any(|pool| pool.reserved.contains(span));
    let reserved = create.reserved.iter().filter(|span| !reserves(span));
    let has_ipv6 = present.pools.keys().any(|subnet| !subnet.is_ipv4());
    let wants_gateways = !create.no_gateway && !create.unnumbered;
    let whole = [
        (wants_gateways != has_gateways)
            .then(|| if has_gateways { "it has gateways" } else { "it has no gateway" }.to_owned()),
        (create.unnumbered != present.pools.is_empty()).then(|| {
            if create.unnumbered { "it has subnets" } else { "it has no subnet" }.to_owned()
        }),
        (create.ipv6 && !has_ipv6).then(|| "it has no IPv6".to_owned()),
    ];
    subnets
        .map(|subnet| format!("it has not the subnet {subnet}"))
        .chain(gateways.map(|addr| format!("{addr} is not its gateway")))
        .chain(ranges.map(|span| format!("it does not give the range {span}")))
        .chain(reserved.map(|span| format!("it does not reserve {span}")))
        .chain(whole.into_iter().flatten())
        .collect()
}
