//! `vswitchctl demo`.
use crate::cli::DemoOptions;

/// Runs it.
pub fn run(_options: &DemoOptions, _json: bool) -> Result<(), std::io::Error> {
    Ok(())
}
