//! [`Sessions`]: who talks to whom, seen by all workers. Connection tracking, and what NAT changed.
//!
//! A session is recognised by two keys (zone and five-tuple): that of the packets which began it,
//! and that of their replies, as they come in. Without NAT the second is the first reversed; with
//! NAT, between the two lies the translation. A packet of either finds the session and learns its
//! [`Direction`].
//!
//! # Structure
//! *Records*, two cache lines each, and an *index* of words in buckets of one cache line, in which
//! each session has an entry per direction. A key has two buckets, and is mostly in the first.
//! Nothing moves once it is entered, and there are no tombstones. The index is about half full when
//! all records are in use, so that a full pair of buckets is a curiosity, and the insertion fails
//! then.
//!
//! ```text
//!   record, line 0, the original direction        line 1, the reply direction
//!     version 32 | state 4 | flags 4 | seen 24      port 16 | port 16 | created 32
//!     IPv6 1 | window 7 | protocol 8 | zone 16 | source port 16 | destination port 16
//!     source address 128
//!     destination address 128
//!     tag 6 | end is known 1 | end of the TCP sequence 32 | packets 36 | bytes 47 | tag 6
//!   index
//!     eight words to a bucket: fingerprint 32 | slot 30 | direction 1 | 1              0 = empty
//!   order words
//!     version of the session entered last 32 | slot 30 | direction 1 | 1
//! ```
//!
//! A packet that needs no state of the other direction (all but TCP) touches one line of the index,
//! and one or two of the record. Untouched memory is never resident; freed records are used again
//! first.
//!
//! # Life
//! A record lives through incarnations, each with its version. A session is inserted by
//! [`Sessions::insert`], and ends by [`Sessions::end`], [`Sessions::flush`], [`Sessions::expire`],
//! or because the table is full and somebody needs the record: then one that was never answered, or
//! never completed its handshake, makes room, or else one that is over. Established ones never do.
//! Whoever ends a session gets it, so that what depends on it (a NAT mapping) can be released. A
//! [`SessionRef`] of an ended session is recognised by its version.
//!
//! # Threads and memory order
//! All methods are for any thread. Lookups are wait-free: they read at most two buckets. Everything
//! else is lock-free: whoever has to try again does so because another made progress.
//!
//! * **Reading.** As in the [forwarding database](crate::fdb), keys only change while the record is
//!   vacant, all stores to it are releases and all loads acquire. A reader loads the control word,
//!   the key and the control word again. If a part of the key had been stored after the incarnation
//!   of the first load, the second would come after the exchange that vacated the record, and would
//!   show another version or no session. If it does, the session ended meanwhile, and the reader
//!   goes on as if it had come after that. (That is one rule for all words of a record. Each needs
//!   it in some place; in others, as the second look at the control word, less would do.)
//! * **Writing.** The control word changes by compare-exchange only, and holds the version: nobody
//!   changes the state of another session than the one he looked at. Counts are plain loads and
//!   stores, because the packets of one direction mostly come by one worker, and an atomic
//!   increment costs as much as the rest of a packet's tracking; when two do count at once, some
//!   counts are lost, and the end of the TCP sequence is right again with the next segment. A count
//!   that is stored after its session ended carries the tag of that session (the lower bits of its
//!   version), and counts as none in the next. The largest window of a TCP sender, which rarely
//!   grows, is exchanged together with the zone, protocol and ports that share its word, and only if
//!   the session still lives after that word was loaded: so it reaches the next session in the
//!   record only if that has the same ports and window. The port by which a direction comes in is
//!   exchanged likewise, together with the time of creation.
//! * **Entering.** Two workers may insert the same session at once. Each key has an *order word*,
//!   shared by many, which names the session that was entered last among them. To enter a key, a
//!   worker puts its word into a vacancy of the index, where nobody heeds it yet; reads the order
//!   word; *finishes* the session that it names, i.e. sets the flag in its control word that makes
//!   it findable; looks for the key; and, if it is not there, exchanges the order word for its own
//!   session's name, and finishes that. Whoever wins the exchange knows that no key with this order
//!   word was entered since it read it, and that all entered before are finished: each was named,
//!   and its successor finished it first. So its look for the key missed nothing, and the key is
//!   entered once. Who loses looks again, and finds the winner's. An order word never takes the
//!   same value twice, because it contains a version (short of 2^32 incarnations in between).
//! * **The index orders nothing.** Its words are relaxed: whatever entry a reader finds, it asks the
//!   record. A word need only be seen by those who know of the session by another word. Who inserts
//!   sees the words of all keys that were entered before, since each was placed before the exchange
//!   of the order word, which releases; he acquires that. Who ends a session has acquired its
//!   control word, in which each flag was set, with release, after that entry was placed or the
//!   order word acquired. Who is given the record by the free list sees the words of its last
//!   session gone. So neither overlooks a word that is to be taken out, nor takes one for his own.
//! * **Exchanges** of the control word and of the order word only release: they replace what was
//!   loaded with acquire. That of a window is relaxed, as those of the forwarding database: whoever
//!   sees its outcome sees what the store released that began the session.
//! * **Both keys.** The lesser key is entered first, whichever direction it has. So of two workers
//!   that insert the same session, or its two ends' (who called each other at once), one fails at
//!   its first key and withdraws. If the second key is another session's, the first is withdrawn,
//!   and the insertion fails as a [clash](InsertError::Clash).
//! * **Leaving.** Whoever replaces a living control word by the vacated one has ended the session.
//!   If both keys were entered, it takes them out of the index and frees the record; if not,
//!   whoever inserts it does so, when it is through. As flags and state are one word, both know
//!   who.
//! * **Lending.** Of TCP connections that somebody else carries, the end of the sequence and the window are elsewhere; see
//!   `lending.rs`.
//! * Counters are relaxed: they order nothing.
//!
//! The order of insertions after the "helping" of M. Herlihy, "Wait-Free Synchronization", 1991;
//! the two-choice buckets are those of the forwarding database.

mod bits;
mod control;
mod ending;
mod foresight;
mod free;
mod index;
mod inserting;
mod key;
mod lending;
mod record;
mod table;
mod tcp;
mod timeouts;
mod traffic;

#[cfg(loom)]
#[cfg(test)]
mod loom_lending;
#[cfg(loom)]
#[cfg(test)]
mod loom_tests;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;

use pktio::wire::{Layers, field};

use crate::PortIndex;

pub use inserting::{InsertError, Inserted, NewSession};
pub use key::Key;
pub use lending::Trails;
pub use table::{DEFAULT_CAPACITY, Found, Sessions, Verdict};
pub use tcp::{Invalid, Segment, TcpPolicy, TcpState};
pub use timeouts::{MAX_TIMEOUT_SECONDS, Timeouts};

/// A direction of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// That of the packet that began it.
    Original,
    /// That of the answers.
    Reply,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Original, Self::Reply];

    /// The other one.
    #[must_use]
    #[inline]
    pub fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    #[inline]
    fn index(self) -> usize {
        usize::from(self == Self::Reply)
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The protocol has no states that could be seen from here.
    Open,
    /// A TCP connection.
    Tcp(TcpState),
}

impl State {
    /// The states by number; number 0 is no state.
    const NUMBERED: [Self; 13] = [
        Self::Open,
        Self::Tcp(TcpState::SynSent),
        Self::Tcp(TcpState::SimultaneousOpen),
        Self::Tcp(TcpState::SynReceived),
        Self::Tcp(TcpState::Established),
        Self::Tcp(TcpState::FinWait(Direction::Original)),
        Self::Tcp(TcpState::FinWait(Direction::Reply)),
        Self::Tcp(TcpState::CloseWait(Direction::Original)),
        Self::Tcp(TcpState::CloseWait(Direction::Reply)),
        Self::Tcp(TcpState::LastAck(Direction::Original)),
        Self::Tcp(TcpState::LastAck(Direction::Reply)),
        Self::Tcp(TcpState::TimeWait),
        Self::Tcp(TcpState::Closed),
    ];

    fn from_number(number: u64) -> Option<Self> {
        Self::NUMBERED.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    fn number(self) -> u64 {
        use Direction::{Original, Reply};
        let Self::Tcp(state) = self else { return 1 };
        match state {
            TcpState::SynSent => 2,
            TcpState::SimultaneousOpen => 3,
            TcpState::SynReceived => 4,
            TcpState::Established => 5,
            TcpState::FinWait(Original) => 6,
            TcpState::FinWait(Reply) => 7,
            TcpState::CloseWait(Original) => 8,
            TcpState::CloseWait(Reply) => 9,
            TcpState::LastAck(Original) => 10,
            TcpState::LastAck(Reply) => 11,
            TcpState::TimeWait => 12,
            TcpState::Closed => 13,
        }
    }
}

/// Which session: valid until it ends, and recognised as stale after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRef {
    slot: u32,
    version: u32,
}

impl SessionRef {
    /// That of a session which is not in the table.
    pub(crate) const IMAGINED: Self = Self { slot: u32::MAX, version: 0 };

    /// Where the session is in the table: sessions are listed in this order.
    pub fn position(self) -> u32 {
        self.slot
    }

    /// Which one it is of the sessions that were there.
    pub fn version(self) -> u32 {
        self.version
    }
}

/// What matters of a packet to the session that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Length of its frame.
    pub bytes: u32,
    /// Its TCP header, if it has one.
    pub segment: Option<Segment>,
    /// It is an ICMP query whose identifier is its type: its tuple is that of an answer to such a query as well, and
    /// only this tells them apart.
    pub is_equivocal: bool,
}

impl Packet {
    /// That of a frame.
    #[inline]
    pub fn of(frame: &[u8], layers: &Layers) -> Self {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let is_icmp = matches!(layers.protocol, field::protocol::ICMP | field::protocol::ICMPV6);
        let is_equivocal = is_icmp && crate::tuple::is_equivocal(frame, layers);
        Self { bytes, segment: Segment::of(frame, layers), is_equivocal }
    }

    /// That of a frame of so many bytes whose transport header is of no matter: neither TCP nor ICMP.
    #[inline]
    pub(crate) fn plain(bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { bytes, segment: None, is_equivocal: false }
    }

    /// Whether it asks where an answer is due.
    #[inline]
    fn is_query_for_answer(&self, from: Direction) -> bool {
        self.is_equivocal && from == Direction::Reply
    }

    /// Whether it can begin a session.
    pub fn can_begin(&self, policy: TcpPolicy) -> bool {
        self.segment.is_none_or(|segment| tcp::Connection::begun_by(&segment, policy).is_ok())
    }

    /// Whether it ends a connection: a TCP segment with RST.
    pub fn is_reset(&self) -> bool {
        self.segment.is_some_and(|segment| segment.flags & field::tcp::RST != 0)
    }

    /// Whether it asks for a connection: a TCP segment with SYN and without ACK.
    pub fn is_opening(&self) -> bool {
        let flags = field::tcp::SYN | field::tcp::ACK_FLAG;
        self.segment.is_some_and(|segment| segment.flags & flags == field::tcp::SYN)
    }

    /// Whether what it belongs to began before it: a TCP segment, and no SYN.
    pub fn is_midway(&self) -> bool {
        self.segment.is_some_and(|segment| segment.flags & field::tcp::SYN == 0)
    }
}

/// What passed in one direction. A super-frame counts as one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Packets, modulo 2^36.
    pub packets: u64,
    /// Bytes of their frames, modulo 2^47.
    pub bytes: u64,
}

/// A session, as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// By which it can be tracked and ended.
    pub reference: SessionRef,
    /// What the packets that began it are recognised by.
    pub initiator: Key,
    /// What their replies are recognised by. Its zone is the one that the session goes out to.
    pub responder: Key,
    /// The ports by which the packets of each direction come in, lately: those of the answers when one has come, and none
    /// where no port is known.
    pub entrances: [Option<PortIndex>; 2],
    /// How far it has come.
    pub state: State,
    /// Whether an answer was seen.
    pub is_replied: bool,
    /// Whether it was established: answered, with TCP after the handshake. Others make room first.
    pub is_assured: bool,
    /// Seconds since it began.
    pub age_seconds: u32,
    /// Seconds since its last packet.
    pub idle_seconds: u32,
    /// What passed in the original direction.
    pub original: Volume,
    /// What passed in the reply direction.
    pub reply: Volume,
}

impl Session {
    /// The name of its state, as `conn list` shows it.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Open if self.is_replied => "REPLIED",
            State::Open => "UNREPLIED",
            State::Tcp(TcpState::SynSent) => "SYN_SENT",
            State::Tcp(TcpState::SimultaneousOpen) => "SYN_SENT2",
            State::Tcp(TcpState::SynReceived) => "SYN_RECV",
            State::Tcp(TcpState::Established) => "ESTABLISHED",
            State::Tcp(TcpState::FinWait(_)) => "FIN_WAIT",
            State::Tcp(TcpState::CloseWait(_)) => "CLOSE_WAIT",
            State::Tcp(TcpState::LastAck(_)) => "LAST_ACK",
            State::Tcp(TcpState::TimeWait) => "TIME_WAIT",
            State::Tcp(TcpState::Closed) => "CLOSED",
        }
    }
}

/// How a table is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Sessions that there are.
    pub used: u32,
    /// Sessions that there can be.
    pub capacity: u32,
    /// Sessions that were inserted.
    pub inserted: u64,
    /// Sessions that timed out.
    pub expired: u64,
    /// Sessions that made room for others.
    pub evicted: u64,
    /// Sessions that were ended or flushed.
    pub ended: u64,
    /// Sessions not inserted because the table was full of established ones.
    pub refused: u64,
    /// Sessions not inserted because their replies would have been another session's.
    pub clashed: u64,
    /// Sessions that another worker inserted at the same time.
    pub lost_races: u64,
}
