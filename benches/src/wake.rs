//! How long a frame takes through the switch while its worker sleeps, and while it is awake: the difference is what
//! a wake-up costs. One thread sends a frame in one container and watches for it in the other, without sleeping.
//!
//! That the worker did sleep, or did not, is shown by its own count of sleeps.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ctl::response::WorkerPerf;
use ctl::{Client, Query, Request};
use hdrhistogram::Histogram;
use netlab::raw::RawSocket;
use vswitch::control::Background;
use vswitch::worker::PollMode;

use crate::compare::{Pair, pairs};

/// Long after a worker has gone to sleep.
const PAUSE: Duration = Duration::from_millis(2);
/// Longer than any frame takes that is not lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// An EtherType for experiments (IEEE 802): nobody in a container answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Measures and prints.
pub(crate) fn run(frames: u32) -> Result<(), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    let socket = PathBuf::from("/run/vswitch-bench.sock");
    let _daemon = Background::start(socket.clone(), PollMode::Adaptive, None)?;
    println!("One frame from container to container, µs, {frames} frames each:\n");
    println!(
        "{:14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>14}",
        "", "worker", "p50", "p99", "p99.9", "most", "sleeps a frame"
    );
    for pair in pairs(&socket, false)? {
        for (state, pause) in [("asleep", Some(PAUSE)), ("awake", None)] {
            let before = sleeps(&socket)?;
            let times = measure(&pair, frames, pause)?;
            let slept = f64::from(u32::try_from(sleeps(&socket)? - before)?) / f64::from(frames);
            let at = |percent| micros(times.value_at_percentile(percent));
            println!(
                "{:14} {state:>8} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {slept:>14.2}",
                pair.name,
                at(50.0),
                at(99.0),
                at(99.9),
                micros(times.max()),
            );
        }
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// How often the workers have gone to sleep so far.
fn sleeps(socket: &Path) -> Result<u64, Box<dyn Error>> {
    let perf: Vec<WorkerPerf> = Client::connect(socket)?.ask(Request::Query(Query::Perf))?;
    Ok(perf.iter().map(|worker| worker.sleeps).sum())
}

/// Nanoseconds from just before a frame is sent until it is there.
fn measure(
    pair: &Pair,
    frames: u32,
    pause: Option<Duration>,
) -> Result<Histogram<u64>, Box<dyn Error>> {
    let [near, far] = &pair.containers;
    let (from, to) = (RawSocket::open(near, "eth0")?, RawSocket::open(far, "eth0")?);
    let mac = |link: hostnet::Link| link.mac.ok_or("eth0 has no address");
    let (src, dst) = (mac(near.link("eth0")?)?, mac(far.link("eth0")?)?);
    // So that the receiver is known, and nothing is flooded.
    to.send(&frame(dst, src, u32::MAX))?;
    from.catch(PATIENCE, |bytes| is_number(bytes, u32::MAX))?.ok_or("a frame was lost")?;
    let mut times = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
    for number in 0..frames {
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        let bytes = frame(src, dst, number);
        let begun = Instant::now();
        from.send(&bytes)?;
        to.catch(PATIENCE, |bytes| is_number(bytes, number))?.ok_or("a frame was lost")?;
        times.record(u64::try_from(begun.elapsed().as_nanos())?)?;
    }
    Ok(times)
}

fn frame(src: [u8; 6], dst: [u8; 6], number: u32) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &ETHERTYPE, &number.to_be_bytes()].concat();
    frame.resize(60, 0);
    frame
}

fn is_number(frame: &[u8], number: u32) -> bool {
    frame.get(12..14) == Some(&ETHERTYPE) && frame.get(14..18) == Some(&number.to_be_bytes())
}
