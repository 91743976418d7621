//! Shortcuts: what the kernel carries by what the workers have decided (`vswitchd --offload ebpf`).
//!
//! Workers offer what they decided about plain unicast between two ports with a gate, and about the packets of sessions that
//! they route there ([`flows::Offer`]). The control thread looks whether it still holds and enters it into the kernel's table
//! ([`pktio::shortcut`], [`Carrier`]). What it must keep exact:
//!
//! * **Changes.** Nothing is entered without the means to withdraw it. Whatever changes the configuration or forgets a station withdraws all shortcuts first. Offers that were
//!   made before name a generation that is no more, or stations that are not there.
//! * **Moves.** A worker that learns a move says so, or that somebody else has an address now, or that a session made room for
//!   another, and shortcuts that do not hold any more are withdrawn.
//! * **Ageing.** A shortcut ends by itself, in the kernel, when one of its stations ages. A station that sends by one is
//!   heard: its entry is refreshed. One by which nothing went for a while is withdrawn, so that what is
//!   carried was heard lately.
//! * **Sessions and neighbours** are kept likewise: a session is heard by what goes by its shortcuts, which end in the kernel
//!   when it would time out; a neighbour that only the kernel still sends to is asked after before it is stale, and what goes to
//!   it ends when it is.
//! * **Connections.** An established TCP connection is lent by the worker that offers it
//!   ([`flows::session::Sessions::lend`]): the kernel's program and the workers keep its numbers in the same words from then on. What
//!   ends it comes to a worker, and what is carried of it ends with that.
//! * **Books.** What went by a shortcut is counted as received, forwarded, offered and transmitted in a ledger
//!   of its own, so the books of all add up as if a worker had carried it.
//! * **Whoever watches** (captures, live traces) sees every frame: there are no shortcuts meanwhile.

mod carrier;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ctl::{CtlError, ErrorCode};
use flows::router::NextHop;
use flows::session::{Direction, Session, SessionRef, State, TcpState};
use flows::{Fdb, Ledger, Nanos, Offer, PortIndex, Routed, Tuple, Vid};
use pktio::shortcut::{Connection, Flow, Key, Route, Shortcuts, TABLE_ENTRIES};
use pktio::wire::MacAddr;
use pktio::wire::field::protocol;

use super::Switch;
use carrier::Heard;

pub use carrier::Carrier;

/// Shortcuts that would end within this time are made anew when they are looked after, if one of their stations was heard; if
/// not, the workers see it age.
const SOON: Duration = Duration::from_secs(3);
/// A neighbour that will be stale within this time is asked after.
const STALE_SOON: Duration = Duration::from_secs(8);
/// Neighbours that are asked after each time that the shortcuts are looked after.
const QUESTIONS: usize = 64;

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

impl Switch {
    /// What devices are to be opened with, so that the kernel can carry frames of theirs.
    pub(super) fn shortcuts(&self) -> Option<Arc<Shortcuts>> {
        self.carrier.as_ref().map(Carrier::shortcuts)
    }

    /// Whether there are shortcuts, which have to be looked after.
    pub fn has_shortcuts(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| carrier.len() > 0)
    }

    /// How many there are, and how many there can be; nothing where there are none ever.
    pub(in crate::control) fn shortcut_count(&self) -> Option<(usize, u32)> {
        self.carrier.as_ref().map(|carrier| (carrier.len(), TABLE_ENTRIES))
    }

    /// What the kernel has carried.
    pub(in crate::control) fn carried(&self) -> Option<&Ledger> {
        self.carrier.as_ref().map(Carrier::books)
    }

    /// The stations to which the kernel carries frames, and the port of each.
    pub(in crate::control) fn carried_to(&self) -> BTreeSet<(MacAddr, Vid, PortIndex)> {
        self.offers_taken().map(|offer| self.station_of(offer)).collect()
    }

    /// The sessions of which the kernel carries packets.
    pub(in crate::control) fn carried_sessions(&self) -> HashSet<SessionRef> {
        self.offers_taken().filter_map(|offer| Some(offer.routed?.session)).collect()
    }

    /// A session with what passed in it that no worker saw.
    pub(in crate::control) fn with_carried(&self, session: Session) -> Session {
        match &self.carrier {
            Some(carrier) => carrier.with_carried(session),
            None => session,
        }
    }

    fn offers_taken(&self) -> impl Iterator<Item = &Offer> {
        self.carrier.iter().flat_map(Carrier::offers)
    }

    /// The station that an offer leads to.
    fn station_of(&self, offer: &Offer) -> (MacAddr, Vid, PortIndex) {
        match &offer.routed {
            None => (offer.dst, offer.vid, offer.egress),
            Some(routed) => {
                let vid = self.snapshot.bridge(routed.bridge).map_or(Vid::NONE, |it| it.vid());
                (routed.dst, vid, offer.egress)
            }
        }
    }

    /// Takes into the books, and into the forwarding databases, what went by shortcuts until now.
    pub fn settle_shortcuts(&mut self) {
        let heard = self.carrier.as_mut().map(Carrier::enter);
        self.hear(heard.unwrap_or_default());
    }

    /// Notes that stations were heard, and sessions went on.
    fn hear(&self, heard: Vec<Heard>) {
        for Heard { offer: Offer { ingress, src, vid, routed, .. }, at } in heard {
            if let Some(fdb) = self.fdb_of(ingress) {
                fdb.refresh(src, vid, ingress, at);
            }
            if let Some(Routed { session, direction, .. }) = routed {
                self.fleet.tables().sessions.hear(session, direction, at);
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
        let Offer { generation, ingress, egress, tag, src, dst, routed, .. } = *offer;
        if generation != self.generation || self.fleet.observers() > 0 {
            return None;
        }
        let entry = gates.get(&ingress)?;
        // An interface's number means it only among those of the namespace that the frame comes in at.
        let exit = gates.get(&egress).filter(|exit| exit.place == entry.place)?;
        let (end, mtu_bytes) = (self.end_of(offer)?, self.snapshot.port(egress)?.mtu_bytes);
        let until_ns = carrier.kernel_ns(end) - 1;
        let flow = match &routed {
            None => None,
            Some(routed) => Some(flow(&routed.from)?),
        };
        let connection = routed.as_ref().and_then(connection);
        let interface = exit.interface;
        let route = Route { interface, mtu_bytes, until_ns, rewriting: None, connection };
        let key = Key { gate: entry.number, tag: tag.0, src, dst, flow };
        (end > self.soon()).then_some((key, route))
    }

    /// From when on an offer does not hold any more, unless something is heard of those whom it depends on. `None` if it does not
    /// now.
    fn end_of(&self, offer: &Offer) -> Option<Nanos> {
        let (to, vid, egress) = self.station_of(offer);
        let ends = self
            .end_of_station(offer.src, offer.vid, offer.ingress)?
            .min(self.end_of_station(to, vid, egress)?);
        let Some(routed) = &offer.routed else {
            let bridge = |port| self.snapshot.port(port).map(|port| port.bridge);
            return (bridge(offer.ingress) == bridge(egress)).then_some(ends);
        };
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        let (_, neighbor) = tables.neighbors.lasts(routed.neighbor, now)?;
        let session = tables.sessions.get(routed.session, now.seconds())?;
        if !matches!(session.state, State::Open | State::Tcp(TcpState::Established)) {
            return None;
        }
        let left = self.snapshot.translation().timeouts.left_to(&session);
        let session = Nanos::from_secs(u64::from(now.seconds().0) + u64::from(left) + 1);
        Some(ends.min(neighbor).min(session))
    }

    /// From when on a station is not known at a port any more. `None` if it is not now.
    fn end_of_station(&self, mac: MacAddr, vid: Vid, port: PortIndex) -> Option<Nanos> {
        let (fdb, now) = (self.fdb_of(port)?, self.now());
        let station = fdb.find(mac, vid, now).filter(|station| station.port == port)?;
        Some(fdb.end_of(&station, now))
    }

    /// What ends before this ends soon.
    fn soon(&self) -> Nanos {
        self.fleet.clock().now().after(SOON)
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
    /// soon and need not are made anew. Neighbours that only they use are asked after in time.
    pub fn look_after_shortcuts(&mut self) {
        self.settle_shortcuts();
        self.seek_neighbors();
        self.renew_shortcuts(false);
    }

    /// Withdraws the shortcuts that do not hold any more.
    pub(super) fn keep_shortcuts_that_hold(&mut self) {
        self.settle_shortcuts();
        self.renew_shortcuts(true);
    }

    /// Lets the neighbours be asked after that will be stale soon, and that something was carried to.
    fn seek_neighbors(&mut self) {
        let Some(carrier) = &self.carrier else { return };
        let now = self.fleet.clock().now();
        let mut sought: BTreeSet<(_, _)> = BTreeSet::new();
        for routed in carrier.busy().filter_map(|offer| offer.routed) {
            let lasts = self.fleet.tables().neighbors.lasts(routed.neighbor, now);
            if let Some((NextHop { bridge, ip }, end)) = lasts
                && end < now.after(STALE_SOON)
                && sought.len() < QUESTIONS
            {
                sought.insert((bridge, ip));
            }
        }
        for (bridge, ip) in sought {
            if let Err(error) = self.fleet.seek(NextHop { bridge, ip }) {
                tracing::warn!("neighbour {ip} is not asked after: {error}");
            }
        }
    }

    /// Looks which shortcuts hold, whose counts are settled. With `keep_idle`, those that nobody uses stay.
    fn renew_shortcuts(&mut self, keep_idle: bool) {
        if !self.has_shortcuts() {
            return;
        }
        let (gates, soon) = (self.open_gates(), self.soon());
        let Some(carrier) = &self.carrier else { return };
        let held = carrier.which_hold(keep_idle, |offer| self.examine(offer, &gates));
        let soon_ns = carrier.kernel_ns(soon);
        let is_settled = held.len() == carrier.len() && carrier.all_last(soon_ns);
        let Some(carrier) = &mut self.carrier else { return };
        if is_settled {
            if !keep_idle {
                carrier.begin_watch();
            }
            return;
        }
        match carrier.replace(held) {
            Ok(heard) => self.hear(heard),
            Err(error) => self.note_problem(format!("what the kernel carries: {error}")),
        }
        let sessions = &self.fleet.tables().sessions;
        if let Some(carrier) = &mut self.carrier {
            carrier.forget_sessions(|session| sessions.is_alive(session));
        }
    }

    /// Closes the kernel's books of a port whose number becomes free.
    pub(super) fn forget_carried(&mut self, port: PortIndex) {
        if let Some(carrier) = &mut self.carrier {
            carrier.forget(port);
        }
    }
}

/// The packets of a tuple.
fn flow(tuple: &Tuple) -> Option<Flow> {
    let socket = |end: flows::Endpoint| SocketAddr::new(end.ip, end.port);
    Flow::between(tuple.protocol, socket(tuple.source), socket(tuple.destination))
}

/// The direction of the connection of which packets are carried, if they are TCP's.
fn connection(routed: &Routed) -> Option<Connection> {
    let Routed { session, direction, from, .. } = routed;
    let is_second = *direction == Direction::Reply;
    let (position, version) = (session.position(), session.version());
    (from.protocol == protocol::TCP).then_some(Connection { position, version, is_second })
}
