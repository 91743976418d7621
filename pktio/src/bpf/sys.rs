//! `bpf(2)`: the only file of the programs and maps with `unsafe`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::BpfError;

/// The attributes of the commands used here (`union bpf_attr`), 120 bytes with the rest zero. What they point at is
/// borrowed for as long as they live.
#[repr(C, align(8))]
pub(super) struct Attributes<'a>([u32; 30], std::marker::PhantomData<&'a mut [u8]>);

impl<'a> Attributes<'a> {
    pub(super) fn new(fields: &[(usize, u32)]) -> Self {
        Self([0; 30], std::marker::PhantomData).with(fields)
    }

    /// Sets 32-bit fields, each at its byte.
    pub(super) fn with(mut self, fields: &[(usize, u32)]) -> Self {
        for (at, value) in fields {
            self.0[at / 4] = *value;
        }
        self
    }

    /// Sets the 64-bit pointer at byte `at` to what the kernel reads.
    pub(super) fn input<T>(self, at: usize, from: &'a [T]) -> Self {
        self.pointer(at, from.as_ptr().expose_provenance())
    }

    /// Sets the 64-bit pointer at byte `at` to what the kernel writes. It has to be as long as the kernel takes it to be:
    /// the length is another attribute, or that of a map's keys and values.
    pub(super) fn output(self, at: usize, to: &'a mut [u8]) -> Self {
        self.pointer(at, to.as_mut_ptr().expose_provenance())
    }

    fn pointer(mut self, at: usize, address: usize) -> Self {
        let [a, b, c, d, e, f, g, h] = (address as u64).to_ne_bytes();
        self.0[at / 4] = u32::from_ne_bytes([a, b, c, d]);
        self.0[at / 4 + 1] = u32::from_ne_bytes([e, f, g, h]);
        self
    }

    /// What the kernel wrote at byte `at`.
    pub(super) fn word(&self, at: usize) -> u32 {
        self.0[at / 4]
    }
}

/// Issues a command. Its result is a descriptor, or 0.
pub(super) fn bpf(command: u32, attributes: &mut Attributes<'_>) -> io::Result<i32> {
    // SAFETY: the attributes live through the call and their size is given; what the pointers inside point at is
    // borrowed by them, and as long as `Map` and `Program`, which are the only callers, have seen to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libc::c_long::from(command),
            (&raw mut *attributes),
            size_of::<[u32; 30]>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(result).unwrap_or(0))
    }
}

/// Issues a command that makes a descriptor.
pub(super) fn bpf_fd(
    operation: &'static str,
    command: u32,
    mut attributes: Attributes<'_>,
) -> Result<OwnedFd, BpfError> {
    let fd = bpf(command, &mut attributes).map_err(|source| BpfError::kernel(operation, source))?;
    // SAFETY: the command returned a fresh descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as attributes have it.
pub(super) fn fd_word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// 64-bit words that the switch shares with programs ([`Map::of_words`](super::Map::of_words)), or has to itself. Both sides access
/// them atomically, in the order of their architecture's memory: a compare-exchange of a program's orders as one of sequential
/// consistency does (`Documentation/bpf/standardization/instruction-set.rst`, atomic operations).
#[derive(Debug)]
pub struct Words {
    base: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to this value and not to a thread.
unsafe impl Send for Words {}
// SAFETY: through a reference there are only atomic words to be had.
unsafe impl Sync for Words {}

impl Words {
    /// So many words of nobody else's, all 0, which take memory as they are written.
    ///
    /// # Errors
    /// The kernel's, when there is no memory for them.
    pub fn own(count: usize) -> io::Result<Self> {
        let (bytes, access) = (Self::bytes(count), ProtFlags::READ | ProtFlags::WRITE);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, flags)? };
        Self::at(base, count)
    }

    /// The words of a map that was made to be mapped, and has as many.
    pub(super) fn of_map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let (bytes, access) = (Self::bytes(count), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a fresh mapping at an address of the kernel's choice; the kernel refuses one that is longer than the map.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, map, 0)? };
        Self::at(base, count)
    }

    fn bytes(count: usize) -> usize {
        count.saturating_mul(size_of::<AtomicU64>()).max(1)
    }

    fn at(base: *mut std::ffi::c_void, count: usize) -> io::Result<Self> {
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, count })
    }

    /// One of them.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: the mapping begins at a page, lives as long as this value, and is of `count` words, whose bits are all values.
        (index < self.count).then(|| unsafe { self.base.add(index).as_ref() })
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by this value, and nobody borrows from it any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), Self::bytes(self.count)) };
    }
}
