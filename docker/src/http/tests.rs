use super::*;

fn parse(text: &str) -> Result<Option<Head>, Refusal> {
    Head::parse(text.as_bytes())
}

fn status_of(text: &str) -> Option<Status> {
    parse(text).err().map(|refusal| refusal.status)
}

#[test]
fn a_request_of_dockerd_is_read() {
    let text = "POST /NetworkDriver.Join HTTP/1.1\r\nHost: %2Frun%2Fvswitch.sock\r\nUser-Agent: Go-http-client/1.1\r\n\
                Content-Length: 7\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n";
    let body = "{\"a\":1}";
    let head = parse(&format!("{text}{body}")).unwrap().unwrap();
    assert_eq!(head.path, "/NetworkDriver.Join");
    assert_eq!((head.head_bytes, head.body_bytes), (text.len(), 7));
    // The rest of it is waited for, wherever it is cut.
    assert!((0..text.len()).all(|end| parse(&text[..end]) == Ok(None)));
}

#[test]
fn a_head_that_is_not_understood_is_refused_with_the_status_that_says_why() {
    let long = format!("POST /x HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
    let endless = "POST /x HTTP/1.1\r\nX: ".to_owned() + &"y".repeat(MAX_HEAD_BYTES);
    let many = format!("POST /x HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
    let cases = [
        ("nonsense\r\n\r\n", Status::BadRequest),
        ("POST /x HTTP/2.0\r\n\r\n", Status::BadRequest),
        ("POST /x\r\n\r\n", Status::BadRequest),
        ("GET /Plugin.Activate HTTP/1.1\r\n\r\n", Status::MethodNotAllowed),
        ("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Status::LengthRequired),
        ("POST /x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", Status::ContentTooLarge),
        (
            "POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            Status::ContentTooLarge,
        ),
        ("POST /x HTTP/1.1\r\nContent-Length: +7\r\n\r\n", Status::BadRequest),
        ("POST /x HTTP/1.1\r\nContent-Length: \r\n\r\n", Status::BadRequest),
        ("POST /x HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n", Status::BadRequest),
        (&long, Status::HeadTooLarge),
        (&endless, Status::HeadTooLarge),
        (&many, Status::HeadTooLarge),
    ];
    for (text, status) in cases {
        let start = &text[..text.len().min(60)];
        assert_eq!(status_of(text), Some(status), "{start:?}");
    }
}

#[test]
fn a_query_is_no_part_of_the_path() {
    let head = parse("POST /NetworkDriver.Join?x=/y HTTP/1.1\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.path, "/NetworkDriver.Join");
}

#[test]
fn a_response_says_how_long_it_is_and_that_it_is_the_last() {
    let mut written = Vec::new();
    respond(&mut written, Status::NotFound, b"{}").unwrap();
    let text = String::from_utf8(written).unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
    assert!(text.contains("\r\nContent-Length: 2\r\n"), "{text}");
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n{}"), "{text}");
}
