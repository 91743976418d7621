//! The memory port: frames from and to another port, or a test, in the same process.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, PktBuf, Pool};
use crate::offload::Accepts;
use crate::port::{Port, PortFault, Sent};

/// One end of a memory link. What one end sends, the other receives, offload state and all.
#[derive(Debug)]
pub struct MemPort {
    incoming: Arc<ArrayQueue<PktBuf>>,
    outgoing: Arc<ArrayQueue<PktBuf>>,
    accepts: Accepts,
}

/// Two connected ends, each of which queues so many frames and takes what `accepts` says.
pub fn pair(frames: usize, accepts: Accepts) -> (MemPort, MemPort) {
    let queue = || Arc::new(ArrayQueue::new(frames.max(1)));
    let (left, right) = (queue(), queue());
    let near = MemPort { incoming: Arc::clone(&left), outgoing: Arc::clone(&right), accepts };
    (near, MemPort { incoming: right, outgoing: left, accepts })
}

impl Port for MemPort {
    fn rx_burst(&mut self, _pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let (mut received, mut bytes) = (0, 0);
        while received < BURST_FRAMES && bytes < BURST_BYTES {
            let Some(frame) = self.incoming.pop() else { break };
            bytes += frame.len();
            received += 1;
            out.push(frame);
        }
        Ok(received)
    }

    fn tx_burst(&mut self, _pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let room = self.outgoing.capacity() - self.outgoing.len();
        let taken = room.min(frames.len());
        let mut sent = Sent::default();
        for frame in frames.drain(..taken) {
            // This end is the only sender, so the room that was there still is.
            match self.outgoing.push(frame) {
                Ok(()) => sent.frames += 1,
                Err(_) => sent.refused += 1,
            }
        }
        Ok(sent)
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
