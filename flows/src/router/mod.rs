//! A router's parts: routes, neighbours, gateway answers and errors.

mod forward;
mod prefix;
mod routes;

pub use forward::{Obstacle, check, decrement, expires};
pub use prefix::{Prefix, PrefixSet};
pub use routes::{NextHop, Route, Routes, Target};
