//! Cutting a byte stream into lines.

use ctl::wire::{LineDecoder, LineTooLong};
use proptest::collection::vec;
use proptest::prelude::*;

const LONGEST: usize = 8;

/// What a decoder makes of a stream that comes in these pieces.
fn decode(pieces: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, LineTooLong> {
    let mut decoder = LineDecoder::new(LONGEST);
    let mut lines = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(line) = decoder.next_line()? {
            lines.push(line);
        }
    }
    Ok(lines)
}

proptest! {
    #[test]
    fn lines_are_the_same_however_the_stream_is_cut_up(
        pieces in vec(vec(prop_oneof![Just(b'\n'), Just(b'a')], 0..6), 0..12),
    ) {
        let stream = pieces.concat();
        let mut expected: Vec<_> = stream.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let rest = expected.pop().unwrap();
        let too_long = expected.iter().chain([&rest]).any(|line| line.len() >= LONGEST);
        match decode(&pieces) {
            Ok(lines) => prop_assert_eq!((lines, too_long), (expected, false)),
            Err(error) => prop_assert_eq!((error.longest, too_long), (LONGEST, true)),
        }
    }
}

#[test]
fn a_line_may_have_just_so_many_bytes_with_its_newline() {
    assert_eq!(decode(&[b"1234567\n".to_vec()]), Ok(vec![b"1234567".to_vec()]));
    assert!(decode(&[b"12345678\n".to_vec()]).is_err());
    assert!(decode(&[b"12345678".to_vec()]).is_err());
}

#[test]
fn lines_before_one_that_is_too_long_are_still_heard() {
    let mut decoder = LineDecoder::new(LONGEST);
    decoder.push(b"ok\n123456789");
    assert_eq!(decoder.next_line(), Ok(Some(b"ok".to_vec())));
    assert!(decoder.next_line().is_err());
    decoder.push(b"\nok\n");
    assert!(decoder.next_line().is_err(), "the stream cannot be followed any further");
}

#[test]
fn it_knows_whether_a_line_has_begun() {
    let mut decoder = LineDecoder::new(LONGEST);
    assert!(!decoder.is_mid_line());
    decoder.push(b"a\nb");
    assert_eq!(decoder.next_line(), Ok(Some(b"a".to_vec())));
    assert!(decoder.is_mid_line());
    decoder.push(b"\n");
    assert_eq!(decoder.next_line(), Ok(Some(b"b".to_vec())));
    assert!(!decoder.is_mid_line());
}
