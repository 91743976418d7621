//! The resolvers of the host, as `resolv.conf` names them (`resolv.conf(5)`).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::PORT;

/// As many resolvers as the C library asks.
const MAX_NAMESERVERS: usize = 3;

/// The resolvers that a `resolv.conf` names, in order. `scope` knows the numbers of interfaces, which addresses of one
/// link need.
pub fn nameservers(text: &str, scope: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let word = |line: &'_ str| -> Option<String> {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned))?
    };
    let address = |word: String| match word.split_once('%') {
        Some((addr, interface)) => {
            let number = interface.parse().ok().or_else(|| scope(interface))?;
            Some(SocketAddrV6::new(addr.parse().ok()?, PORT, 0, number).into())
        }
        None => Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT)),
    };
    text.lines().filter_map(word).filter_map(address).take(MAX_NAMESERVERS).collect()
}
