//! The AF_XDP socket: its options, rings and system calls. Constants are those of `linux/if_xdp.h`, which
//! the C library's headers may not have yet.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use libc::{c_int, c_void};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::METADATA_BYTES;
use super::ring::{Consumer, Descriptor, Layout, Mapped, Producer};
use crate::buffer::{Arena, SMALL_BYTES};

const AF_XDP: c_int = 44;
const SOL_XDP: c_int = 283;
const XDP_MMAP_OFFSETS: c_int = 1;
const XDP_RX_RING: c_int = 2;
const XDP_TX_RING: c_int = 3;
const XDP_UMEM_REG: c_int = 4;
const XDP_UMEM_FILL_RING: c_int = 5;
const XDP_UMEM_COMPLETION_RING: c_int = 6;
const XDP_STATISTICS: c_int = 7;
const XDP_OPTIONS: c_int = 8;
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;
const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;
const XDP_USE_SG: u16 = 1 << 4;
const XDP_OPTIONS_ZEROCOPY: u32 = 1;
const PGOFF_RX: u64 = 0;
const PGOFF_TX: u64 = 0x8000_0000;
const PGOFF_FILL: u64 = 0x1_0000_0000;
const PGOFF_COMPLETION: u64 = 0x1_8000_0000;

/// Entries of each ring.
pub(super) const RING: u32 = 1024;
/// Frames that one `sendto` may send.
const TX_BUDGET: u32 = 256;

/// `struct xdp_umem_reg`.
#[repr(C)]
struct UmemReg {
    address: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct xdp_ring_offset`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RingOffset {
    producer: u64,
    consumer: u64,
    entries: u64,
    flags: u64,
}

/// `struct xdp_mmap_offsets`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MmapOffsets {
    rx: RingOffset,
    tx: RingOffset,
    fill: RingOffset,
    completion: RingOffset,
}

/// `struct sockaddr_xdp`.
#[repr(C)]
struct Address {
    family: u16,
    flags: u16,
    interface: u32,
    queue: u32,
    shared_umem_fd: u32,
}

/// `struct xdp_statistics`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Statistics {
    pub(super) rx_dropped: u64,
    pub(super) rx_invalid_descs: u64,
    pub(super) tx_invalid_descs: u64,
    pub(super) rx_ring_full: u64,
    pub(super) rx_fill_ring_empty_descs: u64,
    pub(super) tx_ring_empty_descs: u64,
}

/// The four rings of a socket.
pub(super) struct Rings {
    pub(super) rx: Consumer<Mapped<Descriptor>>,
    pub(super) tx: Producer<Mapped<Descriptor>>,
    pub(super) fill: Producer<Mapped<u64>>,
    pub(super) completion: Consumer<Mapped<u64>>,
}

/// An AF_XDP socket with registered memory.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens a socket and registers the small slots of an arena with it. Every socket that does so has the
    /// same memory, at the same addresses.
    pub(super) fn open(arena: &'static Arena) -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd)?;
        // SAFETY: a descriptor that was just opened and belongs to nobody else.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        let (base, bytes) = arena.umem();
        let registration = UmemReg {
            address: base.as_ptr().addr() as u64,
            len: bytes as u64,
            chunk_size: u32::try_from(SMALL_BYTES).unwrap_or(0),
            // The kernel keeps 256 bytes of its own in front of each frame: that is our headroom.
            headroom: 0,
            flags: XDP_UMEM_TX_METADATA_LEN,
            tx_metadata_len: u32::try_from(METADATA_BYTES).unwrap_or(0),
        };
        socket.set(XDP_UMEM_REG, &registration)?;
        for option in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING] {
            socket.set(option, &RING)?;
        }
        Ok(socket)
    }

    /// Maps the rings.
    pub(super) fn rings(&mut self) -> io::Result<Rings> {
        let offsets: MmapOffsets = self.get(XDP_MMAP_OFFSETS)?;
        // SAFETY: these are the types of each ring's entries (linux/if_xdp.h).
        unsafe {
            Ok(Rings {
                rx: Consumer::new(self.map(offsets.rx, PGOFF_RX)?),
                tx: Producer::new(self.map(offsets.tx, PGOFF_TX)?),
                fill: Producer::new(self.map(offsets.fill, PGOFF_FILL)?),
                completion: Consumer::new(self.map(offsets.completion, PGOFF_COMPLETION)?),
            })
        }
    }

    /// Maps one ring.
    ///
    /// # Safety
    /// The entries of the ring at `offset` are of type `T`, which is made of integers.
    unsafe fn map<T: Copy>(&self, at: RingOffset, offset: u64) -> io::Result<Mapped<T>> {
        let place = |at: u64| usize::try_from(at).map_err(io::Error::other);
        let layout = Layout {
            producer: place(at.producer)?,
            consumer: place(at.consumer)?,
            entries: place(at.entries)?,
        };
        let bytes = layout.entries + RING as usize * size_of::<T>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, access, flags, &self.fd, offset)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: fresh, of the size that was asked for in `open`, and laid out as the kernel told.
        Ok(unsafe { Mapped::new(base, bytes, layout, RING) })
    }

    /// Binds the socket to a queue. True when the device works without copies.
    pub(super) fn bind(&self, interface: u32, queue: u32) -> io::Result<bool> {
        let address = Address {
            family: 44,
            flags: XDP_USE_NEED_WAKEUP | XDP_USE_SG,
            interface,
            queue,
            shared_umem_fd: 0,
        };
        let bytes = socklen::<Address>();
        let pointer = (&raw const address).cast();
        // SAFETY: the address lives through the call, and `bytes` is its size.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), pointer, bytes) })?;
        // Fewer frames per call is all that happens on a kernel without this option.
        let _ = self.set(XDP_MAX_TX_SKB_BUDGET, &TX_BUDGET);
        Ok(self.get::<u32>(XDP_OPTIONS).is_ok_and(|flags| flags & XDP_OPTIONS_ZEROCOPY != 0))
    }

    /// Makes the kernel send what is in the transmit ring.
    pub(super) fn kick(&self) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: an empty message has no buffer.
        let sent = unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, flags, std::ptr::null(), 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What the kernel counted.
    pub(super) fn statistics(&self) -> io::Result<Statistics> {
        self.get(XDP_STATISTICS)
    }

    /// Takes the pending error off the socket.
    pub(super) fn take_error(&self) -> io::Result<c_int> {
        crate::sys::take_error(self.fd.as_fd())
    }

    fn set<T>(&self, option: c_int, value: &T) -> io::Result<()> {
        let pointer: *const c_void = (&raw const *value).cast();
        let fd = self.fd.as_raw_fd();
        // SAFETY: the value lives through the call, and its size is given; the kernel only reads it.
        check(unsafe { libc::setsockopt(fd, SOL_XDP, option, pointer, socklen::<T>()) })
    }

    fn get<T>(&self, option: c_int) -> io::Result<T> {
        // SAFETY: only instantiated with structs of integers, for which all-zero is valid.
        let mut value: T = unsafe { zeroed() };
        let mut bytes = socklen::<T>();
        let pointer: *mut c_void = (&raw mut value).cast();
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel writes at most `bytes` bytes to the value, which lives through the call.
        check(unsafe { libc::getsockopt(fd, SOL_XDP, option, pointer, &mut bytes) })?;
        Ok(value)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}
