//! [`Map`]: memory that programs and the switch share (`Documentation/bpf/maps.rst`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::BpfError;
use super::sys::{Attributes, Words, bpf, bpf_fd, fd_word};

// enum bpf_cmd
const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_MAP_DELETE_ELEM: u32 = 3;
const BPF_MAP_GET_NEXT_KEY: u32 = 4;

/// `BPF_F_NO_PREALLOC`: entries take memory when they are made.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`: a process can have its values in its own memory.
const MAPPABLE: u32 = 1 << 10;

/// What kind of map it is (`enum bpf_map_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// By key. A value is replaced as a whole: who looks it up has the old one or the new one.
    Hash = 1,
    /// By number, a `u32` from 0 on; every entry is there and zero at first.
    Array = 2,
    /// An array with a value for each processor.
    PerCpuArray = 6,
    /// By key; where there is no room, the entry goes that was not used for longest.
    LruHash = 9,
    /// Maps that are alike, by number; made by [`Map::of_maps`].
    ArrayOfMaps = 12,
    /// AF_XDP sockets, by number.
    Xsk = 17,
    /// Sockets, by key. One that is closed is not in it any more.
    SockHash = 18,
}

/// A map. It lives until its descriptor is closed and no program that uses it is loaded.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    kind: MapKind,
    key_bytes: usize,
    value_bytes: usize,
}

impl Map {
    /// An empty map for up to `entries` entries.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(
        kind: MapKind,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
    ) -> Result<Self, BpfError> {
        let flags = if kind == MapKind::Hash { NO_PREALLOC } else { 0 };
        let attributes = Attributes::new(&[
            (0, kind as u32),
            (4, key_bytes),
            (8, value_bytes),
            (12, entries),
            (16, flags),
        ]);
        let fd = bpf_fd("make a map", BPF_MAP_CREATE, attributes)?;
        Self::made(fd, kind, key_bytes, value_bytes)
    }

    /// A [`MapKind::ArrayOfMaps`] for up to `entries` maps like `inner`, none of which is in it yet. A value is what
    /// [`Map::handle`] says; it cannot be read back. [`Map::update`] returns only when no program uses the map before any more
    /// (`maybe_wait_bpf_programs` in `kernel/bpf/syscall.c`).
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn of_maps(inner: &Self, entries: u32) -> Result<Self, BpfError> {
        let kind = MapKind::ArrayOfMaps;
        let inner = fd_word(inner.as_fd());
        let fields = [(0, kind as u32), (4, 4), (8, 4), (12, entries), (20, inner)];
        let fd = bpf_fd("make a map of maps", BPF_MAP_CREATE, Attributes::new(&fields))?;
        Self::made(fd, kind, 4, 4)
    }

    /// A [`MapKind::Array`] of `entries` entries of so many 64-bit words each, and these words, one entry after the other.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn of_words(entries: u32, words: u32) -> Result<(Self, Words), BpfError> {
        let (kind, value_bytes) = (MapKind::Array, words * 8);
        let fields = [(0, kind as u32), (4, 4), (8, value_bytes), (12, entries), (16, MAPPABLE)];
        let fd = bpf_fd("make a map of words", BPF_MAP_CREATE, Attributes::new(&fields))?;
        let shared = Words::of_map(fd.as_fd(), entries as usize * words as usize)
            .map_err(|source| BpfError::kernel("have the words of a map", source))?;
        Ok((Self::made(fd, kind, 4, value_bytes)?, shared))
    }

    fn made(
        fd: OwnedFd,
        kind: MapKind,
        key_bytes: u32,
        value_bytes: u32,
    ) -> Result<Self, BpfError> {
        let (key_bytes, value_bytes) = (key_bytes as usize, value_bytes as usize);
        let value_bytes = match kind {
            MapKind::PerCpuArray => value_bytes.next_multiple_of(8) * possible_processors()?,
            _ => value_bytes,
        };
        Ok(Self { fd, kind, key_bytes, value_bytes })
    }

    /// The map, as the value of a map of maps.
    pub fn handle(&self) -> [u8; 4] {
        fd_word(self.as_fd()).to_ne_bytes()
    }

    /// Makes or replaces an entry. The value of a [`MapKind::PerCpuArray`] is one value for each processor, padded to 8
    /// bytes.
    ///
    /// # Errors
    /// [`BpfError`], also when the map is full.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), BpfError> {
        self.check(key.len(), value.len())?;
        let mut attributes = self.attributes().input(8, key).input(16, value);
        self.command("update a map", BPF_MAP_UPDATE_ELEM, &mut attributes).map(|_| ())
    }

    /// The value of an entry, if there is one; for a [`MapKind::PerCpuArray`] that of each processor, one after the other,
    /// padded to 8 bytes.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BpfError> {
        let mut value = vec![0; self.value_bytes];
        self.check(key.len(), value.len())?;
        let mut attributes = self.attributes().input(8, key).output(16, &mut value);
        let found = self.command("look into a map", BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
        Ok(found.then_some(value))
    }

    /// Takes an entry away. False when there is none.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn delete(&self, key: &[u8]) -> Result<bool, BpfError> {
        self.check(key.len(), self.value_bytes)?;
        let mut attributes = self.attributes().input(8, key);
        self.command("take from a map", BPF_MAP_DELETE_ELEM, &mut attributes)
    }

    /// The keys. Of entries that come and go meanwhile, some may be missing or there twice.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, BpfError> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key_bytes];
            let mut attributes = self.attributes();
            if let Some(last) = keys.last() {
                attributes = attributes.input(8, last);
            }
            let mut attributes = attributes.output(16, &mut next);
            if !self.command("list a map", BPF_MAP_GET_NEXT_KEY, &mut attributes)? {
                return Ok(keys);
            }
            keys.push(next);
        }
    }

    fn attributes<'a>(&self) -> Attributes<'a> {
        Attributes::new(&[(0, fd_word(self.fd.as_fd()))])
    }

    /// That the kernel reads and writes no more than there is.
    fn check(&self, key_bytes: usize, value_bytes: usize) -> Result<(), BpfError> {
        if (key_bytes, value_bytes) == (self.key_bytes, self.value_bytes) {
            return Ok(());
        }
        Err(BpfError::Entry {
            kind: self.kind,
            given: (key_bytes, value_bytes),
            wanted: (self.key_bytes, self.value_bytes),
        })
    }

    /// False when there is no such entry.
    fn command(
        &self,
        operation: &'static str,
        command: u32,
        attributes: &mut Attributes<'_>,
    ) -> Result<bool, BpfError> {
        match bpf(command, attributes) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(BpfError::kernel(operation, source)),
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many values a map per processor has: one for each processor that there could be.
fn possible_processors() -> Result<usize, BpfError> {
    const LISTED: &str = "/sys/devices/system/cpu/possible";
    let text = std::fs::read_to_string(LISTED)
        .map_err(|source| BpfError::kernel("list the processors", source))?;
    // "0-3", "0", or "0-3,8-11": the last number decides.
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1).ok_or_else(|| {
        BpfError::kernel(
            "understand the list of processors",
            std::io::ErrorKind::InvalidData.into(),
        )
    })
}
