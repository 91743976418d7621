//! [`PktBuf`]: the owning handle of one frame.

use super::Arena;
use super::arena::{HEADROOM, HEADROOM_BYTES};
use crate::offload::Offload;

/// One frame: exclusive ownership of a slot of packet memory, the bytes in use, and what is known
/// about its checksum and segmentation.
///
/// ```text
///   slot:  | headroom ......... | data (the frame, without FCS) | tailroom |
///                               at                       at + len
/// ```
///
/// Not `Clone`: a copy is explicit ([`Pool::copy`](super::Pool::copy)). Dropping it on any thread
/// returns the slot to its pool by an atomic push; [`Pool::recycle`](super::Pool::recycle) is the fast
/// way on the worker that owns the pool.
#[derive(Debug)]
pub struct PktBuf {
    arena: &'static Arena,
    slot: u32,
    /// The frame's first byte, counted from the arena's, so that it is found by an addition. Every method keeps `at` and
    /// `at + len` within the slot: the accessors' safety rests on it.
    at: u32,
    len: u32,
    /// Checksum and segmentation state; offsets count from the first byte of [`PktBuf::data`].
    pub offload: Offload,
}

const _: () = assert!(size_of::<PktBuf>() <= 32, "two frame handles share a cache line");

#[allow(unsafe_code, reason = "slot ownership is this type's reason to exist")]
impl PktBuf {
    /// Takes ownership of `slot`: an empty frame behind the usual headroom.
    #[inline]
    pub(crate) fn own(arena: &'static Arena, slot: u32) -> Self {
        let at = arena.start_of(slot) + HEADROOM;
        Self { arena, slot, at, len: 0, offload: Offload::NONE }
    }

    /// The frame's bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.check();
        // SAFETY: `self` owns the slot, keeps the frame inside it, and is borrowed.
        unsafe { self.arena.bytes(self.at as usize, self.len as usize) }
    }

    /// The frame's bytes, to edit in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.check();
        // SAFETY: `self` owns the slot, keeps the frame inside it, and is borrowed exclusively.
        unsafe { self.arena.bytes_mut(self.at as usize, self.len as usize) }
    }

    /// Everything from `prefix` bytes before the frame's start to the slot's end: where a port that
    /// puts a header in front of the frame (virtio-net) receives to. Follow with [`PktBuf::set_len`].
    pub fn receive_area(&mut self, prefix: usize) -> &mut [u8] {
        let prefix = prefix.min(self.headroom());
        let (from, len) = (self.at as usize - prefix, self.room() + prefix);
        // SAFETY: `self` owns the slot, of which these bytes are the rest, and is borrowed exclusively.
        unsafe { self.arena.bytes_mut(from, len) }
    }

    /// `prefix` followed by the frame, contiguous: the prefix is written to the headroom, and the frame
    /// itself stays as it is. `None` when the headroom is too short.
    pub fn with_prefix(&mut self, prefix: &[u8]) -> Option<&[u8]> {
        if prefix.len() > self.headroom() {
            return None;
        }
        self.check();
        let from = self.at as usize - prefix.len();
        // SAFETY: `self` owns the slot, whose headroom and frame these bytes are, and is borrowed exclusively.
        let whole = unsafe { self.arena.bytes_mut(from, prefix.len() + self.len as usize) };
        whole[..prefix.len()].copy_from_slice(prefix);
        Some(whole)
    }
}

impl PktBuf {
    /// Length of the frame in bytes.
    #[inline]
    #[allow(
        clippy::len_without_is_empty,
        reason = "an empty frame is a buffer, not a state to ask for"
    )]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Sets the frame's length after its bytes were written, e.g. by a system call to
    /// [`PktBuf::receive_area`]. Cut to what the slot holds.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len.min(self.room())).unwrap_or(0);
    }

    /// Free bytes in front of the frame.
    #[inline]
    pub fn headroom(&self) -> usize {
        (self.at - self.arena.start_of(self.slot)) as usize
    }

    /// Free bytes behind the frame.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.room() - self.len()
    }

    /// That the frame lies within its slot, which every method sees to.
    #[inline]
    fn check(&self) {
        debug_assert!(
            self.at >= self.arena.start_of(self.slot) && self.len() <= self.room(),
            "the frame of {} bytes from {} on is not in slot {}",
            self.len,
            self.at,
            self.slot,
        );
    }

    /// Bytes from the frame's first to the slot's end.
    #[inline]
    fn room(&self) -> usize {
        self.arena.capacity(self.slot) - self.headroom()
    }

    /// Grows the frame by `bytes` at its front; the checksum position moves with it. The new bytes hold
    /// whatever was there. False, and unchanged, when the headroom is too short.
    #[must_use]
    pub fn grow_front(&mut self, bytes: u16) -> bool {
        if usize::from(bytes) > self.headroom() {
            return false;
        }
        self.at -= u32::from(bytes);
        self.len += u32::from(bytes);
        self.offload.shift_right(bytes);
        true
    }

    /// Cuts `bytes` off the frame's front; the checksum position moves with it. False, and unchanged,
    /// when the frame is shorter.
    #[must_use]
    pub fn shrink_front(&mut self, bytes: u16) -> bool {
        let Some(len) = self.len.checked_sub(u32::from(bytes)) else { return false };
        self.at += u32::from(bytes);
        self.len = len;
        self.offload.shift_left(bytes);
        true
    }

    /// Replaces the contents by `bytes`. False, and unchanged, when the slot is too small.
    #[must_use]
    #[inline(always)]
    pub fn fill_from(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        self.len = u32::try_from(bytes.len()).unwrap_or(0);
        self.data_mut().copy_from_slice(bytes);
        true
    }

    /// Appends bytes to the frame. False, and unchanged, when the slot is too small.
    #[must_use]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.tailroom() {
            return false;
        }
        let before = self.len();
        self.set_len(before + bytes.len());
        self.data_mut()[before..].copy_from_slice(bytes);
        true
    }

    /// The arena that the slot belongs to.
    pub(crate) fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// The slot's number in its arena.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Places the frame at `start..start + len` of its slot, as AF_XDP delivered it. Values outside the
    /// slot leave an empty frame.
    pub(crate) fn place(&mut self, start: usize, len: usize) {
        let fits = start + len <= self.arena.capacity(self.slot);
        let (start, len) = if fits { (start, len) } else { (HEADROOM_BYTES, 0) };
        self.at = self.arena.start_of(self.slot) + u32::try_from(start).unwrap_or(0);
        self.len = u32::try_from(len).unwrap_or(0);
    }

    /// Gives the slot up to the caller, who must see that it comes home.
    pub(crate) fn into_slot(self) -> u32 {
        let slot = self.slot;
        std::mem::forget(self);
        slot
    }
}

impl Drop for PktBuf {
    fn drop(&mut self) {
        self.arena.returns.push(self.slot);
    }
}
