//! [`Ours`]: the pipeline, under a clock that only the test moves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Filtering;
use crate::nat::Quota;
use crate::network::{Hide, Network, Plan, Sent, entrance};
use crate::packets::Packet;
use crate::requirement::Finding;
use crate::router::Prefix;
use crate::rules::{
    self, ConnState, LimitSpec, Meter, Rule, RuleAction, RuleId, RuleMatch, Scope, Step, Unit,
    Verdict,
};
use crate::session::Timeouts;
use crate::subject::{Nat, Seen, Setup};

pub struct Ours(Network);

impl Ours {
    pub fn new() -> Self {
        Self(Network::new(&plan(Setup::Plain)))
    }
}

fn plan(setup: Setup) -> Plan {
    let (plan, usual) = (Plan::masqueraded(), Timeouts::default());
    let pool = vec![Hide::behind("203.0.113.100", "203.0.113.103")];
    match setup {
        Setup::Plain | Setup::LimitedErrors => plan,
        Setup::Transparent => plan.with(|rule| rule.filtering = Filtering::EndpointIndependent),
        Setup::Pool => Plan { masquerades: pool, ..plan },
        Setup::GappedPool => Plan { masquerades: pool, ..plan }.with(|rule| {
            let address = |last| IpAddr::from([203, 0, 113, last]);
            rule.addresses = [100, 102, 104].map(|last| address(last)..=address(last)).to_vec();
        }),
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
        Setup::TenPorts => plan.with(|rule| rule.ports = 5000..=5009),
        Setup::Patient => {
            let (udp_seconds, icmp_seconds) = (600, 120);
            let udp_unreplied_seconds = udp_seconds;
            let timeouts = Timeouts { udp_seconds, udp_unreplied_seconds, icmp_seconds, ..usual };
            Plan { timeouts, ..plan }
        }
        Setup::QuickOpening => {
            Plan { timeouts: Timeouts { tcp_opening_seconds: 30, ..usual }, ..plan }
        }
        Setup::SlowBeginning => Plan { rules: vec![slow_beginning()], ..plan },
        Setup::SmallMtu => Plan { mtus: vec![(2, 1300), (3, 1300)], ..plan },
    }
}

/// New connections are limited for each source.
fn slow_beginning() -> Rule {
    let spec = LimitSpec { rate: 10, burst: 10, unit: Unit::Frames, scope: Scope::Source };
    let steps = Arc::new([Step::Limit(Arc::new(Meter::new(spec, 1)))]);
    let states = Some([ConnState::New].into_iter().collect());
    Rule {
        id: RuleId(1),
        priority: 1,
        matches: RuleMatch { states, ..RuleMatch::default() },
        action: RuleAction { steps, verdict: Verdict::Allow },
        timeouts: rules::Timeouts::default(),
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
