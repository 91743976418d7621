//! Whatever a client sends is answered or refused, and applying it leaves a configuration that can be kept.
#![no_main]

use ctl::wire::{LineDecoder, parse_request, request_line};
use ctl::{Config, Request, apply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut decoder = LineDecoder::new(4096);
    let mut config = Config::default();
    for chunk in data.chunks(37) {
        decoder.push(chunk);
        while let Ok(Some(line)) = decoder.next_line() {
            let Ok(envelope) = parse_request(&line) else { continue };
            // What was understood can be said again.
            let _ = request_line(&envelope);
            if let Request::Mutation(mutation) = envelope.request {
                if let Ok(next) = apply(&config, &mutation) {
                    let kept = Config::from_json(next.to_json().as_bytes());
                    assert_eq!(kept.as_ref().ok(), Some(&next));
                    config = next;
                }
            }
        }
    }
});
