//! [`Schedule`]: which backend is to be checked when. No clock of its own.
//!
//! Backends that are due at the same time, such as all after a restart, are taken one after the other at a bounded rate, and
//! keep their distance from then on. Where there are more than the rate allows, each is checked less often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ctl::ServiceName;

/// The shortest time from one check to the next, on average.
const PACE: Duration = Duration::from_micros(500);
/// So many may be begun at once after a pause.
const BURST: u32 = 32;

/// A backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The service.
    pub service: ServiceName,
    /// The backend.
    pub at: SocketAddr,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Schedule {
    queue: BTreeSet<(Instant, Target)>,
    due: BTreeMap<Target, Instant>,
    /// From when on another one may begin at the rate, if none was begun ahead of it.
    paced: Option<Instant>,
}

impl Schedule {
    /// A backend is to be checked at a time, and at no other that was said before.
    pub fn put(&mut self, target: Target, at: Instant) {
        self.remove(&target);
        self.queue.insert((at, target.clone()));
        self.due.insert(target, at);
    }

    /// A backend is not to be checked any more.
    pub fn remove(&mut self, target: &Target) {
        if let Some((target, at)) = self.due.remove_entry(target) {
            self.queue.remove(&(at, target));
        }
    }

    /// Takes out who is to be checked now, one at a time.
    pub fn next(&mut self, now: Instant) -> Option<Target> {
        let is_due = self.next_at().is_some_and(|at| at <= now);
        let (_, target) = is_due.then(|| self.queue.pop_first())??;
        let earliest = now.checked_sub(PACE * (BURST - 1)).unwrap_or(now);
        self.paced = Some(self.paced.map_or(earliest, |paced| paced.max(earliest)) + PACE);
        self.due.remove(&target);
        Some(target)
    }

    /// When there is somebody to check next.
    pub fn next_at(&self) -> Option<Instant> {
        let (at, _) = self.queue.first()?;
        Some(self.paced.map_or(*at, |paced| paced.max(*at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u16) -> Target {
        let at = SocketAddr::from(([10, 0, 0, 2], number));
        Target { service: "web".parse().unwrap(), at }
    }

    fn taken(schedule: &mut Schedule, now: Instant) -> usize {
        std::iter::from_fn(|| schedule.next(now)).count()
    }

    #[test]
    fn who_is_due_is_taken_once_the_earliest_first() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        schedule.put(target(2), now);
        schedule.put(target(1), later);
        schedule.put(target(3), later);
        assert_eq!(schedule.next(now), Some(target(2)));
        assert_eq!((schedule.next(now), schedule.next_at()), (None, Some(later)));
        schedule.put(target(3), now);
        assert_eq!(schedule.next(now), Some(target(3)), "what was said last counts");
        schedule.remove(&target(1));
        assert_eq!((schedule.next(later), schedule.next_at()), (None, None));
    }

    #[test]
    fn many_at_once_are_spread() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        (0..5000).for_each(|number| schedule.put(target(number), now));
        assert_eq!(taken(&mut schedule, now), BURST as usize);
        let next = schedule.next_at().unwrap();
        assert_eq!(next, now + PACE);
        assert_eq!(taken(&mut schedule, next), 1);
        assert_eq!(taken(&mut schedule, now + PACE * 11), 10);
        let pause = now + Duration::from_secs(10);
        assert_eq!(taken(&mut schedule, pause), BURST as usize, "a pause allows no more");
    }
}
