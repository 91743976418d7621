//! Sockets of the host's programs, as the kernel lists them (`/proc/net/tcp`, proc_net_tcp.rst; those of UDP are alike).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ctl::{PortRange, Protocol};

/// `TCP_TIME_WAIT` (net/tcp_states.h): nobody has it any more.
const TIME_WAIT: u8 = 6;
/// `TCP_CLOSE`: of UDP, connected to nobody.
const CLOSE: u8 = 7;
/// `TCP_LISTEN`.
const LISTEN: u8 = 10;

/// A socket, as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    own: SocketAddr,
    state: u8,
    /// By which a process's descriptors name it.
    inode: Option<u64>,
}

/// The sockets of the calling thread's namespace that are bound to, or connected from, one of these ports; those of the
/// loopback are left out.
///
/// # Errors
/// The kernel's, when it lists none.
pub fn at(ports: &[PortRange]) -> io::Result<Vec<(Protocol, SocketAddr)>> {
    found(|_, socket| {
        !socket.own.ip().to_canonical().is_loopback()
            && ports.iter().any(|range| range.contains(socket.own.port()))
    })
}

/// Of these addresses and ports, those at which a socket of the calling thread's namespace waits for connections, or for
/// datagrams of anybody. One that waits at all addresses is at none of them.
///
/// # Errors
/// The kernel's, when it lists none.
pub fn waiting(at: &BTreeSet<(Protocol, SocketAddr)>) -> io::Result<Vec<(Protocol, SocketAddr)>> {
    found(|protocol, socket| {
        let waits = if protocol == Protocol::Tcp { LISTEN } else { CLOSE };
        socket.state == waits && at.contains(&(protocol, canonical(socket.own)))
    })
}

fn found(is_meant: impl Fn(Protocol, &Listed) -> bool) -> io::Result<Vec<(Protocol, SocketAddr)>> {
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let meant = listed(protocol)?.into_iter().filter(|socket| is_meant(protocol, socket));
        found.extend(meant.map(|socket| (protocol, canonical(socket.own))));
    }
    Ok(found)
}

/// The sockets of a protocol that are somebody's, of both IP versions.
fn listed(protocol: Protocol) -> io::Result<Vec<Listed>> {
    let name = if protocol == Protocol::Udp { "udp" } else { "tcp" };
    let list =
        |version: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}{version}"));
    let lines = match list("6") {
        Ok(six) => list("")? + &six,
        // A kernel without IPv6 has no such list.
        Err(error) if error.kind() == io::ErrorKind::NotFound => list("")?,
        Err(error) => return Err(error),
    };
    let sockets = lines.lines().filter_map(parse);
    Ok(sockets.filter(|socket| socket.state != TIME_WAIT).collect())
}

/// The program that keeps others from an address and port of the calling thread's namespace: its name and process. `None` if that
/// cannot be told, as of one whose files may not be looked at.
pub fn program_at(protocol: Protocol, at: SocketAddr) -> Option<(String, u32)> {
    let is_in_the_way = |socket: &Listed| {
        let own = canonical(socket.own);
        // One at all addresses of IPv6 mostly has those of IPv4 too.
        let has_all = own.ip().is_unspecified() && (own.is_ipv6() || at.is_ipv4());
        own.port() == at.port() && (own.ip() == at.ip() || has_all)
    };
    let socket = listed(protocol).ok()?.into_iter().find(is_in_the_way)?;
    let link = format!("socket:[{}]", socket.inode?);
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let process = numbers.find(|process: &u32| has_open(*process, &link))?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some((name.trim_end().to_owned(), process))
}

fn has_open(process: u32, socket: &str) -> bool {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let mut files = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    files.any(|file| file.as_os_str() == socket)
}

fn canonical(own: SocketAddr) -> SocketAddr {
    SocketAddr::new(own.ip().to_canonical(), own.port())
}

/// The socket of a line.
fn parse(line: &str) -> Option<Listed> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (ip, port) = words.next()?.split_once(':')?;
    let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = words.nth(5).and_then(|inode| inode.parse().ok());
    Some(Listed { own: SocketAddr::new(address(ip)?, port), state, inode })
}

/// An address is written by words of 32 bits, each as this machine reads it.
fn address(hex: &str) -> Option<IpAddr> {
    let words = (0..hex.len()).step_by(8).map(|at| {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|own| IpAddr::V4(Ipv4Addr::from(own)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(|own| Ipv6Addr::from(own).into()))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_are_found_by_their_ports_but_for_those_of_the_loopback() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let datagrams = UdpSocket::bind("[::]:0").unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = |address: SocketAddr| PortRange::one(address.port()).unwrap();
        let [tcp, udp, own] = [
            listener.local_addr().unwrap(),
            datagrams.local_addr().unwrap(),
            inside.local_addr().unwrap(),
        ];
        let found = at(&[one(tcp), one(udp)]).unwrap();
        assert!(found.contains(&(Protocol::Tcp, tcp)), "{found:?}");
        assert!(found.contains(&(Protocol::Udp, udp)), "{found:?}");
        let of_loopback = at(&[one(own)]).unwrap();
        assert!(!of_loopback.contains(&(Protocol::Tcp, own)), "{of_loopback:?}");
    }

    #[test]
    fn the_program_that_has_a_port_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (name, process) = program_at(Protocol::Tcp, at).unwrap();
        assert_eq!(process, std::process::id());
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(name, own.trim_end());
        drop(listener);
        assert_eq!(program_at(Protocol::Tcp, at), None);
        let everywhere = UdpSocket::bind("0.0.0.0:0").unwrap();
        let one = SocketAddr::new(at.ip(), everywhere.local_addr().unwrap().port());
        assert_eq!(program_at(Protocol::Udp, one), Some((name, process)));
    }

    #[test]
    fn who_waits_at_an_address_is_found_and_who_waits_at_all_or_speaks_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("[::1]:0").unwrap();
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let meant = BTreeSet::from([
            (Protocol::Tcp, listener.local_addr().unwrap()),
            (Protocol::Udp, listener.local_addr().unwrap()),
            (Protocol::Udp, datagrams.local_addr().unwrap()),
            (Protocol::Tcp, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            (Protocol::Tcp, client.local_addr().unwrap()),
        ]);
        let expected = [
            (Protocol::Tcp, listener.local_addr().unwrap()),
            (Protocol::Udp, datagrams.local_addr().unwrap()),
        ];
        assert_eq!(waiting(&meant).unwrap(), expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read_as_the_kernel_writes_them() {
        let listening = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        let own = |ip: &str| ip.parse().unwrap();
        let expected = Listed { own: own("127.0.0.1:8080"), state: LISTEN, inode: Some(1) };
        assert_eq!(parse(listening), Some(expected));
        let six = "0: B80D0120000000000000000001000000:0035 0:0 06 0";
        let expected = Listed { own: own("[2001:db8::1]:53"), state: TIME_WAIT, inode: None };
        assert_eq!(parse(six), Some(expected));
        for wrong in ["", "  sl  local_address rem_address   st", "0: 12:34", "0: 0100007F:1F90 0"]
        {
            assert_eq!(parse(wrong), None);
        }
    }
}
