//! Several workers: queues served by different ones, frames that cross between them, and the books that
//! must add up all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ctl::response::{DeviceInfo, Stats, Status, WorkerPerf};
use ctl::{Mutation, PortKind, PortMove, Query};
use netlab::raw::RawSocket;
use netlab::{Container, Need, Path, Test, TestResult, test, transfer};

use crate::daemon::{Daemon, Kind, connect, eventually, port, tap, unique};

pub fn tests() -> Vec<Test> {
    let two = [
        test!(a_port_with_two_queues_is_served_by_two_workers).needs(Need::Tun),
        test!(each_worker_stays_on_its_core),
        test!(frames_cross_to_the_worker_that_owns_the_port),
        test!(the_books_add_up_while_frames_cross),
        test!(a_port_that_moves_under_traffic_loses_no_byte_of_it).needs(Need::Tun),
        test!(a_port_bound_to_its_worker_stays_there).needs(Need::Bpf),
        test!(a_sleeping_worker_is_woken_by_a_frame_and_not_by_a_timer).needs(Need::Tun),
    ];
    let one = test!(a_busy_worker_carries_traffic_and_never_sleeps);
    two.into_iter().map(|test| test.needs(Need::TwoCores)).chain([one]).collect()
}

fn two_workers() -> Result<Daemon, Box<dyn std::error::Error>> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<_> = cores.iter().take(2).map(|core| core.id.to_string()).collect();
    Daemon::start_with(&["--cores", &cores.join(",")])
}

fn each_worker_stays_on_its_core() -> TestResult {
    let daemon = two_workers()?;
    let mut found = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?;
        let status = std::fs::read_to_string(task.join("status"))?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        if let Some(worker) = name.trim().strip_prefix("vswitch-w") {
            found.insert(worker.parse::<usize>()?, allowed.ok_or("no list")?.trim().to_owned());
        }
    }
    let status: Status = daemon.ask(Query::Status)?;
    let cores: BTreeMap<_, _> = status.cores.iter().map(ToString::to_string).enumerate().collect();
    assert_eq!(found, cores);
    Ok(())
}

fn a_busy_worker_carries_traffic_and_never_sleeps() -> TestResult {
    let daemon = Daemon::start_with(&["--poll", "busy"])?;
    let (a, b) = (Container::new()?, Container::new()?);
    connect(&daemon, &unique("a"), Kind::Gso, &a, (1500, &["10.0.0.1/24"]))?;
    connect(&daemon, &unique("b"), Kind::Gso, &b, (1500, &["10.0.0.2/24"]))?;
    exchange(&a, &b, 1)?;
    let perf: Vec<WorkerPerf> = daemon.ask(Query::Perf)?;
    assert!(perf[0].frames > 0 && perf[0].sleeps == 0, "{perf:?}");
    daemon.check_ledger()
}

/// On a busy machine the worker may be awake still when the next frame comes, so half of the frames must do.
fn a_sleeping_worker_is_woken_by_a_frame_and_not_by_a_timer() -> TestResult {
    const FRAMES: u64 = 40;
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    connect(&daemon, "a", Kind::Tap, &a, (1500, &[]))?;
    connect(&daemon, "b", Kind::Tap, &b, (1500, &[]))?;
    let (from, to) = (RawSocket::open(&a, "eth0")?, RawSocket::open(&b, "eth0")?);
    // Sleeps that a frame or a message ended, and not a timer.
    let wakeups = || -> Result<u64, ctl::ClientError> {
        Ok(daemon.ask::<Vec<WorkerPerf>>(Query::Perf)?.iter().map(|worker| worker.wakeups).sum())
    };
    eventually("half of the frames wake it", || {
        let Ok(before) = wakeups() else { return false };
        let all = (0..FRAMES).try_for_each(|number| {
            // To ask whether it sleeps would wake it.
            std::thread::sleep(Duration::from_millis(3));
            pass(&from, &to, number)
        });
        all.is_ok() && wakeups().is_ok_and(|after| after >= before + FRAMES / 2)
    })?;
    daemon.check_ledger()
}

/// Sends a frame from one wire, and waits until it is on another.
fn pass(from: &RawSocket, to: &RawSocket, number: u64) -> TestResult {
    let header = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5]].concat();
    let mut frame = [header, number.to_be_bytes().to_vec()].concat();
    frame.resize(60, 0);
    from.send(&frame)?;
    to.catch(Duration::from_secs(5), |bytes| bytes.get(12..22) == Some(&frame[12..22]))?
        .ok_or("a frame was lost")?;
    Ok(())
}

/// A TAP interface with so many queues.
fn queues(kind: PortKind, queues: u16) -> PortKind {
    match kind {
        PortKind::Tap(tap) => PortKind::Tap(ctl::Tap { queues, ..tap }),
        other => other,
    }
}

fn device(daemon: &Daemon, name: &str) -> Result<DeviceInfo, Box<dyn std::error::Error>> {
    let port = daemon.ports()?.into_iter().find(|port| port.name.as_str() == name);
    Ok(port.and_then(|port| port.device).ok_or("no such device")?)
}

/// Moves data both ways by so many connections.
fn exchange(a: &Container, b: &Container, connections: u64) -> TestResult {
    for seed in 0..connections {
        transfer::tcp(&Path::new(a, b, [10, 0, 0, 2]), 1 << 18, seed)?;
        transfer::tcp(&Path::new(b, a, [10, 0, 0, 1]), 1 << 18, seed)?;
    }
    Ok(())
}

fn a_port_with_two_queues_is_served_by_two_workers() -> TestResult {
    let daemon = two_workers()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", queues(tap(&a, &["10.0.0.1/24"])?, 2))?)?;
    daemon.add("b", port("br0", queues(tap(&b, &["10.0.0.2/24"])?, 2))?)?;
    for name in ["a", "b"] {
        let workers: BTreeSet<_> =
            device(&daemon, name)?.queues.iter().map(|queue| queue.worker).collect();
        assert_eq!(workers, BTreeSet::from([0, 1]), "{name}");
    }
    let before: Vec<WorkerPerf> = daemon.ask(Query::Perf)?;
    // The container's kernel spreads connections over the queues by their addresses and ports.
    eventually("both queues carry frames", || {
        let after: Vec<WorkerPerf> = daemon.ask(Query::Perf).unwrap_or_default();
        exchange(&a, &b, 4).is_ok()
            && before.iter().zip(&after).all(|(before, after)| after.frames >= before.frames + 100)
    })?;
    // Each worker sends by its own queue: nothing needs to cross.
    let perf: Vec<WorkerPerf> = daemon.ask(Query::Perf)?;
    assert!(perf.iter().all(|worker| worker.handed_out == 0), "{perf:?}");
    daemon.check_ledger()
}

/// Two containers whose ports are served by different workers.
fn apart(daemon: &Daemon) -> Result<(Container, Container), Box<dyn std::error::Error>> {
    let (a, b) = (Container::new()?, Container::new()?);
    let (left, right) = (unique("a"), unique("b"));
    connect(daemon, &left, Kind::Gso, &a, (9000, &["10.0.0.1/24", "fd00::1/64"]))?;
    connect(daemon, &right, Kind::Gso, &b, (9000, &["10.0.0.2/24", "fd00::2/64"]))?;
    assert_ne!(device(daemon, &left)?.queues[0].worker, device(daemon, &right)?.queues[0].worker);
    Ok((a, b))
}

fn frames_cross_to_the_worker_that_owns_the_port() -> TestResult {
    let daemon = two_workers()?;
    let (a, b) = apart(&daemon)?;
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 16 << 20, 1)?;
    transfer::tcp(&Path::new(&b, &a, "fd00::1".parse::<std::net::IpAddr>()?), 16 << 20, 2)?;
    let handed = || -> Result<_, ctl::ClientError> {
        let perf: Vec<WorkerPerf> = daemon.ask(Query::Perf)?;
        let sum = |of: fn(&WorkerPerf) -> u64| perf.iter().map(of).sum::<u64>();
        Ok((sum(|worker| worker.handed_out), sum(|worker| worker.handed_in)))
    };
    assert!(handed()?.0 > 100);
    // What was handed over arrives, once whatever is under way has: none is lost on the way.
    eventually("everything handed over was taken", || {
        handed().is_ok_and(|(out, taken)| out == taken)
    })?;
    daemon.check_ledger()
}

fn received(daemon: &Daemon) -> Result<u64, ctl::ClientError> {
    let stats: Stats = daemon.ask(Query::stats())?;
    Ok(stats.total.received)
}

fn move_to(daemon: &Daemon, name: &str, worker: u16) -> Result<bool, Box<dyn std::error::Error>> {
    let to = PortMove { name: name.parse()?, worker };
    Ok(daemon.change(Mutation::PortMove(to))?.changed)
}

fn a_port_that_moves_under_traffic_loses_no_byte_of_it() -> TestResult {
    let daemon = two_workers()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", queues(tap(&a, &["10.0.0.1/24"])?, 2))?)?;
    connect(&daemon, &unique("b"), Kind::Gso, &b, (9000, &["10.0.0.2/24"]))?;
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| exchange(&a, &b, 12));
        for worker in [0, 1, 0, 1, 0, 1] {
            let before = received(&daemon)?;
            eventually("traffic flows", || {
                traffic.is_finished() || received(&daemon).is_ok_and(|now| now > before + 100)
            })?;
            assert!(move_to(&daemon, "a", worker)?, "it was by both, or by the other");
            let queues = device(&daemon, "a")?.queues;
            assert!(queues.len() == 2 && queues.iter().all(|queue| queue.worker == worker));
            daemon.check_ledger()?;
        }
        assert!(!move_to(&daemon, "a", 1)?, "it is there");
        traffic.join().map_err(|_| "the traffic broke off")?
    })?;
    daemon.check_ledger()
}

fn a_port_bound_to_its_worker_stays_there() -> TestResult {
    let daemon = two_workers()?;
    let a = Container::new()?;
    let name = unique("x");
    connect(&daemon, &name, Kind::Xdp, &a, (1500, &[]))?;
    let worker = device(&daemon, &name)?.queues[0].worker;
    for (port, worker) in [(name.as_str(), 1 - worker), (&name, 2), ("nobody", 0)] {
        assert!(move_to(&daemon, port, worker).is_err(), "{port} to {worker}");
    }
    assert_eq!(device(&daemon, &name)?.queues[0].worker, worker);
    assert!(!move_to(&daemon, &name, worker)?);
    Ok(())
}

fn the_books_add_up_while_frames_cross() -> TestResult {
    let daemon = two_workers()?;
    let (a, b) = apart(&daemon)?;
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| exchange(&a, &b, 40));
        let mut looks = 0;
        while !traffic.is_finished() || looks == 0 {
            daemon.check_ledger()?;
            let stats: Stats = daemon.ask(Query::stats())?;
            let total = stats.total;
            assert_eq!(total.received, total.forwarded + total.dropped_in);
            assert_eq!(total.offered, total.transmitted + total.dropped_out);
            looks += 1;
        }
        traffic.join().map_err(|_| "the traffic broke off")?
    })
}
