//! `vswitch-cni`: container runtimes run it, by the Container Network Interface.

use std::io::{self, Read, Write};
use std::process::ExitCode;

/// The longest network configuration that is read, in bytes: many times what there is, and no threat to memory.
const MOST_INPUT_BYTES: u64 = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let mut input = Vec::new();
    let read = io::stdin().take(MOST_INPUT_BYTES).read_to_end(&mut input).map(|_| input);
    let answer = cni::answer(|name| std::env::var_os(name), read);
    let code = if answer.is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    match answer.write_to(&mut io::stdout()) {
        Ok(()) => code,
        Err(error) => {
            // There is nobody left to tell.
            let _ = writeln!(io::stderr(), "vswitch-cni: cannot write the result: {error}");
            ExitCode::FAILURE
        }
    }
}
