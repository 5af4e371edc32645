//! Certificates: the one that the control plane shows, and the own one. What time they have left, for which names they are, who
//! signed them, whether key and certificate belong together; and what to do.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use tonic::transport::Uri;

use super::handshake;
use super::validity::validity;
use super::{Item, not_well, odd, well};
use crate::lanectl::arguments::Shown;
use crate::lanectl::print;
use crate::tls;

#[cfg(test)]
mod tests;

const SECTION: &str = "certificates";
/// Who has less time left is told to renew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * SECONDS_OF_A_DAY);
const SECONDS_OF_A_DAY: u64 = 24 * 3600;
const PORT_OF_HTTPS: u16 = 443;

/// All there is to say. Nothing where neither end uses certificates.
pub(super) async fn certificates(server: &str, shown: &Shown, now: SystemTime) -> Vec<Item> {
    let mut items = Vec::new();
    let uri: Option<Uri> = server.parse().ok();
    let secured = uri.filter(|uri| uri.scheme_str() == Some("https"));
    if let Some((uri, host)) = secured.as_ref().and_then(|uri| uri.host().map(|host| (uri, host))) {
        let host = host.trim_matches(['[', ']']);
        match handshake::chain(host, uri.port_u16().unwrap_or(PORT_OF_HTTPS)).await {
            Ok(chain) => {
                let name = shown.server_name.as_deref().unwrap_or(host);
                items.extend(of_server(&chain, name, now));
                items.extend(shown.ca.as_deref().map(|ca| signed(&chain, ca, now)));
            }
            Err(why) => items.push(not_well(
                SECTION,
                "check-certificate",
                format!("{server} shows no certificate: {why}"),
                "laneway-control speaks TLS with --tls-cert and --tls-key; without them its URL is http://",
            )),
        }
    }
    if let Some((cert, key)) = shown.cert.as_deref().zip(shown.key.as_deref()) {
        items.extend(of_ours(cert, key, now));
    }
    items
}

/// What the control plane shows, as far as it can be judged without an authority.
fn of_server(chain: &[CertificateDer<'_>], name: &str, now: SystemTime) -> Vec<Item> {
    let Some(own) = chain.first() else {
        let hint = "its --tls-cert holds none";
        return vec![not_well(SECTION, "check-certificate", "an empty chain was shown".to_owned(), hint)];
    };
    let mut items = vec![well(
        SECTION,
        "check-certificate",
        format!(
            "the control plane shows a certificate, and has its key; {} in its chain",
            print::count(chain.len(), "certificate")
        ),
    )];
    let renew = "renew --tls-cert and --tls-key of laneway-control: they are read again when they change, no connection is dropped";
    items.push(of_time(own, "the control plane's certificate", "check-certificate-time", renew, now));
    let is_for = ParsedCertificate::try_from(own)
        .and_then(|own| verify_server_name(&own, &ServerName::try_from(name).map_err(|_| no_name())?))
        .is_ok();
    items.push(if is_for {
        well(SECTION, "check-certificate-name", format!("it is for {name}"))
    } else {
        let names = tls::names(own);
        let names = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
        not_well(
            SECTION,
            "check-certificate-name",
            format!("it is not for {name}, but for {names}"),
            "say one of its names with --server-name, or sign it anew with this one as subjectAltName",
        )
    });
    items
}

fn no_name() -> rustls::Error {
    rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName)
}

/// Does it lead to an authority that is believed here?
fn signed(chain: &[CertificateDer<'_>], ca: &Path, now: SystemTime) -> Item {
    const ANCHOR: &str = "check-certificate-chain";
    let shown = ca.display();
    let authorities = match certificates_in(ca) {
        Ok(found) => found,
        Err(why) => {
            return not_well(SECTION, ANCHOR, format!("--ca {shown}: {why}"), "it is PEM, one authority or several");
        }
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let Some((own, between)) = chain.split_first() else {
        return not_well(SECTION, ANCHOR, "nothing to look at".to_owned(), "see above");
    };
    // By the time at which it was or will be good: that its time is over is said above, and is another thing.
    let at = validity(own).map_or(now, |times| now.max(times.from).min(times.until));
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let judged = ParsedCertificate::try_from(own)
        .and_then(|own| verify_server_cert_signed_by_trust_anchor(&own, &roots, between, at, algorithms));
    match judged {
        Ok(()) => well(SECTION, ANCHOR, format!("its chain leads to an authority of --ca {shown}")),
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => not_well(
            SECTION,
            ANCHOR,
            format!("nobody in --ca {shown} has signed it"),
            "give the authority that has; one that stands between belongs into --tls-cert, behind the certificate",
        ),
        Err(error) => not_well(SECTION, ANCHOR, format!("its chain is not good: {error}"), "sign the certificate anew"),
    }
}

/// What lanectl itself is known by.
fn of_ours(cert: &Path, key: &Path, now: SystemTime) -> Vec<Item> {
    const ANCHOR: &str = "check-own-certificate";
    let bad = |says: String, hint: &str| vec![not_well(SECTION, ANCHOR, says, hint)];
    let chain = match certificates_in(cert) {
        Ok(chain) => chain,
        Err(why) => return bad(format!("--cert {}: {why}", cert.display()), "it is PEM, the own certificate first"),
    };
    let read = PrivateKeyDer::from_pem_file(key).map_err(|error| error.to_string());
    let read = read.and_then(|der| {
        let pair = CertifiedKey::from_der(chain.clone(), der, &ring::default_provider());
        pair.map_err(|error| error.to_string())
    });
    if let Err(why) = read {
        let says = format!("--cert {} and --key {}: {why}", cert.display(), key.display());
        return bad(says, "give the key that the certificate was signed for, PEM");
    }
    let names = chain.first().map(tls::names).unwrap_or_default().join(", ");
    let mut items =
        vec![well(SECTION, ANCHOR, format!("the own certificate and its key belong together; it says {names}"))];
    if let Some(own) = chain.first() {
        items.push(of_time(own, "the own certificate", "check-own-certificate-time", "renew --cert and --key", now));
    }
    items
}

fn of_time(certificate: &CertificateDer<'_>, whose: &str, anchor: &str, hint: &str, now: SystemTime) -> Item {
    let Some(times) = validity(certificate) else {
        return not_well(SECTION, anchor, format!("{whose} has no times that can be read"), hint);
    };
    let date = |at: SystemTime| prost_types::Timestamp::from(at).to_string();
    if now < times.from {
        let hint = "look at the clocks of both machines; or wait";
        return not_well(SECTION, anchor, format!("{whose} is good only from {}", date(times.from)), hint);
    }
    let Ok(left) = times.until.duration_since(now) else {
        return not_well(SECTION, anchor, format!("{whose} has ended, at {}", date(times.until)), hint);
    };
    let days = left.as_secs() / SECONDS_OF_A_DAY;
    let days = print::count(usize::try_from(days).unwrap_or(usize::MAX), "day");
    let says = format!("{whose} is good until {}, {days} from now", date(times.until));
    if left < RENEW_BEFORE { odd(SECTION, anchor, says, hint) } else { well(SECTION, anchor, says) }
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?.collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}
