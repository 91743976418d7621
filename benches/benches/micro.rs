//! Every stage and table alone, and the whole pipeline: what `benches micro` measures.
//!
//! `cargo bench -p benches`, or with options of its: `cargo bench -p benches -- --only sessions --instructions`

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // `--bench` is what cargo says to every benchmark.
    let options = std::env::args_os().skip(1).filter(|given| given != "--bench");
    let status = Command::new(env!("CARGO_BIN_EXE_benches")).arg("micro").args(options).status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
