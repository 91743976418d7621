//! Answers to questions.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ctl::response::{
    BridgeInfo, Counters, DeviceInfo, DropInfo, FdbInfo, LastDrop, PortInfo, PortState, PortStats,
    QueueInfo, StageCost, Stats, TableInfo, Version, WorkerPerf,
};
use ctl::{
    BridgeName, CtlError, ErrorCode, FdbFilter, MacAddr, Port, PortFilter, PortName, TrafficFilter,
    VlanId, wire,
};
use flows::fdb::{Entry, Events};
use flows::{DropReason, DropSide, Ledger, Offender, PortBooks, PortIndex, Vid};

use super::compile::{Numbering, onlooker};
use super::describe;
use super::switch::Switch;
use crate::worker::{Perf, Report, Stage};

/// What all workers report, taken together.
pub struct Books {
    /// Their ledgers.
    pub ledger: Ledger,
    /// Frames that the kernel lost before the ports saw them, since the start.
    pub missed: BTreeMap<PortIndex, u64>,
    /// The reports themselves.
    pub reports: Vec<Report>,
}

impl Books {
    /// The counters of ports that are shown as one.
    pub fn counters(&self, ports: &[PortIndex]) -> Counters {
        let missed = ports.iter().filter_map(|port| self.missed.get(port)).sum();
        counters(&sum(&self.ledger, ports), missed)
    }
}

/// The books of ports that are shown as one.
fn sum(ledger: &Ledger, ports: &[PortIndex]) -> PortBooks {
    let mut sum = PortBooks::default();
    ports.iter().for_each(|port| sum.add(&ledger.port(*port)));
    sum
}

impl Switch {
    /// Asks the workers for their books.
    ///
    /// # Errors
    /// [`CtlError`], when one does not answer.
    pub fn books(&mut self) -> Result<Books, CtlError> {
        let reports = self
            .fleet()
            .reports()
            .map_err(|error| CtlError::new(ErrorCode::Internal, error.to_string()))?;
        let mut ledger = Ledger::new();
        for report in &reports {
            ledger.add(&report.ledger);
            for (port, missed) in &report.missed {
                self.add_missed(*port, missed.frames());
            }
        }
        if let Some(carried) = self.carried() {
            ledger.add(carried);
        }
        Ok(Books { ledger, missed: self.missed().clone(), reports })
    }

    /// All bridges.
    pub fn bridges(&self) -> Vec<BridgeInfo> {
        self.config().bridges.keys().filter_map(|name| self.bridge(name)).collect()
    }

    /// One bridge.
    pub fn bridge(&self, name: &BridgeName) -> Option<BridgeInfo> {
        let settings = self.config().bridges.get(name)?.clone();
        let fdb = &self.numbering().bridges.get(name)?.fdb;
        // What is known of a VLAN is known of its bridge.
        let is_vlan = settings.vlan_of.is_some();
        let events = if is_vlan { Events::default() } else { fdb.events() };
        let vid = settings.vlan_of.as_ref().map(|own| Vid(own.vlan.number()));
        let is_here = |entry: &&Entry| vid.is_none_or(|vid| entry.vid == vid);
        let stations = fdb.entries(self.now()).iter().filter(is_here).count();
        let router_mac = (!settings.gateways.is_empty()).then(|| settings.router_mac(name));
        Some(BridgeInfo {
            name: name.clone(),
            router_mac,
            network: self.config().networks.contains_key(name).then(|| name.clone()),
            settings,
            ports: {
                let ports = self.config().ports_of(name).map(|(name, _)| name);
                ports.chain(self.config().vxlans_of(name).map(|(name, _)| name)).cloned().collect()
            },
            stations: u32::try_from(stations).unwrap_or(u32::MAX),
            learned: events.learned,
            moved: events.moved,
            expired: events.expired,
            refused: events.refused,
        })
    }

    /// The ports that are meant.
    pub fn ports(&self, filter: &PortFilter) -> Vec<PortInfo> {
        let is_meant =
            |port: &Port| filter.bridge.as_ref().is_none_or(|bridge| *bridge == port.bridge);
        let meant = self.config().ports.iter().filter(|(_, port)| is_meant(port));
        meant.filter_map(|(name, _)| self.port(name)).collect()
    }

    /// One port.
    pub fn port(&self, name: &PortName) -> Option<PortInfo> {
        let settings = self.config().ports.get(name)?.clone();
        let facts = self.facts(name);
        let state = match self.why_waiting(name) {
            Some(why) => PortState::Waiting(why.to_owned()),
            None if facts.is_some_and(|facts| facts.down_since.is_some()) => PortState::Down,
            None => PortState::Up,
        };
        let device = self.device(name, &settings);
        let configured = self.config().mtu_of(&settings).bytes();
        let mtu = facts.map_or(configured, |facts| facts.mtu);
        let network = self.config().network_of(name).cloned();
        let endpoint = self.config().endpoint(name);
        let aliases = endpoint.map_or_else(Vec::new, |endpoint| endpoint.aliases.clone());
        Some(PortInfo { name: name.clone(), settings, network, aliases, state, mtu, device })
    }

    fn device(&self, name: &PortName, settings: &Port) -> Option<DeviceInfo> {
        let facts = self.facts(name)?;
        let (index, _) = self.numbering().ports.get(name)?;
        let offload = self.shortcut_count().map(|_| {
            let is_inspected = self.snapshot().port(*index).is_some_and(|port| port.is_inspected);
            facts.offload_note(onlooker(settings, is_inspected))
        });
        let fleet = self.fleet_ref();
        let core = |worker| fleet.workers().find(|(id, _)| *id == worker).map_or(0, |(_, c)| c);
        let queues = fleet.placement().iter().filter(|(queue, _)| queue.port == *index);
        Some(DeviceInfo {
            mode: facts.mode.clone(),
            index: facts.index,
            mac: facts.mac,
            offloads: facts.offloads.clone(),
            queues: queues
                .map(|(id, worker)| QueueInfo {
                    queue: id.queue,
                    worker: worker.0,
                    core: core(*worker),
                })
                .collect(),
            notes: facts.notes.iter().cloned().chain(offload).chain(facts.present_name()).collect(),
        })
    }

    /// The stations that a filter means.
    pub fn stations(&self, filter: &FdbFilter) -> Vec<FdbInfo> {
        let now = self.now();
        let carried = self.carried_to();
        let mut stations = Vec::new();
        for (bridge, slot) in self.whole_bridges() {
            if filter.bridge.as_ref().is_some_and(|wanted| wanted != bridge) {
                continue;
            }
            let mut entries = slot.fdb.entries(now);
            entries.retain(|entry| self.matches(filter, entry));
            entries.sort_unstable();
            stations.extend(entries.iter().filter_map(|entry| {
                Some(FdbInfo {
                    bridge: bridge.clone(),
                    vlan: VlanId::try_from(entry.vid.0).ok(),
                    mac: MacAddr(entry.mac.0),
                    port: self.numbering().port_name(entry.port)?.clone(),
                    vtep: self.numbering().overlay.remote_of(entry.port),
                    age_seconds: entry.age_seconds,
                    is_static: entry.is_static,
                    is_offloaded: carried.contains(&(entry.mac, entry.vid, entry.port)),
                })
            }));
        }
        stations
    }

    /// Frames and bytes: those of the ports that are meant, and of all together.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not answer.
    pub fn stats(&mut self, filter: &TrafficFilter) -> Result<Stats, CtlError> {
        let books = self.books()?;
        let ports = self.books_by_name().into_iter().filter(|(name, _)| is_meant(filter, name));
        let ports = ports.map(|(port, own)| PortStats { port, counters: books.counters(&own) });
        Ok(Stats {
            ports: ports.collect(),
            total: counters(&books.ledger.total(), books.missed.values().sum()),
            discrepancy: books.ledger.reconcile().err().map(|error| error.to_string()),
        })
    }

    /// What has books that are shown, by its name: ports, tunnels with all their remotes, and their
    /// endpoints, for what is for no tunnel.
    pub(super) fn books_by_name(&self) -> Vec<(String, Vec<PortIndex>)> {
        let Numbering { ports, overlay, .. } = self.numbering();
        let ports = ports.iter().map(|(name, (index, _))| (name.to_string(), vec![*index]));
        let tunnels = overlay.segments.iter();
        let tunnels = tunnels.map(|(name, slot)| (name.to_string(), slot.ports().collect()));
        let endpoints = overlay.endpoints.iter();
        let endpoints = endpoints.map(|(at, index)| (at.local.to_string(), vec![*index]));
        ports.chain(tunnels).chain(endpoints).collect()
    }

    /// Lost frames by port, side and reason.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not answer.
    pub fn drops(&mut self, filter: &TrafficFilter) -> Result<Vec<DropInfo>, CtlError> {
        let Books { ledger, missed, .. } = self.books()?;
        let now = self.fleet_ref().clock().now();
        let mut drops = Vec::new();
        let all = self.books_by_name().into_iter();
        for (name, ports) in all.filter(|(name, _)| is_meant(filter, name)) {
            let own = ledger.offenders().iter().filter(|offender| ports.contains(&offender.port));
            let own: Vec<_> = own.collect();
            drops.extend(drops_of(&name, &sum(&ledger, &ports), &own, now));
            let unseen = ports.iter().filter_map(|port| missed.get(port)).sum();
            drops.extend(missed_by(&name, unseen));
        }
        if filter.ports.is_empty() {
            let departed: Vec<_> = ledger.departed().iter().collect();
            drops.extend(drops_of("(removed)", ledger.closed(), &departed, now));
        }
        Ok(drops)
    }

    /// How full the tables are that all workers share.
    pub fn gauges(&self) -> Vec<TableInfo> {
        let tables = self.fleet_ref().tables();
        let sessions = tables.sessions.gauges();
        let table = |name: &str, used: usize, capacity: Option<u32>, refused| TableInfo {
            name: name.to_owned(),
            used: used.try_into().unwrap_or(u64::MAX),
            capacity: capacity.map(u64::from),
            refused,
        };
        let mappings = &self.snapshot().translation().mappings;
        let events = mappings.events();
        let count = |entries: u32| usize::try_from(entries).unwrap_or(usize::MAX);
        let mut gauges = vec![
            table("sessions", count(sessions.used), Some(sessions.capacity), sessions.refused),
            table("mappings", mappings.len(), None, events.ports_exhausted + events.quota_exceeded),
            table("neighbours", count(tables.neighbors.len()), Some(tables.sizes().neighbors), 0),
        ];
        if let Some((used, capacity)) = self.shortcut_count() {
            gauges.push(table("shortcuts", used, Some(capacity), 0));
        }
        gauges
    }

    /// What the workers' time goes to.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not answer.
    pub fn perf(&mut self) -> Result<Vec<WorkerPerf>, CtlError> {
        let reports = self.books()?.reports;
        let uptime_ns = self.fleet_ref().clock().now().as_nanos();
        let cores: Vec<_> = self.fleet_ref().workers().collect();
        let core = |report: &Report| {
            cores.iter().find(|(id, _)| *id == report.worker).map_or(0, |(_, core)| *core)
        };
        Ok(reports.iter().map(|report| worker_perf(report, core(report), uptime_ns)).collect())
    }
}

/// The daemon's version.
pub fn version() -> Version {
    Version { version: env!("CARGO_PKG_VERSION").to_owned(), protocol: wire::PROTOCOL_VERSION }
}

fn counters(books: &PortBooks, missed: u64) -> Counters {
    Counters {
        received: books.received,
        received_bytes: books.received_bytes,
        forwarded: books.forwarded,
        copies: books.copies,
        answered: books.answered,
        held: books.held,
        originated: books.originated,
        dropped_in: books.ingress_dropped(),
        // A frame handed between workers is offered twice. People count it once: by the worker that took
        // it, whose books say in the same moment what became of it. One that waits for the port's rate is
        // counted when it is its turn.
        offered: books.offered - books.handed - books.queued,
        transmitted: books.transmitted,
        transmitted_bytes: books.transmitted_bytes,
        dropped_out: books.egress_dropped(),
        missed,
    }
}

/// Whether the books of that name are of a port that is meant.
fn is_meant(filter: &TrafficFilter, name: &str) -> bool {
    filter.ports.is_empty() || filter.ports.iter().any(|port| port.as_str() == name)
}

/// The drops of one port, both sides, by reason, with the last of its offenders.
fn drops_of(
    port: &str,
    books: &PortBooks,
    offenders: &[&Offender],
    now: flows::Nanos,
) -> Vec<DropInfo> {
    let last = |side, reason| {
        let alike = offenders.iter().filter(|o| (o.side, o.reason) == (side, reason));
        alike.max_by_key(|offender| offender.at).map(|offender| last_drop(offender, now))
    };
    let sides = [
        (DropSide::Ingress, "in", &books.ingress_drops),
        (DropSide::Egress, "out", &books.egress_drops),
    ];
    let all = sides.into_iter().flat_map(|(side, name, counts)| {
        DropReason::ALL
            .into_iter()
            .zip(counts)
            .map(move |(reason, count)| (side, name, reason, *count))
    });
    let some = all.filter(|(.., count)| *count > 0);
    some.map(|(side, name, reason, count)| DropInfo {
        port: port.to_owned(),
        side: name.to_owned(),
        reason: reason.name().to_owned(),
        explanation: reason.explain().to_owned(),
        count,
        last: last(side, reason),
    })
    .collect()
}

/// The frames that the kernel lost before a port saw them.
fn missed_by(port: &str, count: u64) -> Option<DropInfo> {
    (count > 0).then(|| DropInfo {
        port: port.to_owned(),
        side: "in".to_owned(),
        reason: "missed".to_owned(),
        explanation: "the kernel had no room for them, and only counted them: they came faster than the worker took them"
            .to_owned(),
        count,
        last: None,
    })
}

fn last_drop(offender: &Offender, now: flows::Nanos) -> LastDrop {
    let ago = now.since(offender.at);
    let at = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    LastDrop {
        milliseconds_ago: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
        at: humantime::format_rfc3339_millis(at).to_string(),
        frame_bytes: offender.frame_bytes,
        summary: match offender.headers() {
            [] => "a frame that only the kernel saw".to_owned(),
            headers => describe::headers(headers),
        },
        bytes: describe::hex(offender.headers()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn worker_perf(report: &Report, core: usize, uptime_ns: u64) -> WorkerPerf {
    let Perf { cycles, frames, .. } = report.perf;
    let total: u64 = cycles.iter().sum();
    let busy = total - cycles[Stage::Idle as usize];
    let stages = Stage::ALL.iter().zip(cycles).map(|(stage, cycles)| StageCost {
        stage: stage.name().to_owned(),
        cycles: cycles as f64 / frames.max(1) as f64,
    });
    WorkerPerf {
        worker: report.worker.0,
        core,
        frames,
        turns: report.perf.turns,
        empty_turns: report.perf.empty_turns,
        cycles_per_frame: stages.collect(),
        busy: busy as f64 / total.max(1) as f64,
        asleep: report.perf.asleep_ns as f64 / uptime_ns.max(1) as f64,
        batches: report.perf.batches.to_vec(),
        sleeps: report.perf.sleeps,
        wakeups: report.perf.wakeups,
        handed_out: report.handed.out,
        handed_in: report.handed.taken,
    }
}
