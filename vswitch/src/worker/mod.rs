//! One worker: a thread, pinned to a core, that carries frames from its ports to theirs.
//!
//! ```text
//!   turn:  obey ──► for each queue: rx_burst ──► pipeline ──► outboxes ──► transmit ──► housekeep
//!            ^                                      │              │
//!        lane (control)                        drop(reason)   other workers' queues: handoff
//! ```
//!
//! Endpoints of tunnels are served like queues; what they receive is unwrapped first, what they transmit
//! is wrapped last (`tunnel`). Those without a socket have their packets from the pipeline, and give them to it (`native`).
//!
//! A worker owns its queues, its packet memory, its ledger and its counters; it shares only the
//! forwarding tables (`flows::Fdb`), its [`Lane`] and the handoff rings. It takes no lock, allocates
//! nothing per frame, and makes no system call per frame besides the ports' own. Who watches it
//! (`observe`) changes nothing of that for those who are not watched.

mod egress;
mod idle;
mod lane;
mod native;
mod observe;
mod perf;
mod queues;
mod shaper;
mod shaping;
mod sleep;
mod tunnel;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flows::router::HoldLimits;
use flows::vxlan::Native;
use flows::{
    BridgeIndex, DropReason, DropSide, Ledger, Nanos, Outboxes, Pipeline, PortIndex, Saying,
    Snapshot, Tables, Vid, Visitor,
};
use pktio::underlay::Underlay;
use pktio::{Burst, Missed, Pool, Port, PortFault};

pub use idle::{Idle, Next, PollMode};
pub use lane::{Command, Event, Lane, Parcel, QueueId, doorbell, ring, silence};
pub use observe::{Following, Observer, ObserverId, Outbound, Page, Pages, Record, Recorder};
pub use perf::{BATCH_BUCKETS, Perf, Stage};
pub use shaper::Shape;
pub use tunnel::Stranger;

use observe::Observers;
use perf::Stopwatch;
use queues::{Queue, Queues};
use shaper::Shaper;
use tunnel::Tunnelling;

/// A turn begins no further queue when it has taken this long: what the control thread wants, and what is due, does not wait until
/// hundreds of busy ports have had theirs.
const LONGEST_TURN: Duration = Duration::from_millis(1);

/// Identifies a worker: its position in the list of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// Everything that a worker needs to know of the configuration, immutable.
#[derive(Debug, Default)]
pub struct Dataplane {
    /// What the pipeline decides by.
    pub snapshot: Arc<Snapshot>,
    /// By port number: the worker that transmits for those that own no queue of the port.
    pub owners: Vec<Option<WorkerId>>,
    /// By port number: the rate at which frames leave. All frames for a port with a rate leave by its
    /// owner.
    pub shapes: Vec<Option<Shape>>,
}

/// The clock of the daemon: time since it started. The pipeline is given its readings.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the start.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A copy of a worker's books, made by the worker between two turns, so that it is consistent.
#[derive(Debug)]
pub struct Report {
    /// Who answers.
    pub worker: WorkerId,
    /// Frames received, forwarded, dropped, and the last offenders.
    pub ledger: Ledger,
    /// Cycles, batches, sleeps.
    pub perf: Perf,
    /// Frames that the kernel lost before the ports of this worker saw them, since the last report.
    pub missed: Vec<(PortIndex, Missed)>,
    /// Frames handed to other workers and received from them.
    pub handed: Handed,
    /// The next hops that packets wait for, once for each packet.
    pub awaited: Vec<(BridgeIndex, IpAddr)>,
}

impl Report {
    /// A report to be filled in.
    pub fn empty(worker: WorkerId) -> Self {
        Self {
            worker,
            ledger: Ledger::new(),
            perf: Perf::default(),
            missed: Vec::new(),
            handed: Handed::default(),
            awaited: Vec::with_capacity(HoldLimits::default().total),
        }
    }
}

/// Frames that crossed between workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handed {
    /// To other workers.
    pub out: u64,
    /// From other workers.
    pub taken: u64,
}

/// What a worker serves.
pub enum Device {
    /// A queue of a port.
    Queue(Box<dyn Port>),
    /// An endpoint of tunnels.
    Endpoint(Box<Underlay>),
}

impl From<Box<dyn Port>> for Device {
    fn from(port: Box<dyn Port>) -> Self {
        Self::Queue(port)
    }
}

impl From<Underlay> for Device {
    fn from(underlay: Underlay) -> Self {
        Self::Endpoint(Box::new(underlay))
    }
}

/// By which of a worker's own devices the frames of a port leave.
#[derive(Debug, Clone, Copy)]
enum Outlet {
    /// The queue at this position.
    Queue(usize),
    /// A tunnel, from the endpoint at this position.
    Endpoint(usize),
    /// A tunnel, over a bridge: every worker does that itself.
    Bridge(Native),
}

/// What a worker is made of, see [`Worker::new`].
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Which worker this is.
    pub id: WorkerId,
    /// How it waits.
    pub mode: PollMode,
    /// The daemon's clock.
    pub clock: Clock,
}

/// A worker's state. Made on the control thread, moved to the worker's own.
pub struct Worker {
    id: WorkerId,
    clock: Clock,
    lanes: Arc<[Lane]>,
    queues: Queues,
    tunnelling: Tunnelling,
    /// By port number: what of this worker's transmits for the port.
    local: Vec<Option<Outlet>>,
    plane: Arc<Dataplane>,
    pipeline: Pipeline,
    pool: Pool,
    received: Burst,
    fitted: Burst,
    outboxes: Outboxes,
    /// By port number: what waits for ports with a rate that this worker owns.
    shapers: Vec<Option<Shaper>>,
    ledger: Ledger,
    observers: Observers,
    handed: Handed,
    idle: Idle,
    perf: Perf,
    stopped: bool,
}

impl Worker {
    /// A worker with nothing to do, whose own lane is `lanes[id]`.
    ///
    /// # Errors
    /// The kernel's, if it gives no epoll set.
    pub fn new(
        options: WorkerOptions,
        lanes: Arc<[Lane]>,
        plane: Arc<Dataplane>,
        tables: Arc<Tables>,
        pool: Pool,
    ) -> io::Result<Self> {
        let WorkerOptions { id, mode, clock } = options;
        Ok(Self {
            id,
            clock,
            lanes,
            queues: Queues::new()?,
            tunnelling: Tunnelling::new(),
            local: Vec::new(),
            pipeline: Pipeline::new(Arc::clone(&plane.snapshot), tables),
            plane,
            pool,
            received: Burst::new(),
            fitted: Burst::new(),
            outboxes: Outboxes::new(),
            shapers: Vec::new(),
            ledger: Ledger::new(),
            observers: Observers::default(),
            handed: Handed::default(),
            idle: Idle::new(mode, clock.now()),
            perf: Perf::default(),
            stopped: false,
        })
    }

    /// Turns until told to stop.
    pub fn run(mut self) {
        loop {
            let frames = self.turn();
            if self.stopped {
                return;
            }
            let moved = frames + usize::from(self.outboxes.is_waiting());
            match self.idle.after_turn(self.clock.now(), moved) {
                Next::Poll => {}
                Next::Yield => std::thread::yield_now(),
                Next::Sleep => self.sleep(),
            }
        }
    }

    /// One turn: every queue in which something could wait is served once, unless that takes too long. Returns the number of frames
    /// received.
    pub fn turn(&mut self) -> usize {
        let mut watch = Stopwatch::start();
        let now = self.clock.now();
        self.obey(now);
        let mut frames = self.unpack_parcels(now);
        watch.charge(&mut self.perf, Stage::Housekeep);
        frames += self.serve_queues(now, &mut watch);
        frames += self.serve_endpoints(now, &mut watch);
        self.pipeline.housekeep(now, &mut self.pool, &mut self.outboxes, &mut self.ledger);
        self.usher(now);
        self.unwrap_native(now);
        self.tell_of_moves();
        self.retry_native(now);
        self.release_all(now);
        self.flush_due(now);
        if !self.observers.is_empty() {
            self.show_turn(frames == 0, now);
        }
        watch.charge(&mut self.perf, if frames > 0 { Stage::Tx } else { Stage::Idle });
        self.perf.turns += 1;
        self.perf.empty_turns += u64::from(frames == 0);
        frames
    }

    /// Serves every hot queue once, or as many as there is time for; the next turn begins with those that are left.
    fn serve_queues(&mut self, now: Nanos, watch: &mut Stopwatch) -> usize {
        self.queues.warm(now);
        let mut frames = 0;
        for _ in 0..self.queues.hot() {
            let Some(slot) = self.queues.next_hot() else { break };
            match self.serve(slot, now, watch) {
                Ok(0) => {}
                Ok(received) => {
                    frames += received;
                    if self.clock.now().since(now) >= LONGEST_TURN {
                        break;
                    }
                }
                Err(fault) => self.expel(slot, fault),
            }
        }
        while let Err((slot, fault)) = self.queues.cool(now, &mut self.pool) {
            self.expel(slot, fault);
        }
        frames
    }

    /// Receives one burst from a queue and decides about it.
    fn serve(
        &mut self,
        slot: usize,
        now: Nanos,
        watch: &mut Stopwatch,
    ) -> Result<usize, PortFault> {
        let queue = &mut self.queues[slot];
        let outcome = queue.port.rx_burst(&mut self.pool, &mut self.received);
        // A port that fails has received what it has: left behind, it would be taken for the next one's.
        let received = self.received.len();
        if received == 0 {
            watch.charge(&mut self.perf, Stage::Idle);
            return outcome;
        }
        let ingress = queue.id.port;
        self.queues.note_frames(slot, now);
        self.perf.batch(received);
        watch.charge(&mut self.perf, Stage::Rx);
        self.decide(ingress, now);
        self.unwrap_native(now);
        watch.charge(&mut self.perf, Stage::Pipeline);
        if self.is_crowded() {
            self.flush_all(now);
            watch.charge(&mut self.perf, Stage::Tx);
        }
        outcome
    }

    /// Whether what waits to leave is too much, or in buffers that the next frames may need.
    #[inline]
    fn is_crowded(&self) -> bool {
        self.outboxes.must_flush() || self.pool.is_short()
    }

    /// Carries out what the control thread sent.
    fn obey(&mut self, now: Nanos) {
        while let Some(command) = self.lane().command() {
            // What waits for other commands leaves when it is due: the control thread waits for some of them, and a flood to
            // five hundred ports is a millisecond and more.
            if command.needs_empty_outboxes() || self.is_crowded() {
                self.flush_all(now);
            }
            match command {
                Command::Adopt(plane) => self.adopt(plane, now),
                Command::Attach(id, Device::Queue(port)) => self.attach(id, port, now),
                Command::Attach(id, Device::Endpoint(underlay)) => self.join(id, underlay),
                Command::Open(port) => self.open(port, now),
                Command::Detach(port) => self.detach(port),
                Command::Forget(port) => self.forget(port, now),
                Command::Inject(port, frames) => self.inject(port, &frames, now),
                Command::Say(bridge, saying) => self.say(bridge, saying, now),
                Command::Convey(port, vid, frames) => self.convey((port, vid), &frames, now),
                Command::Emit(bridge, frames) => self.emit(bridge, &frames, now),
                Command::Seek(next) => self.pipeline.seek(now, next),
                Command::Report(report) => self.fill(report),
                Command::Observe(observer) => self.observe(observer),
                Command::Unobserve(id) => self.unobserve(id),
                Command::Stop => self.stopped = true,
            }
        }
    }

    fn adopt(&mut self, plane: Arc<Dataplane>, now: Nanos) {
        self.flush_unowned(now);
        self.pipeline.adopt(Arc::clone(&plane.snapshot));
        self.outboxes.reserve(plane.snapshot.port_slots());
        self.ledger.reserve(plane.snapshot.port_slots());
        let retired = std::mem::replace(&mut self.plane, plane);
        self.adopt_shapes();
        self.map_outlets();
        self.tunnelling.adopt(self.plane.snapshot.tunnels());
        self.lane().report(Event::Retired(retired));
    }

    fn attach(&mut self, id: QueueId, mut port: Box<dyn Port>, now: Nanos) {
        // It was for who had the number before.
        self.flush(id.port, now);
        if let Err(fault) = port.housekeep(&mut self.pool) {
            return self.lane().report(Event::Fault(id, Device::Queue(port), fault));
        }
        self.queues.push(id, port);
        self.map_outlets();
    }

    fn open(&mut self, port: PortIndex, now: Nanos) {
        self.queues.open(port, now);
        self.tunnelling.open(port);
    }

    fn detach(&mut self, port: PortIndex) {
        while let Some(slot) = self.queues.position(port) {
            let queue = self.remove(slot);
            self.lane().report(Event::Detached(queue.id, Device::Queue(queue.port)));
        }
        self.part(port);
    }

    /// Closes the books of a port that is no more.
    fn forget(&mut self, port: PortIndex, now: Nanos) {
        self.drop_native(port, now);
        self.drop_waiting(port, now);
        let (pool, outboxes) = (&mut self.pool, &mut self.outboxes);
        self.pipeline.forget(port, now, pool, outboxes, &mut self.ledger);
        self.ledger.forget(port);
        self.unobserve_port(port);
    }

    /// A queue failed: it leaves the poll list, and the control thread hears why.
    fn expel(&mut self, slot: usize, fault: PortFault) {
        let queue = self.remove(slot);
        self.lane().report(Event::Fault(queue.id, Device::Queue(queue.port), fault));
    }

    fn remove(&mut self, slot: usize) -> Queue {
        let queue = self.queues.remove(slot);
        self.map_outlets();
        let port = queue.id.port;
        if self.outlet(port).is_none() {
            self.drop_waiting(port, self.clock.now());
        }
        queue
    }

    /// Rebuilds the table from port to own device; the first queue of a port transmits.
    fn map_outlets(&mut self) {
        let queues = self.queues.iter().enumerate().rev();
        let queues = queues.map(|(at, queue)| (queue.id.port, Outlet::Queue(at)));
        let tunnels = self.plane.snapshot.tunnels().vteps().filter_map(|(port, vtep)| {
            let by_socket = || self.tunnelling.position(vtep.endpoint).map(Outlet::Endpoint);
            Some((port, vtep.native.map(Outlet::Bridge).or_else(by_socket)?))
        });
        self.local.fill(None);
        for (port, outlet) in queues.chain(tunnels) {
            if port.slot() >= self.local.len() {
                self.local.resize(port.slot() + 1, None);
            }
            self.local[port.slot()] = Some(outlet);
        }
    }

    /// By which device of this worker a port's frames leave.
    #[inline]
    fn outlet(&self, port: PortIndex) -> Option<Outlet> {
        self.local.get(port.slot()).copied().flatten()
    }

    /// Decides about frames that the control thread made on behalf of a port.
    fn inject(&mut self, port: PortIndex, frames: &[Vec<u8>], now: Nanos) {
        for bytes in frames {
            self.received.extend(self.pool.frame_from(bytes));
        }
        self.decide(port, now);
    }

    fn say(&mut self, bridge: BridgeIndex, saying: Saying, now: Nanos) {
        let Self { pipeline, pool, outboxes, ledger, .. } = self;
        pipeline.say(now, (bridge, saying), pool, outboxes, ledger);
    }

    fn convey(&mut self, (port, vid): (PortIndex, Vid), frames: &[Vec<u8>], now: Nanos) {
        let Self { pipeline, pool, outboxes, ledger, .. } = self;
        for bytes in frames {
            if let Some(frame) = pool.frame_from(bytes) {
                pipeline.convey(now, (port, vid, frame), pool, outboxes, ledger);
            }
        }
    }

    fn emit(&mut self, bridge: BridgeIndex, frames: &[Vec<u8>], now: Nanos) {
        let Self { pipeline, pool, outboxes, ledger, .. } = self;
        for bytes in frames {
            if let Some(frame) = pool.frame_from(bytes) {
                pipeline.emit(now, (bridge, frame), pool, outboxes, ledger);
            }
        }
    }

    /// Takes what came for services of gateways to the control thread, which serves.
    fn usher(&mut self, now: Nanos) {
        let lane = &self.lanes[usize::from(self.id.0)];
        for visitor in self.pipeline.visitors() {
            let port = visitor.port;
            match lane.receive(visitor) {
                Ok(()) => self.ledger.port_mut(port).answered += 1,
                Err(Visitor { frame, .. }) => {
                    let whose = (port, DropSide::Ingress, DropReason::ServiceBusy);
                    self.ledger.drop_frame(&mut self.pool, frame, whose, now);
                }
            }
        }
    }

    /// Runs the pipeline over what was received from a port.
    fn decide(&mut self, ingress: PortIndex, now: Nanos) {
        let is_observed = !self.observers.is_empty();
        if is_observed {
            self.show_received(ingress, now);
        }
        self.pipeline.run(
            now,
            ingress,
            &mut self.received,
            &mut self.pool,
            &mut self.outboxes,
            &mut self.ledger,
        );
        self.usher(now);
        if is_observed {
            self.show_decided(now);
        }
        self.pass_offers_on();
    }

    /// Tells the control thread what the kernel could carry from now on.
    #[inline]
    fn pass_offers_on(&mut self) {
        while self.lane().has_room()
            && let Some(offer) = self.pipeline.next_offer()
        {
            self.lane().report(Event::Offer(offer));
        }
    }

    /// Tells the control thread that the kernel may have to carry something no more.
    #[inline]
    fn tell_of_moves(&mut self) {
        if self.pipeline.take_move() {
            self.lane().tell_move();
        }
    }

    fn fill(&mut self, mut report: Box<Report>) {
        report.worker = self.id;
        report.ledger.copy_from(&self.ledger);
        report.perf = self.perf;
        report.handed = self.handed;
        report.awaited.clear();
        report.awaited.extend(self.pipeline.awaited());
        report.missed.clear();
        for queue in self.queues.iter_mut() {
            report.missed.push((queue.id.port, queue.port.take_missed()));
        }
        self.tunnelling.take_missed(&mut report.missed);
        self.lane().report(Event::Report(report));
    }

    fn lane(&self) -> &Lane {
        &self.lanes[usize::from(self.id.0)]
    }
}
