//! The TAP port: a device that we make, and that becomes a container's own interface.
//!
//! The device is made in the namespace of the calling thread and may be moved into a container's
//! afterwards; its descriptors stay with us. Each frame is one `read` or `write`, with a virtio-net header
//! in front of it that carries the offload state both ways, so the container's TCP sends super-frames of
//! 64 KiB through the switch (`Documentation/networking/tuntap.rst`).
//!
//! A write runs the receiver's input path inline on the calling core, and never finds a full queue. A
//! read finds what the container's transmit queue holds, which is made long: with the default length a
//! large TCP window overruns it.
//!
//! The device lives as long as one of its ports, or until [`Handle::set_persistent`] takes that back, and never longer
//! than its namespace.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, PktBuf, Pool};
use crate::offload::Accepts;
use crate::port::{Missed, Port, PortFault, Sent};
use crate::sys;
use crate::vnet::{self, VNET_BYTES};

// linux/if_tun.h
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_TSO_ECN: u32 = 0x08;
const TUN_F_USO4: u32 = 0x20;
const TUN_F_USO6: u32 = 0x40;

/// Frames that the container's transmit queue should hold. Set it by netlink (`IFLA_TXQLEN`): the ioctl is
/// for the root of the host only, and not for that of a user namespace.
pub const QUEUE_FRAMES: u32 = 8192;
/// The most queues that the kernel gives one device.
pub const MAX_QUEUES: u16 = 256;

/// Why there is no TAP device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// `/dev/net/tun` cannot be opened.
    #[error(
        "cannot open /dev/net/tun: {source}; it needs the kernel's TUN support and read-write access \
         (use a --netdev port where there is none)"
    )]
    Open {
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refused a step of making the device.
    #[error("cannot {operation} TAP device {name:?}: {source}")]
    Setup {
        /// What was attempted.
        operation: &'static str,
        /// The device's name.
        name: String,
        /// The kernel's error.
        source: io::Error,
    },
}

/// A TAP device that was made. It says what the kernel granted; the ports keep it alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapDevice {
    /// Its name in the namespace where it was made.
    pub name: String,
    /// Its number there.
    pub index: u32,
    /// Whether the container may leave UDP segmentation to us (Linux 6.2).
    pub udp_segmentation: bool,
}

/// One queue of a TAP device.
#[derive(Debug)]
pub struct TapPort {
    fd: OwnedFd,
    accepts: Accepts,
    /// Frames since the last report that the kernel described in a way that is not understood.
    unusable: u64,
}

/// A device, wherever it was moved and whatever it is called by then. It keeps the device alive.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    /// What the device was called when the handle was made.
    name: String,
}

impl Handle {
    /// Its present name.
    ///
    /// # Errors
    /// [`TapError::Setup`], when the device was deleted.
    pub fn name(&self) -> Result<String, TapError> {
        sys::tun_name(self.fd.as_fd()).map_err(|source| self.failed("ask for the name of", source))
    }

    /// A descriptor of the network namespace in which it is.
    ///
    /// # Errors
    /// [`TapError::Setup`], when the device was deleted.
    pub fn namespace(&self) -> Result<OwnedFd, TapError> {
        sys::tun_namespace(self.fd.as_fd())
            .map_err(|source| self.failed("ask for the namespace of", source))
    }

    /// Says whether it outlives its ports and this handle; [`create`] takes it up again then.
    ///
    /// # Errors
    /// [`TapError::Setup`], when the device was deleted.
    pub fn set_persistent(&self, persistent: bool) -> Result<(), TapError> {
        sys::tun_set_persistent(self.fd.as_fd(), persistent)
            .map_err(|source| self.failed("set the persistence of", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> TapError {
        TapError::Setup { operation, name: self.name.clone(), source }
    }
}

/// Makes a TAP device with so many queues in the calling thread's network namespace, or takes up the persistent one of
/// that name. A `%d` in `name` is numbered by the kernel.
///
/// # Errors
/// [`TapError`]; the device is then gone again.
pub fn create(name: &str, queues: u16) -> Result<(TapDevice, Vec<TapPort>), TapError> {
    let flags = if queues > 1 { IFF_MULTI_QUEUE } else { 0 };
    let first = open_queue(name, flags)?;
    let (name, fd) = (first.0, first.1);
    let failed = |operation| {
        let name = name.clone();
        move |source| TapError::Setup { operation, name, source }
    };
    let mut fds = vec![fd];
    for _ in 1..queues {
        fds.push(open_queue(&name, flags)?.1);
    }
    let index = sys::interface_index(&name).map_err(failed("find"))?;
    let udp_segmentation = set_offload(fds[0].as_fd()).map_err(failed("set the offloads of"))?;
    let ports =
        fds.into_iter().map(|fd| TapPort { fd, accepts: Accepts::ALL, unusable: 0 }).collect();
    Ok((TapDevice { name, index, udp_segmentation }, ports))
}

fn open_queue(name: &str, flags: u16) -> Result<(String, OwnedFd), TapError> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|source| TapError::Open { source })?;
    let failed =
        |operation| move |source| TapError::Setup { operation, name: name.to_owned(), source };
    let flags = flags | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    let made = sys::tun_set_iff(device.as_fd(), name, flags).map_err(failed("make"))?;
    sys::tun_set_vnet_header(device.as_fd(), 10).map_err(failed("set the header length of"))?;
    Ok((made, device.into()))
}

/// Takes every offload that the kernel gives; true when UDP segmentation is among them.
fn set_offload(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if sys::tun_set_offload(fd, tcp | TUN_F_USO4 | TUN_F_USO6).is_ok() {
        return Ok(true);
    }
    sys::tun_set_offload(fd, tcp).map(|()| false)
}

impl TapPort {
    /// A handle of the device.
    ///
    /// # Errors
    /// [`TapError::Setup`], when descriptors run out.
    pub fn handle(&self) -> Result<Handle, TapError> {
        let failed =
            |operation| move |source| TapError::Setup { operation, name: String::new(), source };
        let name = sys::tun_name(self.fd.as_fd()).map_err(failed("ask for the name of"))?;
        Ok(Handle { fd: self.fd.try_clone().map_err(failed("refer to"))?, name })
    }

    /// Reads one frame into a buffer. `None` when none waits.
    fn read(&mut self, frame: &mut PktBuf) -> Result<Option<Read>, PortFault> {
        let area = frame.receive_area(VNET_BYTES);
        let bytes = match rustix::io::read(&self.fd, &mut *area) {
            Ok(bytes) => bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(errno) => return Err(fault("read", errno)),
        };
        let header = area.first_chunk().copied().filter(|_| bytes >= VNET_BYTES);
        let Some(header) = header else { return Ok(Some(Read::Unusable)) };
        frame.set_len(bytes - VNET_BYTES);
        Ok(Some(if vnet::describe(frame, header) { Read::Frame } else { Read::Unusable }))
    }

    /// Writes one frame. True when the kernel took it.
    fn write(&mut self, frame: &mut PktBuf) -> Result<bool, PortFault> {
        use rustix::io::Errno;
        let Some(header) = vnet::encode(frame) else { return Ok(false) };
        let Some(bytes) = frame.with_prefix(&header) else { return Ok(false) };
        match rustix::io::write(&self.fd, bytes) {
            Ok(_) => Ok(true),
            // The device is down, the frame is not acceptable, or memory is short: this frame's loss.
            Err(Errno::IO | Errno::NETDOWN | Errno::INVAL | Errno::NOMEM | Errno::NOBUFS) => {
                Ok(false)
            }
            Err(Errno::AGAIN | Errno::MSGSIZE | Errno::FAULT) => Ok(false),
            Err(errno) => Err(fault("write", errno)),
        }
    }
}

/// What a read brought.
enum Read {
    Frame,
    /// A header that this switch cannot represent; the kernel was never told that it may send such.
    Unusable,
}

impl Port for TapPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let (mut received, mut bytes) = (0, 0);
        while received < BURST_FRAMES && bytes < BURST_BYTES {
            // What waits may be a super-frame, and there is no asking before.
            let Some(mut frame) = pool.take_slab() else { break };
            match self.read(&mut frame) {
                Ok(Some(Read::Frame)) => {
                    bytes += frame.len();
                    received += 1;
                    out.push(frame);
                }
                Ok(Some(Read::Unusable)) => {
                    self.unusable += 1;
                    pool.recycle(frame);
                }
                Ok(None) => {
                    pool.recycle(frame);
                    break;
                }
                Err(fault) => {
                    pool.recycle(frame);
                    return Err(fault);
                }
            }
        }
        Ok(received)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let mut sent = Sent::default();
        let mut fault = None;
        let mut taken = 0;
        for frame in frames.iter_mut() {
            match self.write(frame) {
                Ok(true) => sent.frames += 1,
                Ok(false) => sent.refused += 1,
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
            taken += 1;
        }
        frames.drain(..taken).for_each(|frame| pool.recycle(frame));
        fault.map_or(Ok(sent), Err)
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn take_missed(&mut self) -> Missed {
        Missed { unusable: std::mem::take(&mut self.unusable), ..Missed::default() }
    }
}

/// `EBADFD` is what a queue says whose device was deleted, by itself or with its namespace.
fn fault(operation: &'static str, errno: rustix::io::Errno) -> PortFault {
    use rustix::io::Errno;
    let source = io::Error::from(errno);
    match errno {
        Errno::BADFD | Errno::NODEV | Errno::NXIO => PortFault::Gone { operation, source },
        _ => PortFault::Io { operation, source },
    }
}
