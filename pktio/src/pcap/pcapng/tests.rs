//! What is written is what another implementation reads.

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::blocks::section_header::SectionHeaderOption;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame, by the number of its interface.
#[derive(Debug, Clone)]
struct Shot {
    interface: u32,
    at: Duration,
    way: Way,
    bytes: Vec<u8>,
    more: u32,
    comment: String,
}

fn shot(interfaces: u32) -> impl Strategy<Value = Shot> {
    let way = prop_oneof![Just(Way::Inbound), Just(Way::Outbound)];
    let nanoseconds = 0..u64::MAX;
    (0..interfaces, nanoseconds, way, vec(any::<u8>(), 0..80), 0..100u32, "\\PC{0,20}").prop_map(
        |(interface, nanoseconds, way, bytes, more, comment)| {
            let at = Duration::from_nanos(nanoseconds);
            Shot { interface, at, way, bytes, more, comment }
        },
    )
}

fn shots() -> impl Strategy<Value = (Vec<String>, Vec<Shot>)> {
    vec("[a-z0-9.]{1,20}", 1..4).prop_flat_map(|names| {
        let interfaces = u32::try_from(names.len()).unwrap();
        (Just(names), vec(shot(interfaces), 0..20))
    })
}

fn check_frame(shot: &Shot, block: &Block<'_>) {
    let Block::EnhancedPacket(read) = block else { panic!("no frame: {block:?}") };
    assert_eq!(read.interface_id, shot.interface);
    assert_eq!(read.timestamp, shot.at);
    assert_eq!(read.data, shot.bytes);
    assert_eq!(read.original_len, u32::try_from(shot.bytes.len()).unwrap() + shot.more);
    let way = if shot.way == Way::Inbound { 1 } else { 2 };
    let mut options = vec![EnhancedPacketOption::Flags(way)];
    if !shot.comment.is_empty() {
        options.push(EnhancedPacketOption::Comment(shot.comment.clone().into()));
    }
    assert_eq!(read.options, options);
}

proptest! {
    #[test]
    fn what_is_written_is_read_by_another_implementation((names, shots) in shots()) {
        let mut out = Vec::new();
        let mut section = Pcapng::begin(&mut out, "a test");
        let ids: Vec<_> =
            names.iter().map(|name| section.interface(&mut out, name, 65_535)).collect();
        for shot in &shots {
            section.frame(&mut out, &Captured {
                interface: ids[shot.interface as usize],
                at: shot.at,
                way: shot.way,
                frame_bytes: u32::try_from(shot.bytes.len()).unwrap() + shot.more,
                bytes: &shot.bytes,
                comment: &shot.comment,
            });
        }
        let counted = Statistics { received: shots.len() as u64 + 7, dropped: 7 };
        section.statistics(&mut out, ids[0], Duration::from_secs(9), counted);

        let mut reader = PcapNgReader::new(&out[..]).unwrap();
        let application = vec![SectionHeaderOption::UserApplication("a test".into())];
        prop_assert_eq!(&reader.section().options, &application);
        for name in &names {
            let Block::InterfaceDescription(read) = reader.next_block().unwrap().unwrap() else {
                panic!("no interface")
            };
            prop_assert_eq!(read.linktype, DataLink::ETHERNET);
            prop_assert_eq!(read.snaplen, 65_535);
            prop_assert_eq!(read.options, vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(9),
            ]);
        }
        for shot in &shots {
            check_frame(shot, &reader.next_block().unwrap().unwrap());
        }
        let Block::InterfaceStatistics(read) = reader.next_block().unwrap().unwrap() else {
            panic!("no statistics")
        };
        // The reader takes the halves of the time stamp for one number, in the machine's order.
        prop_assert_eq!((read.interface_id, read.timestamp.rotate_left(32)), (0, 9_000_000_000));
        prop_assert_eq!(read.options, vec![
            InterfaceStatisticsOption::IsbIfRecv(counted.received),
            InterfaceStatisticsOption::IsbIfDrop(counted.dropped),
        ]);
        prop_assert!(reader.next_block().is_none());
    }

    /// A buffer that has something in it already, of any length, does not change what is appended.
    #[test]
    fn blocks_are_the_same_wherever_they_begin(before in 0usize..9, shot in shot(1)) {
        let write = |out: &mut Vec<u8>| {
            let mut section = Pcapng::begin(out, "a test");
            let interface = section.interface(out, "p0", 1);
            let frame_bytes = u32::try_from(shot.bytes.len()).unwrap();
            let Shot { at, way, ref bytes, ref comment, .. } = shot;
            section.frame(out, &Captured { interface, at, way, frame_bytes, bytes, comment });
        };
        let (mut alone, mut behind) = (Vec::new(), vec![0xff; before]);
        write(&mut alone);
        write(&mut behind);
        prop_assert_eq!(&alone[..], &behind[before..]);
    }
}

#[test]
fn a_comment_that_is_too_long_is_cut_and_the_block_stays_whole() {
    let mut out = Vec::new();
    let mut section = Pcapng::begin(&mut out, "a test");
    let interface = section.interface(&mut out, "p0", 100);
    let comment = "x".repeat(70_000);
    let (at, way) = (Duration::ZERO, Way::Inbound);
    section.frame(
        &mut out,
        &Captured { interface, at, way, frame_bytes: 3, bytes: &[1, 2, 3], comment: &comment },
    );
    let mut reader = PcapNgReader::new(&out[..]).unwrap();
    reader.next_block().unwrap().unwrap();
    let Block::EnhancedPacket(read) = reader.next_block().unwrap().unwrap() else { panic!() };
    assert_eq!(read.data.to_vec(), [1, 2, 3]);
    assert!(reader.next_block().is_none());
}
