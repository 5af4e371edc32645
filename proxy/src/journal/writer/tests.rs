//! Against sinks that take everything, nothing, and break.

use std::io::{self, Read as _, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Counts, RING_BYTES_MAX, Writer};

/// Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not in {DEADLINE:?}");
        std::thread::yield_now();
    }
}

#[test]
fn lines_of_every_worker_are_written_whole_and_in_their_order() {
    let kept = Kept::default();
    let writer = Writer::start(3, Box::new(kept.clone())).expect("a thread");
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let ring = writer.ring(worker);
            scope.spawn(move || {
                for number in 0..1000 {
                    ring.push(|line| line.push_str(&format!("{worker} {number}\n")));
                }
            });
        }
    });
    assert!(writer.finish());
    let text = String::from_utf8(kept.0.lock().expect("nobody panicked").clone()).expect("text");
    for worker in ["0 ", "1 ", "2 "] {
        let numbers: Vec<usize> = text.lines().filter_map(|line| line.strip_prefix(worker)?.parse().ok()).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }
    assert_eq!(writer.counts(), Counts { lines: 3000, dropped: 0, failed: 0 });
}

#[test]
fn a_line_is_written_without_another_that_follows() {
    let kept = Kept::default();
    let writer = Writer::start(1, Box::new(kept.clone())).expect("a thread");
    for expected in ["a", "ab", "abc"] {
        writer.ring(0).push(|line| line.push_str(&expected[expected.len() - 1..]));
        wait_until(|| *kept.0.lock().expect("nobody panicked") == expected.as_bytes());
    }
    assert!(writer.finish());
}

#[test]
fn a_pipe_that_nobody_empties_stops_no_worker_and_what_is_lost_is_counted() {
    let (mut reader, pipe) = io::pipe().expect("a pipe");
    let writer = Writer::start(1, Box::new(pipe)).expect("a thread");
    let ring = writer.ring(0);
    let line = "x".repeat(99) + "\n";
    // Thrice what ring and pipe hold: if a push waited for the pipe, this would never end.
    let count = 3 * (RING_BYTES_MAX + (64 << 10)) / line.len();
    for _ in 0..count {
        ring.push(|text| text.push_str(&line));
    }
    let counts = writer.counts();
    assert_eq!(counts.lines + counts.dropped, count as u64);
    assert!(counts.dropped > 0 && counts.lines > 0, "{counts:?}");
    assert!(ring.text.lock().expect("nobody panicked").capacity() <= 4 * RING_BYTES_MAX);
    assert!(!writer.finish(), "the program's end does not wait for it either");
    // Once somebody reads, what was taken is there to the last line.
    let mut bytes = vec![0; usize::try_from(counts.lines).expect("few") * line.len()];
    reader.read_exact(&mut bytes).expect("all of it comes");
    assert!(bytes.chunks(line.len()).all(|chunk| chunk == line.as_bytes()));
}

#[test]
fn writes_that_fail_are_counted_and_the_thread_goes_on() {
    let writer = Writer::start(1, Box::new(Broken)).expect("a thread");
    for count in 1..=2 {
        writer.ring(0).push(|line| line.push('x'));
        wait_until(|| writer.counts().failed == count);
    }
    assert!(writer.finish());
}
