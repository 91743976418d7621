//! The way out: outboxes are emptied into the ports, or handed to the worker that owns the port.

use flows::{DropReason, DropSide, Nanos, PortIndex};
use pktio::offload::{coalesce, fit};
use pktio::{Burst, PktBuf, PortFault};

use super::{Outlet, Parcel, Worker};

/// Ports that are flooded to in one turn. At a few microseconds for each it is a tenth of a millisecond.
const FLOODED_PER_TURN: usize = 32;

impl Worker {
    /// Empties every outbox that holds frames.
    pub(super) fn flush_all(&mut self, now: Nanos) {
        while let Some(port) = self.outboxes.next_dirty() {
            self.flush(port, now);
        }
    }

    /// Empties the outboxes of all ports but those with a queue here: of tunnels, of other workers, and of nobody any more. In the next
    /// configuration their numbers may be others'.
    pub(super) fn flush_unowned(&mut self, now: Nanos) {
        let slots = u16::try_from(self.plane.snapshot.port_slots()).unwrap_or(u16::MAX);
        let mut is_stirred = true;
        while std::mem::take(&mut is_stirred) {
            for port in (0..slots).map(PortIndex) {
                let outlet = self.outlet(port);
                if matches!(outlet, Some(Outlet::Queue(_))) || self.outboxes.of(port).is_empty() {
                    continue;
                }
                // What travels over a bridge may fill an outbox that was passed.
                is_stirred |= matches!(outlet, Some(Outlet::Bridge(_)));
                self.flush(port, now);
            }
        }
    }

    /// Ends a turn: empties the outboxes with something for one port, and some of those with what goes to all.
    pub(super) fn flush_due(&mut self, now: Nanos) {
        let mut floods = FLOODED_PER_TURN;
        while let Some(port) = self.outboxes.next_due(&mut floods) {
            self.flush(port, now);
        }
    }

    /// Sends a port's outbox on its way, when its rate allows.
    pub(super) fn flush(&mut self, port: PortIndex, now: Nanos) {
        match self.shape_of(port) {
            Some(_) if self.is_owner(port) => self.shape(port, now),
            Some(_) => self.hand_over(port, now),
            None => self.dispatch(port, now),
        }
    }

    /// Sends a port's outbox on its way, at once.
    pub(super) fn dispatch(&mut self, port: PortIndex, now: Nanos) {
        let Some(outlet) = self.outlet(port) else { return self.hand_over(port, now) };
        if !self.observers.is_empty() {
            self.show_sent(port, now);
        }
        let slot = match outlet {
            Outlet::Endpoint(slot) => return self.tunnel(slot, port, now),
            Outlet::Bridge(native) => return self.tunnel_natively(port, native, now),
            Outlet::Queue(slot) => slot,
        };
        if let Err(fault) = self.transmit(slot, port, now) {
            self.expel(slot, fault);
            self.drop_outbox(port, DropReason::PortGone, now);
        }
    }

    /// Transmits a port's outbox by a queue of this worker.
    fn transmit(&mut self, slot: usize, port: PortIndex, now: Nanos) -> Result<(), PortFault> {
        let accepts = self.queues[slot].accepts;
        if accepts.coalesced && self.outboxes.of(port).len() > 1 {
            let merged = coalesce(self.outboxes.of(port), &mut self.fitted, &mut self.pool);
            // They travel inside another frame, which a port that asks for this never leaves unsent.
            self.ledger.port_mut(port).transmitted += merged as u64;
        }
        let outbox = self.outboxes.of(port);
        if outbox.iter().all(|frame| accepts.covers(frame.offload)) {
            let mut frames = std::mem::take(outbox);
            let result = self.send(slot, port, &mut frames, now);
            *self.outboxes.of(port) = frames;
            return result;
        }
        self.transmit_fitted(slot, port, now)
    }

    /// Transmits an outbox with frames that the port cannot take as they are, in order. Frames that become
    /// one frame each are sent together; a super-frame's segments are sent, or lost, as one.
    fn transmit_fitted(
        &mut self,
        slot: usize,
        port: PortIndex,
        now: Nanos,
    ) -> Result<(), PortFault> {
        let accepts = self.queues[slot].accepts;
        let mut frames = std::mem::take(self.outboxes.of(port));
        let mut fitted = std::mem::take(&mut self.fitted);
        let mut result = Ok(());
        for frame in frames.drain(..) {
            let is_super = frame.offload.gso.segment_bytes().is_some();
            if is_super && result.is_ok() {
                result = self.send(slot, port, &mut fitted, now);
            }
            if result.is_err() {
                self.lose(port, frame, DropReason::PortGone, now);
                continue;
            }
            let bytes = frame.len();
            match fit(frame, &accepts, &mut self.pool, &mut fitted) {
                Ok(()) if is_super => {
                    result = self.send_segments(slot, port, &mut fitted, bytes, now);
                }
                Ok(()) => {}
                Err((frame, why)) => self.lose(port, frame, why.into(), now),
            }
        }
        if result.is_ok() {
            result = self.send(slot, port, &mut fitted, now);
        }
        for frame in fitted.drain(..) {
            self.lose(port, frame, DropReason::PortGone, now);
        }
        self.fitted = fitted;
        *self.outboxes.of(port) = frames;
        result
    }

    /// Sends frames, each of which is one offered frame, and accounts for them. On a fault what was not
    /// sent is left in `frames`.
    fn send(
        &mut self,
        slot: usize,
        port: PortIndex,
        frames: &mut Burst,
        now: Nanos,
    ) -> Result<(), PortFault> {
        if frames.is_empty() {
            return Ok(());
        }
        let offered = frames.len();
        let bytes: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        let sent = self.queues[slot].port.tx_burst(&mut self.pool, frames);
        let left: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        let refused = sent.as_ref().map_or(0, |sent| sent.refused);
        let books = self.ledger.port_mut(port);
        books.transmitted += (offered - frames.len() - refused) as u64;
        books.transmitted_bytes += bytes - left;
        self.ledger.note_refused(port, DropReason::TxRefused, refused as u64, now);
        sent?;
        for frame in frames.drain(..) {
            self.lose(port, frame, DropReason::TxQueueFull, now);
        }
        Ok(())
    }

    /// Sends the segments of one super-frame, which is transmitted if all of them are.
    fn send_segments(
        &mut self,
        slot: usize,
        port: PortIndex,
        segments: &mut Burst,
        bytes: usize,
        now: Nanos,
    ) -> Result<(), PortFault> {
        let sent = self.queues[slot].port.tx_burst(&mut self.pool, segments);
        let mut unsent = segments.drain(..);
        let first_unsent = unsent.next();
        unsent.for_each(|segment| self.pool.recycle(segment));
        let refused = sent.as_ref().map_or(0, |sent| sent.refused);
        match (first_unsent, refused) {
            (Some(segment), _) => {
                let gone = sent.is_err();
                let reason = if gone { DropReason::PortGone } else { DropReason::TxQueueFull };
                self.lose(port, segment, reason, now);
            }
            (None, 0) => {
                let books = self.ledger.port_mut(port);
                books.transmitted += 1;
                books.transmitted_bytes += bytes as u64;
            }
            (None, _) => self.ledger.note_refused(port, DropReason::TxRefused, 1, now),
        }
        sent.map(|_| ())
    }

    /// Gives a port's outbox to the worker that owns the port.
    fn hand_over(&mut self, port: PortIndex, now: Nanos) {
        // One of its own that it cannot send by is gone.
        let owner = self.plane.owners.get(port.slot()).copied().flatten();
        let Some(owner) = owner.filter(|owner| *owner != self.id) else {
            return self.drop_outbox(port, DropReason::PortGone, now);
        };
        let lane = &self.lanes[usize::from(owner.0)];
        let mut frames = std::mem::take(self.outboxes.of(port));
        for frame in frames.drain(..) {
            match lane.hand_over(Parcel { port, frame }) {
                Ok(()) => {
                    self.handed.out += 1;
                    self.ledger.port_mut(port).handed += 1;
                }
                Err(parcel) => {
                    let whose = (port, DropSide::Egress, DropReason::HandoffFull);
                    self.ledger.drop_frame(&mut self.pool, parcel.frame, whose, now);
                }
            }
        }
        lane.wake_if_asleep();
        *self.outboxes.of(port) = frames;
    }

    /// Takes in what other workers have handed over. What comes meanwhile is for the next turn, so that
    /// this one ends. Returns how many frames that were.
    pub(super) fn unpack_parcels(&mut self, now: Nanos) -> usize {
        let mut taken = 0;
        for _ in 0..self.lane().parcels_waiting() {
            let Some(Parcel { port, frame }) = self.lane().parcel() else { break };
            taken += 1;
            self.handed.taken += 1;
            let books = self.ledger.port_mut(port);
            books.offered += 1;
            books.taken += 1;
            if self.outlet(port).is_none() {
                // The port moved on while the frame was on its way; it is not sent after it.
                self.lose(port, frame, DropReason::PortGone, now);
                continue;
            }
            self.outboxes.push(port, frame);
            if self.outboxes.must_flush() {
                self.flush_all(now);
            }
        }
        taken
    }

    pub(super) fn drop_outbox(&mut self, port: PortIndex, reason: DropReason, now: Nanos) {
        let mut frames = std::mem::take(self.outboxes.of(port));
        for frame in frames.drain(..) {
            self.lose(port, frame, reason, now);
        }
        *self.outboxes.of(port) = frames;
    }

    /// Drops a frame that was offered to a port.
    pub(super) fn lose(&mut self, port: PortIndex, frame: PktBuf, reason: DropReason, now: Nanos) {
        let whose = (port, DropSide::Egress, reason);
        self.ledger.drop_frame(&mut self.pool, frame, whose, now);
    }
}
