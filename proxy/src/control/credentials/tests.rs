//! What is read, what is refused by the name of its file, and what is never shown.

use std::path::PathBuf;

use super::{Credentials, FILE_BYTES_MAX, Files};

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("laneway-credentials-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("the folder for temporary files can be written");
    path
}

#[tokio::test]
async fn everything_is_read_anew_and_a_token_is_one_word() {
    let token = file("token", b" sesame\n");
    let identity = Some((file("cert", b"certificate"), file("key", b"private")));
    let files = Files { ca: Some(file("ca", b"authority")), identity, token: Some(token.clone()), ..Files::default() };
    let read = Credentials::read(&files).await.expect("all are there");
    assert_eq!((read.token.as_deref(), read.ca.as_deref()), (Some("sesame"), Some(&b"authority"[..])));
    assert_eq!(read.identity, Some((b"certificate".to_vec(), b"private".to_vec())));
    let shown = format!("{read:?}");
    assert!(!shown.contains("sesame") && !shown.contains("112"), "{shown}");

    std::fs::write(&token, "other").expect("it is ours");
    let read = Credentials::read(&files).await.expect("all are there");
    assert_eq!(read.token.as_deref(), Some("other"));
    for bad in [&b""[..], b" \n", b"two words", b"\xff", "schl\u{fc}ssel".as_bytes()] {
        std::fs::write(&token, bad).expect("it is ours");
        let problem = Credentials::read(&files).await.expect_err("no token");
        assert!(problem.contains("token") && problem.contains("one word"), "{problem}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_or_too_large_is_named() {
    let files = Files { ca: Some(PathBuf::from("/nowhere/ca.pem")), ..Files::default() };
    let problem = Credentials::read(&files).await.expect_err("it is not there");
    assert!(problem.contains("/nowhere/ca.pem"), "{problem}");
    let large = file("large", &vec![b'x'; usize::try_from(FILE_BYTES_MAX).expect("it fits") + 1]);
    let problem = Credentials::read(&Files { ca: Some(large), ..Files::default() }).await.expect_err("too large");
    assert!(problem.contains("more than"), "{problem}");
}
