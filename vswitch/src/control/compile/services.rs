//! Services. Each is compiled when it changes, or when bridges do that it may be found on or have its backends on: a change
//! of one among ten thousand does not compile the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ctl::{Bridge, BridgeName, Config, DiffItem, ServiceName};
use flows::nat::Publish;
use flows::service::{Backend, Balance, Endurance, Health, Maglev, Service, Services, Turn};
use flows::{BridgeIndex, Endpoint, Home, Usage, Zone};

use super::{BridgeSlot, Numbering};

/// The number of the first service; those of rules of address translation are below.
const FIRST: u32 = 1 << 31;
/// Numbers of backends that a service's affinities can tell apart.
const NUMBERS: u16 = 4095;

/// What outlives configurations of services: as long as a service exists it counts on, and as long as a backend is one
/// it is known how it does.
#[derive(Debug, Clone, Default)]
pub struct Running {
    services: BTreeMap<ServiceName, Arc<Run>>,
    names: HashMap<u32, ServiceName>,
    /// The next service's number: none is used twice, since affinities know services by their numbers.
    next: u32,
    /// The bridges that find services which name none, sorted; `None` for all.
    open: Option<Arc<[BridgeIndex]>>,
    compiled: BTreeMap<ServiceName, Arc<Service>>,
    all: Arc<Services>,
}

/// The numbers of bridges.
type Slots = BTreeMap<BridgeName, BridgeSlot>;

/// Of one service.
#[derive(Debug)]
struct Run {
    usage: Arc<Usage>,
    turn: Arc<Turn>,
    /// The number and health of each backend.
    backends: BTreeMap<SocketAddr, (u16, Arc<Health>)>,
    /// The table for these, in the service's order, if it is divided so.
    maglev: Option<Arc<Maglev>>,
}

impl Running {
    /// Makes what is new, and forgets what is no more. The bridges are those of the next configuration.
    pub fn follow(&mut self, old: &Config, next: &Config, bridges: &Slots) {
        let has_moved = has_moved(old, next);
        if has_moved {
            self.open = open(next, bridges);
        }
        let mut differs = has_moved;
        for item in old.services.diff(&next.services) {
            differs = true;
            match item {
                DiffItem::Remove(name, _) => {
                    self.compiled.remove(name);
                    if let Some(run) = self.services.remove(name) {
                        self.names.remove(&run.usage.rule());
                    }
                }
                DiffItem::Add(name, service) | DiffItem::Update { new: (name, service), .. } => {
                    let run = match self.services.get(name) {
                        Some(run) => run.following(service),
                        None => self.begun().following(service),
                    };
                    self.names.insert(run.usage.rule(), name.clone());
                    if !has_moved {
                        let compiled = self.compile(next, bridges, (service, &run));
                        self.compiled.insert(name.clone(), Arc::new(compiled));
                    }
                    self.services.insert(name.clone(), Arc::new(run));
                }
            }
        }
        if has_moved {
            self.compile_all(next, bridges);
        }
        if differs {
            self.all = Arc::new(Services::new(self.compiled.values().cloned()));
        }
    }

    fn compile_all(&mut self, config: &Config, bridges: &Slots) {
        let each = config.services.iter().filter_map(|(name, service)| {
            let run = self.services.get(name)?;
            Some((name.clone(), Arc::new(self.compile(config, bridges, (service, run)))))
        });
        self.compiled = each.collect();
    }

    fn compile(
        &self,
        config: &Config,
        bridges: &Slots,
        (service, run): (&ctl::Service, &Run),
    ) -> Service {
        let on = match service.on.is_empty() {
            true => self.open.clone(),
            false => Some(numbers(config.bridges_finding(service), bridges)),
        };
        Service {
            usage: Arc::clone(&run.usage),
            protocol: service.listen.protocol.number(service.listen.address.is_ipv4()),
            vip: endpoint(service.listen.address),
            on,
            backends: backends(config, bridges, (service, run)),
            balance: match &run.maglev {
                Some(table) => Balance::Maglev(Arc::clone(table)),
                None => Balance::RoundRobin(Arc::clone(&run.turn)),
            },
            affinity_seconds: service.affinity.map(|affinity| affinity.seconds),
            endurance: Endurance {
                failures: service.max_fails,
                rest_seconds: service.fail_timeout,
            },
            is_checked: service.health.is_some(),
        }
    }

    /// All of them, as the pipeline has them.
    pub(super) fn all(&self) -> &Arc<Services> {
        &self.all
    }

    /// A service's name, by its number.
    pub fn name_of(&self, usage: &Usage) -> Option<&ServiceName> {
        self.names.get(&usage.rule())
    }

    fn begun(&mut self) -> Run {
        let usage = Arc::new(Usage::of(FIRST + self.next % FIRST));
        self.next += 1;
        Run { usage, turn: Arc::default(), backends: BTreeMap::new(), maglev: None }
    }
}

impl Run {
    /// The same for what a service has become.
    fn following(&self, service: &ctl::Service) -> Self {
        let mut backends = BTreeMap::new();
        let had = |at: &SocketAddr| self.backends.get(at).cloned();
        for backend in &service.backends {
            backends.extend(had(&backend.at).map(|kept| (backend.at, kept)));
        }
        // The number of who went last is used again last.
        let last = self.backends.values().map(|(number, _)| *number).max().unwrap_or(0);
        let mut numbers = (1..=NUMBERS).map(|step| last.wrapping_add(step) % NUMBERS);
        for backend in service.backends.iter().filter(|backend| had(&backend.at).is_none()) {
            let taken = |number: &u16| backends.values().any(|(other, _)| other == number);
            let number = numbers.by_ref().find(|number| !taken(number)).unwrap_or(0);
            backends.insert(backend.at, (number, Arc::default()));
        }
        let order: Vec<_> = service.backends.iter().map(|it| endpoint(it.at)).collect();
        let is_maglev = service.balance == ctl::Balance::Maglev;
        Self {
            usage: Arc::clone(&self.usage),
            turn: Arc::clone(&self.turn),
            backends,
            maglev: is_maglev.then(|| Arc::new(Maglev::new(&order))),
        }
    }
}

fn endpoint(at: SocketAddr) -> Endpoint {
    Endpoint::new(at.ip(), at.port())
}

/// Whether services can be found on other bridges than before, or their backends be on others.
fn has_moved(old: &Config, next: &Config) -> bool {
    let is_bridge_moved = |item| match item {
        DiffItem::Update { old: (_, old), new: (_, new) } => {
            let (old, new): (&Bridge, &Bridge) = (old, new);
            old.gateways != new.gateways
        }
        DiffItem::Add(..) | DiffItem::Remove(..) => true,
    };
    old.bridges.diff(&next.bridges).any(is_bridge_moved) || !next.is_internal_as(old)
}

/// The bridges that find services which name none; `None` for all.
fn open(config: &Config, bridges: &Slots) -> Option<Arc<[BridgeIndex]>> {
    let is_any_closed = config.networks.values().any(|network| network.settings.internal);
    let finding = config.bridges.keys().filter(|name| config.finds_all(name));
    is_any_closed.then(|| numbers(finding, bridges))
}

fn numbers<'a>(names: impl Iterator<Item = &'a BridgeName>, bridges: &Slots) -> Arc<[BridgeIndex]> {
    let numbers: BTreeSet<_> =
        names.filter_map(|name| bridges.get(name)).map(|slot| slot.index).collect();
    numbers.into_iter().collect()
}

/// Who serves, in the service's order, of which its table is made.
fn backends(
    config: &Config,
    bridges: &Slots,
    (service, run): (&ctl::Service, &Run),
) -> Box<[Backend]> {
    let bridge_of =
        |ip: IpAddr| -> Option<&BridgeName> { config.backend_bridges(service, ip).next() };
    let backend = |backend: &ctl::Backend| {
        // A backend on no bridge is refused when it is added.
        let slot = bridge_of(backend.at.ip()).and_then(|name| bridges.get(name))?;
        let (number, health) = run.backends.get(&backend.at)?;
        Some(Backend {
            endpoint: endpoint(backend.at),
            bridge: slot.index,
            number: *number,
            is_draining: backend.draining,
            health: Arc::clone(health),
        })
    };
    service.backends.iter().filter_map(backend).collect()
}

/// Node ports, which are published ports that lead to their services' addresses.
pub(super) fn node_ports(config: &Config, numbering: &Numbering) -> Vec<(Publish, Home)> {
    let services = config.services.iter().filter(|(_, service)| service.node_port.is_some());
    let each = services.flat_map(|(name, service)| {
        let on = config.bridges_finding(service);
        on.filter_map(move |on| node_port(numbering, (name, service), (on, None)))
    });
    each.collect()
}

/// A service's node port on a bridge, at an address there.
pub(super) fn node_port(
    numbering: &Numbering,
    (name, service): (&ServiceName, &ctl::Service),
    (on, address): (&BridgeName, Option<IpAddr>),
) -> Option<(Publish, Home)> {
    let (port, run) = service.node_port.zip(numbering.services.services.get(name))?;
    let slot = numbering.bridges.get(on)?;
    let vip = endpoint(service.listen.address);
    let protocol = service.listen.protocol.number(vip.ip.is_ipv4());
    let rule = Publish::new(Zone::from(slot.index), protocol, address, port..=port, vip).ok()?;
    // Whose station it is, the service says.
    Some((rule, Home { bridge: slot.index, usage: Arc::clone(&run.usage) }))
}
