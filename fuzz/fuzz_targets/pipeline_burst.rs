//! The pipeline: any frames by any port, no panic, and every frame accounted for.
#![no_main]

use std::sync::Arc;

use flows::{
    BridgeDomain, BridgeIndex, Fdb, Generation, Horizon, Ledger, Nanos, Outboxes, Pipeline, PortConfig,
    PortIndex, Snapshot, Vid, VlanPolicy,
};
use libfuzzer_sys::fuzz_target;
use pktio::{Burst, Pool, PoolConfig};

const POOL: PoolConfig = PoolConfig { small: 256, slabs: 4 };

fn port(vlan: VlanPolicy, isolated: bool) -> Option<PortConfig> {
    let bridge = BridgeIndex(0);
    let horizon = if isolated { Horizon::Isolated } else { Horizon::Open };
    let plain = PortConfig::new(bridge);
    Some(PortConfig { vlan, horizon, hairpin: isolated, mtu_bytes: 200, mac_limit: 4, ..plain })
}

fuzz_target!(|data: &[u8]| {
    let allowed = Arc::new([Vid(1), Vid(2)].into_iter().collect());
    let ports = vec![
        port(VlanPolicy::Unaware, false),
        port(VlanPolicy::Unaware, true),
        port(VlanPolicy::Access(Vid(1)), false),
        port(VlanPolicy::Trunk { allowed, native: Some(Vid(2)) }, true),
    ];
    let fdb = Arc::new(Fdb::new(16, 10, 1));
    let bridge = BridgeDomain::new(fdb, 8);
    let Ok(snapshot) = Snapshot::new(Generation(1), ports, vec![Some(bridge)]) else { return };
    let mut pipeline = Pipeline::new(Arc::new(snapshot), Arc::default());
    let Ok(mut pool) = Pool::new(POOL) else { return };
    let (mut outboxes, mut ledger) = (Outboxes::new(), Ledger::new());
    for (second, chunk) in (0..).zip(data.chunks(64)) {
        let Some((first, bytes)) = chunk.split_first() else { continue };
        let mut burst = Burst::new();
        burst.extend(pool.frame_from(bytes));
        let (now, ingress) = (Nanos::from_secs(second), PortIndex(u16::from(first % 6)));
        pipeline.run(now, ingress, &mut burst, &mut pool, &mut outboxes, &mut ledger);
        while let Some(to) = outboxes.next_dirty() {
            let mut out = std::mem::take(outboxes.of(to));
            ledger.port_mut(to).transmitted += out.len() as u64;
            pool.recycle_all(&mut out);
        }
        assert_eq!(ledger.reconcile(), Ok(()));
    }
    pool.reclaim();
    assert_eq!(pool.free(), POOL);
});
