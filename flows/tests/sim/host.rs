//! Hosts: smoltcp stacks with one TCP connection.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

const PORT: u16 = 7;

/// The wire's end at a host.
#[derive(Default)]
pub struct Wire {
    pub incoming: VecDeque<Vec<u8>>,
    pub outgoing: Vec<Vec<u8>>,
}

pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Received(frame), Sending(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A host.
pub struct Host {
    pub wire: Wire,
    pub address: std::net::Ipv4Addr,
    pub delivered: usize,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    to_send: Vec<u8>,
    sent: usize,
    pub received: Vec<u8>,
}

/// The address of a host, and with number 254 that of the gateway, in a subnet.
pub fn address(subnet: u8, number: u8) -> std::net::Ipv4Addr {
    [10, 0, subnet, number].into()
}

impl Host {
    pub fn new(subnet: u8, number: u8) -> Self {
        let address = address(subnet, number);
        let mut wire = Wire::default();
        let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = u64::from(number);
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address.into(), 24)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(self::address(subnet, 254)).unwrap();
        let buffer = || tcp::SocketBuffer::new(vec![0; 32 * 1024]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let (to_send, received) = (Vec::new(), Vec::new());
        Self { wire, address, delivered: 0, interface, sockets, socket, to_send, sent: 0, received }
    }

    pub fn listen(&mut self) {
        self.sockets.get_mut::<tcp::Socket>(self.socket).listen(PORT).unwrap();
    }

    /// Whom the connection is with, as it seems here.
    pub fn peer(&self) -> Option<IpAddress> {
        Some(self.sockets.get::<tcp::Socket>(self.socket).remote_endpoint()?.addr)
    }

    pub fn connect_and_send(&mut self, to: std::net::Ipv4Addr, bytes: Vec<u8>) {
        self.to_send = bytes;
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        socket.connect(self.interface.context(), (IpAddress::from(to), PORT), 49152).unwrap();
    }

    /// Lets the stack and the application go on.
    pub fn poll(&mut self, now_us: u64) {
        let now = Instant::from_micros(i64::try_from(now_us).unwrap());
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        if socket.can_send() && self.sent < self.to_send.len() {
            self.sent += socket.send_slice(&self.to_send[self.sent..]).unwrap();
        }
        while socket.can_recv() {
            let mut bytes = [0; 4096];
            let count = socket.recv_slice(&mut bytes).unwrap();
            self.received.extend(&bytes[..count]);
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}
