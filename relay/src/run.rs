//! The thread: one loop over all sockets and what it is ordered.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use crate::bound::{Bound, Listen, Socket};
use crate::datagrams::{Clients, Port};
use crate::stream::{Pipes, Progress, Stream, abort};
use crate::{Limits, Order};

/// Somebody ordered something.
pub(crate) const WAKE: Token = Token(0);
/// Connections of one port that are let in before it is the others' turn.
const AT_ONCE: usize = 64;
/// How often clients that nobody hears any more are looked for, and ports at whose clients there was no descriptor.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where somebody listens for connections.
struct Door {
    at: SocketAddr,
    listener: TcpListener,
    to: SocketAddr,
}

/// What came by which port.
struct Guest {
    port: usize,
    stream: Stream,
}

/// The thread's state. Whatever has sockets has a number: the even token is that of its socket towards the host, the odd
/// one that of the other.
pub(crate) struct Run {
    poll: Poll,
    orders: Receiver<Order>,
    limits: Limits,
    next: usize,
    numbers: HashMap<Listen, usize>,
    doors: HashMap<usize, Door>,
    guests: HashMap<usize, Guest>,
    ports: HashMap<usize, Port>,
    clients: Clients,
    pipes: Pipes,
    /// Tokens of what has more to do, and is not announced a second time.
    unfinished: HashSet<Token>,
    /// Ports before which somebody waits for whom there was no room.
    crowded: HashSet<usize>,
    looked: Instant,
}

fn tokens(number: usize) -> [Token; 2] {
    [Token(2 * number), Token(2 * number + 1)]
}

impl Run {
    pub(crate) fn new(poll: Poll, orders: Receiver<Order>, limits: Limits) -> Self {
        Self {
            poll,
            orders,
            limits,
            // The first is the waker's.
            next: 1,
            numbers: HashMap::new(),
            doors: HashMap::new(),
            guests: HashMap::new(),
            ports: HashMap::new(),
            clients: Clients::new(limits.clients),
            pipes: Pipes::default(),
            unfinished: HashSet::new(),
            crowded: HashSet::new(),
            looked: Instant::now(),
        }
    }

    /// Relays until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    tracing::error!(%error, "published ports are not relayed from the host itself any more");
                    return;
                }
                _ => {}
            }
            let mut due = std::mem::take(&mut self.unfinished);
            due.extend(events.iter().map(|event| event.token()));
            if due.remove(&WAKE) && !self.obey() {
                return;
            }
            due.into_iter().for_each(|token| self.attend(token));
            self.look_after();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let is_anything = !self.crowded.is_empty() || !self.clients.is_empty();
        is_anything.then_some(LOOK_EVERY)
    }

    /// Does what was ordered. False when that is to stop.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Serve(ports) => ports.into_iter().for_each(|port| self.serve(port)),
                Order::Withdraw(ports, done) => {
                    ports.iter().for_each(|port| self.close(port));
                    // Nobody may wait for it any more.
                    let _ = done.send(());
                }
                Order::Reset(ports) => ports.iter().for_each(|port| self.clear(port)),
                Order::Stop => return false,
            }
        }
        true
    }

    fn serve(&mut self, Bound { listen, socket, to }: Bound) {
        let number = self.number();
        let [near, _] = tokens(number);
        let registry = self.poll.registry();
        let served = match socket {
            Socket::Tcp(listener) => {
                let mut listener = TcpListener::from_std(listener);
                let done = registry.register(&mut listener, near, Interest::READABLE);
                done.map(|()| _ = self.doors.insert(number, Door { at: listen.at, listener, to }))
            }
            Socket::Udp(socket, answers) => {
                let mut socket = UdpSocket::from_std(socket);
                let done = registry.register(&mut socket, near, Interest::READABLE);
                done.map(|()| {
                    _ = self.ports.insert(number, Port { number, near: socket, answers, to })
                })
            }
        };
        match served {
            Ok(()) => _ = self.numbers.insert(listen, number),
            Err(error) => tracing::warn!(%error, %listen, "a published port is not relayed"),
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    fn close(&mut self, port: &Listen) {
        self.clear(port);
        if let Some(number) = self.numbers.remove(port) {
            self.doors.remove(&number);
            self.ports.remove(&number);
            self.crowded.remove(&number);
        }
    }

    /// Ends what came by a port.
    fn clear(&mut self, port: &Listen) {
        let Some(number) = self.numbers.get(port).copied() else { return };
        self.clients.forget_port(number);
        let its = self.guests.iter().filter(|(_, guest)| guest.port == number);
        let its: Vec<_> = its.map(|(guest, _)| *guest).collect();
        its.iter().filter_map(|guest| self.guests.remove(guest)).for_each(|it| it.stream.reset());
    }

    /// Attends to a socket. Who is gone by now has nothing to say.
    fn attend(&mut self, token: Token) {
        let number = token.0 / 2;
        let is_unfinished = if self.guests.contains_key(&number) {
            self.advance(number)
        } else if self.doors.contains_key(&number) {
            self.admit(number)
        } else if let Some(port) = self.ports.get(&number) {
            let (registry, next) = (self.poll.registry(), &mut self.next);
            self.clients.outward(port, registry, || {
                *next += 1;
                (*next - 1, tokens(*next - 1)[1])
            })
        } else {
            let port = self.clients.port_of(number).and_then(|port| self.ports.get(&port));
            port.is_some_and(|port| self.clients.inward(number, port))
        };
        if is_unfinished {
            self.unfinished.insert(token);
        }
    }

    /// Lets in who waits before a port. True when there may be more.
    fn admit(&mut self, port: usize) -> bool {
        for _ in 0..AT_ONCE {
            let Some(door) = self.doors.get(&port) else { return false };
            if self.guests.len() >= self.limits.connections {
                self.crowded.insert(port);
                return false;
            }
            let (accepted, at, to) = (door.listener.accept(), door.at, door.to);
            match accepted {
                Ok((near, _)) if near.local_addr().is_ok_and(|own| is_same(own, at)) => {
                    self.welcome(port, near, to);
                }
                // It was sent to the port that the listener shares with others, which leads nowhere.
                Ok((near, _)) => abort(&near),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if is_want(&error) => {
                    self.crowded.insert(port);
                    return false;
                }
                Err(error) => tracing::debug!(%error, "a connection ended before it was relayed"),
            }
        }
        true
    }

    fn welcome(&mut self, port: usize, near: mio::net::TcpStream, to: SocketAddr) {
        let number = self.number();
        match Stream::connect(near, to, self.poll.registry(), tokens(number)) {
            Ok(stream) => _ = self.guests.insert(number, Guest { port, stream }),
            Err(error) => tracing::debug!(%error, %to, "a connection is not relayed"),
        }
    }

    /// Carries what there is of a connection. True when there may be more.
    fn advance(&mut self, number: usize) -> bool {
        let Some(guest) = self.guests.get_mut(&number) else { return false };
        match guest.stream.advance(&mut self.pipes) {
            Ok(Progress::Waits) => return false,
            Ok(Progress::Unfinished) => return true,
            Ok(Progress::Over) => _ = self.guests.remove(&number),
            Err(error) => {
                tracing::debug!(%error, "a relayed connection is reset");
                self.guests.remove(&number).into_iter().for_each(|guest| guest.stream.reset());
            }
        }
        false
    }

    fn look_after(&mut self) {
        if !self.crowded.is_empty() && self.guests.len() < self.limits.connections {
            let crowded = std::mem::take(&mut self.crowded);
            for port in crowded {
                if self.admit(port) {
                    self.unfinished.insert(tokens(port)[0]);
                }
            }
        }
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.clients.forget_silent(self.limits.silence);
        }
    }
}

/// Whether two are the same address and port.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

/// Whether there are no descriptors left, this process's or the system's, or no memory (accept(2)): who waits goes on
/// waiting, and asking again at once would only keep the processor busy.
fn is_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
