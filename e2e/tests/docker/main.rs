//! Docker, with its containers on networks of the switch: through the plugin's methods one by one, and by what people
//! do with a real dockerd.

mod networks;
mod protocol;
mod published;
mod restarts;
mod scene;
mod shapes;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        networks::tests(),
        shapes::tests(),
        published::tests(),
        restarts::tests(),
        protocol::tests(),
    ];
    netlab::test_main(tests.into_iter().flatten())
}
