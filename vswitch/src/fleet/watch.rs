//! Who watches the workers: captures and live traces, see [`Observer`].

use std::collections::BTreeSet;

use super::{Fleet, FleetError, worker_id};
use crate::worker::{Command, Observer, ObserverId, WorkerId};

/// Who watches the workers.
#[derive(Debug, Default)]
pub(super) struct Watch {
    observers: BTreeSet<ObserverId>,
    /// Who of these follows packets.
    following: Option<ObserverId>,
    next: u64,
    /// Workers that have not begun to be watched by whoever was sent last.
    awaited: usize,
    /// Who watched, and was sent back.
    dismissed: Vec<Observer>,
}

impl Watch {
    /// A worker is watched now.
    pub(super) fn note_begun(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// A worker is not watched any more.
    pub(super) fn note_dismissed(&mut self, observer: Observer) {
        self.dismissed.push(observer);
    }
}

impl Fleet {
    /// How many watch.
    pub fn observers(&self) -> usize {
        self.watch.observers.len()
    }

    /// Whether somebody follows packets. No more than one at a time may.
    pub fn is_followed(&self) -> bool {
        self.watch.following.is_some()
    }

    /// Lets somebody watch every worker: `make` makes one for each. When this returns, all of them are watched.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn.
    pub fn observe(
        &mut self,
        mut make: impl FnMut(ObserverId) -> Observer,
    ) -> Result<ObserverId, FleetError> {
        let id = ObserverId(self.watch.next);
        self.watch.next += 1;
        self.watch.awaited = 0;
        for worker in 0..self.lanes.len() {
            let observer = make(id);
            if matches!(observer, Observer::Following(_)) {
                self.watch.following = Some(id);
            }
            self.watch.awaited += 1;
            self.send(worker_id(worker), Command::Observe(observer))?;
        }
        self.wait(|fleet| (fleet.watch.awaited > 0).then_some(WorkerId(0)))?;
        self.watch.observers.insert(id);
        Ok(id)
    }

    /// Lets somebody watch no more, and takes it back from all workers.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn.
    pub fn unobserve(&mut self, id: ObserverId) -> Result<Vec<Observer>, FleetError> {
        self.watch.observers.remove(&id);
        self.watch.following.take_if(|own| *own == id);
        for worker in 0..self.lanes.len() {
            self.send(worker_id(worker), Command::Unobserve(id))?;
        }
        let workers = self.lanes.len();
        self.wait(|fleet| {
            let back = fleet.watch.dismissed.iter().filter(|observer| observer.id() == id).count();
            (back < workers).then_some(WorkerId(0))
        })?;
        let (own, others) =
            std::mem::take(&mut self.watch.dismissed).into_iter().partition(|own| own.id() == id);
        self.watch.dismissed = others;
        Ok(own)
    }
}
