//! The underlay between two namespaces, both ends by turns on one core: what it costs to send and to receive.
//!
//! `cargo bench -p pktio --bench underlay`
//!
//! A super-frame is what a container's TCP hands out; a frame is a 60-byte one. The time to send includes the
//! kernel's work on both sides up to the receiving socket, since a veth delivers at once.

use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netlab::{Container, topology};
use pktio::underlay::{self, Mark, Underlay, UnderlayConfig};
use pktio::wire::Layers;
use pktio::wire::checksum::{fold, pseudo_header};
use pktio::wire::field::put_be16;
use pktio::{Burst, Csum, Gso, PktBuf, Pool, PoolConfig};

const ROUNDS: usize = 3000;
/// Tunnel header, Ethernet, IPv4 and TCP: all headers of a segment behind the outer UDP header.
const HEADERS: usize = 8 + 14 + 20 + 20;
const MSS: u16 = 1410;

fn end(host: &Container, local: &str) -> Result<Underlay, Box<dyn Error>> {
    let local: SocketAddr = local.parse()?;
    let ttl = NonZeroU8::new(64).ok_or("not 0")?;
    let config = UnderlayConfig { local, ttl, inner_mtu_bytes: 1450 };
    let opened =
        host.run(|| -> Result<_, hostnet::HostError> { Ok(underlay::open(&config, 1)) })?;
    Ok(opened?.remove(0))
}

/// A TCP frame with its tunnel header in front, and a checksum that is half done.
fn frame(pool: &mut Pool, payload: usize) -> Option<PktBuf> {
    let mut bytes = vec![8, 0, 0, 0, 0, 0, 42, 0, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend([0x08, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 100, 0, 0, 0, 0]);
    bytes.resize(HEADERS + payload, 0x5a);
    put_be16(&mut bytes, 24, u16::try_from(40 + payload).ok()?);
    let layers = Layers::parse(&bytes[8..]).ok()??;
    let pseudo = pseudo_header(&bytes[8..], &layers, 20 + payload)?;
    put_be16(&mut bytes, 42 + 16, fold(pseudo));
    let mut frame = pool.frame_from(&bytes)?;
    frame.offload.csum = Csum::Partial { start: 42, offset: 16 };
    let is_long = payload > usize::from(MSS);
    frame.offload.gso = if is_long { Gso::Tcp4 { mss: MSS } } else { Gso::None };
    Some(frame)
}

/// Sends and receives bursts of equal frames, and prints what each took.
fn measure(
    [near, far]: &mut [Underlay; 2],
    pool: &mut Pool,
    (what, payload, count): (&str, usize, usize),
) -> Result<(), Box<dyn Error>> {
    let (mut burst, mut outers) = (Burst::new(), Vec::new());
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    let marks = vec![Mark::default(); count];
    let model = frame(pool, payload).ok_or("no frame")?;
    for _ in 0..ROUNDS {
        burst.extend((0..count).map_while(|_| pool.copy(&model)));
        let begun = Instant::now();
        let tally = near.tx_burst(pool, &mut burst, &marks, "192.0.2.2".parse()?);
        sending += begun.elapsed();
        if tally.sent != count {
            return Err(format!("{tally:?}").into());
        }
        let mut bytes = 0;
        let begun = Instant::now();
        while bytes < count * payload {
            far.rx_burst(pool, &mut burst, &mut outers)?;
            bytes += burst.iter().map(|frame| frame.len() - HEADERS).sum::<usize>();
            pool.recycle_all(black_box(&mut burst));
            outers.clear();
        }
        receiving += begun.elapsed();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / (ROUNDS * count) as f64;
    let (sending, receiving) = (each(sending), each(receiving));
    let gbits = payload as f64 * 8.0 / (sending + receiving);
    println!("{what:<28}{sending:>10.0}{receiving:>10.0}{gbits:>10.1}");
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    let (a, b) = (Container::new()?, Container::new()?);
    topology::veth(&a, "eth0", &b, "eth0")?;
    a.address("eth0", &["192.0.2.1/24"])?;
    b.address("eth0", &["192.0.2.2/24"])?;
    let mut ends = [end(&a, "192.0.2.1:4789")?, end(&b, "192.0.2.2:4789")?];
    let mut pool = Pool::new(PoolConfig::default())?;
    println!("{:<28}{:>10}{:>10}{:>10}", "ns per frame", "send", "receive", "Gbit/s");
    let full = usize::from(MSS);
    for case in [
        ("60-byte frames, bursts of 32", 6, 32),
        ("MTU-sized, bursts of 32", full, 32),
        ("super-frames of 62040 bytes", 44 * full, 1),
        ("super-frames of 64860 bytes", 46 * full, 1),
    ] {
        measure(&mut ends, &mut pool, case)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
