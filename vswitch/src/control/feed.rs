//! [`Feed`]: what a client is told piece by piece, until there is enough or it says no more.
//!
//! A client that is slow is told less: pieces are made only as it takes them, and what finds no room meanwhile is
//! counted where it comes from.

use std::time::Instant;

use ctl::{CtlError, ErrorCode};
use serde_json::Value;

use super::capture::Capture;
use super::explain::Live;
use super::switch::Switch;

/// Feeds at the same time.
const MOST: usize = 4;

/// What a client is told piece by piece.
#[derive(Debug)]
pub enum Feed {
    /// Captured frames.
    Capture(Box<Capture>),
    /// The ways of real packets.
    Live(Box<Live>),
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A piece.
    Piece(Value),
    /// Nothing, for now.
    Nothing,
    /// There is enough.
    Enough,
}

impl Feed {
    /// The next piece.
    pub fn next(&mut self, switch: &Switch) -> Next {
        match self {
            Self::Capture(capture) => capture.next(switch),
            Self::Live(live) => live.next(switch),
        }
    }

    /// When there is enough if nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Capture(_) => None,
            Self::Live(live) => Some(live.deadline()),
        }
    }

    /// Ends it. Returns the last pieces, and what became of the whole.
    pub fn end(self, switch: &mut Switch) -> (Vec<Value>, Result<Value, CtlError>) {
        match self {
            Self::Capture(capture) => capture.end(switch),
            Self::Live(live) => live.end(switch),
        }
    }
}

impl Switch {
    /// That there is room for one more feed.
    ///
    /// # Errors
    /// [`CtlError`], when there is none.
    pub(super) fn check_feeds(&self) -> Result<(), CtlError> {
        if self.fleet_ref().observers() < MOST {
            return Ok(());
        }
        let message = format!("{MOST} captures and live traces go on already; end one first");
        Err(CtlError::new(ErrorCode::Unavailable, message))
    }
}
