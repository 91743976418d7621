//! Our half of each ring, in every interleaving with a thread that does what the kernel does with the other.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;

use super::*;

/// A ring in a model of shared memory. `loom` ends the test when both sides touch an entry at once.
struct Modelled {
    counters: [AtomicU32; 2],
    entries: Vec<UnsafeCell<u32>>,
}

impl Modelled {
    fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            counters: [AtomicU32::new(0), AtomicU32::new(0)],
            entries: (0..size).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn entry(&self, number: u32) -> &UnsafeCell<u32> {
        &self.entries[number as usize % self.entries.len()]
    }
}

impl Memory for Arc<Modelled> {
    type Entry = u32;

    fn size(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap()
    }

    fn load(&self, counter: Counter, order: Ordering) -> u32 {
        self.counters[counter as usize].load(order)
    }

    fn store(&self, counter: Counter, value: u32, order: Ordering) {
        self.counters[counter as usize].store(value, order);
    }

    fn read(&self, number: u32) -> u32 {
        // SAFETY: loom checks that nobody writes it.
        self.entry(number).with(|entry| unsafe { *entry })
    }

    fn write(&self, number: u32, entry: u32) {
        // SAFETY: loom checks that nobody else has it.
        self.entry(number).with_mut(|to| unsafe { *to = entry });
    }
}

/// The kernel's half of a ring, after `net/xdp/xsk_queue.h`: its own counter, and the memory.
struct Kernel(u32, Arc<Modelled>);

impl Kernel {
    /// Takes what there is of what the switch put in.
    fn take(&mut self, taken: &mut Vec<u32>) {
        let Self(consumer, ring) = self;
        let producer = ring.load(Counter::Producer, Ordering::Acquire);
        while *consumer != producer {
            taken.push(ring.read(*consumer));
            *consumer += 1;
        }
        ring.store(Counter::Consumer, *consumer, Ordering::Release);
    }

    /// Puts something in for the switch, if there is room.
    fn put(&mut self, entry: u32) -> bool {
        let Self(producer, ring) = self;
        let consumer = ring.load(Counter::Consumer, Ordering::Acquire);
        let is_room = *producer - consumer < ring.size();
        if is_room {
            ring.write(*producer, entry);
            *producer += 1;
            ring.store(Counter::Producer, *producer, Ordering::Release);
        }
        is_room
    }
}

#[test]
fn loom_the_kernel_takes_what_was_submitted_in_order() {
    loom::model(|| {
        let ring = Modelled::new(1);
        let switch = {
            let mut producer = Producer::new(Arc::clone(&ring));
            thread::spawn(move || {
                (0..3).fold(0, |submitted, _| {
                    if producer.free() == 0 {
                        return submitted;
                    }
                    producer.push(submitted + 1);
                    producer.submit();
                    submitted + 1
                })
            })
        };
        let kernel = thread::spawn(move || {
            let (mut kernel, mut taken) = (Kernel(0, ring), Vec::new());
            (0..2).for_each(|_| kernel.take(&mut taken));
            taken
        });
        let (submitted, taken) = (switch.join().unwrap(), kernel.join().unwrap());
        assert!((1..=submitted).zip(&taken).all(|(put, taken)| put == *taken), "{taken:?}");
        assert!(taken.len() <= submitted as usize);
    });
}

#[test]
fn loom_a_drained_ring_can_be_filled_at_once() {
    loom::model(|| {
        let ring = Modelled::new(1);
        let kernel = {
            let mut kernel = Kernel(0, Arc::clone(&ring));
            thread::spawn(move || kernel.take(&mut Vec::new()))
        };
        let switch = thread::spawn(move || {
            let mut producer = Producer::new(ring);
            producer.push(1);
            producer.submit();
            if producer.is_drained() {
                producer.push(2);
            }
        });
        [kernel, switch].into_iter().for_each(|side| side.join().unwrap());
    });
}

#[test]
fn loom_the_switch_takes_what_the_kernel_put_in_order() {
    loom::model(|| {
        let ring = Modelled::new(1);
        let kernel = {
            let mut kernel = Kernel(0, Arc::clone(&ring));
            thread::spawn(move || (0..3).fold(0, |put, _| put + u32::from(kernel.put(put + 1))))
        };
        let switch = thread::spawn(move || {
            let (mut consumer, mut taken) = (Consumer::new(ring), Vec::new());
            for _ in 0..2 {
                consumer.available();
                taken.extend(std::iter::from_fn(|| consumer.pop()));
                consumer.release();
            }
            taken
        });
        let (put, taken) = (kernel.join().unwrap(), switch.join().unwrap());
        assert!((1..=put).zip(&taken).all(|(put, taken)| put == *taken), "{taken:?}");
        assert!(taken.len() <= put as usize);
    });
}
