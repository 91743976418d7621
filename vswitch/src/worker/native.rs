//! Tunnels whose packets travel over a bridge of the switch: what comes out of the pipeline for them is unwrapped, what a port
//! of a tunnel is to transmit is wrapped by the pipeline.
//!
//! There is no socket, and so no queue: any worker receives, by whatever port of the bridge, and any sends. Frames for a remote
//! whose next hop is being asked for wait here, a few of each and not for long, as a router's packets do (RFC 4861 section
//! 7.2.2).

use std::sync::Arc;
use std::time::Duration;

use flows::vxlan::{Native, Vtep};
use flows::{DropReason, Nanos, PortIndex, Tunnelled, Untunnelled};
use pktio::PktBuf;

use super::Worker;

/// Frames that wait, of all remotes and of each.
pub(super) const WAITING: usize = 64;
const WAITING_FOR_ONE: usize = 8;
/// A little longer than a neighbour is asked for.
const PATIENCE: Duration = Duration::from_millis(3500);

/// A frame that waits for the next hop of its tunnel.
pub(super) struct Waiting {
    port: PortIndex,
    frame: PktBuf,
    since: Nanos,
}

impl Worker {
    /// Decides about what is in tunnel packets that came in over bridges, and in those in them.
    #[inline]
    pub(super) fn unwrap_native(&mut self, now: Nanos) {
        while self.take_tunnelled() {
            self.unwrap_all(now);
        }
    }

    fn take_tunnelled(&mut self) -> bool {
        for Tunnelled { endpoint, outer, frame } in self.pipeline.tunnelled() {
            self.tunnelling.arrived.push(frame);
            self.tunnelling.outers.push(outer);
            self.tunnelling.addressed.push(endpoint);
        }
        !self.tunnelling.addressed.is_empty()
    }

    /// Transmits the outbox of a port that leads into a tunnel, over a bridge.
    pub(super) fn tunnel_natively(&mut self, port: PortIndex, native: Native, now: Nanos) {
        let Some(vtep) = self.plane.snapshot.tunnels().vtep(port).copied() else {
            return self.drop_outbox(port, DropReason::PortGone, now);
        };
        let mut frames = std::mem::take(self.outboxes.of(port));
        for frame in frames.drain(..) {
            self.send_natively((&vtep, native), Waiting { port, frame, since: now }, now);
        }
        *self.outboxes.of(port) = frames;
    }

    /// Tries again to send what waits.
    pub(super) fn retry_native(&mut self, now: Nanos) {
        let count = self.tunnelling.waiting.len();
        if count == 0 {
            return;
        }
        let plane = Arc::clone(&self.plane);
        // Those that go on waiting do so behind the others.
        for _ in 0..count {
            let Some(waiting) = self.tunnelling.waiting.pop_front() else { return };
            let Waiting { port, since, .. } = waiting;
            self.ledger.port_mut(port).queued -= 1;
            let vtep = plane.snapshot.tunnels().vtep(port);
            match vtep.and_then(|vtep| Some((vtep, vtep.native?))) {
                None => self.lose(port, waiting.frame, DropReason::PortGone, now),
                Some(_) if now.since(since) > PATIENCE => {
                    self.lose(port, waiting.frame, DropReason::Unresolved, now);
                }
                Some(to) => self.send_natively(to, waiting, now),
            }
        }
    }

    /// Drops what waits to leave by a port that goes.
    pub(super) fn drop_native(&mut self, port: PortIndex, now: Nanos) {
        for _ in 0..self.tunnelling.waiting.len() {
            match self.tunnelling.waiting.pop_front() {
                Some(waiting) if waiting.port == port => {
                    self.ledger.port_mut(port).queued -= 1;
                    self.lose(port, waiting.frame, DropReason::PortGone, now);
                }
                other => self.tunnelling.waiting.extend(other),
            }
        }
    }

    fn send_natively(&mut self, to: (&Vtep, Native), waiting: Waiting, now: Nanos) {
        let Waiting { port, frame, since } = waiting;
        let (bytes, (vtep, native)) = (frame.len() as u64, to);
        let Self { pipeline, pool, outboxes, ledger, .. } = self;
        match pipeline.tunnel(now, (vtep, native, frame), pool, outboxes, ledger) {
            Ok(()) => {
                let books = ledger.port_mut(port);
                books.transmitted += 1;
                books.transmitted_bytes += bytes;
            }
            Err(Untunnelled { frame, reason: Some(reason) }) => self.lose(port, frame, reason, now),
            Err(Untunnelled { frame, reason: None }) => {
                self.wait_natively(Waiting { port, frame, since }, now);
            }
        }
    }

    fn wait_natively(&mut self, waiting: Waiting, now: Nanos) {
        let port = waiting.port;
        let all = &self.tunnelling.waiting;
        let of_it = all.iter().filter(|other| other.port == port).count();
        if of_it >= WAITING_FOR_ONE || all.len() >= WAITING || self.pool.is_short() {
            return self.lose(port, waiting.frame, DropReason::HoldFull, now);
        }
        self.ledger.port_mut(port).queued += 1;
        self.tunnelling.waiting.push_back(waiting);
    }
}
