//! The control protocol: one JSON object per line, both ways. Documented in `docs/PROTOCOL.md`.
//!
//! Sans I/O: [`LineDecoder`] cuts a byte stream into lines of bounded length, [`parse_request`] and
//! [`response_line`] are the daemon's side, [`request_line`] and [`parse_response`] the client's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::MUTATIONS;
use crate::{CtlError, ErrorCode, Mutation, Query, Request};

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The longest request, in bytes, its newline included.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The longest response that the client accepts.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResponse {
    v: u32,
    id: u64,
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
    let raw: RawRequest = serde_json::from_slice(line).map_err(|error| {
        let message = format!("this is no request: {error}; see docs/PROTOCOL.md");
        (request_id(line), CtlError::invalid(message))
    })?;
    let id = raw.id;
    if raw.v != PROTOCOL_VERSION {
        let message = format!(
            "the request speaks protocol version {}, and this daemon version {PROTOCOL_VERSION}; \
             use the vswitchctl of the same release",
            raw.v
        );
        return Err((id, CtlError::new(ErrorCode::Version, message)));
    }
    let request = request_of(&raw.op, raw.args).map_err(|error| {
        (id, CtlError::invalid(format!("request {:?} is not valid: {error}", short(&raw.op))))
    })?;
    Ok(Envelope { id, request })
}

fn request_of(op: &str, args: Value) -> Result<Request, serde_json::Error> {
    let mut object = serde_json::Map::new();
    object.insert("op".to_owned(), Value::String(op.to_owned()));
    if !args.is_null() {
        object.insert("args".to_owned(), args);
    }
    let object = Value::Object(object);
    if MUTATIONS.contains(&op) {
        Mutation::deserialize(object).map(Request::Mutation)
    } else {
        Query::deserialize(object).map(Request::Query)
    }
}

/// The number of a request that is otherwise not understood.
fn request_id(line: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Id {
        id: u64,
    }
    serde_json::from_slice(line).map_or(0, |Id { id }| id)
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
    to_line(&RawResponse { v: PROTOCOL_VERSION, id, ok, error })
}

/// Reads a response: its number, and what became of the request.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_response(line: &[u8]) -> Result<(u64, Result<Value, CtlError>), serde_json::Error> {
    let raw: RawResponse = serde_json::from_slice(line)?;
    Ok((raw.id, raw.error.map_or(Ok(raw.ok.unwrap_or_default()), Err)))
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Serialising plain data with string keys into memory cannot fail.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct LineDecoder {
    buffer: Vec<u8>,
    /// Bytes at the front in which no newline was found.
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
        Self { buffer: Vec::new(), searched: 0, longest }
    }

    /// Takes the bytes that came next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its newline.
    ///
    /// # Errors
    /// [`LineTooLong`].
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let too_long = LineTooLong { longest: self.longest };
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(at) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return if self.searched >= self.longest { Err(too_long) } else { Ok(None) };
        };
        if at >= self.longest {
            return Err(too_long);
        }
        let rest = self.buffer.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }

    /// Whether a line has begun and not ended.
    pub fn is_mid_line(&self) -> bool {
        !self.buffer.is_empty()
    }
}
