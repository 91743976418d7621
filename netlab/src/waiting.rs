//! Waiting for what others do in their own time: a daemon, a worker, the kernel.

use std::time::{Duration, Instant};

use crate::{LabError, PATIENCE};

/// How often one looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits for something to become true, for [`PATIENCE`].
///
/// # Errors
/// [`LabError::Late`].
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) -> Result<(), LabError> {
    within(PATIENCE, what, is_so)
}

/// Waits so long for something to become true.
///
/// # Errors
/// [`LabError::Late`].
pub fn within(
    patience: Duration,
    what: &str,
    mut is_so: impl FnMut() -> bool,
) -> Result<(), LabError> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > patience {
            return Err(LabError::Late { what: what.to_owned(), waited: patience });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
