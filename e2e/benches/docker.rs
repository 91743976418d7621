//! TCP between two Docker containers, on a network of the switch and on one of Docker's own bridge driver, in turns.
//!
//! ```console
//! $ cargo build --release --bins && cargo bench -p e2e --bench docker
//! ```
#![allow(clippy::print_stdout, reason = "this is what it is for")]

#[expect(dead_code, reason = "tests ask more of it")]
#[path = "../tests/docker/scene.rs"]
mod scene;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use e2e::Outcome;
use hostnet::Netns;
use netlab::{TestResult, test};

use scene::{Scene, with_docker};

const ROUNDS: usize = 9;
const FOR: Duration = Duration::from_secs(2);
/// What a program writes and reads at a time.
const CHUNK_BYTES: usize = 128 << 10;

fn main() -> ExitCode {
    netlab::test_main(with_docker([test!(tcp_between_two_containers_beside_dockers_own_network)]))
}

fn tcp_between_two_containers_beside_dockers_own_network() -> TestResult {
    let scene = Scene::new()?;
    scene.network("ours", "")?;
    scene.docker.run("network create -d bridge theirs")?;
    let pairs = [Pair::on(&scene, "ours")?, Pair::on(&scene, "theirs")?];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (pair, rates) in pairs.iter().zip(&mut rates) {
            rates.push(pair.gbits_per_second()?);
        }
    }
    let mut ratios: Vec<_> = rates[0].iter().zip(&rates[1]).map(|(one, two)| one / two).collect();
    let [ours, theirs] = &mut rates;
    for (name, figures) in
        [("switch, Gbit/s", ours), ("bridge, Gbit/s", theirs), ("ratio", &mut ratios)]
    {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (figures[0], figures[ROUNDS - 1]);
        println!("{name:16} {:.2} [{least:.2}, {most:.2}]", figures[ROUNDS / 2]);
    }
    scene.switch.check_ledger()?;
    Ok(())
}

/// Two containers on one network.
struct Pair {
    places: [Netns; 2],
    /// Of the second one.
    address: IpAddr,
}

impl Pair {
    fn on(scene: &Scene, network: &str) -> Outcome<Self> {
        let place = |end: &str| -> Outcome<Netns> {
            let name = format!("{network}-{end}");
            scene.docker.container(&name, &format!("--network {network}"))?;
            let pid = scene.docker.run(&format!("inspect --format={{{{.State.Pid}}}} {name}"))?;
            Ok(Netns::open(&pid.trim().parse()?)?)
        };
        let places = [place("near")?, place("far")?];
        let address = scene.address(&format!("{network}-far"), network, "IPAddress")?;
        Ok(Self { places, address: address.trim().parse()? })
    }

    /// How fast one sends to the other by one connection.
    fn gbits_per_second(&self) -> Outcome<f64> {
        let [near, far] = &self.places;
        let listener = far.run(|| Outcome::Ok(TcpListener::bind((self.address, 0))?))?;
        let to = listener.local_addr()?;
        let mut sender = near.run(|| Outcome::Ok(TcpStream::connect(to)?))?;
        let (mut receiver, _) = listener.accept()?;
        let writing = thread::spawn(move || {
            let chunk = vec![7; CHUNK_BYTES];
            let begun = Instant::now();
            while begun.elapsed() < FOR && sender.write_all(&chunk).is_ok() {}
        });
        let (mut chunk, mut bytes, begun) = (vec![0; CHUNK_BYTES], 0, Instant::now());
        loop {
            match receiver.read(&mut chunk)? {
                0 => break,
                read => bytes += read,
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        writing.join().map_err(|_| "the sender failed")?;
        Ok(bytes as f64 * 8.0 / seconds / 1e9)
    }
}
