//! From the operator's configuration to what the pipeline decides by.

mod claims;
mod nat;
mod neighbors;
mod routes;
pub mod rules;
mod services;
mod tunnels;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ctl::{
    Bridge, BridgeName, Config, DiffItem, Ingress, Port, PortKind, PortName, RuleName, StaticMac,
    Vlan,
};
use flows::nat::Mappings;
use flows::rules::{LimitSpec, Meter, Scope, Unit};
use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Guard, Horizon, PortConfig, PortIndex, Seconds,
    Snapshot, SnapshotError, Usage, Vid, VlanOf, VlanPolicy,
};
use pktio::wire::MacAddr;

use crate::worker::Shape;
pub use claims::{claims, lent, reserved};
pub use neighbors::put_neighbors;
pub use routes::gateway;
use rules::Rules;
pub use services::Running;
pub use tunnels::{Overlay, SegmentSlot, TunnelEndpoint, VtepSlot, endpoint_of, inner_mtu};
pub use ways::Ways;

/// A bridge's number and its forwarding database, which outlive configurations. A VLAN that the router takes for a
/// bridge has the database of the bridge that it is of.
#[derive(Debug, Clone)]
pub struct BridgeSlot {
    /// Its number.
    pub index: BridgeIndex,
    /// Its forwarding database.
    pub fdb: Arc<Fdb>,
}

/// Where the parts of a configuration are in the snapshot.
#[derive(Debug, Clone, Default)]
pub struct Numbering {
    /// Bridges.
    pub bridges: BTreeMap<BridgeName, BridgeSlot>,
    /// Ports whose devices are open, with the MTU of each in bytes.
    pub ports: BTreeMap<PortName, (PortIndex, u32)>,
    /// How much the rules of address translation are used, which is known by their numbers.
    pub nat: BTreeMap<RuleName, Arc<Usage>>,
    /// What outlives configurations of services.
    pub services: Running,
    /// The limits to what comes in by ports, which outlive configurations.
    pub meters: BTreeMap<PortName, Arc<Meter>>,
    /// Tunnels, whose ports and endpoints have numbers among those of the ports.
    pub overlay: Overlay,
    /// Numbers of ports that are no more, as long as there are workers that have not heard of that: what one still sends to the port would
    /// leave by whichever has the number then.
    pub left: BTreeSet<PortIndex>,
}

impl Numbering {
    /// The bridges of a configuration that have a number. Both are in order, so that none is searched for.
    pub fn bridges_of<'a>(
        &'a self,
        config: &'a Config,
    ) -> impl Iterator<Item = (&'a BridgeName, &'a BridgeSlot, &'a Bridge)> + 'a {
        let mut slots = self.bridges.iter().peekable();
        config.bridges.iter().filter_map(move |(name, bridge)| {
            while slots.next_if(|(passed, _)| *passed < name).is_some() {}
            let (_, slot) = slots.next_if(|(own, _)| *own == name)?;
            Some((name, slot, bridge))
        })
    }

    /// The name of a port, or of the tunnel that it is of.
    pub fn port_name(&self, index: PortIndex) -> Option<&PortName> {
        let port = self.ports.iter().find(|(_, (at, _))| *at == index).map(|(name, _)| name);
        port.or_else(|| self.overlay.name_of(index))
    }

    /// The port behind which a station entered by hand is.
    fn port_of(&self, station: &StaticMac) -> Option<PortIndex> {
        match station.vtep {
            Some(remote) => self.overlay.port_towards(&station.port, remote),
            None => self.ports.get(&station.port).map(|(index, _)| *index),
        }
    }

    /// The name of the bridge of a number, or of a zone.
    pub fn bridge_name(&self, index: BridgeIndex) -> Option<&BridgeName> {
        self.bridges.iter().find(|(_, slot)| slot.index == index).map(|(name, _)| name)
    }

    /// The name of a rule of address translation.
    pub fn rule_name(&self, usage: &Usage) -> Option<&RuleName> {
        self.nat.iter().find(|(_, own)| own.rule() == usage.rule()).map(|(name, _)| name)
    }

    /// How much a rule of address translation is used.
    fn usage(&self, name: &RuleName) -> Arc<Usage> {
        self.nat.get(name).map_or_else(|| Arc::new(Usage::of(u32::MAX)), Arc::clone)
    }

    /// Numbers the rules of address translation that are new or changed.
    pub fn number_rules(&mut self, old: &Config, next: &Config) {
        let mut new = Vec::new();
        for item in old.nat.diff(&next.nat) {
            match item {
                DiffItem::Remove(name, _) => drop(self.nat.remove(name)),
                DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } => {
                    self.nat.remove(name);
                    new.push(name);
                }
            }
        }
        if new.is_empty() {
            return;
        }
        let taken: BTreeSet<_> = self.nat.values().map(|usage| usage.rule()).collect();
        let free = (0..u32::MAX).filter(|number| !taken.contains(number));
        for (name, number) in new.into_iter().zip(free) {
            self.nat.insert(name.clone(), Arc::new(Usage::of(number)));
        }
    }

    /// Makes the limits to what comes in by ports those of a configuration. One that stays goes on as full as it is.
    pub fn meter_ports(&mut self, old: &Config, next: &Config) {
        for item in old.ports.diff(&next.ports) {
            let (name, limit) = match item {
                DiffItem::Remove(name, _) => (name, None),
                DiffItem::Add(name, port) | DiffItem::Update { new: (name, port), .. } => {
                    (name, port.ingress.map(limit))
                }
            };
            let has = self.meters.get(name).map(|meter| meter.spec());
            match limit {
                Some(spec) if has == Some(spec) => {}
                // Nothing is hashed: it is the same bucket for all.
                Some(spec) => _ = self.meters.insert(name.clone(), Arc::new(Meter::new(spec, 0))),
                None => drop(self.meters.remove(name)),
            }
        }
    }

    /// The lowest number that no port has.
    pub fn free_port(&self) -> Option<PortIndex> {
        self.free_ports().next()
    }

    /// The numbers that no port has, the lowest first.
    pub fn free_ports(&self) -> impl Iterator<Item = PortIndex> + use<> {
        let ports = self.ports.values().map(|(index, _)| *index);
        let taken: BTreeSet<_> = ports.chain(self.overlay.numbers()).collect();
        let left = self.left.clone();
        let free = move |index: &PortIndex| !taken.contains(index) && !left.contains(index);
        (0..u16::MAX).map(PortIndex).filter(free)
    }

    /// The numbers that no bridge has, the lowest first.
    pub fn free_bridges(&self) -> impl Iterator<Item = BridgeIndex> + use<> {
        let taken: BTreeSet<_> = self.bridges.values().map(|slot| slot.index.0).collect();
        (0..u16::MAX).filter(move |index| !taken.contains(index)).map(BridgeIndex)
    }
}

fn limit(ingress: Ingress) -> LimitSpec {
    LimitSpec {
        rate: ingress.rate.bits_per_second(),
        burst: u64::from(ingress.burst_bytes()) * 8,
        unit: Unit::Bits,
        scope: Scope::Rule,
    }
}

/// What has to see every frame of a port, so that nobody else can carry them; nothing, if it may go by a shortcut.
pub fn onlooker(port: &Port, is_inspected: bool) -> Option<&'static str> {
    if is_inspected {
        Some(
            "rules that may match frames of its bridge see them all; `bridge=` or `in_port=` binds a rule to another bridge",
        )
    } else if port.guard {
        Some("its guard sees every frame")
    } else if port.egress.is_some() || port.ingress.is_some() {
        Some("its rate is limited, for which every frame is seen")
    } else {
        None
    }
}

/// Compiles a configuration. Ports without an open device are left out; `has_gate` says by which of the others the kernel
/// can carry frames.
///
/// # Errors
/// [`SnapshotError`], when the numbering does not fit the configuration.
pub fn snapshot(
    config: &Config,
    numbering: &Numbering,
    generation: Generation,
    mappings: &Mappings,
    rules: &Rules,
    has_gate: impl Fn(&PortName) -> bool,
) -> Result<Snapshot, SnapshotError> {
    let mut bridges = Vec::new();
    let inside = Arc::new(routes::inside(config));
    let ways = Ways::of(config);
    for (name, slot, bridge) in numbering.bridges_of(config) {
        let ends = (name, slot.index);
        let router = routes::router_port((config, &ways), numbering, ends, bridge, &inside);
        let whole = |own: &ctl::VlanOf| {
            let vid = Vid(own.vlan.number());
            Some(VlanOf { bridge: numbering.bridges.get(&own.bridge)?.index, vid })
        };
        let domain = BridgeDomain {
            vlan_of: bridge.vlan_of.as_ref().and_then(whole),
            gateway_mac: routes::gateway_mac(name, bridge),
            router: router.map(Arc::new),
            endpoints: tunnels::endpoints_over(&numbering.overlay, name),
            ..BridgeDomain::new(Arc::clone(&slot.fdb), bridge.mac_limit)
        };
        put(&mut bridges, usize::from(slot.index.0), domain);
    }
    let inspected = rules.bridges(config);
    let mut ports = Vec::new();
    for (name, (index, mtu)) in &numbering.ports {
        let Some(port) = config.ports.get(name) else { continue };
        let Some(slot) = numbering.bridges.get(&port.bridge) else { continue };
        let limit = config.bridges.get(&port.bridge).map_or(0, |bridge| bridge.mac_limit);
        let is_inspected = inspected.contains(&slot.index);
        let takes_shortcuts = onlooker(port, is_inspected).is_none() && has_gate(name);
        let port = port_config(port, slot.index, *mtu, limit);
        let meter = numbering.meters.get(name).cloned();
        put(&mut ports, index.slot(), PortConfig { is_inspected, meter, takes_shortcuts, ..port });
    }
    for (index, port) in
        config.vxlans.keys().flat_map(|name| tunnels::ports(config, numbering, name))
    {
        let is_inspected = inspected.contains(&port.bridge);
        put(&mut ports, index.slot(), PortConfig { is_inspected, ..port });
    }
    let translation = nat::translation(config, &ways, numbering, mappings);
    let snapshot = Snapshot::new(generation, ports, bridges)?;
    let tunnels = Arc::new(tunnels::tunnels(config, numbering));
    let snapshot = snapshot.with_translation(Arc::new(translation)).with_rules(rules.set());
    Ok(snapshot.with_tunnels(tunnels))
}

fn put<T>(list: &mut Vec<Option<T>>, at: usize, item: T) {
    if at >= list.len() {
        list.resize_with(at + 1, || None);
    }
    list[at] = Some(item);
}

fn port_config(port: &Port, bridge: BridgeIndex, mtu_bytes: u32, limit: u32) -> PortConfig {
    PortConfig {
        vlan: vlan_policy(&port.vlan),
        horizon: if port.isolated { Horizon::Isolated } else { Horizon::Open },
        hairpin: port.hairpin,
        mtu_bytes,
        mac_limit: port.mac_limit.unwrap_or(limit),
        guard: guard(port).map(Arc::new),
        ..PortConfig::new(bridge)
    }
}

/// The rates of ports, by their numbers.
pub fn shapes(config: &Config, numbering: &Numbering) -> Vec<Option<Shape>> {
    let mut shapes = Vec::new();
    for (name, (index, _)) in &numbering.ports {
        if let Some(egress) = config.ports.get(name).and_then(|port| port.egress) {
            let bits_per_second = egress.rate.bits_per_second();
            let shape = Shape { bits_per_second, queue_bytes: egress.queue_bytes() };
            put(&mut shapes, index.slot(), shape);
        }
    }
    shapes
}

/// Whom a guarded port may send as. Only ports whose addresses are known are guarded.
fn guard(port: &Port) -> Option<Guard> {
    let PortKind::Tap(tap) = &port.kind else { return None };
    let mac = tap.mac.filter(|_| port.guard)?;
    Some(Guard { mac: MacAddr(mac.0), addresses: tap.ips.iter().map(|cidr| cidr.addr).collect() })
}

fn vlan_policy(vlan: &Vlan) -> VlanPolicy {
    match vlan {
        Vlan::Unaware => VlanPolicy::Unaware,
        Vlan::Access(vlan) => VlanPolicy::Access(Vid(vlan.number())),
        Vlan::Trunk { allowed, native } => VlanPolicy::Trunk {
            allowed: Arc::new(allowed.iter().map(|vlan| Vid(vlan.number())).collect()),
            native: native.map(|vlan| Vid(vlan.number())),
        },
    }
}

/// The forwarding database of a bridge: the present one, or one of the right size and ageing time that
/// takes over its stations.
pub fn fdb_for(
    bridge: &Bridge,
    before: Option<(&Bridge, &Arc<Fdb>)>,
    now: Seconds,
    seed: u64,
) -> Arc<Fdb> {
    match before {
        Some((old, fdb))
            if (old.mac_limit, old.ageing_seconds) == (bridge.mac_limit, bridge.ageing_seconds) =>
        {
            Arc::clone(fdb)
        }
        _ => {
            let fdb = Fdb::new(bridge.mac_limit, bridge.ageing_seconds, seed);
            if let Some((_, old)) = before {
                fdb.take_over(old, now);
            }
            Arc::new(fdb)
        }
    }
}

/// Makes the static entries of a bridge's database those of the configuration.
pub fn put_statics(bridge: &Bridge, fdb: &Fdb, numbering: &Numbering, now: Seconds) {
    let wanted: HashSet<_> = bridge
        .statics
        .iter()
        .filter_map(|station| {
            let index = numbering.port_of(station)?;
            let vid = station.vlan.map_or(Vid::NONE, |vlan| Vid(vlan.number()));
            Some((MacAddr(station.mac.0), vid, index))
        })
        .collect();
    let key = |entry: &flows::fdb::Entry| (entry.mac, entry.vid, entry.port);
    fdb.flush(now, |entry| entry.is_static && !wanted.contains(&key(entry)));
    let present = fdb.entries(now).into_iter().filter(|entry| entry.is_static);
    let present: HashSet<_> = present.map(|entry| key(&entry)).collect();
    for (mac, vid, port) in wanted {
        // With both of its buckets full of other stations the entry cannot be made; `fdb show` shows
        // that it is missing.
        if !present.contains(&(mac, vid, port)) && !fdb.add_static(mac, vid, port) {
            tracing::warn!(%mac, "no room for a static entry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridges_of_a_configuration_are_found_by_their_names() {
        let mut numbering = Numbering::default();
        for (index, name) in (0..).map(BridgeIndex).zip(["b", "a", "c", "f"]) {
            let fdb = Arc::new(Fdb::new(16, 300, 1));
            numbering.bridges.insert(name.parse().unwrap(), BridgeSlot { index, fdb });
        }
        let mut config = Config::default();
        for name in ["a", "c", "d", "e", "f"] {
            config.bridges.insert(name.parse().unwrap(), Bridge::default());
        }
        let found = numbering.bridges_of(&config);
        let found: Vec<_> = found.map(|(name, slot, _)| (name.to_string(), slot.index.0)).collect();
        assert_eq!(found, [("a".to_owned(), 1), ("c".to_owned(), 2), ("f".to_owned(), 3)]);
    }

    #[test]
    fn the_number_of_a_port_that_is_no_more_is_not_given_away_before_all_workers_know() {
        let mut numbering = Numbering::default();
        numbering.ports.insert("p0".parse().unwrap(), (PortIndex(0), 1500));
        numbering.left = [PortIndex(1)].into();
        assert_eq!(numbering.free_port(), Some(PortIndex(2)));
        numbering.left.clear();
        assert_eq!(numbering.free_port(), Some(PortIndex(1)));
    }
}
