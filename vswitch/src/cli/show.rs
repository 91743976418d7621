//! Answers, for people.

use std::fmt::Write;

use ctl::response::{
    BridgeInfo, Changed, Counters, DeviceInfo, DropInfo, FdbInfo, PortInfo, PortState, QueueInfo,
    Stats, Status, Version, WorkerPerf,
};
use ctl::{ClientError, PortKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{BridgeCommand, Command, FdbCommand, PortCommand};
use super::table::{Style, aligned, bytes, count, duration, facts, printable};

/// The text of an answer.
///
/// # Errors
/// [`ClientError::Answer`], when the answer is not of the form that the command expects.
pub fn text(command: &Command, answer: Value, style: Style) -> Result<String, ClientError> {
    Ok(match command {
        Command::Bridge(BridgeCommand::List) => bridges(&read::<Vec<BridgeInfo>>(answer)?),
        Command::Bridge(BridgeCommand::Show { .. }) => bridge(&read(answer)?),
        Command::Port(PortCommand::List) => ports(&read::<Vec<PortInfo>>(answer)?),
        Command::Port(PortCommand::Show { .. }) => port(&read(answer)?, style),
        Command::Fdb(FdbCommand::Show(_)) => stations(&read::<Vec<FdbInfo>>(answer)?),
        Command::Stats => stats(&read(answer)?, style),
        Command::Drops => drops(&read::<Vec<DropInfo>>(answer)?, style),
        Command::Perf => perf(&read::<Vec<WorkerPerf>>(answer)?, style),
        Command::Status => status(&read(answer)?, style),
        Command::Version => version(&read(answer)?),
        _ => changed(&read(answer)?),
    })
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, ClientError> {
    serde_json::from_value(answer).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Like other tools, says nothing when there is nothing to say.
fn changed(answer: &Changed) -> String {
    match (&answer.port, answer.removed, answer.changed) {
        (_, Some(removed), _) => format!("{removed} removed\n"),
        (Some(port), _, true) => format!("{port}\n"),
        (Some(port), _, false) => format!("{port} (unchanged)\n"),
        (None, ..) => String::new(),
    }
}

fn bridges(bridges: &[BridgeInfo]) -> String {
    let rows = bridges.iter().map(|bridge| {
        vec![
            bridge.name.to_string(),
            bridge.ports.len().to_string(),
            bridge.stations.to_string(),
            bridge.settings.mac_limit.to_string(),
            bridge.settings.ageing_seconds.to_string(),
            bridge.settings.mtu.to_string(),
        ]
    });
    let headings = ["bridge", "ports", "stations", "limit", "ageing s", "mtu"];
    aligned(&headings, &[1, 2, 3, 4, 5], rows.collect())
}

fn bridge(bridge: &BridgeInfo) -> String {
    let ports: Vec<_> = bridge.ports.iter().map(ToString::to_string).collect();
    facts(&[
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
    ])
}

fn state(port: &PortInfo) -> &'static str {
    match port.state {
        PortState::Up => "up",
        PortState::Waiting(_) => "waiting",
    }
}

fn place(port: &PortInfo) -> String {
    let (netns, interface) = port.settings.kind.interface();
    netns.map_or_else(|| interface.to_string(), |netns| format!("{netns}:{interface}"))
}

fn ports(ports: &[PortInfo]) -> String {
    let rows = ports.iter().map(|port| {
        let device = port.device.as_ref();
        vec![
            port.name.to_string(),
            port.settings.bridge.to_string(),
            state(port).to_owned(),
            device.map_or("-", |d| d.mode.split(' ').next().unwrap_or("-")).to_owned(),
            place(port),
            device.and_then(|d| d.mac).map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            port.mtu.to_string(),
            port.settings.vlan.to_string(),
        ]
    });
    let headings = ["port", "bridge", "state", "mode", "interface", "mac", "mtu", "vlan"];
    aligned(&headings, &[6], rows.collect())
}

fn port(port: &PortInfo, style: Style) -> String {
    let state = match &port.state {
        PortState::Up => style.good("up"),
        PortState::Waiting(why) => style.bad(&format!("waiting: {}", printable(why))),
    };
    let mut rows = settings(port);
    if let Some(device) = &port.device {
        rows.extend(device_facts(device));
    }
    format!("{} {state}\n{}", style.bold(port.name.as_str()), facts(&rows))
}

fn settings(port: &PortInfo) -> Vec<(&'static str, String)> {
    let yes_or_no = |is_so| if is_so { "yes" } else { "no" }.to_owned();
    let settings = &port.settings;
    let mut rows = vec![
        ("  bridge", settings.bridge.to_string()),
        ("  interface", place(port)),
        ("  MTU", port.mtu.to_string()),
        ("  VLANs", settings.vlan.to_string()),
        ("  isolated", yes_or_no(settings.isolated)),
        ("  hairpin", yes_or_no(settings.hairpin)),
    ];
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

fn stations(stations: &[FdbInfo]) -> String {
    let rows = stations.iter().map(|station| {
        vec![
            station.bridge.to_string(),
            station.vlan.map_or_else(|| "-".to_owned(), |vlan| vlan.to_string()),
            station.mac.to_string(),
            station.port.to_string(),
            if station.is_static { "static".to_owned() } else { station.age_seconds.to_string() },
        ]
    });
    aligned(&["bridge", "vlan", "mac", "port", "age s"], &[4], rows.collect())
}

fn stats(stats: &Stats, style: Style) -> String {
    let row = |name: String, c: &Counters| {
        vec![
            name,
            count(c.received),
            bytes(c.received_bytes),
            count(c.forwarded),
            count(c.dropped_in),
            count(c.transmitted),
            bytes(c.transmitted_bytes),
            count(c.dropped_out),
            count(c.missed),
        ]
    };
    let mut rows: Vec<_> =
        stats.ports.iter().map(|port| row(port.port.to_string(), &port.counters)).collect();
    rows.push(row("(all)".to_owned(), &stats.total));
    let headings =
        ["port", "rx", "bytes", "forwarded", "dropped", "tx", "bytes", "dropped", "missed"];
    let table = aligned(&headings, &[1, 2, 3, 4, 5, 6, 7, 8], rows);
    table + &reconciled(stats.discrepancy.as_deref(), style)
}

fn reconciled(discrepancy: Option<&str>, style: Style) -> String {
    match discrepancy {
        None => style.good("every frame is accounted for") + "\n",
        Some(what) => style.bad(&format!("BUG: frames are missing: {}", printable(what))) + "\n",
    }
}

fn drops(drops: &[DropInfo], style: Style) -> String {
    if drops.is_empty() {
        return "no frame was dropped\n".to_owned();
    }
    let mut text = String::new();
    for drop in drops {
        let heading = format!("{} {} {}", drop.port, drop.side, drop.reason);
        let _ = writeln!(text, "{}: {}", style.bold(&printable(&heading)), count(drop.count));
        let _ = writeln!(text, "    {}", printable(&drop.explanation));
        if let Some(last) = &drop.last {
            let (ago, at) = (duration(last.milliseconds_ago), printable(&last.at));
            let (bytes, summary) = (last.frame_bytes, printable(&last.summary));
            let _ = writeln!(text, "    last {ago} ago, at {at}, {bytes} bytes: {summary}");
        }
    }
    text
}

fn perf(workers: &[WorkerPerf], style: Style) -> String {
    let heading = |worker: &WorkerPerf| {
        style.bold(&format!("worker {} on core {}", worker.worker, worker.core))
    };
    workers.iter().map(|worker| format!("{}\n{}", heading(worker), worker_facts(worker))).collect()
}

fn worker_facts(worker: &WorkerPerf) -> String {
    let stages: Vec<_> = worker
        .cycles_per_frame
        .iter()
        .map(|cost| format!("{} {:.0}", cost.stage, cost.cycles))
        .collect();
    let bursts: Vec<_> = (0..)
        .zip(&worker.batches)
        .filter(|(_, bursts)| **bursts > 0)
        .map(|(log, bursts)| format!("{}+: {}", 1u64 << log, count(*bursts)))
        .collect();
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let of = |all, what: &str, part| format!("{}, {} {what}", count(all), count(part));
    facts(&[
        ("  frames", count(worker.frames)),
        ("  cycles per frame", stages.join(", ")),
        ("  bursts by size", bursts.join(", ")),
        ("  busy while awake", percent(worker.busy)),
        ("  asleep", percent(worker.asleep)),
        ("  turns", of(worker.turns, "of them empty", worker.empty_turns)),
        ("  sleeps", of(worker.sleeps, "of them ended by a frame or a message", worker.wakeups)),
        ("  handed over", of(worker.handed_out, "taken over", worker.handed_in)),
    ])
}

fn status(status: &Status, style: Style) -> String {
    let cores: Vec<_> = status.cores.iter().map(ToString::to_string).collect();
    let mut text = facts(&[
        ("vswitchd", format!("{}, process {}", status.version, status.pid)),
        ("up for", duration(status.uptime_seconds.saturating_mul(1000))),
        ("workers", format!("{} on cores {}, {}", cores.len(), cores.join(" "), status.poll)),
        ("bridges", status.bridges.to_string()),
        ("ports", format!("{} up, {} waiting", status.ports_up, status.ports_waiting)),
        ("state", status.state_directory.clone().unwrap_or_else(|| "not kept".to_owned())),
    ]);
    text += &reconciled(status.discrepancy.as_deref(), style);
    for problem in &status.problems {
        let _ = writeln!(text, "{} {}", style.bad("problem:"), printable(problem));
    }
    text
}

fn version(version: &Version) -> String {
    format!("vswitchd {}, protocol {}\n", printable(&version.version), version.protocol)
}

#[cfg(test)]
mod tests;
