//! Fragments, put together again by an independent reassembler.

use etherparse::defrag::IpDefragPool;
use etherparse::{Ipv4Header, Ipv4Options, PacketBuilder, SlicedPacket, TransportSlice};
use pktio::wire::checksum::{fold, pseudo_header};
use pktio::{Csum, PoolConfig};
use proptest::prelude::*;

use super::*;

fn pool() -> Pool {
    Pool::new(PoolConfig { small: 2048, slabs: 8 }).unwrap()
}

fn udp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header =
        Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [10, 0, 0, 2], [10, 1, 0, 2]).unwrap();
    header.dont_fragment = false;
    header.identification = 0x1234;
    header.options = Ipv4Options::try_from(options).unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .udp(4000, 53)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn layers(frame: &[u8]) -> Layers {
    Layers::parse(frame).unwrap().unwrap()
}

fn broken(frame: &PktBuf, mtu: usize, pool: &mut Pool) -> Result<Vec<Vec<u8>>, Unbroken> {
    let mut out = Burst::new();
    let copy = pool.copy(frame).unwrap();
    let layers = layers(frame.data());
    let result = fragment(copy, &layers, mtu, pool, &mut out);
    let pieces = out.iter().map(|piece| piece.data().to_vec()).collect();
    assert!(result.is_ok() || out.is_empty());
    result.map(|()| pieces).map_err(|(_, reason)| reason)
}

/// The transport part that a receiver makes of the pieces.
fn reassemble(pieces: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut defrag = IpDefragPool::<(), ()>::new();
    pieces.iter().find_map(|piece| {
        let sliced = SlicedPacket::from_ethernet(piece).unwrap();
        defrag.process_sliced_packet(&sliced, (), ()).unwrap().map(|whole| whole.payload)
    })
}

fn assert_sound(piece: &[u8], mtu: usize) {
    assert!(piece.len() - 14 <= mtu);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&piece[14..]).unwrap().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(header.identification, 0x1234);
}

/// Record route (not copied), router alert and security (copied), in between no-operations.
const OPTIONS: [u8; 16] = [1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 130, 3, 9, 0];

proptest! {
    #[test]
    fn reassembly_gives_the_original(
        payload in prop::collection::vec(any::<u8>(), 1..4000), mtu in 68usize..1500, options: bool
    ) {
        let frame = udp(if options { &OPTIONS } else { &[] }, &payload);
        let mut pool = pool();
        let pieces = broken(&pool.frame_from(&frame).unwrap(), mtu, &mut pool).unwrap();
        pieces.iter().for_each(|piece| assert_sound(piece, mtu));
        if pieces.len() == 1 {
            prop_assert_eq!(&pieces[0], &frame);
        } else {
            let l4 = usize::from(layers(&frame).l4);
            prop_assert_eq!(reassemble(&pieces).unwrap(), &frame[l4..]);
        }
    }

    #[test]
    fn fragments_of_fragments_reassemble_too(
        payload in prop::collection::vec(any::<u8>(), 1000..4000), first in 600usize..900, second in 68usize..500
    ) {
        let frame = udp(&OPTIONS, &payload);
        let mut pool = pool();
        let pieces = broken(&pool.frame_from(&frame).unwrap(), first, &mut pool).unwrap();
        let pieces: Vec<_> = pieces
            .iter()
            .flat_map(|piece| broken(&pool.frame_from(piece).unwrap(), second, &mut pool).unwrap())
            .collect();
        prop_assert_eq!(reassemble(&pieces).unwrap(), &frame[usize::from(layers(&frame).l4)..]);
    }

    #[test]
    fn any_options_are_survived(options in prop::collection::vec(any::<u8>(), 0..10)) {
        let mut header = vec![0x45; 20];
        header.extend(options.iter().flat_map(|byte| [*byte; 4]));
        if let Some((_, bytes)) = later_header(&header) {
            prop_assert!(bytes <= header.len() && bytes % 4 == 0);
        }
    }
}

#[test]
fn only_options_with_the_copied_flag_go_into_later_fragments() {
    let frame = udp(&OPTIONS, &[7; 500]);
    let mut pool = pool();
    let pieces = broken(&pool.frame_from(&frame).unwrap(), 300, &mut pool).unwrap();
    assert_eq!(&pieces[0][34..50], &OPTIONS);
    assert_eq!(&pieces[1][34..42], &[148, 4, 0, 0, 130, 3, 9, 0]);
}

#[test]
fn a_half_done_checksum_is_finished_first() {
    let mut frame = udp(&[], &[7; 500]);
    let expected = frame[34..].to_vec();
    let layers = layers(&frame);
    let pseudo = fold(pseudo_header(&frame, &layers, frame.len() - 34).unwrap());
    put_be16(&mut frame, 40, pseudo);
    let mut pool = pool();
    let mut frame = pool.frame_from(&frame).unwrap();
    frame.offload.csum = Csum::Partial { start: 34, offset: 6 };
    assert_eq!(reassemble(&broken(&frame, 300, &mut pool).unwrap()).unwrap(), expected);
}

#[test]
fn the_dont_fragment_bit_is_respected() {
    let mut frame = udp(&[], &[7; 500]);
    frame[14 + ipv4::FRAGMENT] = 0x40;
    let mut pool = pool();
    let frame = pool.frame_from(&frame).unwrap();
    assert_eq!(broken(&frame, 300, &mut pool), Err(Unbroken::Forbidden));
    assert_eq!(broken(&frame, 528, &mut pool).unwrap().len(), 1, "a packet that fits passes");
}

#[test]
fn what_cannot_be_fragmented_is_given_back_whole() {
    let mut pool = Pool::new(PoolConfig { small: 3, slabs: 0 }).unwrap();
    let frame = pool.frame_from(&udp(&[], &[7; 500])).unwrap();
    let free = pool.free();
    assert_eq!(broken(&frame, 67, &mut pool), Err(Unbroken::BadMtu));
    pool.reclaim();
    assert_eq!(broken(&frame, 68, &mut pool), Err(Unbroken::NoBuffer));
    pool.reclaim();
    assert_eq!(pool.free(), free);
}

#[test]
fn a_super_frame_has_to_be_segmented_first() {
    let mut pool = pool();
    let mut frame = pool.frame_from(&udp(&[], &[7; 5000])).unwrap();
    frame.offload.csum = Csum::Partial { start: 34, offset: 6 };
    frame.offload.gso = Gso::Udp { size: 1000 };
    assert_eq!(broken(&frame, 1500, &mut pool), Err(Unbroken::BadPacket));
}

#[test]
fn ports_are_in_the_first_fragment_only() {
    let frame = udp(&[], &[7; 500]);
    let mut pool = pool();
    let pieces = broken(&pool.frame_from(&frame).unwrap(), 300, &mut pool).unwrap();
    assert_eq!(layers(&pieces[0]).ports(&pieces[0]), Some((4000, 53)));
    assert_eq!(layers(&pieces[1]).ports(&pieces[1]), None);
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    assert!(matches!(sliced.transport, Some(TransportSlice::Udp(_))));
}
