//! [`Watch`]: whether a device in another namespace is still there.
//!
//! The sockets of a port keep the namespace of its device alive, so its end has to be looked for by its
//! name. And they do not say reliably that the device was deleted: a packet socket hears of the end only
//! if its device was on until then. So a netlink socket in that namespace listens, and is read at each look.

use ctl::NetnsRef;
use hostnet::{HostError, LinkEvent, LinkMonitor, Netlink, Netns, NetnsId};

/// Why a port is lost whose device is.
pub const DELETED: &str = "its interface was deleted, or moved to another namespace";

/// Looks after one device in another namespace. Used by the control thread only.
#[derive(Debug)]
pub struct Watch {
    netns: NetnsRef,
    id: NetnsId,
    links: LinkMonitor,
}

impl Watch {
    /// Listens in the namespace from now on. Begin before the device is looked up, so that its end is not
    /// missed.
    ///
    /// # Errors
    /// [`HostError`], when the namespace cannot be entered.
    pub fn begin(netns: &NetnsRef, place: &Netns) -> Result<Self, HostError> {
        let links = place.run(LinkMonitor::open)?;
        Ok(Self { netns: netns.clone(), id: place.id()?, links })
    }

    /// Why the device of this number is lost, if it is.
    pub fn loss_of(&self, interface: u32) -> Option<&'static str> {
        let place = match Netns::open(&self.netns).and_then(|place| Ok((place.id()?, place))) {
            Ok((id, place)) if id == self.id => place,
            Err(error) if !error.is_absence() => {
                // Descriptors ran out, or the like: that says nothing about the namespace.
                tracing::debug!(%error, "cannot look after a namespace");
                return None;
            }
            _ => return Some("its namespace ended"),
        };
        let is_lost = self.links.events().iter().any(|event| match event {
            LinkEvent::Gone(link) => link.index == interface,
            LinkEvent::Missed => is_absent(&place, interface),
            LinkEvent::Changed(_) => false,
        });
        is_lost.then_some(DELETED)
    }
}

/// Whether a namespace certainly has no interface of this number.
fn is_absent(place: &Netns, interface: u32) -> bool {
    let links = Netlink::open_in(place).and_then(|netlink| netlink.links());
    links.is_ok_and(|links| links.iter().all(|link| link.index != interface))
}
