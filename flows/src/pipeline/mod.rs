//! [`Pipeline`]: what becomes of a burst.
//!
//! ```text
//!   frame ──► look (source, VLAN, learn, look up) ──► forward or flood ──► outbox
//!                │                    │                      ^
//!             drop(reason)         inspect ──► flow cache ───┤ apply the transform
//!                                                 │ miss     │
//!                                              evaluate ─────┘
//! ```
//!
//! One straight line per frame, no callback and no queue between the stages. Plain bridging ([`bridge`])
//! needs no more than the first look; what is for the gateway, or comes in where rules apply, is looked into
//! ([`inspect`]).
//!
//! A burst is gone over twice: first every frame is looked at, so that the table accesses of several
//! frames overlap, then every frame is delivered.
//!
//! A pipeline belongs to one worker. What it shares with others is in [`Tables`] and the forwarding
//! databases.

mod bridge;
mod desk;
mod evaluate;
mod gateway;
mod housekeep;
mod inspect;
mod route;
mod ruling;
mod steps;
mod too_big;
mod transform;
pub(crate) mod vlan;

use std::sync::Arc;

use pktio::{Burst, Pool};

use crate::{DropReason, Ledger, Nanos, Outboxes, PortIndex, Snapshot, Tables};
use bridge::{Ingress, Sender, Step};
use desk::Desk;
use inspect::Memory;

/// Decides about frames by the configuration and the tables.
#[derive(Debug)]
pub struct Pipeline {
    snapshot: Arc<Snapshot>,
    /// What the first look at each frame of the burst at hand found out.
    steps: Vec<Step>,
    memory: Memory,
}

impl Pipeline {
    /// A pipeline that decides by `snapshot` and the tables that all workers share.
    pub fn new(snapshot: Arc<Snapshot>, tables: Arc<Tables>) -> Self {
        let steps = Vec::with_capacity(Burst::CAPACITY);
        Self { snapshot, steps, memory: Memory::new(tables) }
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
        let mut desk = Desk { now, ingress, snapshot, pool, outboxes, ledger, forwarded: 0 };
        let Some(from) = Ingress::of(snapshot, ingress) else {
            burst.drain(..).for_each(|frame| desk.refuse(frame, DropReason::PortUnknown));
            return;
        };
        self.steps.extend(burst.iter().map(|frame| from.look(frame, now.seconds())));
        for (frame, step) in burst.drain(..).zip(self.steps.drain(..)) {
            match step {
                Step::Forward(to, vid) => {
                    let result = desk.forward(Sender::Port(from), frame, to, vid);
                    self.memory.settle(&mut desk, from, vid, result);
                }
                Step::Flood(vid) => {
                    let result = desk.flood(Sender::Port(from), from.bridge, frame, vid);
                    desk.settle(result);
                }
                Step::Inspect(vid) => self.memory.inspect(&mut desk, from, frame, vid),
                Step::Drop(reason) => desk.refuse(frame, reason),
            }
        }
        desk.close();
        self.memory.resume(&mut desk);
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
        let ingress = PortIndex(0);
        let mut desk = Desk { now, ingress, snapshot, pool, outboxes, ledger, forwarded: 0 };
        self.memory.housekeep(&mut desk);
        self.memory.resume(&mut desk);
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
        let ingress = port;
        let mut desk = Desk { now, ingress, snapshot, pool, outboxes, ledger, forwarded: 0 };
        self.memory.forget(&mut desk, port);
    }

    /// Whether nothing waits for time to pass.
    pub fn is_idle(&self) -> bool {
        self.memory.is_idle()
    }
}

#[cfg(test)]
mod tests;
