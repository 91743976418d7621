//! The header parser: any bytes, no panic, and positions that lie inside the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pktio::offload::checksum;
use pktio::wire::{EthernetHeader, Layers};

fuzz_target!(|data: &[u8]| {
    if let Some(header) = EthernetHeader::read(data) {
        let _ = header.vlan(data);
    }
    let _ = checksum::classify(data);
    if let Ok(Some(layers)) = Layers::parse(data) {
        assert!(usize::from(layers.l3) <= usize::from(layers.l4));
        assert!(usize::from(layers.l4) <= layers.end as usize && layers.end as usize <= data.len());
        assert!(layers.addresses(data).is_some());
        let _ = (layers.ports(data), layers.transport_bytes(data), checksum::verify(data, &layers));
    }
});
