//! [`Pool`]: the free lists of one worker's packet memory.

use std::sync::{Mutex, PoisonError};

use super::arena::{HEADROOM_BYTES, SMALL_BYTES};
use super::{Arena, Burst, PktBuf};

/// How much packet memory a pool has: less than 4 GiB together. Memory is touched, and so becomes resident, only when it is
/// used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Number of MTU-sized slots ([`SMALL_BYTES`] each, headroom included).
    pub small: u32,
    /// Number of super-frame slots (64 KiB each, and headroom).
    pub slabs: u32,
}

impl Default for PoolConfig {
    /// 32 MiB of small slots and 17 MiB of slabs, of which an idle switch touches nothing.
    fn default() -> Self {
        Self { small: 16384, slabs: 256 }
    }
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The kernel refused the mapping.
    #[error(
        "cannot map packet memory for {small} small frames and {slabs} super-frames: {source}; \
         ask for fewer buffers or raise the memory limit of the service"
    )]
    Map {
        /// Small slots asked for.
        small: u32,
        /// Slabs asked for.
        slabs: u32,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// More than a pool can have.
    #[error(
        "{small} small frames of 2 KiB and {slabs} super-frames of 64 KiB are more than the 4 GiB of one worker; \
         ask for fewer buffers"
    )]
    TooLarge {
        /// Small slots asked for.
        small: u32,
        /// Slabs asked for.
        slabs: u32,
    },
}

/// The free slots of one arena, in LIFO order. Owned by one worker; frames taken from it may travel to,
/// and be dropped by, any thread.
#[derive(Debug)]
pub struct Pool {
    arena: &'static Arena,
    small: Vec<u32>,
    slabs: Vec<u32>,
}

/// The packet memory of one worker, whoever has its slots.
#[derive(Debug, Clone, Copy)]
pub struct Memory(pub(crate) &'static Arena);

/// Arenas whose pool was dropped, with the slots that were free then. The others come home by the
/// return stack.
static IDLE: Mutex<Vec<Pool>> = Mutex::new(Vec::new());

impl Pool {
    /// A pool with memory of its own, fresh or from a pool that was dropped.
    ///
    /// # Errors
    /// [`PoolError::Map`] when the kernel refuses the memory, [`PoolError::TooLarge`] when that is too much for one pool.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        if let Some(mut pool) = Self::adopt_idle(config) {
            pool.reclaim();
            return Ok(pool);
        }
        let PoolConfig { small, slabs } = config;
        if !Arena::can_have(small, slabs) {
            return Err(PoolError::TooLarge { small, slabs });
        }
        let arena =
            Arena::leak(small, slabs).map_err(|source| PoolError::Map { small, slabs, source })?;
        // Reversed, so that the first slot taken is the first one in memory.
        let small_slots = (0..small).rev().collect();
        Ok(Self { arena, small: small_slots, slabs: (small..small + slabs).rev().collect() })
    }

    fn adopt_idle(config: PoolConfig) -> Option<Self> {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |pool: &Self| {
            pool.arena.small_slots() == config.small && pool.arena.slab_slots() == config.slabs
        };
        let found = idle.iter().position(fits)?;
        Some(idle.swap_remove(found))
    }

    /// An empty MTU-sized frame, or `None` when all are in use.
    #[inline]
    pub fn take_small(&mut self) -> Option<PktBuf> {
        if self.small.is_empty() {
            self.reclaim();
        }
        self.small.pop().map(|slot| PktBuf::own(self.arena, slot))
    }

    /// An empty super-frame, or `None` when all are in use.
    #[inline]
    pub fn take_slab(&mut self) -> Option<PktBuf> {
        if self.slabs.is_empty() {
            self.reclaim();
        }
        self.slabs.pop().map(|slot| PktBuf::own(self.arena, slot))
    }

    /// An empty frame with room for `bytes`, of the smaller class that holds them.
    #[inline(always)]
    pub fn take_for(&mut self, bytes: usize) -> Option<PktBuf> {
        if bytes <= SMALL_BYTES - HEADROOM_BYTES { self.take_small() } else { self.take_slab() }
    }

    /// A copy of `frame`, bytes and offload state. `None` when no buffer is free.
    pub fn copy(&mut self, frame: &PktBuf) -> Option<PktBuf> {
        let mut copy = self.take_for(frame.len())?;
        copy.offload = frame.offload;
        copy.fill_from(frame.data()).then_some(copy)
    }

    /// A frame that holds `bytes`. `None` when no buffer is free or they are longer than a super-frame.
    #[inline]
    pub fn frame_from(&mut self, bytes: &[u8]) -> Option<PktBuf> {
        let mut frame = self.take_for(bytes.len())?;
        frame.fill_from(bytes).then_some(frame)
    }

    /// Takes a frame back: the fast way for frames of this pool, and correct for every other.
    #[inline]
    pub fn recycle(&mut self, frame: PktBuf) {
        if !std::ptr::eq(frame.arena(), self.arena) {
            return;
        }
        self.take_home(frame.into_slot());
    }

    /// Takes all frames of a burst back.
    #[inline]
    pub fn recycle_all(&mut self, burst: &mut Burst) {
        for frame in burst.drain(..) {
            self.recycle(frame);
        }
    }

    /// Brings home the slots that other threads dropped.
    pub fn reclaim(&mut self) {
        let arena = self.arena;
        arena.returns.take_all(|slot| self.take_home(slot));
    }

    /// Free slots of both classes, slots still on their way home not counted.
    pub fn free(&self) -> PoolConfig {
        let count = |slots: &Vec<u32>| u32::try_from(slots.len()).unwrap_or(u32::MAX);
        PoolConfig { small: count(&self.small), slabs: count(&self.slabs) }
    }

    /// Whether most super-frames are in use: what has one should hand it on soon, and keep none for later. Slots still on
    /// their way home count as in use.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.slabs.len() < self.arena.slab_slots() as usize / 2
    }

    /// The arena behind the pool.
    pub(crate) fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// The memory behind the pool, to open AF_XDP ports with.
    pub fn memory(&self) -> Memory {
        Memory(self.arena)
    }

    #[inline]
    fn take_home(&mut self, slot: u32) {
        if slot < self.arena.small_slots() { self.small.push(slot) } else { self.slabs.push(slot) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let rest = Self {
            arena: self.arena,
            small: std::mem::take(&mut self.small),
            slabs: std::mem::take(&mut self.slabs),
        };
        // The pool that waits in the list must not be dropped into the list again: the process's end
        // never drops statics, and `adopt_idle` moves it out.
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Pool {
        Pool::new(PoolConfig { small: 4, slabs: 2 }).unwrap()
    }

    #[test]
    fn a_recycled_buffer_is_the_next_one_taken() {
        let mut pool = tiny();
        let frame = pool.take_small().unwrap();
        let slot = frame.slot();
        pool.recycle(frame);
        assert_eq!(pool.take_small().unwrap().slot(), slot);
    }

    #[test]
    fn an_exhausted_pool_says_so_and_recovers_what_others_dropped() {
        let mut pool = tiny();
        let taken: Vec<_> = std::iter::from_fn(|| pool.take_small()).collect();
        assert_eq!(taken.len(), 4);
        std::thread::spawn(move || drop(taken)).join().unwrap();
        assert!(pool.take_small().is_some());
    }

    #[test]
    fn a_frame_of_another_pool_goes_home_to_its_own() {
        let (mut ours, mut theirs) = (tiny(), tiny());
        let before = theirs.free();
        let frame = theirs.take_slab().unwrap();
        ours.recycle(frame);
        theirs.reclaim();
        assert_eq!(theirs.free(), before);
    }

    #[test]
    fn a_frame_outlives_its_pool() {
        let mut pool = Pool::new(PoolConfig { small: 3, slabs: 1 }).unwrap();
        let frame = pool.frame_from(b"still here").unwrap();
        drop(pool);
        let mut heir = Pool::new(PoolConfig { small: 3, slabs: 1 }).unwrap();
        assert_eq!(frame.data(), b"still here");
        drop(frame);
        heir.reclaim();
        assert_eq!(heir.free(), PoolConfig { small: 3, slabs: 1 });
    }

    #[test]
    fn growing_and_shrinking_moves_the_checksum_position() {
        use crate::offload::Csum;
        let mut pool = tiny();
        let mut frame = pool.frame_from(&[7; 60]).unwrap();
        frame.offload.csum = Csum::Partial { start: 34, offset: 16 };
        assert!(frame.grow_front(4));
        assert_eq!(frame.len(), 64);
        assert_eq!(frame.offload.csum, Csum::Partial { start: 38, offset: 16 });
        assert!(frame.shrink_front(4));
        assert_eq!(frame.offload.csum, Csum::Partial { start: 34, offset: 16 });
        assert!(!frame.grow_front(300));
        assert!(!frame.shrink_front(61));
    }

    #[test]
    fn a_pool_has_less_than_four_gigabytes() {
        for config in [
            PoolConfig { small: 1 << 21, slabs: 0 },
            PoolConfig { small: 0, slabs: 1 << 16 },
            PoolConfig { small: u32::MAX, slabs: u32::MAX },
        ] {
            assert!(matches!(Pool::new(config), Err(PoolError::TooLarge { .. })), "{config:?}");
        }
        // Where the last slot ends is still counted right.
        let mut pool = Pool::new(PoolConfig { small: 2_000_000, slabs: 256 }).unwrap();
        assert_eq!(pool.frame_from(&[7; 60_000]).unwrap().data(), [7; 60_000]);
        pool.small.swap(0, 1_999_999);
        assert_eq!(pool.frame_from(&[9; 60]).unwrap().data(), [9; 60]);
    }

    #[test]
    fn a_super_frame_fits_a_slab_and_not_a_small_buffer() {
        let mut pool = tiny();
        let bytes = vec![1; 65536 + 14 + 8];
        assert_eq!(pool.frame_from(&bytes).unwrap().data(), bytes);
        assert!(!pool.take_small().unwrap().fill_from(&bytes));
        assert!(pool.frame_from(&vec![0; 70_000]).is_none());
    }
}
