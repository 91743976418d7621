//! The rtnetlink socket: requests, acknowledgements and dumps (`rtnetlink(7)`,
//! `Documentation/userspace-api/netlink/intro.rst`).
//!
//! Every request has a number, and answers to another one (whose reading was broken off by an error) are
//! passed over. The kernel is asked to say in words why it refuses.

use std::cell::Cell;
use std::io;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::{HostError, Netns};

/// Bytes of a message's header (linux/netlink.h), and of an attribute's.
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// `NLMSGERR_ATTR_MSG`: the kernel's remark about an error, as text.
const REMARK_ATTRIBUTE: u16 = 1;
/// How often something is listed that changes meanwhile, before it is given up.
const DUMP_ATTEMPTS: usize = 100;

/// A netlink socket of one network namespace, for one thread at a time.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    /// The number of the last request.
    number: Cell<u32>,
}

impl Netlink {
    /// A socket of the calling thread's namespace. It stays there wherever it is used.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn open() -> Result<Self, HostError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Errors come with a remark, and without the request that they are about.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| HostError::Netlink {
            operation: "open",
            subject: "a netlink socket".to_owned(),
            source,
            remark: None,
        })?;
        Ok(Self { socket, number: Cell::new(0) })
    }

    /// A socket of another namespace.
    ///
    /// # Errors
    /// [`HostError`], when the namespace cannot be entered.
    pub fn open_in(namespace: &Netns) -> Result<Self, HostError> {
        namespace.run(Self::open)
    }

    /// Sends a request and waits for its acknowledgement.
    pub(crate) fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        context: (&'static str, &str),
    ) -> Result<(), HostError> {
        let mut answer = None;
        self.exchange(message, flags | NLM_F_ACK, context, |message| answer = Some(message))?;
        Ok(())
    }

    /// Sends a query that has one answer.
    pub(crate) fn query(
        &self,
        message: RouteNetlinkMessage,
        context: (&'static str, &str),
    ) -> Result<Option<RouteNetlinkMessage>, HostError> {
        let mut answer = None;
        self.exchange(message, NLM_F_ACK, context, |message| answer = Some(message))?;
        Ok(answer)
    }

    /// Sends a query and collects all of its answers. Where the kernel says that what it lists changed
    /// meanwhile, so that some of it may be missing or there twice, it is asked again.
    pub(crate) fn dump(
        &self,
        message: RouteNetlinkMessage,
        context: (&'static str, &str),
    ) -> Result<Vec<RouteNetlinkMessage>, HostError> {
        let listed = until_whole(|| {
            let mut answers = Vec::new();
            let each = |message| answers.push(message);
            let listing = self.exchange(message.clone(), NLM_F_DUMP, context, each)?;
            Ok((answers, listing))
        })?;
        let (operation, subject) = context;
        listed.ok_or_else(|| HostError::Answer {
            operation,
            detail: format!("{subject} do not stop changing"),
        })
    }

    fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        (operation, subject): (&'static str, &str),
        each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<Listing, HostError> {
        let failed = |source, remark| HostError::Netlink {
            operation,
            subject: subject.to_owned(),
            source,
            remark,
        };
        let number = self.send(message, flags).map_err(|source| failed(source, None))?;
        let mut answer = Answer { number, listing: Listing::Whole, each };
        loop {
            let (datagram, _) =
                self.socket.recv_from_full().map_err(|source| failed(source, None))?;
            for message in parse(&datagram, operation)? {
                if let Some(end) = answer.read(message) {
                    return end.map_err(|(source, remark)| failed(source, remark));
                }
            }
        }
    }

    /// Sends a request, and returns its number.
    fn send(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = number;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| number)
    }
}

/// Whether what was listed stayed as it was meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Whole,
    /// The kernel said so (`NLM_F_DUMP_INTR`).
    Interrupted,
}

/// The answer to the request with this number, as far as it was read.
struct Answer<F> {
    number: u32,
    listing: Listing,
    each: F,
}

impl<F: FnMut(RouteNetlinkMessage)> Answer<F> {
    /// Reads a message, and returns how the answer ended, if it did: well, or with the kernel's error and
    /// remark.
    fn read(
        &mut self,
        message: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Option<Result<Listing, (io::Error, Option<String>)>> {
        if message.header.sequence_number != self.number {
            return None;
        }
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            self.listing = Listing::Interrupted;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                (self.each)(inner);
                None
            }
            NetlinkPayload::Done(done) if done.code < 0 => {
                Some(Err((io::Error::from_raw_os_error(-done.code), None)))
            }
            NetlinkPayload::Done(_) => Some(Ok(self.listing)),
            NetlinkPayload::Error(error) if error.code.is_none() => Some(Ok(self.listing)),
            NetlinkPayload::Error(error) => Some(Err((error.to_io(), remark(&error)))),
            _ => None,
        }
    }
}

/// Lists something until it stays as it is meanwhile. `None` when it never does.
fn until_whole<T>(
    mut list: impl FnMut() -> Result<(T, Listing), HostError>,
) -> Result<Option<T>, HostError> {
    for _ in 0..DUMP_ATTEMPTS {
        if let (listed, Listing::Whole) = list()? {
            return Ok(Some(listed));
        }
    }
    Ok(None)
}

/// What the kernel remarks on its refusal: an attribute behind the header of the refused request.
fn remark(error: &ErrorMessage) -> Option<String> {
    let mut attributes = error.header.get(HEADER_BYTES..)?;
    while let [l0, l1, t0, t1, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if u16::from_ne_bytes([t0, t1]) == REMARK_ATTRIBUTE {
            let text = attributes.get(ATTRIBUTE_HEADER_BYTES..length)?;
            let text = text.strip_suffix(b"\0").unwrap_or(text);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.max(ATTRIBUTE_HEADER_BYTES).next_multiple_of(4)..)?;
    }
    None
}

/// Takes a datagram apart.
pub(crate) fn parse(
    mut datagram: &[u8],
    operation: &'static str,
) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, HostError> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
            .map_err(|error| HostError::Answer { operation, detail: error.to_string() })?;
        let length = usize::try_from(message.header.length).unwrap_or(0).next_multiple_of(4);
        messages.push(message);
        datagram = datagram.get(length.max(HEADER_BYTES)..).unwrap_or_default();
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::DoneMessage;
    use netlink_packet_route::link::LinkMessage;

    const NUMBER: u32 = 7;

    fn message(
        number: u32,
        flags: u16,
        payload: NetlinkPayload<RouteNetlinkMessage>,
    ) -> NetlinkMessage<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        (header.sequence_number, header.flags) = (number, flags);
        NetlinkMessage::new(header, payload)
    }

    fn link(number: u32, flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
        message(number, flags, RouteNetlinkMessage::NewLink(LinkMessage::default()).into())
    }

    fn done(flags: u16) -> NetlinkMessage<RouteNetlinkMessage> {
        message(NUMBER, flags, NetlinkPayload::Done(DoneMessage::default()))
    }

    /// How many links were listed, and how it ended.
    fn listing(messages: Vec<NetlinkMessage<RouteNetlinkMessage>>) -> (usize, Option<Listing>) {
        let mut links = 0;
        let mut answer = Answer { number: NUMBER, listing: Listing::Whole, each: |_| links += 1 };
        let end = messages.into_iter().find_map(|message| answer.read(message));
        (links, end.map(|end| end.unwrap()))
    }

    #[test]
    fn an_interruption_is_noticed_wherever_the_kernel_marks_it() {
        let interrupted = (2, Some(Listing::Interrupted));
        assert_eq!(listing(vec![link(7, 0), link(7, 0), done(0)]), (2, Some(Listing::Whole)));
        assert_eq!(listing(vec![link(7, NLM_F_DUMP_INTR), link(7, 0), done(0)]), interrupted);
        assert_eq!(listing(vec![link(7, 0), link(7, 0), done(NLM_F_DUMP_INTR)]), interrupted);
    }

    #[test]
    fn what_changes_while_it_is_listed_is_listed_again() {
        let mut times = 0;
        let mut changing_until = |last| {
            until_whole(|| {
                times += 1;
                Ok((times, if times < last { Listing::Interrupted } else { Listing::Whole }))
            })
        };
        assert_eq!(changing_until(3).unwrap(), Some(3));
        assert_eq!(changing_until(usize::MAX).unwrap(), None);
    }

    #[test]
    fn answers_to_other_requests_are_passed_over() {
        let stale = link(6, NLM_F_DUMP_INTR);
        assert_eq!(listing(vec![stale, link(7, 0), done(0)]), (1, Some(Listing::Whole)));
        assert_eq!(listing(vec![link(7, 0)]), (1, None));
    }
}
