//! Looking after the backends of services.

use flows::session::{Session, State, TcpState};

use super::Switch;

/// Seconds in which a backend has to answer a connection's first packet. The client's kernel has asked three times by then
/// (RFC 6298 section 2.1), and asks again.
const ANSWER_SECONDS: u32 = 3;

impl Switch {
    /// Whether there are backends to look after.
    pub fn has_services(&self) -> bool {
        !self.snapshot.translation().services.is_empty()
    }

    /// Ends the connections that their backends did not answer in time, which counts against these. The client's next
    /// attempt is given to whose turn it is then. So does what is sent to a backend that is passed over and never answered.
    pub fn give_up_on_backends(&self) {
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        let translation = self.snapshot.translation();
        let is_over = |session: &Session| {
            if session.is_replied || session.age_seconds < ANSWER_SECONDS {
                return false;
            }
            let is_opening = matches!(session.state, State::Tcp(TcpState::SynSent));
            translation
                .served_by(session)
                .is_some_and(|(_, backend)| is_opening || !backend.health.is_up(now.seconds()))
        };
        tables.sessions.flush(now.seconds(), is_over, |ended| {
            if let (State::Tcp(_), Some((service, backend))) =
                (ended.state, translation.served_by(ended))
            {
                backend.health.fail(service.endurance, now.seconds());
            }
            translation.release(ended, now);
        });
    }
}
