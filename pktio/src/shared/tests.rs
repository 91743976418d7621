use super::*;
use crate::bpf::ProgramKind;
use crate::wire::MacAddr;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(last: u8) -> IpAddr {
    Ipv6Addr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]).into()
}

fn claims() -> Claims {
    let mut claims = Claims::default();
    for address in [v4(1), v6(1)] {
        claims.add(address, 6, 80..=81);
        claims.add(address, 17, 0..=0);
        claims.add(address, 17, 65535..=65535);
        claims.add(address, 132, 1..=9);
        claims.add(address, if address.is_ipv4() { 1 } else { 58 }, 2..=3);
    }
    claims
}

fn ethernet(ipv4: bool, mac: MacAddr) -> Vec<u8> {
    let kind = if ipv4 { [8, 0] } else { [0x86, 0xdd] };
    [&mac.0[..], &[2, 0, 0, 0, 0, 9], &kind].concat()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// What precedes the transport header: options, or extension headers by their numbers.
#[derive(Debug, Clone)]
struct Head {
    source: IpAddr,
    destination: IpAddr,
    words: u8,
    extensions: Vec<u8>,
    fragment: Option<(u16, bool, u32)>,
    protocol: u8,
}

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let (offset, more, id) = self.fragment.unwrap_or((0, false, 7));
        if self.source.is_ipv4() {
            let field = offset | if more { 0x2000 } else { 0 } | 0x4000;
            let [id, field] = [id.to_be_bytes()[2..].to_vec(), field.to_be_bytes().to_vec()];
            let mut head = [&[0x45 + self.words, 0, 0, 0], &id[..], &field].concat();
            head.extend([64, self.protocol, 0, 0]);
            head.extend(octets(self.source));
            head.extend(octets(self.destination));
            head.extend(vec![1; usize::from(self.words) * 4]);
            return head;
        }
        let mut numbers: Vec<u8> = self.extensions.clone();
        numbers.extend(self.fragment.map(|_| 44));
        numbers.push(self.protocol);
        let mut head = vec![0x60, 0, 0, 0, 0, 0, numbers[0], 64];
        head.extend(octets(self.source));
        head.extend(octets(self.destination));
        for pair in numbers.windows(2) {
            if pair[0] == 44 {
                let field = offset << 3 | u16::from(more);
                head.extend([pair[1], 0]);
                head.extend(field.to_be_bytes());
                head.extend(id.to_be_bytes());
            } else {
                head.extend([pair[1], self.words % 3]);
                head.extend(vec![0; usize::from(self.words % 3) * 8 + 6]);
            }
        }
        head
    }
}

fn host(ipv4: bool) -> impl Strategy<Value = IpAddr> {
    (1u8..3).prop_map(move |last| if ipv4 { v4(last) } else { v6(last) })
}

fn head(ipv4: bool) -> impl Strategy<Value = Head> {
    let fragment = prop::option::weighted(
        0.3,
        (prop_oneof![Just(0u16), Just(1), Just(0x1fff)], any::<bool>(), 0u32..3),
    );
    let protocol = prop_oneof![Just(6u8), Just(17), Just(132), Just(1), Just(58), any::<u8>()];
    let extensions =
        prop::collection::vec(prop_oneof![Just(0u8), Just(43), Just(60), Just(44)], 0..10);
    let extensions = prop_oneof![Just(Vec::new()), extensions];
    (host(ipv4), host(ipv4), 0u8..4, extensions, fragment, protocol).prop_map(
        |(source, destination, words, extensions, fragment, protocol)| {
            // A fragment header among the extensions would need bytes of its own.
            let extensions = extensions.into_iter().filter(|number| *number != 44).collect();
            Head { source, destination, words, extensions, fragment, protocol }
        },
    )
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(0u16),
        Just(2),
        Just(3),
        Just(9),
        Just(80),
        Just(82),
        Just(65535),
        any::<u16>()
    ]
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    any::<bool>().prop_flat_map(|ipv4| {
        let kinds =
            prop_oneof![Just(0u8), Just(8), Just(129), Just(1), Just(3), Just(11), any::<u8>()];
        let parts = (head(ipv4), head(ipv4), port(), port(), kinds);
        (parts, prop::bool::weighted(0.9), prop::option::weighted(0.2, 0usize..150)).prop_map(
            move |((outer, inner, one, two, kind), is_ours, cut)| {
                let mac = if is_ours { MAC } else { MacAddr([2, 0, 0, 0, 0, 2]) };
                let mut frame = ethernet(ipv4, mac);
                frame.extend(outer.bytes());
                let ports = [one.to_be_bytes(), two.to_be_bytes()].concat();
                if matches!(outer.protocol, 1 | 58) {
                    frame.extend([kind, 0, 0, 0]);
                    frame.extend(&ports);
                    frame.extend(inner.bytes());
                    frame.extend([&ports[..], &ports].concat());
                } else {
                    frame.extend([&ports[..], &[0; 12]].concat());
                }
                // The kernel runs programs over no less than an IP header.
                let least = if ipv4 { 34 } else { 54 };
                frame.truncate(cut.map_or(frame.len(), |cut| cut.max(least)));
                frame
            },
        )
    })
}

fn sharing() -> Sharing {
    let sharing = Sharing::new(MAC).unwrap();
    sharing.claim(&claims()).unwrap();
    sharing
}

#[test]
fn the_program_is_what_the_model_says_of_each_kind_of_packet() {
    let program = sharing().classifier().unwrap();
    let (ours, other) = (v4(1), v4(2));
    let to = |destination, protocol, rest: &[u8]| {
        let head = Head {
            source: other,
            destination,
            words: 0,
            extensions: Vec::new(),
            fragment: None,
            protocol,
        };
        [ethernet(true, MAC), head.bytes(), rest.to_vec()].concat()
    };
    let quote = |source, port: u8| {
        let head = Head {
            source,
            destination: other,
            words: 0,
            extensions: Vec::new(),
            fragment: None,
            protocol: 6,
        };
        [&[3, 1, 0, 0, 0, 0, 0, 0], &head.bytes()[..], &[0, port, 9, 9, 0, 0, 0, 0]].concat()
    };
    let port = |port: u8| [9, 9, 0, port, 0, 0, 0, 0];
    for (frame, expected) in [
        (to(ours, 6, &port(80)), true),
        (to(ours, 6, &port(82)), false),
        (to(other, 6, &port(80)), false),
        (to(ours, 17, &port(80)), false),
        (to(ours, 1, &[0, 0, 0, 0, 0, 2, 0, 0]), true),
        (to(ours, 1, &[8, 0, 0, 0, 0, 2, 0, 0]), false),
        (to(ours, 1, &quote(ours, 80)), true),
        (to(ours, 1, &quote(ours, 79)), false),
        (to(ours, 1, &quote(other, 80)), false),
    ] {
        let decided = claims().take(MAC, &frame, &mut Fragments::default(), 0);
        assert_eq!(decided, expected, "{frame:02x?}");
        assert_eq!(program.run(&frame).unwrap() == 2, expected, "{frame:02x?}");
    }
}

/// A TCP segment to a port of ours, or a piece of one.
fn segment(port: u8, fragment: Option<(u16, bool, u32)>) -> Vec<u8> {
    let (source, destination, extensions) = (v4(2), v4(1), Vec::new());
    let head = Head { source, destination, words: 0, extensions, fragment, protocol: 6 };
    [&ethernet(true, MAC)[..], &head.bytes(), &[9, 9, 0, port, 0, 0, 0, 0]].concat()
}

#[test]
fn later_fragments_go_where_the_last_first_one_went() {
    let program = sharing().classifier().unwrap();
    let mut fragments = Fragments::default();
    let piece = |port, offset| segment(port, Some((offset, true, 5)));
    for (frame, expected) in
        [(piece(80, 0), true), (piece(0, 1), true), (piece(82, 0), false), (piece(0, 1), false)]
    {
        assert_eq!(claims().take(MAC, &frame, &mut fragments, 0), expected, "{frame:02x?}");
        assert_eq!(program.run(&frame).unwrap() == 2, expected, "{frame:02x?}");
    }
}

#[test]
fn to_narrow_gives_up_and_takes_nothing() {
    let sharing = sharing();
    let program = sharing.classifier().unwrap();
    let mut next = Claims::default();
    next.add(v4(1), 6, 81..=90);
    let taken = || {
        let is_taken = |port: &u8| program.run(&segment(*port, None)).unwrap() == 2;
        [80, 81, 85].into_iter().filter(is_taken).collect::<Vec<_>>()
    };
    assert_eq!(taken(), [80, 81]);
    sharing.narrow(&next).unwrap();
    assert_eq!(taken(), [81]);
    sharing.claim(&next).unwrap();
    assert_eq!(taken(), [81, 85]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_program_decides_as_the_model(packets in prop::collection::vec(packet(), 1..12)) {
        // One that is loaded for all: what is remembered of fragments is told apart by the run.
        let (at_tcx, at_xdp) = (sharing().classifier().unwrap(), sharing());
        // XDP_DROP and XDP_PASS.
        let at_xdp = at_xdp.program(ProgramKind::Xdp, 1, 2).unwrap();
        let mut fragments = Fragments::default();
        for frame in &packets {
            let expected = claims().take(MAC, frame, &mut fragments, 0);
            prop_assert_eq!(at_tcx.run(frame).unwrap() == 2, expected, "{:02x?}", frame);
            prop_assert_eq!(at_xdp.run(frame).unwrap() == 1, expected, "{:02x?}", frame);
        }
    }

    #[test]
    fn what_two_claim_is_what_each_of_them_does(ports: [u16; 4], port: u16) {
        let (mut one, mut two) = (claims(), claims());
        one.add(v4(1), 6, ports[0].min(ports[1])..=ports[0].max(ports[1]));
        two.add(v4(1), 6, ports[2].min(ports[3])..=ports[2].max(ports[3]));
        two.add(v4(9), 6, 1..=1);
        let both = one.in_common(&two);
        prop_assert_eq!(both.has(v4(1), 6, port), one.has(v4(1), 6, port) && two.has(v4(1), 6, port));
        prop_assert!(!both.has(v4(9), 6, 1));
    }
}
