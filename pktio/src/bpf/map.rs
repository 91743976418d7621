//! Maps: what a program and the switch both see.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Attributes, BpfError, bpf, bpf_fd, fd_word};

// enum bpf_cmd
const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;

/// Makes no entry in place of another.
pub(crate) const NO_EXIST: u32 = 1;

/// A kind of map (`enum bpf_map_type`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// From any key to any value; entries are made as they come.
    Hash = 1,
    /// From a number to a map.
    ArrayOfMaps = 12,
}

/// What a map is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) kind: Kind,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
    pub(crate) entries: u32,
    /// What the maps in it are like.
    pub(crate) inner: Option<&'a Map>,
}

/// A map. It lives as long as this, or a program or a map that uses it.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl Map {
    pub(crate) fn new(shape: Shape) -> Result<Self, BpfError> {
        /// `BPF_F_NO_PREALLOC`.
        const NO_PREALLOC: u32 = 1;
        let Shape { kind, key_bytes, value_bytes, entries, inner } = shape;
        let flags = if matches!(kind, Kind::Hash) { NO_PREALLOC } else { 0 };
        let inner = inner.map_or(0, |inner| fd_word(inner.as_fd()));
        let attributes = Attributes::new(&[
            (0, kind as u32),
            (4, key_bytes),
            (8, value_bytes),
            (12, entries),
            (16, flags),
            (20, inner),
        ]);
        let fd = bpf_fd("make a map", BPF_MAP_CREATE, &attributes)?;
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Self { fd, key_bytes: bytes(key_bytes), value_bytes: bytes(value_bytes) })
    }

    /// Enters a value. Of the kinds here, an array of maps returns only when no program uses the one
    /// before any more (`maybe_wait_bpf_programs` in `kernel/bpf/syscall.c`).
    pub(crate) fn put(&self, key: &[u8], value: &[u8], flags: u32) -> Result<(), BpfError> {
        assert_eq!((key.len(), value.len()), (self.key_bytes, self.value_bytes));
        let attributes = Attributes::new(&[(0, fd_word(self.as_fd())), (24, flags)])
            .pointer(8, key.as_ptr())
            .pointer(16, value.as_ptr());
        bpf(BPF_MAP_UPDATE_ELEM, &attributes)
            .map(|_| ())
            .map_err(|source| BpfError { operation: "write to a map", source })
    }

    /// Reads a value. False when there is none.
    pub(crate) fn get(&self, key: &[u8], value: &mut [u8]) -> Result<bool, BpfError> {
        assert_eq!((key.len(), value.len()), (self.key_bytes, self.value_bytes));
        let attributes = Attributes::new(&[(0, fd_word(self.as_fd()))])
            .pointer(8, key.as_ptr())
            .pointer(16, value.as_mut_ptr());
        match bpf(BPF_MAP_LOOKUP_ELEM, &attributes) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(BpfError { operation: "read from a map", source }),
        }
    }

    /// The map, as a map of maps takes it.
    pub(crate) fn handle(&self) -> [u8; 4] {
        fd_word(self.as_fd()).to_ne_bytes()
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
