//! What can be asked and this daemon does not answer yet. It is refused here and nowhere else. Whoever answers
//! something removes its line.

use ctl::{CtlError, ErrorCode, Query};

/// The refusal of a question that is not answered yet.
pub fn refuse_question(query: &Query) -> CtlError {
    let part = match query {
        Query::Trace(_) => "`trace --live`",
        _ => "this question",
    };
    let message = format!("this vswitchd does not carry out {part} yet; use a later one");
    CtlError::new(ErrorCode::Unavailable, message)
}
