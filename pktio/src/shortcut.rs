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
//!                                └──► bpf_redirect_peer(host end B) ──► container B
//! ```
//!
//! # Each frame goes one way
//! The packet socket sees a frame before tcx does (`__netif_receive_skb_core` in `net/core/dev.c`), and its
//! filter alone decides. It says what it decided in the frame itself (`skb->cb`), with a number that nobody
//! else knows; the tcx program does what is said. So whatever changes meanwhile, a frame goes by the
//! shortcut or to the switch, and never both ways or neither. The kernel clears the mark before it runs the filter. A
//! frame that no filter saw has no mark, and ends at tcx as it would without shortcuts.
//!
//! # Tables
//! Which shortcuts there are is in a [`Table`]. [`Shortcuts::replace`] puts another in its place, and returns
//! when no program uses the one before any more: it is withdrawn then, and what its entries counted is final.
//! A shortcut holds until a time of the kernel's clock, whatever happens to the switch.
//!
//! # What is left to the switch
//! All that is in no table, and of what is: frames whose packet is longer than what the far end takes, with a service tag or several tags, with
//! a priority tag; super-frames other than TCP's.
//!
//! Everything goes with its descriptors, also by a crash. Used by the control thread; the kernel does the rest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bpf::asm::{
    Assembler, FP, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size,
};
use crate::bpf::map::{Kind, Map, NO_EXIST, Shape};
use crate::bpf::{self, BpfError, Instruction, Link};
use crate::wire::MacAddr;

/// Shortcuts that fit into a table.
pub const TABLE_ENTRIES: u32 = 16_384;

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

const KEY_BYTES: usize = 20;
const ENTRY_BYTES: usize = 40;
/// Where the parts of an entry are.
const UNTIL: i16 = 0;
const SEEN: i16 = 8;
const FRAMES: i16 = 16;
const BYTES: i16 = 24;
const INTERFACE: i16 = 32;
const MTU: i16 = 36;

impl Key {
    /// As the filter makes it of a frame: both addresses as they are there, and what follows instead of the type.
    fn encode(&self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..6].copy_from_slice(&self.dst.0);
        key[6..12].copy_from_slice(&self.src.0);
        key[12..14].copy_from_slice(&self.tag.to_ne_bytes());
        key[16..].copy_from_slice(&self.gate.to_ne_bytes());
        key
    }
}

impl Route {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..8].copy_from_slice(&self.until_ns.to_ne_bytes());
        entry[32..36].copy_from_slice(&self.interface.to_ne_bytes());
        entry[36..].copy_from_slice(&self.mtu_bytes.to_ne_bytes());
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
        let map = Map::new(Shape {
            kind: Kind::Hash,
            key_bytes: KEY_BYTES as u32,
            value_bytes: ENTRY_BYTES as u32,
            entries: TABLE_ENTRIES,
            inner: None,
        })?;
        Ok(Self { map })
    }

    /// Enters a shortcut that is not there.
    ///
    /// # Errors
    /// [`BpfError`], when it is there or the table is full.
    pub fn put(&self, key: &Key, route: &Route) -> Result<(), BpfError> {
        self.map.put(&key.encode(), &route.encode(), NO_EXIST)
    }

    /// What went by a shortcut until now; nothing if it is not there.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn tally(&self, key: &Key) -> Result<Tally, BpfError> {
        let mut entry = [0; ENTRY_BYTES];
        self.map.get(&key.encode(), &mut entry)?;
        let word = |at: i16| {
            let at = usize::try_from(at).unwrap_or(0);
            entry[at..].first_chunk().copied().map_or(0, u64::from_ne_bytes)
        };
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
}

/// What a port needs so that frames take shortcuts there. They do not any more when it is dropped.
#[derive(Debug)]
pub struct Gate {
    number: u32,
    filter: OwnedFd,
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
    /// With `table` in force. Nobody outside may know the `secret`.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(secret: u64, table: &Table) -> Result<Self, BpfError> {
        let in_force = Map::new(Shape {
            kind: Kind::ArrayOfMaps,
            key_bytes: 4,
            value_bytes: 4,
            entries: 1,
            inner: Some(&table.map),
        })?;
        let [a, b, c, d, e, f, g, h] = secret.to_ne_bytes();
        let secret = [i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])];
        let shortcuts = Self { in_force, secret, gates: AtomicU32::new(0) };
        shortcuts.replace(table)?;
        Ok(shortcuts)
    }

    /// Puts a table into force. When this returns, no frame goes by the one before any more.
    ///
    /// # Errors
    /// [`BpfError`]; the one before is in force still.
    pub fn replace(&self, table: &Table) -> Result<(), BpfError> {
        self.in_force.put(&[0; 4], &table.map.handle(), 0)
    }

    /// Makes a gate of an interface of the calling thread's network namespace. Until its filter is on the
    /// packet socket of that interface, the interface receives nothing but what the socket does.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn gate(&self, interface: u32) -> Result<Gate, BpfError> {
        let number = self.gates.fetch_add(1, Ordering::Relaxed);
        let filter = bpf::load_socket_filter(&self.filter(number))?;
        let link = bpf::attach_ingress(interface, &self.obey())?;
        Ok(Gate { number, filter, link })
    }
}

// struct __sk_buff (linux/bpf.h)
const LEN: i16 = 0;
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;
const GSO_SIZE: i16 = 176;
/// Of `cb`: the interface to go to, and the mark.
const CB: i16 = 48;
const MARK: [i16; 2] = [CB + 4, CB + 8];

// enum bpf_func_id
const MAP_LOOKUP_ELEM: i32 = 1;
const SKB_LOAD_BYTES: i32 = 26;
const REDIRECT_PEER: i32 = 155;
const KTIME_GET_COARSE_NS: i32 = 160;

/// `TCX_DROP`.
const TCX_DROP: i32 = 2;

/// On the stack: the key, a number of a map's entry, and a few bytes of the frame.
const KEY: i16 = -24;
const INDEX: i16 = -28;
const PEEK: i16 = -32;

const ETHERNET_BYTES: i32 = 14;
const TCP: i32 = 6;

/// A field of a frame as a program of this machine loads it.
fn from_wire(field: u16) -> i32 {
    i32::from(u16::from_ne_bytes(field.to_be_bytes()))
}

impl Shortcuts {
    /// The filter of a gate's socket. Returns how much of the frame the socket is to have: all or nothing.
    fn filter(&self, gate: u32) -> Vec<Instruction> {
        let mut asm = Assembler::default();
        let a = &mut asm;
        let accept = a.label();
        a.copy(R6, R1);
        read_tag(a, accept); // R7 = tag
        read_key(a, gate, accept); // R8 = type
        self.find(a, accept); // R9 = entry
        measure(a, accept); // R2 = bytes of the longest packet
        a.load(Size::Word, R3, (R9, MTU));
        a.jump_if_greater(R2, R3, accept);
        a.call(KTIME_GET_COARSE_NS);
        a.load(Size::Double, R1, (R9, UNTIL));
        a.jump_if_greater(R0, R1, accept);
        a.store(Size::Double, (R9, SEEN), R0);
        count(a);
        a.load(Size::Word, R1, (R9, INTERFACE));
        a.store(Size::Word, (R6, CB), R1);
        for (at, number) in MARK.into_iter().zip(self.secret) {
            a.set(R1, number);
            a.store(Size::Word, (R6, at), R1);
        }
        a.set(R0, 0);
        a.exit();
        a.place(accept);
        a.set(R0, i32::MAX);
        a.exit();
        asm.finish()
    }

    /// `R9 = table[key]`.
    fn find(&self, a: &mut Assembler, accept: Label) {
        a.store_immediate(Size::Word, (FP, INDEX), 0);
        a.load_map(R1, &self.in_force);
        address(a, R2, INDEX);
        a.call(MAP_LOOKUP_ELEM);
        a.jump_if_equal(R0, 0, accept);
        a.copy(R1, R0);
        address(a, R2, KEY);
        a.call(MAP_LOOKUP_ELEM);
        a.jump_if_equal(R0, 0, accept);
        a.copy(R9, R0);
    }

    /// The program at tcx: a frame with the mark goes where it is said, any other ends here.
    fn obey(&self) -> Vec<Instruction> {
        let mut asm = Assembler::default();
        let a = &mut asm;
        let end = a.label();
        a.copy(R6, R1);
        for (at, number) in MARK.into_iter().zip(self.secret) {
            a.load(Size::Word, R1, (R6, at));
            a.jump_unless_equal(R1, number, end);
        }
        a.set(R1, 0);
        a.store(Size::Word, (R6, MARK[0]), R1);
        a.load(Size::Word, R1, (R6, CB));
        a.set(R2, 0);
        a.call(REDIRECT_PEER);
        a.exit();
        a.place(end);
        a.set(R0, TCX_DROP);
        a.exit();
        asm.finish()
    }
}

fn address(a: &mut Assembler, to: Reg, at: i16) {
    a.copy(to, FP);
    a.add(to, i32::from(at));
}

/// `R7` = the VLAN that the frame's tag names, 0 without one.
fn read_tag(a: &mut Assembler, accept: Label) {
    const CUSTOMER: u16 = 0x8100;
    let untagged = a.label();
    a.set(R7, 0);
    a.load(Size::Word, R2, (R6, VLAN_PRESENT));
    a.jump_if_equal(R2, 0, untagged);
    a.load(Size::Word, R2, (R6, VLAN_PROTO));
    a.jump_unless_equal(R2, from_wire(CUSTOMER), accept);
    a.load(Size::Word, R7, (R6, VLAN_TCI));
    a.and(R7, 0xfff);
    a.jump_if_equal(R7, 0, accept);
    a.place(untagged);
}

/// The key, on the stack; `R8` = the frame's type, as it is there.
fn read_key(a: &mut Assembler, gate: u32, accept: Label) {
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    a.copy(R1, R6);
    a.set(R2, 0);
    address(a, R3, KEY);
    a.set(R4, ETHERNET_BYTES);
    a.call(SKB_LOAD_BYTES);
    a.jump_unless_equal(R0, 0, accept);
    a.load(Size::Half, R8, (FP, KEY + 12));
    for tag in TAGS {
        a.jump_if_equal(R8, from_wire(tag), accept);
    }
    a.store(Size::Half, (FP, KEY + 12), R7);
    a.store_immediate(Size::Half, (FP, KEY + 14), 0);
    a.store_immediate(Size::Word, (FP, KEY + 16), gate.cast_signed());
}

/// `R2` = the bytes of the longest packet that the frame becomes on the wire.
fn measure(a: &mut Assembler, accept: Label) {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    let (plain, done, ipv6, transport) = (a.label(), a.label(), a.label(), a.label());
    a.load(Size::Word, R3, (R6, GSO_SIZE));
    a.jump_if_equal(R3, 0, plain);
    a.jump_if_equal(R8, from_wire(IPV6), ipv6);
    a.jump_unless_equal(R8, from_wire(IPV4), accept);
    peek(a, ETHERNET_BYTES + 9, accept); // the protocol
    a.jump_unless_equal(R1, TCP, accept);
    peek(a, ETHERNET_BYTES, accept); // the version, and the header's length in words
    a.and(R1, 0xf);
    a.shift_left(R1, 2);
    a.copy(R8, R1);
    a.jump(transport);
    a.place(ipv6);
    peek(a, ETHERNET_BYTES + 6, accept); // the next header
    a.jump_unless_equal(R1, TCP, accept);
    a.set(R8, 40);
    a.place(transport);
    a.copy(R2, R8);
    a.add(R2, ETHERNET_BYTES + 12); // TCP's header's length in words, and flags
    peek_at(a, accept);
    a.shift_right(R1, 4);
    a.shift_left(R1, 2);
    a.load(Size::Word, R2, (R6, GSO_SIZE));
    a.add_reg(R2, R1);
    a.add_reg(R2, R8);
    a.jump(done);
    a.place(plain);
    a.load(Size::Word, R2, (R6, LEN));
    a.add(R2, -ETHERNET_BYTES);
    a.place(done);
}

/// `R1` = the byte at `at` of the frame.
fn peek(a: &mut Assembler, at: i32, accept: Label) {
    a.set(R2, at);
    peek_at(a, accept);
}

/// `R1` = the byte at `R2` of the frame.
fn peek_at(a: &mut Assembler, accept: Label) {
    a.copy(R1, R6);
    address(a, R3, PEEK);
    a.set(R4, 1);
    a.call(SKB_LOAD_BYTES);
    a.jump_unless_equal(R0, 0, accept);
    a.load(Size::Byte, R1, (FP, PEEK));
}

/// Counts the frame, with its tag.
fn count(a: &mut Assembler) {
    const TAG_BYTES: i32 = 4;
    let untagged = a.label();
    a.set(R1, 1);
    a.add_atomically((R9, FRAMES), R1);
    a.load(Size::Word, R5, (R6, LEN));
    a.jump_if_equal(R7, 0, untagged);
    a.add(R5, TAG_BYTES);
    a.place(untagged);
    a.add_atomically((R9, BYTES), R5);
}
