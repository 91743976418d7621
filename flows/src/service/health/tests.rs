//! What is held of a backend: by its sessions, by checks, and by both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const THREE: Endurance = Endurance { failures: 3, rest_seconds: 10 };
const CHECKS: Thresholds = Thresholds { fall: 3, rise: 2 };
const BAD: Result<(), Fault> = Err(Fault::Status(503));

fn fail(health: &Health, now: u32) {
    health.fail(Fault::Refused, THREE, Seconds(now));
}

/// What becomes of a backend that is checked, at each check.
fn states(health: &Health, found: &[Result<(), Fault>], from: u32) -> Vec<bool> {
    let check = |(now, found): (u32, &Result<(), Fault>)| {
        let (was_up, turned) =
            (health.is_up(Seconds(now)), health.check(*found, CHECKS, Seconds(now)));
        assert_eq!(turned, was_up != health.is_up(Seconds(now)), "at {now}");
        health.is_up(Seconds(now))
    };
    (from..).zip(found).map(check).collect()
}

#[test]
fn a_backend_rests_after_failures_in_a_row_and_gets_one_more_chance() {
    let health = Health::default();
    let is_up = |now| health.is_up(Seconds(now));
    fail(&health, 100);
    fail(&health, 100);
    health.succeed(Seconds(100));
    fail(&health, 100);
    fail(&health, 100);
    assert!(is_up(100), "not three in a row");
    assert_eq!((health.since(Seconds(100)), health.fault()), (None, None));
    fail(&health, 101);
    assert!(!is_up(101) && !is_up(110) && is_up(111));
    assert_eq!(health.rests_seconds(Seconds(105)), 6);
    assert_eq!(health.since(Seconds(105)), Some(Seconds(101)));
    assert_eq!(health.since(Seconds(115)), Some(Seconds(111)), "up since its rest was over");
    assert_eq!(health.fault(), Some(Fault::Refused));
    fail(&health, 120);
    assert!(!is_up(129), "one more chance was enough");
    fail(&health, 121);
    assert_eq!(health.since(Seconds(125)), Some(Seconds(120)), "it was down");
    health.succeed(Seconds(122));
    assert!(is_up(122));
    assert_eq!(health.since(Seconds(125)), Some(Seconds(122)));
    assert_eq!(health.failed(), 7);
}

#[test]
fn no_number_of_failures_matters_where_none_is_given() {
    let health = Health::default();
    let endurance = Endurance { failures: 0, ..THREE };
    (0..100).for_each(|now| health.fail(Fault::Silent, endurance, Seconds(now)));
    assert!(health.is_up(Seconds(50)));
}

#[test]
fn checks_in_a_row_take_a_backend_down_and_bring_it_back() {
    let health = Health::default();
    assert_eq!(health.checked(), Checked::Unknown);
    let good = Ok(());
    let found = [good, BAD, BAD, good, BAD, BAD, BAD, BAD, good, BAD, good, good, good];
    let up = [true, true, true, true, true, true, false, false, false, false, false, true, true];
    assert_eq!(states(&health, &found, 100), up);
    assert_eq!(health.since(Seconds(200)), Some(Seconds(111)));
    assert_eq!(health.fault(), Some(Fault::Status(503)));
}

#[test]
fn the_first_check_decides_by_itself() {
    let health = Health::default();
    assert_eq!(
        states(&health, &[BAD, Ok(()), BAD, Ok(()), Ok(())], 100),
        [false, false, false, false, true]
    );
}

#[test]
fn why_a_backend_is_down_is_what_was_found_last() {
    let health = Health::default();
    states(&health, &[BAD, Err(Fault::Refused), Ok(())], 100);
    assert_eq!(health.fault(), Some(Fault::Refused));
    states(&health, &[Ok(()), Err(Fault::Silent)], 103);
    assert_eq!(health.fault(), Some(Fault::Refused), "it is up");
}

#[test]
fn sessions_that_are_taken_do_not_bring_back_who_fails_checks() {
    let health = Health::default();
    states(&health, &[BAD], 100);
    health.succeed(Seconds(100));
    assert!(!health.is_up(Seconds(u32::MAX)));
    assert_eq!(health.checked(), Checked::Failing);
}

#[test]
fn who_refuses_sessions_rests_until_checks_say_otherwise() {
    let health = Health::default();
    states(&health, &[Ok(())], 100);
    (0..3).for_each(|_| fail(&health, 101));
    assert_eq!(states(&health, &[Ok(()), Ok(())], 102), [false, true], "before its rest is over");
    fail(&health, 104);
    assert!(health.is_up(Seconds(104)), "it is counted anew");
}

#[test]
fn who_is_checked_no_more_is_judged_by_sessions_alone() {
    let health = Health::default();
    states(&health, &[BAD], 100);
    for (is_possible, checked, now) in
        [(true, Checked::Unknown, 105), (false, Checked::Impossible, 115)]
    {
        health.leave_unchecked(is_possible, Seconds(now));
        assert_eq!((health.is_up(Seconds(now)), health.checked()), (true, checked));
        assert_eq!(health.since(Seconds(now + 4)), Some(Seconds(now)));
        assert_eq!(states(&health, &[BAD], now + 5), [false], "the first check decides again");
    }
}

#[test]
fn every_fault_is_remembered_as_it_was() {
    let statuses = [0, 100, 503, u16::MAX].map(Fault::Status);
    for fault in Fault::PLAIN.into_iter().chain(statuses) {
        assert_eq!(Fault::of_word(fault.word()), Some(fault));
    }
    assert_eq!(Fault::of_word(0), None);
}

proptest! {
    /// A model: the last checks say it all.
    #[test]
    fn a_backend_that_is_checked_is_what_its_last_row_of_checks_says(
        found in prop::collection::vec(any::<bool>(), 1..60), fall in 1u32..5, rise in 1u32..5
    ) {
        let (health, thresholds) = (Health::default(), Thresholds { fall, rise });
        let mut up = found[0];
        let mut row = 0;
        for (now, good) in (1..).zip(&found) {
            row = if *good == up { 0 } else { row + 1 };
            if row >= if *good { rise } else { fall } {
                (up, row) = (*good, 0);
            }
            let said = if *good { Ok(()) } else { Err(Fault::Closed) };
            health.check(said, thresholds, Seconds(now));
            prop_assert_eq!(health.is_up(Seconds(now)), up);
        }
    }
}
