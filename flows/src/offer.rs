//! [`Offer`]: what the pipeline has decided about plain unicast frames, and about the packets of a session that it routes, for
//! whoever can carry the next ones by it without the pipeline. A TCP connection that is offered is
//! [lent](crate::session::Sessions::lend): whoever carries its segments keeps its trails.
//!
//! The pipeline offers; it is the control thread's to see whether the offer still holds, and to withdraw what it makes
//! of it before anything changes. Offers are bounded, and one that nobody took up is made again after a while.

use std::time::Duration;

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, MacAddr};

use crate::pipeline::vlan;
use crate::router::NeighborVersion;
use crate::session::{Direction, SessionRef};
use crate::{BridgeIndex, Generation, Nanos, PortIndex, Snapshot, Tuple, Vid};

/// Offers that are made at a time.
const AT_A_TIME: usize = 256;
/// After this time they are made again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Frames of one station for another, and where they go, as they came or [routed](Routed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The configuration by which this was decided.
    pub generation: Generation,
    /// The port that they come in by.
    pub ingress: PortIndex,
    /// The port that they leave by.
    pub egress: PortIndex,
    /// Their VLAN in the bridge.
    pub vid: Vid,
    /// The VLAN that their tag names, on both sides; [`Vid::NONE`] for frames without a tag.
    pub tag: Vid,
    /// Their source.
    pub src: MacAddr,
    /// Their destination.
    pub dst: MacAddr,
    /// What becomes of them, if they are the packets of a session for the gateway.
    pub routed: Option<Routed>,
}

/// The packets of one direction of a session of UDP or TCP, and what the router makes of them besides taking a hop. Everything
/// that the plainest of them could need is decided; a fragment, options, one that is too long or has no hop left are not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    /// The session.
    pub session: SessionRef,
    /// Their direction in it.
    pub direction: Direction,
    /// Between whom they are as they come in.
    pub from: Tuple,
    /// Between whom they are when they leave.
    pub to: Tuple,
    /// The bridge to which they go.
    pub bridge: BridgeIndex,
    /// The station of its gateway.
    pub src: MacAddr,
    /// The station that they go to.
    pub dst: MacAddr,
    /// The neighbour entry that says so.
    pub neighbor: NeighborVersion,
}

impl Offer {
    /// What can be offered of a frame that is about to be forwarded, if anything.
    #[inline]
    pub(crate) fn of(
        snapshot: &Snapshot,
        frame: &PktBuf,
        (ingress, egress): (PortIndex, PortIndex),
        vid: Vid,
    ) -> Option<Self> {
        let to = snapshot.port(egress).filter(|to| to.takes_shortcuts && ingress != egress)?;
        let header = EthernetHeader::read(frame.data())?;
        let tag = match header.vlan(frame.data()) {
            None => Vid::NONE,
            Some(tag) => Some(Vid(tag?.vid())).filter(|tag| *tag != Vid::NONE)?,
        };
        let EthernetHeader { src, dst, .. } = header;
        let generation = snapshot.generation();
        let is_as_it_came = vlan::leaves_with(&to.vlan, vid).is_none_or(|leaves| leaves == tag);
        let routed = None;
        is_as_it_came.then_some(Self { generation, ingress, egress, vid, tag, src, dst, routed })
    }
}

/// The offers of one worker.
#[derive(Debug)]
pub(crate) struct Offers {
    /// Made since `since`.
    made: Vec<Offer>,
    /// How many of these were taken from here.
    taken: usize,
    since: Nanos,
    has_moved: bool,
    /// Neighbours that were lost until it was looked last.
    losses: u64,
}

impl Offers {
    pub(crate) fn new() -> Self {
        let made = Vec::with_capacity(AT_A_TIME);
        Self { made, taken: 0, since: Nanos::default(), has_moved: false, losses: 0 }
    }

    /// Whether one more can be made.
    #[inline]
    pub(crate) fn has_room(&self, now: Nanos) -> bool {
        self.made.len() < AT_A_TIME || self.are_old(now)
    }

    /// Whether what was made may be made again.
    #[inline]
    fn are_old(&self, now: Nanos) -> bool {
        now.since(self.since) > AGAIN_AFTER && self.taken == self.made.len()
    }

    /// Makes an offer, unless it was made a moment ago.
    #[cold]
    pub(crate) fn make(&mut self, offer: Offer, now: Nanos) {
        if self.are_old(now) {
            self.made.clear();
            self.taken = 0;
            self.since = now;
        }
        if self.made.len() < AT_A_TIME && !self.made.contains(&offer) {
            self.made.push(offer);
        }
    }

    /// Notes that a station is at another port now, or a session gave way to another: what was offered of it holds no
    /// more.
    pub(crate) fn note_move(&mut self) {
        self.has_moved = true;
    }

    /// Notes how many neighbours were lost ever: with one more, what was offered may hold no more.
    #[inline]
    pub(crate) fn note_losses(&mut self, losses: u64) {
        self.has_moved |= self.losses != losses;
        self.losses = losses;
    }

    /// The next offer that was not taken from here.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Offer> {
        let offer = *self.made.get(self.taken)?;
        self.taken += 1;
        Some(offer)
    }

    /// Whether something has moved since the last call.
    #[inline]
    pub(crate) fn take_move(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}

#[cfg(test)]
mod tests;
