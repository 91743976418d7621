//! [`Switch`]: the configuration in force, and how it changes.
//!
//! A change goes through fixed steps: the next configuration is computed (pure), the devices that it
//! needs are opened, the change is kept, and only then do the workers hear of it. A failure in any of
//! these drops what was opened, and everything is as it was. Used by the control thread only.
//!
//! * `change`: what somebody asks for; `lookout`: what changes by itself.
//! * `commit`: the steps.
//! * `endings`: what ends with a change; `gateways`: what gateways say by themselves; `overlay`: tunnels;
//!   `services`: the backends of services; `shortcuts`: what the kernel carries; `uplink`: interfaces that are shared
//!   with the host; `loopback`: ports that are relayed from its loopback.

mod change;
mod commit;
mod endings;
mod gateways;
mod lookout;
mod loopback;
mod overlay;
mod reservation;
mod services;
mod shortcuts;
mod uplink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use ctl::response::Problem;
use ctl::{Config, CtlError, FdbFilter, Port, PortName, PortRange, Table};
use flows::fdb::Entry;
use flows::nat::Mappings;
use flows::{Generation, PortIndex, Seconds, Snapshot, Translation};
use pktio::shared::Questions;

use super::compile::rules::Rules;
use super::compile::{BridgeSlot, Numbering};
use super::device::{self, Facts, Terms};
use super::place;
use super::problems::{Cause, Problems, problem};
use super::store::Store;
use crate::fleet::Fleet;
use crate::random::random;
use commit::Prepared;
pub(super) use commit::stuck;
use endings::Ending;
use gateways::Schedules;
use lookout::{Swept, is_bound_to_container};
use loopback::Loopback;
use reservation::Reservation;
pub use shortcuts::Carrier;

/// Internal addresses that masquerading has room for.
const MASQUERADED: u32 = 65_536;

/// The configuration in force, and everything that carries it out.
pub struct Switch {
    fleet: Fleet,
    store: Option<Store>,
    config: Config,
    numbering: Numbering,
    facts: BTreeMap<PortName, Facts>,
    /// Ports whose device is not there, and why.
    waiting: BTreeMap<PortName, String>,
    generation: Generation,
    /// Frames that the kernel lost before the ports saw them.
    missed: BTreeMap<PortIndex, u64>,
    problems: Problems,
    seed: u64,
    rules: Rules,
    /// What the workers decide by.
    snapshot: Arc<Snapshot>,
    /// What ends when the workers know the configuration.
    ending: Ending,
    schedules: Schedules,
    swept: Swept,
    /// Neighbours that the host is to find.
    questions: Arc<Questions>,
    reservation: Reservation,
    /// The ports that masquerading takes from the host.
    lent: Vec<PortRange>,
    loopback: Loopback,
    /// An interface is shared of whose host nothing is known yet.
    has_new_host: bool,
    /// What the kernel carries, if it is to.
    carrier: Option<Carrier>,
}

impl Switch {
    /// A switch without bridges and ports, whose state is kept in `store`; the kernel carries what `carrier` can.
    pub fn new(fleet: Fleet, store: Option<Store>, carrier: Option<Carrier>) -> Self {
        let questions = Arc::new(Questions::new(fleet.shared_doorbell()));
        Self {
            fleet,
            store,
            config: Config::default(),
            numbering: Numbering::default(),
            facts: BTreeMap::new(),
            waiting: BTreeMap::new(),
            generation: Generation::default(),
            missed: BTreeMap::new(),
            problems: Problems::default(),
            seed: u64::from_ne_bytes(random()),
            rules: Rules::default(),
            snapshot: Arc::new(nothing()),
            ending: Ending::default(),
            schedules: Schedules::default(),
            swept: Swept::default(),
            questions,
            reservation: Reservation::default(),
            lent: Vec::new(),
            loopback: Loopback::default(),
            has_new_host: false,
            carrier,
        }
    }

    /// Takes up a kept configuration: re-attaches what still exists, and says what does not. A container
    /// that is gone is forgotten with its ports; a device of the host's own is waited for.
    ///
    /// # Errors
    /// [`CtlError`], when the workers or the store fail.
    pub fn restore(&mut self, kept: &Config) -> Result<(), CtlError> {
        self.inherit_reservation(kept);
        let (ports, vxlans) = (Table::new(), Table::new());
        let bridges = Config { ports, vxlans, ..kept.clone() };
        self.commit(bridges, Prepared::default())?;
        let mut next = self.config.clone();
        let mut prepared = Prepared::default();
        for (name, port) in &kept.ports {
            let mut port = port.clone();
            let open = |port: &Port| {
                let terms = Terms::of(kept, port).again();
                device::open(port, terms, self.home(), &self.questions)
            };
            match place::renew(&mut port).and_then(|()| open(&port)) {
                Ok(device) => _ = prepared.opened.insert(name.clone(), device),
                Err(error) if error.is_absence() && is_bound_to_container(&port) => {
                    self.note_problem(format!("port {name}: {error}; the port is removed"));
                    next.forget_endpoint(&port.bridge, name);
                    continue;
                }
                Err(error) => {
                    self.note_waiting(name, "port", &error.to_string());
                }
            }
            next.ports.insert(name.clone(), port);
        }
        for (name, vxlan) in &kept.vxlans {
            if let Err(error) = self.open_endpoint(vxlan, &mut prepared) {
                self.note_waiting(name, "vxlan", &error.to_string());
            }
        }
        next.vxlans.clone_from(&kept.vxlans);
        let has_port =
            |name: &PortName| next.ports.contains_key(name) || next.vxlans.contains_key(name);
        let mut bridges = next.bridges.clone();
        for (name, bridge) in &next.bridges {
            if bridge.statics.iter().any(|station| !has_port(&station.port)) {
                let mut bridge = bridge.clone();
                bridge.statics.retain(|station| has_port(&station.port));
                bridges.insert(name.clone(), bridge);
            }
        }
        next.bridges = bridges;
        self.write(&next)?;
        self.commit(next, prepared)?;
        self.follow_new_hosts();
        self.retry_loopback();
        Ok(())
    }

    /// Leaves the kept state in one file, for people to read.
    pub fn tidy(&mut self) {
        self.end_reservation();
        let config = self.config.clone();
        if let Err(error) = self.write(&config) {
            tracing::warn!("the state stays as it was written last, with its journal: {error}");
        }
    }

    /// The bridges, without the VLANs of them that the router takes for bridges.
    pub(super) fn whole_bridges(
        &self,
    ) -> impl Iterator<Item = (&ctl::BridgeName, &BridgeSlot)> + '_ {
        let is_whole = |name: &ctl::BridgeName| {
            self.config.bridges.get(name).is_none_or(|it| it.vlan_of.is_none())
        };
        self.numbering.bridges.iter().filter(move |(name, _)| is_whole(name))
    }

    /// The bridges that a filter means.
    pub(super) fn matching_bridges<'a>(
        &'a self,
        filter: &'a FdbFilter,
    ) -> impl Iterator<Item = &'a BridgeSlot> + 'a {
        let wanted = |name: &ctl::BridgeName| filter.bridge.as_ref().is_none_or(|own| own == name);
        self.whole_bridges().filter(move |(name, _)| wanted(name)).map(|(_, slot)| slot)
    }

    /// Whether a filter means a station.
    pub(super) fn matches(&self, filter: &FdbFilter, entry: &Entry) -> bool {
        let is_behind = |name| self.numbering.port_name(entry.port) == Some(name);
        filter.port.as_ref().is_none_or(is_behind)
            && filter.vlan.is_none_or(|vlan| vlan.number() == entry.vid.0)
    }

    /// Remembers something that happened, and that the operator should know.
    pub(super) fn note_problem(&mut self, problem: String) {
        self.note_standing(Cause::Event, problem);
    }

    /// Remembers something that the operator should know as long as its cause is there.
    fn note_standing(&mut self, cause: Cause, problem: String) {
        tracing::warn!("{problem}");
        self.problems.note(cause, problem);
    }

    /// A port, or a tunnel, waits from now on.
    fn note_waiting(&mut self, name: &PortName, what: &str, why: &str) {
        let problem = format!("{what} {name}: {why}; it is tried again");
        self.note_standing(Cause::Waiting(name.clone()), problem);
        self.waiting.insert(name.clone(), why.to_owned());
    }

    /// Forgets problems whose cause is gone.
    fn settle_problems(&mut self) {
        let Self { problems, waiting, config, loopback, .. } = self;
        problems.keep(|cause| match cause {
            Cause::Waiting(name) => waiting.contains_key(name),
            Cause::Unfollowed(name) => config.has_port(name),
            Cause::Taken(listen) => loopback.is_taken(listen),
            Cause::Event | Cause::Unreserved => true,
        });
    }

    /// The time on the switch's clock.
    pub(super) fn now(&self) -> Seconds {
        self.fleet.clock().now().seconds()
    }

    /// The workers.
    pub fn fleet(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// The workers, to look at.
    pub(super) fn fleet_ref(&self) -> &Fleet {
        &self.fleet
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its parts are.
    pub(super) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// What there is to know of an open port's device.
    pub(super) fn facts(&self, port: &PortName) -> Option<&Facts> {
        self.facts.get(port)
    }

    /// Why a port is not open.
    pub(super) fn why_waiting(&self, port: &PortName) -> Option<&str> {
        self.waiting.get(port).map(String::as_str)
    }

    /// Frames that the kernel lost before the ports saw them.
    pub(super) fn missed(&self) -> &BTreeMap<PortIndex, u64> {
        &self.missed
    }

    /// Adds to these.
    pub(super) fn add_missed(&mut self, port: PortIndex, frames: u64) {
        *self.missed.entry(port).or_default() += frames;
    }

    /// The rules in force.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What the workers decide by.
    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What is wrong, and what went wrong since the start.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.list();
        problems.extend(self.down().filter_map(|(name, since)| {
            Some(problem(since, format!("port {name}: {}", self.why_down(name)?)))
        }));
        problems
    }

    /// What is to be said of a port whose interface somebody has switched off.
    pub(super) fn why_down(&self, name: &PortName) -> Option<String> {
        self.facts.get(name)?.down_since?;
        let (_, interface) = self.config.ports.get(name)?.kind.interface();
        Some(format!(
            "its interface {interface} is switched off, and carries nothing; `ip link set {interface} up` where it is"
        ))
    }

    /// The ports whose interfaces somebody has switched off, and since when they are.
    pub(super) fn down(&self) -> impl Iterator<Item = (&PortName, SystemTime)> {
        self.facts.iter().filter_map(|(name, facts)| Some((name, facts.down_since?)))
    }
}

/// What is decided by before there is a configuration, with room for what masquerading maps later.
fn nothing() -> Snapshot {
    let mappings = Mappings::new(MASQUERADED, u64::from_ne_bytes(random()));
    let translation = Translation { mappings, ..Translation::default() };
    Snapshot::default().with_translation(Arc::new(translation))
}
