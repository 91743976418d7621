//! No port of the kernel's allocates per frame.

use netlab::TestResult;
use netlab::allocations::{self, Counting};
use pktio::{Burst, Pool};

use crate::kernel::{packet_rig, tap_rig, xdp_rig};
use crate::suite::{MEMORY, Outcome, Rig, frames};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub fn tap_allocates_nothing_per_frame() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    Ok(check(&mut tap_rig()?, &mut pool)?)
}

pub fn packet_allocates_nothing_per_frame() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    Ok(check(&mut packet_rig()?, &mut pool)?)
}

pub fn xdp_allocates_nothing_per_frame() -> TestResult {
    let mut pool = Pool::new(MEMORY)?;
    Ok(check(&mut xdp_rig(&pool)?, &mut pool)?)
}

/// The first exchanges may make room; those after them find it.
fn check(rig: &mut impl Rig, pool: &mut Pool) -> Outcome {
    rig.port().housekeep(pool)?;
    let (mut burst, mut allocations) = (Burst::new(), Vec::new());
    for _ in 0..20 {
        allocations.push(send(rig, pool, &mut burst)? + receive(rig, pool, &mut burst)?);
    }
    assert_eq!(allocations.split_off(4), [0; 16]);
    Ok(())
}

/// Frames in small buffers, and the same in slabs, as a TAP port receives them.
fn send(rig: &mut impl Rig, pool: &mut Pool, burst: &mut Burst) -> Outcome<u64> {
    for bytes in frames(&[60, 600, 1514]) {
        burst.push(pool.frame_from(&bytes).ok_or("no buffer")?);
        let mut slab = pool.take_slab().ok_or("no slab")?;
        assert!(slab.fill_from(&bytes));
        burst.push(slab);
    }
    let (sent, allocations) = allocations::of(|| rig.port().tx_burst(pool, burst));
    assert_eq!(sent?.frames, 6);
    (0..6).try_for_each(|_| rig.sent().map(drop))?;
    Ok(allocations)
}

fn receive(rig: &mut impl Rig, pool: &mut Pool, burst: &mut Burst) -> Outcome<u64> {
    assert!(rig.inject(&frames(&[60; 16]))?);
    let (mut received, mut allocations) = (0, 0);
    while received < 16 {
        let (got, more) = allocations::of(|| rig.port().rx_burst(pool, burst));
        (received, allocations) = (received + got?, allocations + more);
        pool.recycle_all(burst);
    }
    Ok(allocations)
}
