//! The rings that the kernel and the switch share: single-producer, single-consumer.
//!
//! Each ring has a producer and a consumer counter, which only grow and wrap, and a power of two of
//! entries. One side is the kernel's. Memory order (as `tools/lib/bpf/xsk.h` of the kernel has it): a
//! producer writes entries and then stores its counter with release; the consumer loads that counter with
//! acquire before it reads entries, and stores its own with release when it is done with them; the
//! producer loads that with acquire before it writes them again.
//!
//! The only file of the AF_XDP port, besides `socket.rs`, with `unsafe`.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// `struct xdp_desc`: a frame, or a piece of one.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) options: u32,
}

/// A mapping of ring memory, unmapped on drop.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and the ring that used it goes with it.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Where the parts of a ring are in its mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    pub(super) entries: usize,
}

struct Ring<T> {
    mapping: Mapping,
    layout: Layout,
    mask: u32,
    _entries: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel only, by the protocol above; one thread at a time uses the
// ring.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn counter(&self, at: usize) -> &AtomicU32 {
        // SAFETY: the kernel said that a 32-bit counter is there, aligned; it is inside the mapping, and
        // both sides access it atomically.
        unsafe { self.mapping.base.add(at).cast().as_ref() }
    }

    fn producer(&self) -> &AtomicU32 {
        self.counter(self.layout.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.counter(self.layout.consumer)
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        let offset = self.layout.entries + (number & self.mask) as usize * size_of::<T>();
        // SAFETY: the entries begin at `layout.entries`, and there are `mask + 1` of them.
        unsafe { self.mapping.base.add(offset).cast() }
    }

    fn size(&self) -> u32 {
        self.mask + 1
    }
}

/// A ring into which the switch puts entries.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Entries written so far, of which the kernel knows after `submit`.
    written: u32,
    /// The kernel's counter when it was last looked at.
    consumed: u32,
}

/// A ring from which the switch takes entries.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Entries read so far, of which the kernel knows after `release`.
    read: u32,
    /// The kernel's counter when it was last looked at.
    produced: u32,
}

/// Makes a ring of fresh memory that the kernel mapped.
///
/// # Safety
/// `base` is the start of a mapping of `bytes` bytes of an AF_XDP ring of `size` entries (a power of two)
/// of type `T` with this layout, which the caller gives up.
unsafe fn ring<T: Copy>(base: NonNull<u8>, bytes: usize, layout: Layout, size: u32) -> Ring<T> {
    Ring { mapping: Mapping { base, bytes }, layout, mask: size - 1, _entries: PhantomData }
}

impl<T: Copy> Producer<T> {
    /// A fresh ring.
    ///
    /// # Safety
    /// As [`ring`].
    pub(super) unsafe fn new(base: NonNull<u8>, bytes: usize, layout: Layout, size: u32) -> Self {
        // SAFETY: by contract.
        Self { ring: unsafe { ring(base, bytes, layout, size) }, written: 0, consumed: 0 }
    }

    /// Free entries.
    #[inline]
    pub(super) fn free(&mut self) -> u32 {
        let free = self.ring.size() - self.written.wrapping_sub(self.consumed);
        if free > 0 && free >= self.ring.size() / 4 {
            return free;
        }
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size() - self.written.wrapping_sub(self.consumed)
    }

    /// Writes the next entry. The caller has seen that one is free; otherwise nothing happens.
    #[inline]
    pub(super) fn push(&mut self, entry: T) {
        if self.written.wrapping_sub(self.consumed) >= self.ring.size() {
            debug_assert!(false, "the ring is full");
            return;
        }
        // SAFETY: the entry is free: the kernel has read it (acquire in `free`) and does not touch it
        // before `submit`.
        unsafe { self.ring.entry(self.written).write(entry) };
        self.written = self.written.wrapping_add(1);
    }

    /// Tells the kernel of the entries written.
    #[inline]
    pub(super) fn submit(&self) {
        self.ring.producer().store(self.written, Ordering::Release);
    }

    /// Whether the kernel has taken everything.
    #[inline]
    pub(super) fn is_drained(&mut self) -> bool {
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.consumed == self.written
    }
}

impl<T: Copy> Consumer<T> {
    /// A fresh ring.
    ///
    /// # Safety
    /// As [`ring`].
    pub(super) unsafe fn new(base: NonNull<u8>, bytes: usize, layout: Layout, size: u32) -> Self {
        // SAFETY: by contract.
        Self { ring: unsafe { ring(base, bytes, layout, size) }, read: 0, produced: 0 }
    }

    /// Entries to be read.
    #[inline]
    pub(super) fn available(&mut self) -> u32 {
        self.produced = self.ring.producer().load(Ordering::Acquire);
        self.produced.wrapping_sub(self.read).min(self.ring.size())
    }

    /// Reads the next entry. The caller has seen that one is there.
    #[inline]
    pub(super) fn pop(&mut self) -> T {
        // SAFETY: the entry lies in the mapping; the kernel wrote it (acquire in `available`) and does not
        // touch it before `release`.
        let entry = unsafe { self.ring.entry(self.read).read() };
        self.read = self.read.wrapping_add(1);
        entry
    }

    /// Tells the kernel of the entries read.
    #[inline]
    pub(super) fn release(&self) {
        self.ring.consumer().store(self.read, Ordering::Release);
    }
}
