//! The null port: frames without end from a template, and a place where frames vanish. For measuring what
//! lies between.

use std::os::fd::BorrowedFd;

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, Pool};
use crate::offload::Accepts;
use crate::port::{Port, PortFault, Sent};

/// Receives copies of its template's frames, in a circle, and sends to nowhere.
#[derive(Debug, Default)]
pub struct NullPort {
    /// The frames, one behind the other.
    template: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Which is the next, and where it begins.
    next: usize,
    begin: usize,
}

impl NullPort {
    /// A port that receives nothing.
    pub fn sink() -> Self {
        Self::default()
    }

    /// A port that receives these frames over and over.
    pub fn source(frames: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut port = Self::default();
        for frame in frames {
            port.template.extend_from_slice(frame.as_ref());
            port.ends.push(port.template.len());
        }
        port
    }
}

impl Port for NullPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let (before, mut bytes) = (out.len(), 0);
        while out.len() - before < BURST_FRAMES && bytes < BURST_BYTES {
            if self.next == self.ends.len() {
                (self.next, self.begin) = (0, 0);
            }
            let Some(&end) = self.ends.get(self.next) else { break };
            let frame = &self.template[self.begin..end];
            if !out.push_copy(frame, pool) {
                break;
            }
            bytes += frame.len();
            (self.next, self.begin) = (self.next + 1, end);
        }
        Ok(out.len() - before)
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
