//! [`XskMap`]: which AF_XDP socket gets the frames of a receive queue.

use std::os::fd::BorrowedFd;

use super::code::{Code, Reg, Size};
use super::sys::fd_word;
use super::{BpfError, Helper, Map, MapKind, Program, ProgramKind, XDP_PASS};

/// `offsetof(struct xdp_md, rx_queue_index)`.
const RX_QUEUE_INDEX: i16 = 16;

/// A map from receive queue to AF_XDP socket, for programs that steer by it.
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

    /// The program that gives each frame to the socket of its queue, and lets frames of queues without one pass.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn program(&self) -> Result<Program, BpfError> {
        let mut code = Code::new();
        self.steer(&mut code, Reg::R1);
        Program::load(ProgramKind::Xdp, &code.finish()?)
    }

    /// `return redirect_map(map, ctx->rx_queue_index, XDP_PASS)`.
    pub(crate) fn steer(&self, code: &mut Code, context: Reg) {
        code.load(Size::Word, Reg::R2, context, RX_QUEUE_INDEX);
        code.map(Reg::R1, &self.map).mov(Reg::R3, XDP_PASS).call(Helper::RedirectMap).exit();
    }
}
