//! The rtnetlink socket: requests, acknowledgements and dumps (`rtnetlink(7)`).

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::{HostError, Netns};

/// A netlink socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
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
            Ok(socket)
        };
        let socket = open().map_err(|source| HostError::Netlink {
            operation: "open",
            subject: "a netlink socket".to_owned(),
            source,
        })?;
        Ok(Self { socket })
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

    /// Sends a query and collects all of its answers.
    pub(crate) fn dump(
        &self,
        message: RouteNetlinkMessage,
        context: (&'static str, &str),
    ) -> Result<Vec<RouteNetlinkMessage>, HostError> {
        let mut answers = Vec::new();
        self.exchange(message, NLM_F_DUMP, context, |message| answers.push(message))?;
        Ok(answers)
    }

    fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        (operation, subject): (&'static str, &str),
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), HostError> {
        let failed = |source| HostError::Netlink { operation, subject: subject.to_owned(), source };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(failed)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(failed)?;
            for message in parse(&datagram, operation)? {
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return if error.code.is_none() {
                            Ok(())
                        } else {
                            Err(failed(error.to_io()))
                        };
                    }
                    _ => {}
                }
            }
        }
    }
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
        datagram = datagram.get(length.max(16)..).unwrap_or_default();
    }
    Ok(messages)
}
