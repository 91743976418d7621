//! A server, as a client that reads by itself sees it.

use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const OWN: [u8; 4] = [10, 1, 0, 7];
const SERVER: [u8; 4] = [10, 1, 0, 1];

fn lease() -> Lease {
    Lease {
        mac: MacAddr(MAC),
        address: OWN.into(),
        prefix_len: 20,
        server: SERVER.into(),
        router: Some(SERVER.into()),
        resolver: Some(SERVER.into()),
        domain: "web".to_owned(),
        mtu: 1400,
        routes: vec![("10.9.0.0/22".parse().unwrap(), Ipv4Addr::new(10, 1, 0, 9))],
    }
}

/// A client's message of a kind, with its own address if it has one, and these options.
fn message(kind: u8, used: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&[1, 2, 3, 4]);
    message[12..16].copy_from_slice(&used);
    message[28..34].copy_from_slice(&MAC);
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    for (option, data) in [(53, &[kind][..])].iter().chain(options) {
        message.extend([*option, u8::try_from(data.len()).unwrap()]);
        message.extend(*data);
    }
    message.push(255);
    message
}

/// The options of a message, by an own reading of it.
fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut found, mut at) = (Vec::new(), 240);
    while message[at] != 255 {
        let bytes = usize::from(message[at + 1]);
        found.push((message[at], message[at + 2..at + 2 + bytes].to_vec()));
        at += 2 + bytes;
    }
    found.sort();
    found
}

fn answered(verdict: Verdict) -> (Vec<u8>, Ipv4Addr) {
    match verdict {
        Verdict::Answer { message, to } => (message, to),
        other => panic!("{other:?}"),
    }
}

/// The kind of the answer, and the address that it gives.
fn said(verdict: Verdict) -> (u8, [u8; 4]) {
    let (message, _) = answered(verdict);
    let kind = options(&message).into_iter().find(|(option, _)| *option == 53).unwrap().1[0];
    (kind, message[16..20].try_into().unwrap())
}

#[test]
fn whoever_looks_for_a_server_is_offered_his_ports_address_and_all_that_belongs_to_it() {
    let (offer, to) = answered(attend(&message(1, [0; 4], &[(61, b"\0me")]), &lease()));
    assert_eq!(to, Ipv4Addr::from(OWN));
    assert!(offer.len() >= 300);
    assert_eq!((&offer[..8], &offer[28..34]), (&[2, 1, 6, 0, 1, 2, 3, 4][..], &MAC[..]));
    assert_eq!(offer[16..20], OWN);
    let routes = vec![0, 10, 1, 0, 1, 22, 10, 9, 0, 10, 1, 0, 9];
    let expected = [
        (1, vec![255, 255, 240, 0]),
        (3, SERVER.to_vec()),
        (6, SERVER.to_vec()),
        (15, b"web".to_vec()),
        (26, 1400u16.to_be_bytes().to_vec()),
        (51, 3600u32.to_be_bytes().to_vec()),
        (53, vec![2]),
        (54, SERVER.to_vec()),
        (58, 1800u32.to_be_bytes().to_vec()),
        (59, 3150u32.to_be_bytes().to_vec()),
        (61, b"\0me".to_vec()),
        (121, routes),
    ];
    assert_eq!(options(&offer), expected);
}

#[test]
fn a_request_is_granted_for_the_ports_address_and_refused_for_any_other() {
    let (other, ours): ([u8; 4], &[u8]) = ([10, 1, 0, 8], &SERVER);
    let nothing = [0; 4];
    for (used, options, expected) in [
        (nothing, &[(50u8, &OWN[..]), (54, ours)][..], Some((5, OWN))), // selecting
        (nothing, &[(50, &other), (54, ours)], Some((6, nothing))),
        (nothing, &[(50, &OWN), (54, &other)], None), // has chosen another server
        (nothing, &[(50, &OWN)], Some((5, OWN))),     // rebooting
        (nothing, &[(50, &[192, 0, 2, 7])], Some((6, nothing))), // from another network
        (OWN, &[], Some((5, OWN))),                   // renewing, rebinding
        (other, &[], Some((6, nothing))),
        (nothing, &[], None),
    ] {
        let verdict = attend(&message(3, used, options), &lease());
        match expected {
            Some(expected) => assert_eq!(said(verdict), expected, "{used:?} {options:?}"),
            None => assert_eq!(verdict, Verdict::Silence, "{used:?} {options:?}"),
        }
    }
}

#[test]
fn an_answer_goes_where_the_client_can_hear_it() {
    let mut shy = message(1, [0; 4], &[]);
    shy[10] = 0x80;
    for (message, expected) in [
        (message(1, [0; 4], &[]), OWN),
        (shy, [255; 4]),
        (message(3, OWN, &[]), OWN),
        (message(3, [10, 1, 0, 8], &[]), [255; 4]), // a refusal
        (message(8, [10, 1, 0, 99], &[]), [10, 1, 0, 99]),
    ] {
        assert_eq!(answered(attend(&message, &lease())).1, Ipv4Addr::from(expected));
    }
}

#[test]
fn who_informs_himself_is_told_all_but_an_address_and_a_refusal_tells_nothing() {
    let (informed, _) = answered(attend(&message(8, [10, 1, 0, 99], &[]), &lease()));
    let kinds = |message: &[u8]| options(message).iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    assert_eq!(kinds(&informed), [1, 3, 6, 15, 26, 53, 54, 121]);
    assert_eq!(informed[16..20], [0; 4]);
    let (refused, _) = answered(attend(&message(3, [10, 1, 0, 8], &[]), &lease()));
    assert_eq!(kinds(&refused), [53, 54]);
}

#[test]
fn what_is_not_the_containers_question_is_not_answered() {
    let good = message(1, [0; 4], &[]);
    for (at, value) in [(0, 2), (1, 6), (2, 8), (24, 10), (33, 8), (236, 0), (240, 52), (242, 5)] {
        let mut changed = good.clone();
        changed[at] = value;
        assert_eq!(attend(&changed, &lease()), Verdict::Silence, "byte {at}");
    }
    assert_eq!(attend(&message(7, OWN, &[(54, &SERVER)]), &lease()), Verdict::Silence); // released
    assert_eq!(attend(&message(4, [0; 4], &[(50, &OWN)]), &lease()), Verdict::Declined);
    assert_eq!(attend(&message(4, [0; 4], &[(50, &SERVER)]), &lease()), Verdict::Silence);
    for length in 0..good.len() - 1 {
        assert_eq!(attend(&good[..length], &lease()), Verdict::Silence, "{length} bytes");
    }
}

#[test]
fn an_internal_network_has_no_router_and_routes_for_which_there_is_no_room_are_left_out() {
    let routes = (0..=99).map(|net| (format!("10.{net}.0.0/16").parse().unwrap(), OWN.into()));
    let lease = Lease { router: None, resolver: None, routes: routes.collect(), ..lease() };
    let (offer, _) = answered(attend(&message(1, [0; 4], &[]), &lease));
    let options = options(&offer);
    assert!(options.iter().all(|(kind, _)| ![3, 6].contains(kind)));
    let routes = &options.iter().find(|(kind, _)| *kind == 121).unwrap().1;
    assert_eq!((routes.len(), &routes[..3]), (252, &[16, 10, 0][..]));
}

proptest! {
    #[test]
    fn no_message_does_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        is_shaped in any::<bool>(),
    ) {
        let shape = message(1, [0; 4], &[]);
        if is_shaped && bytes.len() > shape.len() {
            bytes[..shape.len() - 1].copy_from_slice(&shape[..shape.len() - 1]);
        }
        if let Verdict::Answer { message, .. } = attend(&bytes, &lease()) {
            prop_assert_eq!(&message[4..8], &bytes[4..8]);
            options(&message);
        }
    }
}

#[test]
fn a_message_is_no_longer_than_the_client_takes_and_routes_are_what_is_left_out() {
    let routes = (0..40).map(|at| (format!("10.{at}.0.0/16").parse().unwrap(), OWN.into()));
    let long = Lease { routes: routes.collect(), domain: "d".repeat(32), ..lease() };
    let id = [7; 128];
    let with_id = [(61u8, &id[..])];
    let told = |asked: &[(u8, &[u8])]| {
        let (offer, _) = answered(attend(&message(1, [0; 4], asked), &long));
        let found = options(&offer).into_iter().find(|(kind, _)| *kind == 121);
        (offer.len(), found.map_or(0, |(_, routes)| routes.len()))
    };
    let (plain, all) = told(&[]);
    assert!(plain <= 548 && all > 200, "{plain} {all}");
    let (short, some) = told(&with_id);
    assert!(short <= 548 && some > 0 && some < all, "{short} {some}");
    let ample = [with_id[0], (57, &[5, 220])];
    let (whole, again) = told(&ample);
    assert!(whole > 548 && again > all, "{whole} {again}");
    // Nobody takes less than 576 bytes, whatever he says.
    assert_eq!(told(&[(57, &[0, 1])]), (plain, all));
}
