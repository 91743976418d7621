//! Networks, and who has which address.

use ctl::response::{LeaseInfo, NetworkInfo, SubnetInfo, UnusedInfo};
use ctl::{CtlError, ErrorCode, IpamFilter};

use crate::control::switch::Switch;

impl Switch {
    /// All networks.
    pub fn networks(&self) -> Vec<NetworkInfo> {
        let config = self.config();
        config.networks.keys().filter_map(|name| NetworkInfo::of(config, name)).collect()
    }

    /// The addresses that are given out, of the subnets that a filter means.
    ///
    /// # Errors
    /// [`CtlError`], when there is no such network.
    pub fn leases(&self, filter: &IpamFilter) -> Result<Vec<LeaseInfo>, CtlError> {
        let config = self.config();
        if let Some(name) = filter.network.as_ref().filter(|n| !config.networks.contains_key(*n)) {
            let message =
                format!("network {name} does not exist; `network list` shows those that do");
            return Err(CtlError::new(ErrorCode::NotFound, message));
        }
        Ok(LeaseInfo::all(config, filter))
    }

    /// The addresses of some subnets that are given out and that no port has, and the subnets that no network has.
    ///
    /// # Errors
    /// [`CtlError`], when there is no such network.
    pub fn unused(&self, filter: &IpamFilter) -> Result<UnusedInfo, CtlError> {
        let mut leases = self.leases(filter)?;
        leases.retain(|lease| lease.port.is_none());
        let kept = self.config().pools.iter().filter(|(subnet, _)| filter.means(None, subnet));
        Ok(UnusedInfo { leases, pools: kept.map(|(_, pool)| SubnetInfo::of(pool)).collect() })
    }
}
