//! Offload state that lies: segmentation and checksums refuse it or survive it, and no buffer is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pktio::offload::fit;
use pktio::{Accepts, Burst, Csum, Gso, Pool, PoolConfig};

const POOL: PoolConfig = PoolConfig { small: 256, slabs: 8 };

fuzz_target!(|data: &[u8]| {
    let Some((header, bytes)) = data.split_at_checked(8) else { return };
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let Ok(mut pool) = Pool::new(POOL) else { return };
    let Some(mut frame) = pool.frame_from(bytes) else { return };
    frame.offload.csum = Csum::Partial { start: word(1) & 0xff, offset: word(3) & 0xff };
    frame.offload.gso = match header[0] % 4 {
        0 => Gso::None,
        1 => Gso::Tcp4 { mss: word(5) },
        2 => Gso::Tcp6 { mss: word(5) },
        _ => Gso::Udp { size: word(5) },
    };
    let accepts = Accepts { partial_csum: header[7] & 1 == 1, ..Accepts::PLAIN };
    let mut out = Burst::new();
    if let Err((frame, _)) = fit(frame, &accepts, &mut pool, &mut out) {
        pool.recycle(frame);
    }
    assert!(out.iter().all(|frame| accepts.covers(frame.offload)));
    pool.recycle_all(&mut out);
    pool.reclaim();
    assert_eq!(pool.free(), POOL);
});
