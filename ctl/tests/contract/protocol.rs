//! `docs/PROTOCOL.md` says what is so: its examples are requests and responses, and nothing is left out.

use ctl::response::{
    BridgeInfo, CaptureInfo, CapturePiece, Changed, ConnInfo, ConnPage, DropInfo, FdbInfo,
    FlowPage, FollowInfo, LeaseInfo, NatInfo, NeighborInfo, NetworkInfo, PortInfo, Routes,
    ServiceInfo, Stats, Status, TopInfo, TraceInfo, UnusedInfo, Version, VxlanInfo, WhyInfo,
    WorkerPerf,
};
use ctl::wire::{Envelope, Reply, parse_reply, parse_request};
use ctl::{CtlError, ErrorCode, Mutation, Query, Request, Trace, Tracking};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");
const CODES: [ErrorCode; 10] = [
    ErrorCode::Invalid,
    ErrorCode::NotFound,
    ErrorCode::Exists,
    ErrorCode::InUse,
    ErrorCode::Denied,
    ErrorCode::Host,
    ErrorCode::TooLarge,
    ErrorCode::Version,
    ErrorCode::Unavailable,
    ErrorCode::Internal,
];

/// A request (`→`) or a response (`←`) of the document.
enum Line {
    Request(String),
    Response(String),
}

/// The examples. A response may go on over several lines.
fn examples() -> Vec<Line> {
    let mut lines = Vec::new();
    let mut inside = false;
    for text in DOCUMENT.lines() {
        if text.starts_with("```") {
            inside = text == "```text";
            continue;
        }
        if let Some(request) = text.strip_prefix("→ ") {
            lines.push(Line::Request(request.to_owned()));
        } else if let Some(response) = text.strip_prefix("← ") {
            lines.push(Line::Response(response.to_owned()));
        } else if inside && let Some(Line::Response(response)) = lines.last_mut() {
            response.push_str(text);
        }
    }
    lines
}

/// Each request of the document that is one, with the answer below it.
fn exchanges() -> Vec<(Request, Result<Value, CtlError>)> {
    let mut exchanges = Vec::new();
    let mut asked = None;
    for line in examples() {
        match line {
            Line::Request(text) => {
                let envelope = parse_request(text.as_bytes());
                asked = Some(envelope.unwrap_or_else(|error| panic!("{text}: {error:?}")));
            }
            Line::Response(text) => {
                let parsed = parse_reply(text.as_bytes());
                let (id, reply) = parsed.unwrap_or_else(|error| panic!("{text}: {error}"));
                let result = match reply {
                    Reply::Event(event) => {
                        check_event(asked.as_ref(), id, &event);
                        continue;
                    }
                    Reply::Response(result) => result,
                };
                let envelope = asked.take().unwrap_or_else(|| panic!("nobody asked: {text}"));
                assert_eq!(id, envelope.id, "{text}");
                exchanges.push((envelope.request, result));
            }
        }
    }
    exchanges
}

fn check_event(asked: Option<&Envelope>, id: u64, event: &Value) {
    let asked = asked.filter(|envelope| envelope.id == id);
    match asked.map(|envelope| &envelope.request) {
        Some(Request::Query(Query::Trace(_))) => is_a::<TraceInfo>(event),
        Some(Request::Query(Query::Capture(_))) => is_a::<CapturePiece>(event),
        other => panic!("an event for {other:?}: {event}"),
    }
}

/// That an answer has all fields of its type and no others.
fn is_a<T: Serialize + DeserializeOwned>(answer: &Value) {
    let typed: T =
        serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(serde_json::to_value(typed).unwrap(), *answer);
}

fn check_answer(request: &Request, answer: &Value) {
    match request {
        Request::Mutation(_) => is_a::<Changed>(answer),
        Request::Query(Query::BridgeList) => is_a::<Vec<BridgeInfo>>(answer),
        Request::Query(Query::BridgeShow(_)) => is_a::<BridgeInfo>(answer),
        Request::Query(Query::PortList(_)) => is_a::<Vec<PortInfo>>(answer),
        Request::Query(Query::PortShow(_)) => is_a::<PortInfo>(answer),
        Request::Query(Query::FdbShow(_)) => is_a::<Vec<FdbInfo>>(answer),
        Request::Query(Query::RouteList) => is_a::<Routes>(answer),
        Request::Query(Query::NeighborShow(_)) => is_a::<Vec<NeighborInfo>>(answer),
        Request::Query(Query::VxlanList) => is_a::<Vec<VxlanInfo>>(answer),
        Request::Query(Query::VxlanShow(_)) => is_a::<VxlanInfo>(answer),
        Request::Query(Query::NetworkList) => is_a::<Vec<NetworkInfo>>(answer),
        Request::Query(Query::NetworkInspect(_)) => is_a::<NetworkInfo>(answer),
        Request::Query(Query::IpamList(_)) => is_a::<Vec<LeaseInfo>>(answer),
        Request::Query(Query::IpamAudit(_)) => is_a::<UnusedInfo>(answer),
        Request::Query(Query::NatList) => is_a::<Vec<NatInfo>>(answer),
        Request::Query(Query::NatSettings) => is_a::<Tracking>(answer),
        Request::Query(Query::ServiceList) => is_a::<Vec<ServiceInfo>>(answer),
        Request::Query(Query::ServiceShow(_)) => is_a::<ServiceInfo>(answer),
        Request::Query(Query::ConnList(_)) => is_a::<ConnPage>(answer),
        Request::Query(Query::ConnShow(_)) => is_a::<ConnInfo>(answer),
        Request::Query(Query::ConnTop(_)) => is_a::<Vec<TopInfo>>(answer),
        Request::Query(Query::FlowList(_)) => is_a::<FlowPage>(answer),
        Request::Query(Query::Trace(Trace { live: Some(_), .. })) => is_a::<FollowInfo>(answer),
        Request::Query(Query::Trace(_)) => is_a::<Vec<TraceInfo>>(answer),
        Request::Query(Query::Capture(_)) => is_a::<CaptureInfo>(answer),
        Request::Query(Query::Why(_)) => is_a::<WhyInfo>(answer),
        Request::Query(Query::Stats(_)) => is_a::<Stats>(answer),
        Request::Query(Query::Drops(_)) => is_a::<Vec<DropInfo>>(answer),
        Request::Query(Query::Perf) => is_a::<Vec<WorkerPerf>>(answer),
        Request::Query(Query::Status) => is_a::<Status>(answer),
        Request::Query(Query::Version) => is_a::<Version>(answer),
    }
}

#[test]
fn every_answer_in_the_document_is_of_its_form() {
    let exchanges = exchanges();
    assert!(!exchanges.is_empty());
    for (request, result) in exchanges {
        if let Ok(answer) = result {
            check_answer(&request, &answer);
        }
    }
}

#[test]
fn every_operation_is_shown_with_an_answer() {
    let shown: Vec<String> = exchanges()
        .into_iter()
        .filter(|(_, result)| result.is_ok())
        .map(|(request, _)| match request {
            Request::Query(query) => serde_json::to_value(query).unwrap(),
            Request::Mutation(mutation) => serde_json::to_value(mutation).unwrap(),
        })
        .map(|request| request["op"].as_str().unwrap().to_owned())
        .collect();
    for op in Query::OPERATIONS.iter().chain(&Mutation::OPERATIONS) {
        assert!(shown.iter().any(|name| name == op), "{op} is not shown");
    }
}

#[test]
fn every_error_code_is_listed_with_its_exit_code() {
    for code in CODES {
        let name = serde_json::to_value(code).unwrap();
        let row = format!("| `{}` | {} |", name.as_str().unwrap(), code.exit_code());
        assert!(DOCUMENT.contains(&row), "no row {row}");
    }
}

#[test]
fn the_limits_are_the_ones_in_force() {
    let mib = ctl::wire::MAX_REQUEST_BYTES / (1024 * 1024);
    assert!(DOCUMENT.contains(&format!("{mib} MiB")));
    assert!(DOCUMENT.contains(ctl::DEFAULT_SOCKET));
}
