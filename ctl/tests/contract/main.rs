//! What the crate promises, one module for each part; `arbitrary` makes the values for properties.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod apply;
mod arbitrary;
mod attach;
mod client;
mod config;
mod endpoints;
mod flow;
mod ipam;
mod lines;
mod listen;
mod names;
mod networks;
mod notes;
mod packets;
mod plan;
mod protocol;
mod reading;
mod removal;
mod repeated;
mod routing;
mod rules;
mod services;
mod translation;
mod tunnels;
mod wire;
