//! Every stage and table alone, and the whole pipeline: what `benches stages` and `benches pipeline` measure.
//!
//! `cargo bench -p benches`, or with options of theirs: `cargo bench -p benches -- --instructions`

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // `--bench` is what cargo says to every benchmark.
    let options: Vec<_> = std::env::args_os().skip(1).filter(|given| given != "--bench").collect();
    let run = |kind| {
        let mut benches = Command::new(env!("CARGO_BIN_EXE_benches"));
        benches.arg(kind).args(&options).status().is_ok_and(|status| status.success())
    };
    if ["stages", "pipeline"].into_iter().all(run) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
