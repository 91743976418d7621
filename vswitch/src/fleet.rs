//! The workers as the control thread sees them: start, send, collect, stop.
//!
//! Only the control thread uses a [`Fleet`]. Nothing here decides what the configuration is; it carries
//! finished configurations and open queues to the workers, and brings back what they are done with.

mod watch;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use flows::router::NextHop;
use flows::{BridgeIndex, Offer, PortIndex, Saying, TableSizes, Tables, Vid, Visitor};
use pktio::buffer::Memory;
use pktio::{Pool, PoolConfig, PoolError, PortFault};

use crate::random::random;
use crate::sys::ask_for_slices_of;
use crate::worker::{
    Clock, Command, Dataplane, Device, Event, Lane, PollMode, QueueId, Report, Stranger, Worker,
    WorkerId, WorkerOptions, doorbell, silence,
};
use watch::Watch;

/// A worker that has not answered for this long is reported as stuck. A turn takes microseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a wait for an answer looks.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// How the workers run.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// One worker is started and pinned for each of these cores.
    pub cores: Vec<usize>,
    /// How workers wait for frames.
    pub mode: PollMode,
    /// Packet memory of each worker.
    pub pool: PoolConfig,
    /// How large the shared tables are. The fleet chooses their seed.
    pub tables: TableSizes,
}

/// Why the workers cannot be started or do not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A core that this process may not use.
    #[error(
        "cannot use core {core}: this process may run on {allowed:?}; choose --cores from these"
    )]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores that the process may run on.
        allowed: Vec<usize>,
    },
    /// No packet memory.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The kernel refused a thread, an eventfd or an epoll set.
    #[error("cannot start worker {worker}: {source}")]
    Start {
        /// The worker's number.
        worker: usize,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// A worker does not turn.
    #[error("worker {worker} has not answered for {seconds} s; its thread is stuck or starved")]
    Silent {
        /// The worker's number.
        worker: u16,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// The time slice of workers. On a core that others want too, the default of 3 ms is what a waking worker may
/// have to wait for.
const SLICE: Duration = Duration::from_micros(100);

/// The running workers.
pub struct Fleet {
    lanes: Arc<[Lane]>,
    threads: Vec<JoinHandle<()>>,
    cores: Vec<usize>,
    memories: Vec<Memory>,
    doorbell: Arc<OwnedFd>,
    clock: Clock,
    tables: Arc<Tables>,
    /// Which worker polls which queue.
    placed: BTreeMap<QueueId, WorkerId>,
    /// Configurations given to, and retired by, each worker.
    adopting: Vec<u64>,
    reports: Vec<Report>,
    faults: Vec<Fault>,
    /// Queues that workers gave back and that nobody has asked for yet.
    detached: Vec<DetachedQueue>,
    strangers: Vec<Stranger>,
    offers: Vec<Offer>,
    /// Who watches.
    watch: Watch,
}

/// A queue that a worker gave back.
type DetachedQueue = (QueueId, Device);

/// A queue that a worker gave up.
#[derive(Debug)]
pub struct Fault {
    /// The queue.
    pub queue: QueueId,
    /// Why.
    pub fault: PortFault,
}

impl Fleet {
    /// Starts one pinned worker per core, with nothing to do.
    ///
    /// # Errors
    /// [`FleetError`]; workers that were started are stopped again.
    pub fn start(options: &FleetOptions) -> Result<Self, FleetError> {
        check_cores(&options.cores)?;
        let failed = |worker| move |source| FleetError::Start { worker, source };
        let bell = Arc::new(doorbell().map_err(failed(0))?);
        let lanes = (0..options.cores.len())
            .map(|worker| Lane::new(Arc::clone(&bell)).map_err(failed(worker)))
            .collect::<Result<Arc<[Lane]>, _>>()?;
        let seed = u64::from_ne_bytes(random());
        let tables = TableSizes { seed, ..options.tables };
        let mut fleet = Self {
            lanes,
            threads: Vec::new(),
            cores: options.cores.clone(),
            memories: Vec::new(),
            doorbell: bell,
            clock: Clock::start(),
            tables: Arc::new(Tables::new(tables)),
            placed: BTreeMap::new(),
            adopting: vec![0; options.cores.len()],
            reports: Vec::new(),
            faults: Vec::new(),
            detached: Vec::new(),
            strangers: Vec::new(),
            offers: Vec::new(),
            watch: Watch::default(),
        };
        let plane = Arc::new(Dataplane::default());
        for worker in 0..options.cores.len() {
            let thread = fleet.spawn(worker, options, Arc::clone(&plane))?;
            fleet.threads.push(thread);
        }
        Ok(fleet)
    }

    fn spawn(
        &mut self,
        worker: usize,
        options: &FleetOptions,
        plane: Arc<Dataplane>,
    ) -> Result<JoinHandle<()>, FleetError> {
        let core = CoreId { id: options.cores[worker] };
        let id = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
        let own = WorkerOptions { id, mode: options.mode, clock: self.clock };
        let pool = Pool::new(options.pool)?;
        self.memories.push(pool.memory());
        let tables = Arc::clone(&self.tables);
        let state = Worker::new(own, Arc::clone(&self.lanes), plane, tables, pool)
            .map_err(|source| FleetError::Start { worker, source })?;
        std::thread::Builder::new()
            .name(format!("vswitch-w{worker}"))
            .spawn(move || {
                core_affinity::set_for_current(core);
                // An older kernel knows no slices: waking then takes as long as the others' slices.
                let _ = ask_for_slices_of(SLICE);
                state.run();
            })
            .map_err(|source| FleetError::Start { worker, source })
    }

    /// The daemon's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What all workers share.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The workers, and the core of each.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, usize)> + '_ {
        (0u16..).map(WorkerId).zip(self.cores.iter().copied())
    }

    /// Which worker polls which queue.
    pub fn placement(&self) -> &BTreeMap<QueueId, WorkerId> {
        &self.placed
    }

    /// The same, to be rung by others than workers.
    pub fn shared_doorbell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.doorbell)
    }

    /// Readable when workers have something to tell. Silenced by [`Fleet::take_faults`].
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    /// The worker with the fewest queues: where the next queue goes.
    pub fn least_loaded(&self) -> WorkerId {
        let load = |worker: &WorkerId| self.placed.values().filter(|at| *at == worker).count();
        self.workers().map(|(worker, _)| worker).min_by_key(load).unwrap_or(WorkerId(0))
    }

    /// The packet memory of a worker.
    pub fn memory(&self, worker: WorkerId) -> Memory {
        self.memories[usize::from(worker.0)]
    }

    /// Gives a queue, or an endpoint of tunnels, to a worker, to transmit by. It receives nothing until
    /// [`Fleet::open`].
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker's lane stays full; the queue is then closed.
    pub fn attach(
        &mut self,
        worker: WorkerId,
        queue: QueueId,
        device: impl Into<Device>,
    ) -> Result<(), FleetError> {
        self.send(worker, Command::Attach(queue, device.into()))?;
        self.placed.insert(queue, worker);
        Ok(())
    }

    /// Lets the workers receive from the queues of a port, or from an endpoint. By then all of them have to know the
    /// port, and who transmits for it: what comes in is answered at once.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker's lane stays full.
    pub fn open(&mut self, port: PortIndex) -> Result<(), FleetError> {
        let workers = self.workers_of(port);
        workers.into_iter().try_for_each(|worker| self.send(worker, Command::Open(port)))
    }

    /// Takes all queues of a port away from the workers and closes them. When this returns, no worker
    /// touches the port.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn.
    pub fn detach(&mut self, port: PortIndex) -> Result<(), FleetError> {
        drop(self.take_back(port)?);
        // Its queues may have failed meanwhile. That concerns nobody any more, least of all the port that
        // gets its number.
        self.faults.retain(|fault| fault.queue.port != port);
        for worker in 0..self.lanes.len() {
            self.send(worker_id(worker), Command::Forget(port))?;
        }
        Ok(())
    }

    /// Moves all queues of a port to a worker. Until the next [`Fleet::adopt`] the others do not know, and until
    /// [`Fleet::open`] it receives nothing.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn; queues are closed then.
    pub fn relocate(&mut self, port: PortIndex, to: WorkerId) -> Result<(), FleetError> {
        let queues = self.take_back(port)?;
        queues.into_iter().try_for_each(|(queue, device)| self.attach(to, queue, device))
    }

    /// Takes all queues of a port away from the workers.
    fn take_back(&mut self, port: PortIndex) -> Result<Vec<DetachedQueue>, FleetError> {
        for worker in self.workers_of(port) {
            self.send(worker, Command::Detach(port))?;
        }
        self.wait(|fleet| fleet.workers_of(port).first().copied())?;
        // What a worker gave back too late for an earlier call is closed now.
        let detached = std::mem::take(&mut self.detached);
        Ok(detached.into_iter().filter(|(queue, _)| queue.port == port).collect())
    }

    /// Gives all workers a configuration. When this returns, all of them use it.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn.
    pub fn adopt(&mut self, plane: &Arc<Dataplane>) -> Result<(), FleetError> {
        for worker in 0..self.lanes.len() {
            self.send(worker_id(worker), Command::Adopt(Arc::clone(plane)))?;
            self.adopting[worker] += 1;
        }
        self.wait(|fleet| fleet.adopting.iter().position(|waiting| *waiting > 0).map(worker_id))
    }

    /// Treats frames as if a port had received them. A port without a queue receives nothing.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker does not turn.
    pub fn inject(&mut self, port: PortIndex, frames: Vec<Vec<u8>>) -> Result<(), FleetError> {
        match self.workers_of(port).first() {
            Some(worker) => self.send(*worker, Command::Inject(port, frames)),
            None => Ok(()),
        }
    }

    /// Lets the gateway of a bridge say something to all its stations, by one of the workers.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker does not turn.
    pub fn say(&mut self, bridge: BridgeIndex, saying: Saying) -> Result<(), FleetError> {
        self.send(WorkerId(0), Command::Say(bridge, saying))
    }

    /// Sends frames that a gateway's service made to a port, by one of the workers.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker does not turn.
    pub fn convey(
        &mut self,
        (port, vid): (PortIndex, Vid),
        frames: Vec<Vec<u8>>,
    ) -> Result<(), FleetError> {
        let worker = self.workers_of(port).first().copied().unwrap_or(WorkerId(0));
        self.send(worker, Command::Convey(port, vid, frames))
    }

    /// Sends frames that a gateway made to stations of its bridge, by one of the workers.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker does not turn.
    pub fn emit(&mut self, bridge: BridgeIndex, frames: Vec<Vec<u8>>) -> Result<(), FleetError> {
        self.send(WorkerId(0), Command::Emit(bridge, frames))
    }

    /// Lets one of the workers see to it that a neighbour is asked for.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when the worker does not turn.
    pub fn seek(&mut self, next: NextHop) -> Result<(), FleetError> {
        self.send(WorkerId(0), Command::Seek(next))
    }

    /// The next packet for a service of a gateway. `None` is final until the doorbell rings.
    pub fn visitor(&self) -> Option<Visitor> {
        self.lanes.iter().find_map(Lane::visitor)
    }

    /// A copy of every worker's books.
    ///
    /// # Errors
    /// [`FleetError::Silent`] when a worker does not turn.
    pub fn reports(&mut self) -> Result<Vec<Report>, FleetError> {
        self.reports.clear();
        for worker in 0..self.lanes.len() {
            let id = worker_id(worker);
            self.send(id, Command::Report(Box::new(Report::empty(id))))?;
        }
        self.wait(|fleet| {
            let answered = |id: &WorkerId| fleet.reports.iter().any(|report| report.worker == *id);
            fleet.workers().map(|(id, _)| id).find(|id| !answered(id))
        })?;
        self.reports.sort_by_key(|report| report.worker);
        Ok(std::mem::take(&mut self.reports))
    }

    /// The queues that failed since the last call.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        silence(&self.doorbell);
        self.collect();
        std::mem::take(&mut self.faults)
    }

    /// Who sent by tunnels without being known, since the last call. The doorbell is silenced by
    /// [`Fleet::take_faults`].
    pub fn take_strangers(&mut self) -> Vec<Stranger> {
        std::mem::take(&mut self.strangers)
    }

    /// What the kernel could carry, since the last call. The doorbell is silenced by [`Fleet::take_faults`].
    pub fn take_offers(&mut self) -> Vec<Offer> {
        std::mem::take(&mut self.offers)
    }

    /// Whether something has moved since the last call, likewise.
    pub fn take_move(&mut self) -> bool {
        // Of each, also behind the first that has.
        self.lanes.iter().filter(|lane| lane.take_move()).count() > 0
    }

    fn workers_of(&self, port: PortIndex) -> Vec<WorkerId> {
        let mut workers: Vec<_> =
            self.placed.iter().filter(|(id, _)| id.port == port).map(|(_, at)| *at).collect();
        workers.dedup();
        workers
    }

    fn send(&mut self, worker: WorkerId, command: Command) -> Result<(), FleetError> {
        let mut unsent = Some(command);
        self.wait(|fleet| {
            let refused = fleet.lanes[usize::from(worker.0)].send(unsent.take()?).err();
            unsent = refused;
            unsent.is_some().then_some(worker)
        })
    }

    /// Collects events until `missing` names no worker any more.
    fn wait(
        &mut self,
        mut missing: impl FnMut(&mut Self) -> Option<WorkerId>,
    ) -> Result<(), FleetError> {
        let begun = Instant::now();
        loop {
            self.collect();
            let Some(WorkerId(worker)) = missing(self) else { return Ok(()) };
            if begun.elapsed() > ANSWER_WITHIN {
                return Err(FleetError::Silent { worker, seconds: ANSWER_WITHIN.as_secs() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Notes what the workers have told. Retired configurations are freed here, on the control thread.
    fn collect(&mut self) {
        let lanes = Arc::clone(&self.lanes);
        for (worker, lane) in lanes.iter().enumerate() {
            while let Some(event) = lane.event() {
                match event {
                    Event::Retired(_) => self.adopting[worker] -= 1,
                    Event::Detached(queue, device) => {
                        self.placed.remove(&queue);
                        self.detached.push((queue, device));
                    }
                    Event::Fault(queue, _, fault) => {
                        self.placed.remove(&queue);
                        self.faults.push(Fault { queue, fault });
                    }
                    Event::Report(report) => self.reports.push(*report),
                    Event::Stranger(stranger) => self.strangers.push(stranger),
                    Event::Offer(offer) => self.offers.push(offer),
                    Event::Observed(_) => self.watch.note_begun(),
                    Event::Dismissed(observer) => self.watch.note_dismissed(observer),
                }
            }
        }
    }
}

impl Drop for Fleet {
    /// Stops the workers and waits for them; their ports close.
    fn drop(&mut self) {
        for lane in self.lanes.iter() {
            let _ = lane.send(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn worker_id(worker: usize) -> WorkerId {
    WorkerId(u16::try_from(worker).unwrap_or(u16::MAX))
}

fn check_cores(cores: &[usize]) -> Result<(), FleetError> {
    let allowed = usable_cores();
    match cores.iter().find(|core| !allowed.contains(core)) {
        Some(core) => Err(FleetError::NoSuchCore { core: *core, allowed }),
        None => Ok(()),
    }
}

/// A list of cores, as people write it: `0-3,6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreSet(pub Vec<usize>);

impl std::str::FromStr for CoreSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no list of cores, such as 1 or 0-3,6");
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| bad())?;
            let last: usize = last.trim().parse().map_err(|_| bad())?;
            if first > last || last > 4095 {
                return Err(bad());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

/// The cores that this process may run on.
pub fn usable_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

/// The cores that are used if none are named: the last one that this process may run on, which is the
/// least likely to be everybody's first choice.
pub fn default_cores() -> Vec<usize> {
    vec![usable_cores().last().copied().unwrap_or(0)]
}
