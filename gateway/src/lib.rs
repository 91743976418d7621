//! What the gateway of a network serves its containers with: [names](dns) and [addresses](dhcp).
//!
//! Pure: messages come in as bytes and go out as bytes; who carries them, and what the time is, is the caller's
//! concern (`vswitch/src/control/reception` is that). What is served is what the configuration in force says; there
//! is no state that could differ from it. Nothing here panics on any bytes, and any thread may call.

#![forbid(unsafe_code)]

pub mod dhcp;
pub mod dns;
