//! The values of a match: sets of addresses, ports and states, masks of stations and flags.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::error::{Complaint, joined};
use crate::packet::FLAGS;
use crate::{Prefix, names};

/// Station addresses: those that are `value` in the bits of `mask`. Groups are addresses here as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacMatch {
    /// What they are.
    pub value: [u8; 6],
    /// The bits that count; at least one.
    pub mask: [u8; 6],
}

impl MacMatch {
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let (value, mask) = text.split_once('/').unwrap_or((text, "ff:ff:ff:ff:ff:ff"));
        let no_mac = || {
            let advice = "write six hexadecimal bytes, such as 02:00:00:00:00:01, and perhaps a mask, such as \
                          01:00:00:00:00:00/01:00:00:00:00:00";
            Complaint::new(format!("{text:?} is no MAC address"), advice)
        };
        let (value, mask) = bytes(value).zip(bytes(mask)).ok_or_else(no_mac)?;
        if mask == [0; 6] {
            return Err(Complaint::new("the mask is of every address", "leave it out"));
        }
        if value.iter().zip(mask).any(|(value, mask)| value & !mask != 0) {
            return Err(Complaint::new("it has bits outside of its mask", "make them zero"));
        }
        Ok(Self { value, mask })
    }
}

/// The bytes of a MAC address, group or not.
fn bytes(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = part
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(part, 16).ok())
            .flatten()?;
    }
    parts.next().is_none().then_some(bytes)
}

impl fmt::Display for MacMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: [u8; 6]| joined(bytes.map(|byte| format!("{byte:02x}")), ":");
        f.write_str(&text(self.value))?;
        if self.mask == [0xff; 6] { Ok(()) } else { write!(f, "/{}", text(self.mask)) }
    }
}

/// A set of networks and addresses, at least one: `10.0.0.0/8` or `{10.1.0.1,fd00::/64}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressSet(Vec<Prefix>);

impl AddressSet {
    /// The networks, in order.
    pub fn prefixes(&self) -> &[Prefix] {
        &self.0
    }

    /// Whether it has networks of an IP version.
    pub fn has(&self, ipv4: bool) -> bool {
        self.0.iter().any(|prefix| prefix.is_ipv4() == ipv4)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let mut prefixes: Vec<_> =
            members(text)?.into_iter().map(prefix).collect::<Result<_, _>>()?;
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(Self(prefixes))
    }
}

/// A network, with the length of its prefix or, as OVS writes it, a netmask.
fn prefix(text: &str) -> Result<Prefix, Complaint> {
    let netmask = text.split_once('/').and_then(|(addr, mask)| {
        let (addr, mask): (Ipv4Addr, Ipv4Addr) = (addr.parse().ok()?, mask.parse().ok()?);
        Some((addr, mask.to_bits()))
    });
    let Some((addr, mask)) = netmask else {
        let Ok(addr) = text.parse::<IpAddr>() else { return Ok(text.parse()?) };
        return Ok(Prefix::host(addr));
    };
    if mask.leading_ones() + mask.trailing_zeros() != 32 {
        let advice = "a mask is ones and then zeros; write more than one network as a set, {A,B}";
        return Err(Complaint::new(format!("the netmask of {text:?} has gaps"), advice));
    }
    Ok(format!("{addr}/{}", mask.leading_ones()).parse()?)
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |prefix: &Prefix| match prefix.addr() {
            addr if *prefix == Prefix::host(addr) => addr.to_string(),
            _ => prefix.to_string(),
        };
        f.write_str(&braced(self.0.iter().map(text).collect()))
    }
}

/// A set of ports, at least one: `80`, `80-90` or `{22,80-90}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// The ranges, in order, of which none touch.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let mut ranges: Vec<_> = members(text)?.into_iter().map(range).collect::<Result<_, _>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self(merged))
    }
}

fn range(text: &str) -> Result<(u16, u16), Complaint> {
    const ADVICE: &str = "write a port, a range such as 80-90, or a set such as {22,80-90}";
    if let Some((port, mask)) = text
        .split_once('/')
        .and_then(|(port, mask)| Some((number::<u16>(port).ok()?, number::<u16>(mask).ok()?)))
    {
        let advice = match mask.leading_ones() + mask.trailing_zeros() {
            16 => format!("write the range, {}-{}", port & mask, port | !mask),
            _ => ADVICE.to_owned(),
        };
        return Err(Complaint::new("ports have no masks here", advice));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number::<u16>(first), number::<u16>(last)) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        (Ok(_), Ok(_)) => {
            Err(Complaint::new(format!("{text:?} is empty"), "write the smaller port first"))
        }
        _ => Err(Complaint::new(format!("{text:?} is no port"), ADVICE)),
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        f.write_str(&braced(self.0.iter().map(text).collect()))
    }
}

/// TCP flags that are set and others that are not: `+syn-ack`. At least one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlagsMatch {
    /// Which are set.
    pub value: u8,
    /// Which count.
    pub mask: u8,
}

impl FlagsMatch {
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let advice = format!(
            "write + before each flag that is set and - before each that is not, such as +syn-ack, of {}",
            joined(FLAGS, ", ")
        );
        let wrong = || Complaint::new(format!("{text:?} are no TCP flags"), advice.clone());
        let (mut value, mut mask) = (0, 0);
        for (is_set, name) in signed(text).ok_or_else(wrong)? {
            let bit = FLAGS.iter().position(|flag| *flag == name).map(|at| 1u8 << at);
            let bit = bit.filter(|bit| mask & bit == 0).ok_or_else(wrong)?;
            mask |= bit;
            value |= if is_set { bit } else { 0 };
        }
        Ok(Self { value, mask })
    }
}

impl fmt::Display for FlagsMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in FLAGS.iter().enumerate().filter(|(at, _)| self.mask >> at & 1 == 1) {
            write!(f, "{}{name}", if self.value >> at & 1 == 1 { '+' } else { '-' })?;
        }
        Ok(())
    }
}

/// The state of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnState {
    /// It begins one.
    New,
    /// It belongs to one.
    Established,
    /// It belongs to no connection, but to an error about one, or is expected by one.
    Related,
    /// It belongs to none, and cannot begin one.
    Invalid,
}

impl ConnState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::New, Self::Established, Self::Related, Self::Invalid];

    /// Its name, and that of OVS.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::New => ("new", "new"),
            Self::Established => ("established", "est"),
            Self::Related => ("related", "rel"),
            Self::Invalid => ("invalid", "inv"),
        }
    }
}

/// A set of connection states, at least one: `new` or `{established,related}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateSet(u8);

impl StateSet {
    /// Whether a state is in the set.
    pub fn contains(self, state: ConnState) -> bool {
        self.0 >> state as u8 & 1 == 1
    }

    /// The states, in order.
    pub fn iter(self) -> impl Iterator<Item = ConnState> {
        ConnState::ALL.into_iter().filter(move |state| self.contains(*state))
    }

    fn of(states: impl Iterator<Item = ConnState>) -> Self {
        Self(states.fold(0, |set, state| set | 1 << state as u8))
    }

    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let state = |name: &str| {
            ConnState::ALL.into_iter().find(|state| state.names().0 == name).ok_or_else(|| {
                let names = joined(ConnState::ALL.map(|state| state.names().0), ", ");
                let advice = format!("use {names}, or a set such as {{established,related}}");
                Complaint::new(format!("{name:?} is no connection state"), advice)
            })
        };
        let states: Vec<_> = members(text)?.into_iter().map(state).collect::<Result<_, _>>()?;
        Ok(Self::of(states.into_iter()))
    }

    /// OVS's flags, `+new-inv`. A packet of ours is in exactly one state: of the states, those are
    /// meant that have all flags with + and none with -. Flags with - alone are also of packets that
    /// are not tracked, which have no state here.
    pub(super) fn parse_flags(text: &str) -> Result<Self, Complaint> {
        const ADVICE: &str = "use +trk, and + or - with new, est, rel and inv, or write a set of states, such as \
                              state={new,established}";
        let wrong = || Complaint::new(format!("{text:?} has flags that mean nothing here"), ADVICE);
        let flags = signed(text).ok_or_else(wrong)?;
        if flags.iter().all(|(is_set, _)| !is_set) {
            let advice = format!("write ct_state=+trk{text} if those that have a state are meant");
            return Err(Complaint::new(
                "packets that are not tracked have none of the flags",
                advice,
            ));
        }
        let mut states = ConnState::ALL.to_vec();
        for (is_set, name) in flags {
            if name == "trk" && is_set {
                continue;
            }
            let flag = ConnState::ALL.into_iter().find(|state| state.names().1 == name);
            let flag = flag.ok_or_else(wrong)?;
            states.retain(|state| (*state == flag) == is_set);
        }
        if states.is_empty() {
            let problem = format!("a packet is in one state, and {text:?} is none of them");
            return Err(Complaint::new(problem, ADVICE));
        }
        Ok(Self::of(states.into_iter()))
    }
}

impl fmt::Display for StateSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&braced(self.iter().map(|state| state.names().0.to_owned()).collect()))
    }
}

/// Names with their signs, `+a-b`; `None` if there are none, or a sign or name is missing.
fn signed(text: &str) -> Option<Vec<(bool, &str)>> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let behind = rest.strip_prefix(['+', '-'])?;
        let end = behind.find(['+', '-']).unwrap_or(behind.len());
        names.push((sign == '+', &behind[..end]));
        rest = &behind[end..];
    }
    (!names.is_empty()).then_some(names)
}

/// The members of a set in braces, or the one value without.
fn members(text: &str) -> Result<Vec<&str>, Complaint> {
    let Some(inner) = text.strip_prefix('{') else { return Ok(vec![text]) };
    let unclosed = || Complaint::new("the set is not closed", "end it with }");
    let inner = inner.strip_suffix('}').ok_or_else(unclosed)?;
    Ok(inner.split(',').map(str::trim).collect())
}

/// The reverse of [`members`].
fn braced(members: Vec<String>) -> String {
    match members.as_slice() {
        [one] => one.clone(),
        _ => format!("{{{}}}", members.join(",")),
    }
}

/// A number in decimal or, as OVS often writes it, `0x` hexadecimal.
pub(super) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, Complaint> {
    let hex = text.strip_prefix("0x").map(|digits| {
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    });
    let value = hex.unwrap_or_else(|| names::digits::<u64>(text));
    value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
        let most = u64::MAX >> (64 - 8 * size_of::<T>());
        Complaint::new(
            format!("{text:?} is no number of its range"),
            format!("use 0 to {most}, decimal or, with 0x before, hexadecimal"),
        )
    })
}
