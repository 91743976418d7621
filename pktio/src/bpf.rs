//! The few programs that the switch loads into the kernel, by `bpf(2)` itself: no compiler, no object
//! files. A [`Link`] is the program's attachment; closing it, also by a crash, detaches the program.
//!
//! Sources: `linux/bpf.h`, `Documentation/bpf/` of the kernel.

pub(crate) mod asm;
pub(crate) mod map;

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// enum bpf_cmd
const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_PROG_LOAD: u32 = 5;
const BPF_LINK_CREATE: u32 = 28;

// enum bpf_map_type, bpf_prog_type, bpf_attach_type
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;

/// `BPF_F_XDP_HAS_FRAGS`: the program copes with frames in several pieces (MTU beyond a page).
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const XDP_SKB_MODE: u32 = 1 << 1;
const XDP_DRV_MODE: u32 = 1 << 2;

/// `TCX_DROP`, the verdict that drops a frame at tc ingress.
const TCX_DROP: i32 = 2;
/// `XDP_PASS`, the verdict for frames of a queue that nobody listens to.
const XDP_PASS: i32 = 2;
/// `offsetof(struct xdp_md, rx_queue_index)`.
const RX_QUEUE_INDEX: i16 = 16;
/// `BPF_FUNC_redirect_map`.
const REDIRECT_MAP: i32 = 51;
/// `BPF_PSEUDO_MAP_FD`.
const PSEUDO_MAP_FD: u8 = 1;

/// Why a program is not in the kernel.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {source}{}", hint(.source))]
pub struct BpfError {
    operation: &'static str,
    source: io::Error,
}

impl BpfError {
    /// The kernel's error number, if it was the kernel's.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; it needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace"
        }
        Some(libc::EBUSY | libc::EEXIST) => "; another XDP program is attached to the device",
        Some(libc::EOPNOTSUPP) => "; the device cannot do it",
        _ => "",
    }
}

/// An attached program. Dropping it detaches the program.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

/// One eBPF instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination register in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// `r0 = immediate`.
const fn set_result(immediate: i32) -> Instruction {
    instruction(0xb7, 0, 0, immediate)
}

/// `return r0`.
const EXIT: Instruction = instruction(0x95, 0, 0, 0);

/// The attributes of the commands used here (`union bpf_attr`), 120 bytes with the rest zero.
#[repr(C, align(8))]
struct Attributes([u32; 30]);

impl Attributes {
    fn new(fields: &[(usize, u32)]) -> Self {
        let mut words = [0; 30];
        for (at, value) in fields {
            words[at / 4] = *value;
        }
        Self(words)
    }

    /// Sets the 64-bit pointer at byte `at`.
    fn pointer<T>(mut self, at: usize, to: *const T) -> Self {
        let bytes = (to.addr() as u64).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        self.0[at / 4] = u32::from_ne_bytes([a, b, c, d]);
        self.0[at / 4 + 1] = u32::from_ne_bytes([e, f, g, h]);
        self
    }
}

/// Issues a command. Its result is a descriptor, or 0.
fn bpf(command: u32, attributes: &Attributes) -> io::Result<i32> {
    // SAFETY: the attributes live through the call and their size is given; the pointers inside, put
    // there by this module only, point at data that the callers keep alive through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libc::c_long::from(command),
            (&raw const *attributes),
            size_of::<Attributes>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(result).unwrap_or(0))
    }
}

fn bpf_fd(
    operation: &'static str,
    command: u32,
    attributes: &Attributes,
) -> Result<OwnedFd, BpfError> {
    let fd = bpf(command, attributes).map_err(|source| BpfError { operation, source })?;
    // SAFETY: the command returned a fresh descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn fd_word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn load(kind: u32, flags: u32, program: &[Instruction]) -> Result<OwnedFd, BpfError> {
    let license = c"GPL";
    let count = u32::try_from(program.len()).unwrap_or(u32::MAX);
    let attributes = Attributes::new(&[(0, kind), (4, count), (44, flags)])
        .pointer(8, program.as_ptr())
        .pointer(16, license.as_ptr());
    bpf_fd("load a program", BPF_PROG_LOAD, &attributes)
}

fn attach(program: &OwnedFd, interface: u32, kind: u32, flags: u32) -> Result<Link, BpfError> {
    let program = fd_word(program.as_fd());
    let attributes = Attributes::new(&[(0, program), (4, interface), (8, kind), (12, flags)]);
    let fd = bpf_fd("attach a program", BPF_LINK_CREATE, &attributes)?;
    Ok(Link { _fd: fd })
}

/// Drops every frame that an interface receives, behind the packet sockets (which see it before) and in
/// front of the host's stack. In the calling thread's network namespace.
///
/// # Errors
/// [`BpfError`]; nothing is then attached.
pub fn ingress_drop(interface: u32) -> Result<Link, BpfError> {
    attach_ingress(interface, &[set_result(TCX_DROP), EXIT])
}

/// Attaches a program to what an interface receives (tcx), in the calling thread's network namespace.
pub(crate) fn attach_ingress(interface: u32, program: &[Instruction]) -> Result<Link, BpfError> {
    let program = load(BPF_PROG_TYPE_SCHED_CLS, 0, program)?;
    attach(&program, interface, BPF_TCX_INGRESS, 0)
}

/// Loads a program that decides what a socket receives.
pub(crate) fn load_socket_filter(program: &[Instruction]) -> Result<OwnedFd, BpfError> {
    load(BPF_PROG_TYPE_SOCKET_FILTER, 0, program)
}

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAttach {
    /// By the driver, before the kernel makes an skb.
    Native,
    /// By the kernel's generic hook, for any device.
    Generic,
}

/// A map from receive queue to AF_XDP socket, and the program that steers by it.
#[derive(Debug)]
pub struct XskMap {
    fd: OwnedFd,
}

impl XskMap {
    /// An empty map for so many queues.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(queues: u32) -> Result<Self, BpfError> {
        let attributes = Attributes::new(&[(0, BPF_MAP_TYPE_XSKMAP), (4, 4), (8, 4), (12, queues)]);
        Ok(Self { fd: bpf_fd("make a socket map", BPF_MAP_CREATE, &attributes)? })
    }

    /// Steers a queue to a socket.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), BpfError> {
        let socket = fd_word(socket);
        let attributes = Attributes::new(&[(0, fd_word(self.fd.as_fd()))])
            .pointer(8, &raw const queue)
            .pointer(16, &raw const socket);
        bpf(BPF_MAP_UPDATE_ELEM, &attributes)
            .map(|_| ())
            .map_err(|source| BpfError { operation: "put a socket into the map", source })
    }

    /// Attaches the program that gives each frame to the socket of its queue, and lets frames of queues
    /// without one pass. In the calling thread's network namespace.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn attach(&self, interface: u32, mode: XdpAttach) -> Result<Link, BpfError> {
        let flags = match mode {
            XdpAttach::Native => XDP_DRV_MODE,
            XdpAttach::Generic => XDP_SKB_MODE,
        };
        let program = load(BPF_PROG_TYPE_XDP, XDP_HAS_FRAGS, &self.steer())?;
        attach(&program, interface, BPF_XDP, flags)
    }

    /// `return redirect_map(map, ctx->rx_queue_index, XDP_PASS)`.
    fn steer(&self) -> [Instruction; 6] {
        const R1_R2: u8 = 1 | PSEUDO_MAP_FD << 4;
        [
            instruction(0x61, 2 | 1 << 4, RX_QUEUE_INDEX, 0), // r2 = *(u32 *)(r1 + 16)
            instruction(0x18, R1_R2, 0, self.fd.as_raw_fd()), // r1 = map, in two instructions
            instruction(0, 0, 0, 0),
            instruction(0xb7, 3, 0, XDP_PASS), // r3 = XDP_PASS
            instruction(0x85, 0, 0, REDIRECT_MAP),
            EXIT,
        ]
    }
}
