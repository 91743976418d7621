//! [`Program`]: instructions that the kernel verified, and where they are attached.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::code::Instruction;
use super::sys::{Attributes, bpf, bpf_fd, fd_word};
use super::{BpfError, Link, XdpAttach};

// enum bpf_cmd, bpf_attach_type
const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_LINK_CREATE: u32 = 28;
const BPF_SK_LOOKUP: u32 = 36;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// `BPF_F_XDP_HAS_FRAGS`: the program copes with frames in several pieces (MTU beyond a page).
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const XDP_SKB_MODE: u32 = 1 << 1;
const XDP_DRV_MODE: u32 = 1 << 2;
/// Room for what the verifier says.
const LOG_BYTES: u32 = 1 << 20;

/// What a program is for (`enum bpf_prog_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramKind {
    /// Says how many bytes of a packet a socket gets; 0 is none of it. Its context is `struct __sk_buff`.
    SocketFilter = 1,
    /// Says what becomes of a packet at a device's [`Hook`]. Its context is `struct __sk_buff`.
    Classifier = 3,
    /// Says what becomes of a frame before the kernel makes a packet of it. Its context is `struct xdp_md`.
    Xdp = 6,
    /// Says which socket gets a connection that comes to a namespace. Its context is `struct bpf_sk_lookup`.
    SocketLookup = 30,
}

/// Where a [`ProgramKind::Classifier`] is attached to a device (tcx).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What the device receives, behind packet sockets and in front of the host's stack.
    Ingress,
    /// What the device is about to send.
    Egress,
}

/// A loaded program. It stays loaded for as long as this, or a [`Link`] of it, is there.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Has the kernel verify and load a program.
    ///
    /// # Errors
    /// [`BpfError::Refused`] with what the verifier says; [`BpfError::Kernel`].
    pub fn load(kind: ProgramKind, code: &[Instruction]) -> Result<Self, BpfError> {
        let count = u32::try_from(code.len()).unwrap_or(u32::MAX);
        let flags = if kind == ProgramKind::Xdp { XDP_HAS_FRAGS } else { 0 };
        // What it is to be attached to is asked of these alone, of those here.
        let attached = if kind == ProgramKind::SocketLookup { BPF_SK_LOOKUP } else { 0 };
        let license = c"GPL".to_bytes_with_nul();
        let attributes = || {
            Attributes::new(&[(0, kind as u32), (4, count), (44, flags), (68, attached)])
                .input(8, code)
                .input(16, license)
        };
        let fd = bpf_fd("load a program", BPF_PROG_LOAD, attributes()).map_err(|error| {
            let is_refusal = matches!(error.errno(), Some(libc::EACCES | libc::EINVAL));
            // Only the verifier has something to say, and only if it is asked.
            if is_refusal { explained(error, attributes()) } else { error }
        })?;
        Ok(Self { fd })
    }

    /// Attaches a [`ProgramKind::Classifier`] to an interface of the calling thread's network namespace, behind those
    /// that are attached there already. Other programs and clsact filters are left alone.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn attach_tcx(&self, interface: u32, hook: Hook) -> Result<Link, BpfError> {
        let kind = match hook {
            Hook::Ingress => BPF_TCX_INGRESS,
            Hook::Egress => BPF_TCX_EGRESS,
        };
        self.attach(interface, kind, 0)
    }

    /// Attaches a [`ProgramKind::Xdp`] to an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn attach_xdp(&self, interface: u32, mode: XdpAttach) -> Result<Link, BpfError> {
        let flags = match mode {
            XdpAttach::Native => XDP_DRV_MODE,
            XdpAttach::Generic => XDP_SKB_MODE,
        };
        self.attach(interface, BPF_XDP, flags)
    }

    /// Attaches a [`ProgramKind::SocketLookup`] to the calling thread's network namespace, behind those that are attached
    /// there already.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn attach_lookup(&self) -> Result<Link, BpfError> {
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(|source| BpfError::kernel("open the network namespace", source))?;
        self.attach(fd_word(namespace.as_fd()), BPF_SK_LOOKUP, 0)
    }

    /// `target` is an interface's number, or a descriptor of a namespace.
    fn attach(&self, target: u32, kind: u32, flags: u32) -> Result<Link, BpfError> {
        let program = fd_word(self.fd.as_fd());
        let attributes = Attributes::new(&[(0, program), (4, target), (8, kind), (12, flags)]);
        let fd = bpf_fd("attach a program", BPF_LINK_CREATE, attributes)?;
        Ok(Link { _fd: fd })
    }

    /// Runs the program over a frame without any device (`BPF_PROG_TEST_RUN`), and returns its verdict. The kernel wants
    /// at least an Ethernet header.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn run(&self, frame: &[u8]) -> Result<u32, BpfError> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut attributes =
            Attributes::new(&[(0, fd_word(self.fd.as_fd())), (8, length)]).input(16, frame);
        bpf(BPF_PROG_TEST_RUN, &mut attributes)
            .map_err(|source| BpfError::kernel("run a program", source))?;
        Ok(attributes.word(4))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads once more, to hear the verifier's reasons.
fn explained(error: BpfError, attributes: Attributes<'_>) -> BpfError {
    const LEVEL: u32 = 1;
    let mut log = vec![0; LOG_BYTES as usize];
    let mut attributes =
        attributes.with(&[(24, LEVEL), (28, LOG_BYTES)]).output(32, log.as_mut_slice());
    let again = bpf(BPF_PROG_LOAD, &mut attributes);
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default());
    let tail: Vec<_> = text.trim().lines().rev().take(8).collect();
    match again {
        Err(source) if !tail.is_empty() => refused(source, &tail),
        _ => error,
    }
}

fn refused(source: io::Error, tail: &[&str]) -> BpfError {
    let reasons = tail.iter().rev().copied().collect::<Vec<_>>().join("; ");
    BpfError::Refused { reasons, source }
}
