//! Tunnel packets: any bytes, no panic; what is refused stays as it was, what is let in can be sent on and
//! comes out again.
#![no_main]

use flows::vxlan::{self, Dscp, Ttl, Tunnel, Vni};
use libfuzzer_sys::fuzz_target;
use pktio::wire::Layers;
use pktio::{Pool, PoolConfig};

const POOL: PoolConfig = PoolConfig { small: 4, slabs: 4 };

fuzz_target!(|data: &[u8]| {
    let Some((&[outer_tos, options], bytes)) = data.split_first_chunk() else { return };
    let Ok(mut pool) = Pool::new(POOL) else { return };
    let Some(mut frame) = pool.frame_from(bytes) else { return };
    let Ok(vni) = vxlan::decap(&mut frame) else {
        assert_eq!(frame.data(), bytes);
        return;
    };
    assert_eq!(Vni::new(vni.get()), Some(vni));
    let tunnel = Tunnel {
        carries_tags: options & 1 == 1,
        dscp: if options & 2 == 2 { Dscp::Inherited } else { Dscp::Fixed(options >> 2) },
        ttl: Ttl::Inherited,
        ..Tunnel::new(vni)
    };
    let inner = bytes[8..].to_vec();
    let layers = Layers::parse(&inner).ok().flatten();
    if vxlan::admit(&mut frame, layers.as_ref(), outer_tos, &tunnel).is_err() {
        assert_eq!(frame.data(), inner);
        return;
    }
    // Only the traffic class and the checksum over it may differ, and not where the headers are.
    let admitted = frame.data().to_vec();
    assert_eq!(Layers::parse(&admitted).ok().flatten(), layers);
    let mark = vxlan::encap(&mut frame, layers.as_ref(), &tunnel);
    assert!(mark.is_some_and(|mark| mark.entropy == vxlan::entropy(&admitted, layers.as_ref())));
    assert_eq!(vxlan::decap(&mut frame), Ok(vni));
    assert_eq!(frame.data(), admitted);
});
