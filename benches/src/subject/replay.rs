//! OVS-DPDK without a device: packets from an endless capture file to a null port, so that nothing is measured but the
//! switch, and the copy out of memory that stands for receiving.
//!
//! The file's packets are loaded into buffers of the switch before any is handed over (`infinite_rx` of `net_pcap`); what is sent is
//! given back (`net_null`). One polling thread serves both ports.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use netlab::{Container, cpu};
use pktio::buffer::BURST_FRAMES;
use pktio::pcap::PcapPort;
use pktio::wire::MacAddr;
use pktio::{Burst, Pool, PoolConfig, Port};

use super::ovs::{DPDK_PACKET, OpenVswitch, WITH_DPDK};
use super::process::{self, fresh_directory};

/// What it takes.
const NEEDS: &[&str] =
    &[WITH_DPDK, "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"];
const BRIDGE: &str = "br0";
/// The port of the capture, and the one that forgets. The latter would make up packets of its own.
const SOURCE: &str = "source";
const SINK: &str = "sink";
const SINK_DRIVER: &str = "options:dpdk-devargs=net_null0,no-rx=1";
/// Packets of a capture, at least: it is not begun again within a burst.
const LEAST_PACKETS: usize = 1024;
/// Whom what is translated seems to come from.
const OUTSIDE: &str = "192.0.2.1";

/// A switch, and what it is asked by.
pub(crate) struct Replay {
    switch: OpenVswitch,
    host: Container,
}

impl Replay {
    /// The program that is not installed.
    pub(crate) fn missing() -> Option<&'static str> {
        NEEDS.iter().copied().find(|program| process::find(program).is_none())
    }

    /// What the switch says of its version.
    pub(crate) fn version() -> Option<String> {
        process::version(WITH_DPDK)
    }

    /// Starts a switch with a null port, behind which there is this station.
    pub(crate) fn start(station: MacAddr) -> Result<Self, Box<dyn Error>> {
        let host = Container::new()?;
        let replay = Self { switch: OpenVswitch::start(&host, &DPDK_PACKET)?, host };
        replay.switch.port(&replay.host, BRIDGE, SINK, &["type=dpdk", SINK_DRIVER])?;
        replay.ask(&["fdb/add", BRIDGE, SINK, "0", &station.to_string()])?;
        Ok(replay)
    }

    /// Has these packets come, over and over: bridged by learned addresses, or each with its source address translated.
    pub(crate) fn play(
        &self,
        packets: &[Vec<u8>],
        is_translated: bool,
    ) -> Result<(), Box<dyn Error>> {
        let capture = fresh_directory("capture")?.join("packets.pcap");
        write(&capture, packets)?;
        let driver =
            format!("options:dpdk-devargs=net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
        self.switch.port(&self.host, BRIDGE, SOURCE, &["type=dpdk", &driver])?;
        std::fs::remove_file(capture)?;
        self.switch.flows(&self.host, BRIDGE, &flows(is_translated))
    }

    /// No more packets come.
    pub(crate) fn stop(&self) -> Result<(), Box<dyn Error>> {
        self.switch.remove(&self.host, SOURCE)
    }

    /// Changes settings of the whole switch, as `smc-enable=true`.
    pub(crate) fn set(&self, settings: &[&str]) -> Result<(), Box<dyn Error>> {
        self.switch.set(&self.host, settings)
    }

    /// How many packets have left by the null port.
    pub(crate) fn sent(&self) -> Result<u64, Box<dyn Error>> {
        let statistics = self.ask(&["dpctl/show", "--statistics"])?;
        Ok(sent_by(SINK, &statistics).ok_or("dpctl/show does not say what the null port sent")?)
    }

    /// How many sessions are translated.
    pub(crate) fn sessions(&self) -> Result<usize, Box<dyn Error>> {
        Ok(sessions_of(OUTSIDE, &self.ask(&["dpctl/dump-conntrack"])?))
    }

    /// Processor time of the polling thread.
    pub(crate) fn worked(&self) -> Result<Duration, Box<dyn Error>> {
        Ok(cpu::threads_time(self.switch.pid(), "pmd")?)
    }

    fn ask(&self, question: &[&str]) -> Result<String, Box<dyn Error>> {
        self.switch.ask(&self.host, question)
    }
}

/// What the bridge does. To translate in one pass, without a second look at what connection tracking found, is the fastest
/// there is.
fn flows(is_translated: bool) -> String {
    if !is_translated {
        return "actions=NORMAL\n".to_owned();
    }
    format!("ip,in_port={SOURCE},actions=ct(commit,nat(src={OUTSIDE})),output:{SINK}\n")
}

/// Writes a capture of packets, again and again until they are enough.
fn write(file: &Path, packets: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let mut port = PcapPort::open(None, Some(file))?;
    let mut pool = Pool::new(PoolConfig { small: 256, slabs: 4 })?;
    let mut burst = Burst::new();
    for _ in 0..LEAST_PACKETS.div_ceil(packets.len()) {
        for part in packets.chunks(BURST_FRAMES) {
            burst.extend(part.iter().filter_map(|packet| pool.frame_from(packet)));
            port.tx_burst(&mut pool, &mut burst)?;
        }
    }
    Ok(())
}

/// What `dpctl/show --statistics` says a port sent.
fn sent_by(port: &str, statistics: &str) -> Option<u64> {
    let is_it = |line: &&str| line.trim_start().starts_with("port ");
    let names = |line: &str| line.split_whitespace().nth(2) == Some(port);
    let of_port = statistics.lines().skip_while(|line| !(is_it(line) && names(line))).skip(1);
    let mut figures = of_port.take_while(|line| !is_it(line));
    let sent = figures.find_map(|line| line.trim_start().strip_prefix("TX packets:"))?;
    sent.split_whitespace().next()?.parse().ok()
}

/// Of how many connections in `dpctl/dump-conntrack` the answers are for this address.
fn sessions_of(address: &str, connections: &str) -> usize {
    let answer = |line: &str| line.split_once("reply=(").is_some_and(|(_, it)| is_to(address, it));
    connections.lines().filter(|line| answer(line)).count()
}

fn is_to(address: &str, tuple: &str) -> bool {
    tuple.split([',', ')']).any(|field| field.strip_prefix("dst=") == Some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_has_the_packets_in_their_order_over_and_over() {
        let file = std::env::temp_dir().join(format!("benches-replay-{}", std::process::id()));
        let packets: Vec<_> = (0..100).map(|number| vec![number; 60]).collect();
        write(&file, &packets).unwrap();
        let mut port = PcapPort::open(Some(&file), None).unwrap();
        let mut pool = Pool::new(PoolConfig { small: 256, slabs: 4 }).unwrap();
        let (mut read, mut burst) = (Vec::new(), Burst::new());
        while port.rx_burst(&mut pool, &mut burst).unwrap() > 0 {
            read.extend(burst.iter().map(|frame| frame.data().to_vec()));
            pool.recycle_all(&mut burst);
        }
        std::fs::remove_file(file).unwrap();
        assert_eq!(read.len(), 1100, "eleven times all of them: at least {LEAST_PACKETS}");
        assert!(read.chunks(100).all(|some| some == packets));
    }

    /// As OVS 3.1 says it.
    const STATISTICS: &str = "\
netdev@ovs-netdev:
  lookups: hit:12830919 missed:3 lost:33462
  flows: 3
  port 1: br0 (tap)
    RX packets:0 errors:0 dropped:0 overruns:0 frame:0
    TX packets:17 errors:0 dropped:12585541 aborted:0 carrier:0
    collisions:0
  port 2: sink (dpdk: configured_rx_queues=1, mtu=1500, rx_csum_offload=false)
    RX packets:5 errors:0 dropped:0 overruns:? frame:?
    TX packets:6286469 errors:0 dropped:0 aborted:? carrier:?
    collisions:?
  port 3: source (dpdk: configured_rx_queues=1)
    RX packets:6299104 errors:0 dropped:0 overruns:? frame:?
";

    #[test]
    fn what_a_port_sent_is_found_by_its_name() {
        assert_eq!(sent_by("sink", STATISTICS), Some(6_286_469));
        assert_eq!(sent_by("br0", STATISTICS), Some(17));
        assert_eq!(sent_by("source", STATISTICS), None, "another's is not taken for it");
        assert_eq!(sent_by("sin", STATISTICS), None);
    }

    #[test]
    fn sessions_are_those_whose_answers_come_to_the_address() {
        let of = |address: &str| {
            format!(
                "udp,orig=(src=10.0.0.2,dst=198.51.0.0,sport=20666,dport=53),\
                 reply=(src=198.51.0.0,dst={address},sport=53,dport=20666)\n"
            )
        };
        let text = ["192.0.2.1", "192.0.2.10", "10.0.0.2", "192.0.2.1"].map(of).concat();
        assert_eq!(sessions_of("192.0.2.1", &text), 2);
        assert_eq!(sessions_of("198.51.0.0", &text), 0);
    }
}
