//! What this machine's kernel does without a userspace switch: a wire and the Linux bridge.
//!
//! `cargo run --release -p netlab --example baseline [SENDER-CORE RECEIVER-CORE]`

use std::process::ExitCode;
use std::time::Duration;

use netlab::load::{self, Load};
use netlab::topology::{LinuxBridge, veth};
use netlab::{Container, Cores, LabError, Path, rr, tcp, udp};

const DURATION: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match hostnet::sandbox::enter().map_err(LabError::from).and_then(|()| compare()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<(), LabError> {
    let (a, b) = (Container::new()?, Container::new()?);
    veth(&a, "eth0", &b, "eth0")?;
    measure("wire", &a, &b)?;
    let bridge = LinuxBridge::new()?;
    let (a, b) = (Container::new()?, Container::new()?);
    bridge.connect(&a, "eth0")?;
    bridge.connect(&b, "eth0")?;
    measure("Linux bridge", &a, &b)
}

fn measure(name: &str, a: &Container, b: &Container) -> Result<(), LabError> {
    a.address("eth0", &["10.0.0.1/24"])?;
    b.address("eth0", &["10.0.0.2/24"])?;
    let path = Path::new(a, b, [10, 0, 0, 2]);
    let mut given = std::env::args().skip(1).map(|core| core.parse().ok());
    let cores = Cores { sender: given.next().flatten(), receiver: given.next().flatten() };
    let stream =
        tcp::stream(&path, &tcp::Options { duration: DURATION, cores, ..Default::default() })?;
    let flood =
        udp::flood(&path, &udp::Options { duration: DURATION, cores, ..Default::default() })?;
    let next_hop = b.link("eth0")?.mac.unwrap_or_default();
    let frames = Load::new("eth0", next_hop, [10, 0, 0, 1].into());
    let raw = load::send(&path, &Load { duration: DURATION, cores, flows: 64, ..frames })?;
    let asked = rr::tcp(&path, &rr::Options { duration: DURATION, cores })?;
    println!("{name}");
    println!("  TCP, one stream        {:8.2} Gbit/s", stream.gbit_per_s());
    for (what, sent, delivered) in [
        ("socket", flood.sent_per_second(), flood.received_per_second()),
        ("ready-made", raw.sent_per_second(), raw.received_per_second()),
    ] {
        println!(
            "  UDP, 64 bytes, {what:<11}{:6.2} Mpps sent, {:.2} Mpps delivered",
            sent * 1e-6,
            delivered * 1e-6
        );
    }
    println!(
        "  TCP request/response   {:8.1} k/s, p50 {:?}, p99 {:?}",
        asked.per_second() * 1e-3,
        asked.percentile(50.0),
        asked.percentile(99.0)
    );
    Ok(())
}
