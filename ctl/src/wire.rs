//! The control protocol: one JSON object per line, both ways. Documented in `docs/PROTOCOL.md`.
//!
//! Sans I/O: [`LineDecoder`] cuts a byte stream into lines of bounded length, [`parse_request`] and
//! [`response_line`] are the daemon's side, [`request_line`] and [`parse_response`] the client's. What comes in
//! pieces is in [`event_line`]s before the response; [`parse_reply`] reads either.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{CtlError, ErrorCode, Mutation, Query, Request};

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The longest request, in bytes, its newline included: enough for a hundred thousand rules.
pub const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// The longest response that the client accepts.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// Room that a [`LineDecoder`] keeps for the next line.
const KEPT_BYTES: usize = 64 * 1024;

/// A request with the number by which its response is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Chosen by the client, repeated in the response.
    pub id: u64,
    /// The request.
    pub request: Request,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    v: u32,
    #[serde(default)]
    id: u64,
    op: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// Fields that a later daemon may add are skipped.
#[derive(Serialize, Deserialize)]
struct RawResponse {
    v: u32,
    id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<CtlError>,
}

/// Reads a request. On failure the number is that of the request if it could be read, and 0 if not.
///
/// # Errors
/// [`CtlError`] with code `invalid` or `version`.
pub fn parse_request(line: &[u8]) -> Result<Envelope, (u64, CtlError)> {
    let no_request = |id, error: serde_json::Error| {
        (id, CtlError::invalid(format!("this is no request: {error}; see docs/PROTOCOL.md")))
    };
    // An object and nothing else: a struct would be read from an array as well.
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| no_request(0, error))?;
    let id = object.get("id").and_then(Value::as_u64).unwrap_or(0);
    // The version first: fields of a later one are not errors of this one.
    if let Some(found) = object.get("v").and_then(Value::as_u64)
        && found != u64::from(PROTOCOL_VERSION)
    {
        let message = format!(
            "the request speaks protocol version {found}, and this daemon version {PROTOCOL_VERSION}; \
             use the vswitchctl of the same release"
        );
        return Err((id, CtlError::new(ErrorCode::Version, message)));
    }
    let raw = RawRequest::deserialize(object).map_err(|error| no_request(id, error))?;
    let request = request_of(&raw.op, raw.args).map_err(|error| (id, error))?;
    Ok(Envelope { id, request })
}

fn request_of(op: &str, args: Value) -> Result<Request, CtlError> {
    if Mutation::OPERATIONS.contains(&op) {
        operation(op, args).map(Request::Mutation)
    } else if Query::OPERATIONS.contains(&op) {
        operation(op, args).map(Request::Query)
    } else {
        let all = [&Query::OPERATIONS[..], &Mutation::OPERATIONS].concat();
        let (op, all) = (short(op), all.join(", "));
        Err(CtlError::invalid(format!("there is no operation {op:?}; there are: {all}")))
    }
}

/// No arguments are the same as an empty object, whether or not the operation could have some.
fn operation<T: DeserializeOwned>(op: &str, args: Value) -> Result<T, CtlError> {
    let empty = args.is_null() || args.as_object().is_some_and(Map::is_empty);
    if empty && let Ok(bare) = T::deserialize(json!({ "op": op })) {
        return Ok(bare);
    }
    let args = if empty { json!({}) } else { args };
    if !args.is_object() {
        return Err(CtlError::invalid(format!("the arguments of {op} are no object")));
    }
    T::deserialize(json!({ "op": op, "args": args }))
        .map_err(|error| CtlError::invalid(format!("the arguments of {op} are not valid: {error}")))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Writes a request as a line, its newline included.
///
/// # Errors
/// [`CtlError`] with code `too_large`.
pub fn request_line(envelope: &Envelope) -> Result<Vec<u8>, CtlError> {
    let value = match &envelope.request {
        Request::Query(query) => serde_json::to_value(query),
        Request::Mutation(mutation) => serde_json::to_value(mutation),
    };
    let mut value = value.map_err(|error| CtlError::invalid(error.to_string()))?;
    let raw = RawRequest {
        v: PROTOCOL_VERSION,
        id: envelope.id,
        op: value["op"].as_str().unwrap_or_default().to_owned(),
        args: value["args"].take(),
    };
    let line = to_line(&raw);
    if line.len() > MAX_REQUEST_BYTES {
        let message =
            format!("the request has {} bytes; {MAX_REQUEST_BYTES} are the most", line.len());
        return Err(CtlError::new(ErrorCode::TooLarge, message));
    }
    Ok(line)
}

/// Writes a response as a line, its newline included.
pub fn response_line(id: u64, result: Result<Value, CtlError>) -> Vec<u8> {
    let (ok, error) = match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    };
    to_line(&RawResponse { v: PROTOCOL_VERSION, id, event: None, ok, error })
}

/// Writes a piece of what a request asks for as a line, its newline included. The response comes after the last.
pub fn event_line(id: u64, event: Value) -> Vec<u8> {
    to_line(&RawResponse { v: PROTOCOL_VERSION, id, event: Some(event), ok: None, error: None })
}

/// A line that is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// No JSON, or not of this form.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// Of another version of the protocol.
    #[error(
        "it is of protocol version {found}, and this program speaks version {PROTOCOL_VERSION}"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// A piece, where a whole is expected.
    #[error("it is a piece of an answer, and the whole was expected")]
    Piece,
}

/// What the daemon says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A piece of what it asks for.
    Event(Value),
    /// What became of it. Nothing follows.
    Response(Result<Value, CtlError>),
}

/// Reads what the daemon says: the number of the request, and what about it.
///
/// # Errors
/// [`BadResponse`].
pub fn parse_reply(line: &[u8]) -> Result<(u64, Reply), BadResponse> {
    let raw: RawResponse = serde_json::from_slice(line)?;
    let reply = match (raw.error, raw.event) {
        // Whatever the daemon's version, that it refused is worth knowing.
        (Some(error), _) => Reply::Response(Err(error)),
        _ if raw.v != PROTOCOL_VERSION => return Err(BadResponse::Version { found: raw.v }),
        (None, Some(event)) => Reply::Event(event),
        (None, None) => Reply::Response(Ok(raw.ok.unwrap_or_default())),
    };
    Ok((raw.id, reply))
}

/// Reads a response: its number, and what became of the request.
///
/// # Errors
/// [`BadResponse`].
pub fn parse_response(line: &[u8]) -> Result<(u64, Result<Value, CtlError>), BadResponse> {
    match parse_reply(line)? {
        (id, Reply::Response(result)) => Ok((id, result)),
        (_, Reply::Event(_)) => Err(BadResponse::Piece),
    }
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Serialising plain data with string keys into memory cannot fail.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Cuts a byte stream into lines. Every byte is searched once and moved at most twice, however the stream
/// is cut up.
#[derive(Debug)]
pub struct LineDecoder {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// How far newlines were looked for.
    searched: usize,
    longest: usize,
}

/// A line that is longer than a line may be. The stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than {longest} bytes")]
pub struct LineTooLong {
    /// The most bytes that a line may have.
    pub longest: usize,
}

impl LineDecoder {
    /// A decoder of lines of at most `longest` bytes, the newline included.
    pub fn new(longest: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, longest }
    }

    /// Takes the bytes that came next. Take all lines out before: what has not been taken is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            // One long line is no reason to keep the room for another.
            self.buffer = Vec::new();
        }
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its newline.
    ///
    /// # Errors
    /// [`LineTooLong`], from then on always.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map_or(self.buffer.len(), |at| self.searched + at);
        if end - self.start >= self.longest {
            return Err(LineTooLong { longest: self.longest });
        }
        self.searched = end;
        if found.is_none() {
            return Ok(None);
        }
        let line = self.buffer[self.start..end].to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Ok(Some(line))
    }

    /// The bytes that it holds, whether or not lines end in them.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a line has begun and not ended.
    pub fn is_mid_line(&self) -> bool {
        self.start < self.buffer.len()
    }
}
