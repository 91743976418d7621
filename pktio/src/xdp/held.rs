//! [`Held`]: the slots that the kernel has.

use crate::buffer::{Arena, PktBuf, SMALL_BYTES};

/// The slots of an arena that the kernel has. They come home when this is dropped: not before the kernel's use of them has
/// ended.
pub(super) struct Held {
    arena: &'static Arena,
    /// By number.
    slots: Vec<bool>,
}

impl Held {
    /// None yet.
    pub(super) fn none_of(arena: &'static Arena) -> Self {
        Self { arena, slots: vec![false; arena.umem().1 / SMALL_BYTES] }
    }

    /// The arena that they are of.
    pub(super) fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Gives a frame's slot to the kernel, and returns the address of byte `offset` of the slot.
    pub(super) fn lend(&mut self, frame: PktBuf, offset: usize) -> u64 {
        let slot = frame.into_slot();
        self.slots[slot as usize] = true;
        u64::from(slot) * SMALL_BYTES as u64 + offset as u64
    }

    /// Takes a slot back from the kernel. `None` for an address that it does not have.
    pub(super) fn take_back(&mut self, address: u64) -> Option<(PktBuf, usize)> {
        let (slot, offset) = (address / SMALL_BYTES as u64, address % SMALL_BYTES as u64);
        let slot = u32::try_from(slot).ok()?;
        let held = self.slots.get_mut(slot as usize)?;
        if !std::mem::take(held) {
            return None;
        }
        Some((PktBuf::own(self.arena, slot), usize::try_from(offset).ok()?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for slot in (0u32..).zip(&self.slots).filter_map(|(slot, held)| held.then_some(slot)) {
            drop(PktBuf::own(self.arena, slot));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};

    #[test]
    fn a_slot_is_taken_back_once_and_what_the_kernel_keeps_comes_home_with_the_list() {
        let config = PoolConfig { small: 5, slabs: 1 };
        let mut pool = Pool::new(config).unwrap();
        let mut held = Held::none_of(pool.arena());
        let [first, second] = [7, 0].map(|offset| held.lend(pool.take_small().unwrap(), offset));
        let (frame, offset) = held.take_back(first).unwrap();
        assert_eq!((frame.slot(), offset), (0, 7));
        assert!(held.take_back(first).is_none(), "it is ours already");
        assert!(held.take_back(u64::MAX).is_none());
        assert_eq!(second, SMALL_BYTES as u64);
        drop((frame, held));
        pool.reclaim();
        assert_eq!(pool.free(), config);
    }
}
