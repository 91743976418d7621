//! The control thread: one loop over the control socket, its clients, the workers' doorbell, the host's
//! interfaces, and whoever stops it.
//!
//! No client can hold it up: sockets do not block, requests (each, and those of all clients together) and unsent
//! answers are bounded, and whoever stops in the middle of a request is put out. A request is carried out whole before the next is
//! looked at.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use ctl::wire::{LineDecoder, MAX_REQUEST_BYTES, event_line, parse_request, response_line};
use ctl::{CtlError, ErrorCode};
use hostnet::{LinkEvent, LinkMonitor, UplinkMonitor};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::feed::{Feed, Next};
use super::socket::ControlSocket;
use super::{Daemon, DaemonError, Outcome};

const LISTENER: Token = Token(0);
const DOORBELL: Token = Token(1);
const STOP: Token = Token(2);
const LINKS: Token = Token(3);
const RESOLVERS: Token = Token(4);
const UPLINKS: Token = Token(5);
const FIRST_CLIENT: usize = 6;

/// Clients at the same time; further ones wait in the socket's backlog.
const MAX_CLIENTS: usize = 8192;
/// How long a client may stop in the middle of a request, or leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether backends of services answer.
const SERVE_EVERY: Duration = Duration::from_secs(1);
/// How often ports that wait for their device are tried.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the time of rules is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// How often aged stations are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often it is looked which shortcuts are used still.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether ports' devices in other namespaces still exist.
const VISIT_EVERY: Duration = Duration::from_millis(500);
/// Requests of one client that are carried out before it is the others' turn.
const REQUESTS_AT_ONCE: usize = 16;
/// Unfinished requests of all clients together, in bytes. One of few bytes is always read.
const MAX_UNFINISHED_BYTES: usize = 2 * MAX_REQUEST_BYTES;
/// So many are few.
const FEW_BYTES: usize = 16 * 1024;
/// Unsent answers of one client beyond which its requests are not read.
const MAX_UNSENT_BYTES: usize = 4 * 1024 * 1024;
/// Unsent bytes of one client beyond which it is told no more piece by piece.
const ENOUGH_UNSENT_BYTES: usize = 1024 * 1024;
/// Pieces for one client before it is the others' turn.
const PIECES_AT_ONCE: usize = 16;

/// One client.
struct Client {
    stream: UnixStream,
    decoder: LineDecoder,
    unsent: VecDeque<u8>,
    /// Since when it has been in the middle of something.
    busy_since: Option<Instant>,
    /// It is put out as soon as it has its answers.
    closing: bool,
    /// What it is told piece by piece, and the number of the request. Those that follow wait until that ends.
    feed: Option<(u64, Feed)>,
}

/// The control thread's loop.
pub(super) struct Server {
    poll: Poll,
    socket: ControlSocket,
    links: LinkMonitor,
    /// What the host knows of its interfaces, for as long as any of them is shared.
    uplinks: Option<UplinkMonitor>,
    clients: HashMap<Token, Client>,
    /// Clients that had more to say than is read at once: they are not announced a second time.
    unfinished: Vec<Token>,
    /// Bytes of requests that are held for clients.
    held_bytes: usize,
    /// Somebody waits who could not be let in, and is not announced a second time.
    is_anybody_outside: bool,
    next_token: usize,
    retried: Instant,
    swept: Instant,
    expired: Instant,
    served: Instant,
    visited: Instant,
    renewed: Instant,
}

impl Server {
    /// A server of `socket` that also hears `daemon`'s workers and the host's interfaces.
    pub(super) fn new(mut socket: ControlSocket, daemon: &mut Daemon) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Loop { operation: "set up", source };
        let poll = Poll::new().map_err(failed)?;
        let links = LinkMonitor::open()?;
        // What changed before anybody listened.
        daemon.switch.heed_missed_links();
        let registry = poll.registry();
        let read = Interest::READABLE;
        registry.register(&mut socket.listener, LISTENER, read).map_err(failed)?;
        let stop = daemon.options.stop.as_raw_fd();
        registry.register(&mut SourceFd(&stop), STOP, read).map_err(failed)?;
        let monitor = links.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&monitor), LINKS, read).map_err(failed)?;
        let doorbell = daemon.switch.fleet().doorbell().as_raw_fd();
        registry.register(&mut SourceFd(&doorbell), DOORBELL, read).map_err(failed)?;
        let resolvers = daemon.reception.fd();
        registry.register(&mut SourceFd(&resolvers), RESOLVERS, read).map_err(failed)?;
        Ok(Self {
            poll,
            socket,
            links,
            uplinks: None,
            clients: HashMap::new(),
            unfinished: Vec::new(),
            held_bytes: 0,
            is_anybody_outside: false,
            next_token: FIRST_CLIENT,
            retried: Instant::now(),
            swept: Instant::now(),
            expired: Instant::now(),
            served: Instant::now(),
            visited: Instant::now(),
            renewed: Instant::now(),
        })
    }

    /// Serves until it is told to stop.
    pub(super) fn run(&mut self, daemon: &mut Daemon) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(256);
        self.watch_uplinks(daemon)?;
        loop {
            match self.poll.poll(&mut events, self.timeout(daemon)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(DaemonError::Loop { operation: "wait", source: error });
                }
                _ => {}
            }
            let unfinished = std::mem::take(&mut self.unfinished);
            unfinished.into_iter().for_each(|token| self.serve(token, daemon));
            for event in &events {
                match event.token() {
                    LISTENER => self.admit(),
                    DOORBELL => daemon.switch.heed_workers(),
                    STOP => return Ok(()),
                    LINKS => self.heed_links(daemon),
                    // Heard below, with whoever else asks.
                    RESOLVERS => {}
                    UPLINKS => self.heed_uplinks(daemon),
                    token => self.serve(token, daemon),
                }
            }
            daemon.attend();
            self.serve_feeds(daemon);
            self.look_after(daemon);
            self.watch_uplinks(daemon)?;
        }
    }

    /// When to wake at the latest: never, on a switch with nothing to look after.
    fn timeout(&self, daemon: &Daemon) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = daemon.switch.has_waiting().then_some(RETRY_EVERY);
        let sweep = daemon.switch.has_mortals().then_some(SWEEP_EVERY);
        let expire = daemon.switch.has_mortal_rules().then_some(EXPIRE_EVERY);
        let services = daemon.switch.has_services().then_some(SERVE_EVERY);
        let visit = daemon.switch.has_foreign_devices().then_some(VISIT_EVERY);
        let renew = daemon.switch.has_shortcuts().then_some(RENEW_EVERY);
        let outside = self.is_anybody_outside.then_some(RETRY_EVERY);
        let busy = |client: &Client| client.busy_since.is_some();
        let clients = self.clients.values().any(busy).then_some(RETRY_EVERY);
        let advertisement = daemon.switch.next_advertisement();
        let deadlines = self.feeds().filter_map(|(_, feed)| feed.deadline());
        let feeds = deadlines.min().map(|at| at.saturating_duration_since(Instant::now()));
        let reception = daemon.reception.timeout();
        let checks = daemon.checks.timeout();
        let all = [
            reception,
            checks,
            retry,
            sweep,
            expire,
            services,
            visit,
            renew,
            outside,
            clients,
            advertisement,
            feeds,
        ];
        all.into_iter().flatten().min()
    }

    fn look_after(&mut self, daemon: &mut Daemon) {
        let now = Instant::now();
        if daemon.switch.has_waiting() && now - self.retried >= RETRY_EVERY {
            self.retried = now;
            daemon.switch.retry_waiting();
        }
        if now - self.visited >= VISIT_EVERY {
            self.visited = now;
            daemon.switch.visit_namespaces();
        }
        if daemon.switch.has_services() && now - self.served >= SERVE_EVERY {
            self.served = now;
            daemon.switch.give_up_on_backends();
        }
        if now - self.renewed >= RENEW_EVERY {
            self.renewed = now;
            daemon.switch.look_after_shortcuts();
        }
        if now - self.swept >= SWEEP_EVERY {
            self.swept = now;
            daemon.switch.sweep();
        }
        if daemon.switch.has_mortal_rules() && now - self.expired >= EXPIRE_EVERY {
            self.expired = now;
            daemon.switch.expire_rules();
        }
        daemon.switch.advertise();
        if self.is_anybody_outside {
            self.admit();
        }
        let stuck = |client: &Client| client.busy_since.is_some_and(|since| now - since > PATIENCE);
        let stuck: Vec<_> =
            self.clients.iter().filter(|(_, client)| stuck(client)).map(|(t, _)| *t).collect();
        stuck.into_iter().for_each(|token| self.put_out(token, daemon));
    }

    /// Interfaces of the host came, went or changed.
    fn heed_links(&self, daemon: &mut Daemon) {
        let mut is_any_new = false;
        for event in self.links.events() {
            is_any_new |= !matches!(event, LinkEvent::Gone(_));
            match event {
                LinkEvent::Gone(link) => daemon.switch.heed_gone_link(link.index),
                LinkEvent::Changed(link) => daemon.switch.heed_changed_link(&link),
                LinkEvent::Missed => daemon.switch.heed_missed_links(),
            }
        }
        // Once, however much changed: an interface that is shared may have another MAC address, and each of the ports
        // that wait is tried.
        if is_any_new {
            daemon.switch.follow_hosts();
        }
        if is_any_new && daemon.switch.has_waiting() {
            daemon.switch.retry_waiting();
        }
    }

    /// Hears what the host says of its interfaces for as long as any of them is shared.
    fn watch_uplinks(&mut self, daemon: &mut Daemon) -> Result<(), DaemonError> {
        match (&self.uplinks, daemon.switch.shares()) {
            (None, true) => {
                let failed = |source| DaemonError::Loop { operation: "set up", source };
                let uplinks = UplinkMonitor::open()?;
                let monitor = uplinks.as_fd().as_raw_fd();
                let registry = self.poll.registry();
                registry
                    .register(&mut SourceFd(&monitor), UPLINKS, Interest::READABLE)
                    .map_err(failed)?;
                self.uplinks = Some(uplinks);
                // What changed before anybody listened.
                daemon.switch.follow_hosts();
            }
            (Some(_), false) => self.uplinks = None,
            _ => {}
        }
        Ok(())
    }

    fn heed_uplinks(&self, daemon: &mut Daemon) {
        if let Some(uplinks) = &self.uplinks {
            daemon.switch.heed_hosts(&uplinks.events());
        }
    }

    /// Lets in who waits, as far as there is room and there are descriptors. Whoever stays outside is not announced
    /// again, so it is tried again.
    fn admit(&mut self) {
        self.is_anybody_outside = false;
        while self.clients.len() < MAX_CLIENTS {
            let mut stream = match self.socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Who waited has left.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::debug!(%error, "a client waits outside");
                    self.is_anybody_outside = true;
                    return;
                }
            };
            let token = Token(self.next_token);
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, interest).is_err() {
                continue;
            }
            let mut client = Client {
                stream,
                decoder: LineDecoder::new(MAX_REQUEST_BYTES),
                unsent: VecDeque::new(),
                busy_since: None,
                closing: false,
                feed: None,
            };
            if let Err(uid) = self.socket.admit(&client.stream) {
                let message = format!("user {uid} may not give orders to this switch; run as root");
                client.answer(0, Err(CtlError::new(ErrorCode::Denied, message)));
                client.closing = true;
                client.send();
            }
            self.clients.insert(token, client);
        }
    }

    fn serve(&mut self, token: Token, daemon: &mut Daemon) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let others_bytes = self.held_bytes - client.decoder.held_bytes();
        let exchange = client.exchange(daemon, MAX_UNFINISHED_BYTES.saturating_sub(others_bytes));
        self.held_bytes = others_bytes + client.decoder.held_bytes();
        match exchange {
            Exchange::Done => {}
            Exchange::Unfinished => self.unfinished.push(token),
            Exchange::Over => self.put_out(token, daemon),
        }
    }

    /// What clients are told piece by piece.
    fn feeds(&self) -> impl Iterator<Item = (Token, &Feed)> {
        self.clients.iter().filter_map(|(token, client)| {
            let (_, feed) = client.feed.as_ref()?;
            Some((*token, feed))
        })
    }

    /// Tells clients more, if there is more.
    fn serve_feeds(&mut self, daemon: &mut Daemon) {
        let tokens: Vec<_> = self.feeds().map(|(token, _)| token).collect();
        tokens.into_iter().for_each(|token| self.serve(token, daemon));
    }

    fn put_out(&mut self, token: Token, daemon: &mut Daemon) {
        if let Some(mut client) = self.clients.remove(&token) {
            self.held_bytes -= client.decoder.held_bytes();
            client.end_feed(daemon);
            let _ = self.poll.registry().deregister(&mut client.stream);
        }
        // Whoever waited in the backlog was not announced a second time.
        self.admit();
    }
}

/// How an exchange with a client ended.
enum Exchange {
    /// It has said all that it had to say, for now.
    Done,
    /// It has more to say, and others come first.
    Unfinished,
    /// The connection is over.
    Over,
}

impl Client {
    /// Carries out what was read, answers, and reads on: no more at a time than is its share, and no longer a request
    /// than there is room for.
    fn exchange(&mut self, daemon: &mut Daemon, room_bytes: usize) -> Exchange {
        let has_more = self.carry_out(daemon) | self.feed(daemon);
        if !self.send() {
            return Exchange::Over;
        }
        if self.unsent.len() > MAX_UNSENT_BYTES {
            return self.pause();
        }
        if has_more {
            return Exchange::Unfinished;
        }
        if self.closing {
            return self.pause();
        }
        if self.feed.is_some() && self.decoder.is_mid_line() {
            // What it asks next waits, and more of that need not be read now.
            return self.pause();
        }
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => {
                // It says no more, and gets what it is owed.
                self.closing = true;
                self.end_feed(daemon);
                Exchange::Unfinished
            }
            Ok(count) => {
                self.decoder.push(&bytes[..count]);
                if self.decoder.held_bytes() > room_bytes.max(FEW_BYTES) {
                    self.refuse_for_want_of_room();
                }
                Exchange::Unfinished
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pause(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Exchange::Unfinished,
            Err(_) => Exchange::Over,
        }
    }

    /// Refuses a request that is not read to its end, and hears nothing further.
    fn refuse_for_want_of_room(&mut self) {
        let message = format!(
            "the unfinished requests of all clients together have more than {MAX_UNFINISHED_BYTES} bytes; \
             send it again when the others are done"
        );
        self.answer(0, Err(CtlError::new(ErrorCode::TooLarge, message)));
        self.decoder = LineDecoder::new(MAX_REQUEST_BYTES);
        self.closing = true;
    }

    /// Waits for the client, unless it is done with.
    fn pause(&mut self) -> Exchange {
        // Whoever is told piece by piece may take his time.
        let busy = self.feed.is_none() && (self.decoder.is_mid_line() || !self.unsent.is_empty());
        self.busy_since =
            if busy { self.busy_since.or_else(|| Some(Instant::now())) } else { None };
        if self.closing && self.unsent.is_empty() { Exchange::Over } else { Exchange::Done }
    }

    /// Carries out whole requests that were read. True when there may be more of them.
    fn carry_out(&mut self, daemon: &mut Daemon) -> bool {
        for _ in 0..REQUESTS_AT_ONCE {
            if self.closing || self.feed.is_some() {
                return false;
            }
            if self.unsent.len() > MAX_UNSENT_BYTES {
                break;
            }
            match self.decoder.next_line() {
                Ok(None) => return false,
                Ok(Some(line)) if line.is_empty() => {}
                Ok(Some(line)) => match parse_request(&line) {
                    Ok(envelope) => match daemon.carry_out(envelope.request) {
                        Ok(Outcome::Answer(answer)) => self.answer(envelope.id, Ok(answer)),
                        Ok(Outcome::Feed(feed)) => self.feed = Some((envelope.id, feed)),
                        Err(error) => self.answer(envelope.id, Err(error)),
                    },
                    Err((id, error)) => self.answer(id, Err(error)),
                },
                Err(error) => {
                    let message = format!("{error}; send requests of one line each");
                    self.answer(0, Err(CtlError::new(ErrorCode::TooLarge, message)));
                    self.closing = true;
                }
            }
        }
        true
    }

    /// Tells it more piece by piece, as far as it takes it. True when there may be more.
    fn feed(&mut self, daemon: &mut Daemon) -> bool {
        for _ in 0..PIECES_AT_ONCE {
            let Some((id, feed)) = &mut self.feed else { return false };
            if self.unsent.len() > ENOUGH_UNSENT_BYTES {
                // It is announced when it can be sent more.
                return false;
            }
            match feed.next(&daemon.switch) {
                Next::Piece(piece) => self.unsent.extend(event_line(*id, piece)),
                Next::Nothing => return false,
                Next::Enough => {
                    self.end_feed(daemon);
                    return true;
                }
            }
            if !self.send() {
                // Found out again by whoever called.
                return false;
            }
        }
        true
    }

    /// Ends what it is told piece by piece.
    fn end_feed(&mut self, daemon: &mut Daemon) {
        let Some((id, feed)) = self.feed.take() else { return };
        let (pieces, result) = feed.end(&mut daemon.switch);
        for piece in pieces {
            self.unsent.extend(event_line(id, piece));
        }
        self.answer(id, result);
    }

    fn answer(&mut self, id: u64, result: Result<serde_json::Value, CtlError>) {
        self.unsent.extend(response_line(id, result));
    }

    /// Sends what can be sent now. False when the connection is over.
    fn send(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent.as_slices().0) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.busy_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
