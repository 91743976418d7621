//! The words of a match: ours, and those of OVS that have one meaning; and which of them go together.

use super::error::{Complaint, joined};
use super::matches::{Criteria, VlanMatch, put};
use super::value::{AddressSet, FlagsMatch, MacMatch, PortSet, StateSet, number};
use crate::Vni;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Words for an EtherType and perhaps a protocol, as in OVS.
const KEYWORDS: [(&str, u16, Option<u8>); 11] = [
    ("arp", ARP, None),
    ("ip", IPV4, None),
    ("ipv6", IPV6, None),
    ("tcp", IPV4, Some(TCP)),
    ("udp", IPV4, Some(UDP)),
    ("sctp", IPV4, Some(SCTP)),
    ("icmp", IPV4, Some(ICMP)),
    ("tcp6", IPV6, Some(TCP)),
    ("udp6", IPV6, Some(UDP)),
    ("sctp6", IPV6, Some(SCTP)),
    ("icmp6", IPV6, Some(ICMPV6)),
];

/// Names of protocols of any IP version.
const PROTOCOLS: [(&str, u8); 5] =
    [("tcp", TCP), ("udp", UDP), ("sctp", SCTP), ("icmp", ICMP), ("icmp6", ICMPV6)];

/// Our names of fields.
const NAMES: [&str; 17] = [
    "in_port",
    "bridge",
    "src_mac",
    "dst_mac",
    "ethertype",
    "vlan",
    "src",
    "dst",
    "proto",
    "sport",
    "dport",
    "tcp_flags",
    "icmp_type",
    "icmp_code",
    "dscp",
    "state",
    "vni",
];

/// Other names of fields, most of them OVS's, which mean exactly the same.
const ALIASES: [(&str, &str); 30] = [
    ("dl_src", "src_mac"),
    ("eth_src", "src_mac"),
    ("dl_dst", "dst_mac"),
    ("eth_dst", "dst_mac"),
    ("dl_type", "ethertype"),
    ("eth_type", "ethertype"),
    ("dl_vlan", "vlan"),
    ("nw_src", "src"),
    ("ip_src", "src"),
    ("ipv6_src", "src"),
    ("nw_dst", "dst"),
    ("ip_dst", "dst"),
    ("ipv6_dst", "dst"),
    ("nw_proto", "proto"),
    ("ip_proto", "proto"),
    ("tp_src", "sport"),
    ("tcp_src", "sport"),
    ("udp_src", "sport"),
    ("sctp_src", "sport"),
    ("tp_dst", "dport"),
    ("tcp_dst", "dport"),
    ("udp_dst", "dport"),
    ("sctp_dst", "dport"),
    ("icmpv6_type", "icmp_type"),
    ("icmpv6_code", "icmp_code"),
    ("ip_dscp", "dscp"),
    ("nw_tos", "dscp"),
    ("ct_state", "state"),
    ("tun_id", "vni"),
    ("tunnel_id", "vni"),
];

/// Names of OVS that mean something that is not here, or something else, with what to do instead.
const FOREIGN: [(&str, &str); 12] = [
    ("table", "there is one table: leave it out, and order rules by their priorities"),
    ("cookie", "rules have numbers, see `flow list`; leave it out"),
    (
        "metadata",
        "registers and metadata carry results between tables, of which there is one; leave it out",
    ),
    (
        "reg",
        "registers and metadata carry results between tables, of which there is one; leave it out",
    ),
    ("vlan_tci", "write vlan=N, or vlan=none for the ports that know no VLANs"),
    ("vlan_vid", "write vlan=N, or vlan=none for the ports that know no VLANs"),
    ("dl_vlan_pcp", "VLAN priorities are not matched; leave it out"),
    ("ct_", "of connections only the state is matched: write state=new or ct_state=+new"),
    (
        "tun_",
        "of tunnels only the network is matched: write vni=N, or in_port=PORT for one remote end",
    ),
    (
        "arp_",
        "what is inside of ARP is not matched: write arp alone, or use the spoof guard of the port",
    ),
    ("nd_", "what is inside of neighbour discovery is not matched: write icmp6,icmp_type=135"),
    ("n_", "counters are no part of a rule; leave out n_packets and n_bytes"),
];

/// Applies one part of a match, and says which field it is about.
pub(super) fn set(criteria: &mut Criteria, part: &str) -> Result<&'static str, Complaint> {
    match part.split_once('=') {
        Some((name, value)) => set_field(criteria, name.trim(), value.trim()),
        None => set_keyword(criteria, part),
    }
}

fn set_keyword(criteria: &mut Criteria, word: &str) -> Result<&'static str, Complaint> {
    if word == "any" {
        return Ok("any");
    }
    let known = KEYWORDS.iter().find(|(keyword, ..)| *keyword == word);
    let (_, ethertype, proto) = known.ok_or_else(|| unknown(word))?;
    put(&mut criteria.ethertype, *ethertype)?;
    let Some(proto) = proto else { return Ok("ethertype") };
    put(&mut criteria.proto, *proto)?;
    Ok("proto")
}

fn set_field(criteria: &mut Criteria, name: &str, value: &str) -> Result<&'static str, Complaint> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, field)| *field);
    let field = alias.or_else(|| NAMES.into_iter().find(|field| *field == name));
    let field = field.ok_or_else(|| unknown(name))?;
    let to = criteria;
    match (field, name) {
        ("in_port", _) => put(&mut to.in_port, port(value)?),
        ("bridge", _) => put(&mut to.bridge, value.parse()?),
        ("src_mac", _) => put(&mut to.src_mac, MacMatch::parse(value)?),
        ("dst_mac", _) => put(&mut to.dst_mac, MacMatch::parse(value)?),
        ("ethertype", _) => put(&mut to.ethertype, number(value)?),
        ("vlan", _) => put(&mut to.vlan, vlan(value)?),
        ("src", _) => put(&mut to.src, addresses(name, value)?),
        ("dst", _) => put(&mut to.dst, addresses(name, value)?),
        ("proto", _) => put(&mut to.proto, protocol(value)?),
        ("sport", _) => put(&mut to.sport, PortSet::parse(value)?),
        ("dport", _) => put(&mut to.dport, PortSet::parse(value)?),
        ("tcp_flags", _) => put(&mut to.tcp_flags, FlagsMatch::parse(value)?),
        ("icmp_type", _) => put(&mut to.icmp_type, number(value)?),
        ("icmp_code", _) => put(&mut to.icmp_code, number(value)?),
        ("dscp", "nw_tos") => put(&mut to.dscp, dscp_of_tos(value)?),
        ("dscp", _) => put(&mut to.dscp, dscp(value)?),
        ("state", "ct_state") => put(&mut to.state, StateSet::parse_flags(value)?),
        ("state", _) => put(&mut to.state, StateSet::parse(value)?),
        _ => put(&mut to.vni, Vni::try_from(number::<u32>(value)?)?),
    }?;
    Ok(field)
}

fn unknown(word: &str) -> Complaint {
    if NAMES.contains(&word) || ALIASES.iter().any(|(alias, _)| *alias == word) {
        return Complaint::new("its value is missing", format!("write {word}=VALUE"));
    }
    if let Some((_, advice)) = FOREIGN.iter().find(|(start, _)| word.starts_with(start)) {
        return Complaint::new("it means nothing here", *advice);
    }
    let keywords = joined(KEYWORDS.map(|(keyword, ..)| keyword), ", ");
    let names = joined(NAMES.map(|name| format!("{name}=")), ", ");
    Complaint::new("a match has no such part", format!("use any, {keywords}, {names}"))
}

/// A port by its name. OVS's reserved ports are none.
fn port(value: &str) -> Result<crate::PortName, Complaint> {
    if super::is_reserved(value) {
        let advice = "write the name of a port; `port list` shows them";
        return Err(Complaint::new(format!("there is no port {value} here"), advice));
    }
    Ok(value.parse()?)
}

fn vlan(value: &str) -> Result<VlanMatch, Complaint> {
    if value == "none" {
        return Ok(VlanMatch::None);
    }
    let number = number::<u16>(value)?;
    crate::VlanId::try_from(number).map(VlanMatch::Id).map_err(|_| {
        let advice = "use 1 to 4094, or none for the ports that know no VLANs";
        Complaint::new(format!("{value:?} is no VLAN"), advice)
    })
}

fn addresses(name: &str, value: &str) -> Result<AddressSet, Complaint> {
    let set = AddressSet::parse(value)?;
    let wrong = match name {
        "nw_src" | "nw_dst" | "ip_src" | "ip_dst" => set.has(false),
        "ipv6_src" | "ipv6_dst" => set.has(true),
        _ => false,
    };
    if wrong {
        let advice = "write src= or dst=, which take addresses of both IP versions";
        return Err(Complaint::new(
            format!("{name} has an address of the other IP version"),
            advice,
        ));
    }
    Ok(set)
}

fn protocol(value: &str) -> Result<u8, Complaint> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
    known.map_or_else(|| number(value), Ok).map_err(|wrong| {
        let names = joined(PROTOCOLS.map(|(name, _)| name), ", ");
        Complaint::new(wrong.problem, format!("use {names}, or a number from 0 to 255"))
    })
}

/// A code point of six bits (RFC 2474).
pub(super) fn dscp(value: &str) -> Result<u8, Complaint> {
    let in_range = |dscp: &u8| *dscp < 64;
    number::<u8>(value).ok().filter(in_range).ok_or_else(|| {
        Complaint::new(
            format!("{value:?} is no DSCP"),
            "use 0 to 63, such as 46 (expedited forwarding)",
        )
    })
}

/// The code point of a TOS byte, whose two other bits are ECN.
pub(super) fn dscp_of_tos(value: &str) -> Result<u8, Complaint> {
    let tos = number::<u8>(value)?;
    if tos & 3 != 0 {
        let advice = format!("ECN is not a rule's: write {} or dscp={}", tos & !3, tos >> 2);
        return Err(Complaint::new("the two lowest bits of TOS are ECN", advice));
    }
    Ok(tos >> 2)
}

/// Whether criteria go together; else the field that does not, and why.
pub(super) fn check(of: &Criteria) -> Result<(), (&'static str, Complaint)> {
    check_ethertype(of).map_err(|wrong| ("ethertype", wrong))?;
    check_protocol(of)?;
    for (field, set) in [("src", &of.src), ("dst", &of.dst)] {
        if let Some(set) = set {
            check_family(of, set).map_err(|wrong| (field, wrong))?;
        }
    }
    match (&of.src, &of.dst) {
        (Some(src), Some(dst)) if ![true, false].iter().any(|v4| src.has(*v4) && dst.has(*v4)) => {
            let advice = "give both of one IP version";
            Err((
                "dst",
                Complaint::new("source and destination have no IP version in common", advice),
            ))
        }
        _ => Ok(()),
    }
}

fn check_ethertype(of: &Criteria) -> Result<(), Complaint> {
    let Some(ethertype) = of.ethertype else { return Ok(()) };
    if VLAN_TAGS.contains(&ethertype) {
        let advice = "write vlan=N; the ethertype is the one behind the tags";
        return Err(Complaint::new("VLAN tags are no ethertype here", advice));
    }
    if ethertype < 0x0600 {
        let advice = "ethertypes begin at 0x0600; smaller numbers are lengths of 802.3 frames";
        return Err(Complaint::new(format!("{ethertype:#06x} is no ethertype"), advice));
    }
    let ip_only = of.src.is_some()
        || of.dst.is_some()
        || of.proto.is_some()
        || of.dscp.is_some()
        || of.state.is_some();
    if ip_only && ![IPV4, IPV6].contains(&ethertype) {
        let problem =
            format!("ethertype {ethertype:#06x} is not IP, and the rest of the match is about IP");
        let advice =
            "leave one of them out; addresses, protocol, DSCP and state are of ip and ipv6";
        return Err(Complaint::new(problem, advice));
    }
    Ok(())
}

fn check_protocol(of: &Criteria) -> Result<(), (&'static str, Complaint)> {
    let has_ports = matches!(of.proto, Some(TCP | UDP | SCTP));
    let is_icmp = matches!(of.proto, Some(ICMP | ICMPV6));
    let needs_ports =
        "write tcp, udp or sctp with it, tcp6, udp6 or sctp6 for IPv6, or proto=tcp for both";
    let needs_icmp = "write icmp or icmp6 with it";
    let wanted = [
        (
            "sport",
            of.sport.is_some(),
            has_ports,
            "ports need a protocol that has ports",
            needs_ports,
        ),
        (
            "dport",
            of.dport.is_some(),
            has_ports,
            "ports need a protocol that has ports",
            needs_ports,
        ),
        (
            "tcp_flags",
            of.tcp_flags.is_some(),
            of.proto == Some(TCP),
            "TCP flags need TCP",
            "write tcp with it, tcp6 for IPv6, or proto=tcp for both",
        ),
        ("icmp_type", of.icmp_type.is_some(), is_icmp, "an ICMP type needs ICMP", needs_icmp),
        ("icmp_code", of.icmp_code.is_some(), is_icmp, "an ICMP code needs ICMP", needs_icmp),
        (
            "icmp_code",
            of.icmp_code.is_some(),
            of.icmp_type.is_some(),
            "an ICMP code means nothing without a type",
            "write icmp_type=TYPE with it",
        ),
    ];
    for (field, given, allowed, problem, advice) in wanted {
        if given && !allowed {
            return Err((field, Complaint::new(problem, advice)));
        }
    }
    let (problem, advice) = match (of.proto, of.ethertype) {
        (Some(ICMP), Some(IPV6)) => ("protocol 1 is ICMP of IPv4", "write icmp6"),
        (Some(ICMPV6), Some(IPV4)) => ("protocol 58 is ICMP of IPv6", "write icmp"),
        _ => return Ok(()),
    };
    Err(("proto", Complaint::new(problem, advice)))
}

/// Whether all addresses of a set can be in the packets that the rest is about.
fn check_family(of: &Criteria, set: &AddressSet) -> Result<(), Complaint> {
    let v4_only = of.ethertype == Some(IPV4) || of.proto == Some(ICMP);
    let v6_only = of.ethertype == Some(IPV6) || of.proto == Some(ICMPV6);
    let advice =
        "write tcp6, udp6, icmp6 or ipv6 for IPv6, and proto=tcp or proto=udp for both IP versions";
    if v4_only && set.has(false) {
        return Err(Complaint::new("an IPv6 address cannot be in an IPv4 packet", advice));
    }
    if v6_only && set.has(true) {
        return Err(Complaint::new("an IPv4 address cannot be in an IPv6 packet", advice));
    }
    Ok(())
}

/// The parts of a match as they are printed, in the order of a packet's headers.
pub(super) fn parts(of: &Criteria) -> Vec<String> {
    fn part<T: ToString>(name: &str, value: Option<&T>) -> Option<String> {
        value.map(|value| format!("{name}={}", value.to_string()))
    }
    let link = [
        part("in_port", of.in_port.as_ref()),
        part("bridge", of.bridge.as_ref()),
        part("vni", of.vni.as_ref()),
        part("src_mac", of.src_mac.as_ref()),
        part("dst_mac", of.dst_mac.as_ref()),
        part("vlan", of.vlan.as_ref()),
    ];
    let rest = [
        part("src", of.src.as_ref()),
        part("dst", of.dst.as_ref()),
        part("sport", of.sport.as_ref()),
        part("dport", of.dport.as_ref()),
        part("tcp_flags", of.tcp_flags.as_ref()),
        part("icmp_type", of.icmp_type.as_ref()),
        part("icmp_code", of.icmp_code.as_ref()),
        part("dscp", of.dscp.as_ref()),
        part("state", of.state.as_ref()),
    ];
    link.into_iter().chain(kind(of)).chain(rest).flatten().collect()
}

/// EtherType and protocol, by a keyword if there is one.
fn kind(of: &Criteria) -> [Option<String>; 2] {
    let proto = |number: u8| {
        let name = PROTOCOLS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name);
        format!("proto={}", name.map_or(number.to_string(), str::to_owned))
    };
    let Some(ethertype) = of.ethertype else { return [None, of.proto.map(proto)] };
    let keyword = |proto: Option<u8>| {
        let known = KEYWORDS.iter().find(|known| (known.1, known.2) == (ethertype, proto));
        known.map(|(keyword, ..)| (*keyword).to_owned())
    };
    match keyword(of.proto) {
        Some(both) => [Some(both), None],
        None => {
            let number = || format!("ethertype={ethertype:#06x}");
            [Some(keyword(None).unwrap_or_else(number)), of.proto.map(proto)]
        }
    }
}
