//! Tunnels: from the datagrams of an endpoint to frames of ports, and back.
//!
//! An endpoint is served by one worker, like a queue. What it receives is unwrapped, and decided about as
//! received by the port of whoever sent it; what a port of a tunnel is to transmit is wrapped and sent from
//! the endpoint. Frames that are for nobody are noted in the endpoint's own books.
//!
//! Of a sender that is not known yet the control thread is told, not more than [`STRANGERS`] times in
//! [`TELL_AGAIN_AFTER`], whatever arrives: it gives the sender a port.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use flows::vxlan::{Arrival, Misfit, Tunnels, Vtep, encap};
use flows::{DropReason, Nanos, PortIndex};
use pktio::underlay::{Mark, Outer, Tally, Underlay};
use pktio::wire::Layers;
use pktio::{Burst, Missed, PktBuf, Pool, PortFault};

use super::native::{WAITING, Waiting};
use super::perf::{Stage, Stopwatch};
use super::{Device, Event, QueueId, Worker};

/// Strangers that are told of at a time.
const STRANGERS: usize = 16;
/// After this time, or with a new configuration, they are told of again.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Somebody who is not known, and sends by a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    /// The base of the segment.
    pub base: PortIndex,
    /// The sender's address.
    pub remote: IpAddr,
}

/// An endpoint that the worker serves.
struct Endpoint {
    id: QueueId,
    underlay: Box<Underlay>,
    /// Datagrams are received from it.
    is_open: bool,
}

/// A worker's endpoints, and what is at hand while they are served: empty between bursts.
pub(super) struct Tunnelling {
    endpoints: Vec<Endpoint>,
    pub(super) arrived: Burst,
    pub(super) outers: Vec<Outer>,
    /// The endpoint of each.
    pub(super) addressed: Vec<PortIndex>,
    wrapped: Burst,
    marks: Vec<Mark>,
    /// What goes over bridges, and waits for its next hop.
    pub(super) waiting: VecDeque<Waiting>,
    /// Whom the control thread has been told of since `told_at`.
    told: Vec<Stranger>,
    told_at: Nanos,
}

impl Tunnelling {
    pub(super) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            arrived: Burst::new(),
            outers: Vec::with_capacity(Burst::CAPACITY),
            addressed: Vec::with_capacity(Burst::CAPACITY),
            wrapped: Burst::new(),
            marks: Vec::with_capacity(Burst::CAPACITY),
            waiting: VecDeque::with_capacity(WAITING),
            told: Vec::with_capacity(STRANGERS),
            told_at: Nanos::default(),
        }
    }

    /// Where an endpoint is, if the worker serves it.
    pub(super) fn position(&self, endpoint: PortIndex) -> Option<usize> {
        self.endpoints.iter().position(|own| own.id.port == endpoint)
    }

    /// Goes by another configuration from now on.
    pub(super) fn adopt(&mut self, tunnels: &Tunnels) {
        self.told.clear();
        for Endpoint { id, underlay, .. } in &mut self.endpoints {
            if let Some(bytes) = tunnels.inner_mtu_bytes(id.port) {
                underlay.set_inner_mtu(bytes);
            }
        }
    }

    /// Receives from an endpoint from now on, if it is one of the worker's.
    pub(super) fn open(&mut self, endpoint: PortIndex) {
        if let Some(slot) = self.position(endpoint) {
            self.endpoints[slot].is_open = true;
        }
    }

    pub(super) fn housekeep(&mut self, pool: &mut Pool) {
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.underlay.housekeep(pool));
    }

    pub(super) fn wake_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.endpoints.iter().filter(|endpoint| endpoint.is_open);
        open.map(|endpoint| endpoint.underlay.wake_fd())
    }

    pub(super) fn take_missed(&mut self, missed: &mut Vec<(PortIndex, Missed)>) {
        let counts = self.endpoints.iter_mut();
        missed.extend(counts.map(|own| (own.id.port, own.underlay.take_missed())));
    }

    /// Whether anything waits for its next hop.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the control thread is to be told of somebody.
    fn is_news(&mut self, stranger: Stranger, now: Nanos) -> bool {
        if now.since(self.told_at) > TELL_AGAIN_AFTER {
            self.told.clear();
        }
        if self.told.contains(&stranger) || self.told.len() == STRANGERS {
            return false;
        }
        if self.told.is_empty() {
            self.told_at = now;
        }
        self.told.push(stranger);
        true
    }
}

impl Worker {
    /// Takes an endpoint over.
    pub(super) fn join(&mut self, id: QueueId, underlay: Box<Underlay>) {
        self.tunnelling.endpoints.push(Endpoint { id, underlay, is_open: false });
        self.map_outlets();
    }

    /// Hands an endpoint back, if it is one.
    pub(super) fn part(&mut self, port: PortIndex) {
        if let Some(slot) = self.tunnelling.position(port) {
            let Endpoint { id, underlay, .. } = self.tunnelling.endpoints.remove(slot);
            self.map_outlets();
            self.lane().report(Event::Detached(id, Device::Endpoint(underlay)));
        }
    }

    /// Receives one burst from each endpoint and decides about it. Returns the number of frames.
    pub(super) fn serve_endpoints(&mut self, now: Nanos, watch: &mut Stopwatch) -> usize {
        let (mut frames, mut slot) = (0, 0);
        while slot < self.tunnelling.endpoints.len() {
            match self.serve_endpoint(slot, now, watch) {
                Ok(received) => {
                    frames += received;
                    slot += 1;
                }
                Err(fault) => {
                    let Endpoint { id, underlay, .. } = self.tunnelling.endpoints.remove(slot);
                    self.map_outlets();
                    self.lane().report(Event::Fault(id, Device::Endpoint(underlay), fault));
                }
            }
        }
        frames
    }

    fn serve_endpoint(
        &mut self,
        slot: usize,
        now: Nanos,
        watch: &mut Stopwatch,
    ) -> Result<usize, PortFault> {
        let Tunnelling { endpoints, arrived, outers, addressed, .. } = &mut self.tunnelling;
        let Endpoint { id, underlay, is_open } = &mut endpoints[slot];
        if !*is_open {
            return Ok(0);
        }
        let endpoint = id.port;
        let outcome = underlay.rx_burst(&mut self.pool, arrived, outers);
        let received = arrived.len();
        addressed.resize(received, endpoint);
        if received == 0 {
            watch.charge(&mut self.perf, Stage::Idle);
            return outcome;
        }
        self.perf.batch(received);
        watch.charge(&mut self.perf, Stage::Rx);
        self.unwrap_all(now);
        watch.charge(&mut self.perf, Stage::Pipeline);
        if self.outboxes.must_flush() {
            self.flush_all(now);
            watch.charge(&mut self.perf, Stage::Tx);
        }
        outcome
    }

    /// Unwraps what arrived, and decides about each row of frames that come in by one port.
    pub(super) fn unwrap_all(&mut self, now: Nanos) {
        let plane = Arc::clone(&self.plane);
        let mut arrived = std::mem::take(&mut self.tunnelling.arrived);
        let mut outers = std::mem::take(&mut self.tunnelling.outers);
        let mut addressed = std::mem::take(&mut self.tunnelling.addressed);
        let mut ingress = None;
        let opened = arrived.drain(..).zip(outers.drain(..)).zip(addressed.drain(..));
        for ((mut frame, outer), endpoint) in opened {
            let Arrival { port, stranger } =
                match plane.snapshot.tunnels().unwrap(endpoint, &mut frame, outer) {
                    Ok(arrival) => arrival,
                    Err(Misfit { port, reason }) => {
                        self.ledger.turn_away(&mut self.pool, frame, (port, reason), now);
                        continue;
                    }
                };
            if let Some(before) = ingress.replace(port).filter(|before| *before != port) {
                self.decide(before, now);
            }
            self.received.push(frame);
            if let Some(remote) = stranger {
                self.tell_of(Stranger { base: port, remote }, now);
            }
        }
        if let Some(port) = ingress {
            self.decide(port, now);
        }
        self.tunnelling.arrived = arrived;
        self.tunnelling.outers = outers;
        self.tunnelling.addressed = addressed;
    }

    #[cold]
    fn tell_of(&mut self, stranger: Stranger, now: Nanos) {
        if self.lane().has_room() && self.tunnelling.is_news(stranger, now) {
            self.lane().report(Event::Stranger(stranger));
        }
    }

    /// Transmits the outbox of a port that leads into a tunnel, from an endpoint of this worker.
    pub(super) fn tunnel(&mut self, slot: usize, port: PortIndex, now: Nanos) {
        let Some(vtep) = self.plane.snapshot.tunnels().vtep(port).copied() else {
            return self.drop_outbox(port, DropReason::PortGone, now);
        };
        let mut frames = std::mem::take(self.outboxes.of(port));
        frames.drain(..).for_each(|frame| self.wrap(frame, port, &vtep, now));
        *self.outboxes.of(port) = frames;
        let Tunnelling { endpoints, wrapped, marks, .. } = &mut self.tunnelling;
        let underlay = &mut endpoints[slot].underlay;
        let tally = underlay.tx_burst(&mut self.pool, wrapped, marks, vtep.remote);
        marks.clear();
        self.account(port, &tally, now);
    }

    /// Puts a frame into its tunnel, to be sent.
    fn wrap(&mut self, mut frame: PktBuf, port: PortIndex, vtep: &Vtep, now: Nanos) {
        let layers = Layers::parse(frame.data()).ok().flatten();
        match encap(&mut frame, layers.as_ref(), &vtep.tunnel) {
            Some(mark) => {
                self.tunnelling.marks.push(mark);
                self.tunnelling.wrapped.push(frame);
            }
            None => self.lose(port, frame, DropReason::NoBuffer, now),
        }
    }

    fn account(&mut self, port: PortIndex, tally: &Tally, now: Nanos) {
        let books = self.ledger.port_mut(port);
        books.transmitted += tally.sent as u64;
        books.transmitted_bytes += tally.sent_bytes as u64;
        for (reason, frames) in [
            (DropReason::TunnelUnreachable, tally.too_long + tally.unreachable),
            (DropReason::TxQueueFull, tally.no_room),
            (DropReason::TxRefused, tally.refused),
        ] {
            self.ledger.note_refused(port, reason, frames as u64, now);
        }
    }
}
