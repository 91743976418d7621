//! STATUS: whether ADD would succeed.

use ctl::response::NetworkInfo;

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
        network.map_or(Ok(()), has_addresses)?;
    }
    pass(call, "STATUS")
}

/// A container has an address of each IP version.
fn has_addresses(network: &NetworkInfo) -> Result<(), CniError> {
    for ipv4 in [true, false] {
        let mut subnets =
            network.subnets.iter().filter(|subnet| subnet.subnet.is_ipv4() == ipv4).peekable();
        if subnets.peek().is_some() && subnets.all(|subnet| subnet.exhausted) {
            return Err(CniError::Unavailable(format!(
                "network {} has no free address left; `vswitchctl ipam audit` finds leaked ones",
                network.name
            )));
        }
    }
    Ok(())
}
