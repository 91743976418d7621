//! Header layouts, the one header parser and checksum arithmetic.
//!
//! Two depths: [`EthernetHeader`] is what a bridge needs, [`Layers`] what everything above needs. Both
//! are small values read once per frame; later stages read fields at the offsets that they hold.
//! Nothing here panics on any input.

pub mod checksum;
mod ethernet;
pub mod field;
mod layers;

pub use ethernet::{ETHERNET_BYTES, EthernetHeader, MacAddr, VLAN_BYTES, VlanTag};
pub(crate) use layers::tcp_bytes;
pub use layers::{Fragment, Layers, Malformed, Network, after_tags};
