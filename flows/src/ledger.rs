//! The drop ledger: every frame that a worker touched is accounted for.
//!
//! For every port, always at the end of a turn:
//! * `received = forwarded + answered + held + dropped on ingress`: each received frame went on, once or as
//!   many copies; or was for the switch itself; or waits for something (a neighbour's address); or was
//!   dropped with a reason;
//! * `offered = transmitted + dropped on egress + handed over + queued`: each frame put into the port's
//!   outbox was sent, dropped with a reason, or given to the worker that owns the port, whose `offered`
//!   then counts it too (as `taken`); or waits for the port's rate.
//!
//! For the whole switch: `Σ offered - Σ taken = Σ forwarded + Σ copies + Σ originated`: what goes out came
//! in, or was made by the switch itself. A frame is what a port delivered: a
//! super-frame counts as one, however many segments it leaves as.
//!
//! [`Ledger::drop_frame`] is the only way to lose a frame that the switch has.
//!
//! Of every port, side and reason the last frame is remembered, and a flood of one kind does not make the others
//! forgotten. Of all ports that are no more together, it is the last one of every side and reason. Whoever captures lost
//! frames has them kept ([`Ledger::keep`]), and takes them from there.

use pktio::{PktBuf, Pool};

use crate::{DropReason, Nanos, PortIndex};

/// Bytes kept of a dropped frame: enough for Ethernet, two tags, IPv6 and TCP with options.
pub(crate) const OFFENDER_BYTES: usize = 96;
/// Kinds of dropped frames (by port, side and reason) of which the last one is remembered; as many as a
/// `u8` can tell apart.
const OFFENDERS: usize = 256;
/// The place of each side and reason of a port among the offenders. It may have been given away since.
type Places = [u8; 2 * DropReason::COUNT];

/// On which side of the switch a frame was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropSide {
    /// It came in by the port, and was never offered to another.
    Ingress,
    /// It was offered to the port, and never left.
    Egress,
}

/// The books of one port at one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortBooks {
    /// Frames received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Received frames that went on to at least one outbox.
    pub forwarded: u64,
    /// Received frames that were for the switch itself: its gateway's.
    pub answered: u64,
    /// Received frames that wait at the moment, for their next hop's address.
    pub held: u64,
    /// Copies beyond the first that floods of received frames made.
    pub copies: u64,
    /// Frames put into the port's outbox.
    pub offered: u64,
    /// Of these, frames that the switch itself made: its gateway's, or an ICMP error.
    pub originated: u64,
    /// Of these, frames that came from another worker.
    pub taken: u64,
    /// Frames given to the worker that owns the port.
    pub handed: u64,
    /// Offered frames that wait at the moment, for their turn at the port's rate.
    pub queued: u64,
    /// Frames transmitted.
    pub transmitted: u64,
    /// Bytes transmitted.
    pub transmitted_bytes: u64,
    /// Frames dropped on ingress, by reason.
    pub ingress_drops: [u64; DropReason::COUNT],
    /// Frames dropped on egress, by reason.
    pub egress_drops: [u64; DropReason::COUNT],
}

impl Default for PortBooks {
    fn default() -> Self {
        Self {
            received: 0,
            received_bytes: 0,
            forwarded: 0,
            answered: 0,
            held: 0,
            copies: 0,
            offered: 0,
            originated: 0,
            taken: 0,
            handed: 0,
            queued: 0,
            transmitted: 0,
            transmitted_bytes: 0,
            ingress_drops: [0; DropReason::COUNT],
            egress_drops: [0; DropReason::COUNT],
        }
    }
}

impl PortBooks {
    /// All drops, both sides.
    pub fn dropped(&self) -> u64 {
        self.ingress_dropped() + self.egress_dropped()
    }

    /// Drops on ingress.
    pub fn ingress_dropped(&self) -> u64 {
        self.ingress_drops.iter().sum()
    }

    /// Drops on egress.
    pub fn egress_dropped(&self) -> u64 {
        self.egress_drops.iter().sum()
    }

    /// Adds another worker's books of the same port.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.forwarded += other.forwarded;
        self.answered += other.answered;
        self.held += other.held;
        self.copies += other.copies;
        self.offered += other.offered;
        self.originated += other.originated;
        self.taken += other.taken;
        self.handed += other.handed;
        self.queued += other.queued;
        self.transmitted += other.transmitted;
        self.transmitted_bytes += other.transmitted_bytes;
        for reason in 0..DropReason::COUNT {
            self.ingress_drops[reason] += other.ingress_drops[reason];
            self.egress_drops[reason] += other.egress_drops[reason];
        }
    }
}

/// What drops are told apart by.
type Kind = (PortIndex, DropSide, DropReason);

/// A dropped frame, remembered.
#[derive(Debug, Clone, Copy)]
pub struct Offender {
    /// When it was dropped.
    pub at: Nanos,
    /// The port: ingress or egress, see `side`.
    pub port: PortIndex,
    /// Which side of the switch.
    pub side: DropSide,
    /// Why.
    pub reason: DropReason,
    /// The frame's length in bytes; zero when only the kernel saw it.
    pub frame_bytes: u32,
    headers: [u8; OFFENDER_BYTES],
}

impl Offender {
    fn kind(&self) -> Kind {
        (self.port, self.side, self.reason)
    }

    /// The frame's first bytes, at most 96.
    pub fn headers(&self) -> &[u8] {
        let kept = usize::try_from(self.frame_bytes).unwrap_or(OFFENDER_BYTES);
        &self.headers[..kept.min(OFFENDER_BYTES)]
    }
}

/// Books that do not add up, which is a bug in the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// A port's received frames are not all accounted for.
    #[error("port {port:?}: {received} received, but {kept} forwarded or kept + {dropped} dropped")]
    Ingress {
        /// The port.
        port: PortIndex,
        /// Frames received.
        received: u64,
        /// Frames forwarded, answered or held.
        kept: u64,
        /// Frames dropped on ingress.
        dropped: u64,
    },
    /// A port's offered frames are not all accounted for.
    #[error("port {port:?}: {offered} offered, but {sent} sent or waiting + {dropped} dropped")]
    Egress {
        /// The port.
        port: PortIndex,
        /// Frames offered.
        offered: u64,
        /// Frames transmitted, handed over, or waiting.
        sent: u64,
        /// Frames dropped on egress.
        dropped: u64,
    },
    /// What came in does not equal what went out.
    #[error("switch: {came} forwarded, copied or originated, but {offered} offered")]
    Switch {
        /// Frames forwarded, copied or originated.
        came: u64,
        /// Frames offered, without those taken from other workers.
        offered: u64,
    },
}

/// A lost frame that is kept for somebody who wants to see it.
#[derive(Debug)]
pub struct LostFrame {
    /// The frame, as it was when it was lost.
    pub frame: PktBuf,
    /// The port: ingress or egress, see `side`.
    pub port: PortIndex,
    /// Which side of the switch.
    pub side: DropSide,
    /// Why.
    pub reason: DropReason,
}

/// The books of all ports at one worker, and the frames dropped last.
#[derive(Debug, Default)]
pub struct Ledger {
    ports: Vec<PortBooks>,
    places: Vec<Places>,
    offenders: Vec<Offender>,
    /// The offender that gives its place to the next new kind, once all places are taken.
    next_offender: u8,
    /// Books of ports that are no more, so that the whole still adds up.
    closed: PortBooks,
    /// The frames dropped last of each side and reason at these ports.
    departed: Vec<Offender>,
    /// Lost frames are kept here while there is room. There is none unless somebody wants them.
    kept: Vec<LostFrame>,
}

impl Ledger {
    /// Empty books.
    pub fn new() -> Self {
        Self { offenders: Vec::with_capacity(OFFENDERS), ..Self::default() }
    }

    /// Makes room for ports below `count`, so that nothing grows on the packet path.
    pub fn reserve(&mut self, count: usize) {
        if self.ports.len() < count {
            self.ports.resize(count, PortBooks::default());
            self.places.resize(count, [0; 2 * DropReason::COUNT]);
        }
    }

    /// The books of a port, to write. Within the reserved range this is an index.
    #[inline]
    pub fn port_mut(&mut self, port: PortIndex) -> &mut PortBooks {
        let slot = port.slot();
        if slot < self.ports.len() { &mut self.ports[slot] } else { self.open(slot) }
    }

    /// The books of a port that had none.
    #[cold]
    fn open(&mut self, slot: usize) -> &mut PortBooks {
        self.reserve(slot + 1);
        &mut self.ports[slot]
    }

    /// The books of a port.
    pub fn port(&self, port: PortIndex) -> PortBooks {
        self.ports.get(port.slot()).copied().unwrap_or_default()
    }

    /// The only way to lose a frame: counts it, remembers it, and takes its buffer back.
    pub fn drop_frame(&mut self, pool: &mut Pool, frame: PktBuf, kind: Kind, at: Nanos) {
        let (port, side, reason) = kind;
        let books = self.port_mut(port);
        match side {
            DropSide::Ingress => books.ingress_drops[reason as usize] += 1,
            DropSide::Egress => books.egress_drops[reason as usize] += 1,
        }
        self.remember(frame.data(), kind, at);
        if self.kept.len() < self.kept.capacity() {
            self.kept.push(LostFrame { frame, port, side, reason });
        } else {
            pool.recycle(frame);
        }
    }

    /// Enters a frame into the books of the port that it came in by, and loses it there.
    pub fn turn_away(
        &mut self,
        pool: &mut Pool,
        frame: PktBuf,
        (port, reason): (PortIndex, DropReason),
        at: Nanos,
    ) {
        let books = self.port_mut(port);
        books.received += 1;
        books.received_bytes += frame.len() as u64;
        self.drop_frame(pool, frame, (port, DropSide::Ingress, reason), at);
    }

    /// Keeps up to `frames` frames that are lost from now on, until they are [taken](Ledger::take_kept); none any
    /// more with 0. Copies of floods that could not be made, and what the kernel refused, are no frames.
    pub fn keep(&mut self, frames: usize) {
        self.kept = Vec::with_capacity(frames);
    }

    /// The lost frames that were kept. Their buffers are the caller's to recycle.
    pub fn take_kept(&mut self) -> impl Iterator<Item = LostFrame> + '_ {
        self.kept.drain(..)
    }

    /// Accounts for frames that a port was given and the kernel refused: they are gone already.
    pub fn note_refused(&mut self, port: PortIndex, reason: DropReason, frames: u64, at: Nanos) {
        if frames > 0 {
            self.port_mut(port).egress_drops[reason as usize] += frames;
            self.remember(&[], (port, DropSide::Egress, reason), at);
        }
    }

    /// Accounts for a copy of `frame` that could not be made for `port`, for want of a buffer.
    pub fn lose_copy(&mut self, port: PortIndex, frame: &PktBuf, at: Nanos) {
        let books = self.port_mut(port);
        books.egress_drops[DropReason::NoBuffer as usize] += 1;
        self.remember(frame.data(), (port, DropSide::Egress, DropReason::NoBuffer), at);
    }

    fn remember(&mut self, frame: &[u8], kind: Kind, at: Nanos) {
        let (port, side, reason) = kind;
        let frame_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut headers = [0; OFFENDER_BYTES];
        let kept = frame.len().min(OFFENDER_BYTES);
        headers[..kept].copy_from_slice(&frame[..kept]);
        let offender = Offender { at, port, side, reason, frame_bytes, headers };
        let place = &mut self.places[port.slot()][place_of(side, reason)];
        let is_known = |last: &Offender| last.kind() == kind;
        if !self.offenders.get(usize::from(*place)).is_some_and(is_known) {
            if self.offenders.len() < OFFENDERS {
                *place = u8::try_from(self.offenders.len()).unwrap_or(u8::MAX);
                self.offenders.push(offender);
                return;
            }
            *place = self.next_offender;
            self.next_offender = self.next_offender.wrapping_add(1);
        }
        self.offenders[usize::from(*place)] = offender;
    }

    /// The frames dropped last of each kind, in no particular order.
    pub fn offenders(&self) -> &[Offender] {
        &self.offenders
    }

    /// Closes the books of a port whose number will be used for another.
    pub fn forget(&mut self, port: PortIndex) {
        if let Some(books) = self.ports.get_mut(port.slot()) {
            self.closed.add(books);
            *books = PortBooks::default();
            let gone = self.offenders.extract_if(.., |offender| offender.port == port);
            gone.for_each(|offender| keep_latest(&mut self.departed, offender));
            for (place, last) in (0..=u8::MAX).zip(&self.offenders) {
                self.places[last.port.slot()][place_of(last.side, last.reason)] = place;
            }
        }
    }

    /// The books of all ports that are no more.
    pub fn closed(&self) -> &PortBooks {
        &self.closed
    }

    /// The frames dropped last of each side and reason at ports that are no more, in no particular order. Their ports' numbers
    /// may be others' by now.
    pub fn departed(&self) -> &[Offender] {
        &self.departed
    }

    /// Makes this a copy of `other`, reusing memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.ports.clone_from(&other.ports);
        self.places.clone_from(&other.places);
        self.offenders.clone_from(&other.offenders);
        self.next_offender = other.next_offender;
        self.closed = other.closed;
        self.departed.clone_from(&other.departed);
    }

    /// Adds the books of another worker.
    pub fn add(&mut self, other: &Self) {
        self.reserve(other.ports.len());
        for (ours, theirs) in self.ports.iter_mut().zip(&other.ports) {
            ours.add(theirs);
        }
        self.closed.add(&other.closed);
        self.offenders.extend_from_slice(&other.offenders);
        other.departed.iter().for_each(|offender| keep_latest(&mut self.departed, *offender));
    }

    /// Books of all ports together, those that are no more included.
    pub fn total(&self) -> PortBooks {
        let mut total = self.closed;
        self.ports.iter().for_each(|books| total.add(books));
        total
    }

    /// Checks that every frame is accounted for.
    ///
    /// # Errors
    /// The first [`Discrepancy`].
    pub fn reconcile(&self) -> Result<(), Discrepancy> {
        for (slot, books) in self.ports.iter().enumerate() {
            let port = PortIndex::at(slot).unwrap_or(PortIndex(u16::MAX));
            reconcile_port(port, books)?;
        }
        let PortBooks { forwarded, copies, originated, offered, taken, .. } = self.total();
        let (came, offered) = (forwarded + copies + originated, offered - taken);
        if offered == came { Ok(()) } else { Err(Discrepancy::Switch { came, offered }) }
    }
}

/// Enters an offender, unless a later one of its side and reason is there, whatever their ports.
fn keep_latest(latest: &mut Vec<Offender>, offender: Offender) {
    let is_alike =
        |other: &&mut Offender| (other.side, other.reason) == (offender.side, offender.reason);
    match latest.iter_mut().find(is_alike) {
        Some(other) if other.at > offender.at => {}
        Some(other) => *other = offender,
        None => latest.push(offender),
    }
}

fn place_of(side: DropSide, reason: DropReason) -> usize {
    side as usize * DropReason::COUNT + reason as usize
}

fn reconcile_port(port: PortIndex, books: &PortBooks) -> Result<(), Discrepancy> {
    let PortBooks { received, forwarded, answered, held, offered, .. } = *books;
    let (kept, dropped) = (forwarded + answered + held, books.ingress_dropped());
    if received != kept + dropped {
        return Err(Discrepancy::Ingress { port, received, kept, dropped });
    }
    let sent = books.transmitted + books.handed + books.queued;
    let dropped = books.egress_dropped();
    if offered != sent + dropped {
        return Err(Discrepancy::Egress { port, offered, sent, dropped });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
