//! Who gets which session: round robin against a model, and what every choice keeps to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const THREE: Endurance = Endurance { failures: 1, rest_seconds: 10 };

fn tuple(client: u8, port: u16) -> Tuple {
    let source = Endpoint::new(Ipv4Addr::new(10, 9, 0, client), port);
    Tuple { protocol: 6, source, destination: Endpoint::new(Ipv4Addr::new(10, 96, 0, 1), 80) }
}

fn service(states: &[(bool, bool)], affinity_seconds: Option<u32>, is_maglev: bool) -> Service {
    let backend = |(number, (is_draining, is_down)): (u16, &(bool, bool))| {
        let health = Arc::new(Health::default());
        if *is_down {
            health.check(Err(Fault::Silent), Thresholds { fall: 1, rise: 1 }, Seconds(0));
        }
        let [high, low] = number.to_be_bytes();
        let endpoint = Endpoint::new(Ipv4Addr::new(10, 0, high, low), 80);
        Backend { endpoint, bridge: BridgeIndex(0), number, is_draining: *is_draining, health }
    };
    let backends: Box<[Backend]> = (0..).zip(states).map(backend).collect();
    let endpoints: Vec<_> = backends.iter().map(|backend| backend.endpoint).collect();
    let balance = match is_maglev {
        true => Balance::Maglev(Arc::new(Maglev::new(&endpoints))),
        false => Balance::RoundRobin(Arc::default()),
    };
    let (usage, vip) = (Arc::new(Usage::of(1)), tuple(1, 1).destination);
    Service {
        usage,
        protocol: 6,
        vip,
        on: None,
        backends,
        balance,
        affinity_seconds,
        endurance: THREE,
        is_checked: false,
    }
}

fn numbers(service: &Service) -> Vec<u16> {
    let taking = service.backends.iter().filter(|backend| backend.takes(Seconds(1)));
    taking.map(|backend| backend.number).collect()
}

proptest! {
    #[test]
    fn by_round_robin_those_that_take_sessions_have_turns_in_order(
        states in prop::collection::vec(any::<(bool, bool)>(), 0..9), count in 0usize..30
    ) {
        let (service, table) = (service(&states, None, false), Affinities::new(8, 1));
        let model = numbers(&service).into_iter().cycle();
        let choose = |port| {
            let choice = Choice::Made(&table, Seconds(1));
            service.choose(&tuple(1, port), choice).map(|backend| backend.number)
        };
        let chosen: Vec<_> = (0..).take(count).map_while(choose).collect();
        prop_assert_eq!(chosen, model.take(count).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_foreseen_is_what_is_then_made_and_takes_sessions(
        states in prop::collection::vec(any::<(bool, bool)>(), 0..9),
        clients in prop::collection::vec((0u8..4, 0u16..9), 0..20),
        affinity in prop::option::of(0u32..5), is_maglev: bool
    ) {
        let (service, table) = (service(&states, affinity, is_maglev), Affinities::new(64, 1));
        for (client, port) in clients {
            let choose = |choice| service.choose(&tuple(client, port), choice).map(|it| it.number);
            let foreseen = choose(Choice::Foreseen(&table, Seconds(1)));
            prop_assert_eq!(foreseen, choose(Choice::Foreseen(&table, Seconds(1))));
            let made = choose(Choice::Made(&table, Seconds(1)));
            prop_assert_eq!(foreseen, made);
            let taking = numbers(&service);
            prop_assert!(made.map_or(taking.is_empty(), |number| taking.contains(&number)));
            if affinity.is_some() {
                prop_assert_eq!(made, choose(Choice::Made(&table, Seconds(1))), "the same again");
            }
        }
    }
}

#[test]
fn a_session_is_known_to_be_its_backends_whatever_that_does() {
    let service = service(&[(true, false), (false, true)], None, false);
    for backend in &service.backends {
        let known = service.choose(&tuple(1, 1), Choice::Known(backend.endpoint));
        assert_eq!(known.map(|it| it.number), Some(backend.number));
    }
    assert!(service.choose(&tuple(1, 1), Choice::Known(tuple(1, 1).source)).is_none());
}

#[test]
fn the_turn_counts_on_where_it_overflows() {
    let turn = Arc::new(Turn(AtomicU32::new(u32::MAX)));
    let balance = Balance::RoundRobin(turn);
    let service = Service { balance, ..service(&[(false, false); 2], None, false) };
    let table = Affinities::new(8, 1);
    let choose = || service.choose(&tuple(1, 1), Choice::Made(&table, Seconds(1))).unwrap().number;
    assert_eq!([choose(), choose(), choose()], [1, 0, 1]);
}
