//! The pipeline from outside: frames in, frames out; [`network`] is the bench of all but bridging.

mod bridging;
mod candidates;
mod network;
mod packets;
mod properties;
mod routing;
mod services;
mod translation;
mod tunnels;
mod vlans;
