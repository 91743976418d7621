//! What one change costs with much configured: from a request to its answer, by a daemon that keeps its state. A
//! change is answered when it is on disk, the devices are there, and every worker goes by it.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ctl::flow::FlowRule;
use ctl::{
    Attach, Backend, Batch, BridgeAdd, BridgeName, Client, Detach, FlowReplace, IpCidr, Mutation,
    NatAdd, Request, RuleName, Service, ServiceAdd,
};
use netlab::{Container, ping};
use vswitch::control::Background;
use vswitch::worker::PollMode;

/// Ports on the switch while containers come and go.
const PORTS: u16 = 500;
/// Published ports.
const PUBLISHED: u16 = 1000;
/// Rules.
const RULES: u32 = 100_000;
/// Services, of two backends each.
const SERVICES: u32 = 10_000;

/// Measures and prints. The state is kept in `directory`, of which nothing is left.
pub(crate) fn run(directory: &Path, rounds: u32) -> Result<(), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    let directory = directory.join(format!("vswitch-bench-{}", std::process::id()));
    let measured = measure(&directory, rounds);
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn measure(directory: &Path, rounds: u32) -> Result<(), Box<dyn Error>> {
    let socket = PathBuf::from("/run/vswitch-bench.sock");
    let state = Some(directory.to_owned());
    let _daemon = Background::start(socket.clone(), PollMode::Adaptive, state)?;
    let mut client = Client::connect(&socket)?;
    println!("From a request to its answer, ms; medians of {rounds}, and the longest:\n");
    for bridge in ["br0", "up"] {
        let mut add = BridgeAdd::new(bridge.parse()?);
        add.gateways = vec![gateway(bridge).parse()?];
        client.call(Request::Mutation(Mutation::BridgeAdd(add)))?;
    }
    let mut bench = Bench { client, rounds };
    bench.one_of_each("nothing else")?;
    let ports = bench.fill_ports()?;
    bench.one_of_each(&format!("{PORTS} ports"))?;
    bench.fill_published()?;
    bench.one_of_each(&format!("... and {PUBLISHED} published ports"))?;
    bench.fill_rules()?;
    bench.one_of_each(&format!("... and {RULES} rules"))?;
    bench.fill_services()?;
    bench.one_of_each(&format!("... and {SERVICES} services"))?;
    drop(ports);
    Ok(())
}

fn gateway(bridge: &str) -> &'static str {
    if bridge == "br0" { "10.0.0.1/16" } else { "192.0.2.1/24" }
}

struct Bench {
    client: Client,
    rounds: u32,
}

impl Bench {
    fn change(&mut self, mutation: Mutation) -> Result<Duration, Box<dyn Error>> {
        let begun = Instant::now();
        self.client.call(Request::Mutation(mutation))?;
        Ok(begun.elapsed())
    }

    /// One change of each kind, and back, as often as wanted.
    fn one_of_each(&mut self, with: &str) -> Result<(), Box<dyn Error>> {
        println!("with {with}:");
        self.first_pings()?;
        let container = Container::new()?;
        let (attach, detach) = attachment(&container, PORTS + 2)?;
        self.pair("attach a container", "detach it", attach, detach)?;
        let publish = publication(PUBLISHED)?;
        let name: RuleName = publish.rule_name()?;
        let (add, del) = (Mutation::NatAdd(publish), Mutation::NatDel(ctl::Named::new(name)));
        self.pair("publish a port", "take it back", add, del)?;
        let rule = rule(RULES)?;
        let key = ctl::FlowKey::Match(rule.matches.clone());
        let (add, del) = (Mutation::FlowAdd(Box::new(rule)), Mutation::FlowDel(key));
        self.pair("add a rule", "remove it", add, del)?;
        let service = service(SERVICES)?;
        let named = ctl::Named::new(service.name.clone());
        let add = Mutation::ServiceAdd(Box::new(service));
        self.pair("add a service", "remove it", add, Mutation::ServiceDel(named))
    }

    /// From a namespace to the first answer to a ping in it, each time in a new one. Those before are there meanwhile, so that nobody's end is
    /// measured.
    fn first_pings(&mut self) -> Result<(), Box<dyn Error>> {
        let (mut times, mut containers) = (Vec::new(), Vec::new());
        for number in 0..u16::try_from(self.rounds)? {
            let container = Container::new()?;
            let (attach, detach) = attachment(&container, PORTS + 3 + number)?;
            let begun = Instant::now();
            self.change(attach)?;
            ping::ping(&container, "10.0.0.1".parse()?, &ping::Options::default())?;
            times.push(begun.elapsed());
            containers.push((container, detach));
        }
        show("attach, to the first ping", &mut times);
        containers.into_iter().try_for_each(|(_, detach)| self.change(detach).map(drop))
    }

    fn pair(
        &mut self,
        there: &str,
        back: &str,
        change: Mutation,
        undo: Mutation,
    ) -> Result<(), Box<dyn Error>> {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..self.rounds {
            times[0].push(self.change(change.clone())?);
            times[1].push(self.change(undo.clone())?);
        }
        for (name, times) in [there, back].iter().zip(&mut times) {
            show(name, times);
        }
        Ok(())
    }

    fn fill_ports(&mut self) -> Result<Vec<Container>, Box<dyn Error>> {
        let (mut containers, mut took) = (Vec::new(), Duration::ZERO);
        for number in 0..PORTS {
            let container = Container::new()?;
            took += self.change(attachment(&container, number + 2)?.0)?;
            containers.push(container);
        }
        println!("{PORTS} containers attached, one by one: {took:.2?}");
        Ok(containers)
    }

    fn fill_published(&mut self) -> Result<(), Box<dyn Error>> {
        let changes = (0..PUBLISHED).map(|number| publication(number).map(Mutation::NatAdd));
        let changes = changes.collect::<Result<_, _>>()?;
        let took = self.change(Mutation::Batch(Batch { changes }))?;
        println!("{PUBLISHED} ports published at once: {took:.2?}");
        Ok(())
    }

    fn fill_rules(&mut self) -> Result<(), Box<dyn Error>> {
        let rules = (0..RULES).map(rule).collect::<Result<_, _>>()?;
        let took = self.change(Mutation::FlowReplace(FlowReplace { rules }))?;
        println!("{RULES} rules at once: {took:.2?}");
        Ok(())
    }

    fn fill_services(&mut self) -> Result<(), Box<dyn Error>> {
        let add = |number| service(number).map(|service| Mutation::ServiceAdd(Box::new(service)));
        let changes = (0..SERVICES).map(add).collect::<Result<_, _>>()?;
        let took = self.change(Mutation::Batch(Batch { changes }))?;
        println!("{SERVICES} services at once: {took:.2?}");
        Ok(())
    }
}

/// Prints the median and the longest, if there are any.
fn show(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let (median, most) = (times.get(times.len() / 2).map(ms), times.last().map(ms));
    println!("  {name:<26} {:>8.2} {:>8.2}", median.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN));
}

/// A container at the `number`th address of the bridge.
fn attachment(container: &Container, number: u16) -> Result<(Mutation, Mutation), Box<dyn Error>> {
    let [high, low] = number.to_be_bytes();
    let netns = container.reference();
    let bridge: BridgeName = "br0".parse()?;
    let ip: IpCidr = format!("10.0.{high}.{low}/16").parse()?;
    let attach = Attach {
        netns: netns.clone(),
        bridge,
        ifname: "eth0".parse()?,
        mac: None,
        ips: vec![ip],
        gateways: vec!["10.0.0.1".parse()?],
        mtu: None,
        vlan: ctl::Vlan::Unaware,
    };
    let detach = Detach { netns, ifname: "eth0".parse()? };
    Ok((Mutation::Attach(attach), Mutation::Detach(detach)))
}

fn publication(number: u16) -> Result<NatAdd, Box<dyn Error>> {
    let [high, low] = (number % PORTS + 2).to_be_bytes();
    let port = 20_000 + number;
    let rule = ctl::NatRule::Publish(ctl::Publish {
        on: "up".parse()?,
        to: None,
        forward: format!("{port}:10.0.{high}.{low}:80/tcp").parse()?,
        port: None,
    });
    Ok(NatAdd { name: None, rule })
}

fn service(number: u32) -> Result<ServiceAdd, Box<dyn Error>> {
    let [_, a, b, c] = number.to_be_bytes();
    let backend =
        |host| Backend { at: (Ipv4Addr::new(10, 0, host, c), 8080).into(), draining: false };
    let listen = format!("10.96.{}.{c}:80/tcp", u16::from(a) << 8 | u16::from(b)).parse()?;
    let service = Service { backends: [1, 2].map(backend).into(), ..Service::new(listen) };
    Ok(ServiceAdd { name: format!("service{number}").parse()?, service })
}

fn rule(number: u32) -> Result<FlowRule, Box<dyn Error>> {
    let [_, a, b, c] = number.to_be_bytes();
    let port = 1 + number % 60_000;
    Ok(format!("100 tcp,src=10.{a}.{b}.{c},dport={port} allow").parse()?)
}
