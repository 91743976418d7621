//! What `ctl` can express and this daemon does not carry out yet. It is refused, here and nowhere else, so that
//! nothing is accepted that then does not happen. Whoever carries something out removes its line.

use ctl::{Config, CtlError, ErrorCode, Query};

/// Refuses a configuration of which a part is not carried out yet.
///
/// # Errors
/// [`CtlError`] with code `unavailable`.
pub fn refuse(config: &Config) -> Result<(), CtlError> {
    let parts = [
        (!config.vxlans.is_empty(), "VXLAN tunnels"),
    ];
    match parts.iter().find(|(is_there, _)| *is_there) {
        Some((_, part)) => Err(not_yet(part)),
        None => Ok(()),
    }
}

/// The refusal of a question about what is not carried out yet.
pub fn refuse_question(query: &Query) -> CtlError {
    not_yet(match query {
        Query::VxlanList | Query::VxlanShow(_) => "VXLAN tunnels",
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
            (r#"{"v":1,"op":"conn.flush","args":{}}"#, None),
            (
                r#"{"v":1,"op":"vxlan.add","args":{"name":"vx0","vxlan":{"bridge":"br0","vni":7,"local":"192.0.2.1"}}}"#,
                Some("VXLAN"),
            ),
        ];
        let mut config = Config::default();
        for (text, refused) in changes {
            let Request::Mutation(mutation) = request(text) else { panic!("{text}") };
            config = apply(&config, &mutation).unwrap();
            let error = refuse(&config).err();
            assert_eq!(error.is_some(), refused.is_some(), "{text}: {error:?}");
            if let (Some(error), Some(part)) = (error, refused) {
                assert_eq!(error.code, ErrorCode::Unavailable);
                assert!(error.message.contains(part), "{error}");
            }
        }
    }
}
