//! A rewritten packet is, byte by byte, the one that `etherparse` builds for the new tuple.

use pktio::wire::checksum::{finish, fold, pseudo_header, sum};
use pktio::wire::field::{be16, put_be16};
use pktio::{Gso, offload};

use super::*;
use crate::nat::sample::{
    Shape, fragments, frame, half_done, layers, packet, pool, raw, shapes, tuple, tuple_pairs,
};
use proptest::prelude::*;

const INSIDE: [u8; 4] = [10, 0, 0, 2];
const OUTSIDE: [u8; 4] = [203, 0, 113, 9];
const SERVER: [u8; 4] = [192, 0, 2, 1];

/// Masquerade of a connection from the inside.
fn masquerade(kind: u8) -> (Tuple, Tuple) {
    let port = |from, to| if matches!(kind, protocol::ICMP) { from } else { to };
    (
        tuple(kind, (INSIDE, 4000), (SERVER, port(4000, 80))),
        tuple(kind, (OUTSIDE, 51001), (SERVER, port(51001, 80))),
    )
}

fn rewritten(bytes: &[u8], csum: Csum, rewrite: &Rewrite) -> Result<Vec<u8>, Unapplied> {
    let mut frame = frame(&mut pool(), bytes, csum);
    let result = rewrite.apply(&mut frame, &layers(bytes));
    assert_eq!(frame.offload.csum, csum);
    assert!(result.is_ok() || frame.data() == bytes, "a refusal changed the frame");
    result.map(|()| frame.data().to_vec())
}

proptest! {
    #[test]
    fn a_rewritten_packet_is_the_one_built_for_the_new_tuple(
        (old, new) in tuple_pairs(), shape in shapes()
    ) {
        let rewrite = Rewrite::between(&old, &new).unwrap();
        let result = rewritten(&packet(&old, &shape), Csum::None, &rewrite).unwrap();
        prop_assert_eq!(&result, &packet(&new, &shape));
        let back = Rewrite::between(&new, &old).unwrap();
        prop_assert_eq!(rewritten(&result, Csum::Valid, &back).unwrap(), packet(&old, &shape));
    }

    #[test]
    fn a_router_also_takes_a_hop(
        (old, new) in tuple_pairs(), shape in shapes()
    ) {
        let rewrite = Rewrite::between(&old, &new).unwrap().taking_a_hop();
        let result = rewritten(&packet(&old, &shape), Csum::None, &rewrite).unwrap();
        prop_assert_eq!(result, packet(&new, &Shape { hops: shape.hops - 1, ..shape }));
    }

    #[test]
    fn a_half_done_checksum_stays_half_done(
        (old, new) in tuple_pairs(), shape in shapes()
    ) {
        let layers = layers(&packet(&old, &shape));
        if layers.checksum_offset().is_none() && layers.protocol != protocol::SCTP {
            return Ok(());
        }
        let (before, csum) = half_done(packet(&old, &shape));
        let rewrite = Rewrite::between(&old, &new).unwrap();
        let (after, _) = half_done(packet(&new, &shape));
        prop_assert_eq!(rewritten(&before, csum, &rewrite).unwrap(), after);
    }

    #[test]
    fn fragments_are_rewritten_with_and_without_ports(
        (old, new) in tuple_pairs(), id: u16, payload in prop::collection::vec(any::<u8>(), 40..200)
    ) {
        if old.protocol == protocol::SCTP {
            return Ok(());
        }
        let shape = Shape::plain(&payload);
        let rewrite = Rewrite::between(&old, &new).unwrap();
        let after = fragments(&new, &shape, id.into(), 24);
        for (before, after) in fragments(&old, &shape, id.into(), 24).iter().zip(&after) {
            prop_assert_eq!(&rewritten(before, Csum::None, &rewrite).unwrap(), after);
        }
    }

    #[test]
    fn a_rewrite_never_panics_on_a_frame_that_it_was_not_made_for(
        (old, new) in tuple_pairs(), (other, _) in tuple_pairs(), shape in shapes(), cut: usize
    ) {
        let bytes = packet(&other, &shape);
        let layers = layers(&bytes);
        let mut frame = frame(&mut pool(), &bytes[..cut % bytes.len()], Csum::None);
        let _ = Rewrite::between(&old, &new).unwrap().taking_a_hop().apply(&mut frame, &layers);
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    for kind in [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::SCTP] {
        let (old, new) = masquerade(kind);
        let (mut before, mut after) =
            (packet(&old, &Shape::plain(b"data")), packet(&new, &Shape::plain(b"data")));
        *before.last_mut().unwrap() ^= 0x10;
        *after.last_mut().unwrap() ^= 0x10;
        let rewrite = Rewrite::between(&old, &new).unwrap();
        assert_eq!(rewritten(&before, Csum::None, &rewrite), Ok(after));
    }
}

#[test]
fn a_udp_datagram_without_a_checksum_gets_none() {
    let (old, new) = masquerade(protocol::UDP);
    let without = |tuple| {
        let mut bytes = packet(tuple, &Shape::plain(b"data"));
        put_be16(&mut bytes, 40, 0);
        bytes
    };
    let rewrite = Rewrite::between(&old, &new).unwrap();
    assert_eq!(rewritten(&without(&old), Csum::None, &rewrite), Ok(without(&new)));
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    let (old, mut new) = masquerade(protocol::UDP);
    let bytes = packet(&old, &Shape::plain(b"data"));
    // The one source port that makes the checksum zero.
    let checksum = be16(&bytes, 40).unwrap();
    new.source.ip = old.source.ip;
    new.source.port = fold(u64::from(checksum) + u64::from(old.source.port));
    let result = rewritten(&bytes, Csum::None, &Rewrite::between(&old, &new).unwrap()).unwrap();
    assert_eq!(be16(&result, 40), Some(0xffff));
    assert_eq!(result, packet(&new, &Shape::plain(b"data")));
}

#[test]
fn a_super_frame_is_rewritten_like_any_other() {
    let (old, new) = masquerade(protocol::TCP);
    let shape = Shape::plain(&vec![7; 60_000]);
    let (before, csum) = half_done(packet(&old, &shape));
    let mut frame = frame(&mut pool(), &before, csum);
    frame.offload.gso = Gso::Tcp4 { mss: 1448 };
    Rewrite::between(&old, &new).unwrap().apply(&mut frame, &layers(&before)).unwrap();
    assert_eq!(frame.offload.gso, Gso::Tcp4 { mss: 1448 });
    assert!(offload::checksum::complete(&mut frame));
    assert_eq!(frame.data(), packet(&new, &shape));
}

#[test]
fn a_checksum_that_is_half_done_inside_a_tunnel_leaves_the_outer_one_full() {
    let (old, new) = masquerade(protocol::UDP);
    let shape = Shape::plain(&[1; 60]);
    let csum = Csum::Partial { start: 78, offset: 16 };
    let rewrite = Rewrite::between(&old, &new).unwrap();
    assert_eq!(rewritten(&packet(&old, &shape), csum, &rewrite), Ok(packet(&new, &shape)));
}

#[test]
fn udp_lite_is_translated_by_address_with_its_checksum() {
    let (mut old, mut new) = (masquerade(136).0, masquerade(136).1);
    (old.source.port, old.destination.port) = (0, 0);
    (new.source.port, new.destination.port) = (0, 0);
    // The checksum covers the header only, and UDP's oracle serves for that: protocol 136 instead of 17.
    let body = |tuple: &Tuple| {
        let mut bytes = raw(tuple, &Shape::plain(&[]), &[0x12, 0x34, 0, 80, 0, 8, 0, 0]);
        let layers = layers(&bytes);
        let total = pseudo_header(&bytes, &layers, 8).unwrap() + sum(&bytes[34..42]);
        put_be16(&mut bytes, 40, finish(total));
        bytes
    };
    let rewrite = Rewrite::between(&old, &new).unwrap();
    assert_eq!(rewritten(&body(&old), Csum::None, &rewrite), Ok(body(&new)));
}

#[test]
fn the_last_hop_is_not_taken() {
    let (old, new) = masquerade(protocol::TCP);
    let rewrite = Rewrite::between(&old, &new).unwrap().taking_a_hop();
    for hops in [0, 1] {
        let bytes = packet(&old, &Shape { hops, ..Shape::plain(b"") });
        assert_eq!(rewritten(&bytes, Csum::None, &rewrite), Err(Unapplied::HopLimit));
    }
}

#[test]
fn taking_a_hop_twice_takes_one() {
    let (old, new) = masquerade(protocol::TCP);
    let once = Rewrite::between(&old, &new).unwrap().taking_a_hop();
    assert_eq!(once.taking_a_hop(), once);
}

#[test]
fn an_sctp_fragment_is_translated_by_address_only() {
    let (old, new) = masquerade(protocol::SCTP);
    let shape = Shape::plain(&[3; 100]);
    let [first, _] = fragments(&old, &shape, 7, 24);
    let rewrite = Rewrite::between(&old, &new).unwrap();
    assert_eq!(rewritten(&first, Csum::None, &rewrite), Err(Unapplied::SctpFragment));
    let same_ports = Tuple { source: crate::Endpoint { port: 4000, ..new.source }, ..new };
    let rewrite = Rewrite::between(&old, &same_ports).unwrap();
    let [expected, _] = fragments(&same_ports, &shape, 7, 24);
    assert_eq!(rewritten(&first, Csum::None, &rewrite), Ok(expected));
}

#[test]
fn there_is_no_rewrite_between_protocols_or_ip_versions() {
    let (old, new) = masquerade(protocol::TCP);
    assert_eq!(Rewrite::between(&old, &Tuple { protocol: protocol::UDP, ..new }), None);
    let v6 = tuple(protocol::TCP, ([1; 16], 1), ([2; 16], 2));
    assert_eq!(Rewrite::between(&old, &v6), None);
    let mixed = Tuple { destination: v6.destination, ..old };
    assert_eq!(Rewrite::between(&mixed, &mixed), None);
}

#[test]
fn rfc5508_req_1_an_echo_changes_its_identifier() {
    let (old, new) = masquerade(protocol::ICMP);
    // A mapping changes the source; the destination's copy of the identifier need not be told.
    let only_source = Tuple { destination: old.destination, ..new };
    let shape = Shape::plain(b"ping");
    let rewrite = Rewrite::between(&old, &only_source).unwrap();
    assert_eq!(rewritten(&packet(&old, &shape), Csum::None, &rewrite), Ok(packet(&new, &shape)));
}
