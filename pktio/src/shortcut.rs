//! Shortcuts: frames that the kernel carries from one veth's container to another's by what the switch
//! decided, without the switch.
//!
//! ```text
//!   container A ── veth ──► host end A ── tap: packet socket of the port
//!                                │            filter: is there a shortcut? ──no──► the switch
//!                                │               │ yes: counts; a mark on the frame
//!                                ▼               ▼
//!                            tcx ingress: a mark? ──no──► dropped: the socket has it
//!                                │ yes
//!                                │      is a rewriting named? ──yes──► headers, checksums, one hop less
//!                                └──► bpf_redirect_peer(host end B) ──► container B
//! ```
//!
//! # Each frame goes one way
//! The packet socket sees a frame before tcx does (`__netif_receive_skb_core` in `net/core/dev.c`), and its
//! filter alone decides. It says what it decided in the frame itself (`skb->cb`), with a number that nobody
//! else knows; the tcx program does what is said. So whatever changes meanwhile, a frame goes by the
//! shortcut or to the switch, and never both ways or neither. The kernel clears the mark before it runs the filter. A
//! frame that no filter saw has no mark, and ends at tcx as it would without shortcuts. (Somebody else's packet socket on the
//! same interface, if its filter is an eBPF program that writes to `cb`, takes marks away; no program that we know of does.)
//!
//! # What becomes of a frame
//! Frames between two stations go as they are. Packets of UDP and of TCP that the switch routes take a shortcut too
//! ([`Key::flow`]), and are [rewritten](Rewriting) on their way: stations, addresses, ports, checksums, one hop less.
//! A filter cannot change a frame, and the program at tcx does not look into the table, which may be another one by then.
//! So the filter says in the mark by which [number](Number) the program finds what to do.
//!
//! # Connections
//! Of an open TCP connection, data and acknowledgments go by that lie within the windows of both ends. How far these have come the
//! filter and the switch keep in the same words ([`Trail`]), and move them on with each segment that they let go: so
//! the switch judges whatever is left to it by all that went before, and the kernel by what the switch has let go meanwhile.
//!
//! # Tables
//! Which shortcuts there are is in a [`Table`]. [`Shortcuts::replace`] puts another in its place, and returns
//! when no program uses the one before any more: it is withdrawn then, and what its entries counted is final.
//! A shortcut holds until a time of the kernel's clock, whatever happens to the switch.
//!
//! # What is left to the switch
//! All that is in no table, and of what is: frames whose packet is longer than what the far end takes, with a service tag or
//! several tags, with a priority tag; super-frames other than TCP's. Of what would be rewritten also: any tag; fragments,
//! options and extension headers; lengths and header checksums that are wrong; what has no hop left; super-frames of UDP; segments
//! by which a connection opens, closes or is reset, and those that fit no window.
//!
//! Everything goes with its descriptors, also by a crash. Used by the control thread; the kernel does the rest.

mod programs;
mod rewriting;
mod trail;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bpf::{BpfError, Hook, Link, Map, MapKind, Program, ProgramKind};
use crate::wire::MacAddr;

pub use rewriting::{Flow, Number, Rewriting};
pub use trail::{Connection, Trail, Trails};

/// Shortcuts that fit into a table.
pub const TABLE_ENTRIES: u32 = 65_536;

/// Which frames take a shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The gate that they come in by ([`Gate::number`]).
    pub gate: u32,
    /// The VLAN that their tag names; 0 for frames without a tag.
    pub tag: u16,
    /// Their source.
    pub src: MacAddr,
    /// Their destination.
    pub dst: MacAddr,
    /// Only those of a flow; all if not given, but for those that have a shortcut of their own.
    pub flow: Option<Flow>,
}

/// Where a shortcut leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The host end of the destination's veth, in the namespace of the gate's. The other end must be in another
    /// namespace.
    pub interface: u32,
    /// The longest packet that may go there, in bytes.
    pub mtu_bytes: u32,
    /// Until when it holds, on the kernel's monotonic clock.
    pub until_ns: u64,
    /// What becomes of the frames on their way, if they do not stay as they are.
    pub rewriting: Option<Number>,
    /// The TCP connection whose numbers they have to fit.
    pub connection: Option<Connection>,
}

/// What went by a shortcut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came, on the kernel's monotonic clock; 0 if none did.
    pub seen_ns: u64,
}

const KEY_BYTES: u32 = 56;
const ENTRY_BYTES: u32 = 56;
/// Where the parts of an entry are.
const UNTIL: i16 = 0;
const SEEN: i16 = 8;
const FRAMES: i16 = 16;
const BYTES: i16 = 24;
const INTERFACE: i16 = 32;
const MTU: i16 = 36;
const REWRITING: i16 = 40;
const CONNECTION: i16 = 44;
/// 0 where there is no connection.
const MARK: i16 = 48;
const DIRECTION: i16 = 52;

impl Key {
    /// As the filter makes it of a frame: both addresses as they are there, and what follows instead of the type. Without
    /// a flow, its part is zero.
    fn encode(&self) -> [u8; KEY_BYTES as usize] {
        let mut key = [0; KEY_BYTES as usize];
        key[..6].copy_from_slice(&self.dst.0);
        key[6..12].copy_from_slice(&self.src.0);
        key[12..14].copy_from_slice(&self.tag.to_ne_bytes());
        key[16..20].copy_from_slice(&self.gate.to_ne_bytes());
        if let Some(flow) = &self.flow {
            key[14..16].copy_from_slice(&flow.kind());
            key[20..24].copy_from_slice(&flow.ports);
            key[24..].copy_from_slice(&flow.addresses);
        }
        key
    }
}

impl Route {
    fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut entry = [0; ENTRY_BYTES as usize];
        entry[..8].copy_from_slice(&self.until_ns.to_ne_bytes());
        entry[32..36].copy_from_slice(&self.interface.to_ne_bytes());
        entry[36..40].copy_from_slice(&self.mtu_bytes.to_ne_bytes());
        let rewriting = self.rewriting.map_or(0, Number::get);
        entry[40..44].copy_from_slice(&rewriting.to_ne_bytes());
        if let Some(connection) = &self.connection {
            entry[44..48].copy_from_slice(&connection.position.to_ne_bytes());
            entry[48..52].copy_from_slice(&connection.mark().to_ne_bytes());
            entry[52..56].copy_from_slice(&connection.at().to_ne_bytes());
        }
        entry
    }
}

/// A set of shortcuts.
#[derive(Debug)]
pub struct Table {
    map: Map,
}

impl Table {
    /// One without any.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new() -> Result<Self, BpfError> {
        Ok(Self { map: Map::new(MapKind::Hash, KEY_BYTES, ENTRY_BYTES, TABLE_ENTRIES)? })
    }

    /// Enters a shortcut.
    ///
    /// # Errors
    /// [`BpfError`], also when the table is full.
    pub fn put(&self, key: &Key, route: &Route) -> Result<(), BpfError> {
        self.map.update(&key.encode(), &route.encode())
    }

    /// What went by a shortcut until now; nothing if it is not there.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn tally(&self, key: &Key) -> Result<Tally, BpfError> {
        let entry = self.map.lookup(&key.encode())?.unwrap_or_default();
        let word = |at: i16| {
            let at = usize::try_from(at).ok()?;
            Some(u64::from_ne_bytes(*entry.get(at..)?.first_chunk()?))
        };
        let word = |at| word(at).unwrap_or(0);
        Ok(Tally { frames: word(FRAMES), bytes: word(BYTES), seen_ns: word(SEEN) })
    }
}

/// The table in force, and the programs that go by it.
#[derive(Debug)]
pub struct Shortcuts {
    /// At 0, the table.
    in_force: Map,
    /// What marks a frame that takes a shortcut.
    secret: [i32; 2],
    gates: AtomicU32,
    /// By their numbers, what frames become.
    rewritings: Map,
    /// By their positions, the trails of connections.
    connections: Map,
    trails: Arc<Trails>,
    /// At tcx of every gate.
    obey: Program,
}

/// What a port needs so that frames take shortcuts there. They do not any more when it is dropped.
#[derive(Debug)]
pub struct Gate {
    number: u32,
    filter: Program,
    link: Link,
}

impl Gate {
    /// Its number, among those of its [`Shortcuts`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The program for the port's packet socket.
    pub(crate) fn filter(&self) -> BorrowedFd<'_> {
        self.filter.as_fd()
    }

    /// What keeps the host's stack from frames, once the socket has its filter.
    pub(crate) fn into_link(self) -> Link {
        self.link
    }
}

impl Shortcuts {
    /// With `table` in force, and room for the trails of so many TCP connections, 16 bytes each. Nobody outside may know the `secret`.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(secret: u64, table: &Table, connections: u32) -> Result<Self, BpfError> {
        let in_force = Map::of_maps(&table.map, 1)?;
        // Numbers in instructions have a sign, fields of frames have none.
        let half = |bits: u64| i32::try_from(bits & 0x7fff_ffff).unwrap_or(i32::MAX);
        let secret = [half(secret), half(secret >> 32)];
        let rewritings = Map::new(MapKind::Array, 4, rewriting::ENTRY_BYTES, TABLE_ENTRIES + 1)?;
        let (connections, trails) = Map::of_words(connections, trail::WORDS)?;
        let trails = Arc::new(Trails::new(trails));
        let obey = Program::load(ProgramKind::Classifier, &programs::obey(secret, &rewritings)?)?;
        let gates = AtomicU32::new(0);
        let shortcuts = Self { in_force, secret, gates, rewritings, connections, trails, obey };
        shortcuts.replace(table)?;
        Ok(shortcuts)
    }

    /// Puts a table into force. When this returns, no frame goes by the one before any more.
    ///
    /// # Errors
    /// [`BpfError`]; the one before is in force still.
    pub fn replace(&self, table: &Table) -> Result<(), BpfError> {
        self.in_force.update(&[0; 4], &table.map.handle())
    }

    /// The words that say how far connections have come. Segments of one are carried while both of its trails are open.
    pub fn trails(&self) -> Arc<Trails> {
        Arc::clone(&self.trails)
    }

    /// Says what a number means, from 1 to [`TABLE_ENTRIES`]. No table may name it that is in force, or was until a moment
    /// ago: its frames would be rewritten half by this and half by what it meant before.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn define(&self, number: Number, rewriting: &Rewriting) -> Result<(), BpfError> {
        self.rewritings.update(&number.get().to_ne_bytes(), &rewriting.encode())
    }

    /// Makes a gate of an interface of the calling thread's network namespace: until it has its filter, the packet socket of that
    /// interface receives everything, and nothing takes a shortcut.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn gate(&self, interface: u32) -> Result<Gate, BpfError> {
        let number = self.gates.fetch_add(1, Ordering::Relaxed);
        let filter = Program::load(
            ProgramKind::SocketFilter,
            &programs::filter((&self.in_force, &self.connections), self.secret, number)?,
        )?;
        Ok(Gate { number, filter, link: self.obey.attach_tcx(interface, Hook::Ingress)? })
    }
}
