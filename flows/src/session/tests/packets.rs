//! Reading TCP headers, with etherparse as the oracle.

use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};
use pktio::wire::Layers;
use proptest::prelude::*;

use super::super::{Packet, Segment};

fn options() -> impl Strategy<Value = Vec<TcpOptionElement>> {
    let option = prop_oneof![
        Just(TcpOptionElement::Noop),
        (0u16..9000).prop_map(TcpOptionElement::MaximumSegmentSize),
        (0u8..=14).prop_map(TcpOptionElement::WindowScale),
        Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
        any::<(u32, u32)>().prop_map(|(a, b)| TcpOptionElement::Timestamp(a, b)),
    ];
    prop::collection::vec(option, 0..4)
}

prop_compose! {
    fn header()(
        numbers in any::<(u16, u16, u32, u32, u16)>(),
        flags in any::<[bool; 6]>(),
        options in options(),
    ) -> TcpHeader {
        let (source, destination, sequence, acknowledgment, window) = numbers;
        let mut header = TcpHeader::new(source, destination, sequence, window);
        header.acknowledgment_number = acknowledgment;
        [header.fin, header.syn, header.rst, header.psh, header.ack, header.urg] = flags;
        header.set_options(&options).expect("four options fit");
        header
    }
}

proptest! {
    #[test]
    fn a_segment_is_what_its_header_says(
        header in header(),
        is_v6: bool,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        padding in 0usize..20,
    ) {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if is_v6 {
            ethernet.ipv6([1; 16], [2; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut frame = Vec::new();
        ip.tcp_header(header.clone()).write(&mut frame, &payload).unwrap();
        frame.resize(frame.len() + padding, 0);
        let layers = Layers::parse(&frame).unwrap().unwrap();
        let scale = header.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::WindowScale(shift)) => Some(shift),
            _ => None,
        });
        let flags = [header.fin, header.syn, header.rst, header.psh, header.ack, header.urg];
        let expected = Segment {
            sequence: header.sequence_number,
            acknowledgment: header.acknowledgment_number,
            flags: flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)),
            window: header.window_size,
            length: u32::try_from(payload.len()).unwrap(),
            scale: scale.filter(|_| header.syn),
        };
        let packet = Packet::of(&frame, &layers);
        prop_assert_eq!(packet.segment, Some(expected));
        prop_assert_eq!(packet.bytes as usize, frame.len());
    }

    #[test]
    fn options_of_any_kind_are_survived(
        options in prop::collection::vec(any::<u8>(), 0..40),
        is_syn: bool,
    ) {
        let mut header = TcpHeader::new(1, 2, 3, 4);
        header.syn = is_syn;
        let mut raw = options;
        raw.resize(raw.len().div_ceil(4) * 4, 0);
        header.set_options_raw(&raw).unwrap();
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([1; 4], [2; 4], 64);
        ip.tcp_header(header).write(&mut frame, &[]).unwrap();
        let layers = Layers::parse(&frame).unwrap().unwrap();
        let scale = Segment::of(&frame, &layers).unwrap().scale;
        prop_assert!(scale.is_none_or(|shift| is_syn && shift <= 14));
    }
}

#[test]
fn a_packet_without_tcp_has_no_segment() {
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([1; 4], [2; 4], 64);
    ip.udp(1, 2).write(&mut frame, &[0; 30]).unwrap();
    let layers = Layers::parse(&frame).unwrap().unwrap();
    assert_eq!(
        Packet::of(&frame, &layers),
        Packet { bytes: 72, segment: None, is_equivocal: false }
    );
}
