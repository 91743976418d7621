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

/// The sockets of the calling thread's namespace that are bound to, or connected from, one of these ports; those of the
/// loopback are left out.
///
/// # Errors
/// The kernel's, when it lists none.
pub fn at(ports: &[PortRange]) -> io::Result<Vec<(Protocol, SocketAddr)>> {
    let is_meant = |own: &SocketAddr| {
        !own.ip().to_canonical().is_loopback()
            && ports.iter().any(|range| range.contains(own.port()))
    };
    let mut found = listed()?;
    found.retain(|(_, state, own)| *state != TIME_WAIT && is_meant(own));
    Ok(found.into_iter().map(|(protocol, _, own)| (protocol, own)).collect())
}

/// Of these addresses and ports, those at which a socket of the calling thread's namespace waits for connections, or for
/// datagrams of anybody. One that waits at all addresses is at none of them.
///
/// # Errors
/// The kernel's, when it lists none.
pub fn waiting(at: &BTreeSet<(Protocol, SocketAddr)>) -> io::Result<Vec<(Protocol, SocketAddr)>> {
    let is_waiting = |protocol, state| match protocol {
        Protocol::Tcp => state == LISTEN,
        _ => state == CLOSE,
    };
    let waiting =
        listed()?.into_iter().filter(|(protocol, state, _)| is_waiting(*protocol, *state));
    let own = waiting
        .map(|(protocol, _, own)| (protocol, SocketAddr::new(own.ip().to_canonical(), own.port())));
    Ok(own.filter(|own| at.contains(own)).collect())
}

/// All sockets of TCP and UDP, with their states and local addresses.
fn listed() -> io::Result<Vec<(Protocol, u8, SocketAddr)>> {
    let mut found = Vec::new();
    for (protocol, names) in [(Protocol::Tcp, ["tcp", "tcp6"]), (Protocol::Udp, ["udp", "udp6"])] {
        for name in names {
            let listed = match std::fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
                Ok(listed) => listed,
                // A kernel without IPv6 has no such list.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let own = listed.lines().filter_map(local_address);
            found.extend(own.map(|(state, own)| (protocol, state, own)));
        }
    }
    Ok(found)
}

/// The state and the local address of a line.
fn local_address(line: &str) -> Option<(u8, SocketAddr)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (ip, port) = words.next()?.split_once(':')?;
    let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((state, SocketAddr::new(address(ip)?, port)))
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
        assert_eq!(local_address(listening), Some((LISTEN, "127.0.0.1:8080".parse().unwrap())));
        let over = listening.replace(" 0A ", " 06 ");
        assert_eq!(local_address(&over).map(|(state, _)| state), Some(TIME_WAIT));
        let six = "0: B80D0120000000000000000001000000:0035 0:0 07 0";
        assert_eq!(local_address(six), Some((CLOSE, "[2001:db8::1]:53".parse().unwrap())));
        for wrong in ["", "  sl  local_address rem_address   st", "0: 12:34", "0: 0100007F:1F90 0"]
        {
            assert_eq!(local_address(wrong), None);
        }
    }
}
