//! [`Desk`]: what a burst is decided at: the configuration, and everything that is written to.

use pktio::{PktBuf, Pool};

use super::bridge::{Sender, Undelivered};
use crate::{DropReason, DropSide, Fate, Ledger, Nanos, Outboxes, PortIndex, Seconds, Snapshot};

/// Everything at hand while one burst is decided about.
pub(super) struct Desk<'a> {
    pub(super) now: Nanos,
    /// The whole seconds of that.
    pub(super) seconds: Seconds,
    /// The port that the burst came in by.
    pub(super) ingress: PortIndex,
    pub(super) snapshot: &'a Snapshot,
    pub(super) pool: &'a mut Pool,
    pub(super) outboxes: &'a mut Outboxes,
    pub(super) ledger: &'a mut Ledger,
    /// Frames that went on, for the ingress port's books.
    pub(super) forwarded: u64,
    /// What became of the last frame that did not go on. Only who decides about one frame can make use of it.
    pub(super) fate: Fate,
}

impl<'a> Desk<'a> {
    /// A desk for frames that came in by a port, of which nothing is decided yet.
    pub(super) fn new(
        now: Nanos,
        ingress: PortIndex,
        snapshot: &'a Snapshot,
        pool: &'a mut Pool,
        outboxes: &'a mut Outboxes,
        ledger: &'a mut Ledger,
    ) -> Self {
        let (seconds, fate) = (now.seconds(), Fate::Forwarded);
        Self { now, seconds, ingress, snapshot, pool, outboxes, ledger, forwarded: 0, fate }
    }
}

impl Desk<'_> {
    /// Goes on with frames that came in by another port.
    pub(super) fn begin(&mut self, ingress: PortIndex) {
        self.close();
        self.ingress = ingress;
    }

    /// Enters what was counted into the ingress port's books.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ledger.port_mut(self.ingress).forwarded += std::mem::take(&mut self.forwarded);
    }

    /// Drops a received frame that was offered to no port.
    #[cold]
    pub(super) fn refuse(&mut self, frame: PktBuf, reason: DropReason) {
        self.fate = Fate::Dropped(reason);
        let whose = (self.ingress, DropSide::Ingress, reason);
        self.ledger.drop_frame(self.pool, frame, whose, self.now);
    }

    /// Counts that a received frame waits.
    pub(super) fn hold(&mut self, ingress: PortIndex) {
        self.fate = Fate::Held;
        self.ledger.port_mut(ingress).held += 1;
    }

    /// Counts that a received frame was for the switch itself.
    pub(super) fn take(&mut self) {
        self.fate = Fate::Answered;
        self.ledger.port_mut(self.ingress).answered += 1;
    }

    /// Settles a received frame: it went on, or it is dropped.
    #[inline]
    pub(super) fn settle(&mut self, result: Result<(), Undelivered>) {
        if let Err(Undelivered { frame, reason, .. }) = result {
            self.refuse(frame, reason);
        }
    }

    /// Counts that a frame goes on, once however many ports it goes to.
    #[inline]
    pub(super) fn count_sent(&mut self, sender: Sender) {
        match sender {
            Sender::Port(_) | Sender::Router => self.forwarded += 1,
            Sender::Piece => self.count_copy(sender),
            Sender::Gateway => {}
        }
    }

    /// Counts a copy beyond the first.
    pub(super) fn count_copy(&mut self, sender: Sender) {
        if !matches!(sender, Sender::Gateway) {
            self.ledger.port_mut(self.ingress).copies += 1;
        }
    }

    /// Puts a frame into an outbox.
    #[inline(always)]
    pub(super) fn offer(&mut self, sender: Sender, to: PortIndex, frame: PktBuf) {
        self.count_offered(sender, to);
        self.outboxes.push(to, frame);
    }

    /// Puts a frame, or a copy of it, that goes to many ports into the outbox of one.
    pub(super) fn spread(&mut self, sender: Sender, to: PortIndex, frame: PktBuf) {
        self.count_offered(sender, to);
        self.outboxes.push_flooded(to, frame);
    }

    /// Drops a frame that should have been put into an outbox.
    pub(super) fn lose(
        &mut self,
        sender: Sender,
        to: PortIndex,
        frame: PktBuf,
        reason: DropReason,
    ) {
        self.count_offered(sender, to);
        let whose = (to, DropSide::Egress, reason);
        self.ledger.drop_frame(self.pool, frame, whose, self.now);
    }

    /// Accounts for a copy that could not be made.
    pub(super) fn lose_copy(&mut self, sender: Sender, to: PortIndex, frame: &PktBuf) {
        self.count_offered(sender, to);
        self.ledger.lose_copy(to, frame, self.now);
    }

    #[inline]
    fn count_offered(&mut self, sender: Sender, to: PortIndex) {
        let books = self.ledger.port_mut(to);
        books.offered += 1;
        if let Sender::Gateway = sender {
            books.originated += 1;
        }
    }
}
