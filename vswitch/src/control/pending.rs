//! What `ctl` can express and this daemon does not carry out yet. It is refused, here and nowhere else, so that
//! nothing is accepted that then does not happen. Whoever carries something out removes its line.

use ctl::{Bridge, Config, CtlError, ErrorCode, Mutation, NatRule, Query};

/// Refuses a change whose result, or which itself, is not carried out yet.
///
/// # Errors
/// [`CtlError`] with code `unavailable`.
pub fn refuse_change(mutation: &Mutation, next: &Config) -> Result<(), CtlError> {
    match mutation {
        Mutation::NeighborDel(_) | Mutation::NeighborFlush(_) => Err(not_yet("neighbours")),
        Mutation::ConnFlush(_) => Err(not_yet("sessions")),
        _ => refuse(next),
    }
}

/// Refuses a configuration of which a part is not carried out yet.
///
/// # Errors
/// [`CtlError`] with code `unavailable`.
pub fn refuse(config: &Config) -> Result<(), CtlError> {
    let bridge = |has: fn(&Bridge) -> bool| config.bridges.values().any(has);
    let parts = [
        (bridge(|bridge| bridge.advertise.is_some()), "router advertisements"),
        (bridge(|bridge| !bridge.neighbors.is_empty()), "neighbours"),
        (config.nat.values().any(is_prefix), "prefix translation"),
    ];
    match parts.iter().find(|(is_there, _)| *is_there) {
        Some((_, part)) => Err(not_yet(part)),
        None => Ok(()),
    }
}

fn is_prefix(rule: &NatRule) -> bool {
    matches!(rule, NatRule::Prefix(_))
}

/// The refusal of a question about what is not carried out yet.
pub fn refuse_question(query: &Query) -> CtlError {
    not_yet(match query {
        Query::RouteList => "routes",
        Query::NeighborShow(_) => "neighbours",
        Query::NatList => "address translation",
        Query::NatSettings | Query::ConnList(_) | Query::ConnShow(_) | Query::ConnTop(_) => {
            "sessions"
        }
        Query::Trace(_) => "`trace`",
        Query::Why(_) => "`why`",
        _ => "this question",
    })
}

fn not_yet(part: &str) -> CtlError {
    let message = format!("this vswitchd does not carry out {part} yet; use a later one");
    CtlError::new(ErrorCode::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctl::wire::parse_request;
    use ctl::{Request, apply};

    fn request(text: &str) -> Request {
        parse_request(text.as_bytes()).unwrap().request
    }

    #[test]
    fn what_is_not_carried_out_is_refused_and_what_is_is_not() {
        let changes = [
            (r#"{"v":1,"op":"bridge.add","args":{"name":"br0"}}"#, None),
            (r#"{"v":1,"op":"conn.flush"}"#, Some("sessions")),
        ];
        for (text, refused) in changes {
            let Request::Mutation(mutation) = request(text) else { panic!("{text}") };
            let next = apply(&Config::default(), &mutation).unwrap();
            let error = refuse_change(&mutation, &next).err();
            assert_eq!(error.is_some(), refused.is_some(), "{text}: {error:?}");
            if let (Some(error), Some(part)) = (error, refused) {
                assert_eq!(error.code, ErrorCode::Unavailable);
                assert!(error.message.contains(part), "{error}");
            }
        }
    }
}
