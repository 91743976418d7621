//! What a gateway makes of any bytes that a container sends it as DNS: no panic, no answer longer than it may be, none
//! to what is an answer itself, and each with its question's identifier.
#![no_main]

use gateway::dns::{Directory, Forwarding, Responder, Transport, Verdict};
use libfuzzer_sys::fuzz_target;

const NETWORK: &str = r#"{
    "pools": { "10.1.0.0/24": { "subnet": "10.1.0.0/24", "gateway": "10.1.0.1",
                                "leases": { "10.1.0.2": { "owner": "a", "port": "a" } } } },
    "endpoints": { "a": { "owner": "a", "aliases": ["db", "www.example.com"] } }
}"#;

fuzz_target!(|data: &[u8]| {
    let network = serde_json::from_str(NETWORK).expect("a network");
    let directory = Directory::of(&"web".parse().expect("a name"), &network, |_| {
        Some("web-1".parse().expect("a name"))
    });
    for (transport, limit) in [(Transport::Udp, 1232), (Transport::Tcp, 65535)] {
        for forwarding in [Forwarding::On, Forwarding::Off] {
            let responder = Responder { directory: &directory, forwarding };
            match responder.attend(data, transport) {
                Verdict::Answer(answer) => {
                    assert!((12..=limit).contains(&answer.len()));
                    assert_eq!(answer[..2], data[..2]);
                    assert!(answer[2] & 0x80 != 0 && data[2] & 0x80 == 0);
                }
                Verdict::Forward(_) => assert_eq!(forwarding, Forwarding::On),
                Verdict::Silence => {}
            }
        }
    }
});
