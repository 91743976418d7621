//! [`Pipeline`]: what becomes of a burst.
//!
//! ```text
//!   frame ──► look (source, VLAN, learn, look up) ──► forward or flood ──► outbox
//!                │                    │                      ^
//!             drop(reason)        look into ─► flow cache ───┤ carry out what is known
//!                                                 │ miss     │
//!                                              evaluate ─────┘
//! ```
//!
//! One straight line per frame, no callback and no queue between the stages. Plain bridging ([`bridge`])
//! needs no more than the first look; what is for the gateway, or comes in where rules apply, is looked into: of flows that are
//! [known] all is decided already, of others it is asked ([`inspect`]).
//!
//! A burst is gone over twice: first every frame is looked at, so that the table accesses of several
//! frames overlap, then every frame is delivered.
//!
//! A pipeline belongs to one worker. What it shares with others is in [`Tables`] and the forwarding
//! databases. Decisions are watched by a [`witness`]: nobody, a [follower](Follower) of some real packets, or a
//! [rehearsal](Tracer) that follows one packet and changes nothing.

mod bridge;
mod candidate;
mod desk;
mod evaluate;
mod exit;
mod follower;
mod gateway;
mod housekeep;
mod inspect;
mod known;
mod rehearsal;
mod route;
mod ruling;
mod service;
mod sight;
mod steps;
mod too_big;
mod transform;
mod tunnel;
pub(crate) mod vlan;
mod witness;

use std::net::IpAddr;
use std::sync::Arc;

use pktio::{Burst, PktBuf, Pool};

use crate::router::NextHop;
use crate::rules::{Meter, Source};
use crate::vxlan::{Native, Vtep};
use crate::{
    BridgeIndex, DropReason, Ledger, Nanos, Offer, Outboxes, PortIndex, Snapshot, TableSizes,
    Tables, Vid,
};
use bridge::{Ingress, Sender, Step};
use desk::Desk;
use inspect::Memory;
use known::Known;
use sight::Sight;
use transform::Flows;
use witness::{Nobody, Witness};

pub use follower::{Followed, Follower};
pub use gateway::Visitor;
pub use rehearsal::Tracer;
pub use tunnel::{Tunnelled, Untunnelled};

/// What a gateway says by itself, to all stations of its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// Its addresses and its MAC: it is new, or these have changed.
    Announcement,
    /// What stations should know about the network: a router advertisement.
    Advertisement,
    /// The last router advertisement: it is no router any more.
    Farewell,
}

/// Decides about frames by the configuration and the tables.
#[derive(Debug)]
pub struct Pipeline {
    snapshot: Arc<Snapshot>,
    memory: Memory<Nobody>,
    flows: Flows,
    /// Somebody who wants to know why, if anybody does.
    follower: Option<Box<Follower>>,
}

impl Pipeline {
    /// A pipeline that decides by `snapshot` and the tables that all workers share.
    pub fn new(snapshot: Arc<Snapshot>, tables: Arc<Tables>) -> Self {
        let TableSizes { cached_flows, seed, .. } = tables.sizes();
        let nobody = Nobody { tally: tables.rules.tally() };
        let flows = Flows::new(cached_flows, seed);
        Self { snapshot, memory: Memory::new(tables, nobody), flows, follower: None }
    }

    /// Decides by `snapshot` from now on.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
    }

    /// Decides about every frame of `burst`, which came in by `ingress`: each one is in an outbox, or
    /// dropped into the ledger, when this returns.
    pub fn run(
        &mut self,
        now: Nanos,
        ingress: PortIndex,
        burst: &mut Burst,
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        let books = ledger.port_mut(ingress);
        books.received += burst.len() as u64;
        books.received_bytes += burst.iter().map(|frame| frame.len() as u64).sum::<u64>();
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, ingress, snapshot, pool, outboxes, ledger);
        match &mut self.follower {
            Some(follower) if follower.follows(ingress) => {
                follower.run(&mut self.memory, &mut self.flows, &mut desk, burst);
            }
            _ => self.memory.run(&mut desk, &mut self.flows, burst),
        }
    }

    /// Lets somebody follow packets from now on, or nobody any more. Returns who did until now.
    pub fn follow(&mut self, follower: Option<Box<Follower>>) -> Option<Box<Follower>> {
        std::mem::replace(&mut self.follower, follower)
    }

    /// Who follows packets.
    #[inline]
    pub fn follower(&mut self) -> Option<&mut Follower> {
        self.follower.as_deref_mut()
    }

    /// Does what is to be done beside packets. To be called once per turn; [`Pipeline::is_idle`] says when
    /// a worker may stop turning.
    pub fn housekeep(
        &mut self,
        now: Nanos,
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        if self.memory.is_idle() {
            return;
        }
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, PortIndex(0), snapshot, pool, outboxes, ledger);
        self.memory.housekeep(&mut desk);
        self.memory.resume(&mut desk, &mut self.flows);
    }

    /// Lets the gateway of a bridge say something.
    pub fn say(
        &mut self,
        now: Nanos,
        (bridge, saying): (BridgeIndex, Saying),
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, PortIndex(0), snapshot, pool, outboxes, ledger);
        self.memory.say(&mut desk, bridge, saying);
    }

    /// Packets for services of gateways that came in since the last call. Whoever takes one enters it into the books of
    /// the port that it came in by: as answered, or as dropped.
    #[inline]
    pub fn visitors(&mut self) -> impl Iterator<Item = Visitor> + '_ {
        self.memory.visitors.drain(..)
    }

    /// Packets for endpoints of tunnels that came in since the last call. They are in the books of the port that they came
    /// in by; what becomes of what is in them is to be entered into others.
    #[inline]
    pub fn tunnelled(&mut self) -> impl Iterator<Item = Tunnelled> + '_ {
        self.memory.tunnelled.drain(..)
    }

    /// Puts a frame into a tunnel whose packets travel over a bridge, and sends it there.
    ///
    /// # Errors
    /// [`Untunnelled`], with the frame: it was not sent.
    pub fn tunnel(
        &mut self,
        now: Nanos,
        (vtep, native, frame): (&Vtep, Native, PktBuf),
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) -> Result<(), Untunnelled> {
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, PortIndex(0), snapshot, pool, outboxes, ledger);
        self.memory.tunnel(&mut desk, (vtep, native), frame)
    }

    /// Sends a frame that a service of a gateway made to a port, in a VLAN.
    pub fn convey(
        &mut self,
        now: Nanos,
        (to, vid, frame): (PortIndex, Vid, PktBuf),
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        Desk::new(now, to, &self.snapshot, pool, outboxes, ledger).convey(to, vid, frame);
    }

    /// Sends a frame that a service of a gateway made to a station of the gateway's bridge.
    pub fn emit(
        &mut self,
        now: Nanos,
        (bridge, frame): (BridgeIndex, PktBuf),
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, PortIndex(0), snapshot, pool, outboxes, ledger);
        self.memory.emit(&mut desk, bridge, frame);
    }

    /// Sees to it that a neighbour is asked for, or asked after, unless it was heard of lately, before it is stale.
    pub fn seek(&mut self, now: Nanos, next: NextHop) {
        let Memory { resolver, tables, .. } = &mut self.memory;
        resolver.seek(&tables.neighbors, next, now);
    }

    /// The next hops that packets wait for, one by one.
    pub fn awaited(&self) -> impl Iterator<Item = (BridgeIndex, IpAddr)> + '_ {
        self.memory.hold.awaited()
    }

    /// Drops what came in by a port and waits, before the port's books are closed.
    pub fn forget(
        &mut self,
        port: PortIndex,
        now: Nanos,
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        let snapshot = &*self.snapshot;
        let mut desk = Desk::new(now, port, snapshot, pool, outboxes, ledger);
        self.memory.forget(&mut desk, port);
    }

    /// The next offer that was made and not taken from here.
    #[inline]
    pub fn next_offer(&mut self) -> Option<Offer> {
        self.memory.offers.next()
    }

    /// Whether something has changed since the last call, by itself, on which what is offered depends: where a station is, who
    /// is behind an address, or that a session lives.
    #[inline]
    pub fn take_move(&mut self) -> bool {
        let Memory { offers, tables, .. } = &mut self.memory;
        offers.note_losses(tables.neighbors.losses());
        offers.take_move()
    }

    /// Whether nothing waits for time to pass.
    pub fn is_idle(&self) -> bool {
        self.memory.is_idle()
    }
}

impl<W: Witness> Memory<W> {
    /// Decides about every frame of a burst, and about those that waited for one of them.
    fn run(&mut self, desk: &mut Desk, flows: &mut Flows, burst: &mut Burst) {
        self.go_over(desk, flows, burst);
        desk.close();
        self.resume(desk, flows);
    }

    /// Decides about every frame of a burst.
    fn go_over(&mut self, desk: &mut Desk, flows: &mut Flows, burst: &mut Burst) {
        let Some(from) = Ingress::of(desk.snapshot, desk.ingress) else {
            burst.drain(..).for_each(|frame| desk.refuse(frame, DropReason::PortUnknown));
            return;
        };
        let mut steps = std::mem::take(&mut self.steps);
        let mut sights = std::mem::take(&mut self.sights);
        sights.resize(sights.len().max(burst.len()), Sight::NONE);
        self.look(desk, flows, &from, burst, &mut steps, &mut sights);
        if from.has_moved.get() {
            self.offers.note_move();
        }
        let mut frames = burst.drain(..);
        for (step, sight) in steps.iter().zip(&sights) {
            let Some(mut frame) = frames.next() else { break };
            match *step {
                Step::Forward(to, vid) => {
                    self.witness.note(|| desk.link(from.port.bridge, &frame, vid));
                    let offer = (from.port.takes_shortcuts)
                        .then(|| Offer::of(desk.snapshot, &frame, (from.index, to), vid));
                    let result = desk.forward(Sender::Port(&from), frame, to, vid);
                    if let (Some(Some(offer)), Ok(())) = (offer, &result) {
                        self.offers.make(offer, desk.now);
                    }
                    self.settle(desk, &from, vid, result);
                }
                Step::Flood(vid) => {
                    self.witness.note(|| desk.link(from.port.bridge, &frame, vid));
                    let result = desk.flood(Sender::Port(&from), from.bridge, frame, vid);
                    desk.settle(result);
                }
                Step::Inspect { .. } => match self.recall(desk, flows, &from, &mut frame, sight) {
                    Known::Leaves(to) => {
                        desk.count_sent(Sender::Router);
                        desk.offer(Sender::Router, to, frame);
                    }
                    Known::Nothing => self.inspect(desk, flows, &from, frame, sight),
                    Known::Longer(case, by) => self.apply(desk, &case, frame, by),
                    Known::Misfit(case, by) => self.misfit(desk, &case, frame, by),
                    Known::Refused(reason) => desk.refuse(frame, reason),
                },
                Step::Drop(reason) => desk.refuse(frame, reason),
            }
        }
        steps.clear();
        self.steps = steps;
        self.sights = sights;
    }

    /// Looks at every frame of a burst.
    fn look(
        &self,
        desk: &Desk,
        flows: &Flows,
        from: &Ingress,
        burst: &mut Burst,
        steps: &mut Vec<Step>,
        sights: &mut [Sight],
    ) {
        if from.bridge.fdb.is_large() {
            burst.iter().for_each(|frame| from.warm(frame));
        }
        let mut heard = 0;
        steps.extend(burst.iter().map(|frame| from.look(frame, desk.seconds, &mut heard)));
        if let Some(meter) = &from.port.meter {
            police::<W>(meter, desk.now, burst, steps);
        }
        if steps.iter().any(|step| matches!(step, Step::Inspect { .. })) {
            self.look_into(desk, flows, from, burst, steps, sights);
        }
    }

    /// Looks into the frames that are to be looked into, and asks for all the memory that deciding about them will
    /// need.
    fn look_into(
        &self,
        desk: &Desk,
        flows: &Flows,
        from: &Ingress,
        burst: &mut Burst,
        steps: &[Step],
        sights: &mut [Sight],
    ) {
        let fields = desk.snapshot.key_fields();
        for ((frame, step), sight) in burst.iter_mut().zip(steps).zip(&mut *sights) {
            match step {
                Step::Inspect { vid, is_gateways } => {
                    from.look_into(frame, (*vid, *is_gateways), flows, fields, sight);
                }
                _ => sight.flow = None,
            }
        }
        let sights = &mut sights[..steps.len()];
        for flow in sights.iter_mut().filter_map(|sight| sight.flow.as_mut()) {
            flows.approach(flow);
        }
        if !flows.is_large() {
            return;
        }
        for flow in sights.iter().filter_map(|sight| sight.flow.as_ref()) {
            if let Some((session, from)) = flows.guess(flow).and_then(|known| known.session) {
                self.tables.sessions.warm(session, from);
            }
        }
    }
}

/// Lets go on what a port may send. What goes nowhere anyway costs it nothing.
#[cold]
fn police<W: Witness>(meter: &Meter, now: Nanos, burst: &Burst, steps: &mut [Step]) {
    for (frame, step) in burst.iter().zip(steps) {
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let conforms = || match W::IS_DRY {
            true => meter.has(Source::EVERYBODY, 1, bytes, now),
            false => meter.take(Source::EVERYBODY, 1, bytes, now),
        };
        if !matches!(step, Step::Drop(_)) && !conforms() {
            *step = Step::Drop(DropReason::Policed);
        }
    }
}

#[cfg(test)]
mod tests;
