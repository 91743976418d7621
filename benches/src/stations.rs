//! Stations that are made up: frames from and to many MAC addresses.

use std::error::Error;
use std::time::{Duration, Instant};

use hostnet::MacBytes;
use netlab::Container;
use netlab::raw::RawSocket;

use crate::subject::INTERFACE;

/// An EtherType for experiments (IEEE 802): nobody in a container answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Frames that are sent before it is awaited that they have arrived.
const UNDER_WAY: u64 = 128;
/// How long nothing has to arrive until the rest counts as lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// The address of a station: unicast and locally administered.
pub(crate) fn station(number: u32) -> MacBytes {
    let [a, b, c, d] = number.to_be_bytes();
    [0x06, 0, a, b, c, d]
}

/// The shortest frame.
pub(crate) fn frame(destination: MacBytes, source: MacBytes) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &ETHERTYPE].concat();
    frame.resize(60, 0);
    frame
}

/// Frames that a container has received so far.
fn received(container: &Container) -> Result<u64, Box<dyn Error>> {
    Ok(container.link(INTERFACE)?.traffic.rx_frames)
}

/// Whether a frame is one of [`frame`]'s, from this sender.
pub(crate) fn is_from(frame: &[u8], source: MacBytes) -> bool {
    frame.get(6..12) == Some(&source) && frame.get(12..14) == Some(&ETHERTYPE)
}

/// Sends frames: at a rate per second, or as fast as they arrive at `receiver`, with a look at something else now and
/// then. Returns when nothing arrives any more, and how long the sending took.
pub(crate) fn send_all(
    socket: &RawSocket,
    frames: impl Iterator<Item = Vec<u8>>,
    receiver: &Container,
    rate: Option<f64>,
    mut look: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let (begun, before) = (Instant::now(), received(receiver)?);
    for (number, frame) in (1u32..).zip(frames) {
        socket.send(&frame)?;
        match rate {
            Some(rate) => {
                let due = begun + Duration::from_secs_f64(f64::from(number) / rate);
                while Instant::now() < due {
                    std::thread::yield_now();
                }
            }
            None if u64::from(number).is_multiple_of(UNDER_WAY) => {
                await_frames(receiver, before + u64::from(number))?;
                look()?;
            }
            None => {}
        }
    }
    let took = begun.elapsed();
    await_frames(receiver, u64::MAX)?;
    look()?;
    Ok(took)
}

/// Waits until so many frames have arrived, or none has for a while.
fn await_frames(receiver: &Container, count: u64) -> Result<(), Box<dyn Error>> {
    let (mut seen, mut changed) = (received(receiver)?, Instant::now());
    while seen < count && changed.elapsed() < PATIENCE {
        let now = received(receiver)?;
        if now != seen {
            (seen, changed) = (now, Instant::now());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_unicast_locally_administered_and_all_different() {
        let all: std::collections::BTreeSet<_> = (0..100_000).map(station).collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|mac| mac[0] & 3 == 2));
        let sent = frame([1; 6], [2; 6]);
        assert_eq!(sent.len(), 60);
        assert!(is_from(&sent, [2; 6]) && !is_from(&sent, [1; 6]) && !is_from(&[], [2; 6]));
    }
}
