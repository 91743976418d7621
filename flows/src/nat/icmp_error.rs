//! ICMP errors, translated inside out (RFC 5508 section 4).
//!
//! An error quotes the packet that caused it, as it was where it failed. It belongs to the session of the
//! quoted packet, which went the other way: [`embedded_tuple`] says which, and [`translate`] gives the
//! quote, and the error around it, the addresses of the other side. The same two functions serve both
//! directions, both IP versions, masquerade, publishing and hairpins, as all of them are
//! "the quoted packet was, on the other side, that one".
//!
//! | requirement | how it is met |
//! | --- | --- |
//! | REQ-3 a, b | an error with a wrong ICMP checksum, or a quote with a wrong IP checksum, has no tuple: drop it |
//! | REQ-3 c, d | IP options and extension headers of the quote are skipped, its transport checksum is not verified |
//! | REQ-4, REQ-5 a, b | the quote gets its original addresses and ports; type and code stay |
//! | REQ-4, REQ-5 c | the error goes to who sent the quoted packet, and comes, if that was sent to a translated address, from there |
//! | REQ-6 | nothing here touches a session or a mapping |
//! | REQ-7 | a hairpinned error has both addresses translated |
//! | REQ-10 b, c | parameter problems are errors like others, redirects and source quench belong to nothing |
//!
//! A quote may be cut off behind eight bytes of its transport header (RFC 792): what is there is
//! translated. An error whose outer destination is not the source of the quoted packet is a forgery.

use pktio::wire::checksum::{finish, fold, pseudo_header, sum};
use pktio::wire::field::{be32, icmp, protocol, put_be16, tcp};
use pktio::wire::{Fragment, Layers, Network};
use pktio::{Csum, PktBuf};

use super::{Rewrite, Unapplied};
use crate::Tuple;

/// The errors of IPv4 that go further than one link: unreachable, time exceeded, parameter problem. Nobody is to send or
/// heed a source quench any more (RFC 6633), and a redirect is for the link that it is sent on.
const PASSED: [u8; 3] = [3, 11, 12];

/// The packet that an ICMP error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The tuple of the quoted packet. The session that it belongs to is, where the error came in, the one
    /// whose packets have this tuple *reversed*.
    pub tuple: Tuple,
    /// The ICMP type.
    pub kind: u8,
    /// The ICMP code.
    pub code: u8,
    /// Of the quoted packet, in the error's frame.
    quote: Layers,
}

impl Embedded {
    /// Whether the error says that nobody was reached (RFC 792 and RFC 4443 section 3.1), and not that the packet was too
    /// long.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self { kind, code, .. } = *self;
        match self.quote.network {
            Network::V4 => kind == 3 && code != 4,
            Network::V6 => kind == 1,
        }
    }

    /// The sequence number of the quoted packet of TCP in the error's frame, if it was quoted so far.
    pub(crate) fn sequence(&self, frame: &PktBuf) -> Option<u32> {
        let header = frame.data().get(usize::from(self.quote.l4)..)?;
        let is_tcp = self.tuple.protocol == protocol::TCP;
        is_tcp.then(|| be32(header, tcp::SEQUENCE)).flatten()
    }
}

/// The packet that a frame is an ICMP error about. `None` when the frame is no error, or one that must
/// not pass: a fragment, a wrong checksum, a quote that nobody can be told by.
pub fn embedded_tuple(frame: &PktBuf, layers: &Layers) -> Option<Embedded> {
    let packet = frame.data().get(..layers.end as usize)?;
    let at = usize::from(layers.l4);
    let (kind, code) = (*packet.get(at)?, *packet.get(at + 1)?);
    let is_error = match layers.protocol {
        protocol::ICMP => layers.network == Network::V4 && PASSED.contains(&kind),
        protocol::ICMPV6 => layers.network == Network::V6 && icmp::V6_ERRORS.contains(&kind),
        _ => false,
    };
    if !is_error || layers.fragment != Fragment::Whole || !is_sound(frame, packet, layers) {
        return None;
    }
    let quote = Layers::parse_quoted(packet, at + icmp::BYTES, layers.network).ok()?;
    let header = packet.get(usize::from(quote.l3)..usize::from(quote.l4))?;
    if quote.network == Network::V4 && fold(sum(header)) != 0xffff {
        return None;
    }
    let tuple = Tuple::of(packet, &quote)?;
    let (_, destination) = layers.addresses(packet)?;
    (tuple.source.ip == destination).then_some(Embedded { tuple, kind, code, quote })
}

/// Whether the ICMP checksum is right, or not there yet.
fn is_sound(frame: &PktBuf, packet: &[u8], layers: &Layers) -> bool {
    let is_partial = matches!(frame.offload.csum, Csum::Partial { .. });
    is_partial || icmp_sum(packet, layers).is_some_and(|sum| fold(sum) == 0xffff)
}

/// The sum that the ICMP checksum is the complement of.
fn icmp_sum(packet: &[u8], layers: &Layers) -> Option<u64> {
    let message = packet.get(usize::from(layers.l4)..layers.end as usize)?;
    let pseudo = match layers.network {
        Network::V4 => 0,
        Network::V6 => pseudo_header(packet, layers, message.len())?,
    };
    Some(sum(message) + pseudo)
}

/// Translates an error to the other side, where the quoted packet has the tuple `new`. `takes_hop`: as a
/// router does.
///
/// # Errors
/// [`Unapplied`]; the frame is as it was.
pub fn translate(
    frame: &mut PktBuf,
    layers: &Layers,
    embedded: &Embedded,
    new: &Tuple,
    takes_hop: bool,
) -> Result<(), Unapplied> {
    let inner = Rewrite::between(&embedded.tuple, new).ok_or(Unapplied::OtherFlow)?;
    let old = layers.addresses(frame.data()).ok_or(Unapplied::OtherFlow)?;
    let is_translated = embedded.tuple.destination.ip != new.destination.ip;
    let source = if is_translated { new.destination.ip } else { old.0 };
    let outer = Rewrite::of_addresses(old, (source, new.source.ip)).ok_or(Unapplied::OtherFlow)?;
    let outer = if takes_hop { outer.taking_a_hop() } else { outer };
    outer.apply(frame, layers)?;
    inner.apply_to_quote(frame.data_mut(), &embedded.quote);
    finish_checksum(frame, layers);
    Ok(())
}

/// Computes the ICMP checksum, which was right before ([`embedded_tuple`]), anew.
fn finish_checksum(frame: &mut PktBuf, layers: &Layers) {
    let packet = frame.data_mut();
    let at = usize::from(layers.l4) + icmp::CHECKSUM;
    put_be16(packet, at, 0);
    if let Some(sum) = icmp_sum(packet, layers) {
        put_be16(packet, at, finish(sum));
    }
    if matches!(frame.offload.csum, Csum::Partial { .. }) {
        frame.offload.csum = Csum::None;
    }
}

#[cfg(test)]
mod tests;
