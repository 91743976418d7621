//! Lending connections, under every interleaving of a few operations.

use std::sync::Arc as Shared;

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use pktio::shortcut::Trail;
use pktio::wire::field::tcp;

use super::lending::Trails;
use super::loom_tests::{PACKET, START, insert, key, model, new, reference, replace};
use super::{
    Direction, NewSession, Packet, Segment, SessionRef, Sessions, State, TcpPolicy, TcpState,
    Verdict,
};

/// A segment without data, unless it says otherwise.
fn segment(flags: u8, sequence: u32, acknowledgment: u32, length: u32) -> Packet {
    let segment = Segment { sequence, acknowledgment, flags, window: 1000, length, scale: None };
    Packet { segment: Some(segment), ..PACKET }
}

/// A table with a connection that is established; both ends have sent as far as 1.
fn established() -> (Arc<Sessions>, Shared<Trails>, SessionRef) {
    let trails = Shared::new(Trails::own(1).unwrap());
    let sessions = Arc::new(Sessions::new(1, 7));
    sessions.set_trails(Shared::clone(&trails));
    let session = establish(&sessions, new(key(1, 2), key(2, 1)));
    (sessions, trails, session)
}

fn establish(sessions: &Sessions, new: NewSession) -> SessionRef {
    let packet = segment(tcp::SYN, 0, 0, 0);
    let session = reference(insert(sessions, NewSession { packet, ..new }));
    for (from, packet) in [
        (Direction::Reply, segment(tcp::SYN | tcp::ACK_FLAG, 0, 1, 0)),
        (Direction::Original, segment(tcp::ACK_FLAG, 1, 1, 0)),
    ] {
        assert_eq!(track(sessions, session, from, &packet), Verdict::Valid);
    }
    session
}

fn track(sessions: &Sessions, session: SessionRef, from: Direction, packet: &Packet) -> Verdict {
    sessions.track(session, from, packet, START, TcpPolicy::default())
}

fn trail(trails: &Trails, session: SessionRef, direction: usize) -> Option<Trail> {
    Trail::in_word(trails.0[direction].load(Ordering::Relaxed), session.version())
}

/// As the kernel's program does with so many bytes of the original direction: whether they are carried.
fn carry(trails: &Trails, session: SessionRef, bytes: u32) -> bool {
    let old = trails.0[0].load(Ordering::Relaxed);
    let Some(trail) = Trail::in_word(old, session.version()) else { return false };
    let moved = trail.at(trail.end() + bytes, trail.window()).word();
    let order = Ordering::SeqCst;
    trail == trail.opened() && trails.0[0].compare_exchange(old, moved, order, order).is_ok()
}

#[test]
fn loom_a_connection_that_closes_does_not_stay_lent() {
    model(3, || {
        let (sessions, trails, session) = established();
        let lender = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.lend(session))
        };
        let closer = {
            let sessions = Arc::clone(&sessions);
            let fin = segment(tcp::FIN | tcp::ACK_FLAG, 1, 1, 0);
            thread::spawn(move || track(&sessions, session, Direction::Original, &fin))
        };
        lender.join().unwrap();
        assert_eq!(closer.join().unwrap(), Verdict::Valid);
        for direction in 0..2 {
            let trail = trail(&trails, session, direction);
            assert!(trail.is_none_or(|trail| trail == trail.closed()));
        }
        assert!(!sessions.lend(session));
    });
}

#[test]
fn loom_no_segment_is_forgotten_whoever_lets_it_go() {
    model(3, || {
        let (sessions, trails, session) = established();
        assert!(sessions.lend(session));
        let borrower = {
            let trails = Shared::clone(&trails);
            thread::spawn(move || carry(&trails, session, 500))
        };
        let worker = {
            let sessions = Arc::clone(&sessions);
            let data = segment(tcp::ACK_FLAG, 1, 1, 100);
            thread::spawn(move || track(&sessions, session, Direction::Original, &data))
        };
        let is_carried = borrower.join().unwrap();
        assert_eq!(worker.join().unwrap(), Verdict::Valid);
        let end = trail(&trails, session, 0).unwrap().end();
        // The borrower's lie behind where it found the end: at 1, or where the worker left it.
        assert!(if is_carried { [501, 601].contains(&end) } else { end == 101 });
    });
}

#[test]
fn loom_a_closed_connection_is_carried_no_further() {
    model(3, || {
        let (sessions, trails, session) = established();
        assert!(sessions.lend(session));
        let borrower = {
            let trails = Shared::clone(&trails);
            thread::spawn(move || carry(&trails, session, 500))
        };
        let fin = segment(tcp::FIN | tcp::ACK_FLAG, 1, 1, 0);
        assert_eq!(track(&sessions, session, Direction::Original, &fin), Verdict::Valid);
        assert!(!carry(&trails, session, 500));
        borrower.join().unwrap();
        let state = sessions.get(session, START).unwrap().state;
        assert_eq!(state, State::Tcp(TcpState::FinWait(Direction::Original)));
    });
}

#[test]
fn loom_a_session_has_no_trails_of_the_one_before_it() {
    model(3, || {
        let (sessions, trails, session) = established();
        let lender = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.lend(session))
        };
        let next = replace(&sessions, session);
        lender.join().unwrap();
        for direction in 0..2 {
            assert_eq!(trails.0[direction].load(Ordering::Relaxed), 0);
        }
        assert!(!sessions.lend(next));
    });
}

#[test]
fn loom_who_lends_too_late_takes_no_trail_of_the_next_session() {
    model(2, || {
        let (sessions, trails, session) = established();
        let lender = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.lend(session))
        };
        sessions.end(session, START).unwrap();
        let next = establish(&sessions, new(key(3, 4), key(4, 3)));
        let is_lent = sessions.lend(next);
        let is_carried = carry(&trails, next, 500);
        assert!(is_lent || !is_carried);
        lender.join().unwrap();
        // What the kernel let go is known, and whoever came between is gone.
        assert!(is_lent || sessions.lend(next));
        let end = trail(&trails, next, 0).unwrap().end();
        assert_eq!(end, if is_carried { 501 } else { 1 });
    });
}
