//! Bridges and stations.

use ctl::response::{BridgeInfo, FdbInfo};

use super::conn::carrier;
use super::{joined, or_dash};
use crate::cli::table::{aligned, count, duration, facts};

pub(super) fn all(bridges: &[BridgeInfo]) -> String {
    let rows = bridges.iter().map(|bridge| {
        vec![
            bridge.name.to_string(),
            bridge.ports.len().to_string(),
            bridge.stations.to_string(),
            bridge.settings.mac_limit.to_string(),
            bridge.settings.ageing_seconds.to_string(),
            bridge.settings.mtu.to_string(),
            joined(&bridge.settings.gateways),
        ]
    });
    let headings = ["bridge", "ports", "stations", "limit", "ageing s", "mtu", "gateways"];
    aligned(&headings, &[1, 2, 3, 4, 5], rows.collect())
}

pub(super) fn one(bridge: &BridgeInfo) -> String {
    let ports: Vec<_> = bridge.ports.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("bridge", bridge.name.to_string()),
        ("ports", ports.join(" ")),
        ("MTU", bridge.settings.mtu.to_string()),
        ("ageing", duration(u64::from(bridge.settings.ageing_seconds) * 1000)),
        ("stations", format!("{} of at most {}", bridge.stations, bridge.settings.mac_limit)),
        ("learned", count(bridge.learned)),
        ("moved", count(bridge.moved)),
        ("aged out", count(bridge.expired)),
        ("not learned", count(bridge.refused)),
        ("static", bridge.settings.statics.len().to_string()),
    ];
    let vlan_of = bridge.settings.vlan_of.as_ref();
    rows.extend(vlan_of.map(|own| ("VLAN", format!("{} of bridge {}", own.vlan, own.bridge))));
    rows.extend(bridge.network.as_ref().map(|network| ("network", network.to_string())));
    rows.extend(router(bridge));
    facts(&rows)
}

/// What the router is on a bridge.
fn router(bridge: &BridgeInfo) -> Vec<(&'static str, String)> {
    let settings = &bridge.settings;
    let mut rows = Vec::new();
    rows.extend(settings.gateways.iter().map(|gateway| ("gateway", gateway.to_string())));
    rows.extend(bridge.router_mac.map(|mac| ("gateway MAC", mac.to_string())));
    rows.extend(settings.advertise.as_ref().map(|advertise| ("advertises", advertise.to_string())));
    rows.extend(settings.proxy.iter().map(|network| ("answers for", network.to_string())));
    let neighbors = settings.neighbors.iter();
    rows.extend(neighbors.map(|one| ("neighbour", format!("{} is {}", one.ip, one.mac))));
    rows
}

pub(super) fn stations(stations: &[FdbInfo]) -> String {
    let mut headings = vec!["bridge", "vlan", "mac", "port", "vtep", "age s"];
    if stations.iter().any(|station| station.is_offloaded) {
        headings.push("carried by");
    }
    let columns = headings.len();
    let rows = stations.iter().map(|station| {
        let mut row = vec![
            station.bridge.to_string(),
            or_dash(station.vlan),
            station.mac.to_string(),
            station.port.to_string(),
            or_dash(station.vtep),
            if station.is_static { "static".to_owned() } else { station.age_seconds.to_string() },
            carrier(station.is_offloaded),
        ];
        row.truncate(columns);
        row
    });
    aligned(&headings, &[5], rows.collect())
}
