//! Frames, lost frames, and what workers do.

use std::fmt::Write;

use ctl::response::{Counters, DropInfo, Stats, WorkerPerf};

use crate::cli::table::{Style, aligned, bytes, count, duration, facts, printable};

pub(super) fn stats(stats: &Stats, style: Style) -> String {
    let row = |name: String, c: &Counters| {
        vec![
            name,
            count(c.received),
            bytes(c.received_bytes),
            count(c.forwarded),
            count(c.answered),
            count(c.held),
            count(c.dropped_in),
            count(c.transmitted),
            bytes(c.transmitted_bytes),
            count(c.dropped_out),
            count(c.missed),
        ]
    };
    let mut rows: Vec<_> =
        stats.ports.iter().map(|port| row(port.port.clone(), &port.counters)).collect();
    rows.push(row("(all)".to_owned(), &stats.total));
    let headings = [
        "port",
        "rx",
        "rx bytes",
        "forwarded",
        "answered",
        "held",
        "dropped",
        "tx",
        "tx bytes",
        "tx dropped",
        "missed",
    ];
    let table = aligned(&headings, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], rows);
    table + &reconciled(stats.discrepancy.as_deref(), style)
}

pub(super) fn reconciled(discrepancy: Option<&str>, style: Style) -> String {
    match discrepancy {
        None => style.good("every frame is accounted for") + "\n",
        Some(what) => style.bad(&format!("BUG: frames are missing: {}", printable(what))) + "\n",
    }
}

pub(super) fn drops(drops: &[DropInfo], style: Style) -> String {
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

pub(super) fn perf(workers: &[WorkerPerf], style: Style) -> String {
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
