//! What a piece of work takes.

use std::time::{Duration, Instant};

use vswitch::sys::cycles as now;

use super::Work;

/// Items that are done before anything counts: code and tables come into the caches.
const WARM_UP: usize = 1 << 14;
/// Calls of which there is a median, whatever they last.
const LEAST_CALLS: usize = 100;
/// Readings by which it is known what a reading takes.
const READINGS: usize = 1000;

/// Notes what work takes, in one of two ways.
pub(crate) struct Meter {
    way: Way,
    items: usize,
    fault: Option<String>,
}

enum Way {
    /// The work is done, and only counted.
    Counting,
    /// It is done where callgrind counts.
    Instructions,
    /// Cycles per item of each call.
    Cycles(Vec<f64>),
}

impl Meter {
    /// One that counts items.
    pub(super) fn counting() -> Self {
        Self { way: Way::Counting, items: 0, fault: None }
    }

    /// Notes that the work was not done as it should have been: its figures mean nothing.
    pub(super) fn fault(&mut self, why: String) {
        self.fault = Some(why);
    }

    /// Whether it was done.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Items so far.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Does the work on so many items.
    #[inline]
    pub(super) fn note(&mut self, items: usize, work: impl FnOnce()) {
        self.items += items;
        match &mut self.way {
            Way::Counting => work(),
            Way::Instructions => benches_counted_region(work),
            Way::Cycles(calls) => {
                let begun = now();
                work();
                calls.push(per_item(now() - begun, items));
            }
        }
    }
}

/// Callgrind counts while this runs, and knows it by its name ([`super::instructions`]).
#[inline(never)]
fn benches_counted_region(work: impl FnOnce()) {
    work();
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_item(cycles: u64, items: usize) -> f64 {
    cycles as f64 / items.max(1) as f64
}

/// Cycles per item of the median call.
///
/// # Errors
/// What went wrong with the work.
pub(super) fn cycles(work: &mut Work, duration: Duration) -> Result<f64, String> {
    warm_up(work);
    let mut meter = Meter { way: Way::Cycles(Vec::new()), items: 0, fault: None };
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < duration || calls < LEAST_CALLS {
        work(&mut meter);
        calls += 1;
    }
    meter.verdict()?;
    let Way::Cycles(per_call) = meter.way else { return Err("nothing was timed".to_owned()) };
    let items_per_call = per_item(meter.items as u64, per_call.len());
    Ok((median(per_call) - reading() / items_per_call).max(0.0))
}

/// Does so many items where callgrind counts, and says how many they were.
///
/// # Errors
/// What went wrong with the work.
pub(super) fn counted(work: &mut Work, items: usize) -> Result<usize, String> {
    warm_up(work);
    let mut meter = Meter { way: Way::Instructions, items: 0, fault: None };
    while meter.items < items {
        work(&mut meter);
    }
    meter.verdict().map(|()| meter.items)
}

/// Does the work until it finds code and tables in the caches.
pub(super) fn warm_up(work: &mut Work) {
    let mut meter = Meter::counting();
    while meter.items < WARM_UP {
        work(&mut meter);
    }
}

/// Cycles that reading the counter twice takes.
fn reading() -> f64 {
    let mut meter = Meter { way: Way::Cycles(Vec::new()), items: 0, fault: None };
    (0..READINGS).for_each(|_| meter.note(1, || {}));
    let Way::Cycles(per_call) = meter.way else { return 0.0 };
    median(per_call)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn only_what_is_handed_to_the_meter_counts() {
        let done = Rc::new(Cell::new(0));
        let seen = Rc::clone(&done);
        let mut work: Work = Box::new(move |meter| {
            meter.note(32, || seen.set(seen.get() + 32));
        });
        let items = counted(&mut work, 100).unwrap();
        assert_eq!((items, done.get()), (128, 128 + WARM_UP));
    }

    #[test]
    fn the_median_call_counts() {
        assert_eq!(median(vec![5.0, 1.0, 1e9]), 5.0);
    }
}
