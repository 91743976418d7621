//! TCP from the middle: conversations, segment by segment.

use pktio::wire::field::tcp::{ACK_FLAG as ACK, FIN, PSH, RST, SYN};

use super::super::tcp::{Connection, Refusal};
use super::super::{Direction, Invalid, Segment, TcpPolicy, TcpState};
use Direction::{Original as O, Reply as R};
use TcpState::*;

const STRICT: TcpPolicy = TcpPolicy { check_windows: true, pick_up: true };
const LAX: TcpPolicy = TcpPolicy { check_windows: false, pick_up: true };

/// The first sequence numbers of both ends, close to where they wrap.
const START: [u32; 2] = [0xffff_ff00, 5000];

/// A segment with numbers relative to its sender's and the other end's first, and the window that
/// it offers.
fn segment(from: Direction, flags: u8, sequence: i64, acknowledgment: i64, length: u32) -> Segment {
    let absolute = |direction: Direction, number: i64| {
        let start = START[usize::from(direction == R)];
        u32::try_from((i64::from(start) + number).rem_euclid(1 << 32)).unwrap()
    };
    let has_ack = flags & ACK != 0;
    Segment {
        sequence: absolute(from, sequence),
        acknowledgment: if has_ack { absolute(from.reversed(), acknowledgment) } else { 0 },
        flags,
        window: 0xffff,
        length,
        scale: None,
    }
}

fn begun() -> Connection {
    Connection::begun_by(&segment(O, SYN, 0, 0, 0), STRICT).unwrap()
}

/// Sender, flags, sequence and acknowledgment number, length, state after.
type Step = (Direction, u8, i64, i64, u32, TcpState);

/// Plays a conversation that begins with a SYN.
fn play(steps: &[Step]) -> Connection {
    steps.iter().fold(begun(), |connection, step| {
        let (from, flags, sequence, acknowledgment, length, state) = *step;
        let segment = segment(from, flags, sequence, acknowledgment, length);
        let after = connection.after(from, &segment, STRICT);
        assert_eq!(after.map(|after| after.state), Ok(state), "{step:?} after {connection:?}");
        let lax = connection.after(from, &segment, LAX).unwrap();
        assert_eq!(lax.state, state, "the same with window checks off");
        after.unwrap()
    })
}

const HANDSHAKE: [Step; 2] = [(R, SYN | ACK, 0, 1, 0, SynReceived), (O, ACK, 1, 1, 0, Established)];

/// A connection in which each end has sent 100 bytes.
fn established() -> Connection {
    let talk = [(O, ACK | PSH, 1, 1, 100, Established), (R, ACK | PSH, 1, 101, 100, Established)];
    play(&[HANDSHAKE, talk].concat())
}

/// The same, and what comes after.
fn then(steps: &[Step]) -> Connection {
    let talk = [(O, ACK | PSH, 1, 1, 100, Established), (R, ACK | PSH, 1, 101, 100, Established)];
    play(&[&HANDSHAKE[..], &talk[..], steps].concat())
}

fn refusal(connection: Connection, from: Direction, segment: &Segment) -> Option<Refusal> {
    connection.after(from, segment, STRICT).err()
}

fn invalid(connection: Connection, from: Direction, segment: &Segment) -> Option<Invalid> {
    match refusal(connection, from, segment)? {
        Refusal::Invalid(reason) => Some(reason),
        Refusal::Superseding => None,
    }
}

#[test]
fn a_connection_is_opened_and_closed_by_either_end() {
    assert!(established().is_assured);
    for (first, second) in [(O, R), (R, O)] {
        let [mine, theirs] = [101, 101];
        then(&[
            (first, FIN | ACK, mine, theirs, 0, FinWait(first)),
            (second, ACK, theirs, mine + 1, 0, CloseWait(first)),
            (second, ACK | PSH, theirs, mine + 1, 500, CloseWait(first)),
            (first, ACK, mine + 1, theirs + 500, 0, CloseWait(first)),
            (second, FIN | ACK, theirs + 500, mine + 1, 0, LastAck(second)),
            (first, ACK, mine + 1, theirs + 501, 0, TimeWait),
        ]);
    }
}

#[test]
fn a_fin_that_is_answered_by_a_fin_skips_the_half_closed_state() {
    then(&[
        (O, FIN | ACK, 101, 101, 0, FinWait(O)),
        (R, FIN | ACK, 101, 102, 0, LastAck(R)),
        (O, ACK, 102, 102, 0, TimeWait),
    ]);
}

#[test]
fn a_repeated_fin_is_not_the_other_ends() {
    then(&[
        (O, FIN | ACK, 101, 101, 0, FinWait(O)),
        (O, FIN | ACK, 101, 101, 0, FinWait(O)),
        (R, ACK, 101, 102, 0, CloseWait(O)),
        (O, FIN | ACK, 101, 101, 0, CloseWait(O)),
        (R, FIN | ACK, 101, 102, 0, LastAck(R)),
        (R, FIN | ACK, 101, 102, 0, LastAck(R)),
        (O, ACK, 102, 102, 0, TimeWait),
        (R, FIN | ACK, 101, 102, 0, TimeWait),
        (O, ACK, 102, 102, 0, TimeWait),
    ]);
}

#[test]
fn both_ends_may_close_at_once() {
    then(&[
        (O, FIN | ACK, 101, 101, 0, FinWait(O)),
        (R, FIN | ACK, 101, 101, 0, LastAck(R)),
        (R, ACK, 102, 102, 0, LastAck(R)),
        (O, ACK, 102, 102, 0, TimeWait),
    ]);
}

#[test]
fn both_ends_may_open_at_once() {
    play(&[
        (R, SYN, 0, 0, 0, SimultaneousOpen),
        (O, SYN | ACK, 0, 1, 0, SynReceived),
        (R, SYN | ACK, 0, 1, 0, SynReceived),
        (R, ACK | PSH, 1, 1, 10, SynReceived),
        (O, ACK, 1, 11, 0, Established),
    ]);
}

#[test]
fn a_repeated_syn_changes_nothing_while_the_handshake_goes_on() {
    play(&[
        (O, SYN, 0, 0, 0, SynSent),
        (R, SYN | ACK, 0, 1, 0, SynReceived),
        (O, SYN, 0, 0, 0, SynReceived),
        (R, SYN | ACK, 0, 1, 0, SynReceived),
        (O, ACK, 1, 1, 0, Established),
        (R, SYN | ACK, 0, 1, 0, Established),
    ]);
}

#[test]
fn a_new_attempt_with_another_number_takes_the_place_of_an_unanswered_one() {
    play(&[(O, SYN, 700_000, 0, 0, SynSent), (R, SYN | ACK, 0, 700_001, 0, SynReceived)]);
}

#[test]
fn data_may_come_with_the_syn_and_need_not_be_accepted() {
    let fast_open = segment(O, SYN, 0, 0, 1000);
    let begun = Connection::begun_by(&fast_open, STRICT).unwrap();
    for acknowledged in [1, 1001] {
        let answer = segment(R, SYN | ACK, 0, acknowledged, 0);
        assert_eq!(begun.after(R, &answer, STRICT).unwrap().state, SynReceived);
    }
}

#[test]
fn a_refused_connection_is_closed_and_may_be_tried_again() {
    play(&[
        (R, RST | ACK, 0, 1, 0, Closed),
        (O, SYN, 9000, 0, 0, SynSent),
        (R, SYN | ACK, 0, 9001, 0, SynReceived),
    ]);
}

#[test]
fn a_syn_reopens_a_connection_that_is_over() {
    let over = then(&[
        (O, FIN | ACK, 101, 101, 0, FinWait(O)),
        (R, FIN | ACK, 101, 102, 0, LastAck(R)),
        (O, ACK, 102, 102, 0, TimeWait),
    ]);
    let again = over.after(O, &segment(O, SYN, 2_000_000_000, 0, 0), STRICT).unwrap();
    assert_eq!((again.state, again.is_assured), (SynSent, false));
    let answer = segment(R, SYN | ACK, 1_000_000_000, 2_000_000_001, 0);
    assert_eq!(again.after(R, &answer, STRICT).unwrap().state, SynReceived);
    let from_the_other_end = segment(R, SYN, 70_000, 0, 0);
    assert_eq!(refusal(over, R, &from_the_other_end), Some(Refusal::Superseding));
}

#[test]
fn only_a_rst_within_the_window_closes() {
    let open = established();
    for sequence in [101 + 0x2_0000, 101 - 0x2_0000, 0x4000_0000] {
        let stray = segment(R, RST, sequence, 0, 0);
        assert_eq!(invalid(open, R, &stray), Some(Invalid::Sequence), "{sequence}");
        assert_eq!(open.after(R, &stray, LAX).unwrap().state, Closed, "with checks off");
    }
    then(&[(R, RST, 101, 0, 0, Closed)]);
    then(&[(O, RST | ACK, 101, 101, 0, Closed), (R, RST, 101, 0, 0, Closed)]);
}

#[test]
fn a_connection_that_goes_on_after_a_rst_is_established_again() {
    then(&[(R, RST, 101, 0, 0, Closed), (R, ACK, 101, 101, 10, Established)]);
    play(&[(R, RST | ACK, 0, 1, 0, Closed), (O, ACK, 1, 1, 0, Closed)]);
}

#[test]
fn the_answer_to_a_syn_must_acknowledge_it() {
    for (flags, acknowledgment) in [(RST, 0), (RST | ACK, 500), (SYN | ACK, -100_000)] {
        let stray = segment(R, flags, 0, acknowledgment, 0);
        assert_eq!(invalid(begun(), R, &stray), Some(Invalid::Acknowledgment));
    }
}

#[test]
fn a_rebooted_client_learns_that_its_connection_is_half_open() {
    // RFC 9293 section 3.5.1: the server still has the old connection, whose numbers are far away.
    play(&[
        (R, ACK, 800_000, 900_000, 0, SynSent),
        (O, RST, 900_000, 0, 0, Closed),
        (O, SYN, 0, 0, 0, SynSent),
    ]);
    then(&[
        (O, SYN, 900_000, 0, 0, Established),
        (R, ACK, 101, 101, 0, Established),
        (O, RST, 101, 0, 0, Closed),
    ]);
}

#[test]
fn segments_outside_of_the_window_are_invalid() {
    let open = established();
    let cases = [
        (segment(O, ACK, 101 + 0x1_0000, 101, 100), None),
        (segment(O, ACK, 102 + 0x1_0000, 101, 100), Some(Invalid::Sequence)),
        (segment(O, ACK, 101 - 0x1_0000, 101, 0), None),
        (segment(O, ACK, 100 - 0x1_0000, 101, 0), Some(Invalid::Sequence)),
        // Half the circle away, which is as far ahead as behind.
        (segment(O, ACK, 101 + (1 << 31), 101, 0), Some(Invalid::Sequence)),
        (segment(O, ACK, 101 + (1 << 31), 101, 100), Some(Invalid::Sequence)),
        (segment(O, ACK, 101, 101 + 0x1_0000, 0), None),
        (segment(O, ACK, 101, 102 + 0x1_0000, 0), Some(Invalid::Acknowledgment)),
        (segment(O, ACK, 101, 100 - 0x1_0000, 0), Some(Invalid::Acknowledgment)),
    ];
    for (segment, expected) in cases {
        assert_eq!(invalid(open, O, &segment), expected, "{segment:?}");
        assert!(open.after(O, &segment, LAX).is_ok());
    }
}

#[test]
fn windows_are_scaled_if_both_ends_offer_to() {
    let open = |scales: [Option<u8>; 2]| {
        let syn = Segment { scale: scales[0], ..segment(O, SYN, 0, 0, 0) };
        let answer = Segment { scale: scales[1], ..segment(R, SYN | ACK, 0, 1, 0) };
        let begun = Connection::begun_by(&syn, STRICT).unwrap();
        let answered = begun.after(R, &answer, STRICT).unwrap();
        answered.after(O, &segment(O, ACK, 1, 1, 0), STRICT).unwrap()
    };
    // The originator offered 65535 << 7, which is just less than 8 MiB, and that is rounded up to
    // 16 MiB.
    let far = |bytes: i64| segment(R, ACK, 1 + bytes, 1, 100);
    assert!(open([Some(7), Some(7)]).after(R, &far(0x100_0000), STRICT).is_ok());
    assert_eq!(invalid(open([Some(7), Some(7)]), R, &far(0x100_0001)), Some(Invalid::Sequence));
    assert_eq!(invalid(open([Some(7), None]), R, &far(0x1_0001)), Some(Invalid::Sequence));
    assert_eq!(invalid(open([None, None]), R, &far(0x1_0001)), Some(Invalid::Sequence));
}

#[test]
fn impossible_flags_are_invalid() {
    for flags in [0, FIN, SYN | FIN, SYN | RST, SYN | FIN | ACK, FIN | RST, PSH] {
        let odd = segment(O, flags, 101, 101, 0);
        assert_eq!(invalid(established(), O, &odd), Some(Invalid::Flags), "{flags:#x}");
        assert_eq!(Connection::begun_by(&odd, STRICT), Err(Invalid::Flags), "{flags:#x}");
    }
}

#[test]
fn a_segment_that_cannot_come_in_a_state_is_invalid() {
    let cases = [
        (begun(), O, segment(O, ACK, 1, 1, 0)),
        (begun(), O, segment(O, SYN | ACK, 0, 1, 0)),
        (begun(), R, segment(R, FIN | ACK, 0, 1, 0)),
        (established(), R, segment(R, SYN, 101, 0, 0)),
        (established(), O, segment(O, SYN | ACK, 101, 101, 0)),
    ];
    for (connection, from, segment) in cases {
        assert_eq!(invalid(connection, from, &segment), Some(Invalid::State), "{segment:?}");
    }
}

#[test]
fn a_connection_is_joined_in_its_middle_where_that_is_allowed() {
    let data = segment(O, ACK, 5_000_000, 7_000_000, 100);
    let joined = Connection::begun_by(&data, STRICT).unwrap();
    assert_eq!((joined.state, joined.is_assured), (Established, false));
    let answer = segment(R, ACK, 7_000_000, 5_000_100, 100);
    let joined = joined.after(R, &answer, STRICT).unwrap();
    assert!(joined.is_assured);
    // Bytes may have passed before the switch was there.
    assert!(joined.after(O, &segment(O, ACK, 5_000_100, 9_000_000, 0), STRICT).is_ok());
    let policy = TcpPolicy { pick_up: false, ..STRICT };
    assert_eq!(Connection::begun_by(&data, policy), Err(Invalid::NotBegun));
    for flags in [SYN | ACK, FIN | ACK, RST, RST | ACK] {
        let segment = segment(O, flags, 0, 0, 0);
        assert_eq!(Connection::begun_by(&segment, STRICT), Err(Invalid::NotBegun));
    }
}
