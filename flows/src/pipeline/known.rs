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
use crate::session::Verdict;
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
        let case = || Case { from, vid, layers, is_routed, part_of: None };
        let holds = by.generation == desk.snapshot.generation()
            && !(by.awaits_answer && self.is_answered(desk, by))
            && (self.has_exit(desk, from, by) || self.find_exit(desk, &case(), frame, by));
        if !holds {
            return Known::Nothing;
        }
        match self.track(desk, case, frame, by) {
            Verdict::Valid => {}
            Verdict::Invalid(_) => return Known::Misfit(case(), by),
            Verdict::Superseding | Verdict::Ended => return Known::Nothing,
        }
        match layers.as_plain() {
            // Where everything is, the compiler knows.
            Some(plain) => self.carry_out(desk, case, &plain, frame, by),
            None => self.carry_out_elsewhere(desk, case(), frame, by),
        }
    }

    /// The same for all other packets, apart from those.
    #[inline(never)]
    fn carry_out_elsewhere<'a>(
        &mut self,
        desk: &mut Desk,
        case: Case<'a>,
        frame: &mut PktBuf,
        by: &'a Transform,
    ) -> Known<'a> {
        self.carry_out(desk, || case, case.layers, frame, by)
    }

    /// Makes a packet what it is when it leaves, and says by which port; or why it does not. Nothing is done when there is more
    /// to it.
    #[inline(always)]
    fn carry_out<'a>(
        &mut self,
        desk: &mut Desk,
        case: impl Fn() -> Case<'a>,
        layers: &Layers,
        frame: &mut PktBuf,
        by: &'a Transform,
    ) -> Known<'a> {
        let Some(exit) = by.exit.as_ref().filter(|exit| exit.takes(frame, layers, by)) else {
            return Known::Longer(case(), by);
        };
        let to = exit.port;
        if let Some(rule) = by.rule {
            self.count(desk, rule, frame);
        }
        let Way::Route(hop) = &by.way else { return Known::Leaves(to) };
        let may_offer = case().from.port.takes_shortcuts && self.offers.has_room(desk.now);
        let candidate = may_offer.then(|| desk.candidate(&case(), frame, by, to)).flatten();
        if let Err(reason) = self.renew(frame, &case, layers, hop, by.change()) {
            return Known::Refused(reason);
        }
        if let Some(candidate) = candidate {
            self.offer(desk, &case(), frame, candidate);
        }
        Known::Leaves(to)
    }

    #[cold]
    fn is_answered(&self, desk: &Desk, transform: &Transform) -> bool {
        let session = transform.session.map(|(session, _)| session);
        let session = session.and_then(|at| self.tables.sessions.get(at, desk.now.seconds()));
        session.is_some_and(|session| session.is_replied)
    }
}
