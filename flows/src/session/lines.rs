//! Arrays of cache lines: zeroed memory that is not resident until it is touched.

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;

/// Words in a cache line.
const LINE: usize = 8;

/// So many pieces of `N` words each, which start at the start of a cache line.
#[derive(Debug)]
pub(super) struct Lines<const N: usize> {
    words: Box<[AtomicU64]>,
    /// Words before the first cache line: the allocator aligns to less.
    skip: usize,
    count: usize,
}

impl<const N: usize> Lines<N> {
    pub(super) fn zeroed(count: usize) -> Self {
        let words = zeroed(count * N + LINE);
        let skip = words.as_ptr().align_offset(LINE * size_of::<u64>());
        // No alignment is to be had where a word is larger than a word, which is under `loom`.
        Self { words, skip: if skip < LINE { skip } else { 0 }, count }
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&[AtomicU64; N]> {
        self.words[self.skip..].as_chunks().0.get(at)
    }

    /// The piece at `at`, modulo their number, which is a power of two.
    #[inline]
    pub(super) fn wrapping(&self, at: usize) -> &[AtomicU64; N] {
        &self.words[self.skip..].as_chunks().0[at & (self.count - 1)]
    }
}

#[cfg(loom)]
fn zeroed(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(not(loom))]
fn zeroed(count: usize) -> Box<[AtomicU64]> {
    match <AtomicU64 as zerocopy::FromZeros>::new_vec_zeroed(count) {
        Ok(vec) => Vec::into_boxed_slice(vec),
        Err(_) => (0..count).map(|_| AtomicU64::new(0)).collect(),
    }
}
