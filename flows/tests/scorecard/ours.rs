//! [`Ours`]: the pipeline, under a clock that only the test moves.

use std::time::Duration;

use crate::Filtering;
use crate::nat::Quota;
use crate::network::{Hide, Network, Plan};
use crate::packets::{Packet, fragments};
use crate::subject::{Nat, Setup};

pub struct Ours(Network);

impl Ours {
    pub fn new() -> Self {
        Self(Network::new(&plan(Setup::Plain)))
    }
}

fn plan(setup: Setup) -> Plan {
    let plan = Plan::masqueraded();
    match setup {
        Setup::Plain => plan,
        Setup::Transparent => plan.with(|rule| rule.filtering = Filtering::EndpointIndependent),
        Setup::Pool => {
            Plan { masquerades: vec![Hide::behind("203.0.113.100", "203.0.113.103")], ..plan }
        }
        Setup::AllPorts => plan.with(|rule| rule.ports = 1..=u16::MAX),
        Setup::OnePort => plan.with(|rule| rule.ports = 5000..=5000),
        Setup::Quota => plan.with(|rule| rule.quota = Quota { ports: 2, sessions: 3 }),
        Setup::SmallMtu => Plan { mtus: vec![(2, 1300), (3, 1300)], ..plan },
    }
}

/// The sides instead of the ports.
fn sides(lines: Vec<String>) -> Vec<String> {
    let side = |line: &String| {
        let (port, packet) = line.split_once(": ").unwrap();
        let side = if matches!(port, "0" | "1") { "in" } else { "out" };
        format!("{side}: {packet}")
    };
    lines.iter().map(side).collect()
}

impl Nat for Ours {
    fn set_up(&mut self, setup: Setup) {
        self.0 = Network::new(&plan(setup));
    }

    fn send(&mut self, packet: &Packet) -> Vec<String> {
        sides(self.0.send(packet))
    }

    fn send_fragments(&mut self, packet: &Packet, bytes: usize, order: &[usize]) -> Vec<String> {
        let (port, frame) = Network::framed(packet);
        let pieces = fragments(&frame, bytes);
        sides(order.iter().flat_map(|at| self.0.put(port, &pieces[*at])).collect())
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        sides(self.0.wait(time))
    }
}
