//! Packet memory, and the only place that turns a slot number into bytes.
//!
//! One anonymous mapping: first the small frames (2 KiB chunks, page-aligned as a whole, so that this
//! part can be registered as an AF_XDP UMEM), then the slabs. The slab stride is deliberately no
//! multiple of 4 KiB: with a power-of-two stride the headers of all slabs would fall into the same
//! few L1 sets.
//!
//! An [`Arena`] is leaked on purpose: a `&'static` in every frame costs no reference count, and neither
//! a frame nor a kernel ring can outlive it. [`Pool`](super::Pool) reuses the arenas of dropped pools.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use super::returns::ReturnStack;

/// Size of a small slot: header room plus an Ethernet frame at MTU 1500, and the chunk size of the
/// AF_XDP UMEM (`Documentation/networking/af_xdp.rst`: 2048 or 4096 in aligned mode).
pub const SMALL_BYTES: usize = 2048;

/// Free bytes in front of a received frame: room for any encapsulation, the virtio-net header and the
/// AF_XDP transmit metadata. Equals the kernel's `XDP_PACKET_HEADROOM`, so that frames that AF_XDP
/// delivers have the same.
pub const HEADROOM_BYTES: usize = HEADROOM as usize;

/// [`HEADROOM_BYTES`], as frame handles count.
pub(super) const HEADROOM: u32 = 256;

/// The longest frame that a slab holds after its headroom: a 64 KiB IP packet, an Ethernet header and
/// two VLAN tags, rounded up to a cache line.
pub const SLAB_BYTES: usize = 65536 + 64;

/// Distance between two slabs: 16 full pages and 6 cache lines more.
const SLAB_STRIDE: usize = HEADROOM_BYTES + SLAB_BYTES + 64;

/// A leaked mapping of packet memory and the stack on which its slots come home.
pub(crate) struct Arena {
    base: NonNull<u8>,
    small: u32,
    slabs: u32,
    pub(super) returns: ReturnStack,
    /// Small slots that the kernel has to receive into.
    pub(crate) lent: AtomicU32,
}

// SAFETY: the memory behind `base` is only reached through `bytes` and `bytes_mut`, whose callers own
// the slot, and by the kernel, to which AF_XDP lends slots (`umem`). Slot ownership is handed over between threads by
// moving a `PktBuf` or through the return stack's release/acquire pair. The other fields are immutable or atomic.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps and leaks an arena.
    ///
    /// # Errors
    /// The kernel's error when the mapping is refused. It [can have](Self::can_have) so many slots.
    pub(super) fn leak(small: u32, slabs: u32) -> std::io::Result<&'static Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let bytes = Self::bytes_of(small, slabs);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags)?
        };
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        let returns = ReturnStack::new((small + slabs) as usize);
        Ok(Box::leak(Box::new(Self { base, small, slabs, returns, lent: AtomicU32::new(0) })))
    }

    /// Bytes of an arena of so many slots.
    fn bytes_of(small: u32, slabs: u32) -> usize {
        small as usize * SMALL_BYTES + slabs as usize * SLAB_STRIDE
    }

    /// Whether an arena can have so many slots: frames count their bytes from its first, in 32 bits.
    pub(super) fn can_have(small: u32, slabs: u32) -> bool {
        u32::try_from(Self::bytes_of(small, slabs)).is_ok()
    }

    /// Number of small slots; slots below it are small, the others slabs.
    pub(crate) fn small_slots(&self) -> u32 {
        self.small
    }

    /// Whether a slot is a small one.
    pub(crate) fn is_small(&self, slot: u32) -> bool {
        slot < self.small
    }

    /// Number of slabs.
    pub(super) fn slab_slots(&self) -> u32 {
        self.slabs
    }

    /// Usable bytes of a slot, headroom included.
    #[inline]
    pub(super) fn capacity(&self, slot: u32) -> usize {
        if slot < self.small { SMALL_BYTES } else { HEADROOM_BYTES + SLAB_BYTES }
    }

    /// The part that AF_XDP registers: its address and length in bytes. Slot `n` starts at
    /// `n * SMALL_BYTES` in it.
    pub(crate) fn umem(&self) -> (NonNull<u8>, usize) {
        (self.base, self.small as usize * SMALL_BYTES)
    }

    /// Where a slot begins, in bytes from the arena's first.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "an arena has less than 4 GiB")]
    pub(super) fn start_of(&self, slot: u32) -> u32 {
        const SMALL: u32 = SMALL_BYTES as u32;
        const STRIDE: u32 = SLAB_STRIDE as u32;
        debug_assert!(slot < self.small + self.slabs, "slot {slot} lies outside the arena");
        if slot < self.small {
            slot * SMALL
        } else {
            self.small * SMALL + (slot - self.small) * STRIDE
        }
    }

    /// The `len` bytes from byte `at` of the arena on.
    ///
    /// # Safety
    /// They are within the capacity of one slot, which the caller owns, and nobody writes to it while the result lives.
    #[inline]
    pub(super) unsafe fn bytes(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: in bounds and unaliased by contract; initialised, since anonymous memory is zeroed.
        unsafe { std::slice::from_raw_parts(self.base.add(at).as_ptr(), len) }
    }

    /// The `len` bytes from byte `at` of the arena on, to write.
    ///
    /// # Safety
    /// They are within the capacity of one slot, which the caller owns exclusively for as long as the result lives.
    #[allow(clippy::mut_from_ref, reason = "exclusive access is the caller's, by slot ownership")]
    #[inline]
    pub(super) unsafe fn bytes_mut(&self, at: usize, len: usize) -> &mut [u8] {
        // SAFETY: as in `bytes`, with exclusive ownership by contract.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(at).as_ptr(), len) }
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("small", &self.small).field("slabs", &self.slabs).finish()
    }
}
