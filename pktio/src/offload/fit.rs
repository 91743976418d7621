//! The one place that decides what has to be done to a frame before a port can take it.

use super::bundle::bundle;
use super::segment::{Refusal, segment};
use super::{Accepts, Gso, checksum};
use crate::{Burst, PktBuf, Pool};

/// Makes a frame fit for a port: untouched, with its checksum finished, or cut into segments, which are bundled for a port
/// that cuts datagrams. What is to be transmitted is appended to `out`.
///
/// # Errors
/// The frame and the [`Refusal`], when it cannot be; `out` is then as it was.
pub fn fit(
    mut frame: PktBuf,
    accepts: &Accepts,
    pool: &mut Pool,
    out: &mut Burst,
) -> Result<(), (PktBuf, Refusal)> {
    if accepts.covers(frame.offload) {
        out.push(frame);
        return Ok(());
    }
    if frame.offload.gso == Gso::None {
        if !checksum::complete(&mut frame) {
            return Err((frame, Refusal::BadOffload));
        }
        out.push(frame);
        return Ok(());
    }
    let is_bundled = matches!(frame.offload.gso, Gso::Tunnel { .. })
        && accepts.udp
        && bundle(&frame, pool, out).is_ok();
    let cut = if is_bundled { Ok(()) } else { segment(&frame, accepts, pool, out) };
    match cut {
        Ok(()) => {
            pool.recycle(frame);
            Ok(())
        }
        Err(refusal) => Err((frame, refusal)),
    }
}
