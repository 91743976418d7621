//! Changes that somebody asks for: one, or several at once.

use ctl::response::Changed;
use ctl::{
    Batch, Config, CtlError, ErrorCode, FdbFilter, FdbKey, Mutation, Named, PortMove, PortName,
    apply, apply_all,
};
use flows::Vid;

use super::Switch;
use super::commit::stuck;
use crate::control::problems::Cause;
use crate::control::{choices, place, subject};
use crate::worker::WorkerId;

impl Switch {
    /// Carries out a change.
    ///
    /// # Errors
    /// [`CtlError`]; nothing has changed then.
    pub fn mutate(&mut self, mutation: Mutation) -> Result<Changed, CtlError> {
        self.withdraw_shortcuts()?;
        let present = self.without_predecessors(&mutation)?;
        match choices::complete(mutation, &present) {
            Mutation::Batch(batch) => self.mutate_at_once(&present, batch),
            one => self.mutate_once(&present, &one),
        }
    }

    /// The configuration without those whose names a request means another container by.
    fn without_predecessors(&self, mutation: &Mutation) -> Result<Config, CtlError> {
        let names = place::predecessors(mutation, &self.config);
        names.into_iter().try_fold(self.config.clone(), |config, name| {
            tracing::info!("port {name}: its container is gone, and another has its name");
            apply(&config, &Mutation::PortDel(Named { name, if_exists: true }))
        })
    }

    fn mutate_once(&mut self, present: &Config, mutation: &Mutation) -> Result<Changed, CtlError> {
        let next = apply(present, mutation)?;
        let mut subject = subject::of(mutation, present, &next)?;
        let differs = self.advance(next)?;
        if !differs {
            self.check_in_place(subject.port.as_ref())?;
        }
        self.follow_new_hosts();
        self.note_following(&mut subject);
        let removed = match mutation {
            Mutation::FdbDel(key) => Some(usize::from(self.forget_station(key) || differs)),
            Mutation::FdbFlush(filter) => Some(self.flush_stations(filter)),
            Mutation::NeighborDel(key) => Some(usize::from(self.forget_neighbor(key) || differs)),
            Mutation::NeighborFlush(filter) => Some(self.flush_neighbors(filter)),
            Mutation::ConnFlush(filter) => Some(self.flush_sessions(filter)),
            _ => subject.removed,
        };
        let moved = match mutation {
            Mutation::PortMove(to) => self.relocate(to)?,
            _ => false,
        };
        let changed = differs || moved || removed.is_some_and(|count| count > 0);
        let unknown = |what, show| {
            let message = format!("that {what} is not known; `{show}` shows those that are");
            Err(CtlError::not_found(message))
        };
        match mutation {
            Mutation::FdbDel(_) if !changed => return unknown("station", "fdb show"),
            Mutation::NeighborDel(_) if !changed => return unknown("neighbour", "neighbor show"),
            _ => {}
        }
        Ok(Changed { changed, removed, ..subject })
    }

    /// Says of a port whose bridge is to be what the host is, and cannot, what is in its way.
    fn note_following(&self, subject: &mut Changed) {
        let cause = subject.port.clone().map(Cause::Unfollowed);
        let obstacle = cause.and_then(|cause| self.problems.about(&cause));
        subject.notes.extend(obstacle.map(str::to_owned));
    }

    /// That a container which is attached already has its interface, so that it is as usable as one that is attached anew.
    fn check_in_place(&self, name: Option<&PortName>) -> Result<(), CtlError> {
        let found = name.and_then(|name| Some((name, self.config().ports.get(name)?)));
        let Some((name, port)) = found else { return Ok(()) };
        let Some(facts) = self.facts.get(name) else { return Ok(()) };
        if place::has_interface(port, facts.index).map_err(|error| error.for_port(name))? {
            return Ok(());
        }
        let (netns, ifname) = port.kind.interface();
        let place = netns.map_or(String::new(), |netns| format!(" in namespace {netns}"));
        Err(CtlError::new(
            ErrorCode::Exists,
            format!(
                "port {name} is there, but its interface is not {ifname}{place} any more: it was renamed, or moved away; \
                 undo that, or `detach` it and attach it again"
            ),
        ))
    }

    /// Several changes, in one step.
    fn mutate_at_once(&mut self, present: &Config, batch: Batch) -> Result<Changed, CtlError> {
        let steps = apply_all(present, &batch)?;
        let befores = std::iter::once(present).chain(&steps);
        let each = batch.changes.iter().zip(befores.zip(&steps));
        let each = each.map(|(mutation, (before, after))| {
            let subject = subject::of(mutation, before, after)?;
            Ok(Changed { changed: before != after, ..subject })
        });
        let mut each = each.collect::<Result<Vec<_>, CtlError>>()?;
        let kept = each.iter().filter(|subject| !subject.changed);
        kept.map(|subject| subject.port.as_ref()).try_for_each(|port| self.check_in_place(port))?;
        let changed = match steps.into_iter().next_back() {
            Some(last) => self.advance(last).map_err(|error| placed(error, &each))?,
            None => false,
        };
        self.follow_new_hosts();
        each.iter_mut().for_each(|subject| self.note_following(subject));
        Ok(Changed { changed, each, ..Changed::default() })
    }

    /// Lets another worker serve a port. False when it does so already.
    fn relocate(&mut self, PortMove { name, worker }: &PortMove) -> Result<bool, CtlError> {
        let refused = |why: String| Err(CtlError::invalid(format!("port {name}: {why}")));
        let workers = self.fleet.workers().count();
        if usize::from(*worker) >= workers {
            return refused(format!("there is no worker {worker}, but 0 to {}", workers - 1));
        }
        let (Some((port, _)), Some(facts)) = (self.numbering.ports.get(name), self.facts.get(name))
        else {
            return refused("it waits for its device, and has no worker yet".to_owned());
        };
        let (port, to) = (*port, WorkerId(*worker));
        if self.fleet.placement().iter().all(|(queue, at)| queue.port != port || *at == to) {
            return Ok(false);
        }
        if facts.is_bound {
            return refused("by AF_XDP it is bound to its worker's packet memory".to_owned());
        }
        self.fleet.relocate(port, to).map_err(stuck)?;
        self.publish()?;
        self.fleet.open(port).map_err(stuck)?;
        Ok(true)
    }

    fn forget_station(&self, key: &FdbKey) -> bool {
        let vid = key.vlan.map_or(Vid::NONE, |vlan| Vid(vlan.number()));
        let slot = self.numbering.bridges.get(&key.bridge);
        slot.is_some_and(|slot| slot.fdb.remove(pktio::wire::MacAddr(key.mac.0), vid))
    }

    fn flush_stations(&self, filter: &FdbFilter) -> usize {
        let now = self.now();
        self.matching_bridges(filter)
            .map(|slot| {
                slot.fdb.flush(now, |entry| !entry.is_static && self.matches(filter, entry))
            })
            .sum()
    }
}

/// An error about a port that one of several changes makes, told of that.
fn placed(error: CtlError, each: &[Changed]) -> CtlError {
    let is_about = |port: &PortName| error.message.starts_with(&format!("port {port}: "));
    let makes = |one: &Changed| one.changed && one.port.as_ref().is_some_and(is_about);
    match each.iter().position(makes) {
        Some(at) => error.of_change(at + 1, each.len()),
        None => error,
    }
}
