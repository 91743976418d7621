//! Two workers meet the same client for the first time at once.

use std::net::{IpAddr, Ipv4Addr};

use loom::sync::Arc;

use super::Affinities;
use crate::Seconds;

const CLIENT: (u32, IpAddr) = (1, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

#[test]
fn loom_two_workers_give_a_client_the_same_backend() {
    loom::model(|| {
        let table = Arc::new(Affinities::new(1, 1));
        let keep = |table: &Affinities, number| table.keep(CLIENT, number, 9, Seconds(5), |_| true);
        let other = {
            let table = Arc::clone(&table);
            loom::thread::spawn(move || keep(&table, 1))
        };
        let own = keep(&table, 2);
        assert_eq!(other.join().ok(), Some(own));
        assert_eq!(table.find(CLIENT, 9, Seconds(6)), Some(own));
    });
}
