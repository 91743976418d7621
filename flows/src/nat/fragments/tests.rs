//! Fragments first, later, late and never.

use pktio::wire::field::protocol::{TCP, UDP};
use pktio::{Csum, Pool};
use proptest::prelude::*;

use super::*;
use crate::nat::sample::{self, Shape, layers, pool, tuple};

const ZONE: Zone = Zone(1);
const PORT: PortIndex = PortIndex(3);
const LIMITS: FragmentLimits =
    FragmentLimits { datagrams: 4, frames: 6, bytes: 2000, frames_per_source: 4 };

/// What becomes of a later fragment.
enum Later {
    Known(PktBuf, Tuple),
    Held,
    Refused,
}

/// A datagram in two fragments, and its name.
struct Sample {
    tuple: Tuple,
    datagram: Datagram,
    pieces: [Vec<u8>; 2],
}

fn sample(tuple: Tuple, id: u32) -> Sample {
    let pieces = sample::fragments(&tuple, &Shape::plain(&[7; 100]), id, 48);
    let datagram = Datagram::of(ZONE, &pieces[0], &layers(&pieces[0])).unwrap();
    Sample { tuple, datagram, pieces }
}

fn v4(source: u8, id: u32) -> Sample {
    sample(tuple(UDP, ([10, 0, 0, source], 4000), ([192, 0, 2, 1], 53)), id)
}

fn v6(id: u32) -> Sample {
    sample(tuple(TCP, ([1; 16], 4000), ([2; 16], 80)), id)
}

fn at(seconds: u64) -> Nanos {
    Nanos::from_secs(seconds)
}

impl Sample {
    fn later(&self, fragments: &mut Fragments, pool: &mut Pool, now: u64) -> Later {
        let frame = sample::frame(pool, &self.pieces[1], Csum::None);
        match fragments.tuple_of(&self.datagram, at(now)) {
            Some(tuple) => Later::Known(frame, tuple),
            None => match fragments.hold(self.datagram, PORT, frame, at(now)) {
                Ok(()) => Later::Held,
                Err(_) => Later::Refused,
            },
        }
    }

    fn first(&self, fragments: &mut Fragments, now: u64) -> Vec<Vec<u8>> {
        let released = fragments.first(self.datagram, self.tuple, at(now));
        released
            .inspect(|(port, _)| assert_eq!(*port, PORT))
            .map(|it| it.1.data().to_vec())
            .collect()
    }
}

#[test]
fn a_datagram_is_named_alike_by_all_its_fragments_and_by_no_whole_packet() {
    for sample in [v4(1, 77), v6(0x1234_5678)] {
        let [first, later] = &sample.pieces;
        assert_eq!(Datagram::of(ZONE, later, &layers(later)), Some(sample.datagram));
        assert_ne!(Datagram::of(Zone(2), first, &layers(first)), Some(sample.datagram));
        let whole = sample::packet(&sample.tuple, &Shape::plain(b""));
        assert_eq!(Datagram::of(ZONE, &whole, &layers(&whole)), None);
    }
    assert_ne!(v4(1, 77).datagram, v4(1, 78).datagram);
}

#[test]
fn rfc4787_req_14_later_fragments_follow_the_first() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    for sample in [v4(1, 7), v6(7)] {
        assert!(sample.first(&mut fragments, 0).is_empty());
        let Later::Known(frame, tuple) = sample.later(&mut fragments, &mut pool, 1) else {
            panic!("not known")
        };
        assert_eq!((frame.data(), tuple), (&sample.pieces[1][..], sample.tuple));
    }
}

#[test]
fn rfc4787_req_14_fragments_that_come_before_the_first_are_held_for_it() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    let (ours, other) = (v4(1, 7), v4(1, 8));
    for sample in [&ours, &other, &ours] {
        assert!(matches!(sample.later(&mut fragments, &mut pool, 0), Later::Held));
    }
    assert_eq!(ours.first(&mut fragments, 1), [ours.pieces[1].clone(), ours.pieces[1].clone()]);
    assert_eq!(fragments.held(), 1);
    assert_eq!(ours.first(&mut fragments, 1).len(), 0);
}

#[test]
fn what_the_first_said_is_known_for_30_seconds_or_60_by_ip_version() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    for (sample, seconds) in [(v4(1, 7), 30), (v6(7), 60)] {
        sample.first(&mut fragments, 100);
        let in_time = sample.later(&mut fragments, &mut pool, 99 + seconds);
        assert!(matches!(in_time, Later::Known(..)));
        assert!(matches!(sample.later(&mut fragments, &mut pool, 100 + seconds), Later::Held));
    }
}

#[test]
fn fragments_whose_first_never_comes_are_given_up() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    let (short, long) = (v4(1, 7), v6(7));
    short.later(&mut fragments, &mut pool, 0);
    long.later(&mut fragments, &mut pool, 0);
    let mut expired = |now| -> Vec<Vec<u8>> {
        fragments.expire(at(now)).map(|(_, frame)| frame.data().to_vec()).collect()
    };
    assert!(expired(29).is_empty());
    assert_eq!(expired(30), [short.pieces[1].clone()]);
    assert!(expired(59).is_empty());
    assert_eq!(expired(60), [long.pieces[1].clone()]);
}

#[test]
fn rfc4787_req_14a_what_waits_is_bounded_for_all_and_for_each_source() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    let mut is_held =
        |source: u8, id| matches!(v4(source, id).later(&mut fragments, &mut pool, 0), Later::Held);
    assert!((0..4).all(|id| is_held(1, id)));
    assert!(!is_held(1, 4), "its share is used up");
    assert!(is_held(2, 0) && is_held(2, 1));
    assert!(!is_held(3, 0), "all is used up");
    assert_eq!(fragments.expire(at(30)).count(), 6);
    let few_bytes = FragmentLimits { bytes: 100, ..LIMITS };
    let mut fragments = Fragments::new(few_bytes, 1);
    assert!(matches!(v4(1, 1).later(&mut fragments, &mut pool, 0), Later::Held));
    assert!(matches!(v4(1, 2).later(&mut fragments, &mut pool, 0), Later::Refused));
    assert_eq!(v4(1, 1).first(&mut fragments, 0).len(), 1);
    assert!(matches!(v4(1, 2).later(&mut fragments, &mut pool, 0), Later::Held));
}

#[test]
fn a_first_fragment_with_other_ports_begins_another_datagram() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    let mut sample = v4(1, 7);
    sample.first(&mut fragments, 0);
    sample.first(&mut fragments, 0); // a duplicate
    sample.tuple.source.port = 9;
    sample.first(&mut fragments, 20);
    let Later::Known(_, tuple) = sample.later(&mut fragments, &mut pool, 49) else {
        panic!("not known")
    };
    assert_eq!(tuple.source.port, 9);
}

#[test]
fn a_new_datagram_displaces_the_oldest() {
    let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
    for id in 0..5 {
        v4(1, id).first(&mut fragments, 0);
    }
    let mut is_known =
        |id| matches!(v4(1, id).later(&mut fragments, &mut pool, 1), Later::Known(..));
    assert!(!is_known(0));
    assert!((1..5).all(is_known));
}

proptest! {
    #[test]
    fn no_frame_is_lost_or_held_forever(
        steps in prop::collection::vec((0u8..4, 0u32..6, any::<bool>(), 0u64..20), 1..200)
    ) {
        let (mut fragments, mut pool) = (Fragments::new(LIMITS, 1), pool());
        let (mut now, mut came, mut left) = (0, 0, 0);
        for (source, id, is_first, wait) in steps {
            now += wait;
            left += fragments.expire(at(now)).count();
            let sample = v4(source, id);
            if is_first {
                left += sample.first(&mut fragments, now).len();
            } else {
                came += 1;
                left += usize::from(!matches!(
                    sample.later(&mut fragments, &mut pool, now), Later::Held
                ));
            }
            prop_assert_eq!(came, left + fragments.held());
            let bytes: usize = fragments.held.iter().map(|held| held.frame.len()).sum();
            prop_assert_eq!(bytes, fragments.held_bytes);
            prop_assert!(fragments.held() <= 6 && bytes <= 2000);
            prop_assert!(fragments.by_datagram.len() <= 4);
        }
        prop_assert_eq!(fragments.expire(at(now + 60)).count(), came - left);
    }
}
