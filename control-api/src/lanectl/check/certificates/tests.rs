//! Certificates made for the purpose, good ones and bad ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;

use super::{Item, of_ours, of_server, signed};
use crate::lanectl::check::Mark;
use crate::tests::Folder;

/// 2024-01-01
const NOW: Duration = Duration::from_secs(1_704_067_200);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "mesh");
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("signed").pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    /// Certificate and key, PEM.
    fn sign(&self, name: &str, from: i32, until: (i32, u8, u8)) -> (CertificateDer<'static>, String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        (cert.der().clone(), cert.pem(), key.serialize_pem())
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn found<'i>(items: &'i [Item], anchor: &str) -> (Mark, &'i str) {
    let item = items.iter().find(|item| item.anchor == anchor);
    item.map(|item| (item.mark, item.says.as_str())).unwrap_or_else(|| panic!("no {anchor} in {items:?}"))
}

#[test]
fn time_and_name_of_the_servers_certificate_are_judged() {
    let authority = authority();
    let of =
        |from: i32, until| of_server(&[authority.sign("control.laneway", from, until).0], "control.laneway", now());
    let good = of(2020, (2025, 1, 1));
    assert!(good.iter().all(|item| item.mark == Mark::Well), "{good:?}");
    let (_, says) = found(&good, "check-certificate-time");
    assert_eq!(says, "the control plane's certificate is good until 2025-01-01T00:00:00Z, 366 days from now");

    let soon = of(2020, (2024, 1, 11));
    let (mark, says) = found(&soon, "check-certificate-time");
    assert!(mark == Mark::Odd && says.contains("10 days from now"), "{says}");
    let over = of(2020, (2023, 12, 31));
    let (mark, says) = found(&over, "check-certificate-time");
    assert!(mark == Mark::NotWell && says.contains("has ended, at 2023-12-31"), "{says}");
    let early = of(2025, (2026, 1, 1));
    let (mark, says) = found(&early, "check-certificate-time");
    assert!(mark == Mark::NotWell && says.contains("only from 2025-01-01"), "{says}");

    let other = of_server(&[authority.sign("control.laneway", 2020, (2025, 1, 1)).0], "127.0.0.1", now());
    let (mark, says) = found(&other, "check-certificate-name");
    assert_eq!((mark, says), (Mark::NotWell, "it is not for 127.0.0.1, but for control.laneway"));
}

#[test]
fn the_chain_must_lead_to_an_authority_that_is_believed_whatever_the_time() {
    let folder = Folder::new();
    let (ours, others) = (authority(), authority());
    folder.write("ca.pem", &ours.pem);
    let judge = |authority: &Authority, until| {
        signed(&[authority.sign("control.laneway", 2020, until).0], &folder.path("ca.pem"), now())
    };
    assert_eq!(judge(&ours, (2025, 1, 1)).mark, Mark::Well);
    assert_eq!(judge(&ours, (2023, 1, 1)).mark, Mark::Well, "that its time is over is another line");
    let backwards = signed(&[ours.sign("control.laneway", 2026, (2025, 1, 1)).0], &folder.path("ca.pem"), now());
    assert_eq!(backwards.mark, Mark::NotWell, "no time is good: {backwards:?}");
    let strange = judge(&others, (2025, 1, 1));
    assert!(strange.mark == Mark::NotWell, "{strange:?}");
    folder.write("ca.pem", "no PEM at all");
    let none = judge(&ours, (2025, 1, 1));
    assert!(none.mark == Mark::NotWell && none.says.contains("holds no certificate"), "{none:?}");
}

#[test]
fn the_own_certificate_and_its_key_belong_together() {
    let folder = Folder::new();
    let authority = authority();
    let (_, cert, key) = authority.sign("vera.corp", 2020, (2025, 1, 1));
    let (_, _, other_key) = authority.sign("vera.corp", 2020, (2025, 1, 1));
    folder.write("cert.pem", &cert);
    folder.write("key.pem", &key);
    let judge = || of_ours(&folder.path("cert.pem"), &folder.path("key.pem"), now());
    let good = judge();
    assert!(good.iter().all(|item| item.mark == Mark::Well) && good[0].says.ends_with("it says vera.corp"), "{good:?}");
    folder.write("key.pem", &other_key);
    let swapped = judge();
    let (mark, says) = found(&swapped, "check-own-certificate");
    assert!(mark == Mark::NotWell, "{says}");
    folder.write("key.pem", "no key");
    assert_eq!(judge()[0].mark, Mark::NotWell);
}
