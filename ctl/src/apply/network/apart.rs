//! Rules that lead to an address and do not say on which network that is: one that is made has none of these addresses.

use std::net::IpAddr;

use crate::{BridgeName, Config, CtlError, End, ErrorCode, NatRule, Network, Prefix};

/// That it stays clear where rules lead to.
///
/// # Errors
/// [`ErrorCode::Exists`], with the rule and the network that has the address.
pub(super) fn check(config: &Config, name: &BridgeName, network: &Network) -> Result<(), CtlError> {
    let subnet_of = |ip: &IpAddr| {
        let subnet = network.pool_of(*ip)?.subnet;
        network.gateways().any(|own| subnet.contains(own.addr)).then_some(subnet)
    };
    let Some((rule, ip, holder, subnet)) =
        published(config, &subnet_of).or_else(|| served(config, &subnet_of))
    else {
        return Ok(());
    };
    let kind = if config.networks.contains_key(holder) { "network" } else { "bridge" };
    let message = format!(
        "{rule} leads to {ip} on {kind} {holder}, which subnet {subnet} would have too, and does not say which of the two it means; \
         choose another --subnet, or make that anew with `--to {holder}`"
    );
    Err(CtlError::new(ErrorCode::Exists, message).within("network", name))
}

/// What leads to an address, the address, who has it, and the subnet that would have it as well.
type Claim<'a> = (String, IpAddr, &'a BridgeName, Prefix);

fn published<'a>(
    config: &'a Config,
    subnet_of: &impl Fn(&IpAddr) -> Option<Prefix>,
) -> Option<Claim<'a>> {
    config.nat.marked(End::Unnamed).find_map(|(name, rule)| {
        let NatRule::Publish(rule) = rule else { return None };
        let ip = rule.forward.container;
        let subnet = subnet_of(&ip)?;
        Some((format!("nat rule {name}"), ip, config.container_bridge(rule)?, subnet))
    })
}

fn served<'a>(
    config: &'a Config,
    subnet_of: &impl Fn(&IpAddr) -> Option<Prefix>,
) -> Option<Claim<'a>> {
    let nameless = config.services.iter().filter(|(_, service)| service.to.is_none());
    nameless.into_iter().find_map(|(name, service)| {
        let mut ips = service.backends.iter().map(|backend| backend.at.ip());
        let (ip, subnet) = ips.find_map(|ip| Some((ip, subnet_of(&ip)?)))?;
        Some((format!("service {name}"), ip, config.backend_bridges(service, ip).next()?, subnet))
    })
}
