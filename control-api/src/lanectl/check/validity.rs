//! From when until when a certificate is good, read out of its DER. That is all of X.509 that is read here; whether a certificate
//! is right is rustls's question.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
/// The version of a certificate, in front of what every one has.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SECONDS_OF_A_DAY: u64 = 24 * 3600;

/// Times of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

/// `None`: it is no certificate, or its times are none that RFC 5280 allows.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut signed, _) = value(certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        signed = skip(signed)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed = skip(signed)?;
    }
    let (times, _) = value(signed, SEQUENCE)?;
    let (from, rest) = time(times)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

/// What stands under a tag, and what stands behind it.
fn value(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == wanted).then_some((content, rest))
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    element(der).map(|(_, _, rest)| rest)
}

fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Lengths of one to four bytes; nothing longer is a certificate.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn time(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (tag, content, rest) = element(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: u64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| text[at..at + 2].parse::<u64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    let seconds = days(year, month, day) * SECONDS_OF_A_DAY + hour * 3600 + minute * 60 + second;
    Some((UNIX_EPOCH + Duration::from_secs(seconds), rest))
}

/// Since 1970-01-01, by the Gregorian calendar. Years begin in March here, so that the leap day is their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{days, time, validity};

    #[test]
    fn days_are_those_of_the_calendar() {
        for ((year, month, day), since) in [
            ((1970, 1, 1), 0),
            ((1970, 12, 31), 364),
            ((2000, 2, 29), 11_016),
            ((2024, 2, 29), 19_782),
            ((2024, 3, 1), 19_783),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days(year, month, day), since, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn both_forms_of_a_time_are_read_and_no_other() {
        let read = |tag: u8, text: &str| {
            let der = [&[tag, text.len() as u8], text.as_bytes()].concat();
            time(&der).map(|(at, _)| at)
        };
        let moment = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(read(0x17, "240229120001Z"), moment(19_782 * 86_400 + 43_201));
        assert_eq!(read(0x18, "20240229120001Z"), moment(19_782 * 86_400 + 43_201));
        assert_eq!(read(0x17, "700101000000Z"), moment(0));
        for bad in ["240229120001", "2402291200Z", "24022912000aZ", "241329120001Z", "240229250001Z", "", "Z"] {
            assert_eq!(read(0x17, bad), None, "{bad}");
        }
        assert_eq!(read(0x18, "240229120001Z"), None);
    }

    #[test]
    fn what_is_cut_off_is_no_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["laneway".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2999, 1, 1);
        let der = params.self_signed(&key).expect("signed");
        let der = der.der().as_ref();
        let found = validity(der).expect("it has times");
        assert_eq!(found.from, UNIX_EPOCH + Duration::from_secs(1_577_836_800));
        assert_eq!(found.until, UNIX_EPOCH + Duration::from_secs(days(2999, 1, 1) * 86_400));
        for length in 0..120 {
            assert_eq!(validity(&der[..length]), None);
        }
    }
}
