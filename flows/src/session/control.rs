//! The control word of a record: which incarnation it is, and how it is doing.

use super::tcp::Connection;
use super::traffic::Tag;
use super::{Direction, State, TcpState};
use crate::Seconds;

const VERSION_SHIFT: u32 = 32;
const STATE_SHIFT: u32 = 28;
const STATE: u64 = 0xf << STATE_SHIFT;
const ENTERED: [u64; 2] = [1 << 24, 1 << 25];
const REPLIED: u64 = 1 << 26;
const ASSURED: u64 = 1 << 27;
const SEEN: u64 = 0x00ff_ffff;

/// `version 32 | state 4 | flags 4 | last seen, seconds 24`; state 0 is that of a record without
/// session.
///
/// The version is that of the session that is there, or was there last. The time is kept modulo its
/// range of 194 days, of which half can be told from the other half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control(pub(super) u64);

impl Control {
    /// The first word of the session that follows `self`'s in its record: entered nowhere yet.
    pub(super) fn successor(self, state: State, now: Seconds) -> Self {
        let version = self.version().wrapping_add(1);
        Self(u64::from(version) << VERSION_SHIFT | u64::from(now.0) & SEEN).with_state(state)
    }

    #[inline]
    pub(super) fn version(self) -> u32 {
        super::bits::high32(self.0)
    }

    /// What marks the traffic counts of this session as its own.
    #[inline]
    pub(super) fn tag(self) -> Tag {
        Tag::of(self.version())
    }

    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.0 & STATE != 0
    }

    /// Whether this is a living session of that version.
    #[inline]
    pub(super) fn is(self, version: u32) -> bool {
        self.version() == version && self.is_live()
    }

    /// The state; `None` without session.
    #[inline]
    pub(super) fn state(self) -> Option<State> {
        State::from_number((self.0 & STATE) >> STATE_SHIFT)
    }

    /// Whether packets of that direction find the session.
    #[inline]
    pub(super) fn is_findable(self, direction: Direction) -> bool {
        self.is_live() && self.0 & ENTERED[direction.index()] != 0
    }

    /// Whether the session is, or was when it ended, entered in the index for both directions: its
    /// insertion is over.
    #[inline]
    pub(super) fn is_complete(self) -> bool {
        let both = ENTERED[0] | ENTERED[1];
        self.0 & both == both
    }

    #[inline]
    pub(super) fn is_replied(self) -> bool {
        self.0 & REPLIED != 0
    }

    #[inline]
    pub(super) fn is_assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    /// Whether it is a TCP connection that both ends closed, or one gave up.
    pub(super) fn is_over(self) -> bool {
        use TcpState::{Closed, LastAck, TimeWait};
        matches!(self.state(), Some(State::Tcp(LastAck(_) | TimeWait | Closed)))
    }

    /// Seconds since a packet was seen; 0 when that was later than `now` by another worker's clock.
    #[inline]
    pub(super) fn idle(self, now: Seconds) -> u32 {
        let ahead = u64::from(now.0).wrapping_sub(self.0) & SEEN;
        if ahead <= SEEN / 2 { super::bits::low32(ahead) } else { 0 }
    }

    #[inline]
    pub(super) fn seen_at(self, now: Seconds) -> Self {
        if self.idle(now) == 0 { self } else { Self(self.0 & !SEEN | u64::from(now.0) & SEEN) }
    }

    pub(super) fn entered(self, direction: Direction) -> Self {
        Self(self.0 | ENTERED[direction.index()])
    }

    /// After a packet of that direction.
    #[inline]
    pub(super) fn heard(self, from: Direction, now: Seconds) -> Self {
        match from {
            Direction::Original => self.seen_at(now),
            Direction::Reply => self.seen_at(now).replied(),
        }
    }

    /// After the connection came there; one that begins anew was not answered yet.
    pub(super) fn with_connection(self, connection: &Connection) -> Self {
        let kept = if connection.is_assured { self.assured() } else { self.unassured() };
        let is_new = connection.state == TcpState::SynSent;
        let kept = if is_new { kept.unreplied() } else { kept };
        kept.with_state(State::Tcp(connection.state))
    }

    #[inline]
    fn replied(self) -> Self {
        Self(self.0 | REPLIED)
    }

    #[inline]
    pub(super) fn assured(self) -> Self {
        Self(self.0 | ASSURED)
    }

    #[inline]
    fn unassured(self) -> Self {
        Self(self.0 & !ASSURED)
    }

    #[inline]
    fn unreplied(self) -> Self {
        Self(self.0 & !REPLIED)
    }

    #[inline]
    pub(super) fn with_state(self, state: State) -> Self {
        Self(self.0 & !STATE | state.number() << STATE_SHIFT)
    }

    /// What a record holds whose session ended. It still says whether its insertion was over.
    pub(super) fn vacated(self) -> Self {
        Self(self.0 & !STATE)
    }
}
