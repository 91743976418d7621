//! Neighbours of the router.

use std::collections::HashMap;

use ctl::response::{NeighborInfo, NeighborState};
use ctl::{CtlError, MacAddr, NeighborFilter};
use flows::router;

use crate::control::switch::Switch;

impl Switch {
    /// The neighbours that a filter means, in order.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not say what waits with it.
    pub fn neighbors(&mut self, filter: &NeighborFilter) -> Result<Vec<NeighborInfo>, CtlError> {
        let mut held = HashMap::new();
        for next_hop in self.books()?.reports.iter().flat_map(|report| &report.awaited) {
            *held.entry(*next_hop).or_default() += 1;
        }
        let now = self.fleet_ref().clock().now();
        let mut entries = self.fleet_ref().tables().neighbors.entries(now);
        entries.retain(|entry| self.is_meant(filter, entry));
        entries.sort_unstable();
        let info = |entry: &router::NeighborEntry| {
            Some(NeighborInfo {
                bridge: self.numbering().bridge_name(entry.bridge)?.clone(),
                ip: entry.ip,
                mac: entry.mac.map(|mac| MacAddr(mac.0)),
                state: state(entry.state),
                age_seconds: u32::try_from(entry.age.as_secs()).unwrap_or(u32::MAX),
                held: held.get(&(entry.bridge, entry.ip)).copied().unwrap_or(0),
            })
        };
        Ok(entries.iter().filter_map(info).collect())
    }
}

fn state(state: router::NeighborState) -> NeighborState {
    match state {
        router::NeighborState::Incomplete | router::NeighborState::Retry => {
            NeighborState::Resolving
        }
        router::NeighborState::Reachable => NeighborState::Reachable,
        router::NeighborState::Stale | router::NeighborState::Probe => NeighborState::Stale,
        router::NeighborState::Failed => NeighborState::Failed,
        router::NeighborState::Permanent => NeighborState::Static,
    }
}
