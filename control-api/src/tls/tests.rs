//! Which files make a TLS configuration, and which are refused by name.

use rcgen::{CertificateParams, KeyPair, SanType};

use super::{Required, names, read};

fn pair(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.contains("://") {
            true => SanType::URI((*name).try_into().expect("ASCII")),
            false => SanType::DnsName((*name).try_into().expect("ASCII")),
        })
        .collect();
    let certificate = params.self_signed(&key).expect("signed");
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}

#[test]
fn a_good_pair_makes_both_ports() {
    let (certificate, key) = pair(&["localhost"]);
    let authority = pair(&["ca"]).0;
    let tls = read(&[certificate.clone(), key.clone()], Required::default()).expect("a good pair");
    assert_eq!(tls.discovery.alpn_protocols, [b"h2".to_vec()]);
    assert_eq!(tls.api.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    let required = Required { discovery: true, api: false };
    read(&[certificate, key, authority], required).expect("with an authority too");
}

#[test]
fn what_is_no_pair_is_refused_by_name() {
    let ((certificate, key), (other, _)) = (pair(&["localhost"]), pair(&["localhost"]));
    let cut = certificate[..certificate.len() / 2].to_vec();
    let text = b"this is no PEM".to_vec();
    for (contents, word) in [
        (vec![text.clone(), key.clone()], "--tls-cert"),
        (vec![cut, key.clone()], "--tls-cert"),
        (vec![certificate.clone(), text.clone()], "--tls-key"),
        (vec![certificate.clone(), certificate.clone()], "--tls-key"),
        (vec![other, key.clone()], "certificate and key"),
        (vec![certificate.clone(), key.clone(), text], "--tls-client-ca"),
        (vec![certificate, key.clone(), key], "--tls-client-ca"),
    ] {
        let refusal = read(&contents, Required::default()).expect_err("it is refused").to_string();
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
}

#[test]
fn the_names_of_a_certificate_are_its_uris_and_dns_names() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let (pem, _) = pair(&["spiffe://corp/ns/shop/sa/b", "b.shop.example"]);
    let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    assert_eq!(names(&certificate), ["spiffe://corp/ns/shop/sa/b", "b.shop.example"]);
    assert!(names(&CertificateDer::from(b"garbage".to_vec())).is_empty());
}
