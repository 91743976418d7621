//! [`Offer`]: what the pipeline has decided about plain unicast frames, for whoever can carry the next ones by it
//! without the pipeline.
//!
//! The pipeline offers; it is the control thread's to see whether the offer still holds, and to withdraw what it makes
//! of it before anything changes. Offers are bounded, and one that nobody took up is made again after a while.

use std::time::Duration;

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, MacAddr};

use crate::pipeline::vlan;
use crate::{Generation, Nanos, PortIndex, Snapshot, Vid};

/// Offers that are made at a time.
const AT_A_TIME: usize = 64;
/// After this time they are made again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Frames of one station for another, and where they go, as they came.
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
        is_as_it_came.then_some(Self { generation, ingress, egress, vid, tag, src, dst })
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
}

impl Offers {
    pub(crate) fn new() -> Self {
        let made = Vec::with_capacity(AT_A_TIME);
        Self { made, taken: 0, since: Nanos::default(), has_moved: false }
    }

    /// Makes an offer, unless it was made a moment ago.
    #[cold]
    pub(crate) fn make(&mut self, offer: Offer, now: Nanos) {
        if now.since(self.since) > AGAIN_AFTER && self.taken == self.made.len() {
            self.made.clear();
            self.taken = 0;
            self.since = now;
        }
        if self.made.len() < AT_A_TIME && !self.made.contains(&offer) {
            self.made.push(offer);
        }
    }

    /// Notes that a station is at another port now: what was offered of it holds no more.
    pub(crate) fn note_move(&mut self) {
        self.has_moved = true;
    }

    /// The next offer that was not taken from here.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Offer> {
        let offer = *self.made.get(self.taken)?;
        self.taken += 1;
        Some(offer)
    }

    /// Whether a station has moved since the last call.
    #[inline]
    pub(crate) fn take_move(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}

#[cfg(test)]
mod tests;
