//! [`Watch`]: whether a device in another namespace is still there, and what became of it.
//!
//! The sockets of a port keep the namespace of its device alive, so its end has to be looked for by its
//! name. And they do not say reliably that the device was deleted: a packet socket hears of the end only
//! if its device was on until then. So a netlink socket in that namespace listens, and is read at each look.

use ctl::NetnsRef;
use hostnet::{HostError, Link, LinkEvent, LinkMonitor, Netlink, Netns, NetnsId};

/// Why a port is lost whose device is.
pub const DELETED: &str = "its interface was deleted, or moved to another namespace";

/// What became of a device.
#[derive(Debug)]
pub enum Found {
    /// Nothing that is known of.
    Same,
    /// It is like this now.
    Changed(Link),
    /// It is lost, and why.
    Lost(&'static str),
}

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

    /// What became of the device of this number since the last look.
    pub fn look(&self, interface: u32) -> Found {
        let place = match Netns::open(&self.netns).and_then(|place| Ok((place.id()?, place))) {
            Ok((id, place)) if id == self.id => place,
            Err(error) if !error.is_absence() => {
                // Descriptors ran out, or the like: that says nothing about the namespace.
                tracing::debug!(%error, "cannot look after a namespace");
                return Found::Same;
            }
            _ => return Found::Lost("its namespace ended"),
        };
        let mut found = Found::Same;
        for event in self.links.events() {
            match event {
                LinkEvent::Gone(link) if link.index == interface => return Found::Lost(DELETED),
                LinkEvent::Changed(link) if link.index == interface => found = Found::Changed(link),
                LinkEvent::Missed => found = look_up(&place, interface),
                LinkEvent::Gone(_) | LinkEvent::Changed(_) => {}
            }
        }
        found
    }
}

/// What became of a device of which some was not heard.
fn look_up(place: &Netns, interface: u32) -> Found {
    let Ok(links) = Netlink::open_in(place).and_then(|netlink| netlink.links()) else {
        return Found::Same;
    };
    let link = links.into_iter().find(|link| link.index == interface);
    link.map_or(Found::Lost(DELETED), Found::Changed)
}
