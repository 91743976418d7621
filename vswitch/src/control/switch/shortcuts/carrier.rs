//! [`Carrier`]: the shortcuts that there are, and what went by them.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use flows::session::{Direction, Session, SessionRef, Sessions, Volume};
use flows::{Ledger, Nanos, Offer, PortIndex, Routed, Seconds};
use pktio::bpf::BpfError;
use pktio::shortcut::{Key, Number, Rewriting, Route, Shortcuts, TABLE_ENTRIES, Table, Tally};
use rustix::time::{ClockId, clock_gettime};

use super::flow;
use crate::random::random;
use crate::worker::Clock;

/// Sessions that are remembered before it is looked which of them are over.
const SESSIONS: usize = 1024;

/// What the kernel carries.
pub struct Carrier {
    shortcuts: Arc<Shortcuts>,
    table: Table,
    /// Empty, and takes the place of the other when what that carries is withdrawn, even if nothing more is to be had of the
    /// kernel. Without it nothing is carried.
    spare: Option<Table>,
    entries: BTreeMap<Key, Carried>,
    numbers: Numbers,
    /// What it has carried.
    books: Ledger,
    /// What of that was in sessions. It is kept beside these, whose own counts only workers write.
    passed: HashMap<SessionRef, Passed>,
    /// So many sessions are remembered when it is looked next which of them are over.
    crowd: usize,
    /// The kernel's monotonic clock when the switch's was zero.
    origin_ns: u64,
}

/// One shortcut.
#[derive(Debug, Clone, Copy)]
struct Carried {
    offer: Offer,
    route: Route,
    /// Of what went by it, what is in the books.
    entered: Tally,
    /// Something went by it since it was looked after.
    is_busy: bool,
}

/// Something went by a shortcut.
#[derive(Debug)]
pub(super) struct Heard {
    /// What it was made of.
    pub(super) offer: Offer,
    /// When the last of it came.
    pub(super) at: Seconds,
}

/// What passed in a session, by direction.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    original: Volume,
    reply: Volume,
}

/// The numbers of rewritings. One is given again when no table names it.
#[derive(Debug)]
struct Numbers {
    free: Vec<Number>,
    /// From here on they were never given.
    fresh: NonZeroU32,
}

impl Numbers {
    fn new() -> Self {
        Self { free: Vec::new(), fresh: NonZeroU32::MIN }
    }

    fn take(&mut self) -> Option<Number> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = Some(self.fresh).filter(|number| number.get() <= TABLE_ENTRIES)?;
        self.fresh = number.saturating_add(1);
        Some(Number::new(number))
    }

    fn give_back(&mut self, number: Option<Number>) {
        self.free.extend(number);
    }
}

impl Carried {
    /// Enters a shortcut into a table. Where there is no room, the workers carry on.
    fn begin(table: &Table, key: &Key, offer: Offer, route: Route) -> Option<Self> {
        table.put(key, &route).ok()?;
        Some(Self { offer, route, entered: Tally::default(), is_busy: true })
    }
}

impl Passed {
    fn of(&mut self, direction: Direction) -> &mut Volume {
        match direction {
            Direction::Original => &mut self.original,
            Direction::Reply => &mut self.reply,
        }
    }
}

fn add(volume: &mut Volume, packets: u64, bytes: u64) {
    volume.packets += packets;
    volume.bytes += bytes;
}

impl Carrier {
    /// One that carries nothing yet. It is lent the connections among these sessions.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(clock: Clock, sessions: &Sessions) -> Result<Self, BpfError> {
        let table = Table::new()?;
        let (secret, connections) = (u64::from_ne_bytes(random()), sessions.gauges().capacity);
        let shortcuts = Arc::new(Shortcuts::new(secret, &table, connections)?);
        sessions.set_trails(shortcuts.trails());
        let time = clock_gettime(ClockId::Monotonic);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        let kernel_ns = part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec);
        Ok(Self {
            shortcuts,
            table,
            spare: Table::new().ok(),
            entries: BTreeMap::new(),
            numbers: Numbers::new(),
            books: Ledger::new(),
            passed: HashMap::new(),
            crowd: SESSIONS,
            origin_ns: kernel_ns.saturating_sub(clock.now().as_nanos()),
        })
    }

    /// What devices are to be opened with.
    pub(super) fn shortcuts(&self) -> Arc<Shortcuts> {
        Arc::clone(&self.shortcuts)
    }

    /// Shortcuts that there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it has carried.
    pub(super) fn books(&self) -> &Ledger {
        &self.books
    }

    /// What the shortcuts were made of.
    pub(super) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.entries.values().map(|carried| &carried.offer)
    }

    /// What those were made of by which something went since they were looked after.
    pub(super) fn busy(&self) -> impl Iterator<Item = &Offer> {
        self.entries.values().filter(|carried| carried.is_busy).map(|carried| &carried.offer)
    }

    /// A reading of the switch's clock, on the kernel's.
    pub(super) fn kernel_ns(&self, time: Nanos) -> u64 {
        self.origin_ns.saturating_add(time.as_nanos())
    }

    /// A reading of the kernel's clock, on the switch's.
    fn seconds(&self, kernel_ns: u64) -> Seconds {
        Nanos::from_nanos(kernel_ns.saturating_sub(self.origin_ns)).seconds()
    }

    /// A session with what passed in it here.
    pub(super) fn with_carried(&self, mut session: Session) -> Session {
        if let Some(Passed { original, reply }) = self.passed.get(&session.reference) {
            add(&mut session.original, original.packets, original.bytes);
            add(&mut session.reply, reply.packets, reply.bytes);
        }
        session
    }

    /// Enters what went by the shortcuts since the last time, and returns by which of them.
    pub(super) fn enter(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut entries = std::mem::take(&mut self.entries);
        for (key, carried) in &mut entries {
            let Ok(tally) = self.table.tally(key) else { continue };
            let frames = tally.frames.saturating_sub(carried.entered.frames);
            if frames > 0 {
                let bytes = tally.bytes.saturating_sub(carried.entered.bytes);
                self.book(&carried.offer, frames, bytes);
                carried.is_busy = true;
                heard.push(Heard { offer: carried.offer, at: self.seconds(tally.seen_ns) });
            }
            carried.entered = tally;
        }
        self.entries = entries;
        heard
    }

    /// Enters frames as if a worker had carried them.
    fn book(&mut self, offer: &Offer, frames: u64, bytes: u64) {
        let came_in = self.books.port_mut(offer.ingress);
        came_in.received += frames;
        came_in.received_bytes += bytes;
        came_in.forwarded += frames;
        let left = self.books.port_mut(offer.egress);
        left.offered += frames;
        left.transmitted += frames;
        left.transmitted_bytes += bytes;
        if let Some(Routed { session, direction, .. }) = offer.routed {
            add(self.passed.entry(session).or_default().of(direction), frames, bytes);
        }
    }

    /// Whether what is carried can be withdrawn, come what may.
    fn has_spare(&mut self) -> bool {
        self.spare = self.spare.take().or_else(|| Table::new().ok());
        self.spare.is_some()
    }

    /// Enters a shortcut, if there is room.
    pub(super) fn put(&mut self, key: Key, offer: Offer, route: Route) {
        if self.entries.contains_key(&key) || !self.has_spare() {
            return;
        }
        let rewriting = match &offer.routed {
            None => None,
            Some(routed) => match self.define(routed) {
                Some(number) => Some(number),
                None => return,
            },
        };
        match Carried::begin(&self.table, &key, offer, Route { rewriting, ..route }) {
            Some(carried) => _ = self.entries.insert(key, carried),
            None => self.numbers.give_back(rewriting),
        }
    }

    /// Gives what becomes of a flow's packets a number.
    fn define(&mut self, routed: &Routed) -> Option<Number> {
        let Routed { src, dst, .. } = *routed;
        let (from, to) = (flow(&routed.from)?, flow(&routed.to)?);
        let number = self.numbers.take()?;
        match self.shortcuts.define(number, &Rewriting { src, dst, from, to }) {
            Ok(()) => Some(number),
            Err(_) => {
                self.numbers.give_back(Some(number));
                None
            }
        }
    }

    /// The shortcuts that hold by what `examine` says, and by which something goes unless `keep_idle`.
    pub(super) fn which_hold(
        &self,
        keep_idle: bool,
        examine: impl Fn(&Offer) -> Option<(Key, Route)>,
    ) -> BTreeMap<Key, (Offer, Route)> {
        let held = |(key, carried): (&Key, &Carried)| {
            let Carried { offer, route, is_busy, .. } = carried;
            let (_, now) = examine(offer).filter(|_| *is_busy || keep_idle)?;
            Some((*key, (*offer, Route { rewriting: route.rewriting, ..now })))
        };
        self.entries.iter().filter_map(held).collect()
    }

    /// Whether none of them ends before that, on the kernel's clock.
    pub(super) fn all_last(&self, until_ns: u64) -> bool {
        self.entries.values().all(|carried| carried.route.until_ns > until_ns)
    }

    /// Begins to look anew which are used.
    pub(super) fn begin_watch(&mut self) {
        self.entries.values_mut().for_each(|carried| carried.is_busy = false);
    }

    /// Puts a table with these shortcuts, which are among those that there are, into force, as far as there is room, and returns
    /// what the one before carried until then.
    pub(super) fn replace(
        &mut self,
        entries: BTreeMap<Key, (Offer, Route)>,
    ) -> Result<Vec<Heard>, BpfError> {
        let table = self.spare.take().map_or_else(Table::new, Ok)?;
        let fresh = if self.has_spare() { entries } else { BTreeMap::new() };
        let begin =
            |(key, (offer, route))| Some((key, Carried::begin(&table, &key, offer, route)?));
        let fresh: BTreeMap<_, _> = fresh.into_iter().filter_map(begin).collect();
        self.shortcuts.replace(&table)?;
        let heard = self.enter();
        self.table = table;
        let before = std::mem::replace(&mut self.entries, fresh);
        for (key, carried) in before {
            if !self.entries.contains_key(&key) {
                self.numbers.give_back(carried.route.rewriting);
            }
        }
        Ok(heard)
    }

    /// Forgets what passed in sessions that are over, when there are many of them.
    pub(super) fn forget_sessions(&mut self, is_alive: impl Fn(SessionRef) -> bool) {
        if self.passed.len() >= self.crowd {
            self.passed.retain(|session, _| is_alive(*session));
            self.crowd = (2 * self.passed.len()).max(SESSIONS);
        }
    }

    /// Closes the books of a port whose number becomes free.
    pub(super) fn forget(&mut self, port: PortIndex) {
        self.books.forget(port);
    }
}
