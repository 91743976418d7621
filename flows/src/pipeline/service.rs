//! Services on the slow path: what is owed to who finds no backend, and what backends say first.

use pktio::wire::field::protocol;

use super::desk::Desk;
use super::evaluate::Refusal;
use crate::router::IcmpError;
use crate::service::{Backend, Service};
use crate::session::{Session, State, TcpState};
use crate::{DropReason, Seconds, Undelivered};

/// What becomes of a packet that is for a service, and for none of its backends: its sender is told as if nobody
/// listened (as by kube-proxy).
pub(super) fn refusal(why: Undelivered<'_>, protocol: u8) -> Refusal {
    let reason = match why {
        Undelivered::NoBackend(_) => DropReason::NoBackend,
        Undelivered::Closed => DropReason::Unserved,
    };
    match protocol {
        protocol::TCP => Refusal::Reset(reason),
        _ => Refusal::Tell(reason, IcmpError::PortUnreachable),
    }
}

/// A session does not go to its backend, or not yet, because of the way there.
pub(super) fn put_off((service, backend): (&Service, &Backend), why: &Refusal, now: Seconds) {
    match why {
        Refusal::Tell(DropReason::Unresolved, _) => backend.health.fail(service.endurance, now),
        // It asks again when the way is known, and shall not take two turns.
        Refusal::Hold(_) => service.give_back_turn(),
        _ => {}
    }
}

impl Desk<'_> {
    /// A backend's first word in a session that it was given, if it was: that it takes it, or that it `refuses`.
    pub(super) fn hear_backend(&self, session: &Session, refuses: bool) {
        let Some((service, backend)) = self.snapshot.translation().served_by(session) else {
            return;
        };
        let has_begun = matches!(session.state, State::Open | State::Tcp(TcpState::SynSent));
        if !refuses {
            backend.health.succeed();
        } else if has_begun {
            backend.health.fail(service.endurance, self.now.seconds());
        }
    }
}
