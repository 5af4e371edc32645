//! What is framed is read back.

use super::{message, text};

#[test]
fn a_message_is_read_back_whatever_its_length() {
    for length in [0, 1, 127, 128, 300, 20_000] {
        let sent = "x".repeat(length);
        assert_eq!(text(&message(&sent)).as_deref(), Some(sent.as_str()), "{length} bytes");
    }
    assert_eq!(text(b""), None);
    assert_eq!(text(&[0, 0, 0, 0, 2, 0x0a, 9]), None);
}
