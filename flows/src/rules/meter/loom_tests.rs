//! Buckets under every interleaving of two threads that take.

use loom::sync::Arc;

use super::{LimitSpec, Meter, Scope, Source, Unit};
use crate::Nanos;

#[test]
fn loom_two_threads_never_take_more_than_the_burst() {
    loom::model(|| {
        let spec = LimitSpec { rate: 1, burst: 3, unit: Unit::Frames, scope: Scope::Rule };
        let meter = Arc::new(Meter::new(spec, 0));
        let take = |meter: &Meter| {
            (0..2).filter(|_| meter.take(Source::EVERYBODY, 1, 60, Nanos::from_secs(1))).count()
        };
        let other = {
            let meter = Arc::clone(&meter);
            loom::thread::spawn(move || take(&meter))
        };
        let own = take(&meter);
        assert_eq!(own + other.join().unwrap(), 3);
    });
}
