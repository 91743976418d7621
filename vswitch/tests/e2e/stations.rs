//! The forwarding database as its commands and settings change it, seen from the wire.

use std::time::Duration;

use ctl::response::{BridgeInfo, DropInfo, FdbInfo};
use ctl::{
    ClientError, ErrorCode, FdbFilter, FdbKey, FdbStatic, MacAddr, Mutation, Named, PortSet, Query,
    StaticMac,
};
use netlab::raw::RawSocket;
use netlab::{Container, Need, Test, TestResult, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, connect, eventually};

/// Long enough for a frame that comes.
const SOON: Duration = Duration::from_secs(5);
/// An EtherType for experiments (IEEE 802): nobody in a container answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const BROADCAST: [u8; 6] = [0xff; 6];

pub fn tests() -> Vec<Test> {
    let tests = [
        test!(a_station_entered_by_hand_stays_where_it_is_until_it_is_removed),
        test!(a_port_learns_no_more_stations_than_its_limit),
        test!(hairpin_lets_a_frame_return_by_the_port_that_it_came_from),
        test!(a_reserved_group_address_goes_no_further),
    ];
    tests.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

/// Three containers on one bridge, and a socket on the interface of each.
struct Scene {
    daemon: Daemon,
    wires: [RawSocket; 3],
    _containers: [Container; 3],
}

impl Scene {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let daemon = Daemon::start()?;
        let containers = [Container::new()?, Container::new()?, Container::new()?];
        let mut wires = Vec::new();
        for (name, container) in ["a", "b", "c"].into_iter().zip(&containers) {
            connect(&daemon, name, Kind::Tap, container, (1500, &[]))?;
            wires.push(RawSocket::open(container, "eth0")?);
        }
        let wires = wires.try_into().map_err(|_| "three sockets")?;
        Ok(Self { daemon, wires, _containers: containers })
    }

    /// Sends a frame by the wire of this number.
    fn send(&self, wire: usize, dst: [u8; 6], src: [u8; 6], mark: u8) -> TestResult {
        let mut frame = [&dst[..], &src, &ETHERTYPE, &[mark]].concat();
        frame.resize(60, 0);
        Ok(self.wires[wire].send(&frame)?)
    }

    /// What a wire hears, up to the frame with the mark `last`, which must come.
    fn heard(&self, wire: usize, last: u8) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut marks = Vec::new();
        let is_last = |frame: &[u8]| {
            if frame.get(12..14) == Some(&ETHERTYPE) {
                marks.push(frame[14]);
            }
            marks.last() == Some(&last)
        };
        self.wires[wire].receive(SOON, is_last)?.ok_or("the last frame did not come")?;
        Ok(marks)
    }

    fn stations(&self) -> Result<Vec<FdbInfo>, ClientError> {
        self.daemon.ask(Query::FdbShow(FdbFilter::default()))
    }

    /// Where a station is, and whether it was entered by hand.
    fn place(&self, mac: [u8; 6]) -> Result<Option<(String, bool)>, ClientError> {
        let stations = self.stations()?.into_iter();
        let mut these = stations.filter(|station| station.mac == MacAddr(mac));
        Ok(these.next().map(|station| (station.port.to_string(), station.is_static)))
    }
}

fn station(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn drops(daemon: &Daemon, reason: &str) -> Result<u64, ClientError> {
    let drops: Vec<DropInfo> = daemon.ask(Query::drops())?;
    Ok(drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.count).sum())
}

fn a_station_entered_by_hand_stays_where_it_is_until_it_is_removed() -> TestResult {
    let mut scene = Scene::new()?;
    let (mac, on_b) = (station(1), Some(("b".to_owned(), true)));
    let bridge: ctl::BridgeName = "br0".parse()?;
    let entered = StaticMac { mac: MacAddr(mac), vlan: None, port: "b".parse()?, vtep: None };
    let add = FdbStatic { bridge: bridge.clone(), station: entered };
    assert!(scene.daemon.change(Mutation::FdbAdd(add))?.changed);
    // It is known without having been heard: its frames are not flooded. And to hear it elsewhere does not move it.
    scene.send(2, BROADCAST, mac, 1)?;
    assert!(scene.heard(0, 1)?.contains(&1));
    scene.send(0, mac, station(2), 2)?;
    scene.send(0, BROADCAST, station(2), 3)?;
    assert_eq!(scene.heard(1, 3)?, [1, 2, 3]);
    assert_eq!(scene.heard(2, 3)?, [3]);
    assert_eq!(scene.place(mac)?, on_b);
    let learned = scene.stations()?.iter().filter(|station| !station.is_static).count();
    assert!(learned > 0);
    let flushed = scene.daemon.change(Mutation::FdbFlush(FdbFilter::default()))?;
    assert!(flushed.removed >= Some(learned), "{flushed:?}");
    assert_eq!(scene.place(mac)?, on_b, "what was entered by hand is not flushed");
    scene.daemon.end(Signal::KILL)?;
    scene.daemon = Daemon::start_in(scene.daemon.directory(), &[])?;
    assert_eq!(scene.place(mac)?, on_b, "a killed daemon still knows it");
    let key = FdbKey { bridge, mac: MacAddr(mac), vlan: None };
    let removed = scene.daemon.change(Mutation::FdbDel(key.clone()))?;
    assert_eq!((removed.changed, removed.removed), (true, Some(1)));
    assert_eq!(scene.place(mac)?, None);
    match scene.daemon.change(Mutation::FdbDel(key)) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::NotFound),
        other => return Err(format!("{other:?}").into()),
    }
    scene.daemon.check_ledger()
}

fn a_port_learns_no_more_stations_than_its_limit() -> TestResult {
    let scene = Scene::new()?;
    let on_c = || -> Result<usize, ClientError> {
        let stations = scene.stations()?;
        Ok(stations.iter().filter(|station| station.port.as_str() == "c").count())
    };
    let limit = |limit| -> TestResult {
        let set = PortSet { mac_limit: Some(limit), ..PortSet::new("c".parse()?) };
        scene.daemon.change(Mutation::PortSet(set))?;
        scene.daemon.change(Mutation::FdbFlush(FdbFilter::default()))?;
        (10..15).try_for_each(|number| scene.send(2, BROADCAST, station(number), number))
    };
    limit(Some(2))?;
    // The frames of stations that are not learned are carried all the same.
    assert_eq!(scene.heard(0, 14)?, [10, 11, 12, 13, 14]);
    assert_eq!(on_c()?, 2);
    let shown: BridgeInfo = scene.daemon.ask(Query::BridgeShow(Named::new("br0".parse()?)))?;
    assert!(shown.refused >= 3, "{shown:?}");
    limit(None)?;
    scene.heard(0, 14)?;
    assert!(on_c()? >= 5);
    scene.daemon.check_ledger()
}

fn hairpin_lets_a_frame_return_by_the_port_that_it_came_from() -> TestResult {
    let scene = Scene::new()?;
    scene.send(0, BROADCAST, station(1), 1)?;
    scene.heard(1, 1)?;
    scene.send(0, station(1), station(2), 2)?;
    eventually("it is not reflected, and counted", || {
        drops(&scene.daemon, "same-segment").is_ok_and(|count| count == 1)
    })?;
    let set = PortSet { hairpin: Some(true), ..PortSet::new("a".parse()?) };
    scene.daemon.change(Mutation::PortSet(set))?;
    scene.send(0, station(1), station(2), 3)?;
    assert_eq!(scene.heard(0, 3)?, [3]);
    scene.daemon.check_ledger()
}

fn a_reserved_group_address_goes_no_further() -> TestResult {
    let scene = Scene::new()?;
    for (mark, last) in (1..).zip(0x00..=0x0f) {
        scene.send(0, [0x01, 0x80, 0xc2, 0, 0, last], station(1), mark)?;
    }
    // The first group address beyond the reserved ones is an ordinary one.
    scene.send(0, [0x01, 0x80, 0xc2, 0, 0, 0x10], station(1), 17)?;
    assert_eq!(scene.heard(1, 17)?, [17]);
    assert_eq!(drops(&scene.daemon, "reserved-group")?, 16);
    scene.daemon.check_ledger()
}
