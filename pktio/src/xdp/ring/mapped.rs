//! [`Mapped`]: a ring in memory of the kernel's. The only file of the AF_XDP port, besides `socket.rs`, with `unsafe`.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Counter, Memory};

/// Where the parts of a ring are in its mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) producer: usize,
    pub(crate) consumer: usize,
    pub(crate) entries: usize,
}

/// A ring that the kernel mapped, unmapped on drop.
pub(crate) struct Mapped<T> {
    base: NonNull<u8>,
    bytes: usize,
    layout: Layout,
    mask: u32,
    _entries: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value and not to a thread. `&Mapped` stays with one thread, since there is no `Sync`.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// A ring of fresh memory.
    ///
    /// # Safety
    /// `base` is the start of a mapping of `bytes` bytes of an AF_XDP ring of `size` entries (a power of two)
    /// of type `T` with this layout, which the caller gives up. Any bits are a `T`: it is made of integers.
    pub(crate) unsafe fn new(base: NonNull<u8>, bytes: usize, layout: Layout, size: u32) -> Self {
        Self { base, bytes, layout, mask: size - 1, _entries: PhantomData }
    }

    fn counter(&self, counter: Counter) -> &AtomicU32 {
        let at = match counter {
            Counter::Producer => self.layout.producer,
            Counter::Consumer => self.layout.consumer,
        };
        // SAFETY: the kernel said that a 32-bit counter is there, aligned; it is inside the mapping, and
        // both sides access it atomically.
        unsafe { self.base.add(at).cast().as_ref() }
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        let offset = self.layout.entries + (number & self.mask) as usize * size_of::<T>();
        // SAFETY: the entries begin at `layout.entries`, and there are `mask + 1` of them.
        unsafe { self.base.add(offset).cast() }
    }
}

impl<T: Copy> Memory for Mapped<T> {
    type Entry = T;

    #[inline]
    fn size(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn load(&self, counter: Counter, order: Ordering) -> u32 {
        self.counter(counter).load(order)
    }

    #[inline]
    fn store(&self, counter: Counter, value: u32, order: Ordering) {
        self.counter(counter).store(value, order);
    }

    #[inline]
    fn read(&self, number: u32) -> T {
        // SAFETY: inside the mapping and aligned. No thread but this one has it; the kernel writes no entry that was
        // submitted and not released, and if it did, the bits would still be a `T`.
        unsafe { self.entry(number).read() }
    }

    #[inline]
    fn write(&self, number: u32, entry: T) {
        // SAFETY: inside the mapping and aligned. No thread but this one has it, and the kernel only reads it.
        unsafe { self.entry(number).write(entry) };
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and goes with it.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
