//! As much of HTTP/1.1 (RFC 9112) as an engine needs to talk to its plugin: a request with a body of known length on each
//! connection. Pure, and the one place where bytes of others are looked at before they are JSON: heads and bodies are
//! bounded, and what is not understood is refused.
//!
//! No connection is kept for the next request. dockerd writes the body of its request to the one that it kept, learns only then
//! that the plugin was restarted meanwhile, and repeats the request without the body, which it has no more. A connection that
//! it cannot make it tries again, with everything (`pkg/plugins/client.go` of moby).

use std::io::{self, Write};

/// The most bytes of a request line and its header fields.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most bytes of a body. The longest one of an engine lists the published ports of one container.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// What plugins and engines of this version of the protocol say that they speak.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The request was understood. Whether it was carried out, the body says.
    Ok,
    /// The request is not understood.
    BadRequest,
    /// There is no such method in the protocol: an engine takes it for one that need not be there.
    NotFound,
    /// Another verb than POST.
    MethodNotAllowed,
    /// The body's length is not given.
    LengthRequired,
    /// The body is longer than [`MAX_BODY_BYTES`].
    ContentTooLarge,
    /// The head is longer than [`MAX_HEAD_BYTES`].
    HeadTooLarge,
    /// As many connections are open as there may be.
    Unavailable,
}

impl Status {
    /// Its number and words (RFC 9110, section 15; RFC 6585, section 5).
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::LengthRequired => "411 Length Required",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The bytes that it takes, up to the body.
    pub head_bytes: usize,
    /// The bytes of the body.
    pub body_bytes: usize,
    /// `/NetworkDriver.Join`, without a query.
    pub path: String,
}

/// Why a request is refused before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What is answered.
    pub status: Status,
    /// Why.
    pub why: &'static str,
}

impl Head {
    /// Reads the head at the beginning of `bytes`; `None` when its end is not there yet.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let head_bytes = match request.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= MAX_HEAD_BYTES => {
                head_bytes
            }
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
            Ok(_) => return refuse(Status::HeadTooLarge, "the head of the request is too long"),
            Err(httparse::Error::TooManyHeaders) => {
                return refuse(Status::HeadTooLarge, "the request has too many header fields");
            }
            Err(_) => return refuse(Status::BadRequest, "this is no HTTP/1.1 request"),
        };
        if request.method != Some("POST") {
            return refuse(Status::MethodNotAllowed, "every method of the protocol is a POST");
        }
        let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
        Ok(Some(Self {
            head_bytes,
            body_bytes: body_bytes(request.headers)?,
            path: path.to_owned(),
        }))
    }
}

fn refuse<T>(status: Status, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

/// The length of the body (RFC 9112, section 6.3). A length that is given twice is one of two messages to two
/// readers, and nobody's here.
fn body_bytes(fields: &[httparse::Header<'_>]) -> Result<usize, Refusal> {
    let named = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    if named("transfer-encoding").next().is_some() {
        return refuse(Status::LengthRequired, "give the body's length; it is not read in chunks");
    }
    let mut lengths = named("content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(0),
        (Some(_), Some(_)) => refuse(Status::BadRequest, "the body's length is given twice"),
        (Some(length), None) => match digits(length.value) {
            Some(bytes) if bytes <= MAX_BODY_BYTES => Ok(bytes),
            Some(_) => refuse(Status::ContentTooLarge, "the body of the request is too long"),
            None => refuse(Status::BadRequest, "the body's length is no number"),
        },
    }
}

/// A number of digits only; one that no memory could hold is the largest.
fn digits(text: &[u8]) -> Option<usize> {
    let text = str::from_utf8(text).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

/// Writes the response, with a JSON body, after which the connection ends.
///
/// # Errors
/// The connection's.
pub fn respond(to: &mut impl Write, status: Status, body: &[u8]) -> io::Result<()> {
    let allow = if status == Status::MethodNotAllowed { "Allow: POST\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    to.write_all(&[head.as_bytes(), body].concat())
}

#[cfg(test)]
mod tests;
