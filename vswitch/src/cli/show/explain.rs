//! The way of a packet.

use ctl::response::{LostPacket, TraceInfo, TraceOutcome, TraceStage, WhyInfo};

use super::joined;
use crate::cli::table::{Style, count, duration, facts, printable};

pub(super) fn traces(traces: &[TraceInfo], style: Style) -> String {
    if traces.is_empty() {
        return "no such packet came\n".to_owned();
    }
    traces.iter().map(|one| trace(one, style)).collect::<Vec<_>>().join("\n")
}

/// The way of a real packet.
pub fn followed(way: &TraceInfo, style: Style) -> String {
    trace(way, style)
}

/// How a live trace ended.
pub fn follow_ended(followed: u64, missed: u64) -> String {
    match (followed, missed) {
        (0, _) => "no such packet came\n".to_owned(),
        (_, 0) => String::new(),
        (_, missed) => format!("{} more came faster than they were shown\n", count(missed)),
    }
}

/// How a capture ended.
pub fn captured(frames: u64, missed: u64) -> String {
    let missed = match missed {
        0 => String::new(),
        missed => format!(", {} missed: they came faster than they were taken", count(missed)),
    };
    format!("{} frames captured{missed}\n", count(frames))
}

fn trace(trace: &TraceInfo, style: Style) -> String {
    let heading = format!("{}\n", style.bold(&printable(&trace.packet)));
    let stages: Vec<_> =
        trace.stages.iter().map(|stage| (format!("  {}", stage.stage), said(stage))).collect();
    let rows: Vec<_> = stages.iter().map(|(name, said)| (name.as_str(), said.clone())).collect();
    heading + &facts(&rows) + &outcome(&trace.outcome, style)
}

fn said(stage: &TraceStage) -> String {
    match &stage.because {
        Some(because) => format!("{}, by {because}", stage.decision),
        None => stage.decision.clone(),
    }
}

fn outcome(outcome: &TraceOutcome, style: Style) -> String {
    let text = match outcome {
        TraceOutcome::Sent { ports, packet } => {
            style.good(&format!("leaves by {}", joined(ports))) + ": " + &printable(packet)
        }
        TraceOutcome::Answered { packet } => {
            style.good("answered by the switch") + ": " + &printable(packet)
        }
        TraceOutcome::Held { until } => style.bad("waits") + ": " + &printable(until),
        TraceOutcome::Dropped { reason, explanation } => {
            style.bad(&format!("dropped, {}", printable(reason))) + ": " + &printable(explanation)
        }
    };
    text + "\n"
}

pub(super) fn why(why: &WhyInfo, style: Style) -> String {
    let sentence = printable(&why.sentence);
    let sentence = if why.reaches { style.good(&sentence) } else { style.bad(&sentence) };
    let back = why.back.as_ref().map(|back| format!("\nback: {}", trace(back, style)));
    let lost: String = why.lost.iter().map(lost).collect();
    let lost =
        if lost.is_empty() { lost } else { format!("\nlost lately between the two:\n{lost}") };
    format!("{sentence}\n\nthere: {}{}{lost}", trace(&why.forward, style), back.unwrap_or_default())
}

fn lost(packet: &LostPacket) -> String {
    let LostPacket { port, side, reason, explanation, milliseconds_ago, summary, .. } = packet;
    let ago = duration(*milliseconds_ago);
    let line = format!("{ago} ago at {port} ({side}), {reason}: {summary}; {explanation}");
    format!("  {}\n", printable(&line))
}
