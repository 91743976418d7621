//! [`Sharing`]: the maps of an interface that is shared, and the programs that look into them.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use super::claims::{Claims, Endpoint, PORTS_BYTES};
use super::program::{Maps, decide};
use crate::bpf::code::{Code, Reg};
use crate::bpf::{
    BpfError, Hook, Link, Map, MapKind, Program, ProgramKind, TCX_DROP, TCX_NEXT, XDP_PASS, XskMap,
};
use crate::sys;
use crate::wire::MacAddr;

/// The most addresses and protocols of which something is claimed.
const MAX_ENDPOINTS: u32 = 4096;
/// Datagrams in pieces that are remembered.
const MAX_FRAGMENTED: u32 = 4096;
/// Bytes of an address, a protocol, and zeros.
const CLAIM_BYTES: usize = 20;
const CLAIM_KEY_BYTES: u32 = 20;
const DATAGRAM_KEY_BYTES: u32 = 40;
const _: () = assert!(CLAIM_BYTES == CLAIM_KEY_BYTES as usize && PORTS_BYTES == 8192);

/// All of a packet.
const WHOLE: i32 = i32::MAX;

/// What the programs on a shared interface look into. Any thread may change it.
#[derive(Debug)]
pub struct Sharing {
    claims: Map,
    fragments: Map,
    station: Map,
    /// What is in the map.
    present: Mutex<Claims>,
}

impl Sharing {
    /// Nothing is claimed yet of the interface with this MAC address.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn new(mac: MacAddr) -> Result<Self, BpfError> {
        let sharing = Self {
            claims: Map::new(MapKind::Hash, CLAIM_KEY_BYTES, 8192, MAX_ENDPOINTS)?,
            fragments: Map::new(MapKind::LruHash, DATAGRAM_KEY_BYTES, 8, MAX_FRAGMENTED)?,
            station: Map::new(MapKind::Array, 4, 8, 1)?,
            present: Mutex::default(),
        };
        sharing.readdress(mac)?;
        Ok(sharing)
    }

    /// The interface has another MAC address.
    ///
    /// # Errors
    /// [`BpfError`].
    pub fn readdress(&self, mac: MacAddr) -> Result<(), BpfError> {
        let [a, b, c, d, e, f] = mac.0;
        self.station.update(&[0; 4], &[a, b, c, d, e, f, 0, 0])
    }

    /// Gives up what is not claimed here.
    ///
    /// # Errors
    /// [`BpfError`]; what was done until then counts.
    pub fn narrow(&self, claims: &Claims) -> Result<(), BpfError> {
        let kept = self.present().in_common(claims);
        self.claim(&kept)
    }

    fn present(&self) -> std::sync::MutexGuard<'_, Claims> {
        self.present.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Claims this, and nothing else. The ports of an address and protocol change together, at once; of several, one
    /// after the other.
    ///
    /// # Errors
    /// [`BpfError`]; what was done until then counts.
    pub fn claim(&self, claims: &Claims) -> Result<(), BpfError> {
        let mut present = self.present();
        if *present == *claims {
            return Ok(());
        }
        let wanted: Vec<_> = claims.sets().map(|(endpoint, _)| key(*endpoint)).collect();
        for gone in
            self.claims.keys()?.iter().filter(|key| !wanted.iter().any(|own| own[..] == key[..]))
        {
            self.claims.delete(gone)?;
        }
        for (endpoint, ports) in claims.sets() {
            self.claims.update(&key(*endpoint), ports)?;
        }
        present.clone_from(claims);
        Ok(())
    }

    /// Takes from an interface, by a packet socket, what is claimed and nothing else.
    pub(crate) fn filter(&self, socket: BorrowedFd<'_>) -> Result<(), BpfError> {
        let program = self.program(ProgramKind::SocketFilter, WHOLE, 0)?;
        sys::attach_filter(socket, program.as_fd())
            .map_err(|source| BpfError::Kernel { operation: "attach a filter", source })
    }

    /// Drops for the host, behind packet sockets, what is claimed. In the calling thread's network namespace.
    pub(crate) fn keep_from_host(&self, interface: u32) -> Result<Link, BpfError> {
        self.classifier()?.attach_tcx(interface, Hook::Ingress)
    }

    pub(super) fn classifier(&self) -> Result<Program, BpfError> {
        self.program(ProgramKind::Classifier, TCX_DROP, TCX_NEXT)
    }

    /// Gives what is claimed to the AF_XDP socket of its queue, and lets the rest pass to the host.
    pub(crate) fn steering(&self, sockets: &XskMap) -> Result<Program, BpfError> {
        self.load(ProgramKind::Xdp, XDP_PASS, |code| sockets.steer(code, Reg::R6))
    }

    pub(super) fn program(
        &self,
        kind: ProgramKind,
        take: i32,
        leave: i32,
    ) -> Result<Program, BpfError> {
        self.load(kind, leave, |code| _ = code.mov(Reg::R0, take).exit())
    }

    fn load(
        &self,
        kind: ProgramKind,
        leave: i32,
        take: impl FnOnce(&mut Code),
    ) -> Result<Program, BpfError> {
        let mut code = Code::new();
        let pass = code.label();
        decide(&mut code, kind, self.maps(), pass);
        take(&mut code);
        code.place(pass).mov(Reg::R0, leave).exit();
        Program::load(kind, &code.finish()?)
    }

    fn maps(&self) -> Maps<'_> {
        Maps { claims: &self.claims, fragments: &self.fragments, station: &self.station }
    }
}

fn key((address, protocol): Endpoint) -> [u8; CLAIM_BYTES] {
    let octets = match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut key = [0; CLAIM_BYTES];
    key[..16].copy_from_slice(&octets);
    key[16] = protocol;
    key
}
