//! The table against a plain map, under random operations.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{Direction, Verdict};
use super::*;

/// An operation on the table, and on the map that is its model. Sessions are between few endpoints,
/// so that they meet.
#[derive(Debug, Clone)]
enum Step {
    /// From, to, who answers, whom they answer.
    Insert(u32, u32, u32, u32),
    Lookup(u32, u32),
    /// Which of the sessions that ever were, and a packet of which direction.
    Track(prop::sample::Index, Direction),
    End(prop::sample::Index),
    Flush(u32),
    Expire,
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = || (0u32..6).prop_map(|number| number * 2);
    let which = any::<prop::sample::Index>;
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    let step = prop_oneof![
        3 => (host(), host()).prop_map(|(a, b)| Step::Insert(a, b, b, a)),
        3 => (host(), host(), host(), host()).prop_map(|(a, b, c, d)| Step::Insert(a, b, c, d)),
        3 => (host(), host()).prop_map(|(a, b)| Step::Lookup(a, b)),
        4 => (which(), direction).prop_map(|(which, from)| Step::Track(which, from)),
        1 => which().prop_map(Step::End),
        1 => (0u32..3).prop_map(Step::Flush),
        1 => Just(Step::Expire),
        2 => (0u32..200).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

/// What the model knows of a session.
#[derive(Debug, Clone, Copy)]
struct Known {
    keys: [Key; 2],
    entrances: [Option<PortIndex>; 2],
    created: u32,
    seen: u32,
    packets: [u64; 2],
}

#[derive(Default)]
struct Model {
    /// All sessions that ever were, and whether they live.
    sessions: Vec<(SessionRef, Option<Known>)>,
    by_key: HashMap<Key, (usize, Direction)>,
}

impl Model {
    fn remove(&mut self, at: usize) {
        if let Some(known) = self.sessions[at].1.take() {
            self.by_key.retain(|key, _| !known.keys.contains(key));
        }
    }

    fn remove_if(&mut self, doomed: impl Fn(&Known) -> bool) -> usize {
        let is_doomed = |at: &usize| self.sessions[*at].1.as_ref().is_some_and(&doomed);
        let all: Vec<_> = (0..self.sessions.len()).filter(is_doomed).collect();
        all.iter().for_each(|at| self.remove(*at));
        all.len()
    }

    fn alive(&self) -> usize {
        self.sessions.iter().filter(|(_, known)| known.is_some()).count()
    }

    fn insert(&mut self, table: &Sessions, new: NewSession, now: u32) -> Result<(), TestCaseError> {
        let inserted = insert(table, new, now);
        let taken = [new.initiator, new.responder].map(|key| self.by_key.get(&key).copied());
        match (inserted, taken) {
            (Ok(Inserted::New(session)), [None, None]) => {
                let keys = [new.initiator, new.responder];
                let at = self.sessions.len();
                self.by_key.extend(keys.into_iter().zip(Direction::BOTH.map(|way| (at, way))));
                let entrances = [new.entrance, None];
                let packets = [1, 0];
                let known = Known { keys, entrances, created: now, seen: now, packets };
                self.sessions.push((session, Some(known)));
            }
            (Ok(Inserted::Existing(found)), [Some((at, direction)), _]) => {
                let expected = (self.sessions[at].0, direction);
                prop_assert_eq!((found.session, found.direction), expected);
            }
            (Err(InsertError::Clash { .. }), [None, taken]) => {
                prop_assert!(taken.is_some() || new.initiator == new.responder);
            }
            unexpected => prop_assert!(false, "{:?}", unexpected),
        }
        Ok(())
    }

    fn track(
        &mut self,
        table: &Sessions,
        at: usize,
        from: Direction,
        now: u32,
    ) -> Result<(), TestCaseError> {
        let (session, known) = &mut self.sessions[at];
        let verdict = table.track(*session, from, &UDP, Seconds(now), POLICY);
        let expected = if known.is_some() { Verdict::Valid } else { Verdict::Ended };
        prop_assert_eq!(verdict, expected);
        if let Some(known) = known {
            known.seen = now;
            known.packets[usize::from(from == Direction::Reply)] += 1;
        }
        Ok(())
    }

    /// Compares everything.
    fn check(&self, table: &Sessions, now: u32) -> Result<(), TestCaseError> {
        for (session, known) in &self.sessions {
            let seen = table.get(*session, Seconds(now));
            prop_assert_eq!(seen.is_some(), known.is_some());
            if let Some((seen, known)) = seen.zip(*known) {
                prop_assert_eq!([seen.initiator, seen.responder], known.keys);
                prop_assert_eq!(seen.entrances, known.entrances);
                prop_assert_eq!([seen.original.packets, seen.reply.packets], known.packets);
                prop_assert_eq!(seen.is_replied, known.packets[1] > 0);
                let times = [now - known.created, now - known.seen];
                prop_assert_eq!([seen.age_seconds, seen.idle_seconds], times);
            }
        }
        prop_assert_eq!(table.iter(Seconds(now)).count(), self.alive());
        prop_assert_eq!(table.gauges().used as usize, self.alive());
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_table_behaves_as_a_map_with_ages(steps in steps()) {
        let table = Sessions::new(50, 42);
        let mut model = Model::default();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Insert(a, b, c, d) => {
                    let entrance = port(a % 3);
                    let responder = udp(c, d);
                    let new = NewSession { initiator: udp(a, b), responder, entrance, packet: UDP };
                    model.insert(&table, new, now)?;
                }
                Step::Lookup(a, b) => {
                    let found = table.lookup(&udp(a, b)).map(|it| (it.session, it.direction));
                    let known = model.by_key.get(&udp(a, b));
                    let expected = known.map(|(at, way)| (model.sessions[*at].0, *way));
                    prop_assert_eq!(found, expected);
                }
                Step::Track(which, from) if !model.sessions.is_empty() => {
                    let at = which.index(model.sessions.len());
                    model.track(&table, at, from, now)?;
                }
                Step::End(which) if !model.sessions.is_empty() => {
                    let at = which.index(model.sessions.len());
                    let (session, known) = model.sessions[at];
                    let ended = table.end(session, Seconds(now));
                    prop_assert_eq!(ended.is_some(), known.is_some());
                    model.remove(at);
                }
                Step::Track(..) | Step::End(_) => {}
                Step::Flush(number) => {
                    let entrance = port(number);
                    let flushed = table.flush(Seconds(now), |it| it.entrances[0] == entrance, |_| ());
                    prop_assert_eq!(flushed, model.remove_if(|known| known.entrances[0] == entrance));
                }
                Step::Expire => {
                    let expired = expire_all(&table, now, &Timeouts::default());
                    prop_assert_eq!(expired, model.remove_if(|known| now - known.seen > 300));
                }
                Step::Wait(seconds) => now += seconds,
            }
        }
        model.check(&table, now)?;
    }
}
