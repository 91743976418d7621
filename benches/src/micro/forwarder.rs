//! The pipeline between null ports for as long as somebody wants, not call by call: what else forwards the same packets is
//! measured by the second.

use std::error::Error;

use super::features::Traffic;
use super::{Meter, Work, meter};

/// Bursts that are forwarded before somebody looks at a clock.
const BURSTS: usize = 64;

/// The pipeline between two null ports, in the thread that made it.
pub(crate) struct Forwarder {
    work: Work,
    meter: Meter,
}

impl Forwarder {
    /// One that knows the flows of this traffic, and whose code and tables are in the caches.
    pub(crate) fn new(traffic: Traffic) -> Result<Self, Box<dyn Error>> {
        let mut work = traffic.work()?;
        meter::warm_up(&mut work);
        Ok(Self { work, meter: Meter::counting() })
    }

    /// Forwards a few bursts.
    pub(crate) fn forward(&mut self) {
        (0..BURSTS).for_each(|_| (self.work)(&mut self.meter));
    }

    /// Packets that were forwarded so far.
    ///
    /// # Errors
    /// When some of them were not.
    pub(crate) fn forwarded(&self) -> Result<u64, Box<dyn Error>> {
        self.meter.verdict()?;
        Ok(u64::try_from(self.meter.items())?)
    }
}
