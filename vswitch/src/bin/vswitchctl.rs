//! `vswitchctl`: gives orders to vswitchd.

use std::process::ExitCode;

fn main() -> ExitCode {
    vswitch::cli::main()
}
