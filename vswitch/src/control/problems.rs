//! [`Problems`]: what the operator should know, for `status`.
//!
//! Each is there once, with when it began. One that stands is there for as long as its cause is; what happened and is over
//! stays, as far as there is room, until the daemon ends. Used by the control thread only.

use std::time::SystemTime;

use ctl::PortName;
use ctl::response::Problem;
use relay::Listen;

/// Problems that are remembered.
const MOST: usize = 100;

/// What a problem goes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It happened, and is over.
    Event,
    /// A port, or a tunnel, waits.
    Waiting(PortName),
    /// The bridge of a shared interface cannot follow the host.
    Unfollowed(PortName),
    /// Another program has a port of the host.
    Taken(Listen),
    /// The host's ports that the switch uses are not reserved.
    Unreserved,
}

/// What is not as it should be.
#[derive(Debug, Default)]
pub struct Problems(Vec<(Cause, SystemTime, String)>);

impl Problems {
    /// Remembers one. One that is known has begun when it was heard of first.
    pub fn note(&mut self, cause: Cause, text: String) {
        let is_same = |(known, _, about): &&mut (Cause, SystemTime, String)| {
            *known == cause && (cause != Cause::Event || *about == text)
        };
        if let Some((.., known)) = self.0.iter_mut().find(is_same) {
            *known = text;
            return;
        }
        if self.0.len() >= MOST {
            let oldest = self.0.iter().position(|(cause, ..)| *cause == Cause::Event);
            self.0.remove(oldest.unwrap_or(0));
        }
        self.0.push((cause, SystemTime::now(), text));
    }

    /// Forgets those whose cause is gone.
    pub fn keep(&mut self, stands: impl Fn(&Cause) -> bool) {
        self.0.retain(|(cause, ..)| *cause == Cause::Event || stands(cause));
    }

    /// What is the matter by a cause that stands.
    pub fn about(&self, cause: &Cause) -> Option<&str> {
        let stands = self.0.iter().find(|(known, ..)| known == cause);
        stands.map(|(.., text)| text.as_str())
    }

    /// Whether one with such a cause is there.
    pub fn stands(&self, is_meant: impl Fn(&Cause) -> bool) -> bool {
        self.0.iter().any(|(cause, ..)| is_meant(cause))
    }

    /// All of them, the newest last.
    pub fn list(&self) -> Vec<Problem> {
        self.0.iter().map(|(_, since, text)| problem(*since, text.clone())).collect()
    }
}

/// A problem as it is told.
pub fn problem(since: SystemTime, text: String) -> Problem {
    Problem { since: humantime::format_rfc3339_seconds(since).to_string(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(problems: &Problems) -> Vec<String> {
        problems.list().into_iter().map(|problem| problem.text).collect()
    }

    fn waiting(name: &str) -> Cause {
        Cause::Waiting(name.parse().unwrap())
    }

    #[test]
    fn each_is_there_once_and_with_when_it_began() {
        let mut problems = Problems::default();
        problems.note(waiting("up0"), "no eth0".to_owned());
        let begun = problems.0[0].1;
        problems.note(Cause::Event, "lost".to_owned());
        problems.note(Cause::Event, "lost".to_owned());
        problems.note(Cause::Event, "lost again".to_owned());
        problems.note(waiting("up0"), "eth0 is odd".to_owned());
        problems.note(waiting("up1"), "no eth1".to_owned());
        assert_eq!(texts(&problems), ["eth0 is odd", "lost", "lost again", "no eth1"]);
        assert_eq!(problems.0[0].1, begun);
        assert!(problems.list()[0].since.ends_with('Z'));
    }

    #[test]
    fn one_that_stands_goes_with_its_cause_and_what_happened_stays() {
        let mut problems = Problems::default();
        problems.note(waiting("up0"), "no eth0".to_owned());
        problems.note(Cause::Event, "lost".to_owned());
        problems.note(Cause::Unreserved, "not reserved".to_owned());
        assert!(problems.stands(|cause| *cause == waiting("up0")));
        assert_eq!(problems.about(&waiting("up0")), Some("no eth0"));
        problems.keep(|cause| *cause != waiting("up0"));
        assert!(!problems.stands(|cause| *cause == waiting("up0")));
        assert_eq!(problems.about(&waiting("up0")), None);
        assert_eq!(texts(&problems), ["lost", "not reserved"]);
    }

    #[test]
    fn what_stands_is_not_crowded_out_by_what_happened() {
        let mut problems = Problems::default();
        problems.note(waiting("up0"), "no eth0".to_owned());
        (0..MOST).for_each(|number| problems.note(Cause::Event, number.to_string()));
        let texts = texts(&problems);
        assert_eq!((texts.len(), texts[0].as_str(), texts[1].as_str()), (MOST, "no eth0", "1"));
    }
}
