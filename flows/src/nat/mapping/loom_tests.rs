//! Claims in every interleaving.

use std::net::{IpAddr, Ipv4Addr};

use loom::sync::Arc;
use pktio::wire::field::protocol::UDP;

use super::*;

const INSIDE: Zone = Zone(1);
const OUTSIDE: Zone = Zone(2);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

fn mappings() -> Arc<Mappings> {
    Arc::new(Mappings::new(2, 3).with_addresses([(OUTSIDE, ADDRESS)]))
}

fn container(number: u8, port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::new(10, 0, 0, number), port)
}

fn claim(mappings: &Mappings, internal: Endpoint) -> Result<Claim, Unclaimed> {
    claim_at(mappings, internal, 1)
}

fn claim_at(mappings: &Mappings, internal: Endpoint, now: u64) -> Result<Claim, Unclaimed> {
    let pool = Pool::new(OUTSIDE, ADDRESS..=ADDRESS, 1..=3, Quota::default()).unwrap();
    let from = (&pool, &Published::default());
    mappings.claim(INSIDE, UDP, internal, from, Nanos::from_secs(now))
}

/// Every interleaving with at most three preemptions. All of them take minutes, and find no more.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

#[test]
fn loom_an_endpoint_that_two_workers_claim_at_once_gets_one_port() {
    model(|| {
        let mappings = mappings();
        // The container is known. The only free port of the endpoint's parity leaves quarantine between the two times.
        claim(&mappings, container(1, 1)).unwrap();
        let favourite = claim(&mappings, container(1, 3)).unwrap();
        mappings.release(favourite.mapping, Nanos::from_secs(1));
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || claim_at(&mappings, container(1, 9), 122).unwrap())
        };
        let ours = claim_at(&mappings, container(1, 9), 120).unwrap();
        assert_eq!(other.join().unwrap(), ours);
        let mut sessions: Vec<_> = mappings.iter().map(|mapping| mapping.sessions).collect();
        sessions.sort_unstable();
        assert_eq!(sessions, [1, 2]);
    });
}

#[test]
fn loom_two_endpoints_never_get_one_port() {
    model(|| {
        let mappings = mappings();
        claim(&mappings, container(1, 3)).unwrap();
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || claim(&mappings, container(1, 9)).unwrap())
        };
        let ours = claim(&mappings, container(1, 8)).unwrap();
        assert_ne!(other.join().unwrap().external, ours.external);
        assert_eq!(mappings.iter().count(), 3);
    });
}

#[test]
fn loom_a_mapping_that_is_joined_while_it_ends_is_joined_or_gone() {
    model(|| {
        let mappings = mappings();
        let held = claim(&mappings, container(1, 2)).unwrap();
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || {
                mappings.join(OUTSIDE, UDP, held.external, Quota::default()).is_some()
            })
        };
        mappings.release(held.mapping, Nanos::from_secs(1));
        let joined = other.join().unwrap();
        assert_eq!(mappings.iter().count(), usize::from(joined));
    });
}

#[test]
fn loom_whoever_sees_a_port_mapped_finds_whose_it_is() {
    model(|| {
        let mappings = mappings();
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || {
                let word = mappings.addresses[0].table.load(Class::Udp, 1);
                let is_mapped = matches!(word.state(), State::Mapped(_));
                (is_mapped, mappings.find(OUTSIDE, UDP, Endpoint::new(ADDRESS, 1)))
            })
        };
        let ours = claim(&mappings, container(1, 1)).unwrap();
        assert_eq!(ours.external.port, 1);
        let (is_mapped, found) = other.join().unwrap();
        assert!(!is_mapped || found.is_some());
        assert!(found.is_none_or(|found| found.internal == container(1, 1)));
    });
}

#[test]
fn loom_whoever_sees_a_port_mapped_anew_finds_whose_it_is() {
    model(|| {
        let mappings = Arc::new(Mappings::new(1, 3).with_addresses([(OUTSIDE, ADDRESS)]));
        // There is room for two. One stays; the third gets the place of the other, whose quarantine is over, with its
        // number: so the port that was its is taken for the third's, which joins it without an attempt.
        claim(&mappings, container(2, 2)).unwrap();
        let held = claim(&mappings, container(1, 1)).unwrap();
        mappings.release(held.mapping, Nanos::from_secs(1));
        let claimer = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || claim_at(&mappings, container(3, 1), 1000).unwrap())
        };
        let reader = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || {
                let word = mappings.addresses[0].table.load(Class::Udp, 1);
                let is_mapped = matches!(word.state(), State::Mapped(_));
                (is_mapped, mappings.find(OUTSIDE, UDP, Endpoint::new(ADDRESS, 1)))
            })
        };
        assert_eq!(claimer.join().unwrap().external, held.external);
        let (is_mapped, found) = reader.join().unwrap();
        assert!(!is_mapped || found.is_some());
        assert!(found.is_none_or(|found| found.internal == container(3, 1)));
    });
}

#[test]
fn loom_a_container_that_two_workers_meet_at_once_is_entered_once() {
    model(|| {
        let mappings = mappings();
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || claim(&mappings, container(1, 1)))
        };
        let ours = claim(&mappings, container(1, 1));
        match (ours, other.join().unwrap()) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
            (result, Err(Unclaimed::Busy)) | (Err(Unclaimed::Busy), result) => {
                assert!(result.is_ok());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(mappings.iter().count(), 1);
    });
}

#[test]
fn loom_a_container_whose_last_session_ends_is_not_forgotten_before_its_quarantine_is_over() {
    model(|| {
        let mappings = Arc::new(Mappings::new(1, 3).with_addresses([(OUTSIDE, ADDRESS)]));
        // There is room for two.
        claim(&mappings, container(2, 1)).unwrap();
        let held = claim(&mappings, container(1, 1)).unwrap();
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || mappings.release(held.mapping, Nanos::from_secs(1000)))
        };
        let third = claim_at(&mappings, container(3, 1), 1000);
        assert!(matches!(third, Err(Unclaimed::Hosts { .. })), "{third:?}");
        other.join().unwrap();
    });
}

#[test]
fn loom_a_container_that_comes_back_while_it_is_forgotten_is_never_taken_for_another() {
    model(|| {
        let mappings = Arc::new(Mappings::new(1, 3).with_addresses([(OUTSIDE, ADDRESS)]));
        for number in [1, 2] {
            let held = claim(&mappings, container(number, 1)).unwrap();
            mappings.release(held.mapping, Nanos::from_secs(1));
        }
        // There is room for two: the third takes the place of one whose quarantine is over.
        let other = {
            let mappings = Arc::clone(&mappings);
            loom::thread::spawn(move || claim_at(&mappings, container(3, 1), 1000))
        };
        let ours = claim_at(&mappings, container(1, 1), 1000);
        let theirs = other.join().unwrap();
        for (number, claimed) in [(1, ours), (3, theirs)] {
            if let Ok(claimed) = claimed {
                let found = mappings.find(OUTSIDE, UDP, claimed.external).unwrap();
                assert_eq!(found.internal, container(number, 1));
            }
        }
        assert!(ours.is_ok() || theirs.is_ok());
    });
}
