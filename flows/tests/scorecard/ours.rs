//! [`Ours`]: the pipeline, under a clock that only the test moves.

use std::net::IpAddr;
use std::time::Duration;

use crate::Filtering;
use crate::nat::Quota;
use crate::network::{Hide, Network, Plan, Sent, entrance};
use crate::packets::Packet;
use crate::requirement::Finding;
use crate::router::Prefix;
use crate::subject::{Nat, Seen, Setup};

pub struct Ours(Network);

impl Ours {
    pub fn new() -> Self {
        Self(Network::new(&plan(Setup::Plain)))
    }
}

fn plan(setup: Setup) -> Plan {
    let plan = Plan::masqueraded();
    let pool = vec![Hide::behind("203.0.113.100", "203.0.113.103")];
    match setup {
        Setup::Plain => plan,
        Setup::Transparent => plan.with(|rule| rule.filtering = Filtering::EndpointIndependent),
        Setup::Pool => Plan { masquerades: pool, ..plan },
        Setup::SmallPool => {
            Plan { masquerades: pool, ..plan }.with(|rule| rule.ports = 5000..=5000)
        }
        Setup::AllPorts => plan.with(|rule| rule.ports = 1..=u16::MAX),
        Setup::OnePort => plan.with(|rule| rule.ports = 5000..=5000),
        Setup::Quota => plan.with(|rule| rule.quota = Quota { ports: 2, sessions: 3 }),
        Setup::Except => {
            let untouched = Prefix::new("198.51.100.128".parse().unwrap(), 25).unwrap();
            plan.with(|rule| rule.except = vec![untouched])
        }
        Setup::SmallMtu => Plan { mtus: vec![(2, 1300), (3, 1300)], ..plan },
    }
}

/// The sides instead of the ports.
fn sides(sent: Vec<Sent>) -> Vec<Seen> {
    let side = |sent: Sent| Seen { is_inside: sent.port < 2, frame: sent.bytes };
    sent.into_iter().map(side).collect()
}

impl Nat for Ours {
    fn set_up(&mut self, setup: Setup) -> Finding {
        self.0 = Network::new(&plan(setup));
        Ok(())
    }

    fn frame(&self, packet: &Packet) -> Vec<u8> {
        Network::framed(packet).1
    }

    fn put(&mut self, source: IpAddr, frame: &[u8]) -> Vec<Seen> {
        let frame = self.0.pool.frame_from(frame).unwrap();
        let (port, _) = entrance(source);
        sides(self.0.exchange(port, [frame]))
    }

    fn pass(&mut self, time: Duration) -> Vec<Seen> {
        sides(self.0.pass(time))
    }
}
