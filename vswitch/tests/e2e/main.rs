//! End-to-end tests: the real daemon, driven by its control socket, with real containers and kernel
//! traffic. All of it happens in a private network that ends with the test program. Every test that
//! moves traffic ends by checking that the drop ledger reconciles.

mod bridging;
mod capture;
mod control;
mod daemon;
mod explain;
mod foreign;
mod handover;
mod lifecycle;
mod matrix;
mod networks;
mod places;
mod readme;
mod routing;
mod rules;
mod sessions;
mod vxlan;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        lifecycle::tests(),
        foreign::tests(),
        places::tests(),
        handover::tests(),
        workers::tests(),
        matrix::tests(),
        bridging::tests(),
        routing::tests(),
        networks::tests(),
        sessions::tests(),
        vxlan::tests(),
        rules::tests(),
        explain::tests(),
        capture::tests(),
        control::tests(),
        readme::tests(),
    ];
    netlab::test_main(tests.into_iter().flatten())
}
