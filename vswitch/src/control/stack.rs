//! [`Stack`]: one TCP connection of a gateway, by smoltcp.
//!
//! A stack knows one address, its own, and one connection. So nothing that one container sends can stand in the way of
//! another's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::random::random;

/// What every link takes that IPv6 goes by. What gateways say is seldom longer.
const MTU_BYTES: usize = 1280;

/// What a connection has room for.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes that were received and not taken yet.
    pub receive_bytes: usize,
    /// Bytes that were said and not acknowledged yet.
    pub send_bytes: usize,
}

/// See the module's documentation.
pub struct Stack {
    device: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    began: Instant,
    next: Option<Instant>,
}

impl Stack {
    /// A stack that waits for a connection to its address and port.
    pub fn listening(own: SocketAddr, room: Room, now: Instant) -> Self {
        let mut stack = Self::new(own, room, now);
        // It can listen: it is closed, and the port is not 0.
        let _ = stack.sockets.get_mut::<tcp::Socket>(stack.socket).listen(own.port());
        stack
    }

    /// A stack that makes a connection from its address and port.
    pub fn calling(own: SocketAddr, to: SocketAddr, room: Room, now: Instant) -> Self {
        let mut stack = Self::new(own, room, now);
        let Self { interface, sockets, socket, .. } = &mut stack;
        // It can connect: it is closed, and neither address nor port is 0.
        let _ = sockets.get_mut::<tcp::Socket>(*socket).connect(interface.context(), to, own);
        stack
    }

    fn new(own: SocketAddr, room: Room, now: Instant) -> Self {
        let mut device = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from_ne_bytes(random());
        let mut interface = Interface::new(config, &mut device, time::Instant::ZERO);
        let bits = if own.is_ipv4() { 32 } else { 128 };
        // There is room for one address in every interface.
        let cidr = IpCidr::new(IpAddress::from(own.ip()), bits);
        interface.update_ip_addrs(|all| _ = all.push(cidr));
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(room.receive_bytes), buffer(room.send_bytes));
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self { device, interface, sockets, socket, began: now, next: None }
    }

    /// A packet for it, from the IP header on, which is attended to with the next turn.
    pub fn hear(&mut self, packet: Vec<u8>) {
        self.device.incoming.push_back(packet);
    }

    /// Does what is to be done by now; `exchange` takes what was received, and gives what is to be said.
    pub fn turn(&mut self, now: Instant, exchange: impl FnOnce(&mut tcp::Socket)) {
        let elapsed = now.saturating_duration_since(self.began);
        let stamp =
            time::Instant::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX));
        self.interface.poll(stamp, &mut self.device, &mut self.sockets);
        exchange(self.sockets.get_mut(self.socket));
        self.interface.poll(stamp, &mut self.device, &mut self.sockets);
        let delay = self.interface.poll_delay(stamp, &self.sockets);
        self.next = delay.map(|delay| now + delay.into());
    }

    /// The packets that it has to send, from their IP headers on.
    pub fn said(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.device.outgoing.drain(..)
    }

    /// When it is to have another turn, whether it hears anything or not.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The connection.
    pub fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.socket)
    }
}

/// Packets between a stack and the switch.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU_BYTES;
        // What came in was verified, or never on a wire.
        let mut checksum = ChecksumCapabilities::default();
        checksum.tcp = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

struct Incoming(Vec<u8>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, write: F) -> R {
        let mut packet = vec![0; bytes];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
