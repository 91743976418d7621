//! Pacing, frames and what becomes of them.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn load() -> Load<'static> {
    Load::new("eth0", [2; 6], Ipv4Addr::new(10, 0, 0, 1))
}

#[test]
fn frames_are_due_at_their_rate_and_no_more_than_wanted() {
    let pace = Pace::new(&Load { rate: Some(1000.0), frames: Some(3), ..load() });
    assert_eq!([0, 1, 2, 9].map(|ms| pace.due(MS * ms)), [1, 2, 3, 3]);
    assert_eq!(pace.moment(2), Some(2 * MS));
    assert_eq!(Pace::new(&load()).due(Duration::ZERO), u64::MAX);
}

#[test]
fn what_is_under_way_leaves_no_room_for_more() {
    let pace = Pace::new(&Load { under_way: Some(10), ..load() });
    assert_eq!(pace.allowance(MS, 0, 0), 10);
    assert_eq!(pace.allowance(MS, 10, 4), 4);
    assert_eq!(pace.allowance(MS, 10, 0), 0);
}

#[test]
fn every_flow_and_every_length_is_among_the_frames() {
    let frames = Load { flows: 60_001, frame_bytes: &IMIX, ..load() }
        .templates([4; 6], (Ipv4Addr::new(10, 0, 0, 2), 9));
    let flows: std::collections::BTreeSet<_> =
        frames.iter().map(|frame| frame[26..38].to_vec()).collect();
    assert_eq!(flows.len(), 60_001);
    let mut lengths: Vec<_> = frames[..12].iter().map(|frame| frame.len() + 4).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [64, 64, 64, 64, 64, 64, 64, 594, 594, 594, 594, 1518]);
}

#[test]
fn each_length_has_its_share_of_the_frames_that_are_sent_in_turn() {
    let frames = Load { flows: 7, frame_bytes: &IMIX, ..load() }
        .templates([4; 6], (Ipv4Addr::new(10, 0, 0, 2), 9));
    assert_eq!(frames.len() % BATCH, 0);
    let count = |bytes| frames.iter().filter(|frame| frame.len() + 4 == bytes).count();
    let shares = [64, 594, 1518].map(|bytes| count(bytes) * 12 / frames.len());
    assert_eq!(shares, [7, 4, 1]);
    assert_eq!(count(64) * 12 % frames.len(), 0, "a turn is cut off");
}

#[test]
fn a_load_that_makes_no_sense_is_refused() {
    let bad = [
        Load { flows: 0, ..load() },
        Load { frame_bytes: &[], ..load() },
        Load { frame_bytes: &[63], ..load() },
        Load { rate: Some(0.0), ..load() },
        Load { rate: Some(f64::NAN), ..load() },
    ];
    assert!(bad.iter().all(|load| load.check().is_err()));
    assert!(load().check().is_ok());
}

#[test]
fn what_is_sent_in_an_overload_is_not_timed_and_the_rate_counts_from_its_end() {
    let mut pace = Pace::new(&Load { rate: Some(1000.0), overload: 5 * MS, ..load() });
    assert_eq!(pace.due(4 * MS), u64::MAX);
    pace.note(4 * MS, 700);
    pace.note(5 * MS, 900);
    assert_eq!([5, 6, 8].map(|ms| pace.due(MS * ms)), [701, 702, 704]);
    assert_eq!((pace.moment(699), pace.moment(702)), (None, Some(7 * MS)));
    assert_eq!(pace.timed(703), Some(3));
}

#[test]
fn the_last_frame_that_is_missing_and_the_longest_silence_are_known() {
    let mut arrivals = Arrivals::default();
    for (number, there_ms) in [(0, 10), (1, 11), (4, 30), (5, 31), (3, 32)] {
        arrivals.note(MS * number, 1000.0, there_ms * 1_000_000);
    }
    assert_eq!(arrivals.last_lost(6), Some(3), "3 was late, and 2 is missing: a gap is a gap");
    assert_eq!(arrivals.last_lost(9), Some(8), "the end is missing");
    assert_eq!(arrivals.longest_silence(), 19 * MS);
    assert_eq!(Arrivals::default().last_lost(0), None);
}
