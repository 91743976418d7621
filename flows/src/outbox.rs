//! Outboxes: where decided frames wait, by egress port, until the worker transmits them.

use pktio::buffer::{BURST_BYTES, BURST_FRAMES};
use pktio::{Burst, PktBuf};

use crate::PortIndex;

/// One outbox per port, and which of them hold frames.
#[derive(Debug, Default)]
pub struct Outboxes {
    boxes: Vec<Burst>,
    dirty: Vec<PortIndex>,
    waiting_bytes: usize,
    full: bool,
}

impl Outboxes {
    /// No outboxes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for ports below `count`, so that nothing grows on the packet path.
    pub fn reserve(&mut self, count: usize) {
        self.boxes.resize_with(self.boxes.len().max(count), Burst::new);
        self.dirty.reserve(count);
    }

    /// Puts a frame into a port's outbox.
    #[inline(always)]
    pub fn push(&mut self, port: PortIndex, frame: PktBuf) {
        let slot = port.slot();
        if slot >= self.boxes.len() {
            self.reserve(slot + 1);
        }
        let outbox = &mut self.boxes[slot];
        if outbox.is_empty() {
            self.dirty.push(port);
        }
        self.waiting_bytes += frame.len();
        outbox.push(frame);
        self.full |= outbox.len() >= BURST_FRAMES;
    }

    /// Whether enough waits that it should be transmitted before more is received: the frames are
    /// still in the cache, and no outbox outgrows its capacity.
    #[inline]
    pub fn must_flush(&self) -> bool {
        self.full || self.waiting_bytes >= BURST_BYTES
    }

    /// Takes a port whose outbox holds frames off the list. Its frames are then to be taken from
    /// [`Outboxes::of`].
    #[inline]
    pub fn next_dirty(&mut self) -> Option<PortIndex> {
        let port = self.dirty.pop();
        if port.is_none() {
            self.waiting_bytes = 0;
            self.full = false;
        }
        port
    }

    /// The outbox of a port.
    #[inline]
    pub fn of(&mut self, port: PortIndex) -> &mut Burst {
        let slot = port.slot();
        if slot >= self.boxes.len() {
            self.reserve(slot + 1);
        }
        &mut self.boxes[slot]
    }
}
