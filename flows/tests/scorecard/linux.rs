//! [`Linux`]: a router in a network namespace that masquerades by nftables.
//!
//! ```text
//!   stations ── veth ── inside  10.0.0.1/24 │ router │ outside  203.0.113.1/24 ── veth ── world
//! ```
//!
//! The test holds the far ends of both wires, by packet sockets, and is everybody there. What a packet leads to
//! is what arrives before the answers to two ARP requests, one by each wire, that were sent after it: a core
//! of the kernel takes what comes in by veth devices in the order in which it was sent there, and the test
//! stays on one core. So nothing is waited for that may not come.
//!
//! The kernel's clock is not to be moved; [`Conntrack::pass`] does to the connections what time would do.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use hostnet::Interface;
use netlab::conntrack::Conntrack;
use netlab::raw::RawSocket;
use netlab::topology::veth;
use netlab::{Container, LabError, PATIENCE};
use pktio::wire::MacAddr;

use crate::packets::{Packet, arp_reply, arp_request, stations};
use crate::requirement::Finding;
use crate::subject::{Nat, Seen, Setup};

/// What the router is told, where a setup asks for nothing more. A setup exchanges the two lines for its own.
pub const RULES: &str = r#"table ip translation {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "outside" masquerade
    }
}
table ip protection {
    chain input {
        type filter hook input priority filter; policy drop
        ct state established,related accept
        iifname "inside" accept
        icmp type echo-request accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname "inside" accept
    }
}
"#;
const MASQUERADE: &str = "oifname \"outside\" masquerade\n";
const FORWARD: &str =
    "ct state established,related accept\n        iifname \"inside\" accept\n    }\n}";

/// Who asks by ARP for the router, on either wire.
const MARKER: u8 = 250;
const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];

/// One side of the router.
struct Wire {
    /// The far end.
    socket: RawSocket,
    /// The first three bytes of the addresses there, of which the router has number 1.
    subnet: [u8; 3],
    /// The router's.
    mac: MacAddr,
}

pub struct Linux {
    router: Container,
    /// Where the far ends of the wires are.
    _around: Container,
    inside: Wire,
    outside: Wire,
    connections: Conntrack,
}

impl Linux {
    pub fn new() -> Result<Self, LabError> {
        netlab::cpu::stay();
        let (router, around) = (Container::new()?, Container::new()?);
        let inside = Wire::new(&router, "inside", &around, [10, 0, 0])?;
        let outside = Wire::new(&router, "outside", &around, [203, 0, 113])?;
        router.configure(
            "outside",
            &Interface { gateways: &[[203, 0, 113, 254].into()], ..Interface::default() },
        )?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        let connections = Conntrack::open(&router)?;
        let mut linux = Self { router, _around: around, inside, outside, connections };
        linux.introduce()?;
        Ok(linux)
    }

    /// Makes the neighbours known to the router, by asking for it.
    fn introduce(&mut self) -> Result<(), LabError> {
        for (wire, hosts) in [(&self.inside, [2, 3]), (&self.outside, [9, 254])] {
            hosts.iter().try_for_each(|host| wire.ask(*host))?;
        }
        self.settle().map(drop)
    }

    /// What was sent until now has led to this.
    fn settle(&mut self) -> Result<Vec<Seen>, LabError> {
        let mut seen = Vec::new();
        loop {
            let mut is_over = true;
            for (wire, is_inside) in [(&self.inside, true), (&self.outside, false)] {
                let (frames, was_asked) = wire.settle()?;
                seen.extend(frames.into_iter().map(|frame| Seen { is_inside, frame }));
                is_over &= !was_asked;
            }
            if is_over {
                return Ok(seen);
            }
        }
    }

    fn wire(&self, source: IpAddr) -> &Wire {
        let is_inside = matches!(source, IpAddr::V4(ip) if ip.octets()[..3] == self.inside.subnet);
        if is_inside { &self.inside } else { &self.outside }
    }

    fn load(&self, rules: &str) -> Result<(), String> {
        let load = || -> Result<(), LabError> {
            let mut nft = Command::new("nft");
            let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            write!(nft.stdin.take().unwrap(), "flush ruleset\n{rules}").unwrap();
            assert!(nft.wait().unwrap().success(), "nft refuses {rules}");
            Ok(())
        };
        self.router.run(load).map_err(|error| error.to_string())
    }
}

/// What is measured: the kernel and nftables.
pub fn versions() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let kernel: Vec<_> = kernel.split('.').take(2).collect();
    let nft = Command::new("nft").arg("--version").output().unwrap().stdout;
    let nft = String::from_utf8(nft).unwrap();
    format!("Linux {} and nftables {}", kernel.join("."), nft.split(' ').nth(1).unwrap())
}

/// The ruleset of a setup.
fn rules(setup: Setup) -> Result<String, String> {
    let outside = |rule: &str| RULES.replace(MASQUERADE, &format!("oifname \"outside\" {rule}\n"));
    let forward = |first: &str| {
        RULES.replace(FORWARD, &FORWARD.replace("iifname", &format!("{first}\n        iifname")))
    };
    let quota = |most: &str| forward(&format!("{most} reject with icmp type admin-prohibited"));
    match setup {
        Setup::Plain
        | Setup::AllPorts
        | Setup::SmallMtu
        | Setup::Patient
        | Setup::QuickOpening
        | Setup::LimitedErrors => Ok(RULES.to_owned()),
        Setup::TenPorts => Ok(outside("meta l4proto { tcp, udp } masquerade to :5000-5009")),
        Setup::Transparent => Err("there is no endpoint-independent filtering".to_owned()),
        Setup::Pool => Ok(outside("snat to 203.0.113.100-203.0.113.103 persistent")),
        Setup::GappedPool => Ok(outside(
            "snat to jhash ip saddr mod 3 map \
             { 0 : 203.0.113.100, 1 : 203.0.113.102, 2 : 203.0.113.104 }",
        )),
        Setup::SmallPool => Ok(outside(
            "meta l4proto { tcp, udp } snat to 203.0.113.100-203.0.113.103:5000 persistent",
        )),
        Setup::Except => Ok(outside("ip daddr != 198.51.100.128/25 masquerade")),
        Setup::OnePort => Ok(outside("meta l4proto { tcp, udp } masquerade to :5000")),
        Setup::Quota => Ok(quota("meter sessions { ip saddr ct count over 3 }")),
        Setup::SlowBeginning => {
            let most = "limit rate over 10/second burst 10 packets";
            Ok(forward(&format!("ct state new meter beginnings {{ ip saddr {most} }} drop")))
        }
    }
}

/// The settings of time of a setup, all of them in seconds but the first, which is in milliseconds.
fn timers(setup: Setup) -> [(&'static str, &'static str); 5] {
    let is = |which, one, other| if setup == which { one } else { other };
    [
        // Checks ask for more errors in a moment than anybody would in an hour.
        ("net/ipv4/icmp_ratelimit", is(Setup::LimitedErrors, "1000", "0")),
        ("net/netfilter/nf_conntrack_udp_timeout", is(Setup::Patient, "600", "30")),
        ("net/netfilter/nf_conntrack_udp_timeout_stream", is(Setup::Patient, "600", "120")),
        ("net/netfilter/nf_conntrack_icmp_timeout", is(Setup::Patient, "120", "30")),
        ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", is(Setup::QuickOpening, "30", "120")),
    ]
}

impl Nat for Linux {
    fn set_up(&mut self, setup: Setup) -> Finding {
        self.load(&rules(setup)?)?;
        let mtu = Some(if setup == Setup::SmallMtu { 1300 } else { 1500 });
        self.router.configure("outside", &Interface { mtu, ..Interface::default() }).unwrap();
        for (name, value) in timers(setup) {
            self.router.sysctl(name, value).unwrap();
        }
        self.connections.flush().unwrap();
        Ok(())
    }

    fn frame(&self, packet: &Packet) -> Vec<u8> {
        let IpAddr::V4(source) = packet.from.ip() else { panic!("{} is not IPv4", packet.from) };
        packet.frame(station(source.octets()[3]), self.wire(source.into()).mac)
    }

    fn put(&mut self, source: IpAddr, frame: &[u8]) -> Vec<Seen> {
        self.wire(source).socket.send(frame).unwrap();
        self.settle().unwrap()
    }

    fn pass(&mut self, time: Duration) -> Vec<Seen> {
        self.connections.pass(time).unwrap();
        self.settle().unwrap()
    }
}

impl Wire {
    fn new(
        router: &Container,
        name: &str,
        around: &Container,
        subnet: [u8; 3],
    ) -> Result<Self, LabError> {
        veth(router, name, around, name)?;
        // What the router says itself then has finished checksums, as on any wire.
        router.set_offloads(name, false)?;
        let [a, b, c] = subnet;
        let link = router.address(name, &[&format!("{a}.{b}.{c}.1/24")])?;
        let mac = MacAddr(router.link(&link.name)?.mac.unwrap());
        Ok(Self { socket: RawSocket::open(around, name)?, subnet, mac })
    }

    fn address(&self, host: u8) -> String {
        let [a, b, c] = self.subnet;
        format!("{a}.{b}.{c}.{host}")
    }

    /// A station asks for the router.
    fn ask(&self, host: u8) -> Result<(), LabError> {
        self.socket.send(&arp_request(station(host), &self.address(host), &self.address(1)))
    }

    /// The IPv4 packets that arrive before the answer to a question that is asked now, and whether the
    /// router asked for somebody, so that more may follow.
    fn settle(&self) -> Result<(Vec<Vec<u8>>, bool), LabError> {
        self.ask(MARKER)?;
        let (mut seen, mut was_asked) = (Vec::new(), false);
        loop {
            let frame = self.socket.receive(PATIENCE, |_| true)?.expect("the router answers").bytes;
            match frame[12..14].try_into().unwrap() {
                IPV4 => seen.push(frame),
                ARP if frame[21] == 1 => {
                    let host = frame[41];
                    let to = (self.mac, &self.address(1)[..]);
                    self.socket.send(&arp_reply(station(host), &self.address(host), to))?;
                    was_asked = true;
                }
                ARP if stations(&frame).0 == station(MARKER) => return Ok((seen, was_asked)),
                _ => (),
            }
        }
    }
}

/// The station with an address that ends so, on either wire.
fn station(host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, host])
}
