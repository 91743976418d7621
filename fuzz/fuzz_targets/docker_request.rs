//! Whatever is sent to the Docker plugin's socket is a request or refused, and no request is longer than it says.
#![no_main]

use docker::http::{Head, MAX_BODY_BYTES, MAX_HEAD_BYTES};
use docker::protocol::{ipam, network};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(head)) = Head::parse(data) else { return };
    assert!(head.head_bytes <= data.len().min(MAX_HEAD_BYTES) && head.body_bytes <= MAX_BODY_BYTES);
    // Nothing that comes after the head changes it, and no part of it is one.
    assert_eq!(Head::parse(&data[..head.head_bytes]).ok().flatten().as_ref(), Some(&head));
    assert!(matches!(Head::parse(&data[..head.head_bytes - 1]), Ok(None)));
    let body = &data[head.head_bytes..];
    let _ = serde_json::from_slice::<ipam::RequestPool>(body);
    if let Ok(create) = serde_json::from_slice::<network::CreateNetwork>(body) {
        let _ = docker::options::NetworkOptions::read(&create.options);
    }
});
