//! Answers to questions about what the router and address translation do, one module for each noun.

mod conn;
mod nat;
mod neighbor;
mod network;
mod route;
mod service;

pub use conn::Sieve;
