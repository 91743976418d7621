//! Looking after the backends of services.

use std::net::SocketAddr;

use ctl::ServiceName;
use flows::router::{Lookup, NextHop, Station};
use flows::service::{Backend, Checked, Fault, Health};
use flows::session::{Session, State, TcpState};
use flows::{BridgeIndex, Endpoint, Nanos};

use super::Switch;

/// Seconds in which a backend has to answer a connection's first packet. The client's kernel has asked three times by then
/// (RFC 6298 section 2.1), and asks again.
const ANSWER_SECONDS: u32 = 3;
/// Records of sessions that are looked at in one turn.
const SESSIONS: u32 = 131_072;

impl Switch {
    /// Whether there are backends to look after.
    pub fn has_services(&self) -> bool {
        !self.snapshot.translation().services.is_empty()
    }

    /// A service, and its backend at an address.
    pub fn backend(&self, name: &ServiceName, at: SocketAddr) -> Option<(&ctl::Service, &Backend)> {
        let service = self.config.services.get(name)?;
        let listen = service.listen;
        let protocol = listen.protocol.number(listen.address.is_ipv4());
        let services = &self.snapshot.translation().services;
        let found = services.at(protocol, endpoint(listen.address))?;
        Some((service, found.backend(endpoint(at))?))
    }

    /// The gateway of a backend's bridge as the source of packets to it, and the way there.
    pub fn path_to(&self, backend: &Backend) -> Option<(Station, NextHop)> {
        let ip = backend.endpoint.ip;
        let router = self.snapshot.bridge(backend.bridge)?.router.as_deref()?;
        let next = router.routes.lookup(ip)?.next_hop(ip, 0)?;
        let station = router.gateway.station_for(ip)?;
        Some((station, next)).filter(|_| next.bridge == backend.bridge)
    }

    /// What is known of a neighbour.
    pub fn neighbor(&self, next: NextHop) -> Lookup {
        let now = self.fleet.clock().now();
        self.fleet.tables().neighbors.lookup(next.bridge, next.ip, now)
    }

    /// Whether a bridge is, by an interface that it shares, what the host is there.
    pub fn is_shared(&self, bridge: BridgeIndex) -> bool {
        let name = self.numbering.bridge_name(bridge);
        name.is_some_and(|name| self.config.shared_port(name).is_some())
    }

    /// Ends the connections that their backends did not answer in time, which counts against these: the client's next
    /// attempt is given to whose turn it is then. What is sent to a backend that is passed over, and was never answered,
    /// ends as well; and what goes without connections to one that checks found dead, whose clients would never learn.
    pub fn give_up_on_backends(&mut self) {
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        let end = self.swept.backends.saturating_add(SESSIONS);
        let mut next = 0;
        let mut has_ended = false;
        for session in tables.sessions.iter_from(self.swept.backends, now.seconds()) {
            if session.reference.position() >= end {
                next = end;
                break;
            }
            has_ended |= self.give_up(&session, now);
        }
        self.swept.backends = next;
        if has_ended {
            self.keep_shortcuts_that_hold();
        }
    }

    /// Whether it ended a session.
    fn give_up(&self, session: &Session, now: Nanos) -> bool {
        let translation = self.snapshot.translation();
        let may_move = session.state == State::Open && translation.services.are_checked();
        if session.age_seconds < ANSWER_SECONDS || (session.is_replied && !may_move) {
            return false;
        }
        let Some((service, backend)) = translation.served_by(session) else { return false };
        let is_opening = matches!(session.state, State::Tcp(TcpState::SynSent));
        let is_over = match session.is_replied {
            true => is_dead(&backend.health),
            false => is_opening || !backend.health.is_up(now.seconds()),
        };
        let sessions = &self.fleet.tables().sessions;
        let ended = is_over.then(|| sessions.end(session.reference, now.seconds())).flatten();
        let Some(ended) = ended else { return false };
        translation.release(&ended, now);
        if is_opening {
            backend.health.fail(Fault::Silent, service.endurance, now.seconds());
        }
        true
    }
}

/// Whether checks found that nobody is there, and not only that it does not do well.
fn is_dead(health: &Health) -> bool {
    let is_gone = matches!(health.fault(), Some(Fault::Refused | Fault::Silent | Fault::Absent));
    health.checked() == Checked::Failing && is_gone
}

fn endpoint(at: SocketAddr) -> Endpoint {
    Endpoint::new(at.ip(), at.port())
}
