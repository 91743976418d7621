//! How far a run is: a bar with the time left on a terminal, and a line now and then where there is none.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(15);

/// How far a run of so many steps is, on standard error. It is over when this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the last line was printed.
    told: Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn of(steps: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX)).with_style(style);
        Self { bar, told: Cell::new(None) }
    }

    /// What the run is at from now on.
    pub(crate) fn at(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
        let is_due = self.told.get().is_none_or(|told| told.elapsed() >= PAUSE);
        if self.bar.is_hidden() && is_due {
            eprintln!("{}", self.line(self.bar.elapsed()));
            self.told.set(Some(Instant::now()));
        }
    }

    /// So many steps more are done.
    pub(crate) fn done(&self, steps: usize) {
        self.bar.inc(u64::try_from(steps).unwrap_or(0));
    }

    /// So many steps are done altogether.
    pub(crate) fn reached(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    fn line(&self, elapsed: Duration) -> String {
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let left = all.saturating_sub(done);
        let time = match u32::try_from(done) {
            Ok(0) | Err(_) => String::new(),
            Ok(done) => {
                let left = elapsed / done * u32::try_from(left).unwrap_or(u32::MAX);
                format!(", {} left", HumanDuration(left))
            }
        };
        format!("{done}/{all}{time}: {}", self.bar.message())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_the_rest_takes_at_this_pace() {
        let progress = Progress::of(20);
        progress.at("bridge starts");
        assert_eq!(progress.line(Duration::from_secs(9)), "0/20: bridge starts");
        progress.done(5);
        progress.at("tap starts");
        assert_eq!(progress.line(Duration::from_mins(1)), "5/20, 3 minutes left: tap starts");
        progress.reached(20);
        assert_eq!(progress.line(Duration::from_mins(4)), "20/20, 0 seconds left: tap starts");
    }
}
