//! The rings that the kernel and the switch share: single-producer, single-consumer.
//!
//! Each ring has a producer and a consumer counter, which only grow and wrap, and a power of two of
//! entries. One side is the kernel's. Memory order (as `tools/lib/bpf/xsk.h` and `net/xdp/xsk_queue.h` of the kernel
//! have it):
//!
//! * A producer writes entries and then stores its counter with release; the consumer loads that counter with
//!   acquire before it reads entries. So it reads what was written.
//! * A consumer stores its counter with release when it is done with entries; the producer loads that with acquire
//!   before it writes them again. So nothing is overwritten that is still being read.
//! * A side's own counter is its own: what it stored is what it remembers, and it never loads it.
//!
//! `loom` checks our half against a thread that does what the kernel does. [`Memory`] is the seam: a ring is where the
//! kernel [mapped](Mapped) it, or in a model of that.

mod mapped;

#[cfg(all(test, loom))]
mod loom_tests;

use std::sync::atomic::Ordering;

pub(super) use mapped::{Layout, Mapped};

/// `struct xdp_desc`: a frame, or a piece of one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) options: u32,
}

/// A counter of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// Entries that were ever written.
    Producer,
    /// Entries that were ever read.
    Consumer,
}

/// What the two sides of a ring share.
pub(super) trait Memory {
    /// What is passed on.
    type Entry: Copy;

    /// Entries that there is room for, a power of two.
    fn size(&self) -> u32;

    fn load(&self, counter: Counter, order: Ordering) -> u32;

    fn store(&self, counter: Counter, value: u32, order: Ordering);

    /// The entry of that number, modulo the size, which is the consumer's: written, and not released yet.
    fn read(&self, number: u32) -> Self::Entry;

    /// Writes the entry of that number, modulo the size, which is the producer's: free, and not submitted yet.
    fn write(&self, number: u32, entry: Self::Entry);
}

/// A ring into which the switch puts entries.
pub(super) struct Producer<M> {
    ring: M,
    /// Entries written so far, of which the kernel knows after `submit`.
    written: u32,
    /// The kernel's counter when it was last looked at.
    consumed: u32,
}

/// A ring from which the switch takes entries.
pub(super) struct Consumer<M> {
    ring: M,
    /// Entries read so far, of which the kernel knows after `release`.
    read: u32,
    /// The kernel's counter when it was last looked at.
    produced: u32,
}

impl<M: Memory> Producer<M> {
    /// A fresh ring.
    pub(super) fn new(ring: M) -> Self {
        Self { ring, written: 0, consumed: 0 }
    }

    /// Free entries.
    #[inline]
    pub(super) fn free(&mut self) -> u32 {
        let free = self.known_free();
        if free > 0 && free >= self.ring.size() / 4 {
            return free;
        }
        self.look();
        self.known_free()
    }

    /// Writes the next entry. The caller has seen that one is free; otherwise nothing happens.
    #[inline]
    pub(super) fn push(&mut self, entry: M::Entry) {
        if self.known_free() == 0 {
            debug_assert!(false, "the ring is full");
            return;
        }
        self.ring.write(self.written, entry);
        self.written = self.written.wrapping_add(1);
    }

    /// Tells the kernel of the entries written.
    #[inline]
    pub(super) fn submit(&self) {
        self.ring.store(Counter::Producer, self.written, Ordering::Release);
    }

    /// Whether the kernel has taken everything.
    #[inline]
    pub(super) fn is_drained(&mut self) -> bool {
        self.look();
        self.consumed == self.written
    }

    /// Learns what the kernel has read.
    #[inline]
    fn look(&mut self) {
        self.consumed = self.ring.load(Counter::Consumer, Ordering::Acquire);
    }

    /// Entries that were free when the kernel's counter was last looked at.
    #[inline]
    fn known_free(&self) -> u32 {
        self.ring.size().saturating_sub(self.written.wrapping_sub(self.consumed))
    }
}

impl<M: Memory> Consumer<M> {
    /// A fresh ring.
    pub(super) fn new(ring: M) -> Self {
        Self { ring, read: 0, produced: 0 }
    }

    /// Entries to be read.
    #[inline]
    pub(super) fn available(&mut self) -> u32 {
        self.produced = self.ring.load(Counter::Producer, Ordering::Acquire);
        self.known()
    }

    /// Reads the next entry. `None` beyond those that were seen to be there.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<M::Entry> {
        if self.known() == 0 {
            return None;
        }
        let entry = self.ring.read(self.read);
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Tells the kernel of the entries read.
    #[inline]
    pub(super) fn release(&self) {
        self.ring.store(Counter::Consumer, self.read, Ordering::Release);
    }

    /// Entries that were there when the kernel's counter was last looked at.
    #[inline]
    fn known(&self) -> u32 {
        self.produced.wrapping_sub(self.read).min(self.ring.size())
    }
}
