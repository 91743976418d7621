//! A router's parts: routes, neighbours, gateway answers and errors.

mod envelope;
mod forward;
mod fragment;
mod icmp;
mod limit;
mod prefix;
mod routes;

pub use forward::{Obstacle, check, decrement, expires};
pub use fragment::{Unbroken, fragment};
pub use icmp::{IcmpError, Station, make, may_answer, reset};
pub use limit::{ErrorLimiter, ErrorRate};
pub use prefix::{Prefix, PrefixSet};
pub use routes::{NextHop, Route, Routes, Target};
