//! Connections of which somebody else carries segments.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pktio::shortcut::Trail;
use pktio::wire::field::tcp::{ACK_FLAG as ACK, FIN, RST, SYN};
use proptest::prelude::*;

use super::super::tcp::{Connection, Side};
use super::super::{Direction, Invalid, State, TcpState, Trails, Verdict};
use super::*;
use Direction::{Original as O, Reply as R};

const START: [u32; 2] = [0xffff_f000, 5000];
const NOW: Seconds = Seconds(0);

/// A table with one connection that is established, and its trails.
struct Lender {
    sessions: Sessions,
    trails: Arc<Trails>,
    session: SessionRef,
}

fn lender_of(capacity: u32) -> (Sessions, Arc<Trails>) {
    let sessions = Sessions::new(capacity, 1);
    let trails = Arc::new(Trails::own(capacity).unwrap());
    sessions.set_trails(Arc::clone(&trails));
    (sessions, trails)
}

impl Lender {
    fn new() -> Self {
        let (sessions, trails) = lender_of(1);
        let session = opened(&sessions);
        Self { sessions, trails, session }
    }

    fn track(&self, from: Direction, packet: &Packet) -> Verdict {
        self.sessions.track(self.session, from, packet, NOW, POLICY)
    }

    fn trail(&self, direction: Direction) -> Option<Trail> {
        let word = self.trails.word(self.session.position(), direction == R).unwrap();
        Trail::in_word(word.load(Ordering::Relaxed), self.session.version())
    }

    fn is_open(&self) -> bool {
        Direction::BOTH.iter().all(|way| self.trail(*way).is_some_and(|it| it == it.opened()))
    }

    /// As the kernel's program does, whether a segment is let go: then its sender's trail is moved on.
    fn carry(&self, from: Direction, segment: &Segment) -> bool {
        const LOOKED_AT: u8 = SYN | ACK | FIN | RST;
        if !self.is_open() || segment.flags & LOOKED_AT != ACK {
            return false;
        }
        let sides = Direction::BOTH.map(|way| {
            let trail = self.trail(way).unwrap();
            Side::unpack(Some(trail.end()), trail.window())
        });
        let before = Connection { state: TcpState::Established, is_assured: true, sides };
        let Ok(after) = before.after(from, segment, POLICY) else { return false };
        let [was, is] = [before, after].map(|it| it.sides[usize::from(from == R)]);
        if was.pack() != is.pack() {
            return false;
        }
        let trail = self.trail(from).unwrap().at(is.end.unwrap(), is.pack());
        let word = self.trails.word(self.session.position(), from == R).unwrap();
        word.store(trail.word(), Ordering::Relaxed);
        true
    }

    /// The other end's acknowledgment of all that the first has sent.
    fn answer(&self) -> Packet {
        tcp_packet(ACK, START[1] + 1, self.trail(O).unwrap().end())
    }

    fn state(&self) -> Option<State> {
        self.sessions.get(self.session, NOW).map(|session| session.state)
    }
}

/// A connection after its handshake, in which each end has said something.
fn opened(sessions: &Sessions) -> SessionRef {
    let [a, b] = START;
    let key = key(protocol::TCP, 2, 4);
    let session = begin(sessions, plain(key, tcp_packet(SYN, a, 0)), 0);
    for (from, packet) in [
        (R, tcp_packet(SYN | ACK, b, a.wrapping_add(1))),
        (O, tcp_packet(ACK, a.wrapping_add(1), b + 1)),
        (R, tcp_packet(ACK, b + 1, a.wrapping_add(1))),
    ] {
        assert_eq!(sessions.track(session, from, &packet, NOW, POLICY), Verdict::Valid);
    }
    session
}

/// A segment of 60 000 bytes, so many of which were sent before.
fn data(from: Direction, before: u32) -> Packet {
    let [own, other] = if from == O { START } else { [START[1], START[0]] };
    let sequence = own.wrapping_add(1 + 60_000 * before);
    let segment = Segment {
        sequence,
        acknowledgment: other.wrapping_add(1),
        flags: ACK,
        window: 1000,
        length: 60_000,
        scale: None,
    };
    Packet { bytes: 60_054, segment: Some(segment), is_equivocal: false }
}

#[test]
fn only_a_connection_that_is_established_is_lent() {
    let (sessions, trails) = lender_of(4);
    let [a, b] = START;
    let open = |session: SessionRef| {
        let word = trails.word(session.position(), false).unwrap().load(Ordering::Relaxed);
        Trail::in_word(word, session.version()).is_some()
    };
    let datagrams = begin(&sessions, plain(udp(6, 8), UDP), 0);
    let opening = begin(&sessions, plain(key(protocol::TCP, 6, 8), tcp_packet(SYN, a, 0)), 0);
    // Of the other end nothing was seen.
    let joined = begin(&sessions, plain(key(protocol::TCP, 10, 12), tcp_packet(ACK, a, b)), 0);
    for session in [datagrams, opening, joined] {
        assert!(!sessions.lend(session) && !open(session));
    }
    let whole = opened(&sessions);
    assert!(sessions.lend(whole) && open(whole));
    sessions.end(whole, NOW).unwrap();
    assert!(!sessions.lend(whole));
}

#[test]
fn where_there_are_no_trails_nothing_is_lent() {
    let sessions = Sessions::new(4, 1);
    assert!(!sessions.lend(opened(&sessions)));
    let trails = Trails::own(0).unwrap();
    let sessions = Sessions::new(4, 1);
    sessions.set_trails(Arc::new(trails));
    assert!(!sessions.lend(opened(&sessions)));
}

#[test]
fn what_was_carried_counts_for_what_comes_next() {
    let lender = Lender::new();
    assert!(lender.sessions.lend(lender.session));
    for number in 0..100 {
        assert!(lender.carry(O, &data(O, number).segment.unwrap()));
    }
    // Whoever has seen all that was carried takes the next, and nothing that is long gone.
    assert_eq!(lender.track(O, &data(O, 100)), Verdict::Valid);
    assert_eq!(lender.track(O, &data(O, 0)), Verdict::Invalid(Invalid::Sequence));
    assert!(lender.sessions.may_await(lender.session, O, START[0].wrapping_add(101 * 60_000)));
    // And the borrower sees what the worker has let go.
    assert!(!lender.carry(O, &data(O, 103).segment.unwrap()));
    assert!(lender.carry(O, &data(O, 101).segment.unwrap()));
    let session = lender.sessions.get(lender.session, NOW).unwrap();
    assert_eq!((session.original.packets, session.state), (3, State::Tcp(TcpState::Established)));
}

#[test]
fn whoever_closes_takes_the_connection_back() {
    for (flags, state) in [(FIN | ACK, TcpState::FinWait(O)), (RST | ACK, TcpState::Closed)] {
        let lender = Lender::new();
        assert!(lender.sessions.lend(lender.session));
        for number in 0..100 {
            assert!(lender.carry(O, &data(O, number).segment.unwrap()));
        }
        let Packet { segment, .. } = data(O, 100);
        let segment = segment.map(|segment| Segment { flags, ..segment });
        assert_eq!(lender.track(O, &Packet { segment, ..UDP }), Verdict::Valid);
        assert_eq!(lender.state(), Some(State::Tcp(state)));
        assert!(!lender.is_open() && !lender.sessions.lend(lender.session));
        let answer = lender.answer();
        assert!(!lender.carry(R, &answer.segment.unwrap()));
        assert_eq!(lender.track(R, &answer), Verdict::Valid);
    }
}

/// RFC 6146 section 3.5.2.2: it was not the ends' own reset.
#[test]
fn a_connection_that_goes_on_after_a_reset_is_lent_again_from_where_it_was() {
    let lender = Lender::new();
    assert!(lender.sessions.lend(lender.session));
    (0..100).for_each(|number| assert!(lender.carry(O, &data(O, number).segment.unwrap())));
    let Packet { segment, .. } = data(O, 100);
    let reset = segment.map(|segment| Segment { flags: RST, length: 0, ..segment });
    assert_eq!(lender.track(O, &Packet { segment: reset, ..UDP }), Verdict::Valid);
    assert_eq!(lender.track(O, &data(O, 100)), Verdict::Valid);
    assert!(lender.sessions.lend(lender.session));
    assert!(lender.carry(O, &data(O, 101).segment.unwrap()));
}

#[test]
fn a_session_has_no_trails_of_the_one_before_it() {
    let lender = Lender::new();
    assert!(lender.sessions.lend(lender.session));
    lender.sessions.end(lender.session, NOW).unwrap();
    assert_eq!(Direction::BOTH.map(|way| lender.trail(way)), [None; 2]);
    let next = opened(&lender.sessions);
    assert_eq!(next.position(), lender.session.position());
    for is_second in [false, true] {
        let word = lender.trails.word(next.position(), is_second).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_connection_that_begins_anew_is_known_by_its_record_again() {
    let lender = Lender::new();
    assert!(lender.sessions.lend(lender.session));
    let Packet { segment, .. } = data(O, 0);
    let reset = segment.map(|segment| Segment { flags: RST, length: 0, ..segment });
    assert_eq!(lender.track(O, &Packet { segment: reset, ..UDP }), Verdict::Valid);
    let far = START[0].wrapping_add(1 << 31);
    assert_eq!(lender.track(O, &tcp_packet(SYN, far, 0)), Verdict::Valid);
    assert_eq!(lender.trail(O), None);
    let answer = tcp_packet(SYN | ACK, 77, far.wrapping_add(1));
    assert_eq!(lender.track(R, &answer), Verdict::Valid);
    assert_eq!(lender.track(O, &tcp_packet(ACK, far.wrapping_add(1), 78)), Verdict::Valid);
    assert_eq!(lender.state(), Some(State::Tcp(TcpState::Established)));
}

#[test]
fn what_is_carried_keeps_a_connection_alive_and_one_that_is_over_not() {
    let lender = Lender::new();
    assert!(lender.sessions.hear(lender.session, O, Seconds(100)));
    let idle = |now| lender.sessions.get(lender.session, Seconds(now)).unwrap().idle_seconds;
    assert_eq!(idle(110), 10);
    let Packet { segment, .. } = data(O, 0);
    let reset = segment.map(|segment| Segment { flags: RST, length: 0, ..segment });
    assert_eq!(lender.track(O, &Packet { segment: reset, ..UDP }), Verdict::Valid);
    assert!(lender.sessions.hear(lender.session, O, Seconds(200)));
    assert_eq!(idle(210), 110);
}

/// A segment, by how far its numbers are from those of its connection, and who may carry it.
#[derive(Debug, Clone)]
struct Step {
    from: Direction,
    flags: u8,
    sequence: i32,
    acknowledgment: i32,
    length: u32,
    window: u16,
    is_offered: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let from = prop_oneof![Just(O), Just(R)];
    let flags = prop_oneof![20 => Just(ACK), 1 => Just(FIN | ACK), 1 => Just(RST), 1 => Just(SYN)];
    let near = || prop_oneof![4 => Just(0), 2 => -66_000..66_000, 1 => any::<i32>()];
    let length = prop_oneof![Just(0), 1u32..65_536];
    let step = (from, flags, near(), near(), length, any::<u16>(), any::<bool>()).prop_map(
        |(from, flags, sequence, acknowledgment, length, window, is_offered)| Step {
            from,
            flags,
            sequence,
            acknowledgment,
            length,
            window,
            is_offered,
        },
    );
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whichever segments somebody else carries: what becomes of each is what would if nobody did.
    #[test]
    fn it_makes_no_difference_who_carries_a_segment(steps in steps()) {
        let (lender, alone) = (Lender::new(), Sessions::new(1, 1));
        let session = opened(&alone);
        prop_assert_eq!(session, lender.session);
        for Step { from, flags, sequence, acknowledgment, length, window, is_offered } in steps {
            let connection = |sessions: &Sessions| {
                let record = sessions.record(session.position()).unwrap();
                let control = record.control();
                let Some(State::Tcp(state)) = control.state() else { panic!("{control:?}") };
                sessions.connection(session, record, control, state)
            };
            let [own, other] = [from, from.reversed()]
                .map(|way| connection(&alone).sides[usize::from(way == R)].end.unwrap_or(0));
            let segment = Segment {
                sequence: own.wrapping_add_signed(sequence),
                acknowledgment: other.wrapping_add_signed(acknowledgment),
                flags,
                window,
                length,
                scale: None,
            };
            let packet = Packet { bytes: 100, segment: Some(segment), is_equivocal: false };
            let carried = is_offered && {
                lender.sessions.lend(session);
                lender.carry(from, &segment)
            };
            let verdict =
                if carried { Verdict::Valid } else { lender.track(from, &packet) };
            let expected = alone.track(session, from, &packet, NOW, POLICY);
            prop_assert_eq!(verdict, expected);
            prop_assert_eq!(connection(&lender.sessions), connection(&alone));
        }
    }
}
