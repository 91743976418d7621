//! Names and addresses: containers ask the gateways of their networks, with clients of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use std::{fs, io};

use ctl::response::EndpointInfo;
use ctl::{Mutation, NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkSet};
use netlab::{Container, LabError, Need, Test, TestResult, test};

use crate::daemon::Daemon;
use crate::routing::reaches;

/// Longer than all resolvers together are waited for.
const PATIENCE: Duration = Duration::from_secs(6);
/// The types of records that are asked for.
pub const A: u16 = 1;
const AAAA: u16 = 28;
const PTR: u16 = 12;

pub fn tests() -> Vec<Test> {
    [
        test!(containers_find_each_other_by_name_as_long_as_they_are_there),
        test!(a_network_knows_the_names_of_its_own_containers_only),
        test!(other_names_are_asked_for_elsewhere_over_udp_and_tcp),
        test!(an_internal_network_asks_nobody_and_one_without_names_answers_nobody),
        test!(a_client_of_a_container_is_told_its_address_and_nobody_else_is),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn create(daemon: &Daemon, name: &str, subnets: &[&str], resolver: Option<IpAddr>) -> TestResult {
    let mut create = NetworkCreate::new(name.parse()?);
    create.subnets = subnets.iter().map(|cidr| cidr.parse()).collect::<Result<_, _>>()?;
    create.settings.resolvers = resolver.into_iter().collect();
    daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    Ok(())
}

fn connect(daemon: &Daemon, network: &str, alias: &str) -> Fallible<(Container, EndpointInfo)> {
    connect_as(daemon, network, alias, false)
}

fn connect_as(
    daemon: &Daemon,
    network: &str,
    alias: &str,
    dhcp: bool,
) -> Fallible<(Container, EndpointInfo)> {
    let container = Container::new()?;
    let aliases = vec![alias.parse()?];
    let connect = NetworkConnect::new(network.parse()?, container.reference());
    let connect = NetworkConnect { aliases, dhcp, ..connect };
    let changed = daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    if !dhcp {
        container.await_ready("eth0")?;
    }
    Ok((container, *changed.endpoint.ok_or("no endpoint in the answer")?))
}

/// A query for the records of a type, by hand.
fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// What a resolver says: the code, how many records, and the last bytes, which are the last record's.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    code: u8,
    records: u8,
    is_cut: bool,
    message: Vec<u8>,
}

impl Said {
    fn of(message: Vec<u8>) -> Fallible<Self> {
        let header = message.get(..12).ok_or("an answer without a header")?;
        let (code, records) = (header[3] & 15, header[7]);
        Ok(Self { code, records, is_cut: header[2] & 2 != 0, message })
    }

    pub fn address(&self) -> Option<Ipv4Addr> {
        let bytes = self.message.last_chunk::<4>().filter(|_| self.records > 0)?;
        Some(Ipv4Addr::from(*bytes))
    }
}

/// Asks from a container over UDP.
pub fn ask(from: &Container, server: IpAddr, name: &str, rtype: u16) -> Fallible<Said> {
    Said::of(try_ask(from, server, name, rtype)?)
}

fn try_ask(from: &Container, server: IpAddr, name: &str, rtype: u16) -> Result<Vec<u8>, LabError> {
    from.run(|| {
        let exchange = || {
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect((server, 53))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send(&query(name, rtype))?;
            let mut answer = vec![0; 4096];
            let bytes = socket.recv(&mut answer)?;
            answer.truncate(bytes);
            Ok(answer)
        };
        exchange().map_err(|source: io::Error| LabError::Socket { operation: "ask", source })
    })
}

/// Asks from a container over TCP.
fn ask_in_stream(from: &Container, server: IpAddr, name: &str) -> Fallible<Said> {
    let answer: Result<_, LabError> = from.run(|| {
        let exchange = || {
            let mut stream = TcpStream::connect((server, 53))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            send(&mut stream, &query(name, A))?;
            receive(&mut stream)
        };
        exchange().map_err(|source: io::Error| LabError::Socket { operation: "ask", source })
    });
    Said::of(answer?)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let bytes = u16::try_from(message.len()).unwrap_or(u16::MAX);
    io::Write::write_all(stream, &[&bytes.to_be_bytes()[..], message].concat())
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 2];
    io::Read::read_exact(stream, &mut bytes)?;
    let mut message = vec![0; u16::from_be_bytes(bytes).into()];
    io::Read::read_exact(stream, &mut message)?;
    Ok(message)
}

fn containers_find_each_other_by_name_as_long_as_they_are_there() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24", "fd01::/64"], None)?;
    let (one, _) = connect(&daemon, "web", "one")?;
    let (two, endpoint) = connect(&daemon, "web", "two")?;
    let gateways: [IpAddr; 2] = ["10.1.0.1".parse()?, "fd01::1".parse()?];
    assert_eq!(endpoint.resolvers, gateways);
    for server in gateways {
        for name in ["two", "TWO", "two.web", endpoint.port.as_str()] {
            let said = ask(&one, server, name, A)?;
            assert_eq!(said.address(), Some(Ipv4Addr::new(10, 1, 0, 3)), "{name} at {server}");
        }
        let said = ask(&one, server, "two", AAAA)?;
        assert!(said.message.ends_with(&[0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]));
        assert_eq!(ask_in_stream(&one, server, "two")?.address(), Some([10, 1, 0, 3].into()));
    }
    let said = ask(&one, gateways[0], "3.0.1.10.in-addr.arpa", PTR)?;
    assert!(said.message.ends_with(b"\x03two\x03web\0"), "{said:?}");
    let (netns, ifname) = (two.reference(), None);
    let disconnect = NetworkDisconnect { network: "web".parse()?, netns, ifname };
    daemon.change(Mutation::NetworkDisconnect(disconnect))?;
    let said = ask(&one, gateways[0], "two", A)?;
    assert_eq!((said.code, said.records), (3, 0), "the name went with the container");
    daemon.check_ledger()
}

fn a_network_knows_the_names_of_its_own_containers_only() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "a", &["10.1.0.0/24"], None)?;
    create(&daemon, "b", &["10.2.0.0/24"], None)?;
    let (one, _) = connect(&daemon, "a", "same")?;
    let (two, _) = connect(&daemon, "b", "same")?;
    let (_three, _) = connect(&daemon, "b", "other")?;
    let (at_a, at_b) = ("10.1.0.1".parse()?, "10.2.0.1".parse()?);
    assert_eq!(ask(&one, at_a, "same", A)?.address(), Some([10, 1, 0, 2].into()));
    assert_eq!(ask(&two, at_b, "same", A)?.address(), Some([10, 2, 0, 2].into()));
    assert_eq!(ask(&one, at_a, "other", A)?.code, 3);
    daemon.check_ledger()
}

/// A resolver of the host that answers everything with 192.0.2.80: a name with `long` in it sixty times.
fn resolver(address: SocketAddr) -> TestResult {
    let records = |query: &[u8]| {
        let count = if query.windows(4).any(|part| part == b"long") { 60 } else { 1 };
        let mut answer = query.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[7] = count;
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 80];
        (0..count).for_each(|_| answer.extend(record));
        answer
    };
    let socket = UdpSocket::bind(address)?;
    let listener = std::net::TcpListener::bind(address)?;
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((bytes, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&records(&query[..bytes]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = receive(&mut stream).and_then(|query| send(&mut stream, &records(&query)));
        }
    });
    Ok(())
}

/// An address of the host's that no other test uses.
fn address_of_its_own() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    [127, 0, 53, NEXT.fetch_add(1, Ordering::Relaxed)].into()
}

fn other_names_are_asked_for_elsewhere_over_udp_and_tcp() -> TestResult {
    let daemon = Daemon::start()?;
    let elsewhere = address_of_its_own();
    resolver(SocketAddr::new(elsewhere, 53))?;
    create(&daemon, "web", &["10.1.0.0/24"], Some(elsewhere))?;
    let (one, _) = connect(&daemon, "web", "one")?;
    let server = "10.1.0.1".parse()?;
    let answer = Some([192, 0, 2, 80].into());
    let said = ask(&one, server, "example.com", A)?;
    assert_eq!((said.address(), said.is_cut), (answer, false));
    let said = ask(&one, server, "long.example.com", A)?;
    assert_eq!((said.records, said.is_cut), (0, true));
    let said = ask_in_stream(&one, server, "long.example.com")?;
    assert_eq!((said.records, said.is_cut, said.address()), (60, false, answer));
    for name in ["nobody", "nobody.web"] {
        assert_eq!(ask(&one, server, name, A)?.code, 3, "{name} is no business of others");
    }
    // One that nobody listens at is passed over.
    let resolvers = Some(vec!["127.0.0.99".parse()?, elsewhere]);
    let set = NetworkSet { resolvers, ..NetworkSet::new("web".parse()?) };
    daemon.change(Mutation::NetworkSet(Box::new(set)))?;
    assert_eq!(ask(&one, server, "example.com", A)?.address(), answer);
    daemon.check_ledger()
}

fn an_internal_network_asks_nobody_and_one_without_names_answers_nobody() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24"], None)?;
    let (one, _) = connect(&daemon, "web", "one")?;
    let server = "10.1.0.1".parse()?;
    let set = NetworkSet { internal: Some(true), ..NetworkSet::new("web".parse()?) };
    daemon.change(Mutation::NetworkSet(Box::new(set)))?;
    assert_eq!(ask(&one, server, "example.com", A)?.code, 5);
    assert_eq!(ask(&one, server, "one", A)?.code, 0);
    let set = NetworkSet { dns: Some(false), ..NetworkSet::new("web".parse()?) };
    daemon.change(Mutation::NetworkSet(Box::new(set)))?;
    let refused = try_ask(&one, server, "one", A);
    let is_refused = |error: &LabError| error.to_string().to_lowercase().contains("refused");
    assert!(refused.as_ref().is_err_and(is_refused), "{refused:?}");
    daemon.check_ledger()
}

/// What `udhcpc` tells a script, one a line.
fn told(client: &Container, daemon: &Daemon, arguments: &[&str]) -> Fallible<Option<String>> {
    let script = daemon.directory().join("told");
    let text = "#!/bin/busybox sh\n[ $1 = bound ] || exit 0\n\
                /bin/busybox ip addr add $ip/$mask dev $interface\n\
                /bin/busybox echo $ip/$mask via $router dns $dns mtu $mtu in $domain\n";
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let output: Result<_, LabError> = client.run(|| {
        let mut command = Command::new("/bin/busybox");
        command.args(["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-O", "mtu"]);
        command.arg("-s").arg(&script).args(arguments);
        let failed = |source| LabError::Socket { operation: "start udhcpc", source };
        command.output().map_err(failed)
    });
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success().then_some(text))
}

fn a_client_of_a_container_is_told_its_address_and_nobody_else_is() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "web", &["10.1.0.0/24"], None)?;
    let (one, _) = connect(&daemon, "web", "one")?;
    let (two, endpoint) = connect_as(&daemon, "web", "two", true)?;
    assert_eq!(endpoint.addresses[0].address.to_string(), "10.1.0.3/24");
    assert!(
        two.netlink()?.addresses(two.link("eth0")?.index)?.iter().all(|has| has.addr.is_ipv6())
    );
    let expected = "10.1.0.3/24 via 10.1.0.1 dns 10.1.0.1 mtu 1500 in web";
    assert_eq!(told(&two, &daemon, &[])?.as_deref(), Some(expected));
    reaches(&two, "10.1.0.2")?;
    // Who wants another address is told which one he has.
    assert_eq!(told(&two, &daemon, &["-r", "10.1.0.77"])?.as_deref(), Some(expected));
    assert_eq!(told(&one, &daemon, &[])?, None, "it was configured, and is not served");
    daemon.check_ledger()
}
