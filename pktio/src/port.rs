//! The [`Port`] trait: the contract that every kind of port keeps.
//!
//! A port is one queue pair. It is owned by one worker at a time, and moved, never shared. It owns its
//! descriptors; what it set up in the kernel goes away when it is dropped.
//!
//! The contract, which `tests/contract` runs over every kind of port:
//! * `rx_burst` appends frames in the order of arrival, at most [`BURST_FRAMES`](crate::buffer::BURST_FRAMES)
//!   of them, stops early once the burst holds [`BURST_BYTES`](crate::buffer::BURST_BYTES), never blocks,
//!   and sets [`PktBuf::offload`](crate::PktBuf) from what the kernel said. With no free buffer it leaves the
//!   frames in the kernel's queue and returns what it has.
//! * `tx_burst` sends from the front, in order. Frames that it took are gone from the burst; frames for
//!   which there was no room remain in it, in order, and are the caller's to drop. It is only given
//!   frames that [`Port::accepts`] covers, and never blocks.
//! * A fault is returned, not panicked about; after it the port is only good for dropping.
//! * No allocation per frame, and no system call besides the port's own I/O.

use std::io;
use std::os::fd::BorrowedFd;

use crate::buffer::{Burst, Pool};
use crate::offload::Accepts;

/// One queue pair of one port. Owned by one worker at a time; moved, never shared.
pub trait Port: Send {
    /// Receives frames into `out`, and returns how many it appended. Zero means that nothing waits.
    ///
    /// # Errors
    /// [`PortFault`] when the port can no longer be used; `out` has what was received before, which is the caller's.
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault>;

    /// Transmits frames from the front of `frames`; what remains there found no room.
    ///
    /// # Errors
    /// [`PortFault`] when the port can no longer be used; `frames` holds what was not sent.
    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault>;

    /// What `tx_burst` takes as it is.
    fn accepts(&self) -> Accepts;

    /// The descriptor that becomes readable when frames wait; `None` for a port that must be polled or
    /// never has any.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Work that need not be done per burst (refills, completions, pending errors), called when the worker
    /// takes the port over, when it was silent for long, and each time before the worker sleeps.
    ///
    /// # Errors
    /// [`PortFault`] when the port can no longer be used.
    fn housekeep(&mut self, _pool: &mut Pool) -> Result<(), PortFault> {
        Ok(())
    }

    /// Frames that the kernel lost before this port could receive them, since the last call.
    fn take_missed(&mut self) -> Missed {
        Missed::default()
    }
}

/// What became of the frames that `tx_burst` took from the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Frames handed to the kernel.
    pub frames: usize,
    /// Frames that the kernel refused one by one (malformed for it, or the device is down). They were
    /// recycled.
    pub refused: usize,
}

/// Frames lost before they reached the switch, in the kernel or at its border: no part of `received`, but shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missed {
    /// The receive ring or socket buffer was full.
    pub ring_full: u64,
    /// There was no buffer to receive into.
    pub no_buffer: u64,
    /// What the kernel said of them contradicts them, or is nothing that it was ever asked for.
    pub unusable: u64,
}

impl Missed {
    /// All of them.
    pub fn frames(&self) -> u64 {
        self.ring_full + self.no_buffer + self.unusable
    }
}

/// Why a port can no longer be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortFault {
    /// The device is gone, typically with the container that had it.
    #[error("the device is gone ({operation}: {source}); it was deleted, or its namespace ended")]
    Gone {
        /// The operation that found out.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel reports an error that is not about one frame.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}
