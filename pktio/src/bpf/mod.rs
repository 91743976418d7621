//! The few programs that the switch loads into the kernel, by `bpf(2)` itself: no compiler, no object
//! files. A [`Link`] is the program's attachment; closing it, also by a crash, detaches the program.
//!
//! * [`Code`]: instructions, written one by one; [`Helper`]: what of the kernel they call.
//! * [`Program`]: what the kernel's verifier made of them; attached at tcx ([`Program::attach_tcx`]), at XDP, or where sockets
//!   are looked up.
//! * [`Map`]: what programs and the switch share; [`Words`]: what both change at any time.
//! * [`XskMap`]: the program of AF_XDP ports; [`ingress_drop`]: that of packet ports; [`Steering`]: that of listeners.
//!
//! Any thread may call; attaching acts on the network namespace of the calling thread. `unsafe` lives in `sys.rs` only.
//!
//! Sources: `linux/bpf.h`, `Documentation/bpf/` of the kernel.

pub mod code;
mod kernel;
mod map;
mod program;
mod steering;
mod sys;
mod xsk;

use std::io;
use std::os::fd::OwnedFd;

pub(crate) use kernel::XDP_PASS;
pub use kernel::{Helper, TCX_DROP, TCX_NEXT};
pub use map::{Map, MapKind};
pub use program::{Hook, Program, ProgramKind};
pub use steering::Steering;
pub use sys::Words;
pub use xsk::XskMap;

use code::{Code, CodeError, Reg};

/// Why a program or a map is not in the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// The kernel did not do it.
    #[error("cannot {operation}: {source}{}", hint(.source))]
    Kernel {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel's verifier does not want the program.
    #[error("cannot load a program: {source}; the verifier says: {reasons}")]
    Refused {
        /// The end of what it says.
        reasons: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The instructions are no program.
    #[error("cannot put a program together: {0}")]
    Code(#[from] CodeError),
    /// A key or a value is not as long as the map's.
    #[error(
        "an entry of {given:?} bytes (key, value) is none of a {kind:?} map's, which has {wanted:?}"
    )]
    Entry {
        /// The map's kind.
        kind: MapKind,
        /// Bytes of the key and the value.
        given: (usize, usize),
        /// Bytes of the map's keys and values.
        wanted: (usize, usize),
    },
}

impl BpfError {
    fn kernel(operation: &'static str, source: io::Error) -> Self {
        Self::Kernel { operation, source }
    }

    /// The kernel's error number, if it was the kernel's.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Code(_) | Self::Entry { .. } => None,
        }
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

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAttach {
    /// By the driver, before the kernel makes an skb.
    Native,
    /// By the kernel's generic hook, for any device.
    Generic,
}

/// Drops every frame that an interface receives, behind the packet sockets (which see it before) and in
/// front of the host's stack. In the calling thread's network namespace.
///
/// # Errors
/// [`BpfError`]; nothing is then attached.
pub fn ingress_drop(interface: u32) -> Result<Link, BpfError> {
    let mut code = Code::new();
    code.mov(Reg::R0, TCX_DROP).exit();
    let program = Program::load(ProgramKind::Classifier, &code.finish()?)?;
    program.attach_tcx(interface, Hook::Ingress)
}
