//! What a relay makes of any bytes that another resolver, or somebody who pretends to be it, sends: no panic; only what
//! has the identifier and the question is an answer; and it reaches the asker no longer than he takes.
#![no_main]

use std::net::SocketAddr;
use std::time::Instant;

use gateway::dns::{Directory, Forwarding, Heard, Relay, Responder, Transport, Verdict};
use libfuzzer_sys::fuzz_target;

/// Who wants to know the address of `a.b`, by 7; it is forwarded by 9.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01";

fuzz_target!(|data: &[u8]| {
    let directory = Directory::default();
    let responder = Responder { directory: &directory, forwarding: Forwarding::On };
    let Verdict::Forward(query) = responder.attend(QUERY, Transport::Udp) else {
        panic!("it is forwarded")
    };
    let (mut relay, now) = (Relay::default(), Instant::now());
    let servers = [SocketAddr::from(([192, 0, 2, 1], 53))];
    let sent = relay.ask(((), ()), query, &servers, 9, now).expect("there is room");
    match relay.hear(sent.ticket, data.to_vec(), now) {
        Heard::Answer((), answer) => {
            assert_eq!((&data[..2], &answer[..2]), (&[0, 9][..], &[0, 7][..]));
            assert!(answer.len() <= 512);
            assert_eq!(answer[12..QUERY.len()], QUERY[12..]);
        }
        Heard::Next(_) => panic!("there is nobody else to ask"),
        Heard::Nothing => assert_eq!(relay.len(), 1),
    }
});
