//! Names, addresses and numbers as people type them. Each is checked when it is made, so that what
//! exists is valid; each is a string (or a number) in JSON.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Prefix;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct BadName {
    /// What it should be.
    pub what: &'static str,
    /// The text.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

pub(crate) fn bad(what: &'static str, text: &str, rule: &'static str) -> BadName {
    // A name that is far too long is not repeated whole.
    BadName { what, text: text.chars().take(64).collect(), rule }
}

/// Serialises by `Display` and deserialises by `FromStr`.
macro_rules! as_string {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
pub(crate) use as_string;

/// A name type: a string that keeps a rule.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $longest:literal, $rule:literal $(, not $taken:literal)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
                let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                let is_free = ![$($taken),*].contains(&text);
                if starts && text.len() <= $longest && text.chars().all(plain) && is_free {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(bad($what, text, $rule))
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        as_string!($type);
    };
}

name!(
    /// The name of a bridge.
    BridgeName, "bridge name", 32,
    "use 1 to 32 letters, digits, '_', '.' and '-', beginning with a letter or digit"
);

impl BridgeName {
    const LOOPBACK: &str = "host-loopback";

    /// The bridge by which published ports are relayed from the host's loopback, see [`crate::Config::relayed`].
    pub fn loopback() -> Self {
        Self(Self::LOOPBACK.to_owned())
    }

    /// Whether it is [`BridgeName::loopback`].
    pub fn is_loopback(&self) -> bool {
        self.0 == Self::LOOPBACK
    }
}

name!(
    /// The name of a port. Longer than the kernel's interface names, because it is not one.
    PortName, "port name", 64,
    "use 1 to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit"
);
name!(
    /// The name of a NAT rule. Long enough for one that is made of two bridges' or of an address.
    RuleName, "rule name", 96,
    "use 1 to 96 letters, digits, '_', '.' and '-', beginning with a letter or digit"
);
name!(
    /// The name of a service.
    ServiceName, "service name", 96,
    "use 1 to 96 letters, digits, '_', '.' and '-', beginning with a letter or digit"
);
name!(
    /// The name of a network interface, by the kernel's rule and ours. Under two names the kernel has settings of all
    /// interfaces (`net.ipv4.conf.all`), so that none is called so.
    IfName, "interface name", 15,
    "use 1 to 15 letters, digits, '_', '.' and '-', beginning with a letter or digit, but not 'all' or 'default'",
    not "all", not "default"
);

name!(
    /// A name by which a container is found on its network.
    HostName, "host name", 253,
    "use 1 to 253 letters, digits, '_', '.' and '-', beginning with a letter or digit"
);

impl IfName {
    /// The interface of the daemon on its own bridge.
    pub(crate) fn loopback() -> Self {
        Self(BridgeName::LOOPBACK.to_owned())
    }
}

/// Whose an address is: a container or its interface, by whatever name its engine has for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

impl Owner {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Owner {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "use 1 to 160 letters, digits and signs of ASCII, without spaces";
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && (1..=160).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad("owner", text, RULE))
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

as_string!(Owner);

impl From<PortName> for Owner {
    /// Every name of a port is one for an owner.
    fn from(name: PortName) -> Self {
        Self(name.0)
    }
}

impl From<BridgeName> for PortName {
    /// Every name of a bridge is one for a port.
    fn from(name: BridgeName) -> Self {
        Self(name.0)
    }
}

/// The MAC address of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl Default for IfName {
    /// `eth0`, the name of a container's first interface.
    fn default() -> Self {
        Self("eth0".to_owned())
    }
}

impl From<IfName> for PortName {
    /// Every name of an interface is one for a port.
    fn from(name: IfName) -> Self {
        Self(name.0)
    }
}

/// The hash FNV-1a of 64 bits (draft-eastlake-fnv), which is the same in every version of this program.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A number in decimal digits only: `str::parse` would take a sign as well.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl MacAddr {
    /// A locally administered unicast address (IEEE 802, clause 8.2.2) of these random bits.
    pub fn local(random: [u8; 6]) -> Self {
        let [first, rest @ ..] = random;
        let [b, c, d, e, f] = rest;
        Self([first & 0xfc | 0x02, b, c, d, e, f])
    }
}

impl FromStr for MacAddr {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "write six hexadecimal bytes, such as 02:00:00:00:00:01";
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let is_byte = |part: &&str| {
                part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            *byte = parts
                .next()
                .filter(is_byte)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| bad("MAC address", text, RULE))?;
        }
        if parts.next().is_some() {
            return Err(bad("MAC address", text, RULE));
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            let rule = "a station's address is neither a group address nor all zero";
            return Err(bad("station address", text, rule));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

as_string!(MacAddr);

/// An address of an interface and the length of its subnet's prefix, `10.0.0.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpCidr {
    /// The address.
    pub addr: IpAddr,
    /// Bits of the prefix.
    pub prefix_len: u8,
}

impl IpCidr {
    /// Whether this is the first or last address of an IPv4 subnet, which mean the subnet and its
    /// broadcasts (RFC 1122, section 3.2.1.3), but in one of two addresses (RFC 3021) or one.
    fn is_subnet_or_broadcast(&self) -> bool {
        let IpAddr::V4(addr) = self.addr else { return false };
        let host_bits = u32::MAX.checked_shr(u32::from(self.prefix_len)).unwrap_or(0);
        let host = addr.to_bits() & host_bits;
        addr.is_broadcast() || (self.prefix_len < 31 && (host == 0 || host == host_bits))
    }

    /// The address, and no subnet around it.
    pub fn alone(&self) -> Self {
        Self { addr: self.addr, prefix_len: if self.addr.is_ipv4() { 32 } else { 128 } }
    }

    /// The subnet.
    pub fn subnet(&self) -> Prefix {
        // No prefix is longer than its address: `from_str` sees to that.
        Prefix::of(self.addr, self.prefix_len).unwrap_or(Prefix::host(self.addr))
    }

    /// Whether an address is in the subnet.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.subnet().contains(addr)
    }
}

impl FromStr for IpCidr {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let rule = "write an address and a prefix length, such as 10.0.0.2/24 or fd00::2/64";
        let no_cidr = || bad("interface address", text, rule);
        let (addr, prefix_len) = text.split_once('/').ok_or_else(no_cidr)?;
        let addr: IpAddr = addr.parse().map_err(|_| no_cidr())?;
        let prefix_len = digits(prefix_len).ok_or_else(no_cidr)?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        if prefix_len > longest {
            return Err(no_cidr());
        }
        let cidr = Self { addr, prefix_len };
        if addr.is_multicast() || addr.is_unspecified() || cidr.is_subnet_or_broadcast() {
            let rule = "multicast, unspecified, subnet and broadcast addresses are no interface's";
            return Err(bad("interface address", text, rule));
        }
        Ok(cidr)
    }
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

as_string!(IpCidr);

/// The longest IP packet of an interface, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mtu(u32);

impl Mtu {
    /// Ethernet's.
    pub const ETHERNET: Self = Self(1500);
    /// The shortest: every IPv4 host takes 68 bytes (RFC 791).
    pub const MIN: u32 = 68;
    /// The longest that a TAP or veth device takes.
    pub const MAX: u32 = 65521;
    const RULE: &str = "use 68 to 65521 bytes";

    /// The value in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::ETHERNET
    }
}

impl TryFrom<u32> for Mtu {
    type Error = BadName;

    fn try_from(bytes: u32) -> Result<Self, BadName> {
        if (Self::MIN..=Self::MAX).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(bad("MTU", &bytes.to_string(), Self::RULE))
        }
    }
}

impl FromStr for Mtu {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(digits::<u32>(text).ok_or_else(|| bad("MTU", text, Self::RULE))?)
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Mtu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// How a person names a network namespace: a name in `/run/netns`, an absolute path, or the number of a
/// process that is in it. A path that means a name or a process becomes that, so that `web` and
/// `/run/netns/web` are the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsRef(RawNetns);

/// The most bytes of a file's name (`NAME_MAX` of `linux/limits.h`).
const LONGEST_FILE_NAME: usize = 255;
/// The most bytes of a path (`PATH_MAX` less its final NUL).
const LONGEST_PATH: usize = 4095;

/// The three ways to name a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RawNetns {
    /// A name in `/run/netns`.
    Name(String),
    /// A file that refers to it.
    Path(PathBuf),
    /// A process that is in it.
    Pid(u32),
}

impl NetnsRef {
    /// The file that refers to the namespace.
    pub fn path(&self) -> PathBuf {
        match &self.0 {
            RawNetns::Name(name) => Path::new("/run/netns").join(name),
            RawNetns::Path(path) => path.clone(),
            RawNetns::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }

    /// Which way it is named.
    pub fn raw(&self) -> &RawNetns {
        &self.0
    }
}

impl FromStr for NetnsRef {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "give a name in /run/netns, an absolute path, or a process id";
        let raw = match text.strip_prefix('/') {
            Some(_) => path(text),
            None if is_digits(text) => pid(text),
            None => name(text),
        };
        raw.map(Self).ok_or_else(|| bad("network namespace", text, RULE))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn pid(text: &str) -> Option<RawNetns> {
    digits(text).filter(|pid| *pid != 0).map(RawNetns::Pid)
}

/// A name of digits only would read as a process.
fn name(text: &str) -> Option<RawNetns> {
    let is_name = !matches!(text, "" | "." | "..")
        && text.len() <= LONGEST_FILE_NAME
        && !text.contains(['/', '\0'])
        && !is_digits(text);
    is_name.then(|| RawNetns::Name(text.to_owned()))
}

fn path(text: &str) -> Option<RawNetns> {
    let named = ["/run/netns/", "/var/run/netns/"]
        .iter()
        .find_map(|directory| text.strip_prefix(directory).and_then(name));
    let process = || {
        let digits = text.strip_prefix("/proc/")?.strip_suffix("/ns/net")?;
        is_digits(digits).then(|| pid(digits)).flatten()
    };
    let is_path = text.len() <= LONGEST_PATH && !text.contains('\0');
    let other = || is_path.then(|| RawNetns::Path(PathBuf::from(text)));
    named.or_else(process).or_else(other)
}

impl fmt::Display for NetnsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RawNetns::Name(name) => f.write_str(name),
            RawNetns::Path(path) => path.display().fmt(f),
            RawNetns::Pid(pid) => pid.fmt(f),
        }
    }
}

as_string!(NetnsRef);
