//! What happens to the links of a namespace, as it happens.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::netlink::parse;
use crate::{HostError, Link};

/// `RTNLGRP_LINK` (linux/rtnetlink.h).
const LINK_GROUP: u32 = 1;

/// Something that happened to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is new, or something about it changed.
    Changed(Link),
    /// It is gone: deleted, or moved to another namespace.
    Gone(Link),
    /// Events were lost, or not understood; ask for the present state.
    Missed,
}

/// Tells of the links of the namespace in which it was opened.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: Socket,
}

impl LinkMonitor {
    /// Watches the calling thread's namespace.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn open() -> Result<Self, HostError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.add_membership(LINK_GROUP)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| HostError::Netlink {
            operation: "watch",
            subject: "interfaces".to_owned(),
            source,
            remark: None,
        })?;
        Ok(Self { socket })
    }

    /// What happened since the last call. Never blocks.
    pub fn events(&self) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => events.extend(events_of(&datagram)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    events.push(LinkEvent::Missed);
                }
                Err(_) => return events,
            }
        }
    }
}

/// What a datagram tells. One that is not understood, as of a later kernel, is no reason to hear no
/// others.
fn events_of(datagram: &[u8]) -> Vec<LinkEvent> {
    match parse(datagram, "watch interfaces") {
        Ok(messages) => messages.iter().filter_map(|message| event(&message.payload)).collect(),
        Err(_) => vec![LinkEvent::Missed],
    }
}

fn event(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<LinkEvent> {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Some(LinkEvent::Changed(Link::from_message(link)))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            Some(LinkEvent::Gone(Link::from_message(link)))
        }
        _ => None,
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::sys::borrow(self.socket.as_raw_fd(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_may_have_been_anything() {
        // RTM_NEWLINK whose only attribute claims more bytes than there are.
        let mut datagram = vec![36, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend([0; 16]);
        datagram.extend([200, 0, 3, 0]);
        assert_eq!(events_of(&datagram), [LinkEvent::Missed]);
    }
}
