//! How long a frame takes through the switch while its worker sleeps, and while it is awake: the difference is what
//! a wake-up costs. One thread sends a frame in one container and watches for it in the other, without sleeping.
//!
//! That the worker did sleep, or did not, is shown by its own count of sleeps.

use std::error::Error;
use std::time::{Duration, Instant};

use ctl::response::WorkerPerf;
use ctl::{Client, Query, Request};
use hdrhistogram::Histogram;
use netlab::raw::RawSocket;

use crate::subject::{INTERFACE, Rig, Wish, catalogue, mac};

/// Long after a worker has gone to sleep.
const PAUSE: Duration = Duration::from_millis(2);
/// Longer than any frame takes that is not lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// An EtherType for experiments (IEEE 802): nobody in a container answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// What is measured: a bridge and a bare wire for comparison, and the switch with every kind of port.
const SUBJECTS: [&str; 5] = ["bridge", "wire", "tap", "gso", "xdp"];

/// Measures and prints.
pub(crate) fn run(frames: u32) -> Result<(), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    println!("One frame from container to container, µs, {frames} frames each:\n");
    println!(
        "{:14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>14}",
        "", "worker", "p50", "p99", "p99.9", "most", "sleeps a frame"
    );
    for subject in catalogue().iter().filter(|subject| SUBJECTS.contains(&subject.name)) {
        let rig = subject.start(&Wish::USUAL)?;
        for (state, pause) in [("asleep", Some(PAUSE)), ("awake", None)] {
            let before = sleeps(&rig)?;
            let times = measure(&rig, frames, pause)?;
            let slept = f64::from(u32::try_from(sleeps(&rig)? - before)?) / f64::from(frames);
            let at = |percent| micros(times.value_at_percentile(percent));
            println!(
                "{:14} {state:>8} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {slept:>14.2}",
                subject.name,
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

/// How often the workers have gone to sleep so far; never, where there are none of ours.
fn sleeps(rig: &Rig) -> Result<u64, Box<dyn Error>> {
    let Some(socket) = rig.control() else { return Ok(0) };
    let perf: Vec<WorkerPerf> = Client::connect(socket)?.ask(Request::Query(Query::Perf))?;
    Ok(perf.iter().map(|worker| worker.sleeps).sum())
}

/// Nanoseconds from just before a frame is sent until it is there.
fn measure(
    rig: &Rig,
    frames: u32,
    pause: Option<Duration>,
) -> Result<Histogram<u64>, Box<dyn Error>> {
    let (near, far) = (&rig.near, &rig.far);
    let (from, to) = (RawSocket::open(near, INTERFACE)?, RawSocket::open(far, INTERFACE)?);
    let (src, dst) = (mac(near)?, mac(far)?);
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
