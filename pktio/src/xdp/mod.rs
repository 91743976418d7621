//! The AF_XDP port: the most packets per second from a veth or a NIC that exists already.
//!
//! Frames come into, and go out of, memory that the kernel and the switch share (the UMEM): the small
//! slots of the worker's packet memory. Every port of a worker registers the same memory, so a frame
//! that one port received leaves by another without being copied in userspace
//! (`Documentation/networking/af_xdp.rst`).
//!
//! ```text
//!            fill ──► kernel ──► rx            slots travel: free list ─ fill ─ rx ─ PktBuf ─ tx ─
//!   switch                            switch   completion ─ free list
//!            tx   ──► kernel ──► completion
//! ```
//!
//! * **Checksums.** A container's kernel leaves TCP and UDP checksums half done and AF_XDP does not say
//!   so: received frames are classified ([`checksum::classify`]). To send a half-done one, its position
//!   is put in front of the frame (`xsk-tx-metadata.rst`), and the far end takes it as it is.
//! * **Long frames** come and go in several pieces (`XDP_USE_SG`): received ones are put together in a
//!   slab, and frames that are no small slot of this memory are copied into some.
//! * **Ownership.** A slot that the kernel has is marked in `held`; when the port is dropped, the socket is closed and
//!   its rings are unmapped first, and then all of them come home. Each mapping keeps the socket open, as another
//!   descriptor would: only with the last of these does the kernel give up the memory (`xsk_release`).
//!
//! Open the ports in the namespace of their device, with the memory of the worker that will use them. The
//! first `housekeep` gives the kernel slots to receive into.

mod held;
mod ring;
mod share;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::bpf::{BpfError, Link, Program, XdpAttach, XskMap};
use crate::buffer::{
    Arena, BURST_FRAMES, Burst, HEADROOM_BYTES, Memory, PktBuf, Pool, SMALL_BYTES,
};
use crate::offload::{Accepts, Csum, checksum};
use crate::port::{Missed, Port, PortFault, Sent};
use crate::shared::Sharing;
use held::Held;
use ring::Descriptor;
use share::Share;
use socket::{RING, Rings, Socket, Statistics};

/// The next piece of the frame is in the next descriptor (linux/if_xdp.h).
const PKT_CONTD: u32 = 1;
/// There is metadata in front of the frame.
const TX_METADATA: u32 = 2;
/// Length of the metadata in front of a frame to send.
const METADATA_BYTES: usize = 24;
/// `XDP_TXMD_FLAGS_CHECKSUM`.
const METADATA_CHECKSUM: u64 = 2;
/// Payload of one small slot.
const PIECE_BYTES: usize = SMALL_BYTES - HEADROOM_BYTES;
/// [`BURST_FRAMES`], as rings count.
const BURST: u32 = 64;
const _: () = assert!(BURST as usize == BURST_FRAMES);
/// Slots that the kernel gets at least, before it is given more.
const REFILL_AT: u32 = 32;
/// Slots that it has to receive into where many ports share the memory: what it receives at a time (`NAPI_POLL_WEIGHT`).
const FEW: u32 = 64;
/// Attempts to make the kernel take what is in the transmit ring.
const KICKS: usize = 64;

/// Why there is no AF_XDP port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The socket cannot be set up.
    #[error("cannot {operation} for AF_XDP on interface {interface}: {source}")]
    Socket {
        /// What was attempted.
        operation: &'static str,
        /// The interface's number.
        interface: u32,
        /// The kernel's error.
        source: io::Error,
    },
    /// The program that steers frames to the socket cannot be attached.
    #[error("cannot steer interface {interface} to AF_XDP: {source}")]
    Program {
        /// The interface's number.
        interface: u32,
        /// The kernel's error.
        source: BpfError,
    },
}

/// What the device turned out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Where the program is attached.
    pub attach: XdpAttach,
    /// Whether frames are received and sent without a copy in the kernel.
    pub zero_copy: bool,
}

/// The program on a device and the map it steers by. It goes with the last of the device's ports.
#[derive(Debug)]
struct Steering {
    _link: Link,
    map: XskMap,
}

/// One queue of an interface, by AF_XDP.
pub struct XdpPort {
    socket: Socket,
    rings: Rings,
    /// Behind socket and rings, since fields are dropped in order.
    held: Held,
    share: Share,
    gathering: Gathering,
    /// Frames of several pieces that found no slab, since it was last asked.
    lost: u64,
    /// Lists to work with, empty between calls: frames that found no room, and the pieces of a frame.
    left: Burst,
    pieces: Burst,
    seen: Statistics,
    mode: Mode,
    _steering: Arc<Steering>,
}

/// A frame of several pieces of which not all have come.
#[derive(Debug, Default)]
enum Gathering {
    #[default]
    Nothing,
    /// What has come of it.
    Frame(PktBuf),
    /// There was no memory for it.
    Lost,
}

/// Opens all queues of an interface of the calling thread's network namespace. The ports work with the
/// packet memory `memory`, and only in the hands of the worker whose pool that is.
///
/// # Errors
/// [`XdpError`]; nothing is left behind.
pub fn open(interface: u32, queues: u32, memory: Memory) -> Result<Vec<XdpPort>, XdpError> {
    open_by((interface, queues), memory, XskMap::program)
}

/// As [`open`], of an interface that stays the host's: only what is claimed is taken, and the rest passes up.
///
/// # Errors
/// [`XdpError`]; nothing is left behind.
pub fn open_shared(
    interface: u32,
    queues: u32,
    memory: Memory,
    sharing: &Sharing,
) -> Result<Vec<XdpPort>, XdpError> {
    open_by((interface, queues), memory, |map| sharing.steering(map))
}

fn open_by(
    (interface, queues): (u32, u32),
    memory: Memory,
    program: impl FnOnce(&XskMap) -> Result<Program, BpfError>,
) -> Result<Vec<XdpPort>, XdpError> {
    let failed = |source| XdpError::Program { interface, source };
    let map = XskMap::new(queues).map_err(failed)?;
    let program = program(&map).map_err(failed)?;
    let attach = |mode| program.attach_xdp(interface, mode).map(|link| (link, mode));
    let attached = attach(XdpAttach::Native).or_else(|_| attach(XdpAttach::Generic));
    let (link, attach) = attached.map_err(failed)?;
    let steering = Arc::new(Steering { _link: link, map });
    let mut ports = Vec::new();
    for queue in 0..queues {
        match XdpPort::open((interface, queue), memory.0, &steering, attach) {
            Ok(port) => ports.push(port),
            Err(error) if queue > 0 && error.is_no_such_queue() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(ports)
}

impl XdpError {
    /// Whether the queue is not in use: a device may have made more queues than it uses, and only the
    /// latter can be bound to.
    fn is_no_such_queue(&self) -> bool {
        matches!(self, Self::Socket { source, .. } if source.raw_os_error() == Some(libc::EINVAL))
    }
}

impl XdpPort {
    fn open(
        (interface, queue): (u32, u32),
        arena: &'static Arena,
        steering: &Arc<Steering>,
        attach: XdpAttach,
    ) -> Result<Self, XdpError> {
        let failed = |operation| move |source| XdpError::Socket { operation, interface, source };
        let mut socket = Socket::open(arena).map_err(failed("register packet memory"))?;
        let rings = socket.rings().map_err(failed("map the rings"))?;
        let zero_copy = socket.bind(interface, queue).map_err(failed("bind the socket"))?;
        let steered = steering.map.set(queue, socket.as_fd());
        steered.map_err(|source| XdpError::Program { interface, source })?;
        Ok(Self {
            socket,
            rings,
            held: Held::none_of(arena),
            share: Share::of(arena),
            gathering: Gathering::Nothing,
            lost: 0,
            left: Burst::new(),
            pieces: Burst::new(),
            seen: Statistics::default(),
            mode: Mode { attach, zero_copy },
            _steering: Arc::clone(steering),
        })
    }

    /// What the device turned out to do.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Gives the kernel slots to receive into: a whole ring of them, as long as all ports together have less than half of the
    /// memory, and otherwise a few.
    fn refill(&mut self, pool: &mut Pool) {
        let free = self.rings.fill.free();
        let few = FEW.saturating_sub(RING - free);
        let wanted = free.min(self.share.left().max(few));
        if wanted < REFILL_AT || !std::ptr::eq(pool.arena(), self.held.arena()) {
            return;
        }
        let mut given = 0;
        for _ in 0..wanted {
            let Some(buffer) = pool.take_small() else { break };
            let address = self.held.lend(buffer, 0);
            self.rings.fill.push(address);
            given += 1;
        }
        self.share.grow(given);
        self.rings.fill.submit();
    }

    /// Takes back what was sent.
    fn reap(&mut self, pool: &mut Pool) {
        for _ in 0..self.rings.completion.available() {
            let Some(address) = self.rings.completion.pop() else { break };
            if let Some((buffer, _)) = self.held.take_back(address) {
                pool.recycle(buffer);
            }
        }
        self.rings.completion.release();
    }

    /// One received piece. Returns the frame that it completes.
    fn receive(&mut self, piece: Descriptor, pool: &mut Pool) -> Option<PktBuf> {
        let (mut frame, offset) = self.held.take_back(piece.address)?;
        frame.place(offset, piece.len as usize);
        let more = piece.options & PKT_CONTD != 0;
        let whole = match std::mem::take(&mut self.gathering) {
            Gathering::Nothing if !more => return Some(frame),
            Gathering::Nothing => pool.take_slab(),
            Gathering::Frame(whole) => Some(whole),
            Gathering::Lost => None,
        };
        let appended = whole.and_then(|mut whole| whole.append(frame.data()).then_some(whole));
        pool.recycle(frame);
        if more {
            // What follows a lost piece must not be taken for a frame of its own.
            self.gathering = appended.map_or(Gathering::Lost, Gathering::Frame);
            return None;
        }
        self.lost += u64::from(appended.is_none());
        appended
    }

    /// Puts a frame into the transmit ring. Gives it back when there is no room.
    fn enqueue(&mut self, frame: PktBuf, pool: &mut Pool) -> Result<(), PktBuf> {
        let ours =
            std::ptr::eq(frame.arena(), self.held.arena()) && frame.arena().is_small(frame.slot());
        if ours && frame.headroom() >= METADATA_BYTES {
            if self.rings.tx.free() == 0 {
                return Err(frame);
            }
            self.push_piece(frame, false);
            return Ok(());
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        let result = if self.copy_into(&mut pieces, &frame, pool) {
            let last = pieces.len().saturating_sub(1);
            for (number, piece) in pieces.drain(..).enumerate() {
                self.push_piece(piece, number < last);
            }
            pool.recycle(frame);
            Ok(())
        } else {
            pool.recycle_all(&mut pieces);
            Err(frame)
        };
        self.pieces = pieces;
        result
    }

    /// Copies a frame into small slots, the first of which gets its offload state. False when there is no
    /// room in the ring, or there are no slots for it.
    fn copy_into(&mut self, pieces: &mut Burst, frame: &PktBuf, pool: &mut Pool) -> bool {
        let count = frame.len().div_ceil(PIECE_BYTES);
        if (self.rings.tx.free() as usize) < count {
            return false;
        }
        for chunk in frame.data().chunks(PIECE_BYTES) {
            let Some(mut piece) = pool.take_small() else { return false };
            // A piece is no longer than a slot.
            let _ = piece.fill_from(chunk);
            pieces.push(piece);
        }
        if let Some(first) = pieces.first_mut() {
            first.offload = frame.offload;
        }
        true
    }

    fn push_piece(&mut self, mut piece: PktBuf, more: bool) {
        let mut options = if more { PKT_CONTD } else { 0 };
        if let Csum::Partial { start, offset } = piece.offload.csum {
            let mut metadata = [0; METADATA_BYTES];
            metadata[..8].copy_from_slice(&METADATA_CHECKSUM.to_ne_bytes());
            metadata[8..10].copy_from_slice(&start.to_ne_bytes());
            metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
            // The caller has seen to the headroom.
            if piece.with_prefix(&metadata).is_some() {
                options |= TX_METADATA;
            }
        }
        let len = u32::try_from(piece.len()).unwrap_or(0);
        let start = piece.headroom();
        let address = self.held.lend(piece, start);
        self.rings.tx.push(Descriptor { address, len, options });
    }

    /// Makes the kernel take what is in the transmit ring.
    fn kick(&mut self, pool: &mut Pool) -> Result<(), PortFault> {
        self.rings.tx.submit();
        for _ in 0..KICKS {
            if self.rings.tx.is_drained() {
                break;
            }
            match self.socket.kick() {
                Ok(()) => {}
                Err(error) => match error.raw_os_error() {
                    // It did a part, or its memory is full for now.
                    Some(libc::EAGAIN | libc::EBUSY | libc::EINTR) => {}
                    // Short of memory, or the device is off (one that is gone says ENXIO): later.
                    Some(libc::ENOBUFS | libc::ENOMEM | libc::ENETDOWN) => break,
                    _ => return Err(fault("sendto", error)),
                },
            }
            self.reap(pool);
        }
        self.reap(pool);
        Ok(())
    }
}

impl Port for XdpPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let waiting = self.rings.rx.available().min(BURST);
        if waiting == 0 {
            return Ok(0);
        }
        let before = out.len();
        self.share.shrink(waiting);
        for _ in 0..waiting {
            let Some(piece) = self.rings.rx.pop() else { break };
            if let Some(mut frame) = self.receive(piece, pool) {
                frame.offload.csum = checksum::classify(frame.data());
                out.push(frame);
            }
        }
        self.rings.rx.release();
        self.refill(pool);
        Ok(out.len() - before)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        self.reap(pool);
        let mut taken = std::mem::take(frames);
        let mut sent = Sent::default();
        let mut left = std::mem::take(&mut self.left);
        let mut rest = taken.drain(..);
        for frame in rest.by_ref() {
            match self.enqueue(frame, pool) {
                Ok(()) => sent.frames += 1,
                Err(frame) => {
                    left.push(frame);
                    break;
                }
            }
        }
        left.extend(rest);
        taken.extend(left.drain(..));
        self.left = left;
        *frames = taken;
        self.kick(pool).map(|()| sent)
    }

    fn accepts(&self) -> Accepts {
        Accepts { partial_csum: true, ..Accepts::PLAIN }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn housekeep(&mut self, pool: &mut Pool) -> Result<(), PortFault> {
        self.reap(pool);
        self.refill(pool);
        match self.socket.take_error() {
            Ok(0) => Ok(()),
            Ok(error) => Err(fault("poll", io::Error::from_raw_os_error(error))),
            Err(error) => Err(fault("getsockopt", error)),
        }
    }

    fn take_missed(&mut self) -> Missed {
        let Ok(now) = self.socket.statistics() else { return Missed::default() };
        let before = std::mem::replace(&mut self.seen, now);
        Missed {
            ring_full: (now.rx_ring_full - before.rx_ring_full)
                + (now.rx_dropped - before.rx_dropped),
            no_buffer: now.rx_fill_ring_empty_descs - before.rx_fill_ring_empty_descs
                + std::mem::take(&mut self.lost),
            ..Missed::default()
        }
    }
}

fn fault(operation: &'static str, source: io::Error) -> PortFault {
    match source.raw_os_error() {
        Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => PortFault::Gone { operation, source },
        _ => PortFault::Io { operation, source },
    }
}
