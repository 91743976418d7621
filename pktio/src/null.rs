//! The null port: frames without end from a template, and a place where frames vanish. For measuring what
//! lies between.

use std::os::fd::BorrowedFd;

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, Pool};
use crate::offload::Accepts;
use crate::port::{Port, PortFault, Sent};

/// Receives copies of its template's frames, in a circle, and sends to nowhere.
#[derive(Debug, Default)]
pub struct NullPort {
    template: Vec<Vec<u8>>,
    next: usize,
}

impl NullPort {
    /// A port that receives nothing.
    pub fn sink() -> Self {
        Self::default()
    }

    /// A port that receives these frames over and over.
    pub fn source(template: Vec<Vec<u8>>) -> Self {
        Self { template, next: 0 }
    }
}

impl Port for NullPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        if self.template.is_empty() {
            return Ok(0);
        }
        let (mut received, mut bytes) = (0, 0);
        while received < BURST_FRAMES && bytes < BURST_BYTES {
            let Some(frame) = pool.frame_from(&self.template[self.next]) else { break };
            self.next = if self.next + 1 == self.template.len() { 0 } else { self.next + 1 };
            bytes += frame.len();
            received += 1;
            out.push(frame);
        }
        Ok(received)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let sent = Sent { frames: frames.len(), refused: 0 };
        pool.recycle_all(frames);
        Ok(sent)
    }

    fn accepts(&self) -> Accepts {
        Accepts::ALL
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
