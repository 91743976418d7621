//! Two threads at one small table for two seconds.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::{Direction, Verdict};
use super::*;

/// Keys that both threads use.
const HOSTS: u64 = 24;
/// Fewer than there are pairs: the table is full now and then.
const CAPACITY: u32 = 64;

/// Numbers without end, the same in every run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % limit).unwrap()
    }
}

/// What one thread did.
#[derive(Default)]
struct Deeds {
    inserted: u64,
    ended: u64,
}

/// One random operation; what it finds must be what it looked for.
fn act(sessions: &Sessions, dice: &mut Dice, now: Seconds, deeds: &mut Deeds) {
    let [a, b] = [dice.below(HOSTS) * 2, dice.below(HOSTS) * 2];
    let key = udp(a, b);
    let mut gone = 0;
    match sessions.lookup(&key) {
        None if a != b => {
            let new = NewSession { entrance: port(a), ..plain(key, UDP) };
            match sessions.insert(&new, now, POLICY, |_| gone += 1) {
                Ok(Inserted::New(_)) => deeds.inserted += 1,
                Ok(Inserted::Existing(_)) | Err(InsertError::Full { .. } | InsertError::Ended) => {}
                Err(other) => panic!("{other}"),
            }
        }
        None => {}
        Some(found) => {
            if let Some(session) = sessions.get(found.session, now) {
                let keys = [session.initiator, session.responder];
                assert_eq!(keys[usize::from(found.direction == Direction::Reply)], key);
                assert_eq!(keys[0].tuple.reversed(), keys[1].tuple);
            }
            match dice.below(8) {
                0 => gone += u64::from(sessions.end(found.session, now).is_some()),
                1 => {
                    let from = dice.below(u64::from(CAPACITY));
                    sessions.expire(now, from, 8, &Timeouts::default(), |_| gone += 1);
                }
                _ => {
                    let verdict = sessions.track(found.session, found.direction, &UDP, now, POLICY);
                    assert!(matches!(verdict, Verdict::Valid | Verdict::Ended));
                }
            }
        }
    }
    deeds.ended += gone;
}

#[test]
fn two_threads_never_see_or_leave_anything_wrong() {
    let sessions = Sessions::new(CAPACITY, 3);
    let (stop, clock) = (AtomicBool::new(false), AtomicU64::new(0));
    let work = |seed| {
        let (mut dice, mut deeds) = (Dice(seed), Deeds::default());
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..1000 {
                let second = clock.fetch_add(1, Ordering::Relaxed) / 2000;
                act(&sessions, &mut dice, Seconds(u32::try_from(second).unwrap()), &mut deeds);
            }
        }
        deeds
    };
    let deeds = std::thread::scope(|scope| {
        let threads = [5, 7].map(|seed| scope.spawn(move || work(seed)));
        let end = Instant::now() + Duration::from_secs(2);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        stop.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().unwrap())
    });
    let [inserted, ended] = [|it: &Deeds| it.inserted, |it: &Deeds| it.ended]
        .map(|deed| deeds.iter().map(deed).sum::<u64>());
    let left: Vec<_> = sessions.iter(Seconds(0)).collect();
    assert_eq!(inserted - ended, left.len() as u64, "each session ended once or is there");
    assert_eq!(sessions.gauges().used as usize, left.len());
    let keys: HashSet<_> =
        left.iter().flat_map(|session| [session.initiator, session.responder]).collect();
    assert_eq!(keys.len(), left.len() * 2, "no key is another session's, too");
    for session in &left {
        for key in [session.initiator, session.responder] {
            assert_eq!(sessions.lookup(&key).unwrap().session, session.reference);
        }
    }
    // Nothing is left behind: the table can be emptied, and filled to the brim.
    sessions.flush(Seconds(0), |_| true, |_| ());
    for number in 0..CAPACITY {
        begin(&sessions, plain(udp(1000 + number * 2, 2), UDP), 0);
    }
    assert!(sessions.gauges().evicted > 0 && sessions.gauges().lost_races > 0);
}
