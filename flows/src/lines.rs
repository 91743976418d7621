//! Memory of tables: [`zeroed`], and [`Lines`], which begin where a cache line does. None of it is resident until it is
//! touched; large tables are in huge pages, if the kernel has any.

use pktio::hint::{HUGE_PAGE, prefer_huge_pages};

/// Bytes of a cache line.
const LINE: usize = 64;

/// So many values whose bytes are all zero.
pub(crate) fn zeroed<T: Zero>(count: usize) -> Box<[T]> {
    let table = T::zeroed(count);
    prefer_huge_pages(&table);
    table
}

/// So many pieces of `N` words each. The first starts at the start of a cache line, so that none lies in more of
/// them than it must; that of a large table at the start of a huge page, so that none of it is in small ones.
#[derive(Debug)]
pub(crate) struct Lines<T, const N: usize> {
    words: Box<[T]>,
    /// Words before the first piece: the allocator aligns to less.
    skip: usize,
    count: usize,
}

impl<T: Zero, const N: usize> Lines<T, N> {
    pub(crate) fn zeroed(count: usize) -> Self {
        let is_large = count * N * size_of::<T>() >= HUGE_PAGE;
        let align = if is_large { HUGE_PAGE } else { LINE };
        let spare = align.div_ceil(size_of::<T>());
        let words: Box<[T]> = zeroed(count * N + spare);
        let skip = words.as_ptr().align_offset(align);
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
    /// An allocation of this size cannot fail short of the process being out of memory, which aborts it anyway.
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
