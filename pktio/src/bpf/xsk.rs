//! [`XskMap`]: which AF_XDP socket gets the frames of a receive queue.

use std::os::fd::BorrowedFd;

use super::code::{Code, Reg, Size};
use super::sys::fd_word;
use super::{BpfError, Link, Map, MapKind, Program, ProgramKind, XdpAttach};

/// `XDP_PASS`, the verdict for frames of a queue that nobody listens to.
const XDP_PASS: i32 = 2;
/// `offsetof(struct xdp_md, rx_queue_index)`.
const RX_QUEUE_INDEX: i16 = 16;
/// `BPF_FUNC_redirect_map`.
const REDIRECT_MAP: i32 = 51;

/// A map from receive queue to AF_XDP socket, and the program that steers by it.
#[derive(Debug)]
pub struct XskMap {
    map: Map,
}

impl XskMap {
    /// An empty map for so many queues.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(queues: u32) -> Result<Self, BpfError> {
        Ok(Self { map: Map::new(MapKind::Xsk, 4, 4, queues)? })
    }

    /// Steers a queue to a socket.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), BpfError> {
        self.map.update(&queue.to_ne_bytes(), &fd_word(socket).to_ne_bytes())
    }

    /// Attaches the program that gives each frame to the socket of its queue, and lets frames of queues
    /// without one pass. In the calling thread's network namespace.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn attach(&self, interface: u32, mode: XdpAttach) -> Result<Link, BpfError> {
        let mut code = Code::new();
        self.steer(&mut code);
        Program::load(ProgramKind::Xdp, &code.finish()?)?.attach_xdp(interface, mode)
    }

    /// `return redirect_map(map, ctx->rx_queue_index, XDP_PASS)`, with the context in `R1`.
    fn steer(&self, code: &mut Code) {
        code.load(Size::Word, Reg::R2, Reg::R1, RX_QUEUE_INDEX);
        code.map(Reg::R1, &self.map).mov(Reg::R3, XDP_PASS).call(REDIRECT_MAP).exit();
    }
}
