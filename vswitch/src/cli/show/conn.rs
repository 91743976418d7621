//! Sessions.

use ctl::FiveTuple;
use ctl::response::{ConnInfo, ConnPage, TopInfo, Volume};

use crate::cli::table::{aligned, bytes, count, duration, facts};

/// Why there may be none where there is traffic.
const NONE: &str = "there is no such session: what is bridged belongs to one only where rules or the router need it\n";

pub(super) fn page(page: &ConnPage) -> String {
    if page.sessions.is_empty() && page.next.is_none() {
        return NONE.to_owned();
    }
    let mut headings =
        vec!["bridge", "session", "state", "as", "age s", "expires s", "sent", "received"];
    if page.sessions.iter().any(|session| session.is_offloaded) {
        headings.push("carried by");
    }
    let columns = headings.len();
    let rows = page.sessions.iter().map(|session| {
        let mut row = vec![
            session.bridge.to_string(),
            session.initiator.to_string(),
            state(session),
            translation(session).unwrap_or_else(|| "-".to_owned()),
            session.age_seconds.to_string(),
            session.expires_seconds.to_string(),
            bytes(session.sent.bytes),
            bytes(session.received.bytes),
            carrier(session.is_offloaded),
        ];
        row.truncate(columns);
        row
    });
    let table = aligned(&headings, &[4, 5, 6, 7], rows.collect());
    match page.next {
        Some(next) => format!("{table}there are more: --after {next}, or a higher --limit\n"),
        None => table,
    }
}

/// Who carries frames, where the kernel does some of it.
pub(super) fn carrier(is_offloaded: bool) -> String {
    if is_offloaded { "kernel" } else { "switch" }.to_owned()
}

fn state(session: &ConnInfo) -> String {
    session.tcp.clone().unwrap_or_else(|| session.state.to_string())
}

/// How the one who answers sees the one who began and itself, where that is not what the latter sees.
fn translation(session: &ConnInfo) -> Option<String> {
    let ConnInfo { initiator, responder, .. } = session;
    let FiveTuple { source, destination, .. } = responder;
    let same = (initiator.source, initiator.destination) == (*destination, *source);
    (!same).then(|| format!("{destination} > {source}"))
}

pub(super) fn one(session: &ConnInfo) -> String {
    let seconds = |number: u32| duration(u64::from(number) * 1000);
    let mut rows = vec![
        ("session", format!("{} on {}", session.initiator, session.bridge)),
        ("answers", format!("{} on {}", session.responder, session.responder_bridge)),
        ("state", state(session)),
    ];
    rows.extend(session.rule.as_ref().map(|rule| ("nat rule", rule.to_string())));
    rows.extend(session.service.as_ref().map(|service| ("service", service.to_string())));
    rows.extend(session.is_offloaded.then(|| ("carried by", carrier(true))));
    rows.extend([
        ("age", seconds(session.age_seconds)),
        ("silent for", seconds(session.idle_seconds)),
        ("expires in", seconds(session.expires_seconds)),
        ("sent", volume(&session.sent)),
        ("received", volume(&session.received)),
    ]);
    facts(&rows)
}

fn volume(volume: &Volume) -> String {
    format!("{} packets, {}", count(volume.packets), bytes(volume.bytes))
}

pub(super) fn top(top: &[TopInfo]) -> String {
    let rows = top.iter().map(|one| {
        vec![
            one.bridge.to_string(),
            one.address.to_string(),
            count(one.sessions),
            count(one.mappings),
            count(one.moved.packets),
            bytes(one.moved.bytes),
        ]
    });
    let headings = ["bridge", "address", "sessions", "mappings", "packets", "bytes"];
    aligned(&headings, &[2, 3, 4, 5], rows.collect())
}
