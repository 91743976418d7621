//! Router advertisements (RFC 4861 section 6.2): what they say, and when they are sent unasked.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use pktio::{PktBuf, Pool};
use smoltcp::time::Duration as Seconds;
use smoltcp::wire::{
    Icmpv6Packet, NdiscOption, NdiscOptionRepr, NdiscPrefixInfoFlags, NdiscPrefixInformation,
    NdiscRepr, NdiscRouterFlags,
};

use super::super::envelope::{self, HOP_LIMIT, Link};
use super::super::prefix::Prefix;
use super::Gateway;
use super::ndisc::{ALL_NODES, discovery, group_mac, hardware_address};
use crate::Nanos;

/// A prefix information option.
const PREFIX_BYTES: usize = 32;
/// Name servers that are told of.
const MAX_NAME_SERVERS: usize = 8;
/// Prefixes that fit into a packet of the minimum MTU, 1280 bytes, behind header and other options.
const MAX_PREFIXES: usize = 32;
/// The option of name servers (RFC 8106 section 5.1): type and header.
const NAME_SERVERS: u8 = 25;
const NAME_SERVERS_BYTES: usize = 8;

/// A prefix that stations are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdvertisedPrefix {
    /// The prefix; one of IPv4 is left out.
    pub prefix: Prefix,
    /// Its addresses can be reached directly.
    pub is_on_link: bool,
    /// Stations may make themselves addresses of it (SLAAC, RFC 4862).
    pub is_autonomous: bool,
    /// How long all of this holds.
    pub valid_seconds: u32,
    /// How long addresses made of it may be used for new connections.
    pub preferred_seconds: u32,
}

/// What a gateway's router advertisements say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertising {
    /// The prefixes; more than 32 do not fit.
    pub prefixes: Vec<AdvertisedPrefix>,
    /// How long the gateway may be used as a default router; 0: not at all.
    pub lifetime_seconds: u16,
    /// The MTU that stations should use, if they are to be told.
    pub mtu_bytes: Option<u32>,
    /// Stations get their addresses by DHCPv6.
    pub is_managed: bool,
    /// Stations get other settings by DHCPv6.
    pub has_other_config: bool,
    /// Name servers (RFC 8106); more than 8 do not fit.
    pub name_servers: Vec<Ipv6Addr>,
    /// Longest time from one advertisement to the next (MaxRtrAdvInterval).
    pub interval: Duration,
}

impl Default for Advertising {
    /// A default router for half an hour without prefixes, which says so every ten minutes at least: the
    /// RFC's values.
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            lifetime_seconds: 1800,
            mtu_bytes: None,
            is_managed: false,
            has_other_config: false,
            name_servers: Vec::new(),
            interval: Duration::from_secs(600),
        }
    }
}

impl AdvertisedPrefix {
    /// A prefix that stations make themselves addresses of, for as long as RFC 4861 section 6.2.1 says: 30
    /// days, preferred for 7.
    pub fn autonomous(prefix: Prefix) -> Self {
        Self {
            prefix,
            is_on_link: true,
            is_autonomous: true,
            valid_seconds: 2_592_000,
            preferred_seconds: 604_800,
        }
    }

    fn option(&self) -> Option<NdiscOptionRepr<'static>> {
        let IpAddr::V6(prefix) = self.prefix.ip() else { return None };
        let mut flags = NdiscPrefixInfoFlags::empty();
        flags.set(NdiscPrefixInfoFlags::ON_LINK, self.is_on_link);
        flags.set(NdiscPrefixInfoFlags::ADDRCONF, self.is_autonomous);
        Some(NdiscOptionRepr::PrefixInformation(NdiscPrefixInformation {
            prefix_len: self.prefix.bits(),
            flags,
            valid_lifetime: Seconds::from_secs(u64::from(self.valid_seconds)),
            preferred_lifetime: Seconds::from_secs(u64::from(self.preferred_seconds)),
            prefix,
        }))
    }
}

/// An advertisement to all stations.
pub(super) fn to_all(
    gateway: &Gateway,
    config: &Advertising,
    lifetime_seconds: u16,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let mut frame = pool.take_small()?;
    let link = Link::for_ip(group_mac(ALL_NODES), gateway.mac, ALL_NODES.into());
    write(gateway, config, lifetime_seconds, &mut frame, &link, ALL_NODES)?;
    Some(frame)
}

/// Writes an advertisement over whatever the frame is.
pub(super) fn write(
    gateway: &Gateway,
    config: &Advertising,
    lifetime_seconds: u16,
    frame: &mut PktBuf,
    link: &Link,
    destination: Ipv6Addr,
) -> Option<()> {
    let repr = message(gateway, config, lifetime_seconds);
    let options = || config.prefixes.iter().filter_map(AdvertisedPrefix::option).take(MAX_PREFIXES);
    let prefixes_end = repr.buffer_len() + options().count() * PREFIX_BYTES;
    let bytes = prefixes_end + name_servers_bytes(config);
    let ip = discovery(gateway.link_local(), destination);
    let at = envelope::write(frame, link, &ip, bytes)?;
    let payload = &mut frame.data_mut()[at..];
    repr.emit(&mut Icmpv6Packet::new_unchecked(&mut *payload));
    for (option, place) in options().zip(payload[repr.buffer_len()..].chunks_mut(PREFIX_BYTES)) {
        option.emit(&mut NdiscOption::new_unchecked(place));
    }
    write_name_servers(config, &mut payload[prefixes_end..]);
    envelope::seal(frame)
}

/// Length of the option of name servers, if there are any.
fn name_servers_bytes(config: &Advertising) -> usize {
    match config.name_servers.len().min(MAX_NAME_SERVERS) {
        0 => 0,
        count => NAME_SERVERS_BYTES + count * size_of::<Ipv6Addr>(),
    }
}

/// Writes the option of name servers, which smoltcp does not know. They hold three times as long as it takes until
/// the next advertisement, as section 5.1 recommends.
fn write_name_servers(config: &Advertising, option: &mut [u8]) {
    let Some((header, addresses)) = option.split_at_mut_checked(NAME_SERVERS_BYTES) else { return };
    let units = u8::try_from((NAME_SERVERS_BYTES + addresses.len()) / 8).unwrap_or(u8::MAX);
    let lifetime = u32::try_from(config.interval.as_secs().saturating_mul(3)).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&[NAME_SERVERS, units, 0, 0]);
    header[4..].copy_from_slice(&lifetime.to_be_bytes());
    for (place, server) in addresses.chunks_mut(size_of::<Ipv6Addr>()).zip(&config.name_servers) {
        place.copy_from_slice(&server.octets());
    }
}

/// The advertisement without its prefixes.
fn message(gateway: &Gateway, config: &Advertising, lifetime_seconds: u16) -> NdiscRepr<'static> {
    let mut flags = NdiscRouterFlags::empty();
    flags.set(NdiscRouterFlags::MANAGED, config.is_managed);
    flags.set(NdiscRouterFlags::OTHER, config.has_other_config);
    NdiscRepr::RouterAdvert {
        hop_limit: HOP_LIMIT,
        flags,
        router_lifetime: Seconds::from_secs(u64::from(lifetime_seconds)),
        // Unspecified: stations use their own.
        reachable_time: Seconds::ZERO,
        retrans_time: Seconds::ZERO,
        lladdr: Some(hardware_address(gateway.mac)),
        mtu: config.mtu_bytes,
        prefix_info: None,
    }
}

/// When a gateway's next unasked advertisement is due (section 6.2.4): the first three soon after each
/// other, then at random times so that routers do not fall into step. For one worker or the control
/// thread.
#[derive(Debug, Clone)]
pub struct AdvertisingSchedule {
    next: Nanos,
    sent: u32,
    random: u64,
}

impl AdvertisingSchedule {
    const INITIAL: u32 = 3;
    const INITIAL_INTERVAL: Duration = Duration::from_secs(16);

    /// A schedule that begins now. `seed` makes it differ from those of other routers.
    pub fn new(now: Nanos, seed: u64) -> Self {
        Self { next: now, sent: 0, random: seed }
    }

    /// When the next advertisement is due.
    pub fn next(&self) -> Nanos {
        self.next
    }

    /// Whether an advertisement is due; if so, the next one is scheduled.
    pub fn is_due(&mut self, config: &Advertising, now: Nanos) -> bool {
        if now < self.next {
            return false;
        }
        self.sent = self.sent.saturating_add(1);
        let pause = self.between(config.interval / 3, config.interval);
        let pause =
            if self.sent < Self::INITIAL { pause.min(Self::INITIAL_INTERVAL) } else { pause };
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.next = Nanos::from_nanos(now.as_nanos().saturating_add(pause_ns));
        true
    }

    /// A random time in between (SplitMix64).
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandths = u32::try_from((mixed ^ mixed >> 31) % 1000).unwrap_or(0);
        least + most.saturating_sub(least) * thousandths / 1000
    }
}
