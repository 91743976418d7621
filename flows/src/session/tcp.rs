//! TCP as it is seen from the middle: states, and the numbers that a segment may carry.
//!
//! Pure functions. A connection has a state and two sides: what each end has sent, and how large a
//! window it has offered. A segment that fits advances the connection; one that does not is
//! [`Invalid`] and changes nothing.
//!
//! # States
//! As in netfilter's `nf_conntrack_proto_tcp.c`, with the difference that a state knows which end
//! closed first, so that a repeated FIN is not taken for the other end's. A RST does not end a
//! session at once: it stays for the transitory time (RFC 7857 section 2.2), and if the connection
//! turns out to go on, it is established again (RFC 6146 section 3.5.2.2).
//!
//! # Windows
//! After G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter", 2001, in eight bytes a
//! side: a segment must lie within a window of what its sender has sent, and its acknowledgment
//! within a window of what the other end has sent. The window is the largest that the receiver has
//! offered, rounded up to 64 KiB times a power of four. The ends themselves check to the byte; this
//! is to keep strangers out.

use pktio::wire::field::{be16, be32, tcp};
use pktio::wire::{Fragment, Layers};

use super::Direction;

/// The state of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// One SYN was seen.
    SynSent,
    /// Both ends sent a SYN (RFC 9293 section 3.5, simultaneous open).
    SimultaneousOpen,
    /// The SYN was answered.
    SynReceived,
    /// The handshake is complete, or was not seen.
    Established,
    /// This direction's sender closed.
    FinWait(Direction),
    /// This direction's sender closed, and that was acknowledged: the connection is half closed.
    CloseWait(Direction),
    /// Both ends closed, this direction's sender last; that is not acknowledged yet.
    LastAck(Direction),
    /// Both ends closed and know it.
    TimeWait,
    /// One end gave up.
    Closed,
}

/// Why a packet does not belong to its session's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    /// The flags contradict each other.
    #[error("its TCP flags contradict each other; the sender is broken or scans")]
    Flags,
    /// A segment of that kind cannot come in this state.
    #[error("its TCP flags do not fit the state of the connection")]
    State,
    /// It lies outside of the window.
    #[error("its TCP sequence number is outside of the window")]
    Sequence,
    /// It acknowledges what was never sent, or long ago.
    #[error("its TCP acknowledgment is outside of the window")]
    Acknowledgment,
    /// It does not begin a connection, and none is known.
    #[error("it belongs to a TCP connection whose beginning was not seen")]
    NotBegun,
    /// It asks where an answer is due.
    #[error(
        "it is an ICMP query of the other end by the identifier of one that waits for an answer"
    )]
    Query,
}

/// How strict TCP tracking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpPolicy {
    /// Segments outside of the windows are invalid. Asymmetric routing needs this off.
    pub check_windows: bool,
    /// A connection may be joined in its middle, e.g. one that is older than the switch.
    pub pick_up: bool,
}

impl Default for TcpPolicy {
    fn default() -> Self {
        Self { check_windows: true, pick_up: true }
    }
}

/// What matters of a TCP header, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number, if the flags say so.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: u8,
    /// Window, as it is in the header.
    pub window: u16,
    /// Bytes of data; those of a super-frame are one segment.
    pub length: u32,
    /// The window scale option of a SYN (RFC 7323).
    pub scale: Option<u8>,
}

impl Segment {
    /// The segment in a frame. `None` for other protocols and for later fragments.
    pub fn of(frame: &[u8], layers: &Layers) -> Option<Self> {
        use pktio::wire::field::protocol::TCP;
        if layers.protocol != TCP || layers.fragment == Fragment::Later {
            return None;
        }
        let header = frame.get(usize::from(layers.l4)..)?;
        let bytes = u32::from(header.get(tcp::DATA_OFFSET)? >> 4) * 4;
        let flags = *header.get(tcp::FLAGS)?;
        let options = || header.get(tcp::MIN_BYTES..usize::try_from(bytes).ok()?);
        Some(Self {
            sequence: be32(header, tcp::SEQUENCE)?,
            acknowledgment: be32(header, tcp::ACK)?,
            flags,
            window: be16(header, tcp::WINDOW)?,
            length: layers.end.saturating_sub(u32::from(layers.l4) + bytes),
            scale: if flags & tcp::SYN == 0 { None } else { options().and_then(window_scale) },
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number after this segment; SYN and FIN count as a byte each.
    fn end(&self) -> u32 {
        let flags = u32::from(self.has(tcp::SYN)) + u32::from(self.has(tcp::FIN));
        self.sequence.wrapping_add(self.length).wrapping_add(flags)
    }

    fn kind(&self) -> Result<Kind, Invalid> {
        const SYN_ACK: u8 = tcp::SYN | tcp::ACK_FLAG;
        const FIN_ACK: u8 = tcp::FIN | tcp::ACK_FLAG;
        const RST_ACK: u8 = tcp::RST | tcp::ACK_FLAG;
        match self.flags & (tcp::SYN | tcp::ACK_FLAG | tcp::FIN | tcp::RST) {
            tcp::SYN => Ok(Kind::Syn),
            SYN_ACK => Ok(Kind::SynAck),
            tcp::ACK_FLAG => Ok(Kind::Ack),
            FIN_ACK => Ok(Kind::Fin),
            tcp::RST | RST_ACK => Ok(Kind::Rst),
            _ => Err(Invalid::Flags),
        }
    }
}

/// The shift of a window scale option among a header's options (RFC 7323 section 2.2).
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [3, 3, shift, ..] => return Some(shift.min(MAX_SCALE)),
            [1, ref rest @ ..] => options = rest,
            [0, ..] | [] | [_] => return None,
            [_, bytes, ..] => options = options.get(usize::from(bytes.max(2))..)?,
        }
    }
}

/// What a segment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
}

/// The largest shift (RFC 7323 section 2.3).
const MAX_SCALE: u8 = 14;
/// The largest window class: 1 GiB.
const MAX_CLASS: u8 = 7;

/// What is known of one end's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Side {
    /// The sequence number after the last byte that it sent; `None` when nothing of it was seen.
    pub(super) end: Option<u32>,
    /// The shift of the windows that it offers.
    scale: u8,
    /// The largest of them: 64 KiB times four to the power of this.
    class: u8,
}

impl Side {
    /// An end of a connection whose beginning was not seen: it may have any window.
    const UNKNOWN: Self = Self { end: None, scale: MAX_SCALE, class: MAX_CLASS };

    /// Scale and window in seven bits.
    pub(super) fn pack(self) -> u8 {
        self.class << 4 | self.scale
    }

    pub(super) fn unpack(end: Option<u32>, packed: u8) -> Self {
        Self { end, scale: packed & 0xf, class: packed >> 4 & MAX_CLASS }
    }

    /// Whether a segment of that number may be on its way: one of the last that it sent, of a window that is not scaled
    /// (RFC 5927 section 4.1).
    pub(super) fn may_await(self, sequence: u32) -> bool {
        self.end.is_some_and(|end| (1..=0x1_0000).contains(&distance(end, sequence)))
    }

    fn window_bytes(self) -> i64 {
        0x1_0000 << (2 * self.class)
    }

    /// After a SYN of its own, whose window is not scaled.
    fn opened(segment: &Segment) -> Self {
        let scale = segment.scale.unwrap_or(0);
        Self { end: Some(segment.end()), scale, class: 0 }
    }

    /// After another segment of its own.
    fn sent(self, segment: &Segment) -> Self {
        let end = self.end.filter(|end| distance(*end, segment.end()) >= 0);
        let window_bytes = u32::from(segment.window) << self.scale;
        let mut class = self.class;
        while i64::from(window_bytes) > (Self { class, ..self }).window_bytes() {
            class += 1;
        }
        Self { end: Some(end.unwrap_or(segment.end())), class, ..self }
    }
}

/// How far `a` is ahead of `b` in the circle of sequence numbers.
pub(super) fn distance(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b).cast_signed())
}

/// A connection: state and sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) state: TcpState,
    /// It was established, with packets of both ends.
    pub(super) is_assured: bool,
    pub(super) sides: [Side; 2],
}

/// Why a segment does not advance a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid(Invalid),
    /// The connection is over and this begins another, from its other end.
    Superseding,
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Connection {
    /// The connection that a segment begins.
    pub(super) fn begun_by(segment: &Segment, policy: TcpPolicy) -> Result<Self, Invalid> {
        match segment.kind()? {
            Kind::Syn => Ok(Self {
                state: TcpState::SynSent,
                is_assured: false,
                sides: [Side::opened(segment), Side::default()],
            }),
            Kind::Ack if policy.pick_up => Ok(Self {
                state: TcpState::Established,
                is_assured: false,
                sides: [Side::UNKNOWN.sent(segment), Side::UNKNOWN],
            }),
            _ => Err(Invalid::NotBegun),
        }
    }

    /// Whether a segment resets a connection that was reset already, which does not keep it alive (RFC 7857
    /// section 7.1).
    #[inline]
    pub(super) fn is_reset_again(&self, segment: &Segment) -> bool {
        self.state == TcpState::Closed && segment.has(tcp::RST)
    }

    /// The connection after a segment of that direction.
    pub(super) fn after(
        self,
        from: Direction,
        segment: &Segment,
        policy: TcpPolicy,
    ) -> Result<Self, Refusal> {
        let kind = segment.kind()?;
        if (self.state, kind) == (TcpState::Established, Kind::Ack) {
            return Ok(self.after_data(from, segment, policy)?);
        }
        let is_over = matches!(self.state, TcpState::TimeWait | TcpState::Closed);
        if kind == Kind::Syn && is_over {
            return match from {
                Direction::Original => Ok(Self::begun_by(segment, policy)?),
                Direction::Reply => Err(Refusal::Superseding),
            };
        }
        if self.passes_by(from, kind) {
            return Ok(self);
        }
        match self.state {
            _ if !policy.check_windows => {}
            TcpState::SynSent => self.check_answer(from, segment, kind)?,
            _ => self.check(from, segment)?,
        }
        let [sender, receiver] = self.seen_from(from);
        let acknowledges_all = segment.has(tcp::ACK_FLAG)
            && receiver.end.is_some_and(|end| distance(segment.acknowledgment, end) >= 0);
        let state = self.next_state(from, kind, acknowledges_all).ok_or(Invalid::State)?;
        let mut next = Self { state, ..self };
        match kind {
            Kind::Syn | Kind::SynAck if self.state == TcpState::SynSent => next.open(from, segment),
            Kind::Ack | Kind::Fin => next.sides[from.index()] = sender.sent(segment),
            // A repeated SYN says nothing new, and the numbers of a RST are of no further use.
            Kind::Syn | Kind::SynAck | Kind::Rst => {}
        }
        let is_open = matches!(state, TcpState::Established | TcpState::FinWait(_));
        next.is_assured |= is_open && next.was_seen_from_both_ends();
        Ok(next)
    }

    /// The same for what nearly all segments are: data or an acknowledgment, in an open connection.
    #[inline]
    fn after_data(
        mut self,
        from: Direction,
        segment: &Segment,
        policy: TcpPolicy,
    ) -> Result<Self, Invalid> {
        if policy.check_windows {
            self.check(from, segment)?;
        }
        let side = &mut self.sides[from.index()];
        *side = side.sent(segment);
        self.is_assured |= self.was_seen_from_both_ends();
        Ok(self)
    }

    fn was_seen_from_both_ends(&self) -> bool {
        self.sides.iter().all(|side| side.end.is_some())
    }

    /// Sender's and receiver's side.
    fn seen_from(&self, from: Direction) -> [Side; 2] {
        [self.sides[from.index()], self.sides[from.reversed().index()]]
    }

    /// Whether the ends have to settle such a segment between themselves: a SYN in an open
    /// connection is answered by a challenge (RFC 5961 section 4), an old connection's
    /// acknowledgment of a new SYN by a RST (RFC 9293 section 3.5.1, half-open connections).
    fn passes_by(&self, from: Direction, kind: Kind) -> bool {
        use TcpState::{CloseWait, Established, FinWait, LastAck, SynReceived, SynSent, TimeWait};
        match (self.state, kind) {
            (SynSent, Kind::Ack) => from == Direction::Reply,
            (SynReceived, Kind::Syn) | (TimeWait, Kind::Rst) => true,
            (Established | FinWait(_) | CloseWait(_) | LastAck(_), Kind::Syn) => {
                from == Direction::Original
            }
            (Established | FinWait(_) | CloseWait(_) | LastAck(_), Kind::SynAck) => {
                from == Direction::Reply
            }
            _ => false,
        }
    }

    /// Checks a segment's numbers.
    #[inline]
    fn check(&self, from: Direction, segment: &Segment) -> Result<(), Invalid> {
        let [sender, receiver] = self.seen_from(from);
        if let Some(end) = sender.end {
            let window_bytes = receiver.window_bytes();
            let ahead = distance(segment.sequence, end);
            // Half the circle away is neither ahead nor behind.
            let fits = ahead <= window_bytes
                && ahead != i64::from(i32::MIN)
                && distance(end, segment.end()) <= window_bytes;
            fits.then_some(()).ok_or(Invalid::Sequence)?;
        }
        if let Some(end) = receiver.end.filter(|_| segment.has(tcp::ACK_FLAG)) {
            let fits = distance(segment.acknowledgment, end).abs() <= sender.window_bytes();
            fits.then_some(()).ok_or(Invalid::Acknowledgment)?;
        }
        Ok(())
    }

    /// Checks the answer to a SYN: it has to acknowledge it, or a part of the data that came with
    /// it (RFC 9293 section 3.10.7.3, RFC 7413).
    fn check_answer(&self, from: Direction, segment: &Segment, kind: Kind) -> Result<(), Invalid> {
        let Some(end) = self.sides[0].end.filter(|_| from == Direction::Reply) else {
            return Ok(());
        };
        let unacknowledged = distance(end, segment.acknowledgment);
        let fits = segment.has(tcp::ACK_FLAG) && (0..0x1_0000).contains(&unacknowledged);
        if fits || kind == Kind::Syn { Ok(()) } else { Err(Invalid::Acknowledgment) }
    }

    /// The state after a segment; `None` when none such can come.
    fn next_state(&self, from: Direction, kind: Kind, acknowledges_all: bool) -> Option<TcpState> {
        use TcpState::*;
        let other = from.reversed();
        Some(match (self.state, kind) {
            (_, Kind::Rst) => Closed,
            (SynSent, Kind::Syn) if from == Direction::Original => SynSent,
            (SynSent | SimultaneousOpen, Kind::Syn) => SimultaneousOpen,
            (SynSent, Kind::SynAck) if from == Direction::Reply => SynReceived,
            (SimultaneousOpen | SynReceived, Kind::SynAck) => SynReceived,
            (SynSent | SimultaneousOpen, _) | (_, Kind::Syn | Kind::SynAck) => return None,
            (SynReceived, Kind::Ack) if from == Direction::Original => Established,
            (SynReceived, Kind::Ack) => SynReceived,
            (SynReceived | Established, Kind::Fin) => FinWait(from),
            (FinWait(first) | CloseWait(first), Kind::Fin) if first != from => LastAck(from),
            (FinWait(first), Kind::Ack) if first == other && acknowledges_all => CloseWait(first),
            (LastAck(last), _) if last == other && acknowledges_all => TimeWait,
            (Closed, Kind::Ack) if self.is_assured => Established,
            (state, _) => state,
        })
    }

    /// Takes over what a SYN says. Windows are scaled only if both ends offer to (RFC 7323 section
    /// 2.2).
    fn open(&mut self, from: Direction, segment: &Segment) {
        self.sides[from.index()] = Side::opened(segment);
        let other = &mut self.sides[from.reversed().index()];
        if segment.scale.is_none() && other.end.is_some() {
            other.scale = 0;
        }
    }
}
