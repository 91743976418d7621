//! Routes and neighbours.

use ctl::response::{NeighborInfo, NeighborState, RouteInfo, RouteKind, Routes};

use super::{joined, or_dash};
use crate::cli::table::aligned;

pub(super) fn routes(routes: &Routes) -> String {
    let rows = routes.routes.iter().map(|route| {
        vec![destination(route), route.on.to_string(), kind(route).to_owned(), joined(&route.via)]
    });
    let mut text = aligned(&["to", "on", "kind", "via"], &[], rows.collect());
    for allowance in &routes.allowed {
        text += &format!("{} may reach {}\n", allowance.from, allowance.to);
    }
    if routes.allowed.is_empty() {
        text += "no bridge may reach another; see `route allow`\n";
    }
    text
}

fn destination(route: &RouteInfo) -> String {
    if route.to.prefix_len() == 0 { "default".to_owned() } else { route.to.to_string() }
}

fn kind(route: &RouteInfo) -> &'static str {
    match route.kind {
        RouteKind::Connected => "connected",
        RouteKind::Local => "local",
        RouteKind::Static => "static",
    }
}

pub(super) fn neighbors(neighbors: &[NeighborInfo]) -> String {
    let rows = neighbors.iter().map(|neighbor| {
        vec![
            neighbor.bridge.to_string(),
            neighbor.ip.to_string(),
            or_dash(neighbor.mac),
            state(neighbor).to_owned(),
            neighbor.age_seconds.to_string(),
            neighbor.held.to_string(),
        ]
    });
    aligned(&["bridge", "ip", "mac", "state", "age s", "held"], &[4, 5], rows.collect())
}

fn state(neighbor: &NeighborInfo) -> &'static str {
    match neighbor.state {
        NeighborState::Resolving => "resolving",
        NeighborState::Reachable => "reachable",
        NeighborState::Stale => "stale",
        NeighborState::Failed => "failed",
        NeighborState::Static => "static",
    }
}
