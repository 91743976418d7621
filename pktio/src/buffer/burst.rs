//! [`Burst`]: the frames that move together.

use std::ops::RangeBounds;

use super::{PktBuf, Pool};

/// The most frames that a port hands over at once.
pub const BURST_FRAMES: usize = 64;

/// A port stops filling a burst once it holds this many bytes, so that a burst of super-frames is still
/// in L2 when it is written out again. See `docs/PERFORMANCE.md`.
pub const BURST_BYTES: usize = 128 * 1024;

/// A list of frames, in order. Allocated once, with room for [`Burst::CAPACITY`] frames.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<PktBuf>,
}

impl Burst {
    /// Room for what two full receive bursts bring, so that an outbox that is flushed when a full burst
    /// waits in it never grows.
    pub const CAPACITY: usize = 2 * BURST_FRAMES;

    /// An empty burst.
    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(Self::CAPACITY) }
    }

    /// Appends a frame.
    #[inline]
    pub fn push(&mut self, frame: PktBuf) {
        self.frames.push(frame);
    }

    /// Appends a frame that holds `bytes`. It is filled where it stays: to fill it elsewhere and move it costs more than to
    /// fill it. False, and nothing is appended, when no buffer is free or they are longer than a super-frame.
    #[must_use]
    #[inline(always)]
    pub fn push_copy(&mut self, bytes: &[u8], pool: &mut Pool) -> bool {
        let Some(empty) = pool.take_for(bytes.len()) else { return false };
        self.frames.push(empty);
        let is_filled = self.frames.last_mut().is_some_and(|frame| frame.fill_from(bytes));
        if !is_filled {
            self.frames.pop();
        }
        is_filled
    }

    /// Removes and yields the frames of `range`, in order.
    #[inline]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> impl Iterator<Item = PktBuf> + '_ {
        self.frames.drain(range)
    }
}

impl Extend<PktBuf> for Burst {
    fn extend<I: IntoIterator<Item = PktBuf>>(&mut self, frames: I) {
        self.frames.extend(frames);
    }
}

impl Default for Burst {
    /// An empty burst without memory: what stays behind, at no cost, while a burst is taken out of its
    /// place and worked on.
    fn default() -> Self {
        Self { frames: Vec::new() }
    }
}

impl std::ops::Deref for Burst {
    type Target = [PktBuf];

    fn deref(&self) -> &[PktBuf] {
        &self.frames
    }
}

impl std::ops::DerefMut for Burst {
    fn deref_mut(&mut self) -> &mut [PktBuf] {
        &mut self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    #[test]
    fn a_copy_is_appended_whole_or_not_at_all() {
        let mut pool = Pool::new(PoolConfig { small: 2, slabs: 1 }).unwrap();
        let free = pool.free();
        let mut burst = Burst::new();
        assert!(!burst.push_copy(&vec![1; 70_000], &mut pool), "longer than a super-frame");
        assert!(burst.is_empty());
        assert!(burst.push_copy(&[2; 60], &mut pool));
        assert!(burst.push_copy(&[3; 9000], &mut pool));
        assert!(!burst.push_copy(&[4; 9000], &mut pool), "no slab is left");
        assert!(burst.push_copy(&[5; 1514], &mut pool));
        assert!(!burst.push_copy(&[6; 60], &mut pool), "no small slot is left");
        let frames: Vec<_> = burst.iter().map(|frame| frame.data().to_vec()).collect();
        assert_eq!(frames, [vec![2; 60], vec![3; 9000], vec![5; 1514]]);
        pool.recycle_all(&mut burst);
        pool.reclaim();
        assert_eq!(pool.free(), free);
    }
}
