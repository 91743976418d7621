//! Neighbours that need not be asked for: those that were entered by hand, and containers without a link in common.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctl::{Bridge, Config};
use flows::router::{NeighborState, Neighbors};
use flows::{BridgeIndex, Nanos};
use pktio::wire::MacAddr;

use super::Numbering;

/// Makes the entries of the table that do not age those of the configuration, and forgets the neighbours on bridges
/// that are no more.
pub fn put_neighbors(config: &Config, numbering: &Numbering, table: &Neighbors, now: Nanos) {
    let mut wanted = Vec::new();
    for (name, slot, bridge) in numbering.bridges_of(config) {
        wanted.extend(on_bridge(bridge, slot.index));
        // They are known, and need not be asked for where others would hear it.
        let parted = config.parted_on(name).filter_map(|(ip, mac)| Some((ip, MacAddr(mac?.0))));
        wanted.extend(parted.map(|(ip, mac)| (slot.index, ip, mac)));
    }
    wanted.sort_unstable();
    let there: BTreeSet<_> = numbering.bridges.values().map(|slot| slot.index).collect();
    let mut present = Vec::new();
    for entry in table.entries(now) {
        let is_static = entry.state == NeighborState::Permanent;
        let named = entry.mac.map(|mac| (entry.bridge, entry.ip, mac));
        let is_wanted = named.is_some_and(|named| wanted.binary_search(&named).is_ok());
        if !there.contains(&entry.bridge) || (is_static && !is_wanted) {
            table.remove(entry.bridge, entry.ip);
        } else if is_static {
            present.extend(named);
        }
    }
    present.sort_unstable();
    for (bridge, ip, mac) in wanted {
        // `neighbor show` shows that it is missing.
        if present.binary_search(&(bridge, ip, mac)).is_err() && !table.add_static(bridge, ip, mac)
        {
            tracing::warn!(%ip, "no room for a neighbour that was entered by hand");
        }
    }
}

fn on_bridge(
    bridge: &Bridge,
    index: BridgeIndex,
) -> impl Iterator<Item = (BridgeIndex, IpAddr, MacAddr)> + '_ {
    bridge.neighbors.iter().map(move |known| (index, known.ip, MacAddr(known.mac.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::compile::BridgeSlot;
    use flows::Fdb;
    use flows::router::Timers;
    use std::sync::Arc;

    #[test]
    fn static_neighbours_are_those_of_the_configuration_and_learned_ones_stay() {
        let table = Neighbors::new(64, Timers::default(), 1);
        let (index, gone, now) = (BridgeIndex(3), BridgeIndex(4), Nanos::from_secs(1));
        let mut numbering = Numbering::default();
        let fdb = Arc::new(Fdb::new(16, 300, 1));
        numbering.bridges.insert("a".parse().unwrap(), BridgeSlot { index, fdb });
        let mut config = Config::default();
        let bridge = config.bridges.entry("a".parse().unwrap()).or_default();
        let (ip, mac) = ("10.0.0.7".parse().unwrap(), "02:00:00:00:00:07".parse().unwrap());
        bridge.neighbors.push(ctl::StaticNeighbor { ip, mac });
        let learned: IpAddr = "10.0.0.8".parse().unwrap();
        let claim = flows::router::Claim::asking(MacAddr([2, 0, 0, 0, 0, 8]));
        table.learn(index, learned, &claim, now);
        table.learn(gone, learned, &claim, now);
        let known = || {
            let mut known: Vec<_> = table.entries(now).iter().map(|e| (e.bridge, e.ip)).collect();
            known.sort_unstable();
            known
        };
        put_neighbors(&config, &numbering, &table, now);
        assert_eq!(known(), [(index, ip), (index, learned)]);
        config.bridges.clear();
        put_neighbors(&config, &numbering, &table, now);
        assert_eq!(known(), [(index, learned)]);
    }
}
