//! The pipeline from outside: frames in, frames out.

mod bridging;
mod network;
mod packets;
mod properties;
mod routing;
mod translation;
