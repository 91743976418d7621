//! What every port must do.

use std::error::Error;
use std::time::{Duration, Instant};

use pktio::buffer::{BURST_BYTES, BURST_FRAMES};
use pktio::{Burst, Pool, PoolConfig, Port};

/// Something that went wrong.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Packet memory of each test, all of which must be back at its end.
pub const MEMORY: PoolConfig = PoolConfig { small: 4096, slabs: 64 };

/// A port and its far end.
pub trait Rig {
    /// The port.
    fn port(&mut self) -> &mut dyn Port;
    /// Makes frames arrive at the port, in order. False if the port does not receive.
    fn inject(&mut self, frames: &[Vec<u8>]) -> Outcome<bool>;
    /// The next frame that the port sent; `None` if what it sends cannot be seen.
    fn sent(&mut self) -> Outcome<Option<Vec<u8>>>;
}

/// Frames of these lengths, each of which can be told from all others.
pub fn frames(lengths: &[usize]) -> Vec<Vec<u8>> {
    let frame = |(number, length): (usize, &usize)| {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5];
        bytes.push(u8::try_from(number % 251).unwrap_or(0));
        bytes.resize(*length, 0x5a);
        bytes
    };
    lengths.iter().enumerate().map(frame).collect()
}

/// One point of the contract.
type Step<R> = fn(&mut R, &mut Pool) -> Outcome;

/// Runs the whole suite on a fresh rig each time.
pub fn run<R: Rig>(mut rig: impl FnMut(&mut Pool) -> Outcome<R>) -> Outcome {
    let steps: [(&str, Step<R>); 5] = [
        ("an idle port has nothing", idle),
        ("frames arrive whole and in order", receive),
        ("frames are sent whole and in order", send),
        ("a dry pool is survived", dry),
        ("many frames come in bounded bursts", bounded),
    ];
    for (name, step) in steps {
        let mut pool = Pool::new(MEMORY)?;
        let before = pool.free();
        let mut fresh = rig(&mut pool)?;
        fresh.port().housekeep(&mut pool)?;
        step(&mut fresh, &mut pool).map_err(|error| format!("{name}: {error}"))?;
        drop(fresh);
        pool.reclaim();
        if pool.free() != before {
            return Err(format!("{name}: buffers leaked: {:?} of {before:?}", pool.free()).into());
        }
    }
    Ok(())
}

/// Receives until so many frames came.
fn collect(rig: &mut impl Rig, pool: &mut Pool, count: usize) -> Outcome<Vec<Vec<u8>>> {
    let begun = Instant::now();
    let mut got = Vec::new();
    let mut burst = Burst::new();
    while got.len() < count {
        if begun.elapsed() > Duration::from_secs(5) {
            return Err(format!("only {} of {count} frames came", got.len()).into());
        }
        let received = rig.port().rx_burst(pool, &mut burst)?;
        assert_eq!(received, burst.len());
        // The far end's own chatter (router solicitations) is not what was injected.
        got.extend(
            burst
                .iter()
                .map(|frame| frame.data().to_vec())
                .filter(|f| f.get(12..14) == Some(&[0x88, 0xb5])),
        );
        pool.recycle_all(&mut burst);
    }
    Ok(got)
}

fn idle<R: Rig>(rig: &mut R, pool: &mut Pool) -> Outcome {
    let mut burst = Burst::new();
    // Chatter of the far end may come; it must come to an end.
    for _ in 0..1000 {
        if rig.port().rx_burst(pool, &mut burst)? == 0 {
            return Ok(());
        }
        pool.recycle_all(&mut burst);
    }
    // A source without end is idle never.
    Ok(())
}

fn receive<R: Rig>(rig: &mut R, pool: &mut Pool) -> Outcome {
    let frames = frames(&[60, 61, 64, 128, 1000, 1514]);
    if rig.inject(&frames)? {
        assert_eq!(collect(rig, pool, frames.len())?, frames);
    }
    Ok(())
}

fn send<R: Rig>(rig: &mut R, pool: &mut Pool) -> Outcome {
    let frames = frames(&[60, 61, 64, 128, 1000, 1514, 60, 60]);
    let mut burst = Burst::new();
    for bytes in &frames {
        burst.push(pool.frame_from(bytes).ok_or("no buffer")?);
    }
    let sent = rig.port().tx_burst(pool, &mut burst)?;
    assert_eq!((sent.frames, sent.refused, burst.len()), (frames.len(), 0, 0));
    rig.port().housekeep(pool)?;
    for expected in &frames {
        match rig.sent()? {
            Some(frame) => assert_eq!(&frame, expected),
            None => return Ok(()),
        }
    }
    Ok(())
}

fn dry<R: Rig>(rig: &mut R, pool: &mut Pool) -> Outcome {
    let frames = frames(&[60; 4]);
    let kept: Vec<_> =
        std::iter::from_fn(|| pool.take_slab().or_else(|| pool.take_small())).collect();
    let injected = rig.inject(&frames)?;
    let mut burst = Burst::new();
    rig.port().rx_burst(pool, &mut burst)?;
    let early = burst.iter().filter(|f| f.data().get(12..14) == Some(&[0x88, 0xb5])).count();
    pool.recycle_all(&mut burst);
    for buffer in kept {
        pool.recycle(buffer);
    }
    if injected && early < frames.len() {
        // What was not received yet still waits, or was lost by the kernel and not by us.
        collect(rig, pool, frames.len() - early)?;
    }
    Ok(())
}

fn bounded<R: Rig>(rig: &mut R, pool: &mut Pool) -> Outcome {
    let frames = frames(&[1514; 200]);
    if !rig.inject(&frames)? {
        return Ok(());
    }
    let (mut count, mut burst) = (0, Burst::new());
    let begun = Instant::now();
    while count < frames.len() && begun.elapsed() < Duration::from_secs(5) {
        let received = rig.port().rx_burst(pool, &mut burst)?;
        let bytes: usize = burst.iter().map(|frame| frame.len()).sum();
        assert!(received <= BURST_FRAMES && bytes <= BURST_BYTES + 65536 + 14);
        count += received;
        pool.recycle_all(&mut burst);
    }
    assert!(count >= frames.len(), "{count}");
    Ok(())
}
