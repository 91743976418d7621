//! Making an interface what a container needs: the one place that does it, for the daemon and the
//! laboratory alike.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ctl::{IpCidr, TapRoute};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::route::{allow_ipv6, allow_link_local, skip_duplicate_detection, withhold_link_local};
use crate::{HostError, Link, LinkMonitor, MacBytes, Netlink, Settings};

/// How an interface is to be.
#[derive(Debug, Clone, Default)]
pub struct Interface<'a> {
    /// Its MAC address; as it is if not given.
    pub mac: Option<MacBytes>,
    /// Its MTU in bytes; as it is if not given.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub ips: &'a [IpCidr],
    /// The default gateways by it.
    pub gateways: &'a [IpAddr],
    /// The other routes by it.
    pub routes: &'a [TapRoute],
    /// It says nothing by IPv6 of its own accord: it makes itself no link-local address, until [`readdress`] gives it
    /// one of IPv6.
    pub ipv4_only: bool,
    /// Of its routes those that another interface has are left out. Otherwise they are an error.
    pub yields: bool,
}

impl Interface<'_> {
    fn has_ipv6(&self) -> bool {
        self.ips.iter().any(|cidr| cidr.addr.is_ipv6())
    }
}

/// Configures an interface of the calling thread's namespace and switches it on. Its addresses, IPv6 too,
/// are usable when this returns.
///
/// # Errors
/// [`HostError`], also when another interface has one of the routes; the interface may then be half configured, and is the caller's to remove.
pub fn configure(name: &str, wanted: &Interface) -> Result<Link, HostError> {
    let netlink = Netlink::open()?;
    let index = netlink.link(name)?.index;
    let settings = Settings { mac: wanted.mac, mtu: wanted.mtu, queue_frames: None };
    if settings != Settings::default() {
        netlink.adjust(index, &settings)?;
    }
    // In a container without a writable /proc what says nothing says it, and a link-local address is waited for a
    // second; its own addresses do not wait in any case. Where IPv6 stays off the kernel refuses them, and says why.
    let _ =
        if wanted.ipv4_only { withhold_link_local(name) } else { skip_duplicate_detection(name) };
    let _ = if wanted.has_ipv6() { allow_ipv6(name) } else { Ok(()) };
    netlink.set_up(index, true)?;
    wanted.ips.iter().try_for_each(|cidr| netlink.add_address(index, *cidr))?;
    add_routes(&netlink, index, wanted)?;
    netlink.link(name)
}

/// Adds the routes of an interface; those that are there stay, and those of others.
fn add_routes(netlink: &Netlink, index: u32, wanted: &Interface) -> Result<(), HostError> {
    let unless_taken = |added| match added {
        Err(HostError::RouteTaken { .. }) if wanted.yields => Ok(()),
        other => other,
    };
    wanted
        .gateways
        .iter()
        .try_for_each(|gateway| unless_taken(netlink.add_default_route(*gateway, index)))?;
    wanted.routes.iter().try_for_each(|TapRoute { to, via }| {
        let to = IpCidr { addr: to.addr(), prefix_len: to.prefix_len() };
        unless_taken(netlink.add_route(to, *via, index))
    })
}

/// Gives an interface of the calling thread's namespace other addresses and gateways than those that it was given.
/// What it was not given by [`configure`] stays.
///
/// # Errors
/// [`HostError`]; some of the addresses may then be changed already.
pub fn readdress(name: &str, from: &Interface, to: &Interface) -> Result<(), HostError> {
    let netlink = Netlink::open()?;
    let index = netlink.link(name)?.index;
    for gateway in from.gateways.iter().filter(|gateway| !to.gateways.contains(gateway)) {
        netlink.remove_default_route(*gateway, index)?;
    }
    for cidr in from.ips.iter().filter(|cidr| !to.ips.contains(cidr)) {
        netlink.remove_address(index, *cidr)?;
    }
    if to.has_ipv6() && !from.has_ipv6() {
        // As in `configure`.
        let _ = skip_duplicate_detection(name)
            .and_then(|()| allow_ipv6(name))
            .and_then(|()| allow_link_local(name));
    }
    // With the first address of a subnet the kernel takes the others of it away, too, and routes with them.
    let present = netlink.addresses(index)?;
    let missing = to.ips.iter().filter(|cidr| !present.contains(cidr));
    missing.into_iter().try_for_each(|cidr| netlink.add_address(index, *cidr))?;
    add_routes(&netlink, index, to)
}

/// Waits until an interface of the calling thread's namespace is ready to send: the kernel acts upon the
/// carrier of a veth pair only some time after its second end was switched on.
///
/// # Errors
/// [`HostError::Device`] when its time is up; [`HostError::NoSuchLink`] when it is not there.
pub fn await_ready(name: &str, patience: Duration) -> Result<Link, HostError> {
    let failed = |source| HostError::Device {
        operation: "wait for the carrier",
        name: name.to_owned(),
        source,
    };
    let deadline = Instant::now() + patience;
    let (netlink, monitor) = (Netlink::open()?, LinkMonitor::open()?);
    loop {
        let link = netlink.link(name)?;
        if link.ready {
            return Ok(link);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut waiting = [PollFd::new(&monitor, PollFlags::IN)];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) => return Err(failed(io::ErrorKind::TimedOut.into())),
            Ok(_) => drop(monitor.events()),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}
