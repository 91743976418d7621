//! Single frames: sending any bytes from a container's interface, and seeing what arrives there.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::socket;
use crate::{Container, LabError, sys};

/// Room for the longest frame: a super-frame of 64 KiB with its headers and tags.
const LONGEST_FRAME_BYTES: usize = 65_536 + 64;
/// Where a VLAN tag lies in a frame.
const TAG_AT: usize = 12;

/// A frame that arrived, as it was on the wire: a VLAN tag that the kernel took out is back in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, from the destination address on, without frame check sequence.
    pub bytes: Vec<u8>,
    /// Its transport checksum holds only the sum of the pseudo-header: its sender left the rest to a
    /// device, and none had to do it on the way.
    pub checksum_is_partial: bool,
}

/// A packet socket on an interface of a container. It hears every frame that arrives there, whoever it
/// is for, from the moment it is opened; not those that the container sends.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    /// Opens one.
    ///
    /// # Errors
    /// [`LabError::Host`] when there is no such interface; [`LabError::Socket`].
    pub fn open(container: &Container, interface: &str) -> Result<Self, LabError> {
        let index = container.link(interface)?.index;
        let open = || sys::packet_socket(index, true).map_err(socket("open a packet socket"));
        Ok(Self { socket: container.run(open)? })
    }

    /// Sends a frame: any bytes, of at least 14.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the interface is off or the frame too long for it.
    pub fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        match rustix::io::write(&self.socket, frame) {
            Ok(_) => Ok(()),
            Err(errno) => Err(socket("send a frame")(errno.into())),
        }
    }

    /// Waits for a frame for which `is_it` holds; others are passed over. `None` when there is none in
    /// time.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the interface is off or gone.
    pub fn receive(
        &self,
        patience: Duration,
        is_it: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Frame>, LabError> {
        let deadline = Instant::now() + patience;
        self.next(is_it, || self.wait(deadline))
    }

    /// As [`RawSocket::receive`], but awake on its core all the time: for measuring how long a frame takes,
    /// and not how long its receiver takes to wake up.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the interface is off or gone.
    pub fn catch(
        &self,
        patience: Duration,
        is_it: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Frame>, LabError> {
        let deadline = Instant::now() + patience;
        self.next(is_it, || Ok(Instant::now() < deadline))
    }

    /// The next frame for which `is_it` holds, unless waiting for more says that there is none.
    fn next(
        &self,
        mut is_it: impl FnMut(&[u8]) -> bool,
        wait: impl Fn() -> Result<bool, LabError>,
    ) -> Result<Option<Frame>, LabError> {
        let mut room = vec![0; LONGEST_FRAME_BYTES];
        loop {
            match self.take(&mut room)? {
                Some(frame) if is_it(&frame.bytes) => return Ok(Some(frame)),
                Some(_) => {}
                None if !wait()? => return Ok(None),
                None => {}
            }
        }
    }

    /// The frames that are there now for which `is_it` holds. Never waits.
    ///
    /// # Errors
    /// [`LabError::Socket`], when the interface is off or gone.
    pub fn drain(&self, mut is_it: impl FnMut(&[u8]) -> bool) -> Result<Vec<Frame>, LabError> {
        let mut room = vec![0; LONGEST_FRAME_BYTES];
        let mut frames = Vec::new();
        while let Some(frame) = self.take(&mut room)? {
            if is_it(&frame.bytes) {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn take(&self, room: &mut [u8]) -> Result<Option<Frame>, LabError> {
        match sys::receive_frame(&self.socket, room) {
            Ok(received) => Ok(Some(frame_of(received, room))),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(socket("receive a frame")(error)),
        }
    }

    /// Whether something is there before the deadline.
    fn wait(&self, deadline: Instant) -> Result<bool, LabError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = poll(&mut waiting, Some(&timeout));
        ready.map(|count| count > 0).map_err(|errno| socket("wait for a frame")(errno.into()))
    }
}

fn frame_of(received: sys::Received, room: &[u8]) -> Frame {
    let mut bytes = room[..received.bytes].to_vec();
    if let Some(tag) = received.tag.filter(|_| bytes.len() >= TAG_AT) {
        let tag = [tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()].concat();
        bytes.splice(TAG_AT..TAG_AT, tag);
    }
    Frame { bytes, checksum_is_partial: received.checksum_is_partial }
}
