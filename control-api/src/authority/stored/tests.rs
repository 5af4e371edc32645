//! What was written is read, and what was damaged is named and never shown.

use super::super::terms::Term;
use super::*;

const NOW: Seconds = 1_800_000_000;

fn secret(text: &str) -> Secret {
    let data = [(KEY.to_owned(), ByteString(text.as_bytes().to_vec()))];
    Secret { data: Some(data.into()), ..Secret::default() }
}

fn written(roots: &[Root]) -> (Secret, String) {
    let theirs = [("theirs".to_owned(), ByteString(b"kept".to_vec()))];
    let mut secret = Secret { data: Some(theirs.into()), ..Secret::default() };
    write(roots, &mut secret);
    let text = secret.data.as_ref().and_then(|data| data.get(KEY)).expect("it was written").0.clone();
    (secret, String::from_utf8(text).expect("JSON is text"))
}

fn two() -> Vec<Root> {
    let first = Term { announced: Some(NOW), ..Term::beginning(NOW) };
    [first, Term::beginning(NOW + 1)].map(|term| Root::make(term).expect("an authority")).into()
}

#[test]
fn what_was_written_is_read_and_what_stands_beside_it_stays() {
    let roots = two();
    let (secret, _) = written(&roots);
    let again = read(&secret).expect("we wrote it");
    let all = |roots: &[Root]| -> Vec<_> {
        roots.iter().map(|root| (root.term, root.certificate.clone(), root.key_pem())).collect()
    };
    assert_eq!(all(&again), all(&roots));
    assert_eq!(secret.data.expect("it has data")["theirs"].0, b"kept");
    assert_eq!(bundle(&roots).matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!bundle(&roots).contains("PRIVATE"));
}

#[test]
fn what_was_damaged_is_named_without_what_stands_there() {
    let (_, text) = written(&two());
    let (_, other) = written(&two());
    let field = |text: &str, at: usize, name: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value["authorities"][at][name].clone()
    };
    let with = |at: usize, name: &str, value: serde_json::Value| {
        let mut changed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        changed["authorities"][at][name] = value;
        changed.to_string()
    };
    let key = field(&text, 1, "key").as_str().expect("PEM").to_owned();
    for (text, words) in [
        (String::new(), "line 1"),
        (text[..text.len() - 9].to_owned(), "line 1"),
        (format!("\"{}\"", key.replace('\n', "\\n")), "line 1"),
        (text.replace("\"version\":1", "\"version\":2"), "version 2"),
        ("{\"version\":1,\"authorities\":[]}".to_owned(), "0 authorities"),
        (with(1, "key", "".into()), "authority 2"),
        (with(1, "key", key.replace('A', "B").into()), "authority 2"),
        (with(1, "key", field(&other, 1, "key")), "not that of its certificate"),
        (with(0, "certificate", field(&other, 0, "certificate")), "authority 1"),
        (with(0, "certificate", "nothing".into()), "its certificate is none"),
        (with(0, "from", field(&text, 0, "until")), "it lives from"),
        (with(0, "until", u64::MAX.into()), "it lives from"),
        (with(0, "from", (-1).into()), "line 1"),
    ] {
        let refusal = read(&secret(&text)).expect_err(words).to_string();
        assert!(refusal.contains(words), "{words}: {refusal}");
        let secret = key.lines().nth(1).expect("a line of the key");
        assert!(!refusal.contains(secret) && !refusal.contains("PRIVATE"), "{refusal}");
    }
    assert_eq!(read(&Secret::default()).expect_err("nothing is there"), StoredError::NoKey);
}
