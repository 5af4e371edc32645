//! Years of rotation in a moment: whatever replicas and clients see late, nobody is shown a certificate that they would refuse.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NOW: Seconds = 1_800_000_000;
const HOUR: Seconds = 3600;

fn term(from: Seconds, announced: Option<Seconds>) -> Term {
    Term { announced, ..Term::beginning(from) }
}

#[test]
fn the_first_authority_signs_at_once_and_the_next_one_is_known_before_it_signs() {
    assert_eq!((step(&[], NOW, false), signer(&[], NOW)), (Step::Add, None));
    let first = Term::beginning(NOW);
    assert_eq!(signer(&[first], NOW), Some(0));
    assert_eq!(step(&[first], NOW, false), Step::Nothing);
    assert_eq!(step(&[first], NOW, true), Step::Announce);
    let first = Term { announced: Some(NOW), ..first };
    assert_eq!(step(&[first], NOW, true), Step::Nothing);

    let due = NOW + LIFE - LIFE / 3;
    assert_eq!((step(&[first], due - 1, true), step(&[first], due, true)), (Step::Nothing, Step::Add));
    let both = [first, Term::beginning(due)];
    assert_eq!((step(&both, due, false), step(&both, due + HOUR, true)), (Step::Nothing, Step::Announce));
    let both = [first, term(due, Some(due + HOUR))];
    let settled = due + HOUR + 30 * DAY;
    assert_eq!((signer(&both, settled - 1), signer(&both, settled)), (Some(0), Some(1)));
    // The first is trusted until it is over, by clocks that are late too.
    assert_eq!(
        (step(&both, first.until, true), step(&both, first.until + BACKDATE, true)),
        (Step::Nothing, Step::Forget)
    );
}

#[test]
fn one_that_nobody_could_publish_signs_when_the_old_one_ends() {
    let old = term(NOW, Some(NOW));
    let both = [old, Term::beginning(NOW + LIFE - LIFE / 3)];
    assert_eq!(signer(&both, old.until - SERVING - 1), Some(0));
    assert_eq!(signer(&both, old.until - SERVING), Some(1));
    // Alone it goes on to the end, without asking for a certificate at each moment.
    assert_eq!(signer(&[old], old.until - 1), Some(0));
    assert!(old.serving(old.until - 1).renew >= old.until - 1 + RENEW_MIN);
    assert_eq!(signer(&[old], old.until), None);
}

#[test]
fn an_authority_of_a_clock_that_went_wrong_does_not_sign() {
    let (old, wrong) = (term(NOW, Some(NOW)), Term::beginning(NOW + 10 * LIFE));
    assert_eq!(signer(&[old, wrong], NOW + DAY), Some(0));
    assert_eq!((signer(&[wrong], NOW), step(&[wrong], NOW, true)), (None, Step::Add));
}

#[test]
fn a_certificate_holds_a_week_and_never_longer_than_its_authority() {
    let old = term(NOW, None);
    let week = Validity { from: NOW + DAY - BACKDATE, until: NOW + 8 * DAY, renew: NOW + DAY + 7 * DAY / 3 * 2 };
    assert_eq!(old.serving(NOW + DAY), week);
    assert_eq!(old.serving(NOW).from, old.from, "nor before it");
    assert_eq!(old.serving(old.until - DAY).until, old.until);
}

/// What the Secret says, in the order of time; the last is of now.
type History = VecDeque<(Seconds, Vec<Term>)>;

/// As it was seen by somebody who sees everything so much later.
fn seen(history: &History, now: Seconds, late: Seconds) -> &[Term] {
    let mut all = history.iter().rev();
    all.find(|(at, _)| at + late <= now).or(history.front()).map_or(&[], |(_, terms)| terms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A replica sees the Secret up to 20 days late, what is published comes to a client up to 30 days after it was everywhere; the leader
    /// is away for as long as 40 days, and for as long again it cannot publish. Clocks differ by an hour.
    #[test]
    fn who_trusts_what_is_published_is_never_shown_a_certificate_that_they_refuse(
        replica_late in 0..20 * DAY,
        client_late in 0..30 * DAY,
        client_clock in 0..2 * HOUR,
        away in (0..8 * LIFE, 0..40 * DAY),
        unpublished in (0..8 * LIFE, 0..40 * DAY),
        every in HOUR..13 * HOUR,
    ) {
        let within = |(from, length): (Seconds, Seconds), at: Seconds| (from..from + length).contains(&at);
        let (mut secret, mut changes, mut published) = (vec![Term::beginning(NOW)], History::new(), History::new());
        changes.push_back((NOW, secret.clone()));
        published.push_back((NOW, secret.clone()));
        let mut serving: Option<(Term, Validity)> = None;
        let (mut signers, mut now) = (Vec::new(), NOW);
        while now < NOW + 8 * LIFE {
            // Everywhere, or not: the leader knows.
            let is_away = within(away, now - NOW);
            let are_published = !is_away && !within(unpublished, now - NOW);
            if are_published && published.back().is_some_and(|(_, terms)| froms(terms) != froms(&secret)) {
                published.push_back((now, secret.clone()));
            }
            if !is_away {
                let known = published.back().is_some_and(|(_, terms)| froms(terms) == froms(&secret));
                let next = step(&secret, now, known && are_published);
                match next {
                    Step::Add => {
                        secret.retain(|term| !term.is_over(now));
                        secret.push(Term::beginning(now));
                    }
                    Step::Announce => {
                        secret.iter_mut().for_each(|term| term.announced = term.announced.or(Some(now)));
                    }
                    Step::Forget => secret.retain(|term| !term.is_over(now)),
                    Step::Nothing => {}
                }
                if next != Step::Nothing {
                    changes.push_back((now, secret.clone()));
                }
            }
            // A replica renews by what it has seen.
            let known = seen(&changes, now, replica_late);
            let is_good = |(signer, validity): &(Term, Validity)| {
                known.iter().any(|term| term.from == signer.from) && (validity.from..validity.renew).contains(&now)
            };
            if !serving.as_ref().is_some_and(is_good) {
                let signer = known[signer(known, now).expect("one is always alive")];
                serving = Some((signer, signer.serving(now)));
                signers.push(signer.from);
            }
            // A client looks by its own clock, which is a little wrong.
            let (signer, validity) = serving.expect("it has one");
            let clock = (now + HOUR).saturating_sub(client_clock).max(NOW);
            let trusted = seen(&published, now, client_late);
            prop_assert!(trusted.iter().any(|term| term.from == signer.from), "day {}: not trusted", (now - NOW) / DAY);
            prop_assert!(validity.from <= clock && clock < validity.until, "day {}: certificate", (now - NOW) / DAY);
            prop_assert!(signer.from <= clock && clock < signer.until, "day {}: authority", (now - NOW) / DAY);
            prop_assert!(secret.len() <= 3);
            now += every;
        }
        signers.dedup();
        prop_assert!(signers.len() >= 8, "it rotates: {signers:?}");
    }
}

fn froms(terms: &[Term]) -> Vec<Seconds> {
    terms.iter().map(|term| term.from).collect()
}
