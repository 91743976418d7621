//! Routes.

use ctl::response::{RouteInfo, RouteKind, Routes};
use ctl::{Allowance, Prefix};

use crate::control::switch::Switch;

impl Switch {
    /// All routes, and which bridges may be reached from which.
    pub fn routes(&self) -> Routes {
        let config = self.config();
        let mut routes = Vec::new();
        for (on, bridge) in &config.bridges {
            let connected = bridge.subnets().map(|(subnet, _)| (subnet, RouteKind::Connected));
            let own =
                bridge.gateways.iter().map(|cidr| (Prefix::host(cidr.addr), RouteKind::Local));
            routes.extend(connected.chain(own).map(|(to, kind)| RouteInfo {
                to,
                on: on.clone(),
                kind,
                via: Vec::new(),
            }));
            let entered = config.routes.get(on).into_iter().flatten();
            routes.extend(entered.map(|(to, route)| RouteInfo {
                to: *to,
                on: on.clone(),
                kind: RouteKind::Static,
                via: route.via.clone(),
            }));
        }
        let allowed = config.bridges.keys().flat_map(|from| {
            let reached = config.reached_from(from);
            reached.map(|to| Allowance { from: from.clone(), to: to.clone() })
        });
        Routes { routes, allowed: allowed.collect() }
    }
}
