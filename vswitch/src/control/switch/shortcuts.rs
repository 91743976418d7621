//! Shortcuts: what the kernel carries by what the workers have decided (`vswitchd --offload ebpf`).
//!
//! Workers offer what they decided about plain unicast between two ports with a gate ([`flows::Offer`]). The control
//! thread looks whether it still holds and enters it into the kernel's table ([`pktio::shortcut`]). What it must
//! keep exact:
//!
//! * **Changes.** Nothing is entered without the means to withdraw it. Whatever changes the configuration or forgets a station withdraws all shortcuts first. Offers that were
//!   made before name a generation that is no more, or stations that are not there.
//! * **Moves.** A worker that learns a move says so, and shortcuts that do not hold any more are withdrawn.
//! * **Ageing.** A shortcut ends by itself, in the kernel, when one of its stations ages. A station that sends by one is
//!   heard: its entry is refreshed. One by which nothing went for a while is withdrawn, so that what is
//!   carried was heard lately.
//! * **Books.** What went by a shortcut is counted as received, forwarded, offered and transmitted in a ledger
//!   of its own, so the books of all add up as if a worker had carried it.
//! * **Whoever watches** (captures, live traces) sees every frame: there are no shortcuts meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ctl::{CtlError, ErrorCode};
use flows::{Fdb, Ledger, Nanos, Offer, PortIndex, Seconds, Vid};
use pktio::bpf::BpfError;
use pktio::shortcut::{Key, Route, Shortcuts, TABLE_ENTRIES, Table, Tally};
use pktio::wire::MacAddr;
use rustix::time::{ClockId, clock_gettime};

use super::Switch;
use crate::random::random;
use crate::worker::Clock;

/// Shortcuts that would end within this time are made anew when they are looked after, if one of their stations was heard; if
/// not, the workers see it age.
const SOON_NS: u64 = 3_000_000_000;

/// What the kernel carries.
pub struct Carrier {
    shortcuts: Arc<Shortcuts>,
    table: Table,
    /// Empty, and takes the place of the other when what that carries is withdrawn, even if nothing more is to be had of the
    /// kernel. Without it nothing is carried.
    spare: Option<Table>,
    entries: BTreeMap<Key, Carried>,
    /// What it has carried.
    books: Ledger,
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

/// Where frames can take shortcuts now.
type Gates = BTreeMap<PortIndex, OpenGate>;

/// The gate of a port.
#[derive(Debug, Clone, Copy)]
struct OpenGate {
    number: u32,
    /// The port's interface.
    interface: u32,
    /// The kernel's cookie of the namespace that it is in, if that is not the daemon's own.
    place: Option<u64>,
}

impl Carried {
    /// Enters a shortcut into a table. Where there is no room, the workers carry on.
    fn begin(table: &Table, key: &Key, offer: Offer, route: Route) -> Option<Self> {
        table.put(key, &route).ok()?;
        Some(Self { offer, route, entered: Tally::default(), is_busy: true })
    }
}

impl Carrier {
    /// One that carries nothing yet.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(clock: Clock) -> Result<Self, BpfError> {
        let table = Table::new()?;
        let shortcuts = Arc::new(Shortcuts::new(u64::from_ne_bytes(random()), &table)?);
        let time = clock_gettime(ClockId::Monotonic);
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        let kernel_ns = part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec);
        let origin_ns = kernel_ns.saturating_sub(clock.now().as_nanos());
        let (entries, books, spare) = (BTreeMap::new(), Ledger::new(), Table::new().ok());
        Ok(Self { shortcuts, table, spare, entries, books, origin_ns })
    }

    /// A reading of the kernel's clock, on the switch's.
    fn seconds(&self, kernel_ns: u64) -> Seconds {
        Nanos::from_nanos(kernel_ns.saturating_sub(self.origin_ns)).seconds()
    }

    /// Enters what went by the shortcuts since the last time, and returns who was heard.
    fn enter(&mut self) -> Vec<(Offer, u64)> {
        let mut heard = Vec::new();
        for (key, carried) in &mut self.entries {
            let Ok(tally) = self.table.tally(key) else { continue };
            let frames = tally.frames.saturating_sub(carried.entered.frames);
            let bytes = tally.bytes.saturating_sub(carried.entered.bytes);
            let came_in = self.books.port_mut(carried.offer.ingress);
            came_in.received += frames;
            came_in.received_bytes += bytes;
            came_in.forwarded += frames;
            let left = self.books.port_mut(carried.offer.egress);
            left.offered += frames;
            left.transmitted += frames;
            left.transmitted_bytes += bytes;
            if frames > 0 {
                carried.is_busy = true;
                heard.push((carried.offer, tally.seen_ns));
            }
            carried.entered = tally;
        }
        heard
    }

    /// Whether what is carried can be withdrawn, come what may.
    fn has_spare(&mut self) -> bool {
        self.spare = self.spare.take().or_else(|| Table::new().ok());
        self.spare.is_some()
    }

    /// Enters a shortcut, if there is room.
    fn put(&mut self, key: Key, offer: Offer, route: Route) {
        if !self.entries.contains_key(&key) && self.has_spare() {
            let carried = Carried::begin(&self.table, &key, offer, route);
            self.entries.extend(carried.map(|carried| (key, carried)));
        }
    }

    /// Puts a table with these shortcuts into force, as far as there is room, and returns who was heard by the one before until
    /// then.
    fn replace(
        &mut self,
        entries: BTreeMap<Key, (Offer, Route)>,
    ) -> Result<Vec<(Offer, u64)>, BpfError> {
        let table = self.spare.take().map_or_else(Table::new, Ok)?;
        let fresh = if self.has_spare() { entries } else { BTreeMap::new() };
        let begin =
            |(key, (offer, route))| Some((key, Carried::begin(&table, &key, offer, route)?));
        let fresh = fresh.into_iter().filter_map(begin).collect();
        self.shortcuts.replace(&table)?;
        let heard = self.enter();
        (self.table, self.entries) = (table, fresh);
        Ok(heard)
    }

    /// What ends before this, on the kernel's clock, ends soon.
    fn soon_ns(&self, now: Nanos) -> u64 {
        self.origin_ns.saturating_add(now.as_nanos()).saturating_add(SOON_NS)
    }
}

impl Switch {
    /// What devices are to be opened with, so that the kernel can carry frames of theirs.
    pub(super) fn shortcuts(&self) -> Option<Arc<Shortcuts>> {
        self.carrier.as_ref().map(|carrier| Arc::clone(&carrier.shortcuts))
    }

    /// Whether there are shortcuts, which have to be looked after.
    pub fn has_shortcuts(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| !carrier.entries.is_empty())
    }

    /// How many there are, and how many there can be; nothing where there are none ever.
    pub(in crate::control) fn shortcut_count(&self) -> Option<(usize, u32)> {
        self.carrier.as_ref().map(|carrier| (carrier.entries.len(), TABLE_ENTRIES))
    }

    /// What the kernel has carried.
    pub(in crate::control) fn carried(&self) -> Option<&Ledger> {
        self.carrier.as_ref().map(|carrier| &carrier.books)
    }

    /// The stations to which the kernel carries frames, and the port of each.
    pub(in crate::control) fn carried_to(&self) -> BTreeSet<(MacAddr, Vid, PortIndex)> {
        let entries = self.carrier.iter().flat_map(|carrier| carrier.entries.values());
        entries.map(|Carried { offer, .. }| (offer.dst, offer.vid, offer.egress)).collect()
    }

    /// Takes into the books, and into the forwarding databases, what went by shortcuts until now.
    pub fn settle_shortcuts(&mut self) {
        let heard = self.carrier.as_mut().map(Carrier::enter);
        self.hear(heard.unwrap_or_default());
    }

    /// Notes that stations were heard.
    fn hear(&self, heard: Vec<(Offer, u64)>) {
        let Some(carrier) = &self.carrier else { return };
        for (Offer { ingress, src, vid, .. }, seen_ns) in heard {
            if let Some(fdb) = self.fdb_of(ingress) {
                fdb.refresh(src, vid, ingress, carrier.seconds(seen_ns));
            }
        }
    }

    /// The forwarding database of a port's bridge.
    fn fdb_of(&self, port: PortIndex) -> Option<&Fdb> {
        let bridge = self.snapshot.port(port)?.bridge;
        self.snapshot.bridge(bridge).map(|bridge| &*bridge.fdb)
    }

    /// Takes all shortcuts away. When this returns, every frame comes to a worker.
    ///
    /// # Errors
    /// [`CtlError`]; the shortcuts are there still, and nothing may change.
    pub(in crate::control) fn withdraw_shortcuts(&mut self) -> Result<(), CtlError> {
        if !self.has_shortcuts() {
            return Ok(());
        }
        let Some(carrier) = &mut self.carrier else { return Ok(()) };
        let heard = carrier.replace(BTreeMap::new()).map_err(|error| {
            CtlError::new(
                ErrorCode::Host,
                format!("cannot withdraw what the kernel carries: {error}"),
            )
        })?;
        self.hear(heard);
        Ok(())
    }

    /// As [`Self::withdraw_shortcuts`], before what happens by itself. What cannot be withdrawn ends when its stations
    /// age.
    pub(super) fn drop_shortcuts(&mut self) {
        if let Err(error) = self.withdraw_shortcuts() {
            self.note_problem(error.to_string());
        }
    }

    /// Makes the shortcuts that workers offer, if they still hold, and withdraws those that do not since a
    /// station moved.
    pub(super) fn heed_offers(&mut self) {
        if self.fleet.take_move() {
            self.keep_shortcuts_that_hold();
        }
        let offers = self.fleet.take_offers();
        if offers.is_empty() {
            return;
        }
        let gates = self.open_gates();
        for offer in offers {
            let Some((key, route)) = self.examine(&offer, &gates) else { continue };
            let Some(carrier) = &mut self.carrier else { return };
            carrier.put(key, offer, route);
        }
    }

    /// What an offer means to the kernel, if it holds and may be made.
    fn examine(&self, offer: &Offer, gates: &Gates) -> Option<(Key, Route)> {
        let carrier = self.carrier.as_ref()?;
        let Offer { generation, ingress, egress, vid, tag, src, dst } = *offer;
        if generation != self.generation || self.fleet.observers() > 0 {
            return None;
        }
        let entry = gates.get(&ingress)?;
        // An interface's number means it only among those of the namespace that the frame comes in at.
        let exit = gates.get(&egress).filter(|exit| exit.place == entry.place)?;
        let (from, to) = (self.snapshot.port(ingress)?, self.snapshot.port(egress)?);
        let fdb = self.fdb_of(ingress).filter(|_| from.bridge == to.bridge)?;
        let (clock, now) = (self.fleet.clock().now(), self.now());
        let end = |mac, port| {
            let station = fdb.find(mac, vid, now).filter(|station| station.port == port)?;
            Some(fdb.end_of(&station, now))
        };
        let until = end(src, ingress)?.min(end(dst, egress)?);
        let until_ns = carrier.origin_ns.saturating_add(until.as_nanos() - 1);
        let route = Route { interface: exit.interface, mtu_bytes: to.mtu_bytes, until_ns };
        let key = Key { gate: entry.number, tag: tag.0, src, dst };
        (until_ns > carrier.soon_ns(clock)).then_some((key, route))
    }

    /// The gates by which frames can come and go now.
    fn open_gates(&self) -> Gates {
        let gate = |name| {
            let (facts, port) = (self.facts.get(name)?, self.config.ports.get(name)?);
            let place = port.place.as_ref().map(|place| place.cookie);
            Some(OpenGate { number: facts.open_gate()?, interface: facts.index, place })
        };
        let ports = self.numbering.ports.iter();
        ports.filter_map(|(name, (index, _))| Some((*index, gate(name)?))).collect()
    }

    /// Looks after the shortcuts: those that nobody uses go, and those that do not hold any more; those that would end
    /// soon and need not are made anew.
    pub fn look_after_shortcuts(&mut self) {
        self.renew_shortcuts(false);
    }

    /// Withdraws the shortcuts that do not hold any more.
    pub(super) fn keep_shortcuts_that_hold(&mut self) {
        self.renew_shortcuts(true);
    }

    /// Looks which shortcuts hold. With `keep_idle`, those that nobody uses stay.
    fn renew_shortcuts(&mut self, keep_idle: bool) {
        if !self.has_shortcuts() {
            return;
        }
        self.settle_shortcuts();
        let gates = self.open_gates();
        let Some(carrier) = &self.carrier else { return };
        let mut entries = BTreeMap::new();
        for (key, carried) in &carrier.entries {
            if let Some((_, route)) = self.examine(&carried.offer, &gates)
                && (carried.is_busy || keep_idle)
            {
                entries.insert(*key, (carried.offer, route));
            }
        }
        let soon_ns = carrier.soon_ns(self.fleet.clock().now());
        let lasts = |carried: &Carried| carried.route.until_ns > soon_ns;
        let is_settled =
            entries.len() == carrier.entries.len() && carrier.entries.values().all(lasts);
        let Some(carrier) = &mut self.carrier else { return };
        if is_settled {
            carrier
                .entries
                .values_mut()
                .for_each(|carried| carried.is_busy = keep_idle && carried.is_busy);
            return;
        }
        match carrier.replace(entries) {
            Ok(heard) => self.hear(heard),
            Err(error) => self.note_problem(format!("what the kernel carries: {error}")),
        }
    }

    /// Closes the kernel's books of a port whose number becomes free.
    pub(super) fn forget_carried(&mut self, port: PortIndex) {
        if let Some(carrier) = &mut self.carrier {
            carrier.books.forget(port);
        }
    }
}
