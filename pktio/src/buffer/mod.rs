//! Packet memory: an arena of two size classes, the pool that hands its slots out, the owning frame
//! handle and the burst.
//!
//! ```text
//!   Pool (one worker)            Arena (never unmapped)
//!   small: [7, 3, 9 ...] LIFO    | 2 KiB | 2 KiB | ... small frames (also the AF_XDP UMEM) ...
//!   slabs: [1, 0]        LIFO    | 66 KiB | 66 KiB | ... super-frames of up to 64 KiB ...
//!         ^                            ^
//!         | reclaim                    | a PktBuf owns one slot
//!         '--- return stack <--- PktBuf dropped by anybody, on any thread
//! ```
//!
//! Invariants:
//! * A slot is owned by exactly one of: a pool's free list, the return stack, one [`PktBuf`], or (for
//!   AF_XDP) the kernel through one ring. Only `arena.rs` turns a slot into a reference.
//! * An arena is never unmapped. The arena of a dropped pool waits to be adopted by the next pool of
//!   the same size, so a frame or a kernel ring that outlives the pool stays valid.
//! * Free lists are LIFO so that the buffer used last, still in L2, is used next.

mod arena;
mod burst;
mod pktbuf;
mod pool;
mod returns;
mod spares;

pub use arena::{HEADROOM_BYTES, SLAB_BYTES, SMALL_BYTES};
pub use burst::{BURST_BYTES, BURST_FRAMES, Burst};
pub use pktbuf::PktBuf;
pub use pool::{Memory, Pool, PoolConfig, PoolError};

pub(crate) use arena::Arena;
pub(crate) use spares::Spares;
