//! Rules.

use ctl::response::{FlowChanges, FlowPage};

use crate::cli::table::{aligned, bytes, count, duration};

pub(super) fn page(page: &FlowPage) -> String {
    let rows = page.flows.iter().map(|flow| {
        let ago = |seconds: u32| format!("{} ago", duration(u64::from(seconds) * 1000));
        vec![
            flow.id.to_string(),
            flow.rule.to_string(),
            count(flow.packets),
            bytes(flow.bytes),
            flow.idle_seconds.map_or_else(|| "never".to_owned(), ago),
        ]
    });
    let table = aligned(&["id", "rule", "packets", "bytes", "used"], &[0, 2, 3], rows.collect());
    match page.next {
        Some(next) => format!("{table}there are more: --after {next}, or a higher --limit\n"),
        None => table,
    }
}

pub(super) fn changes(changes: &FlowChanges) -> String {
    let FlowChanges { added, removed, changed, kept } = changes;
    format!("{added} added, {removed} removed, {changed} changed, {kept} as they were\n")
}
