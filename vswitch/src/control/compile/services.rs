//! Services.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ctl::{BridgeName, Config, DiffItem, ServiceName};
use flows::nat::Publish;
use flows::service::{Backend, Balance, Endurance, Health, Maglev, Service, Services, Turn};
use flows::{BridgeIndex, Endpoint, Home, Usage, Zone};

use super::Numbering;

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
}

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
    /// Makes what is new, and forgets what is no more.
    pub fn follow(&mut self, old: &Config, next: &Config) {
        for item in old.services.diff(&next.services) {
            match item {
                DiffItem::Remove(name, _) => {
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
                    self.services.insert(name.clone(), Arc::new(run));
                }
            }
        }
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

/// Compiles the services.
pub(super) fn services(config: &Config, numbering: &Numbering) -> Services {
    let everywhere = config.networks.values().all(|network| !network.settings.internal);
    let finding = |service| bridges_finding(config, numbering, service);
    // What those have in common that name no bridges.
    let mut open: Option<Arc<[BridgeIndex]>> = None;
    let all = config.services.iter().filter_map(|(name, service)| {
        let run = numbering.services.services.get(name)?;
        let on = match service.on.is_empty() {
            true if everywhere => None,
            true => Some(Arc::clone(open.get_or_insert_with(|| finding(service)))),
            false => Some(finding(service)),
        };
        Some(Service {
            usage: Arc::clone(&run.usage),
            protocol: service.listen.protocol.number(service.listen.address.is_ipv4()),
            vip: endpoint(service.listen.address),
            on,
            backends: backends(config, numbering, (service, run)),
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
        })
    });
    Services::new(all)
}

fn bridges_finding(
    config: &Config,
    numbering: &Numbering,
    service: &ctl::Service,
) -> Arc<[BridgeIndex]> {
    let index = |name| numbering.bridges.get(name).map(|slot| slot.index);
    let on: BTreeSet<_> = config.bridges_finding(service).filter_map(index).collect();
    on.into_iter().collect()
}

/// Who serves, in the service's order, of which its table is made.
fn backends(
    config: &Config,
    numbering: &Numbering,
    (service, run): (&ctl::Service, &Run),
) -> Box<[Backend]> {
    let bridge_of =
        |ip: IpAddr| -> Option<&BridgeName> { config.backend_bridges(service, ip).next() };
    let backend = |backend: &ctl::Backend| {
        // A backend on no bridge is refused when it is added.
        let slot = bridge_of(backend.at.ip()).and_then(|name| numbering.bridges.get(name))?;
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
    let mut ports = Vec::new();
    for (name, service) in &config.services {
        let (Some(port), Some(run)) = (service.node_port, numbering.services.services.get(name))
        else {
            continue;
        };
        let vip = endpoint(service.listen.address);
        let protocol = service.listen.protocol.number(vip.ip.is_ipv4());
        for slot in config.bridges_finding(service).filter_map(|on| numbering.bridges.get(on)) {
            let rule = Publish::new(Zone::from(slot.index), protocol, None, port..=port, vip);
            // Whose station it is, the service says.
            let home = Home { bridge: slot.index, usage: Arc::clone(&run.usage) };
            ports.extend(rule.map(|rule| (rule, home)));
        }
    }
    ports
}
