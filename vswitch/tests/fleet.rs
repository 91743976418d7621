//! The workers as the control thread sees them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::os::fd::BorrowedFd;

use flows::{PortIndex, TableSizes};
use pktio::{Accepts, Burst, Pool, PoolConfig, Port, PortFault, Sent};
use vswitch::fleet::{Fleet, FleetOptions, default_cores};
use vswitch::worker::{PollMode, QueueId, WorkerId};

const SMALL: PoolConfig = PoolConfig { small: 256, slabs: 4 };

fn fleet() -> Fleet {
    let (cores, mode) = (default_cores(), PollMode::Adaptive);
    Fleet::start(&FleetOptions { cores, mode, pool: SMALL, tables: TableSizes::default() }).unwrap()
}

/// A port that fails as soon as a worker has it.
struct Broken;

impl Port for Broken {
    fn rx_burst(&mut self, _: &mut Pool, _: &mut Burst) -> Result<usize, PortFault> {
        Ok(0)
    }

    fn tx_burst(&mut self, _: &mut Pool, _: &mut Burst) -> Result<Sent, PortFault> {
        Ok(Sent::default())
    }

    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn housekeep(&mut self, _: &mut Pool) -> Result<(), PortFault> {
        Err(PortFault::Gone { operation: "test", source: io::ErrorKind::NotFound.into() })
    }
}

fn break_queue(fleet: &mut Fleet, queue: u16) {
    let queue = QueueId { port: PortIndex(5), queue };
    let broken: Box<dyn Port> = Box::new(Broken);
    fleet.attach(WorkerId(0), queue, broken).unwrap();
}

#[test]
fn a_queue_that_fails_is_reported() {
    let mut fleet = fleet();
    break_queue(&mut fleet, 0);
    // The worker has seen the queue once it has answered.
    fleet.reports().unwrap();
    assert_eq!(fleet.take_faults().len(), 1);
    assert!(fleet.placement().is_empty());
}

#[test]
fn a_port_that_is_closed_has_no_faults_any_more() {
    let mut fleet = fleet();
    break_queue(&mut fleet, 0);
    break_queue(&mut fleet, 1);
    fleet.detach(PortIndex(5)).unwrap();
    assert!(fleet.take_faults().is_empty(), "they would be taken for the next port's");
}
