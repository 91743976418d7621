//! How frames get in and out: buffers, bursts, offload state and the ports.
//!
//! * [`buffer`]: [`Pool`], [`PktBuf`] and [`Burst`]. A frame is an owning handle to a slot in an arena
//!   that is never unmapped: it can be sent to any thread and dropped anywhere.
//! * [`hint`]: what large tables ask of the processor and the kernel.
//! * [`offload`]: what the kernel knew about a frame ([`Offload`]) travels with it, and is worked off in
//!   software (segmentation, checksums, coalescing) only before a port that cannot take it.
//! * [`port`]: the [`Port`] trait, which every kind of port implements.
//! * [`shared`]: an interface that stays the host's, but for what is the switch's.
//! * [`shortcut`]: frames that the kernel carries from port to port by itself.
//! * [`underlay`]: tunnel packets over the host's IP, by UDP sockets.
//! * [`wake`]: who has to ring when something is left for a thread that may sleep.
//! * [`wire`]: header layouts, the one header parser and checksum arithmetic.
//!
//! Nothing here decides where a frame goes: that is the `flows` crate. This crate depends on no
//! sibling. `unsafe` lives only in `buffer/arena.rs` (and its caller
//! `buffer/pktbuf.rs`), `hint.rs`, `sys.rs`, `bpf/sys.rs`, `underlay/sys.rs`, `xdp/ring/mapped.rs` and `xdp/socket.rs`.

pub mod bpf;
pub mod buffer;
pub mod hint;
pub mod mem;
pub mod null;
pub mod offload;
pub mod packet;
pub mod pcap;
pub mod port;
pub mod shared;
pub mod shortcut;
mod sys;
pub mod tap;
pub mod underlay;
mod vnet;
pub mod wake;
pub mod wire;
pub mod xdp;

pub use buffer::{Burst, PktBuf, Pool, PoolConfig, PoolError};
pub use offload::{Accepts, Csum, Gso, Offload};
pub use port::{Missed, Port, PortFault, Sent};
