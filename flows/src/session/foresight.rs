//! What inserting and tracking would answer, with nothing written.

use super::record::Record;
use super::table::{Sessions, Verdict};
use super::tcp::{Connection, Refusal};
use super::{
    Direction, InsertError, Invalid, NewSession, Packet, Session, SessionRef, State, TcpPolicy,
    Volume,
};

impl Sessions {
    /// The session that [`Sessions::insert`] would enter now, its first packet not counted. That another one may have
    /// to make room for it is not foreseen.
    ///
    /// # Errors
    /// [`InsertError`], as that.
    pub(crate) fn foresee(
        &self,
        new: &NewSession,
        policy: TcpPolicy,
    ) -> Result<Session, InsertError> {
        let segment = new.packet.segment.as_ref();
        let connection =
            segment.map(|segment| Connection::begun_by(segment, policy)).transpose()?;
        let NewSession { initiator, responder, entrance, .. } = *new;
        let reference = SessionRef::IMAGINED;
        let other = self.lookup(&responder).map(|found| found.session);
        if let Some(other) = other.or((initiator == responder).then_some(reference)) {
            return Err(InsertError::Clash { responder: responder.tuple, other });
        }
        Ok(Session {
            reference,
            initiator,
            responder,
            entrances: [entrance, None],
            state: connection.map_or(State::Open, |connection| State::Tcp(connection.state)),
            is_replied: false,
            is_assured: false,
            age_seconds: 0,
            idle_seconds: 0,
            original: Volume::default(),
            reply: Volume::default(),
        })
    }

    /// What [`Sessions::track`] would say of a packet.
    pub(crate) fn judge(
        &self,
        session: SessionRef,
        from: Direction,
        packet: &Packet,
        policy: TcpPolicy,
    ) -> Verdict {
        let record = self.record(session.slot);
        let control = record.map(Record::control).filter(|control| control.is(session.version));
        let Some((record, control)) = record.zip(control) else { return Verdict::Ended };
        let (Some(segment), Some(State::Tcp(state))) = (&packet.segment, control.state()) else {
            let is_misplaced = packet.is_query_for_answer(from);
            return if is_misplaced { Verdict::Invalid(Invalid::Query) } else { Verdict::Valid };
        };
        match self.connection(session, record, control, state).after(from, segment, policy) {
            Ok(_) => Verdict::Valid,
            Err(Refusal::Invalid(reason)) => Verdict::Invalid(reason),
            Err(Refusal::Superseding) => Verdict::Superseding,
        }
    }
}
