//! A router's parts: routes, neighbours, gateway answers and errors.

mod answer;
mod envelope;
mod forward;
mod fragment;
mod hold;
mod icmp;
mod limit;
mod neighbors;
mod prefix;
mod routes;

pub use answer::{
    AdvertisedPrefix, Advertising, AdvertisingSchedule, Gateway, GatewayAddress, Outcome, Scene,
};
pub use forward::{Obstacle, check, decrement, expires};
pub use fragment::{Unbroken, fragment};
pub use hold::{Held, Hold, HoldLimits};
pub use icmp::{IcmpError, Station, make, may_answer, reset};
pub use limit::{ErrorLimiter, ErrorRate};
pub use neighbors::{
    Claim, Heard, Lookup, Neighbor, NeighborEntry, NeighborState, NeighborVersion, Neighbors,
    Resolution, Resolver, Solicitation, Timers,
};
pub use prefix::{Prefix, PrefixSet};
pub use routes::{NextHop, Route, Routes, Target};
