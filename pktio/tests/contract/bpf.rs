//! Programs and maps, in the kernel.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::{Container, TestResult};
use pktio::bpf::code::{Alu, Code, If, Reg, Size};
use pktio::bpf::{
    BpfError, Helper, Hook, Map, MapKind, Program, ProgramKind, Steering, TCX_DROP, TCX_NEXT,
};
use socket2::{Domain, Socket, Type};

use crate::kernel::{Outcome2, veth};
use crate::suite::Outcome;

/// A program that counts frames in the first entry of an array, and returns the verdict in the second.
fn counting(map: &Map) -> Result<Program, BpfError> {
    let mut code = Code::new();
    let none = code.label();
    let entry = |code: &mut Code, number| {
        code.store(Size::Word, Reg::R10, -4, number).mov(Reg::R2, Reg::R10);
        code.alu(Alu::Add, Reg::R2, -4).map(Reg::R1, map).call(Helper::MapLookup);
        code.jump_if(If::Equal, Reg::R0, 0, none);
    };
    entry(&mut code, 0);
    code.load(Size::Double, Reg::R1, Reg::R0, 0).alu(Alu::Add, Reg::R1, 1);
    code.store(Size::Double, Reg::R0, 0, Reg::R1);
    entry(&mut code, 1);
    code.load(Size::Double, Reg::R0, Reg::R0, 0).exit();
    code.place(none).mov(Reg::R0, TCX_NEXT).exit();
    Program::load(ProgramKind::Classifier, &code.finish()?)
}

fn array() -> Result<Map, BpfError> {
    let map = Map::new(MapKind::Array, 4, 8, 2)?;
    map.update(&1u32.to_ne_bytes(), &i64::from(TCX_NEXT).to_ne_bytes())?;
    Ok(map)
}

fn count(map: &Map) -> Result<u64, BpfError> {
    let value = map.lookup(&0u32.to_ne_bytes())?.unwrap_or_default();
    Ok(value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

pub fn a_program_at_tcx_obeys_its_map_and_goes_with_its_link() -> TestResult {
    let (host, container) = veth()?;
    let (inside, outside) = (RawSocket::open(&container, "eth0")?, RawSocket::open(&host, "port")?);
    let map = array()?;
    let (program, hosts) = (counting(&map)?, &host);
    let attached = |hook| {
        hosts.run(|| -> Outcome2<_> {
            Ok(program.attach_tcx(Netlink::open()?.link("port")?.index, hook)?)
        })
    };
    let frame = |number: u8| [&[0xff; 12], &[0x88, 0xb5][..], &[number; 50]].concat();
    let next = || -> Outcome<u8> {
        let frame = inside.receive(Duration::from_secs(5), |bytes| bytes.len() == 64)?;
        Ok(frame.and_then(|frame| frame.bytes.last().copied()).ok_or("nothing arrives")?)
    };

    let ingress = attached(Hook::Ingress)?;
    inside.send(&frame(1))?;
    outside.receive(Duration::from_secs(5), |bytes| bytes == frame(1))?.ok_or("it passes")?;
    // The tap in front of the program has the frame a moment before the program counts it.
    while count(&map)? == 0 {
        std::thread::yield_now();
    }
    assert_eq!(count(&map)?, 1);
    drop(ingress);

    let egress = attached(Hook::Egress)?;
    outside.send(&frame(2))?;
    assert_eq!((next()?, count(&map)?), (2, 2));
    map.update(&1u32.to_ne_bytes(), &i64::from(TCX_DROP).to_ne_bytes())?;
    assert!(outside.send(&frame(3)).is_err(), "whoever sends is told");
    map.update(&1u32.to_ne_bytes(), &i64::from(TCX_NEXT).to_ne_bytes())?;
    outside.send(&frame(4))?;
    assert_eq!((next()?, count(&map)?), (4, 4), "the third was dropped");
    drop(egress);
    outside.send(&frame(5))?;
    assert_eq!((next()?, count(&map)?), (5, 4), "the program went with its link");
    Ok(())
}

pub fn a_map_has_what_was_put_into_it() -> TestResult {
    let map = Map::new(MapKind::Hash, 4, 8, 2)?;
    let (one, two, three) = ([1; 4], [2; 4], [3; 4]);
    assert_eq!(map.lookup(&one)?, None);
    map.update(&one, &[7; 8])?;
    map.update(&two, &[8; 8])?;
    map.update(&one, &[9; 8])?;
    assert_eq!(map.lookup(&one)?, Some(vec![9; 8]));
    let mut keys = map.keys()?;
    keys.sort_unstable();
    assert_eq!(keys, [one, two]);
    assert!(map.update(&three, &[0; 8]).is_err_and(|error| error.errno() == Some(libc::E2BIG)));
    assert!((map.delete(&one)?, map.delete(&one)?) == (true, false));
    assert!(matches!(map.update(&[1; 3], &[7; 8]), Err(BpfError::Entry { .. })));
    assert!(matches!(map.update(&one, &[7; 9]), Err(BpfError::Entry { .. })));
    assert!(matches!(map.lookup(&[1; 5]), Err(BpfError::Entry { .. })));

    let recent = Map::new(MapKind::LruHash, 4, 8, 64)?;
    for number in 0..1000u32 {
        recent.update(&number.to_ne_bytes(), &[1; 8])?;
    }
    assert_eq!(recent.lookup(&999u32.to_ne_bytes())?, Some(vec![1; 8]));
    assert!(recent.keys()?.len() <= 64);

    let each = Map::new(MapKind::PerCpuArray, 4, 8, 1)?;
    let values = each.lookup(&[0; 4])?.ok_or("an array has all of its entries")?;
    assert!(!values.is_empty() && values.len() % 8 == 0);
    each.update(&[0; 4], &vec![5; values.len()])?;
    assert_eq!(each.lookup(&[0; 4])?, Some(vec![5; values.len()]));
    Ok(())
}

pub fn a_program_runs_without_a_device_and_what_the_verifier_dislikes_is_said() -> TestResult {
    let map = array()?;
    let program = counting(&map)?;
    assert_eq!(program.run(&[0; 60])?, TCX_NEXT.cast_unsigned());
    map.update(&1u32.to_ne_bytes(), &i64::from(TCX_DROP).to_ne_bytes())?;
    assert_eq!(program.run(&[0; 60])?, TCX_DROP.cast_unsigned());
    assert_eq!(count(&map)?, 2);
    let mut endless = Code::new();
    endless.mov(Reg::R0, Reg::R3).exit();
    let error = Program::load(ProgramKind::Classifier, &endless.finish()?).err();
    let text = error.ok_or("R3 has nothing")?.to_string();
    assert!(text.contains("R3 !read_ok"), "{text}");
    Ok(())
}

/// Though all of the sockets share one port.
pub fn a_datagram_is_steered_past_whoever_has_its_port() -> TestResult {
    let host = Container::new()?;
    host.run(|| -> Outcome2<()> {
        for ip in ["127.0.0.1", "::1"] {
            steers_datagrams(ip.parse()?)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn steers_datagrams(ip: IpAddr) -> Outcome2<()> {
    let steering = Steering::new(4)?;
    let aside = |port| -> std::io::Result<UdpSocket> {
        let at = SocketAddr::new(ip, port);
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&at.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    let first = aside(0)?;
    let sockets = [aside(first.local_addr()?.port())?, aside(first.local_addr()?.port())?, first];
    let ports = [5351, 5352, 5353];
    for (socket, port) in sockets.iter().zip(ports) {
        steering.steer(SocketAddr::new(ip, port), socket.as_fd())?;
    }
    // The same port of TCP is another one.
    let at = SocketAddr::new(ip, 5351);
    let (holder, listener) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
    let client = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    let mut heard = [0; 8];
    for (socket, port) in sockets.iter().zip(ports) {
        client.send_to(&port.to_be_bytes(), SocketAddr::new(ip, port))?;
        assert_eq!(socket.recv_from(&mut heard)?, (2, client.local_addr()?));
        assert_eq!(heard[..2], port.to_be_bytes());
    }
    TcpStream::connect(at)?;
    listener.accept()?;
    drop(steering);
    client.send_to(b"held", at)?;
    assert_eq!(holder.recv_from(&mut heard)?.0, 4);
    Ok(())
}

pub fn a_connection_is_steered_past_whoever_has_its_port() -> TestResult {
    let host = Container::new()?;
    host.run(|| -> Outcome2<()> {
        for ip in ["127.0.0.1", "::1"] {
            steers(SocketAddr::new(ip.parse()?, 8080))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn steers(at: SocketAddr) -> Outcome2<()> {
    let steering = Steering::new(1)?;
    let listener = TcpListener::bind(SocketAddr::new(at.ip(), 0))?;
    steering.steer(at, listener.as_fd())?;
    let another = TcpListener::bind(SocketAddr::new(at.ip(), 0))?;
    let further = SocketAddr::new(at.ip(), 8081);
    assert!(steering.steer(further, another.as_fd()).is_err(), "there is room for one");
    let holder = TcpListener::bind(at)?;
    let near = TcpStream::connect(at)?;
    let (far, from) = listener.accept()?;
    assert_eq!((far.local_addr()?, from), (at, near.local_addr()?));
    // Another port is that of whoever listens there.
    let neighbour = TcpListener::bind(further)?;
    TcpStream::connect(further)?;
    neighbour.accept()?;
    drop(steering);
    TcpStream::connect(at)?;
    holder.accept()?;
    listener.set_nonblocking(true)?;
    assert!(listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    // With the listener goes what it gets, though not what others hold.
    let steering = Steering::new(1)?;
    steering.steer(at, listener.as_fd())?;
    drop(listener);
    TcpStream::connect(at)?;
    holder.accept()?;
    Ok(())
}
