//! What a gateway makes of any bytes that a container sends it as DHCP: no panic, nobody is given any address but the
//! port's, and every answer is one to its question.
#![no_main]

use std::net::Ipv4Addr;

use ctl::MacAddr;
use gateway::dhcp::{Lease, Verdict, attend};
use libfuzzer_sys::fuzz_target;

const OWN: [u8; 4] = [10, 1, 0, 7];

fuzz_target!(|data: &[u8]| {
    let lease = Lease {
        mac: MacAddr([2, 0, 0, 0, 0, 7]),
        address: OWN.into(),
        prefix_len: 24,
        server: Ipv4Addr::new(10, 1, 0, 1),
        router: Some(Ipv4Addr::new(10, 1, 0, 1)),
        resolver: Some(Ipv4Addr::new(10, 1, 0, 1)),
        domain: "web".to_owned(),
        mtu: 1500,
        routes: vec![("10.9.0.0/16".parse().expect("a network"), Ipv4Addr::new(10, 1, 0, 9))],
    };
    if let Verdict::Answer { message, .. } = attend(data, &lease) {
        assert_eq!((message[0], &message[4..8], &message[28..34]), (2, &data[4..8], &data[28..34]));
        assert!(message[16..20] == OWN || message[16..20] == [0; 4]);
    }
});
