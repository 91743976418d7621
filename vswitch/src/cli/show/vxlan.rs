//! Tunnels.

use std::net::SocketAddr;

use ctl::response::{VtepInfo, VxlanInfo};

use super::{joined, state, state_word, yes_or_no};
use crate::cli::table::{Style, aligned, count, facts};

pub(super) fn all(vxlans: &[VxlanInfo]) -> String {
    let rows = vxlans.iter().map(|vxlan| {
        let settings = &vxlan.settings;
        let remotes: Vec<_> = vxlan.vteps.iter().map(|vtep| vtep.remote).collect();
        vec![
            vxlan.name.to_string(),
            settings.bridge.to_string(),
            state_word(&vxlan.state).to_owned(),
            settings.vni.to_string(),
            SocketAddr::new(settings.local, settings.dstport).to_string(),
            vxlan.inner_mtu.to_string(),
            joined(&remotes),
        ]
    });
    let headings = ["vxlan", "bridge", "state", "vni", "local", "mtu", "remotes"];
    aligned(&headings, &[3, 5], rows.collect())
}

pub(super) fn one(vxlan: &VxlanInfo, style: Style) -> String {
    let settings = &vxlan.settings;
    let state = state(&vxlan.state, style);
    let underlay = settings.underlay_mtu;
    let via = settings.via.as_ref().map(|via| ("  via", format!("bridge {via}")));
    let rows = [
        ("  bridge", settings.bridge.to_string()),
        ("  VNI", settings.vni.to_string()),
        ("  local", format!("{} port {}", settings.local, settings.dstport)),
        ("  MTU", format!("{} inside, {underlay} outside", vxlan.inner_mtu)),
        ("  TTL", settings.ttl.to_string()),
        ("  TOS", settings.tos.to_string()),
        ("  learning", yes_or_no(settings.learning)),
    ];
    let network = vxlan.network.as_ref().map(|network| ("  network", network.to_string()));
    let rows: Vec<_> = rows.into_iter().chain(via).chain(network).collect();
    let heading = format!("{} {state}\n", style.bold(vxlan.name.as_str()));
    heading + &facts(&rows) + &vteps(&vxlan.vteps)
}

fn vteps(vteps: &[VtepInfo]) -> String {
    let rows = vteps.iter().map(|vtep| {
        vec![
            vtep.remote.to_string(),
            if vtep.learned { "learned" } else { "static" }.to_owned(),
            vtep.stations.to_string(),
            count(vtep.counters.received),
            count(vtep.counters.dropped_in),
            count(vtep.counters.transmitted),
            count(vtep.counters.dropped_out),
        ]
    });
    let headings = ["host", "known", "stations", "rx", "dropped", "tx", "dropped"];
    aligned(&headings, &[2, 3, 4, 5, 6], rows.collect())
}
