//! The kernel's table of connections in a container, and how time passes for it.
//!
//! Its timers run in real time, and those that the RFCs ask about run for hours. [`Conntrack::pass`] does to
//! the table what so much time would do: every connection has so much less time left, and those that have
//! none left are gone. Nothing else about them changes, and the next packet of one renews it as ever.
//!
//! Source: ctnetlink (linux/netfilter/nfnetlink_conntrack.h), over nfnetlink (linux/netfilter/nfnetlink.h).

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::error::socket;
use crate::{Container, LabError};

/// `NFNL_SUBSYS_CTNETLINK << 8`, and the messages of this subsystem.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// `CTA_TUPLE_ORIG`, with `NLA_F_NESTED`, and `CTA_TIMEOUT`: seconds, in network byte order.
const TUPLE: u16 = 1;
const NESTED: u16 = 1 << 15;
const TIMEOUT: u16 = 7;
/// `struct nfgenmsg`: IPv4, version 0, no resource.
const GENERIC: [u8; 4] = [2, 0, 0, 0];
/// Bytes of an attribute's header.
const ATTRIBUTE_BYTES: usize = 4;

/// The table of connections of one container.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// The table of a container.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the kernel has none; [`LabError::Host`].
    pub fn open(container: &Container) -> Result<Self, LabError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket: Socket =
            container.run(|| open().map_err(socket("open the table of connections")))?;
        Ok(Self { socket })
    }

    /// Forgets all connections.
    ///
    /// # Errors
    /// [`LabError::Socket`].
    pub fn flush(&self) -> Result<(), LabError> {
        self.exchange(Request::about(DELETE), NLM_F_ACK).map(drop)
    }

    /// Does to the connections what so much time would do.
    ///
    /// # Errors
    /// [`LabError::Socket`].
    pub fn pass(&self, time: Duration) -> Result<(), LabError> {
        for entry in self.exchange(Request::about(GET), NLM_F_DUMP)? {
            let Some((tuple, left)) = entry.connection() else { continue };
            let left = Duration::from_secs(left.into()).saturating_sub(time).as_secs();
            let request = match u32::try_from(left) {
                Ok(0) | Err(_) => Request::about(DELETE).with(NESTED | TUPLE, tuple),
                Ok(left) => Request::about(NEW)
                    .with(NESTED | TUPLE, tuple)
                    .with(TIMEOUT, &left.to_be_bytes()),
            };
            self.change(request)?;
        }
        Ok(())
    }

    /// Changes a connection, unless its time has come meanwhile.
    fn change(&self, request: Request) -> Result<(), LabError> {
        match self.exchange(request, NLM_F_ACK) {
            Err(LabError::Socket { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// Sends a request, and returns the messages of its answer.
    fn exchange(&self, request: Request, flags: u16) -> Result<Vec<Request>, LabError> {
        let failed = socket("change the table of connections");
        self.send(request, flags).map_err(&failed)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(&failed)?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<Request>::deserialize(rest)
                    .map_err(|error| failed(io::Error::other(error)))?;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(failed(error.to_io()));
                    }
                    _ => return Ok(answers),
                }
                let bytes = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                rest = rest.get(bytes.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn send(&self, request: Request, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }
}

/// A message of the subsystem: its kind, and its attributes as they are sent.
#[derive(Debug, Clone)]
struct Request {
    kind: u16,
    attributes: Vec<u8>,
}

impl Request {
    fn about(kind: u16) -> Self {
        Self { kind, attributes: Vec::new() }
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let bytes = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
        self.attributes.extend([bytes.to_ne_bytes(), kind.to_ne_bytes()].concat());
        self.attributes.extend(value);
        self.attributes.resize(self.attributes.len().next_multiple_of(4), 0);
        self
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        let mut all = NlasIterator::new(&self.attributes[..]).filter_map(Result::ok);
        let found = all.find(|attribute| attribute.kind() == kind)?;
        let bytes = usize::from(found.length());
        found.into_inner().get(ATTRIBUTE_BYTES..bytes)
    }

    /// What tells a connection from the others, and the seconds that it has left.
    fn connection(&self) -> Option<(&[u8], u32)> {
        let left = self.attribute(TIMEOUT)?.first_chunk()?;
        Some((self.attribute(TUPLE)?, u32::from_be_bytes(*left)))
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        GENERIC.len() + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..GENERIC.len()].copy_from_slice(&GENERIC);
        buffer[GENERIC.len()..].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Request {
    type Error = io::Error;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, io::Error> {
        let attributes = payload.get(GENERIC.len()..).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { kind: header.message_type, attributes: attributes.to_vec() })
    }
}
