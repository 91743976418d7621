//! A translated error is, byte by byte, the one that `etherparse` builds about the other packet.

use std::net::IpAddr;

use pktio::wire::field::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use proptest::prelude::*;

use super::*;
use crate::nat::sample::{
    Shape, error, fragments, frame, half_done, layers, packet, pool, shapes, tuple, tuple_pairs,
};

const INSIDE: [u8; 4] = [10, 0, 0, 2];
const ROUTER: [u8; 4] = [198, 51, 100, 1];
const OUTSIDE: [u8; 4] = [203, 0, 113, 9];
const SERVER: [u8; 4] = [192, 0, 2, 1];

/// A connection of a container, as the container and as the world sees it.
fn masqueraded() -> (Tuple, Tuple) {
    (tuple(UDP, (INSIDE, 4000), (SERVER, 53)), tuple(UDP, (OUTSIDE, 51001), (SERVER, 53)))
}

/// An error from `source` about a packet, of which `bytes` bytes behind the IP header are quoted.
fn about(old: &Tuple, source: impl Into<IpAddr>, shape: &Shape, bytes: usize) -> Vec<u8> {
    error((source.into(), old.source.ip), (3, 1), &packet(old, shape), bytes, shape.hops)
}

fn embedded(bytes: &[u8]) -> Option<Embedded> {
    embedded_tuple(&frame(&mut pool(), bytes, Csum::None), &layers(bytes))
}

fn translated(bytes: &[u8], csum: Csum, new: &Tuple) -> Vec<u8> {
    let mut frame = frame(&mut pool(), bytes, csum);
    let layers = layers(bytes);
    let embedded = embedded_tuple(&frame, &layers).expect("a sound error");
    translate(&mut frame, &layers, &embedded, new, false).unwrap();
    frame.data().to_vec()
}

proptest! {
    #[test]
    fn rfc5508_req_4_and_5_an_error_is_turned_inside_out(
        (old, new) in tuple_pairs(), shape in shapes(), words in 4usize..150, from_router: bool
    ) {
        // Behind eight bytes comes the CRC of the whole SCTP packet. Half a checksum is no checksum.
        let bytes = if old.protocol == SCTP { 8 } else { words * 2 };
        let router = new.destination.ip;
        let source = if from_router { router } else { old.destination.ip };
        let before = about(&old, source, &shape, bytes);
        prop_assert_eq!(embedded(&before).map(|embedded| embedded.tuple), Some(old));
        let after = about(&new, new.destination.ip, &shape, bytes);
        prop_assert_eq!(translated(&before, Csum::None, &new), after);
    }

    #[test]
    fn a_fuzzed_error_does_no_harm(
        (old, new) in tuple_pairs(), shape in shapes(), bytes in 0usize..100,
        flips in prop::collection::vec((14usize..120, any::<u8>()), 0..4), partial: bool
    ) {
        let mut bytes = about(&old, new.source.ip, &shape, bytes);
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(Some(layers)) = Layers::parse(&bytes) {
            let csum = Csum::Partial { start: layers.l4, offset: 2 };
            let csum = if partial { csum } else { Csum::None };
            let mut frame = frame(&mut pool(), &bytes, csum);
            if let Some(embedded) = embedded_tuple(&frame, &layers) {
                let _ = translate(&mut frame, &layers, &embedded, &new, true);
            }
        }
    }
}

#[test]
fn rfc5508_req_4_an_error_from_a_router_outside_keeps_its_source() {
    let (inside, outside) = masqueraded();
    let shape = Shape::plain(b"query");
    let before = about(&outside, ROUTER, &shape, 100);
    let after = translated(&before, Csum::None, &inside);
    assert_eq!(after, about(&inside, ROUTER, &shape, 100));
}

#[test]
fn rfc5508_req_5_an_error_from_inside_comes_from_the_external_address() {
    let (inside, outside) = masqueraded();
    let shape = Shape::plain(b"answer");
    let (inside, outside) = (inside.reversed(), outside.reversed());
    for source in [INSIDE, [10, 0, 7, 1]] {
        let before = about(&inside, source, &shape, 100);
        let after = translated(&before, Csum::None, &outside);
        assert_eq!(after, about(&outside, OUTSIDE, &shape, 100));
    }
}

#[test]
fn rfc5508_req_7_a_hairpinned_error_is_translated_at_both_ends() {
    let (sender, receiver, external) = ([10, 0, 0, 2], [10, 0, 0, 3], OUTSIDE);
    let seen_by_receiver = tuple(UDP, (external, 51001), (receiver, 53));
    let sent = tuple(UDP, (sender, 4000), (external, 5353));
    let shape = Shape::plain(b"query");
    let before = about(&seen_by_receiver, receiver, &shape, 100);
    let after = translated(&before, Csum::None, &sent);
    assert_eq!(after, about(&sent, external, &shape, 100));
}

#[test]
fn rfc5508_req_3_errors_with_wrong_checksums_are_dropped() {
    let shape = Shape::plain(b"query");
    let (inside, _) = masqueraded();
    let bytes = about(&inside, ROUTER, &shape, 100);
    assert!(embedded(&bytes).is_some());
    let mut wrong_icmp = bytes;
    *wrong_icmp.last_mut().unwrap() ^= 1;
    assert_eq!(embedded(&wrong_icmp), None);
    // A quote whose IP checksum is wrong, in an error that is right about it.
    let mut quoted = packet(&inside, &shape);
    quoted[24] ^= 1;
    let wrong_quote = error((ROUTER.into(), INSIDE.into()), (3, 1), &quoted, 100, 64);
    assert_eq!(embedded(&wrong_quote), None);
    // The transport checksum of the quote is nobody's business here.
    let mut quoted = packet(&inside, &shape);
    quoted[40] ^= 1;
    let wrong_udp = error((ROUTER.into(), INSIDE.into()), (3, 1), &quoted, 100, 64);
    assert!(embedded(&wrong_udp).is_some());
}

#[test]
fn a_quoted_udp_datagram_without_a_checksum_keeps_having_none() {
    let (inside, outside) = masqueraded();
    let quote = |tuple: &Tuple| {
        let mut quoted = packet(tuple, &Shape::plain(b"query"));
        put_be16(&mut quoted, 40, 0);
        error((ROUTER.into(), tuple.source.ip), (3, 3), &quoted, 100, 64)
    };
    assert_eq!(translated(&quote(&outside), Csum::None, &inside), quote(&inside));
}

#[test]
fn what_is_no_error_or_about_nobody_has_no_tuple() {
    let (inside, _) = masqueraded();
    let shape = Shape::plain(&[9; 64]);
    let ping = tuple(ICMP, (INSIDE, 7), (SERVER, 7));
    assert_eq!(embedded(&packet(&ping, &shape)), None);
    assert_eq!(embedded(&packet(&inside, &shape)), None);
    // About a later fragment, which has no ports; about an error.
    let ends = (ROUTER.into(), INSIDE.into());
    let [_, later] = fragments(&inside, &shape, 1, 24);
    assert_eq!(embedded(&error(ends, (11, 0), &later, 100, 64)), None);
    let about_error = error(ends, (3, 1), &about(&inside, ROUTER, &shape, 100), 100, 64);
    assert_eq!(embedded(&about_error), None);
    // Too short a quote for ports.
    assert_eq!(embedded(&about(&inside, ROUTER, &shape, 3)), None);
    // To somebody who did not send the quoted packet.
    let stray = error((ROUTER.into(), OUTSIDE.into()), (3, 1), &packet(&inside, &shape), 100, 64);
    assert_eq!(embedded(&stray), None);
}

#[test]
fn an_error_about_the_first_fragment_is_translated() {
    let (inside, outside) = masqueraded();
    let shape = Shape::plain(&[9; 64]);
    let about_first = |tuple: &Tuple| {
        let [first, _] = fragments(tuple, &shape, 1, 24);
        error((ROUTER.into(), tuple.source.ip), (3, 4), &first, 100, 64)
    };
    assert_eq!(translated(&about_first(&outside), Csum::None, &inside), about_first(&inside));
}

#[test]
fn a_half_done_checksum_is_finished() {
    let old = tuple(TCP, ([1; 16], 1), ([2; 16], 2));
    let new = tuple(TCP, ([3; 16], 3), ([2; 16], 2));
    let shape = Shape::plain(b"data");
    let (before, csum) = half_done(about(&old, [2; 16], &shape, 100));
    let mut frame = frame(&mut pool(), &before, csum);
    let layers = layers(&before);
    let embedded = embedded_tuple(&frame, &layers).unwrap();
    assert_eq!((embedded.kind, embedded.code, layers.protocol), (3, 1, ICMPV6));
    translate(&mut frame, &layers, &embedded, &new, false).unwrap();
    assert_eq!(
        (frame.data(), frame.offload.csum),
        (&about(&new, [2; 16], &shape, 100)[..], Csum::None)
    );
}

#[test]
fn a_router_takes_a_hop_of_the_error_and_leaves_the_quote_its_own() {
    let (inside, outside) = masqueraded();
    let ends = (ROUTER.into(), OUTSIDE.into());
    let shape = Shape::plain(b"data");
    let before = error(ends, (11, 0), &packet(&outside, &shape), 100, 9);
    let mut frame = frame(&mut pool(), &before, Csum::None);
    let layers = layers(&before);
    let embedded = embedded_tuple(&frame, &layers).unwrap();
    translate(&mut frame, &layers, &embedded, &inside, true).unwrap();
    let ends = (ROUTER.into(), INSIDE.into());
    assert_eq!(frame.data(), error(ends, (11, 0), &packet(&inside, &shape), 100, 8));
}
