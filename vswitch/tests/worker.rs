//! Workers by themselves: no allocation per frame, handoff between workers, ports that move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use flows::{BridgeDomain, BridgeIndex, Fdb, Generation, Ledger, PortConfig, PortIndex, Snapshot};
use netlab::allocations::{self, Counting};
use pktio::mem::{self, MemPort};
use pktio::{Accepts, Burst, Pool, PoolConfig, Port, PortFault, Sent};
use vswitch::worker::{
    Clock, Command, Dataplane, Device, Event, Lane, Parcel, PollMode, QueueId, Report, Shape,
    Worker, WorkerId, WorkerOptions, doorbell,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Workers that the test turns by hand, and the far ends of their ports.
struct Rig {
    workers: Vec<Worker>,
    lanes: Arc<[Lane]>,
    far: Vec<MemPort>,
    pool: Pool,
}

const SMALL: PoolConfig = PoolConfig { small: 2048, slabs: 8 };

impl Rig {
    /// One bridge; port `n` is served by worker `placement[n]`.
    fn new(workers: u16, placement: &[u16], accepts: Accepts) -> Self {
        let bell = Arc::new(doorbell().unwrap());
        let lanes: Arc<[Lane]> =
            (0..workers).map(|_| Lane::new(Arc::clone(&bell)).unwrap()).collect();
        let clock = Clock::start();
        let worker = |id| {
            let options = WorkerOptions { id: WorkerId(id), mode: PollMode::Busy, clock };
            let plane = Arc::new(Dataplane::default());
            let pool = Pool::new(SMALL).unwrap();
            Worker::new(options, Arc::clone(&lanes), plane, Arc::default(), pool).unwrap()
        };
        let workers = (0..workers).map(worker).collect();
        let mut rig = Self { workers, lanes, far: Vec::new(), pool: Pool::new(SMALL).unwrap() };
        for (port, worker) in (0u16..).zip(placement) {
            let (near, far) = mem::pair(1024, accepts);
            rig.far.push(far);
            let id = QueueId { port: PortIndex(port), queue: 0 };
            rig.tell(*worker, Command::Attach(id, Device::Queue(Box::new(near))));
        }
        rig.place(placement);
        rig
    }

    fn tell(&self, worker: u16, command: Command) {
        assert!(self.lanes[usize::from(worker)].send(command).is_ok());
    }

    /// Tells every worker which one serves which port.
    fn place(&mut self, placement: &[u16]) {
        self.place_with(placement, Vec::new());
    }

    /// The same, of ports with rates.
    fn place_with(&mut self, placement: &[u16], shapes: Vec<Option<Shape>>) {
        let ports = placement.iter().map(|_| Some(PortConfig::new(BridgeIndex(0)))).collect();
        let bridge = BridgeDomain::new(Arc::new(Fdb::new(100, 300, 1)), 100);
        let snapshot = Snapshot::new(Generation(1), ports, vec![Some(bridge)]).unwrap();
        let owners = placement.iter().map(|worker| Some(WorkerId(*worker))).collect();
        let plane = Arc::new(Dataplane { snapshot: Arc::new(snapshot), owners, shapes });
        for worker in 0..self.workers.len() {
            self.tell(u16::try_from(worker).unwrap(), Command::Adopt(Arc::clone(&plane)));
        }
        self.turn();
        for (port, worker) in (0u16..).map(PortIndex).zip(placement) {
            self.tell(*worker, Command::Open(port));
        }
        self.turn();
    }

    fn turn(&mut self) {
        // Twice, so that what one hands to the one before it also arrives.
        for _ in 0..2 {
            for worker in &mut self.workers {
                worker.turn();
            }
        }
    }

    /// Makes so many frames from one station to another arrive at a port.
    fn inject(&mut self, port: usize, dst: u8, src: u8, frames: usize, burst: &mut Burst) {
        let mut bytes = [0x5a; 60];
        bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src]);
        burst.extend((0..frames).filter_map(|_| self.pool.frame_from(&bytes)));
        assert_eq!(self.far[port].tx_burst(&mut self.pool, burst).unwrap().frames, frames);
    }

    /// How many frames left by a port.
    fn left_by(&mut self, port: usize, burst: &mut Burst) -> usize {
        let mut count = 0;
        loop {
            let received = self.far[port].rx_burst(&mut self.pool, burst).unwrap();
            self.pool.recycle_all(burst);
            count += received;
            if received == 0 {
                self.pool.reclaim();
                return count;
            }
        }
    }

    /// The books of all workers, which must reconcile.
    fn books(&mut self) -> Ledger {
        let mut books = Ledger::new();
        for worker in 0..self.workers.len() {
            let id = WorkerId(u16::try_from(worker).unwrap());
            self.tell(id.0, Command::Report(Box::new(Report::empty(id))));
            self.turn();
            while let Some(event) = self.lanes[worker].event() {
                if let Event::Report(report) = event {
                    books.add(&report.ledger);
                }
            }
        }
        assert_eq!(books.reconcile(), Ok(()));
        books
    }
}

#[test]
fn a_worker_allocates_nothing_per_frame() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    let mut exchange = |rig: &mut Rig| {
        rig.inject(0, 2, 1, 64, &mut burst);
        rig.inject(1, 1, 2, 64, &mut burst);
        rig.turn();
        assert_eq!((rig.left_by(0, &mut burst), rig.left_by(1, &mut burst)), (64, 64));
    };
    exchange(&mut rig);
    let ((), made) = allocations::of(|| (0..1000).for_each(|_| exchange(&mut rig)));
    assert_eq!(made, 0, "128 000 frames were carried");
    assert_eq!(rig.books().total().received, 128_128);
}

#[test]
fn a_worker_allocates_nothing_for_frames_that_it_floods_or_drops() {
    let mut rig = Rig::new(1, &[0, 0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    let mut exchange = |rig: &mut Rig| {
        // To nobody who is known, and to the sender itself.
        rig.inject(0, 9, 1, 32, &mut burst);
        rig.inject(0, 1, 1, 32, &mut burst);
        rig.turn();
        assert_eq!([0, 1, 2].map(|port| rig.left_by(port, &mut burst)), [0, 32, 32]);
    };
    exchange(&mut rig);
    let ((), made) = allocations::of(|| (0..1000).for_each(|_| exchange(&mut rig)));
    assert_eq!(made, 0);
    let total = rig.books().total();
    assert_eq!((total.copies, total.dropped()), (32_032, 32_032));
}

#[test]
fn the_counting_allocator_counts() {
    assert_eq!(allocations::of(|| drop(Vec::<u8>::with_capacity(1))), ((), 1));
}

#[test]
fn frames_cross_to_the_worker_that_owns_the_port() {
    let mut rig = Rig::new(2, &[0, 1], Accepts::ALL);
    let mut burst = Burst::new();
    rig.inject(0, 2, 1, 60, &mut burst);
    rig.inject(1, 1, 2, 50, &mut burst);
    rig.turn();
    assert_eq!((rig.left_by(0, &mut burst), rig.left_by(1, &mut burst)), (50, 60));
    let total = rig.books().total();
    assert_eq!((total.handed, total.taken, total.transmitted), (110, 110, 110));
}

/// What it sends is handed to its worker at once, so many times.
struct Echo {
    lanes: Arc<[Lane]>,
    left: usize,
}

impl Port for Echo {
    fn rx_burst(&mut self, _: &mut Pool, _: &mut Burst) -> Result<usize, PortFault> {
        Ok(0)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let sent = Sent { frames: frames.len(), refused: 0 };
        for frame in frames.drain(..) {
            match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    assert!(self.lanes[0].hand_over(Parcel { port: PortIndex(0), frame }).is_ok());
                }
                None => pool.recycle(frame),
            }
        }
        Ok(sent)
    }

    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[test]
fn a_turn_ends_however_fast_others_hand_frames_over() {
    let mut rig = Rig::new(1, &[], Accepts::ALL);
    let echo = Echo { lanes: Arc::clone(&rig.lanes), left: 10_000 };
    rig.tell(
        0,
        Command::Attach(QueueId { port: PortIndex(0), queue: 0 }, Device::Queue(Box::new(echo))),
    );
    for _ in 0..256 {
        let frame = rig.pool.frame_from(&[0; 60]).unwrap();
        assert!(rig.lanes[0].hand_over(Parcel { port: PortIndex(0), frame }).is_ok());
    }
    assert_eq!(rig.workers[0].turn(), 256);
    rig.books();
}

/// A port whose device goes away between two frames of a burst.
struct Dying;

impl Port for Dying {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        out.extend(pool.frame_from(&[2; 60]));
        let source = std::io::ErrorKind::NotFound.into();
        Err(PortFault::Gone { operation: "read", source })
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        pool.recycle_all(frames);
        Ok(Sent::default())
    }

    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[test]
fn what_a_port_received_before_it_failed_is_not_taken_for_another_ports() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    let dying = QueueId { port: PortIndex(0), queue: 1 };
    rig.tell(0, Command::Attach(dying, Device::Queue(Box::new(Dying))));
    rig.tell(0, Command::Open(PortIndex(0)));
    // Behind it in the worker's list, so that it is served next.
    let (next, mut far) = mem::pair(1024, Accepts::ALL);
    let behind = QueueId { port: PortIndex(1), queue: 1 };
    rig.tell(0, Command::Attach(behind, Device::Queue(Box::new(next))));
    rig.tell(0, Command::Open(PortIndex(1)));
    let mut burst = Burst::new();
    burst.extend(rig.pool.frame_from(&[4; 60]));
    far.tx_burst(&mut rig.pool, &mut burst).unwrap();
    rig.turn();
    let books = rig.books();
    assert_eq!((books.port(PortIndex(0)).received, books.port(PortIndex(1)).received), (1, 1));
}

/// A port that has frames always, for one station, in buffers for the longest that there are: as a TAP port has them.
struct Endless(u8);

impl Port for Endless {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let mut bytes = [0x5a; 60];
        bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 99, 2, 0, 0, 0, 0, self.0]);
        let slabs = std::iter::from_fn(|| pool.take_slab()).take(2);
        let before = out.len();
        out.extend(slabs.filter_map(|mut frame| frame.fill_from(&bytes).then_some(frame)));
        Ok(out.len() - before)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let sent = Sent { frames: frames.len(), refused: 0 };
        pool.recycle_all(frames);
        Ok(sent)
    }

    fn accepts(&self) -> Accepts {
        Accepts::ALL
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[test]
fn ports_that_have_more_than_there_are_buffers_for_are_all_served() {
    const PORTS: u8 = 6;
    let mut rig = Rig::new(1, &[], Accepts::ALL);
    for number in 0..PORTS {
        let id = QueueId { port: PortIndex(number.into()), queue: 0 };
        rig.tell(0, Command::Attach(id, Device::Queue(Box::new(Endless(number)))));
    }
    rig.place(&[0; PORTS as usize]);
    let books = rig.books();
    let received = |number: u8| books.port(PortIndex(number.into())).received;
    assert!(received(0) > 0);
    assert!((0..PORTS).all(|number| received(number) == received(0)), "{books:?}");
}

#[test]
fn a_port_moves_to_another_worker_and_goes_on() {
    let mut rig = Rig::new(2, &[0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    rig.inject(0, 2, 1, 10, &mut burst);
    rig.turn();
    assert_eq!(rig.left_by(1, &mut burst), 10);
    rig.tell(0, Command::Detach(PortIndex(1)));
    rig.turn();
    let mut moved = None;
    while let Some(event) = rig.lanes[0].event() {
        if let Event::Detached(id, port) = event {
            moved = Some((id, port));
        }
    }
    let (id, port) = moved.unwrap();
    rig.tell(1, Command::Attach(id, port));
    rig.place(&[0, 1]);
    rig.inject(0, 2, 1, 20, &mut burst);
    rig.inject(1, 1, 2, 30, &mut burst);
    rig.turn();
    assert_eq!((rig.left_by(0, &mut burst), rig.left_by(1, &mut burst)), (30, 20));
    rig.books();
}

#[test]
fn nothing_is_received_from_a_queue_before_all_workers_know_its_port() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    let (near, mut far) = mem::pair(1024, Accepts::ALL);
    let id = QueueId { port: PortIndex(1), queue: 1 };
    rig.tell(0, Command::Attach(id, Device::Queue(Box::new(near))));
    burst.extend(rig.pool.frame_from(&[2; 60]));
    far.tx_burst(&mut rig.pool, &mut burst).unwrap();
    rig.turn();
    assert_eq!(rig.left_by(0, &mut burst), 0);
    rig.tell(0, Command::Open(PortIndex(1)));
    rig.turn();
    assert_eq!(rig.books().port(PortIndex(1)).received, 1);
}

#[test]
fn a_port_that_cannot_keep_up_is_accounted_for() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    // The far end's queue holds 1024 frames, and nobody empties it.
    for _ in 0..20 {
        rig.inject(0, 2, 1, 64, &mut burst);
        rig.turn();
    }
    let books = rig.books();
    let egress = books.port(PortIndex(1));
    assert_eq!((egress.offered, egress.transmitted, egress.egress_dropped()), (1280, 1024, 256));
}

#[test]
fn what_comes_when_something_may_leave_waits_behind_it_and_is_accounted_for() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    // A frame in a millisecond, and room for a hundred.
    let shape = Shape { bits_per_second: 480_000, queue_bytes: 6000 };
    rig.place_with(&[0, 0], vec![None, Some(shape)]);
    let mut burst = Burst::new();
    let mut left = 0;
    while left < 20 {
        rig.inject(0, 2, 1, 1, &mut burst);
        rig.turn();
        left += rig.left_by(1, &mut burst);
    }
    let books = rig.books();
    assert_eq!(books.port(PortIndex(1)).offered, books.port(PortIndex(0)).received);
}

#[test]
fn frames_for_a_port_that_no_worker_serves_are_accounted_for() {
    let mut rig = Rig::new(1, &[0, 0], Accepts::ALL);
    let mut burst = Burst::new();
    rig.tell(0, Command::Detach(PortIndex(1)));
    rig.inject(0, 2, 1, 10, &mut burst);
    rig.turn();
    assert_eq!(rig.books().port(PortIndex(1)).egress_dropped(), 10);
}

#[test]
fn a_change_does_not_wait_for_what_is_flooded_and_the_books_do() {
    const PORTS: usize = 200;
    let mut rig = Rig::new(1, &[0; PORTS], Accepts::ALL);
    let mut burst = Burst::new();
    let mut left =
        |rig: &mut Rig| (1..PORTS).map(|port| rig.left_by(port, &mut burst)).sum::<usize>();
    rig.inject(0, 9, 1, 1, &mut Burst::new());
    rig.workers[0].turn();
    let in_a_turn = left(&mut rig);
    assert!((1..PORTS / 4).contains(&in_a_turn), "{in_a_turn}");
    rig.tell(0, Command::Open(PortIndex(0)));
    rig.workers[0].turn();
    assert_eq!(left(&mut rig), in_a_turn);
    rig.tell(0, Command::Report(Box::new(Report::empty(WorkerId(0)))));
    rig.workers[0].turn();
    assert_eq!(left(&mut rig), PORTS - 1 - 2 * in_a_turn);
}

#[test]
fn what_is_flooded_to_a_port_that_goes_is_not_for_the_one_that_gets_its_number() {
    const LAST: usize = 199;
    let mut rig = Rig::new(1, &[0; LAST + 1], Accepts::ALL);
    let port = PortIndex(u16::try_from(LAST).unwrap());
    rig.tell(0, Command::Detach(port));
    rig.tell(0, Command::Forget(port));
    rig.turn();
    rig.inject(0, 9, 1, 1, &mut Burst::new());
    rig.workers[0].turn();
    let (near, far) = mem::pair(1024, Accepts::ALL);
    rig.far[LAST] = far;
    let id = QueueId { port, queue: 0 };
    rig.tell(0, Command::Attach(id, Device::Queue(Box::new(near))));
    assert_eq!(rig.books().port(port).egress_dropped(), 1);
    assert_eq!(rig.left_by(LAST, &mut Burst::new()), 0);
}
