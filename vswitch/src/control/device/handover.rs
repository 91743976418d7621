//! Devices that are handed over to an engine: it takes them from the daemon's namespace to the container's, and names
//! and configures them there. So that their addresses and routes, of which the switch knows nothing, outlive the
//! daemon, the devices do ([`Handle::set_persistent`]); and they are found again by their MAC address, which they have
//! wherever they are.

use std::sync::Arc;

use ctl::{IfName, Tap};
use hostnet::{HostError, Link, Netlink, Netns};
use pktio::tap::{self, Handle, TapDevice, TapPort};

use super::{Facts, OpenDevice, OpenError, made, settings};

/// The kernel's name for what made a TAP device.
const TUN: &str = "tun";

/// Takes up the device where it is, or makes it if it was never made. One that is made goes away with its queues as
/// long as it is not said to be persistent.
pub(super) fn open(tap: &Tap, mtu: u32) -> Result<OpenDevice, OpenError> {
    match find(tap)? {
        Some((place, link)) => place.run(|| take_up(&link.name)),
        None => make(tap, mtu),
    }
}

/// Ends a device that outlived its port. It may be gone already.
pub fn discard(tap: &Tap) {
    let ended = find(tap).and_then(|found| match found {
        Some((place, link)) => place.run(|| {
            let (_, queues) = tap::create(&link.name, 1)?;
            queues.iter().try_for_each(|queue| Ok(queue.handle()?.set_persistent(false)?))
        }),
        None => Ok(()),
    });
    match ended {
        Err(error) if !error.is_absence() => {
            tracing::warn!(%error, device = %tap.ifname, "a device that was handed over is left behind");
        }
        _ => {}
    }
}

/// Changes the MTU of a device, wherever it is.
pub(super) fn set_mtu(handle: &Handle, mtu: u32) -> Result<(), OpenError> {
    let place = Netns::from_fd(handle.namespace()?);
    let name = handle.name()?;
    place.run(|| super::set_mtu_of(&name, mtu))
}

/// The device, where the engine took it to or left it; `None` when it is still to be made. One that was taken to a
/// container and is not there any more was deleted there.
fn find(tap: &Tap) -> Result<Option<(Netns, Link)>, OpenError> {
    let own = Netns::current()?;
    if let Some(link) = device_in(&own, tap)? {
        return Ok(Some((own, link)));
    }
    let Some(netns) = &tap.netns else { return Ok(None) };
    let place = Netns::open(netns)?;
    match device_in(&place, tap)? {
        Some(link) => Ok(Some((place, link))),
        None => Err(HostError::NoSuchLink { name: tap.ifname.to_string() }.into()),
    }
}

fn device_in(place: &Netns, tap: &Tap) -> Result<Option<Link>, OpenError> {
    let mac = tap.mac.map(|mac| mac.0);
    let is_it = |link: &Link| link.kind.as_deref() == Some(TUN) && link.mac == mac;
    Ok(Netlink::open_in(place)?.links()?.into_iter().find(is_it))
}

/// Takes up a device of the calling thread's namespace, as it is.
fn take_up(name: &str) -> Result<OpenDevice, OpenError> {
    let (device, queues) = tap::create(name, 1)?;
    handed_over(&device, queues, &Netlink::open()?.link(name)?)
}

/// A device of that name, of whatever kind, is not taken up: it is somebody else's.
fn refuse_existing(ifname: &IfName) -> Result<(), OpenError> {
    match Netlink::open()?.link(ifname.as_str()) {
        Ok(_) => Err(OpenError::Taken { device: ifname.clone() }),
        Err(HostError::NoSuchLink { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make(tap: &Tap, mtu: u32) -> Result<OpenDevice, OpenError> {
    let name = tap.ifname.as_str();
    refuse_existing(&tap.ifname)?;
    let (device, queues) = tap::create(name, 1)?;
    let netlink = Netlink::open()?;
    netlink.adjust(device.index, &settings(tap, mtu))?;
    handed_over(&device, queues, &netlink.link(name)?)
}

fn handed_over(
    device: &TapDevice,
    queues: Vec<TapPort>,
    link: &Link,
) -> Result<OpenDevice, OpenError> {
    let handle = queues.first().map(TapPort::handle).transpose()?.map(Arc::new);
    let opened = made(device, queues, link);
    Ok(OpenDevice { facts: Facts { handed_over: handle, ..opened.facts }, ..opened })
}
