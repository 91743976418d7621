//! Direct runs of the plugin, as `cnitool` does them: the real program by its environment and standard input, the real
//! daemon, real containers. What each test wants is the specification's wording.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod addressing;
mod capabilities;
mod crash;
mod delegation;
mod dhcp;
mod lifecycle;
mod plugin;
mod shapes;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        lifecycle::tests(),
        addressing::tests(),
        capabilities::tests(),
        delegation::tests(),
        dhcp::tests(),
        shapes::tests(),
        crash::tests(),
    ];
    netlab::test_main(tests.into_iter().flatten())
}
