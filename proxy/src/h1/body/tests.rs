use super::{Decoder, Piece, for_each_trailer};
use crate::h1::{Reason, request::BodyLength};

/// What of `parts` is data, and what a next hop with chunks gets.
fn read(parts: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, Decoder, usize), Reason> {
    let mut decoder = Decoder::from(BodyLength::Chunked);
    let (mut data, mut kept, mut used) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        let mut rest = *part;
        loop {
            let (count, is_data, is_kept) = match decoder.next(rest)? {
                Piece::Data(count) => (count, true, true),
                Piece::Frame(count) => (count, false, true),
                Piece::Skip(count) => (count, false, false),
                Piece::More | Piece::End => break,
            };
            if is_data {
                data.extend_from_slice(&rest[..count]);
            }
            if is_kept {
                kept.extend_from_slice(&rest[..count]);
            }
            used += count;
            rest = &rest[count..];
        }
    }
    Ok((data, kept, decoder, used))
}

#[test]
fn chunks_are_read_alike_however_they_are_cut() {
    let body = b"5;a=\"b;c\"\r\nhello\r\n00A \t;x\r\n0123456789\r\n0\r\nX-Sum: 1\r\nhost: evil\r\n\r\nNEXT";
    let end = body.len() - 4;
    for first in 0..body.len() {
        for second in first..body.len() {
            let parts = [&body[..first], &body[first..second], &body[second..]];
            let (data, kept, decoder, used) = read(&parts).expect("it is well formed");
            assert_eq!(data, b"hello0123456789");
            assert_eq!(kept, b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n");
            assert_eq!((used, decoder.is_ended()), (end, true));
            let mut names = Vec::new();
            for_each_trailer(decoder.trailers(), |name, value, line| {
                names.push((name.to_owned(), value.to_vec(), line.to_vec()))
            });
            assert_eq!(names, [("X-Sum".to_owned(), b"1".to_vec(), b"X-Sum: 1\r\n".to_vec())]);
        }
    }
    let (_, kept, _, _) = read(&[b"1\r\na\r\n0\r\n\r\n"]).expect("it is well formed");
    assert_eq!(kept, b"1\r\na\r\n0\r\n\r\n");
}

#[test]
fn a_body_that_could_end_elsewhere_is_refused() {
    for (body, reason) in [
        ("\r\n", Reason::ChunkSize),
        ("x\r\n", Reason::ChunkSize),
        ("+5\r\n", Reason::ChunkSize),
        ("0x5\r\n", Reason::ChunkSize),
        (" 5\r\n", Reason::ChunkSize),
        ("5 \r\n", Reason::ChunkSize),
        ("5\n", Reason::ChunkSize),
        ("5\rx", Reason::ChunkSize),
        ("8000000000000000\r\n", Reason::ChunkSize),
        ("00000000000000001\r\n", Reason::ChunkSize),
        ("5;a\nb\r\n", Reason::ChunkExtension),
        ("1\r\nab", Reason::ChunkEnd),
        ("1\r\na\n", Reason::ChunkEnd),
        ("1\r\na\rx", Reason::ChunkEnd),
        ("0\r\n\n", Reason::LineEnd),
        ("0\r\na: b\n\r\n", Reason::LineEnd),
        ("0\r\na b\r\n\r\n", Reason::Trailer),
        ("0\r\n a: b\r\n\r\n", Reason::Trailer),
        ("0\r\na: b\r\n fold\r\n\r\n", Reason::Trailer),
    ] {
        assert_eq!(read(&[body.as_bytes()]).map(|_| ()).expect_err(body), reason, "{body:?}");
    }
    let extensions = format!("1;{}\r\n", "x".repeat(16 << 10));
    assert_eq!(read(&[extensions.as_bytes()]).map(|_| ()), Err(Reason::ChunkExtension));
    let trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(16 << 10));
    assert_eq!(read(&[trailers.as_bytes()]).map(|_| ()), Err(Reason::TrailersTooLarge));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(read(&[trailers.as_bytes()]).map(|_| ()), Err(Reason::TrailersTooLarge));
}
