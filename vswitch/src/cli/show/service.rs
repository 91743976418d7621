//! Services.

use ctl::HealthCheck;
use ctl::response::{BackendInfo, BackendState, ServiceInfo};

use super::{joined, or_dash};
use crate::cli::table::{Style, aligned, count, duration, facts};

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
        ("  checks", service.health.as_ref().map_or_else(|| "none".to_owned(), checks)),
    ];
    let heading = format!("{}\n", style.bold(info.name.as_str()));
    heading + &facts(&rows) + &backends(&info.backends, style)
}

fn checks(health: &HealthCheck) -> String {
    let HealthCheck { probe, port, interval, timeout, fall, rise } = health;
    let port = port.map_or(String::new(), |port| format!(" at port {port}"));
    format!(
        "{probe}{port} every {interval} s, within {timeout} s; down after {fall}, up after {rise}"
    )
}

fn backends(backends: &[BackendInfo], style: Style) -> String {
    let rows = backends.iter().map(|backend| {
        let state = match backend.state {
            BackendState::Up => style.good("up"),
            BackendState::Draining => "draining".to_owned(),
            BackendState::Down { seconds: Some(more) } => {
                style.bad(&format!("down, {more} s more"))
            }
            BackendState::Down { seconds: None } => style.bad("down"),
        };
        let age = backend.for_seconds.map(|seconds| duration(u64::from(seconds) * 1000));
        vec![
            backend.at.to_string(),
            or_dash(backend.bridge.as_ref()),
            state,
            or_dash(age),
            or_dash(backend.checks),
            count(backend.sessions),
            count(backend.begun),
            count(backend.failed),
            or_dash(backend.fault),
        ]
    });
    let headings = [
        "backend",
        "bridge",
        "state",
        "for",
        "checks",
        "sessions",
        "begun",
        "failed",
        "last fault",
    ];
    aligned(&headings, &[5, 6, 7], rows.collect())
}
