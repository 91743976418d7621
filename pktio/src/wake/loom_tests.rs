//! Leaving and looking in every interleaving.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::*;

/// Stands for a queue and a doorbell.
#[derive(Default)]
struct Desk {
    sleeper: Sleeper,
    notice: Notice,
    /// Relaxed: all order is that of what is tested.
    left: [AtomicBool; 2],
    rung: AtomicBool,
}

impl Desk {
    fn leave(&self, at: usize) {
        self.left[at].store(true, Ordering::Relaxed);
    }

    fn is_left(&self, at: usize) -> bool {
        self.left[at].load(Ordering::Relaxed)
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }

    fn silence(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

#[test]
fn loom_nobody_sleeps_over_what_was_left_for_him() {
    loom::model(|| {
        let desk = Arc::new(Desk::default());
        let worker = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let lie_down = || desk.sleeper.doze(|| !desk.is_left(0));
                // Something else may wake him the first time.
                if lie_down() {
                    desk.sleeper.rouse();
                    desk.silence();
                }
                lie_down()
            })
        };
        let sender = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                desk.leave(0);
                if desk.sleeper.must_be_woken() {
                    desk.ring();
                }
            })
        };
        sender.join().unwrap();
        let is_asleep = worker.join().unwrap();
        assert!(!is_asleep || desk.rung.load(Ordering::Acquire));
    });
}

#[test]
fn loom_what_was_left_is_told_of_or_found() {
    let mut builder = loom::model::Builder::new();
    // More find nothing more in reasonable time.
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let desk = Arc::new(Desk::default());
        assert!(desk.notice.put_up(), "of something else");
        let told = Arc::new(AtomicUsize::new(0));
        let senders = [0, 1].map(|at| {
            let (desk, told) = (Arc::clone(&desk), Arc::clone(&told));
            thread::spawn(move || {
                desk.leave(at);
                if desk.notice.put_up() {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let looker = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                desk.notice.take_down();
                [0, 1].map(|at| desk.is_left(at))
            })
        };
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let found = looker.join().unwrap();
        let told = told.load(Ordering::Relaxed);
        assert!(told <= 1, "once");
        assert!(found == [true; 2] || told == 1, "{found:?}");
    });
}
