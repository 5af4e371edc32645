//! What is paid for and what is not, and frames that are cut anywhere.

use super::*;

fn frame(kind: u8, flags: u8, bytes: u32) -> Frame {
    Frame { kind, flags, bytes }
}

#[test]
fn frame_headers_are_found_however_the_bytes_are_cut() {
    let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frames = [frame(SETTINGS, 0, 6), frame(HEADERS, 5, 300), frame(DATA, END_STREAM, 0), frame(9, 4, 70_000)];
    for one in frames {
        stream.extend_from_slice(&one.bytes.to_be_bytes()[1..]);
        stream.extend_from_slice(&[one.kind, one.flags, 0, 0, 0, 1]);
        stream.extend(std::iter::repeat_n(0xff, one.bytes as usize));
    }
    for piece in [1, 2, 7, 9, 10, 4096, stream.len()] {
        let (mut found, mut reader) = (Vec::new(), Frames::after(PREFACE_BYTES));
        for bytes in stream.chunks(piece) {
            reader.feed(bytes, |frame| found.push(frame));
        }
        assert_eq!(found, frames, "in pieces of {piece}");
    }
}

#[test]
fn what_brings_nothing_is_paid_for_until_the_credit_is_spent_for_good() {
    let credit = Credit::new(&CoarseClock::default());
    for _ in 1..CREDIT_MAX {
        credit.received(frame(PING, 0, 8));
        assert!(!credit.is_spent());
    }
    credit.received(frame(PING, 0, 8));
    assert!(credit.is_spent());
    credit.sent(frame(DATA, 0, 16_384));
    assert!(credit.is_spent(), "whoever has spent it gets nothing back");
}

#[test]
fn a_download_pays_for_its_window_updates() {
    let credit = Credit::new(&CoarseClock::default());
    for _ in 0..10 * CREDIT_MAX {
        credit.sent(frame(DATA, 0, 100));
        credit.received(frame(8, 0, 4));
        credit.received(frame(8, 0, 4));
    }
    assert!(!credit.is_spent());
}

#[test]
fn what_is_of_use_costs_nothing() {
    let credit = Credit::new(&CoarseClock::default());
    for _ in 0..2 * CREDIT_MAX {
        credit.received(frame(HEADERS, 5, 100));
        credit.received(frame(DATA, 0, 1));
        credit.received(frame(DATA, END_STREAM, 0));
        credit.received(frame(SETTINGS, ACK, 0));
        credit.received(frame(PING, ACK, 8));
    }
    assert_eq!(credit.left.get(), CREDIT_MAX);
}

#[test]
fn time_gives_back() {
    let clock = CoarseClock::default();
    let credit = Credit::new(&clock);
    for second in 1..=100 {
        clock.advance(second);
        for _ in 0..CREDIT_A_SECOND {
            credit.received(frame(3, 0, 4));
        }
        assert!(!credit.is_spent(), "second {second}");
    }
}

#[test]
fn a_head_is_coming_from_its_first_byte_to_its_last() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let inside = [(HEADERS, 0, 5), (CONTINUATION, 0, 5), (CONTINUATION, END_HEADERS, 5)];
    let outside = [(DATA, 0, 5), (HEADERS, END_HEADERS, 0), (SETTINGS, 0, 0), (PING, 0, 8)];
    let mut expected = vec![false; bytes.len()];
    for (frames, is_open_after) in
        [(&inside[..], [true, true, false]), (&outside[..3], [false; 3]), (&outside[3..], [false; 3])]
    {
        for (&(kind, flags, length), is_open) in frames.iter().zip(is_open_after) {
            let is_head = matches!(kind, HEADERS | CONTINUATION);
            bytes.extend_from_slice(&[0, 0, length, kind, flags, 0, 0, 0, 1]);
            bytes.extend(std::iter::repeat_n(0xff, usize::from(length)));
            // Inside its own header; behind that until the payload is whole, where it is a head.
            expected.extend([true; HEADER_BYTES - 1]);
            expected.extend(std::iter::repeat_n(is_head, usize::from(length)));
            expected.push(is_open);
        }
    }
    let mut frames = Frames::after(PREFACE_BYTES);
    for (at, (byte, expected)) in bytes.iter().zip(expected).enumerate() {
        frames.feed(std::slice::from_ref(byte), |_| ());
        assert_eq!(frames.is_inside_head(), expected, "behind byte {at}");
    }
}
