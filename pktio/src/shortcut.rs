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
//! frame that no filter saw has no mark, and ends at tcx as it would without shortcuts. (Somebody else's packet socket on the
//! same interface, if its filter is an eBPF program that writes to `cb`, takes marks away; no program that we know of does.)
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

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bpf::code::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use crate::bpf::code::{Alu, Code, CodeError, If, Instruction, Label, Reg, Size};
use crate::bpf::{BpfError, Hook, Link, Map, MapKind, Program, ProgramKind};
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

const KEY_BYTES: u32 = 20;
const ENTRY_BYTES: u32 = 40;
/// Where the parts of an entry are.
const UNTIL: i16 = 0;
const SEEN: i16 = 8;
const FRAMES: i16 = 16;
const BYTES: i16 = 24;
const INTERFACE: i16 = 32;
const MTU: i16 = 36;

impl Key {
    /// As the filter makes it of a frame: both addresses as they are there, and what follows instead of the type.
    fn encode(&self) -> [u8; KEY_BYTES as usize] {
        let mut key = [0; KEY_BYTES as usize];
        key[..6].copy_from_slice(&self.dst.0);
        key[6..12].copy_from_slice(&self.src.0);
        key[12..14].copy_from_slice(&self.tag.to_ne_bytes());
        key[16..].copy_from_slice(&self.gate.to_ne_bytes());
        key
    }
}

impl Route {
    fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut entry = [0; ENTRY_BYTES as usize];
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
    /// With `table` in force. Nobody outside may know the `secret`.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(secret: u64, table: &Table) -> Result<Self, BpfError> {
        let in_force = Map::of_maps(&table.map, 1)?;
        // Numbers in instructions have a sign, fields of frames have none.
        let half = |bits: u64| i32::try_from(bits & 0x7fff_ffff).unwrap_or(i32::MAX);
        let secret = [half(secret), half(secret >> 32)];
        let obey = Program::load(ProgramKind::Classifier, &obey(secret)?)?;
        let shortcuts = Self { in_force, secret, gates: AtomicU32::new(0), obey };
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

    /// Makes a gate of an interface of the calling thread's network namespace: until it has its filter, the packet socket of that
    /// interface receives everything, and nothing takes a shortcut.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn gate(&self, interface: u32) -> Result<Gate, BpfError> {
        let number = self.gates.fetch_add(1, Ordering::Relaxed);
        let filter = Program::load(ProgramKind::SocketFilter, &self.filter(number)?)?;
        Ok(Gate { number, filter, link: self.obey.attach_tcx(interface, Hook::Ingress)? })
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
const SKB_CHANGE_TYPE: i32 = 32;
const REDIRECT_PEER: i32 = 155;
const KTIME_GET_COARSE_NS: i32 = 160;

/// `TCX_DROP`.
const TCX_DROP: i32 = 2;
/// `PACKET_HOST` (linux/if_packet.h).
const PACKET_HOST: i32 = 0;

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
    fn filter(&self, gate: u32) -> Result<Vec<Instruction>, CodeError> {
        let mut code = Code::new();
        let leave = code.label();
        code.mov(R6, R1);
        read_tag(&mut code, leave); // R7 = tag
        read_key(&mut code, gate, leave); // R8 = type
        self.find(&mut code, leave); // R9 = entry
        measure(&mut code, leave); // R2 = bytes of the longest packet
        code.load(Size::Word, R3, R9, MTU).jump_if(If::Above, R2, R3, leave);
        code.call(KTIME_GET_COARSE_NS);
        code.load(Size::Double, R1, R9, UNTIL).jump_if(If::Above, R0, R1, leave);
        code.store(Size::Double, R9, SEEN, R0);
        count(&mut code);
        code.load(Size::Word, R1, R9, INTERFACE).store(Size::Word, R6, CB, R1);
        for (at, number) in MARK.into_iter().zip(self.secret) {
            code.mov(R1, number).store(Size::Word, R6, at, R1);
        }
        code.mov(R0, 0).exit();
        code.place(leave).mov(R0, i32::MAX).exit();
        code.finish()
    }

    /// `R9 = table[key]`.
    fn find(&self, code: &mut Code, leave: Label) {
        code.store(Size::Word, R10, INDEX, 0).map(R1, &self.in_force);
        address(code, R2, INDEX).call(MAP_LOOKUP_ELEM);
        code.jump_if(If::Equal, R0, 0, leave).mov(R1, R0);
        address(code, R2, KEY).call(MAP_LOOKUP_ELEM);
        code.jump_if(If::Equal, R0, 0, leave).mov(R9, R0);
    }
}

/// The program at tcx: a frame with the mark goes where it is said, any other ends here.
fn obey(secret: [i32; 2]) -> Result<Vec<Instruction>, CodeError> {
    let mut code = Code::new();
    let end = code.label();
    code.mov(R6, R1);
    for (at, number) in MARK.into_iter().zip(secret) {
        code.load(Size::Word, R1, R6, at).jump_if(If::NotEqual, R1, number, end);
    }
    // Wherever it comes next, it is a frame like any other.
    code.mov(R1, 0).store(Size::Word, R6, MARK[0], R1);
    // Here it is for another station than the host end. Kernels before 6.16 leave it so, and the container's stack would not
    // have it; later ones do this by themselves (`skb_scrub_packet` in `skb_do_redirect`).
    code.mov(R1, R6).mov(R2, PACKET_HOST).call(SKB_CHANGE_TYPE);
    code.load(Size::Word, R1, R6, CB).mov(R2, 0).call(REDIRECT_PEER).exit();
    code.place(end).mov(R0, TCX_DROP).exit();
    code.finish()
}

/// `to` = the address of what is at `at` on the stack.
fn address(code: &mut Code, to: Reg, at: i16) -> &mut Code {
    code.mov(to, R10).alu(Alu::Add, to, i32::from(at))
}

/// `R7` = the VLAN that the frame's tag names, 0 without one.
fn read_tag(code: &mut Code, leave: Label) {
    const CUSTOMER: u16 = 0x8100;
    let untagged = code.label();
    code.mov(R7, 0);
    code.load(Size::Word, R2, R6, VLAN_PRESENT).jump_if(If::Equal, R2, 0, untagged);
    code.load(Size::Word, R2, R6, VLAN_PROTO);
    code.jump_if(If::NotEqual, R2, from_wire(CUSTOMER), leave);
    code.load(Size::Word, R7, R6, VLAN_TCI).alu(Alu::And, R7, 0xfff);
    code.jump_if(If::Equal, R7, 0, leave).place(untagged);
}

/// The key, on the stack; `R8` = the frame's type, as it is there.
fn read_key(code: &mut Code, gate: u32, leave: Label) {
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    code.mov(R1, R6).mov(R2, 0);
    address(code, R3, KEY).mov(R4, ETHERNET_BYTES).call(SKB_LOAD_BYTES);
    code.jump_if(If::NotEqual, R0, 0, leave).load(Size::Half, R8, R10, KEY + 12);
    for tag in TAGS {
        code.jump_if(If::Equal, R8, from_wire(tag), leave);
    }
    code.store(Size::Half, R10, KEY + 12, R7).store(Size::Half, R10, KEY + 14, 0);
    code.store(Size::Word, R10, KEY + 16, gate.cast_signed());
}

/// `R2` = the bytes of the longest packet that the frame becomes on the wire.
fn measure(code: &mut Code, leave: Label) {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    let (plain, done, ipv6, transport) = (code.label(), code.label(), code.label(), code.label());
    code.load(Size::Word, R3, R6, GSO_SIZE).jump_if(If::Equal, R3, 0, plain);
    code.jump_if(If::Equal, R8, from_wire(IPV6), ipv6);
    code.jump_if(If::NotEqual, R8, from_wire(IPV4), leave);
    code.mov(R2, ETHERNET_BYTES + 9); // the protocol
    peek(code, leave).jump_if(If::NotEqual, R1, TCP, leave);
    code.mov(R2, ETHERNET_BYTES); // the version, and the header's length in words
    peek(code, leave).alu(Alu::And, R1, 0xf).alu(Alu::ShiftLeft, R1, 2);
    code.mov(R8, R1).jump(transport);
    code.place(ipv6).mov(R2, ETHERNET_BYTES + 6); // the next header
    peek(code, leave).jump_if(If::NotEqual, R1, TCP, leave).mov(R8, 40);
    code.place(transport).mov(R2, R8).alu(Alu::Add, R2, ETHERNET_BYTES + 12);
    peek(code, leave); // TCP's header's length in words, and flags
    code.alu(Alu::ShiftRight, R1, 4).alu(Alu::ShiftLeft, R1, 2);
    code.load(Size::Word, R2, R6, GSO_SIZE).alu(Alu::Add, R2, R1).alu(Alu::Add, R2, R8);
    code.jump(done);
    code.place(plain).load(Size::Word, R2, R6, LEN).alu(Alu::Sub, R2, ETHERNET_BYTES);
    code.place(done);
}

/// `R1` = the byte at `R2` of the frame.
fn peek(code: &mut Code, leave: Label) -> &mut Code {
    code.mov(R1, R6);
    address(code, R3, PEEK).mov(R4, 1).call(SKB_LOAD_BYTES);
    code.jump_if(If::NotEqual, R0, 0, leave).load(Size::Byte, R1, R10, PEEK)
}

/// Counts the frame, with its tag.
fn count(code: &mut Code) {
    const TAG_BYTES: i32 = 4;
    let untagged = code.label();
    code.mov(R1, 1).count(R9, FRAMES, R1);
    code.load(Size::Word, R5, R6, LEN).jump_if(If::Equal, R7, 0, untagged);
    code.alu(Alu::Add, R5, TAG_BYTES).place(untagged).count(R9, BYTES, R5);
}
