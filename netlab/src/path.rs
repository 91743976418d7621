//! The way that traffic takes: from a container to an address in another one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use crate::Container;
use crate::error::{LabError, socket};

/// How long traffic may stand still before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A UDP receiver's socket buffer, if the system permits it: nothing is lost while its thread waits for a
/// core.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Where traffic comes from and where it goes to.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The container that sends.
    pub from: &'a Container,
    /// The container that receives.
    pub to: &'a Container,
    /// An address of the receiver.
    pub address: IpAddr,
}

/// On which cores the two ends run; wherever the scheduler likes if not given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cores {
    /// The sending end's.
    pub sender: Option<usize>,
    /// The receiving end's.
    pub receiver: Option<usize>,
}

impl<'a> Path<'a> {
    /// The path from a container to an address of another.
    pub fn new(from: &'a Container, to: &'a Container, address: impl Into<IpAddr>) -> Self {
        Self { from, to, address: address.into() }
    }

    /// A TCP connection along the path: the sender's end and the receiver's. Both give up after
    /// [`PATIENCE`].
    ///
    /// # Errors
    /// [`LabError::Socket`], when the connection does not come about.
    pub fn tcp(&self) -> Result<(TcpStream, TcpStream), LabError> {
        let listener = self.listen()?;
        let target = listener.local_addr().map_err(socket("listen for TCP"))?;
        let near: TcpStream = self.from.run(|| {
            TcpStream::connect_timeout(&target, PATIENCE).map_err(socket("connect by TCP"))
        })?;
        let far = accept(&listener).map_err(socket("accept a TCP connection"))?;
        for end in [&near, &far] {
            limit(end).map_err(socket("set up a TCP connection"))?;
        }
        Ok((near, far))
    }

    /// A TCP socket that listens at the receiver's address.
    pub(crate) fn listen(&self) -> Result<TcpListener, LabError> {
        self.to.run(|| TcpListener::bind((self.address, 0)).map_err(socket("listen for TCP")))
    }

    /// A pair of UDP sockets, each of which sends to and hears only the other: the sender's and the
    /// receiver's. Both give up after [`PATIENCE`].
    ///
    /// # Errors
    /// [`LabError::Socket`].
    pub fn udp(&self) -> Result<(UdpSocket, UdpSocket), LabError> {
        let far = self.udp_receiver(0)?;
        let target = far.local_addr().map_err(socket("receive UDP"))?;
        let near = self.udp_sender(target)?;
        let source = near.local_addr().map_err(socket("send UDP"))?;
        far.connect(source).map_err(socket("receive UDP"))?;
        Ok((near, far))
    }

    /// A UDP socket at the receiver's address; at any port that is free if that is 0.
    pub(crate) fn udp_receiver(&self, port: u16) -> Result<UdpSocket, LabError> {
        self.to.run(|| {
            let bound = UdpSocket::bind((self.address, port)).map_err(socket("receive UDP"))?;
            bound.set_read_timeout(Some(PATIENCE)).map_err(socket("receive UDP"))?;
            enlarge_buffer(&bound);
            Ok(bound)
        })
    }

    /// A UDP socket of the sender that is connected to `target`.
    pub(crate) fn udp_sender(&self, target: SocketAddr) -> Result<UdpSocket, LabError> {
        let any = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.from.run(|| {
            let open = || -> io::Result<UdpSocket> {
                let near = UdpSocket::bind((any, 0))?;
                near.connect(target)?;
                near.set_read_timeout(Some(PATIENCE))?;
                near.set_write_timeout(Some(PATIENCE))?;
                Ok(near)
            };
            open().map_err(socket("send UDP"))
        })
    }
}

/// Without the right to a large buffer the largest that everybody may have is taken.
fn enlarge_buffer(receiver: &UdpSocket) {
    if set_socket_recv_buffer_size_force(receiver, RECEIVE_BUFFER_BYTES).is_err() {
        // The kernel takes what it permits of it.
        let _ = set_socket_recv_buffer_size(receiver, RECEIVE_BUFFER_BYTES);
    }
}

/// Accepts within [`PATIENCE`].
pub(crate) fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    match poll(&mut waiting, Some(&patience)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) => listener.accept().map(|(stream, _)| stream),
        Err(errno) => Err(errno.into()),
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}
