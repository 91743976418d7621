//! The lane between the control thread and one worker: messages down, retired things up, and the
//! doorbell that ends the worker's sleep.
//!
//! Every message is a box or an `Arc` that was made on the control thread, and whatever the worker is
//! done with goes back up, so that a worker neither allocates nor frees. Order is kept: a message sent
//! later takes effect later. A worker reads its lane once per turn, so a turn's end is the quiescent
//! state: when the worker has answered a message, nothing sent before it is still in use.
//!
//! That no wake-up is lost is seen to by [`pktio::wake`]: what is pushed is seen by the worker's last look at its
//! queues before it sleeps, or the sender sees it asleep, and rings. Whether a queue is empty is what its counters
//! say, which a push changes first.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use pktio::wake::Sleeper;
use pktio::{PktBuf, PortFault};
use rustix::event::{EventfdFlags, eventfd};

use super::{Dataplane, Device, Observer, ObserverId, Outbound, Report, Stranger};
use flows::router::NextHop;
use flows::{BridgeIndex, Offer, PortIndex, Saying, Vid, Visitor};

/// Identifies one queue of one port, or an endpoint of tunnels, which has a port's number and queue 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    /// The port.
    pub port: PortIndex,
    /// The queue, counted from 0.
    pub queue: u16,
}

/// From the control thread to a worker.
pub enum Command {
    /// Use this configuration from the next turn on.
    Adopt(Arc<Dataplane>),
    /// Transmit by this queue or endpoint from now on. Nothing is received from it yet.
    Attach(QueueId, Device),
    /// Receive from the port's queues, or from the endpoint, from now on: all workers know the port.
    Open(PortIndex),
    /// Stop polling the port's queues, or the endpoint, and hand them back.
    Detach(PortIndex),
    /// Forget the port's counters: its number is about to be used for another port.
    Forget(PortIndex),
    /// Treat these frames as if the port had received them.
    Inject(PortIndex, Vec<Vec<u8>>),
    /// Let the gateway of a bridge say something.
    Say(BridgeIndex, Saying),
    /// Send these frames, which a gateway's service made, to a port in a VLAN.
    Convey(PortIndex, Vid, Vec<Vec<u8>>),
    /// Send these frames, which a gateway made, to stations of its bridge.
    Emit(BridgeIndex, Vec<Vec<u8>>),
    /// See to it that a neighbour is asked for.
    Seek(NextHop),
    /// Fill in the report and send it back.
    Report(Box<Report>),
    /// Let somebody watch.
    Observe(Observer),
    /// Send somebody back who watches.
    Unobserve(ObserverId),
    /// Close every queue and end.
    Stop,
}

impl Command {
    /// Whether what was decided before has to have left before this is carried out: where books are closed or shown, in which
    /// a frame that waits is neither sent nor lost; where a queue ends by which it leaves; and where somebody begins or
    /// ends to watch, who sees of every frame how it came and how it left.
    ///
    /// For others it does not matter, but for the ports whose number may mean another one by them; they see to these themselves.
    pub fn needs_empty_outboxes(&self) -> bool {
        match self {
            Self::Detach(_) | Self::Forget(_) | Self::Report(_) => true,
            Self::Observe(_) | Self::Unobserve(_) | Self::Stop => true,
            Self::Adopt(_) | Self::Attach(..) | Self::Open(_) | Self::Seek(_) => false,
            Self::Inject(..) | Self::Say(..) | Self::Convey(..) | Self::Emit(..) => false,
        }
    }
}

/// From a worker to the control thread.
pub enum Event {
    /// A configuration that the worker no longer uses.
    Retired(Arc<Dataplane>),
    /// A queue that was detached, to be closed.
    Detached(QueueId, Device),
    /// A queue that failed. It is no longer polled.
    Fault(QueueId, Device, PortFault),
    /// Somebody who is not known sends by a tunnel.
    Stranger(Stranger),
    /// What the kernel could carry by itself.
    Offer(Offer),
    /// The report that was asked for.
    Report(Box<Report>),
    /// Somebody watches now.
    Observed(ObserverId),
    /// Somebody who does not watch any more.
    Dismissed(Observer),
}

/// A frame on its way to the worker that owns the queue it leaves by.
pub struct Parcel {
    /// The port by which the frame leaves.
    pub port: PortIndex,
    /// The frame.
    pub frame: PktBuf,
}

/// Messages that fit in a lane. The control thread waits for room; workers never do.
const LANE_SLOTS: usize = 1024;
/// Frames that fit in a worker's handoff ring.
const HANDOFF_SLOTS: usize = 4096;
/// Packets for services of gateways that wait for the control thread.
const VISITORS: usize = 256;

/// Both directions of one worker's lane, and its handoff ring. Shared by reference count between the
/// control thread, the worker, and the workers that hand frames to it.
pub struct Lane {
    commands: ArrayQueue<Command>,
    events: ArrayQueue<Event>,
    handoff: ArrayQueue<Parcel>,
    visitors: Outbound<Visitor>,
    has_moved: AtomicBool,
    worker: Sleeper,
    doorbell: OwnedFd,
    /// Rung when an event waits for the control thread.
    control_doorbell: Arc<OwnedFd>,
}

impl Lane {
    /// An empty lane whose events ring `control_doorbell`.
    ///
    /// # Errors
    /// The kernel's error when it gives no eventfd.
    pub fn new(control_doorbell: Arc<OwnedFd>) -> std::io::Result<Self> {
        Ok(Self {
            commands: ArrayQueue::new(LANE_SLOTS),
            events: ArrayQueue::new(LANE_SLOTS),
            handoff: ArrayQueue::new(HANDOFF_SLOTS),
            visitors: Outbound::new(VISITORS),
            has_moved: AtomicBool::new(false),
            worker: Sleeper::default(),
            doorbell: doorbell()?,
            control_doorbell,
        })
    }

    /// Control thread: sends a command and wakes the worker.
    ///
    /// # Errors
    /// The command, when the lane is full because the worker does not turn.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake_if_asleep();
        Ok(())
    }

    /// Worker: the next command.
    #[inline]
    pub fn command(&self) -> Option<Command> {
        if self.commands.is_empty() { None } else { self.commands.pop() }
    }

    /// Worker: sends an event up. What may come often asks for [room](Self::has_room) first, so that a full lane means that the
    /// control thread is long stuck; the event is then dropped, which closes the port or frees the configuration
    /// here and now.
    pub fn report(&self, event: Event) {
        if self.events.push(event).is_ok() {
            ring(&self.control_doorbell);
        }
    }

    /// Worker: whether there is room for what may be said another time as well.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.events.len() < LANE_SLOTS / 2
    }

    /// Worker: tells that something has changed on which offers depend: where a station is, who has an address, which
    /// sessions there are. It takes no room, however often that happens. What changed was written before this, as a
    /// release, and is seen by whoever takes it.
    pub fn tell_move(&self) {
        if !self.has_moved.swap(true, Ordering::AcqRel) {
            self.call();
        }
    }

    /// Control thread: whether something has changed since the last call. The doorbell is silenced before, so
    /// that what is told after this rings it.
    pub fn take_move(&self) -> bool {
        self.has_moved.swap(false, Ordering::AcqRel)
    }

    /// Worker: leaves a packet for a service of a gateway.
    ///
    /// # Errors
    /// The packet, when too many wait already.
    pub fn receive(&self, visitor: Visitor) -> Result<(), Visitor> {
        if self.visitors.push(visitor)? {
            self.call();
        }
        Ok(())
    }

    /// Control thread: the next packet for a service. `None` is final until the doorbell rings.
    pub fn visitor(&self) -> Option<Visitor> {
        self.visitors.pop()
    }

    /// Worker: calls the control thread, for which something waits elsewhere.
    pub fn call(&self) {
        ring(&self.control_doorbell);
    }

    /// Control thread: the next event.
    pub fn event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Another worker: hands a frame over. Call [`Lane::wake_if_asleep`] after the last one.
    ///
    /// # Errors
    /// The parcel, when the ring is full.
    #[inline]
    pub fn hand_over(&self, parcel: Parcel) -> Result<(), Parcel> {
        self.handoff.push(parcel)
    }

    /// Worker: how many frames others have handed over.
    #[inline]
    pub fn parcels_waiting(&self) -> usize {
        self.handoff.len()
    }

    /// Worker: the next frame that another worker handed over.
    #[inline]
    pub fn parcel(&self) -> Option<Parcel> {
        self.handoff.pop()
    }

    /// Rings the worker's doorbell if it sleeps.
    #[inline]
    pub fn wake_if_asleep(&self) {
        if self.worker.must_be_woken() {
            ring(&self.doorbell);
        }
    }

    /// Worker: announces that it is about to sleep. False when something came in meanwhile, and the
    /// worker must not sleep.
    pub fn doze(&self) -> bool {
        self.worker.doze(|| self.commands.is_empty() && self.handoff.is_empty())
    }

    /// Worker: is awake again; silences the doorbell.
    pub fn rouse(&self) {
        self.worker.rouse();
        silence(&self.doorbell);
    }

    /// What becomes readable when the doorbell was rung.
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}

/// A doorbell: a non-blocking eventfd.
///
/// # Errors
/// The kernel's error when it gives none.
pub fn doorbell() -> std::io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings a doorbell. A counter that is full is ringing already.
pub fn ring(doorbell: &OwnedFd) {
    let _ = rustix::io::write(doorbell, &1u64.to_ne_bytes());
}

/// Silences a doorbell. One that was not rung is silent already.
pub fn silence(doorbell: &OwnedFd) {
    let _ = rustix::io::read(doorbell, &mut [0u8; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_something_moves_it_is_told_once_and_takes_no_room() {
        let lane = Lane::new(Arc::new(doorbell().unwrap())).unwrap();
        assert!(!lane.take_move());
        (0..2 * LANE_SLOTS).for_each(|_| lane.tell_move());
        assert!(lane.has_room() && lane.event().is_none());
        assert_eq!([lane.take_move(), lane.take_move()], [true, false]);
    }
}
