//! Segmentation and checksums against an independent oracle: every frame that comes out is taken apart by
//! `etherparse`, and its checksum computed by it.

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::wire::checksum::{fold, pseudo_header};
use crate::wire::field::put_be16;
use crate::wire::{Layers, checksum as sums};
use crate::{Burst, Pool, PoolConfig};

#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
}

/// A super-frame as a container's kernel hands it out: lengths of the whole, checksum half done.
fn super_frame(kind: Kind, payload: &[u8], segment: u16, pool: &mut Pool) -> PktBuf {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut bytes = Vec::new();
    let v4 = |b: etherparse::PacketBuilderStep<etherparse::Ethernet2Header>| {
        b.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
    };
    let v6 = |b: etherparse::PacketBuilderStep<etherparse::Ethernet2Header>| {
        b.ipv6([1; 16], [2; 16], 64)
    };
    match kind {
        Kind::Tcp4 => {
            v4(ethernet).tcp(1, 2, 1000, 500).psh().fin().ack(7).write(&mut bytes, payload)
        }
        Kind::Tcp6 => {
            v6(ethernet).tcp(1, 2, 1000, 500).psh().fin().ack(7).write(&mut bytes, payload)
        }
        Kind::Udp4 => v4(ethernet).udp(1, 2).write(&mut bytes, payload),
        Kind::Udp6 => v6(ethernet).udp(1, 2).write(&mut bytes, payload),
    }
    .unwrap();
    let mut frame = pool.frame_from(&bytes).unwrap();
    let layers = Layers::parse(&bytes).unwrap().unwrap();
    let start = layers.l4;
    let offset = layers.checksum_offset().unwrap();
    let pseudo = pseudo_header(&bytes, &layers, bytes.len() - usize::from(start)).unwrap();
    put_be16(frame.data_mut(), usize::from(start + offset), fold(pseudo));
    frame.offload.csum = Csum::Partial { start, offset };
    frame.offload.gso = match kind {
        Kind::Tcp4 => Gso::Tcp4 { mss: segment },
        Kind::Tcp6 => Gso::Tcp6 { mss: segment },
        Kind::Udp4 | Kind::Udp6 => Gso::Udp { size: segment },
    };
    frame
}

fn pool() -> Pool {
    Pool::new(PoolConfig { small: 2048, slabs: 32 }).unwrap()
}

/// Payload of a finished segment, after its checksums were verified.
fn checked_payload(frame: &PktBuf) -> Vec<u8> {
    let sliced = SlicedPacket::from_ethernet(frame.data()).unwrap();
    let layers = Layers::parse(frame.data()).unwrap().unwrap();
    assert_eq!(layers.end as usize, frame.len());
    assert_eq!(checksum::verify(frame.data(), &layers), Some(true));
    if let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net {
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    }
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => tcp.payload().to_vec(),
        TransportSlice::Udp(udp) => udp.payload().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Tcp4), Just(Kind::Tcp6), Just(Kind::Udp4), Just(Kind::Udp6)]
}

proptest! {
    #[test]
    fn segments_carry_the_payload_in_order_with_right_headers(
        kind in kinds(), payload in prop::collection::vec(any::<u8>(), 1..20_000), segment in 100u16..9000
    ) {
        let mut pool = pool();
        let frame = super_frame(kind, &payload, segment, &mut pool);
        let mut out = Burst::new();
        fit(frame, &Accepts::PLAIN, &mut pool, &mut out).unwrap();
        let pieces: Vec<_> = out.iter().map(checked_payload).collect();
        prop_assert!(pieces.iter().rev().skip(1).all(|piece| piece.len() == usize::from(segment)));
        prop_assert_eq!(pieces.concat(), payload);
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }

    #[test]
    fn tcp_segments_count_up_and_only_the_last_says_fin(
        v6: bool, payload in prop::collection::vec(any::<u8>(), 1..20_000), segment in 100u16..3000
    ) {
        let mut pool = pool();
        let kind = if v6 { Kind::Tcp6 } else { Kind::Tcp4 };
        let frame = super_frame(kind, &payload, segment, &mut pool);
        let mut out = Burst::new();
        fit(frame, &Accepts::PLAIN, &mut pool, &mut out).unwrap();
        for (number, piece) in out.iter().enumerate() {
            let sliced = SlicedPacket::from_ethernet(piece.data()).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!() };
            let sent = u32::try_from(number).unwrap() * u32::from(segment);
            prop_assert_eq!(tcp.sequence_number(), 1000 + sent);
            let is_last = number + 1 == out.len();
            prop_assert_eq!((tcp.fin(), tcp.psh()), (is_last, is_last));
        }
        pool.recycle_all(&mut out);
    }

    #[test]
    fn a_finished_partial_checksum_is_right(
        kind in kinds(), payload in prop::collection::vec(any::<u8>(), 0..1400)
    ) {
        let mut pool = pool();
        let mut frame = super_frame(kind, &payload, 1400, &mut pool);
        frame.offload.gso = Gso::None;
        prop_assert_eq!(checksum::classify(frame.data()), frame.offload.csum);
        prop_assert!(checksum::complete(&mut frame));
        prop_assert_eq!(frame.offload.csum, Csum::Valid);
        prop_assert_eq!(checked_payload(&frame), payload);
    }

    #[test]
    fn contradicting_state_is_refused_and_nothing_is_lost(
        bytes in prop::collection::vec(any::<u8>(), 0..200), start: u16, offset: u16, mss: u16, which in 0usize..3
    ) {
        let mut pool = pool();
        let mut frame = pool.frame_from(&bytes).unwrap();
        frame.offload.csum = Csum::Partial { start, offset };
        frame.offload.gso = [Gso::Tcp4 { mss }, Gso::Tcp6 { mss }, Gso::Udp { size: mss }][which];
        let mut out = Burst::new();
        if let Err((frame, _)) = fit(frame, &Accepts::PLAIN, &mut pool, &mut out) {
            pool.recycle(frame);
        }
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }
}

proptest! {
    /// What a hostile container can do with a super-frame: headers that are nearly right.
    #[test]
    fn headers_that_lie_are_refused_or_survived_and_nothing_is_lost(
        which in 0usize..4, damage in prop::collection::vec((12usize..80, any::<u8>()), 1..6),
    ) {
        let mut pool = pool();
        let kind = [Kind::Tcp4, Kind::Tcp6, Kind::Udp4, Kind::Udp6][which];
        let mut frame = super_frame(kind, &[7; 3000], 1000, &mut pool);
        for (at, value) in damage {
            frame.data_mut()[at] = value;
        }
        let mut out = Burst::new();
        if let Err((frame, _)) = fit(frame, &Accepts::PLAIN, &mut pool, &mut out) {
            pool.recycle(frame);
        }
        coalesce(&mut out, &mut Burst::new(), &mut pool);
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }
}

/// Found by fuzzing: a later fragment has no transport header, whatever its bytes look like.
#[test]
fn a_super_frame_that_says_it_is_a_fragment_is_refused() {
    for (flags, offset) in [(0x20, 0), (0x00, 1), (0x20, 1)] {
        let mut pool = pool();
        let mut frame = super_frame(Kind::Tcp4, &[7; 3000], 1000, &mut pool);
        let data = frame.data_mut();
        (data[20], data[21]) = (flags, offset);
        data[34 + 12] = 0xf0; // a data offset beyond the packet's end
        put_be16(data, 16, 40);
        let (frame, refusal) =
            fit(frame, &Accepts::PLAIN, &mut pool, &mut Burst::new()).unwrap_err();
        assert_eq!(refusal, Refusal::BadOffload);
        pool.recycle(frame);
    }
}

/// The frames' bytes, and whether their checksum is finished.
fn contents(burst: &Burst) -> Vec<Vec<u8>> {
    burst.iter().map(|frame| frame.data().to_vec()).collect()
}

proptest! {
    #[test]
    fn coalescing_and_segmenting_gives_the_frames_that_went_in(
        v6: bool, mss in 512u16..1460, lengths in prop::collection::vec(1usize..30_000, 1..4),
        finished: bool, disorder in prop::option::of((0usize..40, 0usize..40)),
    ) {
        let mut pool = pool();
        let kind = if v6 { Kind::Tcp6 } else { Kind::Tcp4 };
        let accepts = Accepts { partial_csum: !finished, ..Accepts::PLAIN };
        let mut burst = Burst::new();
        for length in lengths {
            let payload: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut frame = super_frame(kind, &payload, mss, &mut pool);
            frame.data_mut()[if v6 { 54 } else { 34 } + 13] &= !1; // no FIN
            fit(frame, &accepts, &mut pool, &mut burst).unwrap();
        }
        if let Some((a, b)) = disorder {
            let count = burst.len();
            burst.swap(a % count, b % count);
        }
        for frame in burst.iter_mut().filter(|_| finished) {
            frame.offload.csum = Csum::None;
        }
        let before = contents(&burst);
        let merged = coalesce(&mut burst, &mut Burst::new(), &mut pool);
        prop_assert_eq!(burst.len() + merged, before.len());
        let mut out = Burst::new();
        for frame in burst.drain(..) {
            fit(frame, &accepts, &mut pool, &mut out).map_err(|(_, why)| why).unwrap();
        }
        prop_assert_eq!(contents(&out), before);
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }
}

/// The segments of a super-frame, one behind the other, each behind the same gap.
fn in_one_buffer(pool: &mut Pool, kind: Kind, payload: &[u8], mss: u16) -> PktBuf {
    let mut frame = super_frame(kind, payload, mss, pool);
    frame.data_mut()[if matches!(kind, Kind::Tcp6) { 54 } else { 34 } + 13] &= !1; // no FIN
    let mut out = Burst::new();
    fit(frame, &Accepts::PLAIN, pool, &mut out).unwrap();
    let pieces: Vec<_> = out.iter().map(|piece| [b"gap!", piece.data()].concat()).collect();
    pool.recycle_all(&mut out);
    let mut whole = pool.take_slab().unwrap();
    assert!(whole.fill_from(&pieces.concat()));
    whole
}

proptest! {
    #[test]
    fn segments_in_one_buffer_become_a_super_frame_in_place_and_can_be_cut_again(
        v6: bool, mss in 100u16..1460, segments in 2usize..40, rest in 1usize..100
    ) {
        let mut pool = pool();
        let kind = if v6 { Kind::Tcp6 } else { Kind::Tcp4 };
        let bytes = usize::from(mss) * (segments - 1) + rest.min(usize::from(mss));
        let payload: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut frame = in_one_buffer(&mut pool, kind, &payload, mss);
        let before = frame.data().to_vec();
        let unit = 4 + if v6 { 74 } else { 54 } + usize::from(mss);
        prop_assert!(coalesce_in_place(&mut frame, unit, 4));
        prop_assert_eq!(&frame.data()[..4], b"gap!");
        prop_assert!(frame.shrink_front(4));
        let mut out = Burst::new();
        fit(frame, &Accepts::PLAIN, &mut pool, &mut out).map_err(|(_, why)| why).unwrap();
        let after: Vec<_> = out.iter().map(|piece| [b"gap!", piece.data()].concat()).collect();
        prop_assert_eq!(after.concat(), before);
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }

    #[test]
    fn what_is_not_wholly_one_stream_stays_as_it_is_in_its_buffer(
        at in 0usize..1158 * 4, value: u8, unit in 1usize..3000
    ) {
        let mut pool = pool();
        let mut frame = in_one_buffer(&mut pool, Kind::Tcp4, &[7; 1100 * 4], 1100);
        let is_damaged = std::mem::replace(&mut frame.data_mut()[at], value) != value;
        let before = (frame.data().to_vec(), frame.offload);
        let merged = coalesce_in_place(&mut frame, unit, 4);
        prop_assert!(!merged || (unit == 1158 && !is_damaged));
        prop_assert!(merged || (frame.data().to_vec(), frame.offload) == before);
        let mut frame = in_one_buffer(&mut pool, Kind::Udp4, &[7; 1100 * 4], 1100);
        prop_assert!(!coalesce_in_place(&mut frame, 4 + 42 + 1100, 4));
    }
}

#[test]
fn a_wrong_checksum_is_not_merged_and_passes_unchanged() {
    let mut pool = pool();
    let frame = super_frame(Kind::Tcp4, &[5; 5000], 1000, &mut pool);
    let mut burst = Burst::new();
    fit(frame, &Accepts::PLAIN, &mut pool, &mut burst).unwrap();
    burst.iter_mut().for_each(|frame| frame.offload.csum = Csum::None);
    burst[2].data_mut()[100] ^= 1;
    let wrong = burst[2].data().to_vec();
    assert_eq!(coalesce(&mut burst, &mut Burst::new(), &mut pool), 1);
    assert_eq!(burst.len(), 4, "the last one has FIN and stays by itself");
    assert_eq!(burst[1].data(), wrong);
    pool.recycle_all(&mut burst);
}

#[test]
fn a_half_done_checksum_that_is_begun_wrong_is_not_mended_by_merging() {
    let mut pool = pool();
    let frame = super_frame(Kind::Tcp4, &[5; 5000], 1000, &mut pool);
    let mut burst = Burst::new();
    let accepts = Accepts { partial_csum: true, ..Accepts::PLAIN };
    fit(frame, &accepts, &mut pool, &mut burst).unwrap();
    burst[2].data_mut()[34 + 16] ^= 1;
    let wrong = burst[2].data().to_vec();
    assert_eq!(coalesce(&mut burst, &mut Burst::new(), &mut pool), 1);
    assert_eq!(burst[1].data(), wrong);
    pool.recycle_all(&mut burst);
}

#[test]
fn segments_may_keep_half_done_checksums_for_a_port_that_takes_them() {
    let mut pool = pool();
    let frame = super_frame(Kind::Tcp4, &[5; 5000], 1448, &mut pool);
    let mut out = Burst::new();
    let accepts = Accepts { partial_csum: true, ..Accepts::PLAIN };
    fit(frame, &accepts, &mut pool, &mut out).unwrap();
    assert_eq!(out.len(), 4);
    for segment in out.iter() {
        assert_eq!(checksum::classify(segment.data()), segment.offload.csum);
    }
}

#[test]
fn a_port_that_takes_everything_gets_the_super_frame_untouched() {
    let mut pool = pool();
    let frame = super_frame(Kind::Udp6, &[5; 5000], 1200, &mut pool);
    let before = (frame.data().to_vec(), frame.offload);
    let mut out = Burst::new();
    fit(frame, &Accepts::ALL, &mut pool, &mut out).unwrap();
    assert_eq!((out[0].data().to_vec(), out[0].offload), before);
}

#[test]
fn a_super_frame_is_kept_whole_when_buffers_run_out() {
    let mut pool = Pool::new(PoolConfig { small: 2, slabs: 1 }).unwrap();
    let frame = super_frame(Kind::Tcp4, &[5; 9000], 1000, &mut pool);
    let mut out = Burst::new();
    let (frame, refusal) = fit(frame, &Accepts::PLAIN, &mut pool, &mut out).unwrap_err();
    assert_eq!((refusal, frame.len(), out.len()), (Refusal::NoBuffer, 9054, 0));
}

#[test]
fn udp_without_a_checksum_and_fragments_are_never_taken_as_half_done() {
    let mut pool = pool();
    let mut frame = super_frame(Kind::Udp4, &[0; 20], 20, &mut pool);
    put_be16(frame.data_mut(), 34 + 6, 0);
    assert_eq!(checksum::classify(frame.data()), Csum::None);
    let mut frame = super_frame(Kind::Tcp4, &[0; 20], 20, &mut pool);
    frame.data_mut()[20] = 0x20; // more fragments
    assert_eq!(checksum::classify(frame.data()), Csum::None);
}

#[test]
fn cwr_stays_on_the_first_segment_only() {
    let mut pool = pool();
    let mut frame = super_frame(Kind::Tcp4, &[5; 3000], 1000, &mut pool);
    frame.data_mut()[34 + 13] |= 0x80;
    let mut out = Burst::new();
    fit(frame, &Accepts::PLAIN, &mut pool, &mut out).unwrap();
    let cwr: Vec<bool> = out.iter().map(|segment| segment.data()[34 + 13] & 0x80 != 0).collect();
    assert_eq!(cwr, [true, false, false]);
    assert!(out.iter().all(|s| sums::fold(0) == 0 && s.offload.csum == Csum::Valid));
}

/// What a container's own tunnel puts in front of its packets.
#[derive(Debug, Clone, Copy)]
enum Outer {
    /// VXLAN, with or without an outer checksum.
    Vxlan { v6: bool, checksum: bool },
    /// GRE with a checksum: its header is 8 bytes, and an IPv4 packet follows.
    Gre,
    /// IP in IP.
    Ip,
}

/// The same super-frame in a tunnel, as an AF_PACKET socket shows it: outer lengths of the whole, and an outer checksum, if
/// there is one, that nobody has computed.
fn tunnelled(outer: Outer, kind: Kind, payload: &[u8], segment: u16, pool: &mut Pool) -> PktBuf {
    let inner = super_frame(kind, payload, segment, pool);
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 4]);
    let behind = match outer {
        Outer::Vxlan { .. } => [&[8, 0, 0, 0, 0, 0, 42, 0], inner.data()].concat(),
        Outer::Gre => [&[0x80, 0, 8, 0, 0xab, 0xcd, 0, 0], &inner.data()[14..]].concat(),
        Outer::Ip => inner.data()[14..].to_vec(),
    };
    let mut bytes = Vec::new();
    let v4 = |protocol: u8| {
        let header = etherparse::Ipv4Header::new(
            u16::try_from(behind.len()).unwrap(),
            64,
            etherparse::IpNumber(protocol),
            [192, 0, 2, 1],
            [192, 0, 2, 2],
        );
        header.unwrap()
    };
    match outer {
        Outer::Vxlan { v6: false, .. } => {
            let ip = ethernet.ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
            ip.udp(7777, 4789).write(&mut bytes, &behind).unwrap();
        }
        Outer::Vxlan { v6: true, .. } => {
            ethernet.ipv6([3; 16], [4; 16], 64).udp(7777, 4789).write(&mut bytes, &behind).unwrap();
        }
        Outer::Gre | Outer::Ip => {
            bytes.extend([2, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 3, 8, 0]);
            v4(if matches!(outer, Outer::Gre) { 47 } else { 4 }).write(&mut bytes).unwrap();
            bytes.extend(&behind);
        }
    }
    if let Outer::Vxlan { checksum, .. } = outer {
        let at = usize::from(Layers::parse(&bytes).unwrap().unwrap().l4) + 6;
        put_be16(&mut bytes, at, if checksum { 0xdead } else { 0 });
    }
    let mut frame = pool.frame_from(&bytes).unwrap();
    frame.offload = inner.offload;
    let Csum::Partial { start, offset } = inner.offload.csum else { panic!() };
    let start = start + u16::try_from(bytes.len() - inner.len()).unwrap();
    frame.offload.csum = Csum::Partial { start, offset };
    frame.offload.gso = Gso::Tunnel { size: segment };
    pool.recycle(inner);
    frame
}

/// The frame in a tunnel, after what is around it was verified. What was bundled has an outer checksum in any case.
fn taken_out(outer: Outer, frame: &PktBuf, is_bundled: bool) -> Vec<u8> {
    let data = frame.data();
    let layers = Layers::parse(data).unwrap().unwrap();
    assert_eq!(layers.end as usize, frame.len());
    let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
    if layers.network == crate::wire::Network::V4 {
        assert_eq!(sums::finish(sums::sum(&data[l3..l4])), 0);
    }
    let ethernet = |ip: &[u8]| {
        let kind = if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        [&[0; 12][..], &kind, ip].concat()
    };
    match outer {
        Outer::Vxlan { checksum, .. } => {
            assert_eq!(
                usize::from(u16::from_be_bytes([data[l4 + 4], data[l4 + 5]])),
                frame.len() - l4
            );
            let is_there = data[l4 + 6..l4 + 8] != [0, 0];
            assert_eq!(is_there, checksum || is_bundled);
            assert!(!is_there || super::checksum::verify(data, &layers) == Some(true));
            data[l4 + 16..].to_vec()
        }
        Outer::Gre => {
            assert_eq!(sums::finish(sums::sum(&data[l4..])), 0);
            ethernet(&data[l4 + 8..])
        }
        Outer::Ip => ethernet(&data[l4..]),
    }
}

fn outers() -> impl Strategy<Value = Outer> {
    prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(v6, checksum)| Outer::Vxlan { v6, checksum }),
        Just(Outer::Gre),
        Just(Outer::Ip),
    ]
}

proptest! {
    #[test]
    fn a_super_frame_in_a_tunnel_is_cut_with_its_outer_headers(
        outer in outers(),
        kind in kinds(),
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
        segment in 100u16..9000,
        accepts in prop_oneof![Just(Accepts::PLAIN), Just(Accepts::ALL)],
    ) {
        let mut pool = pool();
        let frame = tunnelled(outer, kind, &payload, segment, &mut pool);
        let (mut fitted, mut out) = (Burst::new(), Burst::new());
        fit(frame, &accepts, &mut pool, &mut fitted).unwrap();
        prop_assert!(fitted.iter().all(|frame| accepts.covers(frame.offload)));
        // A bundle is cut by the kernel.
        for frame in fitted.drain(..) {
            fit(frame, &Accepts::PLAIN, &mut pool, &mut out).unwrap();
        }
        let pieces: Vec<_> = out
            .iter()
            .map(|frame| {
                let inner = pool.frame_from(&taken_out(outer, frame, accepts.udp)).unwrap();
                let payload = checked_payload(&inner);
                pool.recycle(inner);
                payload
            })
            .collect();
        prop_assert!(pieces.iter().rev().skip(1).all(|piece| piece.len() == usize::from(segment)));
        prop_assert_eq!(pieces.concat(), payload);
        pool.recycle_all(&mut out);
        prop_assert_eq!(pool.free(), PoolConfig { small: 2048, slabs: 32 });
    }
}

#[test]
fn a_super_frame_in_a_udp_tunnel_leaves_as_a_few_bundles_where_the_kernel_cuts_datagrams() {
    let mut pool = pool();
    let outer = Outer::Vxlan { v6: false, checksum: false };
    let payload = vec![7; 60_000];
    let frame = tunnelled(outer, Kind::Tcp4, &payload, 500, &mut pool);
    let headers = frame.len() - payload.len();
    let mut out = Burst::new();
    fit(frame, &Accepts::ALL, &mut pool, &mut out).unwrap();
    // Those of Ethernet, IP and UDP are there once, the rest in front of every segment.
    let each = headers - 42 + 500;
    assert_eq!(out.iter().map(PktBuf::len).collect::<Vec<_>>(), [42 + 64 * each, 42 + 56 * each]);
    let size = u16::try_from(each).unwrap();
    assert!(out.iter().all(|frame| frame.offload.gso == Gso::Udp { size }));
    // Without room for a bundle it is cut as for any port.
    let frame = tunnelled(outer, Kind::Tcp4, &payload, 500, &mut pool);
    let slabs: Vec<_> = std::iter::from_fn(|| pool.take_slab()).collect();
    let mut cut = Burst::new();
    fit(frame, &Accepts::ALL, &mut pool, &mut cut).unwrap();
    assert!(cut.len() == 120 && cut.iter().all(|frame| frame.offload.gso == Gso::None));
    drop(slabs);
}
