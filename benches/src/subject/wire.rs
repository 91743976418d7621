//! A bare wire: what one reads, the other gets. The roofline of a byte path in user space, against which a
//! switch shows what it spends on being one.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hostnet::{Netlink, Settings};
use netlab::Container;
use pktio::Port;
use pktio::tap::{self, TapPort};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "wire",
        about: "bare TAP wire: a thread that reads from one TAP device and writes to the other, with all offloads; \
            it sleeps when there is nothing",
        family: Family::Bridging,
        needs: &[],
        is_default: true,
        start: |wish| start(wish, false),
    },
    Subject {
        name: "wire-busy",
        about: "the same, and never sleeps",
        family: Family::Bridging,
        needs: &[],
        is_default: false,
        start: |wish| start(wish, true),
    },
];

fn start(wish: &Wish, busy: bool) -> Result<Rig, Box<dyn Error>> {
    let ends = containers()?;
    let wire = Wire::between(&ends, busy)?;
    configure(&ends, wish)?;
    Rig::bridged(ends, Labour::Threads(THREAD), wire)
}

/// What the thread is called.
const THREAD: &str = "wire";
/// An offload header and the longest frame.
const BUFFER_BYTES: usize = 10 + 18 + 65_535;
/// Empty looks at both ends before the thread sleeps, unless it never does.
const PATIENCE: u32 = 64;

/// A thread that carries frames between the TAP devices `eth0` of two containers, until it is dropped.
struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _ports: [TapPort; 2],
}

impl Wire {
    /// Gives both containers a TAP device and starts the thread.
    fn between(containers: &[Container; 2], busy: bool) -> Result<Self, Box<dyn Error>> {
        let ports = [end(&containers[0])?, end(&containers[1])?];
        let fds = [descriptor(&ports[0])?, descriptor(&ports[1])?];
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || carry(&fds, &seen, busy))?;
        Ok(Self { stop, thread: Some(thread), _ports: ports })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn end(container: &Container) -> Result<TapPort, Box<dyn Error>> {
    let (device, mut queues) = tap::create("wire%d", 1)?;
    let netlink = Netlink::open()?;
    let settings = Settings { queue_frames: Some(tap::QUEUE_FRAMES), ..Settings::default() };
    netlink.move_as(device.index, container.namespace(), INTERFACE, &settings)?;
    Ok(queues.remove(0))
}

fn descriptor(port: &TapPort) -> Result<OwnedFd, Box<dyn Error>> {
    Ok(port.wake_fd().ok_or("a TAP port has a descriptor")?.try_clone_to_owned()?)
}

fn carry(fds: &[OwnedFd; 2], stop: &AtomicBool, busy: bool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut idle = 0;
    while !stop.load(Ordering::Relaxed) {
        let moved = [(0, 1), (1, 0)].map(|(from, to)| {
            let Ok(bytes) = rustix::io::read(&fds[from], &mut buffer[..]) else { return false };
            // A frame that the far end refuses is lost, as on any wire.
            let _ = rustix::io::write(&fds[to], &buffer[..bytes]);
            true
        });
        idle = if moved.contains(&true) { 0 } else { idle + 1 };
        if idle > PATIENCE && !busy {
            let mut ends = [0, 1].map(|end| PollFd::new(&fds[end], PollFlags::IN));
            let _ = poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }));
        }
    }
}
