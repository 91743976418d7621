//! [`Steering`]: sockets that have what is sent to other addresses and ports than their own
//! (`Documentation/bpf/prog_sk_lookup.rst`, since Linux 5.9).

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::code::Reg::{R0, R1, R2, R3, R6, R7, R10};
use super::code::{Alu, Code, CodeError, If, Instruction, Size};
use super::kernel::SK_PASS;
use super::sys::fd_word;
use super::{BpfError, Helper, Link, Map, MapKind, Program, ProgramKind};

// struct bpf_sk_lookup
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;
const LOCAL_PORT: i16 = 60;

/// `BPF_SK_LOOKUP_F_NO_REUSEPORT`: this socket, and none of those that share its port.
const NO_REUSEPORT: i32 = 1 << 1;
/// An address of IPv6 or an IPv4-mapped one, a port and a protocol, all as the context has them.
const KEY_BYTES: u32 = 24;
/// Where on the stack the key is.
const KEY: i16 = -24;
/// What an IPv4-mapped address has before its last word (RFC 4291 section 2.5.5.2).
const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// TCP connections and UDP datagrams of a network namespace that sockets get by what they are sent to, before the kernel looks
/// for who has that port; a socket of UDP that is connected to the sender comes first all the same. What is
/// accepted has that address and port for its own. Dropping it ends all of that, and a socket that is closed is not
/// steered to any more.
#[derive(Debug)]
pub struct Steering {
    map: Map,
    _link: Link,
}

impl Steering {
    /// In the calling thread's network namespace, for up to `entries`; to none of them yet.
    ///
    /// # Errors
    /// [`BpfError`]; nothing is then attached.
    pub fn new(entries: u32) -> Result<Self, BpfError> {
        let map = Map::new(MapKind::SockHash, KEY_BYTES, 4, entries)?;
        let program = Program::load(ProgramKind::SocketLookup, &steer(&map)?)?;
        Ok(Self { map, _link: program.attach_lookup()? })
    }

    /// Has a listener of TCP, or a socket of UDP, get what is sent to an address and port by its protocol, instead of who had
    /// it before.
    ///
    /// # Errors
    /// [`BpfError`], also when there are too many.
    pub fn steer(&self, at: SocketAddr, socket: BorrowedFd<'_>) -> Result<(), BpfError> {
        let protocol = rustix::net::sockopt::socket_protocol(socket)
            .map_err(|error| BpfError::kernel("ask a socket for its protocol", error.into()))?;
        let protocol = protocol.map_or(0, |protocol| protocol.as_raw().get());
        self.map.update(&key(at, protocol), &fd_word(socket).to_ne_bytes())
    }
}

fn key(at: SocketAddr, protocol: u32) -> Vec<u8> {
    let ip = match at {
        SocketAddr::V4(at) => at.ip().to_ipv6_mapped(),
        SocketAddr::V6(at) => *at.ip(),
    };
    let port = u32::from(at.port());
    [ip.octets().as_slice(), &port.to_ne_bytes(), &protocol.to_ne_bytes()].concat()
}

fn steer(map: &Map) -> Result<Vec<Instruction>, CodeError> {
    let mut code = Code::new();
    let (version6, look, pass) = (code.label(), code.label(), code.label());
    code.mov(R6, R1).load(Size::Word, R2, R6, PROTOCOL).store(Size::Word, R10, KEY + 20, R2);
    code.load(Size::Word, R2, R6, LOCAL_PORT).store(Size::Word, R10, KEY + 16, R2);
    code.load(Size::Word, R2, R6, FAMILY).jump_if(If::NotEqual, R2, libc::AF_INET, version6);
    code.store(Size::Double, R10, KEY, 0).store(Size::Word, R10, KEY + 8, MAPPED);
    code.load(Size::Word, R2, R6, LOCAL_IP4).store(Size::Word, R10, KEY + 12, R2).jump(look);
    code.place(version6);
    for word in [0, 4, 8, 12] {
        code.load(Size::Word, R2, R6, LOCAL_IP6 + word).store(Size::Word, R10, KEY + word, R2);
    }
    code.place(look).map(R1, map).mov(R2, R10).alu(Alu::Add, R2, i32::from(KEY));
    code.call(Helper::MapLookup).jump_if(If::Equal, R0, 0, pass);
    code.mov(R7, R0).mov(R1, R6).mov(R2, R7).mov(R3, NO_REUSEPORT).call(Helper::SkAssign);
    code.mov(R1, R7).call(Helper::SkRelease);
    code.place(pass).mov(R0, SK_PASS).exit();
    code.finish()
}
