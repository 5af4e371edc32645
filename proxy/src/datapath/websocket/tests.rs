use super::{Frames, going_away};

const TEXT: u8 = 0x81;
const FIRST: u8 = 0x01;
const MIDDLE: u8 = 0x00;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;

/// A frame, its length written in the shortest way.
fn frame(first: u8, mask: Option<[u8; 4]>, length: usize) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match length {
        0..=125 => frame.push(masked | length as u8),
        126..=0xffff => {
            frame.push(masked | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    // A payload that looks like close frames.
    frame.extend(std::iter::repeat_n(0x88, length));
    frame
}

/// Where in these bytes a walker that is given them `step` at a time sees a gap between frames, and one between messages.
fn gaps(bytes: &[u8], step: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut frames, mut at) = (Frames::default(), 0);
    let (mut between_frames, mut between_messages) = (Vec::new(), Vec::new());
    for part in bytes.chunks(step) {
        frames.pass(part);
        at += part.len();
        if frames.is_between_frames() {
            between_frames.push(at);
        }
        if frames.is_between_messages() {
            between_messages.push(at);
        }
    }
    (between_frames, between_messages)
}

#[test]
fn a_frame_of_every_form_of_length_ends_where_it_ends() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let frame = frame(TEXT, mask, length);
            assert_eq!(gaps(&frame, 1), (vec![frame.len()], vec![frame.len()]), "{length} {mask:?}");
        }
    }
}

#[test]
fn a_stream_that_is_split_anywhere_is_the_same_stream() {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    let frames = [
        (TEXT, 3, true),
        (FIRST, 300, false),
        (PING, 125, false),
        (MIDDLE, 0, false),
        (PING, 0, false),
        (LAST, 126, true),
        (PING, 4, true),
    ];
    for (index, (first, length, is_gap)) in frames.into_iter().enumerate() {
        let mask = (index % 2 == 0).then_some([0x88, 0x7f, 0xff, 0]);
        bytes.extend(frame(first, mask, length));
        ends.push((bytes.len(), is_gap));
    }
    let all: Vec<_> = ends.iter().map(|(end, _)| *end).collect();
    let of_messages: Vec<_> = ends.iter().filter(|(_, is_gap)| *is_gap).map(|(end, _)| *end).collect();
    assert_eq!(gaps(&bytes, 1), (all, of_messages.clone()));
    for split in 0..=bytes.len() {
        let mut frames = Frames::default();
        frames.pass(&bytes[..split]);
        let next = of_messages.iter().find(|end| **end >= split).copied();
        let next = if split == 0 { Some(0) } else { next };
        assert_eq!(split + frames.pass_to_gap(&bytes[split..]), next.unwrap_or(bytes.len()), "split at {split}");
        assert!(frames.is_between_messages() && !frames.is_closed(), "split at {split}");
    }
}

#[test]
fn behind_a_close_frame_nothing_is_said() {
    for mask in [None, Some([9, 8, 7, 6])] {
        let bytes = [frame(TEXT, mask, 5), going_away(mask), frame(TEXT, mask, 5)].concat();
        let before = frame(TEXT, mask, 5).len();
        assert_eq!(gaps(&bytes, 1), (vec![before], vec![before]));
        let mut frames = Frames::default();
        frames.pass(&bytes);
        assert!(frames.is_closed());
    }
    // Without a code, and one that is not whole yet.
    let mut frames = Frames::default();
    frames.pass(&[0x88]);
    assert!(!frames.is_closed() && !frames.is_between_frames());
    frames.pass(&[0]);
    assert!(frames.is_closed());
}

#[test]
fn what_is_no_frame_has_no_gap_behind_it() {
    let hostile: [&[u8]; 5] = [
        // The highest bit of the length.
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // Control frames that are long, or have parts.
        &[0x89, 126, 0, 125 + 1],
        &[0x88, 127, 0, 0, 0, 0, 0, 0, 0, 126],
        &[0x09, 0],
    ];
    for bytes in hostile {
        let bytes = [bytes, &[0x81, 0, 0x88, 0]].concat();
        assert_eq!(gaps(&bytes, 1), (vec![], vec![]), "{bytes:?}");
        let mut frames = Frames::default();
        assert_eq!(frames.pass_to_gap(&frame(TEXT, None, 0)), 0, "it begins between two messages");
        frames.pass(&bytes);
        assert_eq!(frames.pass_to_gap(&bytes), bytes.len());
        assert!(!frames.is_closed());
    }
}

#[test]
fn the_longest_length_is_counted_and_not_held() {
    let mut frames = Frames::default();
    frames.pass(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    frames.pass(&[0; 4096]);
    assert!(!frames.is_between_frames());
}

#[test]
fn a_length_that_is_longer_than_it_need_be_is_a_length() {
    let bytes = [&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 7][..], &[0x82, 126, 0, 1, 7]].concat();
    assert_eq!(gaps(&bytes, 1).0, [11, 16]);
}

#[test]
fn a_close_frame_says_1001_and_is_masked_by_a_client() {
    assert_eq!(going_away(None), [0x88, 2, 0x03, 0xe9]);
    let mask = [0xa1, 0xb2, 0xc3, 0xd4];
    assert_eq!(going_away(Some(mask)), [0x88, 0x82, 0xa1, 0xb2, 0xc3, 0xd4, 0x03 ^ 0xa1, 0xe9 ^ 0xb2]);
}
