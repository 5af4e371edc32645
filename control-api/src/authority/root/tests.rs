//! Real certificates through three rotations, checked by rustls' own verifier at many moments, and by nobody's clock but the test's.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::stored::bundle;
use super::super::terms::{LIFE, SERVING, Seconds, signer};
use super::*;

const NOW: Seconds = 1_800_000_000;
const DAY: Seconds = 24 * 3600;

/// Whether a client that trusts `bundle` takes the certificate for that name.
fn is_taken(bundle: &str, certificate: &str, name: &str, at: Seconds) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("authorities");
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    use rustls::client::danger::ServerCertVerifier;
    verifier.verify_server_cert(&leaf, &[], &name, &[], at).map(drop).map_err(|error| error.to_string())
}

#[test]
fn whoever_trusts_the_bundle_takes_the_certificate_by_each_name_and_nobody_else_does() {
    let names = ["control.mesh.svc".to_owned(), "127.0.0.1".to_owned()];
    let root = Root::make(Term::beginning(NOW)).expect("an authority");
    let validity = root.term.serving(NOW);
    let pair = root.sign(&names, validity).expect("a certificate");
    for name in ["control.mesh.svc", "127.0.0.1"] {
        is_taken(&root.certificate, &pair.certificate, name, NOW).expect(name);
    }
    is_taken(&root.certificate, &pair.certificate, "other.mesh.svc", NOW).expect_err("another name");
    is_taken(&root.certificate, &pair.certificate, "control.mesh.svc", NOW + SERVING + 1).expect_err("over");
    is_taken(&root.certificate, &pair.certificate, "control.mesh.svc", validity.from - 1).expect_err("not yet");
    let other = Root::make(Term::beginning(NOW)).expect("an authority");
    is_taken(&other.certificate, &pair.certificate, "control.mesh.svc", NOW).expect_err("another authority");
    assert_ne!(root.name(), other.name());
    // A certificate of ours signs nothing further.
    let chain = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
    assert!(crate::tls::names(&chain).contains(&"control.mesh.svc".to_owned()));
}

#[test]
fn certificates_are_taken_at_each_moment_of_three_rotations() {
    let names = ["control.mesh.svc".to_owned()];
    let mut roots = vec![Root::make(Term::beginning(NOW)).expect("an authority")];
    let (mut signed_by, mut now) = (Vec::new(), NOW);
    while now < NOW + 3 * LIFE {
        match super::super::terms::step(&roots.iter().map(|root| root.term).collect::<Vec<_>>(), now, true) {
            super::super::terms::Step::Add => roots.push(Root::make(Term::beginning(now)).expect("an authority")),
            super::super::terms::Step::Announce => {
                roots.iter_mut().for_each(|root| root.term.announced = root.term.announced.or(Some(now)));
            }
            super::super::terms::Step::Forget => roots.retain(|root| !root.term.is_over(now)),
            super::super::terms::Step::Nothing => {}
        }
        let terms: Vec<Term> = roots.iter().map(|root| root.term).collect();
        let root = &roots[signer(&terms, now).expect("one is alive")];
        let validity = root.term.serving(now);
        let pair = root.sign(&names, validity).expect("a certificate");
        for at in [validity.from, now, validity.renew, validity.until - 1] {
            is_taken(&bundle(&roots), &pair.certificate, "control.mesh.svc", at).expect("it is trusted");
        }
        signed_by.push(root.name());
        now += 5 * DAY;
    }
    signed_by.dedup();
    assert!(signed_by.len() >= 4, "{signed_by:?}");
}

#[test]
fn debug_output_holds_no_key() {
    let root = Root::make(Term::beginning(NOW)).expect("an authority");
    let (shown, key) = (format!("{root:?}"), root.key_pem());
    let secret = key.lines().nth(1).expect("a line of it");
    assert!(!shown.contains(secret) && !shown.contains("PRIVATE") && shown.contains("authority"), "{shown}");
}
