//! Answers, for people.

use std::fmt::Write;

use ctl::ClientError;
use ctl::response::{
    BridgeInfo, Changed, Counters, DropInfo, FdbInfo, PortInfo, PortState, Stats, Status, Version,
    WorkerPerf,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{BridgeCommand, Command, FdbCommand, PortCommand};
use super::table::{Style, ago, aligned, bytes, count, printable};

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

fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:width$}  {}", printable(value));
        text
    })
}

fn bridge(bridge: &BridgeInfo) -> String {
    let ports: Vec<_> = bridge.ports.iter().map(ToString::to_string).collect();
    facts(&[
        ("bridge", bridge.name.to_string()),
        ("ports", ports.join(" ")),
        ("MTU", bridge.settings.mtu.to_string()),
        ("ageing", format!("{} s", bridge.settings.ageing_seconds)),
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
    let settings = &port.settings;
    let mut rows = vec![
        ("port", port.name.to_string()),
        ("bridge", settings.bridge.to_string()),
        ("interface", place(port)),
        ("MTU", port.mtu.to_string()),
        ("VLANs", settings.vlan.to_string()),
        ("isolated", settings.isolated.to_string()),
        ("hairpin", settings.hairpin.to_string()),
    ];
    if let Some(limit) = settings.mac_limit {
        rows.push(("MAC limit", limit.to_string()));
    }
    if let Some(device) = &port.device {
        rows.push(("mode", device.mode.clone()));
        rows.extend(device.mac.map(|mac| ("MAC", mac.to_string())));
        rows.push(("offloads", device.offloads.join(" ")));
        for queue in &device.queues {
            let text = format!("{} by worker {} on core {}", queue.queue, queue.worker, queue.core);
            rows.push(("queue", text));
        }
        rows.extend(device.notes.iter().map(|note| ("note", note.clone())));
    }
    let state = match &port.state {
        PortState::Up => style.good("up"),
        PortState::Waiting(why) => style.bad(&format!("waiting: {}", printable(why))),
    };
    format!("{}state      {state}\n", facts(&rows))
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
            let (when, summary) = (ago(last.milliseconds_ago), printable(&last.summary));
            let _ = writeln!(text, "    last {when} ago, {} bytes: {summary}", last.frame_bytes);
        }
    }
    text
}

fn perf(workers: &[WorkerPerf], style: Style) -> String {
    let mut text = String::new();
    for worker in workers {
        let heading = format!("worker {} on core {}", worker.worker, worker.core);
        let _ = writeln!(text, "{}", style.bold(&heading));
        let stages: Vec<_> = worker
            .cycles_per_frame
            .iter()
            .map(|cost| format!("{} {:.0}", printable(&cost.stage), cost.cycles))
            .collect();
        let batches: Vec<_> = (0..)
            .zip(&worker.batches)
            .filter(|(_, bursts)| **bursts > 0)
            .map(|(log, bursts)| format!("{}+: {}", 1u64 << log, count(*bursts)))
            .collect();
        text += &facts(&[
            ("  frames", count(worker.frames)),
            ("  cycles per frame", stages.join(", ")),
            ("  bursts by size", batches.join(", ")),
            ("  busy while awake", format!("{:.1} %", worker.busy * 100.0)),
            ("  asleep", format!("{:.1} % of the time", worker.asleep * 100.0)),
            (
                "  turns",
                format!("{}, {} of them empty", count(worker.turns), count(worker.empty_turns)),
            ),
            (
                "  sleeps",
                format!("{}, {} ended by a frame", count(worker.sleeps), count(worker.wakeups)),
            ),
            (
                "  handed over",
                format!("{} out, {} in", count(worker.handed_out), count(worker.handed_in)),
            ),
        ]);
    }
    text
}

fn status(status: &Status, style: Style) -> String {
    let cores: Vec<_> = status.cores.iter().map(ToString::to_string).collect();
    let mut text = facts(&[
        ("vswitchd", format!("{}, process {}", status.version, status.pid)),
        ("up for", ago(status.uptime_seconds.saturating_mul(1000))),
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
