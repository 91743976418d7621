//! Ports.

use ctl::PortKind;
use ctl::response::{DeviceInfo, PortInfo, QueueInfo};

use super::{joined, or_dash, state, state_word, yes_or_no};
use crate::cli::table::{Style, aligned, bytes, facts};

fn place(port: &PortInfo) -> String {
    let (netns, interface) = port.settings.kind.interface();
    netns.map_or_else(|| interface.to_string(), |netns| format!("{netns}:{interface}"))
}

pub(super) fn all(ports: &[PortInfo]) -> String {
    let rows = ports.iter().map(|port| {
        let device = port.device.as_ref();
        vec![
            port.name.to_string(),
            port.settings.bridge.to_string(),
            state_word(&port.state).to_owned(),
            device.map_or("-", |d| d.mode.split([' ', ',']).next().unwrap_or("-")).to_owned(),
            place(port),
            joined(&port.aliases),
            or_dash(device.and_then(|d| d.mac)),
            port.mtu.to_string(),
            port.settings.vlan.to_string(),
        ]
    });
    let headings =
        ["port", "bridge", "state", "mode", "interface", "aliases", "mac", "mtu", "vlan"];
    aligned(&headings, &[7], rows.collect())
}

pub(super) fn one(port: &PortInfo, style: Style) -> String {
    let state = state(&port.state, style);
    let mut rows = settings(port);
    if let Some(device) = &port.device {
        rows.extend(device_facts(device));
    }
    format!("{} {state}\n{}", style.bold(port.name.as_str()), facts(&rows))
}

fn settings(port: &PortInfo) -> Vec<(&'static str, String)> {
    let settings = &port.settings;
    let mut rows = vec![
        ("  bridge", settings.bridge.to_string()),
        ("  interface", place(port)),
        ("  MTU", port.mtu.to_string()),
        ("  VLANs", settings.vlan.to_string()),
        ("  isolated", yes_or_no(settings.isolated)),
        ("  hairpin", yes_or_no(settings.hairpin)),
    ];
    rows.extend(port.network.as_ref().map(|network| ("  network", network.to_string())));
    rows.extend(port.aliases.iter().map(|alias| ("  alias", alias.to_string())));
    rows.extend(settings.guard.then(|| ("  guard", "its own addresses only".to_owned())));
    rows.extend(settings.egress.map(|egress| {
        let queue = bytes(u64::from(egress.queue_bytes()));
        ("  egress", format!("{}, and {queue} may wait", egress.rate))
    }));
    rows.extend(settings.ingress.map(|ingress| {
        let burst = bytes(u64::from(ingress.burst_bytes()));
        ("  ingress", format!("{}, and {burst} may come at once", ingress.rate))
    }));
    rows.extend(settings.mac_limit.map(|limit| ("  MAC limit", limit.to_string())));
    if let PortKind::Tap(tap) = &settings.kind {
        rows.extend(tap.ips.iter().map(|cidr| ("  address", cidr.to_string())));
        rows.extend(tap.gateways.iter().map(|gateway| ("  gateway", gateway.to_string())));
    }
    rows
}

fn device_facts(device: &DeviceInfo) -> Vec<(&'static str, String)> {
    let mut rows = vec![("  mode", device.mode.clone())];
    rows.extend(device.mac.map(|mac| ("  MAC", mac.to_string())));
    rows.push(("  offloads", device.offloads.join(" ")));
    rows.extend(device.queues.iter().map(|queue| {
        let QueueInfo { queue, worker, core } = queue;
        ("  queue", format!("{queue} by worker {worker} on core {core}"))
    }));
    rows.extend(device.notes.iter().map(|note| ("  note", note.clone())));
    rows
}
