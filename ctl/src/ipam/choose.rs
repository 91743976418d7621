//! [`choose`]: a private subnet that nobody uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Prefix;
use crate::names::fnv1a;

/// Where subnets of IPv4 are chosen from, in this order: blocks of RFC 1918 that other container engines do not
/// begin with. The numbers are the first address, how many bits of it are given, and how long a subnet's prefix is.
pub const SUBNETS_IPV4: [(Ipv4Addr, u8, u8); 3] = [
    (Ipv4Addr::new(10, 210, 0, 0), 16, 24),
    (Ipv4Addr::new(172, 28, 0, 0), 14, 24),
    (Ipv4Addr::new(192, 168, 128, 0), 17, 24),
];

/// How many unique local subnets are tried for one name.
const ATTEMPTS: u8 = 64;

/// A private subnet that has no address in common with these; `None` when there is none. Of IPv4 it is the first free
/// /24 of [`SUBNETS_IPV4`]. Of IPv6 it is a /64 of `fd00::/8` (RFC 4193) that is made of `name`, so that a network has
/// the same on all hosts.
pub fn choose(ipv4: bool, name: &str, used: &[Prefix]) -> Option<Prefix> {
    let is_free = |subnet: &Prefix| used.iter().all(|other| !other.overlaps(subnet));
    if ipv4 {
        SUBNETS_IPV4.into_iter().flat_map(subnets).find(is_free)
    } else {
        (0..ATTEMPTS).filter_map(|attempt| unique_local(name, attempt)).find(is_free)
    }
}

fn subnets((first, len, subnet_len): (Ipv4Addr, u8, u8)) -> impl Iterator<Item = Prefix> {
    let count = 1u32 << (subnet_len - len);
    let step = 1u32 << (32 - subnet_len);
    let subnet = move |number| IpAddr::from(Ipv4Addr::from(first.to_bits() + number * step));
    (0..count).filter_map(move |number| Prefix::of(subnet(number), subnet_len))
}

/// Bits 8 to 47 are the global identifier, and the subnet's is 0 (RFC 4193, section 3.1).
fn unique_local(name: &str, attempt: u8) -> Option<Prefix> {
    let salted = if attempt == 0 { name.to_owned() } else { format!("{name}/{attempt}") };
    let [_, _, _, a, b, c, d, e] = fnv1a(&salted).to_be_bytes();
    let addr = [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Prefix::of(Ipv6Addr::from(addr).into(), 64)
}
