//! Requests and responses as lines.

use ctl::wire::{
    Envelope, MAX_REQUEST_BYTES, parse_request, parse_response, request_line, response_line,
};
use ctl::{CtlError, ErrorCode, Mutation, Query, Request};
use proptest::prelude::*;
use serde_json::json;

use crate::arbitrary;

proptest! {
    #[test]
    fn a_request_survives_the_wire(request in arbitrary::request(), id in any::<u64>()) {
        let envelope = Envelope { id, request };
        let line = request_line(&envelope).unwrap();
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(parse_request(line.strip_suffix(b"\n").unwrap()).unwrap(), envelope);
    }

    #[test]
    fn a_response_survives_the_wire(id in any::<u64>(), message in any::<String>()) {
        for result in [Ok(json!({ "changed": true })), Err(CtlError::not_found(message.clone()))] {
            let line = response_line(id, result.clone());
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(parse_response(&line).unwrap(), (id, result));
        }
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in any::<Vec<u8>>()) {
        prop_assert!(parse_request(&bytes).is_err());
        prop_assert!(parse_response(&bytes).is_err());
    }

    /// One flipped or missing byte in a sound request.
    #[test]
    fn a_damaged_request_gets_an_answer(
        request in arbitrary::request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut line = request_line(&Envelope { id: 1, request }).unwrap();
        let at = at.index(line.len());
        if cut { line.truncate(at) } else { line[at] = byte }
        if let Err((_, error)) = parse_request(&line) {
            prop_assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::Version));
        }
    }
}

fn refusal(line: &[u8]) -> (u64, CtlError) {
    parse_request(line).expect_err(&String::from_utf8_lossy(line))
}

#[test]
fn a_request_that_is_none_is_refused_with_the_reason() {
    let cases: [(&[u8], u64, ErrorCode, &str); 17] = [
        (b"", 0, ErrorCode::Invalid, "EOF"),
        (b"{", 0, ErrorCode::Invalid, "EOF"),
        (b"[1]", 0, ErrorCode::Invalid, "no request"),
        (br#"[1,7,"status",{}]"#, 0, ErrorCode::Invalid, "no request"),
        (b"\xff\xfe", 0, ErrorCode::Invalid, "no request"),
        (b"{\"v\":1,\"id\":7,\"op\":\"\xff\"}", 0, ErrorCode::Invalid, "no request"),
        (br#"{"id":7,"op":"status"}"#, 7, ErrorCode::Invalid, "missing field `v`"),
        (br#"{"v":1,"id":7}"#, 7, ErrorCode::Invalid, "missing field `op`"),
        (br#"{"v":1,"id":-7,"op":"status"}"#, 0, ErrorCode::Invalid, "invalid value"),
        (br#"{"v":2,"id":7,"do":"status"}"#, 7, ErrorCode::Version, "protocol version 2"),
        (br#"{"v":1,"id":7,"op":"status","arg":{}}"#, 7, ErrorCode::Invalid, "unknown field `arg`"),
        (br#"{"v":1,"id":7,"op":"bridge.ad"}"#, 7, ErrorCode::Invalid, "there are: bridge.list"),
        (br#"{"v":1,"id":7,"op":"bridge.add"}"#, 7, ErrorCode::Invalid, "missing field `name`"),
        (
            br#"{"v":1,"id":7,"op":"bridge.add","args":{"name":"br0","mut":1500}}"#,
            7,
            ErrorCode::Invalid,
            "unknown field `mut`",
        ),
        (
            br#"{"v":1,"id":7,"op":"bridge.add","args":{"name":"b r"}}"#,
            7,
            ErrorCode::Invalid,
            "\"b r\" is no bridge name",
        ),
        (br#"{"v":1,"id":7,"op":"bridge.add","args":["br0"]}"#, 7, ErrorCode::Invalid, "no object"),
        (br#"{"v":1,"id":7,"op":"stats","args":{"port":"p0"}}"#, 7, ErrorCode::Invalid, "stats"),
    ];
    for (line, id, code, part) in cases {
        let (found, error) = refusal(line);
        assert_eq!((found, error.code), (id, code), "{error}");
        assert!(error.message.contains(part), "{}: {error}", String::from_utf8_lossy(line));
    }
}

#[test]
fn arguments_nested_without_end_are_refused() {
    let mut line = br#"{"v":1,"op":"attach","args":"#.to_vec();
    line.resize(MAX_REQUEST_BYTES, b'[');
    assert_eq!(refusal(&line).1.code, ErrorCode::Invalid);
}

#[test]
fn an_error_repeats_no_more_than_a_little_of_what_was_wrong() {
    let op = "x".repeat(60_000);
    let error = refusal(format!(r#"{{"v":1,"op":"{op}"}}"#).as_bytes()).1;
    assert!(error.message.len() < 1000);
}

#[test]
fn no_arguments_are_the_same_as_empty_ones() {
    let request = |args: &str| {
        let line = |op: &str| format!(r#"{{"v":1,"op":"{op}"{args}}}"#);
        ["stats", "fdb.show"].map(|op| parse_request(line(op).as_bytes()).unwrap().request)
    };
    let expected =
        [Request::Query(Query::stats()), Request::Query(Query::FdbShow(ctl::FdbFilter::default()))];
    for args in ["", r#","args":{}"#, r#","args":null"#] {
        assert_eq!(request(args), expected, "{args}");
    }
}

#[test]
fn the_client_need_not_number_its_requests() {
    assert_eq!(parse_request(br#"{"v":1,"op":"version"}"#).unwrap().id, 0);
}

#[test]
fn a_request_that_is_too_long_is_not_sent() {
    let text = r#"{"netns":"x","bridge":"br0"}"#;
    let mut attach: ctl::Attach = serde_json::from_str(text).unwrap();
    attach.ips = vec!["10.0.0.2/24".parse().unwrap(); MAX_REQUEST_BYTES / 14];
    let request = Request::Mutation(Mutation::Attach(attach));
    assert_eq!(request_line(&Envelope { id: 1, request }).unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn a_request_has_room_for_a_hundred_thousand_rules() {
    let rule = "100 in_port=web-4711-eth0,tcp,src={10.0.0.0/8,192.168.0.0/16},dport={22,80-90},state=new \
                mirror:ids,limit:1000pps:per-source,allow idle_timeout=300";
    let rules = vec![rule.parse().unwrap(); 100_000];
    let request = Request::Mutation(Mutation::FlowReplace(ctl::FlowReplace { rules }));
    assert!(request_line(&Envelope { id: 1, request }).is_ok());
}

#[test]
fn a_response_may_have_more_fields_than_this_version_knows() {
    let line = br#"{"v":1,"id":7,"ok":{"changed":true},"took_ns":5}"#;
    assert_eq!(parse_response(line).unwrap(), (7, Ok(json!({ "changed": true }))));
}

#[test]
fn a_response_of_another_version_is_only_heard_when_it_is_an_error() {
    assert!(parse_response(br#"{"v":2,"id":7,"ok":{}}"#).is_err());
    let error = br#"{"v":2,"id":7,"error":{"code":"version","message":"no"}}"#;
    assert_eq!(parse_response(error).unwrap().1.unwrap_err().code, ErrorCode::Version);
}
