//! Outboxes: where decided frames wait, by egress port, until the worker transmits them.
//!
//! What is for one port is due in the turn that decides it. What is for all ports of a bridge may take several turns, a few
//! ports in each ([`Outboxes::next_due`]): to five hundred containers it is five hundred system calls, and a frame that is for
//! one of them should not wait until the last has been written to. Frames for one port keep their order whichever they are.

use std::collections::VecDeque;

use pktio::buffer::{BURST_BYTES, BURST_FRAMES};
use pktio::{Burst, PktBuf};

use crate::PortIndex;

/// One outbox per port, and which of them hold frames.
#[derive(Debug, Default)]
pub struct Outboxes {
    boxes: Vec<Outbox>,
    /// Ports with a frame that is due. Each is in here once.
    dirty: Vec<PortIndex>,
    /// Ports with a flooded frame, in the order in which they came in. Each is in here once.
    flooded: VecDeque<PortIndex>,
    /// Of what is due.
    waiting_bytes: usize,
    full: bool,
}

/// The frames for a port, and the lists that it is in. It may be in one that it has nothing for any more.
#[derive(Debug)]
struct Outbox {
    frames: Burst,
    is_dirty: bool,
    is_flooded: bool,
}

impl Outbox {
    fn new() -> Self {
        Self { frames: Burst::new(), is_dirty: false, is_flooded: false }
    }
}

impl Outboxes {
    /// No outboxes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for ports below `count`, so that nothing grows on the packet path.
    pub fn reserve(&mut self, count: usize) {
        self.boxes.resize_with(self.boxes.len().max(count), Outbox::new);
        self.dirty.reserve(count);
        self.flooded.reserve(count);
    }

    /// Puts a frame into a port's outbox.
    #[inline(always)]
    pub fn push(&mut self, port: PortIndex, frame: PktBuf) {
        self.waiting_bytes += frame.len();
        let outbox = self.put(port, frame);
        if !outbox.is_dirty {
            outbox.is_dirty = true;
            self.dirty.push(port);
        }
    }

    /// Puts a frame that goes to many ports into the outbox of one.
    #[inline]
    pub fn push_flooded(&mut self, port: PortIndex, frame: PktBuf) {
        let outbox = self.put(port, frame);
        if !outbox.is_dirty && !std::mem::replace(&mut outbox.is_flooded, true) {
            self.flooded.push_back(port);
        }
    }

    #[inline(always)]
    fn put(&mut self, port: PortIndex, frame: PktBuf) -> &mut Outbox {
        let slot = port.slot();
        if slot >= self.boxes.len() {
            self.reserve(slot + 1);
        }
        let outbox = &mut self.boxes[slot];
        outbox.frames.push(frame);
        if outbox.frames.len() >= BURST_FRAMES {
            self.full = true;
        }
        outbox
    }

    /// Whether enough waits that it should be transmitted before more is received: the frames are
    /// still in the cache, and no outbox outgrows its capacity.
    #[inline]
    pub fn must_flush(&self) -> bool {
        self.full || self.waiting_bytes >= BURST_BYTES
    }

    /// Whether frames wait for a later turn.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.dirty.is_empty() || !self.flooded.is_empty()
    }

    /// Takes a port off the lists that may hold frames. They are then to be taken from [`Outboxes::of`].
    #[inline]
    pub fn next_dirty(&mut self) -> Option<PortIndex> {
        let mut all = usize::MAX;
        self.next_due(&mut all)
    }

    /// The same within a turn, in which so many ports are left that frames may be flooded to.
    #[inline]
    pub fn next_due(&mut self, floods: &mut usize) -> Option<PortIndex> {
        if let Some(port) = self.dirty.pop() {
            self.boxes[port.slot()].is_dirty = false;
            return Some(port);
        }
        self.waiting_bytes = 0;
        if self.flooded.is_empty() {
            self.full = false;
            return None;
        }
        *floods = floods.checked_sub(1)?;
        let port = self.flooded.pop_front()?;
        self.boxes[port.slot()].is_flooded = false;
        Some(port)
    }

    /// The outbox of a port.
    #[inline]
    pub fn of(&mut self, port: PortIndex) -> &mut Burst {
        let slot = port.slot();
        if slot >= self.boxes.len() {
            self.reserve(slot + 1);
        }
        &mut self.boxes[slot].frames
    }
}

#[cfg(test)]
mod tests {
    use pktio::{Pool, PoolConfig};

    use super::*;

    struct Rig {
        outboxes: Outboxes,
        pool: Pool,
    }

    impl Rig {
        fn new() -> Self {
            let pool = Pool::new(PoolConfig { small: 256, slabs: 1 }).unwrap();
            Self { outboxes: Outboxes::new(), pool }
        }

        fn frame(&mut self, tag: u8) -> PktBuf {
            self.pool.frame_from(&[tag; 60]).unwrap()
        }

        fn push(&mut self, port: u16, tag: u8) {
            let frame = self.frame(tag);
            self.outboxes.push(PortIndex(port), frame);
        }

        fn flood(&mut self, ports: std::ops::Range<u16>, tag: u8) {
            for port in ports {
                let frame = self.frame(tag);
                self.outboxes.push_flooded(PortIndex(port), frame);
            }
        }

        /// A turn's ports and what they are sent.
        fn turn(&mut self, mut floods: usize) -> Vec<(u16, Vec<u8>)> {
            let mut sent = Vec::new();
            while let Some(port) = self.outboxes.next_due(&mut floods) {
                let tags = self.outboxes.of(port).iter().map(|frame| frame.data()[0]).collect();
                self.pool.recycle_all(self.outboxes.of(port));
                sent.push((u16::try_from(port.slot()).unwrap(), tags));
            }
            sent
        }
    }

    #[test]
    fn what_is_for_one_port_is_not_behind_what_is_for_all() {
        let mut rig = Rig::new();
        rig.flood(0..5, 1);
        rig.push(9, 2);
        assert_eq!(rig.turn(2), [(9, vec![2]), (0, vec![1]), (1, vec![1])]);
        assert!(rig.outboxes.is_waiting());
        rig.push(9, 3);
        assert_eq!(rig.turn(2), [(9, vec![3]), (2, vec![1]), (3, vec![1])]);
        assert_eq!(rig.turn(2), [(4, vec![1])]);
        assert!(!rig.outboxes.is_waiting());
    }

    #[test]
    fn frames_of_a_port_keep_their_order() {
        let mut rig = Rig::new();
        rig.flood(0..3, 1);
        rig.push(2, 2);
        rig.flood(2..3, 3);
        assert_eq!(rig.turn(0), [(2, vec![1, 2, 3])]);
        // It is in the other list still, and may come up there with nothing, or with what is new.
        rig.flood(2..3, 4);
        assert_eq!(rig.turn(9), [(0, vec![1]), (1, vec![1]), (2, vec![4])]);
    }

    #[test]
    fn a_port_is_listed_once_however_much_is_for_it() {
        let mut rig = Rig::new();
        for tag in 0..20 {
            rig.flood(0..2, tag);
            rig.push(1, tag);
            rig.turn(0);
        }
        assert_eq!(rig.outboxes.flooded.len(), 2);
    }

    #[test]
    fn much_that_waits_asks_to_be_flushed_until_all_is_gone() {
        let mut rig = Rig::new();
        let ports = u16::try_from(BURST_FRAMES).unwrap();
        (0..ports).for_each(|_| rig.push(0, 0));
        rig.flood(1..3, 0);
        assert!(rig.outboxes.must_flush());
        rig.turn(1);
        assert!(rig.outboxes.must_flush());
        rig.turn(usize::MAX);
        assert!(!rig.outboxes.must_flush());
    }
}
