//! The way out of ports with a rate: what may not leave yet waits, and later turns see to it.

use flows::{DropReason, DropSide, Nanos, PortIndex};
use pktio::buffer::BURST_FRAMES;

use super::Worker;
use super::shaper::{Shape, Shaper};

impl Worker {
    /// The rate of a port, if it has one.
    #[inline]
    pub(super) fn shape_of(&self, port: PortIndex) -> Option<Shape> {
        self.plane.shapes.get(port.slot()).copied().flatten()
    }

    /// Whether this worker transmits for a port with a rate.
    pub(super) fn is_owner(&self, port: PortIndex) -> bool {
        self.plane.owners.get(port.slot()).copied().flatten() == Some(self.id)
    }

    /// Makes the shapers those of the configuration. What waits for a port without a rate now is sent.
    pub(super) fn adopt_shapes(&mut self) {
        let slots = self.plane.shapes.len().max(self.shapers.len());
        self.shapers.resize_with(slots, || None);
        for slot in 0..slots {
            let Some(port) = PortIndex::at(slot) else { return };
            let shape = self.shape_of(port).filter(|_| self.is_owner(port));
            match (shape, &mut self.shapers[slot]) {
                (Some(shape), Some(shaper)) => shaper.reshape(shape),
                (Some(shape), none) => *none = Some(Shaper::new(shape)),
                (None, _) => self.end_shaper(port),
            }
        }
    }

    fn end_shaper(&mut self, port: PortIndex) {
        let Some(mut shaper) = self.shapers[port.slot()].take() else { return };
        while let Some(frame) = shaper.pop() {
            self.ledger.port_mut(port).queued -= 1;
            self.outboxes.push(port, frame);
            if self.outboxes.must_flush() {
                self.flush_all(self.clock.now());
            }
        }
    }

    /// Lets the frames of an outbox wait for their turn, and sends those whose turn it is.
    pub(super) fn shape(&mut self, port: PortIndex, now: Nanos) {
        let mut frames = std::mem::take(self.outboxes.of(port));
        for frame in frames.drain(..) {
            let shaper = self.shapers.get_mut(port.slot()).and_then(Option::as_mut);
            let refused = match shaper {
                Some(shaper) => shaper.push(frame, now).err(),
                None => Some(frame),
            };
            match refused {
                None => self.ledger.port_mut(port).queued += 1,
                Some(frame) => self.lose(port, frame, DropReason::RateLimited, now),
            }
        }
        *self.outboxes.of(port) = frames;
        self.release(port, now);
    }

    /// Sends what may leave by a port with a rate.
    fn release(&mut self, port: PortIndex, now: Nanos) {
        loop {
            let Some(Some(shaper)) = self.shapers.get_mut(port.slot()) else { return };
            let due = std::iter::from_fn(|| shaper.pop_due(now)).take(BURST_FRAMES);
            let outbox = self.outboxes.of(port);
            outbox.extend(due);
            let released = outbox.len();
            if released == 0 {
                return;
            }
            self.ledger.port_mut(port).queued -= released as u64;
            self.dispatch(port, now);
        }
    }

    /// Sends what may leave by any port with a rate.
    pub(super) fn release_all(&mut self, now: Nanos) {
        for slot in 0..self.shapers.len() {
            let is_due =
                self.shapers[slot].as_ref().and_then(Shaper::due).is_some_and(|due| due <= now);
            if is_due && let Some(port) = PortIndex::at(slot) {
                // What this turn has brought for it goes behind what waits.
                self.shape(port, now);
            }
        }
    }

    /// When the next frame that waits may leave, if any waits.
    pub(super) fn next_release(&self) -> Option<Nanos> {
        self.shapers.iter().flatten().filter_map(Shaper::due).min()
    }

    /// Drops what waits for a port that this worker does not transmit for any more.
    pub(super) fn drop_waiting(&mut self, port: PortIndex, now: Nanos) {
        let Some(Some(shaper)) = self.shapers.get_mut(port.slot()) else { return };
        while let Some(frame) = shaper.pop() {
            self.ledger.port_mut(port).queued -= 1;
            let whose = (port, DropSide::Egress, DropReason::PortGone);
            self.ledger.drop_frame(&mut self.pool, frame, whose, now);
        }
    }
}
