//! Passes on what programs of the host send to ports of the host itself.
//!
//! One thread ([`Relay`]) with an epoll of its own serves all ports. TCP goes from socket to socket by pipes, and never
//! through this process's memory (`stream`); UDP by one socket for each client (`datagrams`). Who is idle costs two
//! descriptors and nothing else; all are bounded ([`Limits`]).
//!
//! The thread lives where it is told to live: what it listens at was bound by the caller, in the host's namespace, and
//! what it connects to is in the namespace that it enters first. A port is held ([`Bound::bind`]), or left to whoever has it
//! ([`Aside`]). It knows nothing of switches. Sources: splice(2), tcp(7),
//! epoll(7).
#![forbid(unsafe_code)]

mod aside;
mod bound;
mod datagrams;
mod run;
mod stream;

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};
use rustix::process::{Resource, getrlimit};

pub use aside::Aside;
pub use bound::{Bound, Listen, Transport};
use run::{Run, WAKE};

/// How much is relayed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections; further ones wait in their ports' backlogs.
    pub connections: usize,
    /// Clients of UDP ports; for another one, whoever was silent the longest is forgotten.
    pub clients: usize,
    /// A client of a UDP port is forgotten when nothing was said for so long.
    pub silence: Duration,
}

impl Limits {
    /// The most connections, and clients, however many descriptors there are.
    const MOST: usize = 4096;
    /// What a connection with something in its pipes needs.
    const DESCRIPTORS_OF_CONNECTION: u64 = 6;

    /// As much as a half of the descriptors that this process may have now is enough for.
    pub fn of_this_process() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = |each: u64| usize::try_from(descriptors / 4 / each).unwrap_or(usize::MAX);
        Self {
            connections: share(Self::DESCRIPTORS_OF_CONNECTION).clamp(1, Self::MOST),
            clients: share(1).clamp(1, Self::MOST),
            // As Docker's own proxy has it; more than a resolver's or a game's patience.
            silence: Duration::from_secs(90),
        }
    }
}

/// Why nothing is relayed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {operation} the relay of published ports: {source}; look at the limits of the daemon (`ulimit -n`)"
)]
pub struct RelayError {
    operation: &'static str,
    source: io::Error,
}

/// From the caller to the thread.
enum Order {
    Serve(Vec<Bound>),
    /// Close these, and everything that came by them; then say so.
    Withdraw(Vec<Listen>, Sender<()>),
    /// End what came by these.
    Reset(Vec<Listen>),
    Stop,
}

/// A thread that relays. It ends, with all that it has, when this is dropped.
#[derive(Debug)]
pub struct Relay {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts the thread, which connects to others from where `enter` takes it.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn start(
        limits: Limits,
        enter: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<Self, RelayError> {
        let failed = |operation| move |source| RelayError { operation, source };
        let poll = Poll::new().map_err(failed("wait for the sockets of"))?;
        let waker = Waker::new(poll.registry(), WAKE).map_err(failed("wake"))?;
        let (orders, told) = mpsc::channel();
        let (tell, entered) = mpsc::channel();
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let is_in = enter();
            let is_in_vain = is_in.is_err();
            // Who started it waits for this.
            let _ = tell.send(is_in);
            if !is_in_vain {
                Run::new(poll, told, limits).run();
            }
        });
        let thread = thread.map_err(failed("start a thread for"))?;
        let entered = entered.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        entered.map_err(failed("enter the namespace of"))?;
        Ok(Self { orders, waker, thread: Some(thread) })
    }

    /// Serves further ports.
    pub fn serve(&self, ports: Vec<Bound>) {
        self.order(Order::Serve(ports));
    }

    /// Closes ports and everything that came by them. When this returns, others can bind them.
    pub fn withdraw(&self, ports: Vec<Listen>) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::Withdraw(ports, done));
        // A thread that is gone has no ports.
        let _ = is_done.recv();
    }

    /// Ends what came by some ports, which lead elsewhere now.
    pub fn reset(&self, ports: Vec<Listen>) {
        self.order(Order::Reset(ports));
    }

    fn order(&self, order: Order) {
        // A thread that is gone is one that has said why.
        let _ = self.orders.send(order);
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "the relay of published ports is not woken");
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
