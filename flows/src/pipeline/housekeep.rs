//! What a worker does beside packets: it asks for neighbours, and sees to the packets that wait for them.

use pktio::PktBuf;
use pktio::wire::EthernetHeader;

use super::bridge::Ingress;
use super::desk::Desk;
use super::inspect::Memory;
use super::sight::Sight;
use super::transform::Flows;
use super::witness::Witness;
use crate::router::{Held, Lookup, Solicitation};
use crate::{DropReason, DropSide, PortIndex, Vid};

/// Questions sent in one turn.
const QUESTIONS: usize = 16;

impl<W: Witness> Memory<W> {
    /// Whether there is anything to do.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.resolver.is_idle() && self.hold.is_empty() && self.fragments.held() == 0
    }

    /// Asks for neighbours that are wanted, and collects the packets that need not wait any longer: whose next
    /// hop is known or failed, to be decided about anew, and those that waited too long.
    pub(super) fn housekeep(&mut self, desk: &mut Desk) {
        let mut questions: [Option<Solicitation>; QUESTIONS] = [None; QUESTIONS];
        let mut free = questions.iter_mut();
        self.resolver.due(&self.tables.neighbors, desk.now, QUESTIONS, |question| {
            if let Some(place) = free.next() {
                *place = Some(question);
            }
        });
        questions.into_iter().flatten().for_each(|question| ask(desk, &question));
        let (neighbors, now) = (&self.tables.neighbors, desk.now);
        let is_settled =
            |bridge, ip| !matches!(neighbors.lookup(bridge, ip, now), Lookup::Resolving);
        let (hold, settled, ledger) = (&mut self.hold, &mut self.settled, &mut *desk.ledger);
        let mut settle = |Held { ingress, frame, .. }: Held| {
            ledger.port_mut(ingress).held -= 1;
            settled.push((ingress, frame));
        };
        hold.release(is_settled, &mut settle);
        hold.expire(now, &mut settle);
        for (ingress, frame) in self.fragments.expire(now) {
            desk.ledger.port_mut(ingress).held -= 1;
            let whose = (ingress, DropSide::Ingress, DropReason::FragmentTimeout);
            desk.ledger.drop_frame(desk.pool, frame, whose, now);
        }
    }

    /// Drops the packets that came in by a port that goes and still wait.
    pub(super) fn forget(&mut self, desk: &mut Desk, port: PortIndex) {
        self.hold.remove(port, |held| self.settled.push((held.ingress, held.frame)));
        self.settled.extend(self.fragments.remove(port));
        for (_, frame) in self.settled.drain(..) {
            desk.ledger.port_mut(port).held -= 1;
            desk.refuse(frame, DropReason::PortGone);
        }
    }

    /// Decides about packets that waited, as if they came in now.
    #[inline]
    pub(super) fn resume(&mut self, desk: &mut Desk, flows: &mut Flows) {
        // What waited can be what others wait for.
        while !self.settled.is_empty() {
            let mut settled = std::mem::take(&mut self.settled);
            for (ingress, frame) in settled.drain(..) {
                desk.begin(ingress);
                self.reconsider(desk, flows, frame);
            }
            desk.close();
            settled.append(&mut self.settled);
            self.settled = settled;
        }
    }

    /// Decides about a packet that waited.
    fn reconsider(&mut self, desk: &mut Desk, flows: &mut Flows, mut frame: PktBuf) {
        let Some(from) = Ingress::of(desk.snapshot, desk.ingress) else {
            return desk.refuse(frame, DropReason::PortUnknown);
        };
        let vid = from.vid_of(&frame).unwrap_or(Vid::NONE);
        let mut sight = Sight::NONE;
        let header = EthernetHeader::read(frame.data());
        let is_gateways = header.is_some_and(|header| from.is_gateways(header.dst, vid));
        let fields = desk.snapshot.key_fields();
        from.look_into(&mut frame, (vid, is_gateways), flows, fields, &mut sight);
        self.inspect(desk, flows, &from, frame, &sight);
    }
}

/// Sends a question by the gateway of its bridge.
fn ask(desk: &mut Desk, question: &Solicitation) {
    let snapshot = desk.snapshot;
    let Some(bridge) = snapshot.bridge(question.bridge) else { return };
    let Some(router) = bridge.router.as_deref() else { return };
    if let Some(frame) = router.gateway.solicit(question, desk.pool) {
        desk.originate(bridge, frame, bridge.vid());
    }
}
