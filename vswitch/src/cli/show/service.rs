//! Services.

use ctl::response::{BackendInfo, BackendState, ServiceInfo};

use super::{joined, or_dash};
use crate::cli::table::{Style, aligned, count, facts};

pub(super) fn all(services: &[ServiceInfo]) -> String {
    let rows = services.iter().map(|info| {
        let is_up = |backend: &&BackendInfo| backend.state == BackendState::Up;
        let up = info.backends.iter().filter(is_up).count();
        vec![
            info.name.to_string(),
            info.service.listen.to_string(),
            or_dash(info.service.node_port),
            format!("{up} of {}", info.backends.len()),
            info.service.balance.to_string(),
            or_dash(info.service.affinity),
            count(info.sessions),
            count(info.begun),
        ]
    });
    let headings =
        ["service", "address", "node port", "up", "balance", "affinity", "sessions", "begun"];
    aligned(&headings, &[2, 6, 7], rows.collect())
}

pub(super) fn one(info: &ServiceInfo, style: Style) -> String {
    let service = &info.service;
    let on: Vec<_> = service.on.iter().collect();
    let found_on = if on.is_empty() { "all bridges".to_owned() } else { joined(&on) };
    let fails = match service.max_fails {
        0 => "never".to_owned(),
        most => format!("for {} s after {most} failures in a row", service.fail_timeout),
    };
    let rows = [
        ("  address", service.listen.to_string()),
        ("  node port", or_dash(service.node_port)),
        ("  found on", found_on),
        ("  balance", service.balance.to_string()),
        ("  affinity", or_dash(service.affinity)),
        ("  passes over", fails),
    ];
    let heading = format!("{}\n", style.bold(info.name.as_str()));
    heading + &facts(&rows) + &backends(&info.backends, style)
}

fn backends(backends: &[BackendInfo], style: Style) -> String {
    let rows = backends.iter().map(|backend| {
        let state = match backend.state {
            BackendState::Up => style.good("up"),
            BackendState::Draining => "draining".to_owned(),
            BackendState::Down { seconds } => style.bad(&format!("down for {seconds} s")),
        };
        vec![
            backend.at.to_string(),
            or_dash(backend.bridge.as_ref()),
            state,
            count(backend.sessions),
            count(backend.begun),
            count(backend.failed),
        ]
    });
    let headings = ["backend", "bridge", "state", "sessions", "begun", "failed"];
    aligned(&headings, &[3, 4, 5], rows.collect())
}
