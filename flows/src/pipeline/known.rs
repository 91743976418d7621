//! [`Known`]: packets of flows that are known, which is nearly all of them.
//!
//! What was decided about the first packet of a flow is carried out where the frame lies in its burst, and says by which port
//! it leaves. Whatever takes more than that is told by name and done elsewhere, out of the way: so the instructions of this
//! one stay few and together.

use pktio::PktBuf;
use pktio::wire::Layers;

use super::bridge::Ingress;
use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::sight::Sight;
use super::transform::{Flows, Transform, Way};
use super::witness::Witness;
use crate::session::{Key, Verdict};
use crate::{DropReason, PortIndex};

/// What is to be done with a frame.
pub(super) enum Known<'a> {
    /// It leaves by this port, as it is now.
    Leaves(PortIndex),
    /// Nothing is known of its flow that holds: it is to be decided about.
    Nothing,
    /// This is to be carried out, the long way.
    Longer(Case<'a>, &'a Transform),
    /// It does not fit the session that this says.
    Misfit(Case<'a>, &'a Transform),
    /// It goes no further.
    Refused(DropReason),
}

impl<W: Witness> Memory<W> {
    /// Carries out what is known of the flow of a frame that was looked into. What is for an endpoint of a tunnel needs no
    /// question here: whether it is one follows from the flow's key and the configuration, so that nothing is known of its
    /// flow that holds.
    #[inline(always)]
    pub(super) fn recall<'a>(
        &mut self,
        desk: &mut Desk,
        flows: &'a mut Flows,
        from: &'a Ingress<'a>,
        frame: &mut PktBuf,
        sight: &'a Sight,
    ) -> Known<'a> {
        let (Some(flow), Ok(Some(layers))) = (&sight.flow, &sight.layers) else {
            return Known::Nothing;
        };
        if W::ASKS_WHY {
            return Known::Nothing;
        }
        let Some(by) = flows.find(flow) else { return Known::Nothing };
        let Sight { vid, is_routed, .. } = *sight;
        let case = Case { from, vid, layers, is_routed, part_of: None };
        if !self.holds(desk, &case, frame, by) {
            return Known::Nothing;
        }
        match self.track(desk, &case, frame, by) {
            Verdict::Valid => {}
            Verdict::Invalid(_) => return Known::Misfit(case, by),
            Verdict::Superseding | Verdict::Ended => return Known::Nothing,
        }
        let done = match layers.as_plain() {
            // Where everything is, the compiler knows.
            Some(plain) => self.carry_out(desk, &case, &plain, frame, by),
            None => self.carry_out_elsewhere(desk, &case, frame, by),
        };
        match done {
            Some(Ok(to)) => Known::Leaves(to),
            Some(Err(reason)) => Known::Refused(reason),
            None => Known::Longer(case, by),
        }
    }

    /// The same for all other packets, apart from those.
    #[inline(never)]
    fn carry_out_elsewhere(
        &mut self,
        desk: &mut Desk,
        case: &Case,
        frame: &mut PktBuf,
        by: &mut Transform,
    ) -> Option<Result<PortIndex, DropReason>> {
        self.carry_out(desk, case, case.layers, frame, by)
    }

    /// Makes a packet what it is when it leaves, and says by which port; or why it does not. `None`, and nothing is done, when
    /// there is more to it.
    #[inline(always)]
    fn carry_out(
        &mut self,
        desk: &mut Desk,
        case: &Case,
        layers: &Layers,
        frame: &mut PktBuf,
        by: &mut Transform,
    ) -> Option<Result<PortIndex, DropReason>> {
        let to = desk.exit(case, layers, frame, by)?;
        if let Some(rule) = by.rule {
            self.count(desk, rule, frame);
        }
        let may_offer = case.from.port.takes_shortcuts && self.offers.has_room(desk.now);
        let candidate = may_offer.then(|| desk.candidate(case, frame, by, to)).flatten();
        if let Way::Route(hop) = &by.way
            && let Err(reason) = self.renew(frame, case, layers, hop, by.change())
        {
            return Some(Err(reason));
        }
        if let Some(candidate) = candidate {
            self.offer(desk, case, frame, candidate);
        }
        Some(Ok(to))
    }

    /// Whether everything that a decision was made from is as it was.
    #[inline]
    fn holds(&mut self, desk: &Desk, case: &Case, frame: &PktBuf, transform: &Transform) -> bool {
        let hop_holds = match &transform.way {
            Way::Route(hop) => self.tables.neighbors.is_current(hop.neighbor, desk.now),
            Way::Bridge | Way::Port(_) => true,
            Way::Nowhere(_) => !self.has_session(case, frame),
        };
        hop_holds
            && transform.generation == desk.snapshot.generation()
            && !(transform.awaits_answer && self.is_answered(desk, transform))
    }

    /// Whether a session takes a packet in.
    #[inline(never)]
    fn has_session(&mut self, case: &Case, frame: &PktBuf) -> bool {
        let key = case.tuple(frame).map(|tuple| Key::new(case.bridge(), tuple));
        key.is_some_and(|key| self.witness.find(&self.tables, &key).is_some())
    }

    #[cold]
    fn is_answered(&self, desk: &Desk, transform: &Transform) -> bool {
        let session = transform.session.map(|(session, _)| session);
        let session = session.and_then(|at| self.tables.sessions.get(at, desk.now.seconds()));
        session.is_some_and(|session| session.is_replied)
    }
}
