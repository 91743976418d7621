//! What the demonstration prints.

use std::fmt::Write;

use serde_json::json;

use super::Figures;
use super::setup::Books;
use crate::cli::table::{aligned, count};

/// For people.
pub(super) fn text(ours: &Figures, theirs: &Figures, books: &Books) -> String {
    let both = |name: &str, figure: fn(&Figures) -> f64, digits: usize| {
        let (a, b) = (figure(ours), figure(theirs));
        vec![
            name.to_owned(),
            format!("{a:.digits$}"),
            format!("{b:.digits$}"),
            format!("{:.2}", a / b),
        ]
    };
    let rows = vec![
        both("ping IPv4, µs", |f| f.ping4_us, 0),
        both("ping IPv6, µs", |f| f.ping6_us, 0),
        both("TCP one stream, Gbit/s", |f| f.tcp_gbit_s, 1),
        both("  cores busy", |f| f.tcp_cores, 2),
        both("UDP 64 B, Mpps", |f| f.udp_mpps, 3),
        both("  cores busy", |f| f.udp_cores, 2),
        both("request/response, k/s", |f| f.rr_k_s, 1),
        both("  p50, µs", |f| f.rr_us[0], 1),
        both("  p99, µs", |f| f.rr_us[1], 1),
        both("  p99.9, µs", |f| f.rr_us[2], 1),
    ];
    let headings = ["", &ours.name, &theirs.name, "ratio"];
    let mut out =
        String::from("\nTwo containers, real kernel traffic, both switches in one run:\n\n");
    out += &aligned(&headings, &[1, 2, 3], rows);
    out += &ledger(books);
    out += "\nA busy machine makes these figures jump: compare the ratios of several runs.\n";
    out
}

fn ledger(books: &Books) -> String {
    let total = &books.stats.total;
    let mut out = String::from("\nThe drop ledger:\n\n");
    let _ = writeln!(
        out,
        "  {} frames received = {} forwarded + {} dropped",
        count(total.received),
        count(total.forwarded),
        count(total.dropped_in),
    );
    let _ = writeln!(
        out,
        "  {} frames offered  = {} transmitted + {} dropped",
        count(total.offered),
        count(total.transmitted),
        count(total.dropped_out),
    );
    for drop in &books.drops {
        let _ =
            writeln!(out, "  {} {}: {} × {}", drop.port, drop.side, count(drop.count), drop.reason);
        let _ = writeln!(out, "      {}", drop.explanation);
    }
    match &books.stats.discrepancy {
        None => out += "  Every frame is accounted for.\n",
        Some(what) => _ = writeln!(out, "  BUG: frames are missing: {what}"),
    }
    out
}

/// For scripts.
pub(super) fn json(ours: &Figures, theirs: &Figures, books: &Books) -> String {
    let report = json!({
        "vswitch": ours,
        "linux_bridge": theirs,
        "stats": books.stats,
        "drops": books.drops,
    });
    format!("{report:#}\n")
}
