//! [`Turn`]: the right to change which entries a shared table has, which one thread has at a time. Readers, and those who
//! change an entry that is there, need none.
//!
//! # Memory order
//! It is taken by a compare-exchange that acquires what the store that gave it back released: whoever has it sees all that
//! those before wrote, relaxed or not.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(loom)]
use loom::thread::yield_now;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::thread::yield_now;

/// A right that one thread has at a time.
#[derive(Debug)]
pub(crate) struct Turn(AtomicBool);

impl Turn {
    /// One that nobody has.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// The right, if nobody has it: a worker waits for nobody.
    #[inline]
    pub(crate) fn try_take(&self) -> Option<Taken<'_>> {
        let taken = self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(Taken(self))
    }

    /// The right, waited for. Not for workers.
    pub(crate) fn take(&self) -> Taken<'_> {
        loop {
            match self.try_take() {
                Some(taken) => return taken,
                None => yield_now(),
            }
        }
    }
}

/// The right; given back on drop.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
