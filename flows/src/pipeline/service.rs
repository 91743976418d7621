//! Services on the slow path: what is owed to who finds no backend, what backends say first, and what they answer to checks.

use pktio::wire::field::protocol;

use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::Case;
use crate::router::IcmpError;
use crate::service::{Backend, CHECK_PORTS, Fault, Service};
use crate::session::{Key, Packet, Session, State, TcpState};
use crate::{DropReason, Seconds, Tuple, Undelivered};

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
        Refusal::Tell(DropReason::Unresolved, _) => {
            backend.health.fail(Fault::Absent, service.endurance, now);
        }
        // It asks again when the way is known, and shall not take two turns.
        Refusal::Hold(_) => service.give_back_turn(),
        _ => {}
    }
}

impl Desk<'_> {
    /// Whether a packet that no session knows answers a check of a backend: it is for the gateway's own address, at a
    /// port that checks are made from, and does not begin anything.
    pub(super) fn answers_check(&self, case: &Case, key: &Key, packet: &Packet) -> bool {
        let (translation, Tuple { protocol, destination: to, .. }) =
            (self.snapshot.translation(), key.tuple);
        protocol == protocol::TCP
            && case.is_routed
            && CHECK_PORTS.contains(&to.port)
            && translation.services.are_checked_on(key.zone)
            && !packet.is_opening()
            && case.router().is_some_and(|it| it.gateway.is_own(to.ip))
            && translation.is_unclaimed(key)
    }
}

/// A backend's first word in a session that it was given: that it takes it, or that it `refuses`. The session is as it was
/// before.
pub(super) fn hear(
    (service, backend): (&Service, &Backend),
    session: &Session,
    refuses: bool,
    now: Seconds,
) {
    let has_begun = matches!(session.state, State::Open | State::Tcp(TcpState::SynSent));
    if !refuses {
        backend.health.succeed(now);
    } else if has_begun {
        backend.health.fail(Fault::Refused, service.endurance, now);
    }
}
