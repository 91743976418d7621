//! What a switch takes when nothing is sent: processor time and wake-ups of all its threads, with many ports.
//!
//! Each port is a container's of its own. What new interfaces have to say comes first, and is waited for.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use netlab::cpu;

use crate::campaign::{Plan, choose};
use crate::progress::Progress;
use crate::record::{Figure, Record};
use crate::subject::{Labour, Rig, Subject, Wish, catalogue};

/// What can have many ports (AF_XDP ports take more buffers each than there are for a hundred by default); whether it is measured if nothing is asked for by name.
const SUBJECTS: [(&str, bool); 7] = [
    ("tap", true),
    ("gso", true),
    ("offload", false),
    ("tap-busy", false),
    ("ovs-packet", true),
    ("ovs-tap", true),
    ("ovs-dpdk-packet", false),
];

/// Ports that every rig has.
const ENDS: u16 = 2;
/// Seconds of which none takes notably less than the least before: the switch is at rest.
const STEADY: usize = 10;
/// How much less is notable.
const NOTABLE: f64 = 0.9;
/// Seconds that coming to rest may take.
const PATIENCE: usize = 90;

/// Those that are named, of those that can have many ports.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Subject>, Box<dyn Error>> {
    let known = |subject: &Subject| SUBJECTS.iter().find(|(name, _)| *name == subject.name);
    let all: Vec<_> = catalogue().into_iter().filter(|subject| known(subject).is_some()).collect();
    choose("subject with many ports", names, &all, |subject| {
        (subject.name, known(subject).is_some_and(|(_, is_default)| *is_default))
    })
}

/// Measures, prints and writes.
///
/// # Errors
/// When a subject that is installed could not be measured at all, or the file cannot be written.
pub(crate) fn run(plan: &Plan, ports: u16) -> Result<(), Box<dyn Error>> {
    let mut record = plan.begin()?;
    let turns = plan.turns();
    let progress = Progress::of(turns.len());
    for (round, subject) in turns {
        progress.at(subject.name);
        let wish = Wish { guests: ports.saturating_sub(ENDS), ..Wish::USUAL };
        let measured = subject.start(&wish).and_then(|rig| at_rest(&rig, plan.setting.duration));
        enter(&mut record, &subject, (round, ports), measured);
        progress.done(1);
    }
    drop(progress);
    plan.finish(&record)
}

fn enter(
    record: &mut Record,
    subject: &Subject,
    (round, ports): (usize, u16),
    measured: Result<Rest, Box<dyn Error>>,
) {
    let (name, about) = (format!("idle-{ports}"), format!("{ports} ports, and nothing is sent"));
    match measured {
        Err(error) => record.fail(subject.name, &name, &error.to_string()),
        Ok(rest) => rest.figures().into_iter().for_each(|figure| {
            record.enter(subject.name, (&name, &about), round, figure);
        }),
    }
}

/// What a switch did in a while.
#[derive(Debug, Clone, Copy)]
struct Rest {
    worked: Duration,
    wake_ups: u64,
    elapsed: Duration,
}

impl Rest {
    /// Watches all threads of a switch for so long.
    fn watch(labour: &Labour, duration: Duration) -> Result<Self, Box<dyn Error>> {
        let (begun, before) = (Instant::now(), so_far(labour)?);
        thread::sleep(duration);
        let after = so_far(labour)?;
        Ok(Self {
            worked: after.0.saturating_sub(before.0),
            wake_ups: after.1 - before.1,
            elapsed: begun.elapsed(),
        })
    }

    /// Of one core.
    fn percent(&self) -> f64 {
        self.worked.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }

    fn figures(self) -> [Figure; 2] {
        let wake_ups = u32::try_from(self.wake_ups).unwrap_or(u32::MAX);
        let wake_ups = f64::from(wake_ups) / self.elapsed.as_secs_f64();
        [
            Figure::lower("processor", "% of a core", self.percent()),
            Figure::lower("wake-ups", "/s", wake_ups),
        ]
    }
}

/// Processor time and wake-ups of all threads of a switch.
fn so_far(labour: &Labour) -> Result<(Duration, u64), Box<dyn Error>> {
    let mut total = (Duration::ZERO, 0);
    for process in labour.processes() {
        total.0 += cpu::threads_time(process, "")?;
        total.1 += cpu::wake_ups(process)?;
    }
    Ok(total)
}

/// Waits until a switch is at rest, and watches it then.
fn at_rest(rig: &Rig, duration: Duration) -> Result<Rest, Box<dyn Error>> {
    let mut seconds = Vec::new();
    while !is_steady(&seconds) {
        if seconds.len() == PATIENCE {
            return Err(format!("it is not at rest after {PATIENCE} s").into());
        }
        seconds.push(Rest::watch(&rig.labour, Duration::from_secs(1))?.percent());
    }
    Rest::watch(&rig.labour, duration)
}

/// Whether the last of these takes no notably less than those before.
fn is_steady(seconds: &[f64]) -> bool {
    let Some((before, last)) = seconds.split_last_chunk::<STEADY>() else { return false };
    let least = |some: &[f64]| some.iter().copied().fold(f64::INFINITY, f64::min);
    !before.is_empty() && least(last) >= least(before) * NOTABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_becomes_less_is_not_at_rest() {
        let becoming_less: Vec<_> = (0..30u8).map(|second| 0.8f64.powi(second.into())).collect();
        assert!((0..30).all(|count| !is_steady(&becoming_less[..count])));
        let at_rest: Vec<_> = becoming_less.iter().copied().chain([0.002; STEADY]).collect();
        assert!(is_steady(&at_rest));
        assert!(!is_steady(&at_rest[..at_rest.len() - 1]), "ten seconds are looked at");
        assert!(!is_steady(&[1.0; STEADY]) && is_steady(&[1.0; STEADY + 1]));
    }

    #[test]
    fn who_waits_has_slept_and_not_worked() {
        let labour = Labour::Processes(vec![std::process::id()]);
        let rest = Rest::watch(&labour, Duration::from_millis(20)).unwrap();
        assert!(rest.wake_ups > 0 && rest.elapsed >= Duration::from_millis(20));
        let rest = Rest {
            worked: Duration::from_millis(60),
            wake_ups: 90,
            elapsed: Duration::from_secs(30),
        };
        let [processor, wake_ups] = rest.figures();
        assert!((processor.value - 0.2).abs() < 1e-9 && (wake_ups.value - 3.0).abs() < 1e-9);
    }

    #[test]
    fn only_what_can_have_many_ports_is_chosen() {
        assert_eq!(chosen(&["all".to_owned()]).unwrap().len(), SUBJECTS.len());
        let usual = chosen(&[]).unwrap();
        assert_eq!(usual.iter().filter(|subject| subject.name.starts_with("ovs")).count(), 2);
        assert!(chosen(&["bridge".to_owned()]).is_err());
    }
}
