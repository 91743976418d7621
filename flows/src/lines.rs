//! [`Lines`]: arrays of cache lines: zeroed memory that is not resident until it is touched, in huge pages if it is
//! large.

use pktio::hint::prefer_huge_pages;

/// Bytes of a cache line.
const LINE: usize = 64;

/// So many pieces of `N` words each. The first starts at the start of a cache line, so that none lies in more of
/// them than it must.
#[derive(Debug)]
pub(crate) struct Lines<T, const N: usize> {
    words: Box<[T]>,
    /// Words before the first cache line: the allocator aligns to less.
    skip: usize,
    count: usize,
}

impl<T: Zero, const N: usize> Lines<T, N> {
    pub(crate) fn zeroed(count: usize) -> Self {
        let spare = LINE.div_ceil(size_of::<T>());
        let words = T::zeroed(count * N + spare);
        prefer_huge_pages(&words);
        let skip = words.as_ptr().align_offset(LINE);
        // No alignment is to be had where a word is larger than a word, which is under `loom`.
        Self { words, skip: if skip < spare { skip } else { 0 }, count }
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&[T; N]> {
        self.words[self.skip..].as_chunks().0.get(at)
    }

    /// The piece at `at`, modulo their number, which is a power of two.
    #[inline]
    pub(crate) fn wrapping(&self, at: usize) -> &[T; N] {
        &self.words[self.skip..].as_chunks().0[at & (self.count - 1)]
    }

    /// The same, to write.
    #[inline]
    pub(crate) fn wrapping_mut(&mut self, at: usize) -> &mut [T; N] {
        &mut self.words[self.skip..].as_chunks_mut().0[at & (self.count - 1)]
    }
}

/// Words that are zero when all of their bytes are.
pub(crate) trait Zero: Sized {
    fn zeroed(count: usize) -> Box<[Self]>;
}

#[cfg(not(loom))]
impl<T: zerocopy::FromZeros> Zero for T {
    fn zeroed(count: usize) -> Box<[T]> {
        match T::new_vec_zeroed(count) {
            Ok(vec) => Vec::into_boxed_slice(vec),
            Err(_) => (0..count).map(|_| T::new_zeroed()).collect(),
        }
    }
}

#[cfg(loom)]
impl<T: Default> Zero for T {
    fn zeroed(count: usize) -> Box<[T]> {
        (0..count).map(|_| T::default()).collect()
    }
}
