//! The packet port: AF_PACKET with virtio-net headers, for a veth or a NIC that exists already.
//!
//! Super-frames pass whole, both ways (`PACKET_VNET_HDR`), and the far end keeps all of its offloads: this
//! is the "gso" mode of a `netdev` port. Frames move in batches (`recvmmsg`, `sendmmsg`), past the
//! queueing discipline. See `packet(7)` and `Documentation/networking/packet_mmap.rst`; the memory-mapped
//! ring is not used because it cannot hold super-frames.
//!
//! The kernel takes a VLAN tag off a frame before a packet socket sees it, and says so beside it; the
//! tag is put back.
//!
//! The host's own stack gets every frame too unless it is told not to. [`HostStack`] says what was done
//! about that.
//!
//! Open the port in the namespace of its device; use it from any thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::bpf;
use crate::buffer::{BURST_BYTES, BURST_FRAMES, Burst, PktBuf, Pool, Spares};
use crate::offload::Accepts;
use crate::port::{Missed, Port, PortFault, Sent};
use crate::shared::Sharing;
use crate::shortcut::Shortcuts;
use crate::sys::{self, Messages};
use crate::vnet::{self, VNET_BYTES};
use crate::wire::VLAN_BYTES;

/// Receive buffer asked for, of which the kernel grants twice as much: a whole TCP window may come at once, in super-frames that are charged
/// with more than their length. What comes faster than it is taken waits here, 70 ms with the shortest frames (of which it holds some
/// 20 000) where four times as much would make them wait for 0.3 s and lose them all the same (docs/PERFORMANCE.md, what was tried).
const RECEIVE_BUFFER_BYTES: i32 = 8 * 1024 * 1024;
/// Frames per system call when super-frames are about: as many as [`BURST_BYTES`] holds.
const FEW: usize = 4;
/// When the kernel drops so many frames in a row, it would drop those behind them too.
const HOPELESS: usize = 2;

/// Why there is no packet port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The socket cannot be set up.
    #[error("cannot {operation} for interface {interface}: {source}{}", hint(.source))]
    Socket {
        /// What was attempted.
        operation: &'static str,
        /// The interface's number.
        interface: u32,
        /// The kernel's error.
        source: io::Error,
    },
    /// The interface cannot be shared with the host.
    #[error("cannot share interface {interface} with the host: {source}")]
    Shared {
        /// The interface's number.
        interface: u32,
        /// What the programs lack.
        source: bpf::BpfError,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; it needs CAP_NET_RAW and CAP_NET_ADMIN",
        _ => "",
    }
}

/// What keeps the host's own stack from also taking the frames that the port receives.
#[derive(Debug)]
pub enum HostStack {
    /// A program on the device's ingress drops them behind the packet socket. It goes with the port.
    Blocked(bpf::Link),
    /// A program on the device's ingress drops what is claimed, and no more. It goes with the port.
    Shared(bpf::Link),
    /// Nothing, and why. The host should have no address on the device.
    Open(bpf::BpfError),
}

/// Who else has to do with a port's interface.
enum Company<'a> {
    /// Nobody.
    Nobody,
    /// The host, which keeps it.
    Host(&'a Sharing),
    /// The kernel, which carries frames by itself.
    Kernel(&'a Shortcuts),
}

/// A packet socket on one interface.
pub struct PacketPort {
    fd: OwnedFd,
    interface: u32,
    messages: Messages,
    spares: Spares,
    /// Frames to ask for at the next receive: many when they are small, few when they are super-frames.
    batch: usize,
    host_stack: HostStack,
    receive_buffer_bytes: i32,
    /// Frames since the last report that the kernel described in a way that is not understood.
    unusable: u64,
    /// The number by which shortcuts know it, if frames may take them here, or why they cannot.
    gate: Option<Result<u32, bpf::BpfError>>,
}

impl PacketPort {
    /// Opens a port on an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`PacketError`]; nothing is left behind.
    pub fn open(interface: u32) -> Result<Self, PacketError> {
        Self::open_for(interface, Company::Nobody)
    }

    /// Opens a port on an interface that stays the host's, and takes from it only what is claimed. What is claimed is first
    /// dropped for the host and then received: for a moment between by neither, and never by both.
    ///
    /// # Errors
    /// [`PacketError`]; nothing is left behind.
    pub fn open_shared(interface: u32, sharing: &Sharing) -> Result<Self, PacketError> {
        Self::open_for(interface, Company::Host(sharing))
    }

    /// As [`Self::open`], for a port at which frames may take shortcuts: if they can, it has a [gate](Self::gate);
    /// if not, it is a port as without.
    ///
    /// # Errors
    /// [`PacketError`]; nothing is left behind.
    pub fn open_with(interface: u32, shortcuts: Option<&Shortcuts>) -> Result<Self, PacketError> {
        Self::open_for(interface, shortcuts.map_or(Company::Nobody, Company::Kernel))
    }

    fn open_for(interface: u32, company: Company<'_>) -> Result<Self, PacketError> {
        let failed = |operation| move |source| PacketError::Socket { operation, interface, source };
        let fd = sys::packet_socket().map_err(failed("open a packet socket"))?;
        sys::packet_options(fd.as_fd()).map_err(failed("set up the packet socket"))?;
        let receive_buffer_bytes = sys::receive_buffer(fd.as_fd(), RECEIVE_BUFFER_BYTES)
            .map_err(failed("size the receive buffer"))?;
        let mut gate = None;
        let host_stack = match company {
            Company::Host(sharing) => {
                let unshared = |source| PacketError::Shared { interface, source };
                sharing.filter(fd.as_fd()).map_err(unshared)?;
                HostStack::Shared(sharing.keep_from_host(interface).map_err(unshared)?)
            }
            Company::Kernel(shortcuts) => match shortcuts.gate(interface) {
                Ok(opened) => {
                    sys::attach_filter(fd.as_fd(), opened.filter())
                        .map_err(failed("filter the socket"))?;
                    gate = Some(Ok(opened.number()));
                    HostStack::Blocked(opened.into_link())
                }
                Err(error) => {
                    gate = Some(Err(error));
                    block(interface)
                }
            },
            Company::Nobody => block(interface),
        };
        if !matches!(host_stack, HostStack::Shared(_)) {
            sys::packet_promiscuous(fd.as_fd(), interface)
                .map_err(failed("receive every destination"))?;
        }
        sys::packet_bind(fd.as_fd(), interface).map_err(failed("bind the packet socket"))?;
        Ok(Self {
            fd,
            interface,
            messages: Messages::new(BURST_FRAMES),
            spares: Spares::with_room_for(BURST_FRAMES),
            batch: FEW,
            host_stack,
            receive_buffer_bytes,
            unusable: 0,
            gate,
        })
    }

    /// The number of its gate, by which frames take shortcuts, or why it has none. Nothing where none was asked for.
    pub fn gate(&self) -> Option<Result<u32, &bpf::BpfError>> {
        self.gate.as_ref().map(|gate| gate.as_ref().copied())
    }

    /// What keeps the host's own stack away.
    pub fn host_stack(&self) -> &HostStack {
        &self.host_stack
    }

    /// Size of the receive buffer that the kernel granted.
    pub fn receive_buffer_bytes(&self) -> i32 {
        self.receive_buffer_bytes
    }

    /// Gets one batch. Returns how many frames came and their bytes.
    fn receive(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<Batch, PortFault> {
        let ready = self.spares.ready(self.batch, pool);
        if ready.is_empty() {
            return Ok(Batch::default());
        }
        let got = match self.messages.receive(self.fd.as_fd(), ready) {
            Ok(got) => got,
            Err(error) => {
                self.spares.keep(pool);
                return self.quiet_or_fault("recvmmsg", error).map(|()| Batch::default());
            }
        };
        let mut batch = Batch { messages: got, ..Batch::default() };
        for (at, mut frame) in self.spares.filled(got).enumerate() {
            if accept(&mut frame, self.messages.received(at)) {
                batch.frames += 1;
                batch.bytes += frame.len();
                out.push(frame);
            } else {
                self.unusable += 1;
                pool.recycle(frame);
            }
        }
        self.spares.keep(pool);
        Ok(batch)
    }

    /// Chooses the next batch size by how much the last one carried.
    fn adapt(&mut self, batch: &Batch) {
        let mean = batch.bytes / batch.messages.max(1);
        self.batch = (BURST_BYTES / mean.max(1)).clamp(FEW, BURST_FRAMES);
    }

    /// Distinguishes "nothing there" and "the device is down" from a port that is lost.
    fn quiet_or_fault(&self, operation: &'static str, source: io::Error) -> Result<(), PortFault> {
        match source.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(()),
            Some(libc::ENETDOWN) if self.device_exists() => Ok(()),
            Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => {
                Err(PortFault::Gone { operation, source })
            }
            _ => Err(PortFault::Io { operation, source }),
        }
    }

    /// Takes all frames out if the device's far end is down. If it is not, its queue is full, and they found no room.
    fn refuse_if_down(&self, pool: &mut Pool, frames: &mut Burst) -> usize {
        match sys::interface_runs(self.fd.as_fd(), self.interface) {
            Ok(false) => refuse(frames.len(), pool, frames),
            _ => 0,
        }
    }

    /// Whether the device is still there. A socket whose device was deleted is bound to none (-1).
    fn device_exists(&self) -> bool {
        sys::packet_bound_to(self.fd.as_fd()).is_ok_and(|bound| bound == Some(self.interface))
    }
}

/// Keeps the host's own stack away, if the kernel can.
fn block(interface: u32) -> HostStack {
    bpf::ingress_drop(interface).map_or_else(HostStack::Open, HostStack::Blocked)
}

/// What one system call brought.
#[derive(Default)]
struct Batch {
    messages: usize,
    frames: usize,
    bytes: usize,
}

/// Completes a received frame. False for what this switch cannot represent.
fn accept(frame: &mut PktBuf, message: sys::Received) -> bool {
    let Some(bytes) = message.bytes.checked_sub(VNET_BYTES) else { return false };
    if message.truncated {
        return false;
    }
    let header = frame.receive_area(VNET_BYTES).first_chunk().copied();
    frame.set_len(bytes);
    header.is_some_and(|header| vnet::describe(frame, header))
        && message.vlan.is_none_or(|vlan| put_tag_back(frame, vlan))
}

/// Puts a VLAN tag that the kernel took off back behind the addresses.
fn put_tag_back(frame: &mut PktBuf, (protocol, control): (u16, u16)) -> bool {
    const ADDRESSES_BYTES: usize = 12;
    if frame.len() < ADDRESSES_BYTES || !frame.grow_front(4) {
        return false;
    }
    let data = frame.data_mut();
    data.copy_within(VLAN_BYTES..VLAN_BYTES + ADDRESSES_BYTES, 0);
    data[12..14].copy_from_slice(&protocol.to_be_bytes());
    data[14..16].copy_from_slice(&control.to_be_bytes());
    true
}

impl Port for PacketPort {
    fn rx_burst(&mut self, pool: &mut Pool, out: &mut Burst) -> Result<usize, PortFault> {
        let batch = self.receive(pool, out)?;
        if batch.messages > 0 {
            self.adapt(&batch);
        }
        Ok(batch.frames)
    }

    fn tx_burst(&mut self, pool: &mut Pool, frames: &mut Burst) -> Result<Sent, PortFault> {
        let mut result = Sent::default();
        result.refused += refuse_unsound(pool, frames);
        let mut dropped_in_a_row = 0;
        while !frames.is_empty() {
            let bytes = frames.iter_mut().filter_map(|frame| {
                let header = vnet::encode(frame)?;
                frame.with_prefix(&header)
            });
            match self.messages.send(self.fd.as_fd(), bytes) {
                Ok(sent) => {
                    frames.drain(..sent).for_each(|frame| pool.recycle(frame));
                    result.frames += sent;
                    dropped_in_a_row = 0;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // No room now: what remains is the caller's to drop.
                    Some(libc::EAGAIN | libc::ENOMEM) => return Ok(result),
                    // The kernel dropped this frame, and does not say why.
                    Some(libc::ENOBUFS) => {
                        result.refused += refuse(1, pool, frames);
                        dropped_in_a_row += 1;
                        if dropped_in_a_row == HOPELESS {
                            result.refused += self.refuse_if_down(pool, frames);
                            return Ok(result);
                        }
                    }
                    // This one frame will not do, or the far end is down: the others may.
                    Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO) => {
                        result.refused += refuse(1, pool, frames);
                    }
                    _ => {
                        self.quiet_or_fault("sendmmsg", error)?;
                        result.refused += refuse(1, pool, frames);
                    }
                },
            }
        }
        Ok(result)
    }

    fn accepts(&self) -> Accepts {
        Accepts { coalesced: false, ..Accepts::ALL }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn housekeep(&mut self, pool: &mut Pool) -> Result<(), PortFault> {
        self.spares.give_back(pool);
        match sys::take_error(self.fd.as_fd()) {
            Ok(0) => Ok(()),
            Ok(error) => self.quiet_or_fault("poll", io::Error::from_raw_os_error(error)),
            Err(source) => self.quiet_or_fault("getsockopt", source),
        }
    }

    fn take_missed(&mut self) -> Missed {
        let ring_full = sys::packet_drops(self.fd.as_fd()).map_or(0, u64::from);
        let unusable = std::mem::take(&mut self.unusable);
        Missed { ring_full, unusable, ..Missed::default() }
    }
}

/// Takes the frames out whose header cannot be written, so that every other one can be sent in order.
fn refuse_unsound(pool: &mut Pool, frames: &mut Burst) -> usize {
    let mut refused = 0;
    while let Some(at) = frames.iter().position(|frame| vnet::encode(frame).is_none()) {
        frames.drain(at..=at).for_each(|frame| pool.recycle(frame));
        refused += 1;
    }
    refused
}

/// Takes the first frames out.
fn refuse(count: usize, pool: &mut Pool, frames: &mut Burst) -> usize {
    frames.drain(..count).map(|frame| pool.recycle(frame)).count()
}
