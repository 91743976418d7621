//! Known flows whose stations, ports or packets change: they leave as the first packet of a flow would.

use super::*;

const ALL: [u16; 3] = [0, 2, 3];

/// Everything is looked into, and may pass. Station 2 is learned by what it sends.
fn learning() -> Ruled {
    let mut ruled = Ruled::new(vec![rule(0, 1, any(), Verdict::Allow)]);
    assert!(ruled.fdb.remove(station(2), Vid::NONE));
    assert_eq!(ruled.send(2, &arp(2)), [0, 1, 3]);
    ruled
}

impl Ruled {
    fn send_at(&mut self, second: u64, from: u16, bytes: &[u8]) -> Vec<u16> {
        let Rig { pipeline, pool, outboxes, ledger } = &mut self.rig;
        let mut burst = Burst::new();
        burst.extend(pool.frame_from(bytes));
        let now = Nanos::from_secs(second);
        pipeline.run(now, PortIndex(from), &mut burst, pool, outboxes, ledger);
        ports_of(&self.rig.collect())
    }

    /// A packet of the one flow from station 1 to station 2.
    fn send_known(&mut self, second: u64) -> Vec<u16> {
        self.send_at(second, 1, &datagram((1, 4000), (2, 53)))
    }
}

#[test]
fn a_known_flow_follows_its_station_to_another_port() {
    let mut ruled = learning();
    for _ in 0..3 {
        assert_eq!(ruled.send_known(1), [2]);
    }
    assert_eq!(ruled.send_at(2, 3, &datagram((2, 9), (0, 9))), [0]);
    assert_eq!(ruled.send_known(2), [3]);
    // It is where its peer is: a bridge does not send back.
    assert_eq!(ruled.send_at(3, 1, &datagram((2, 9), (0, 9))), [0]);
    assert_eq!(ruled.send_known(3), []);
    assert_eq!(ruled.drops(1, DropReason::SameSegment), 1);
}

#[test]
fn a_known_flow_is_flooded_when_its_station_is_forgotten() {
    let mut ruled = learning();
    assert_eq!(ruled.send_known(1), [2]);
    assert_eq!(ruled.send_known(1), [2]);
    assert!(ruled.fdb.remove(station(2), Vid::NONE));
    assert_eq!(ruled.send_known(1), ALL);
    assert!(ruled.fdb.add_static(station(2), Vid::NONE, PortIndex(3)));
    assert_eq!(ruled.send_known(1), [3]);
    assert_eq!(ruled.send_known(100_000), [3], "what is entered by hand does not age");
}

#[test]
fn a_known_flow_is_flooded_when_its_station_has_aged_out() {
    let mut ruled = learning();
    assert_eq!(ruled.send_known(1), [2]);
    assert_eq!(ruled.send_known(301), [2], "300 s after it was heard");
    assert_eq!(ruled.send_known(302), ALL);
    assert_eq!(ruled.send_at(303, 2, &datagram((2, 9), (0, 9))), [0]);
    assert_eq!(ruled.send_known(303), [2]);
    assert_eq!(ruled.send_at(500, 2, &datagram((2, 9), (0, 9))), [0]);
    assert_eq!(ruled.send_known(800), [2], "it was heard again meanwhile");
    assert_eq!(ruled.send_known(801), ALL);
}

#[test]
fn a_known_flow_leaves_by_the_port_as_it_is_configured_now() {
    let mut ruled = learning();
    assert_eq!(ruled.send_known(1), [2]);
    let long = built(|ip, frame| ip.udp(4000, 53).write(frame, &[0; 1400]).unwrap(), 1, 2);
    assert_eq!(ruled.send_at(1, 1, &long), [2]);
    ruled.ports[2].mtu_bytes = 1400;
    ruled.adopt(ruled.rules.clone());
    assert_eq!(ruled.send_known(1), [2]);
    assert_eq!(ruled.send_at(1, 1, &long), []);
    assert_eq!(ruled.drops(1, DropReason::Oversized), 1);
    for port in [1, 2] {
        ruled.ports[port].horizon = Horizon::Isolated;
    }
    ruled.adopt(ruled.rules.clone());
    assert_eq!(ruled.send_known(1), []);
    assert_eq!(ruled.drops(1, DropReason::Isolated), 1);
}
