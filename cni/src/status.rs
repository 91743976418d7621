//! STATUS: whether ADD would succeed.

use crate::remove::pass;
use crate::switch::Switch;
use crate::{Call, CniError, Ipam};

/// Carries STATUS out: the daemon answers, and there are addresses.
pub(crate) fn status(call: &Call) -> Result<(), CniError> {
    let mut switch = Switch::greet(&call.conf.keys.socket)?;
    let name = call.conf.network()?;
    let networks = switch.networks()?;
    let network = networks.iter().find(|network| network.name == name);
    if matches!(call.conf.ipam, Ipam::Daemon(_)) {
        for ipv4 in [true, false] {
            let subnets = network.into_iter().flat_map(|network| &network.subnets);
            let mut of_version = subnets.filter(|subnet| subnet.subnet.is_ipv4() == ipv4).peekable();
            let is_full = |subnet: &ctl::response::SubnetInfo| {
                u64::try_from(subnet.leases).unwrap_or(u64::MAX) >= subnet.addresses
            };
            if of_version.peek().is_some() && of_version.all(is_full) {
                let text = format!("network {name} has no free address left; `vswitchctl ipam audit` finds leaked ones");
                return Err(CniError::Unavailable(text));
            }
        }
    }
    pass(call, "STATUS")
}
