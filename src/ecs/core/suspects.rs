//! PURE. Parts of PutMetricData requests that CloudWatch rejected, halved until the bad datums are alone.
//!
//! What does not live here: what is sent otherwise, and when ([`super::backlog`]).

use super::series::Datum;

/// After so many datums that were rejected alone, with nothing accepted in between, it is not they that are bad.
const ALIKE: u32 = 3;

/// Parts of rejected requests, which are sent before anything else.
///
/// Contract: [`Suspects::reject`] with what was rejected, [`Suspects::accept`] when anything was accepted. While
/// [`Suspects::is_everything_rejected`], there are none: what waits is sent as seldom as all is well.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// The next one last.
    parts: Vec<Vec<Datum>>,
    alone_in_a_row: u32,
}

/// What follows from a rejection.
#[derive(Debug, PartialEq)]
pub(super) enum Rejection {
    /// The parts are tried one after the other.
    Halved,
    /// This datum is bad. The others, if any, are not suspected any more.
    Bad(Datum, Vec<Datum>),
}

impl Suspects {
    /// Something was accepted.
    pub(super) fn accept(&mut self) {
        self.alone_in_a_row = 0;
    }

    /// A request with these datums, at least one, was rejected.
    pub(super) fn reject(&mut self, mut datums: Vec<Datum>) -> Rejection {
        let half = datums.len() / 2;
        let second = datums.split_off(half.max(1));
        if let ([datum], true) = (&datums[..], second.is_empty()) {
            self.alone_in_a_row = self.alone_in_a_row.saturating_add(1);
            let others = if self.is_everything_rejected() {
                std::mem::take(&mut self.parts).concat()
            } else {
                Vec::new()
            };
            return Rejection::Bad(*datum, others);
        }
        self.parts.extend([second, datums]);
        Rejection::Halved
    }

    /// A part was not rejected, but did not arrive either.
    pub(super) fn take_back(&mut self, part: Vec<Datum>) {
        self.parts.push(part);
    }

    /// The part that is to be sent next.
    pub(super) fn next(&mut self) -> Option<Vec<Datum>> {
        self.parts.pop()
    }

    /// Whether CloudWatch seems to reject whatever it is sent.
    pub(super) fn is_everything_rejected(&self) -> bool {
        self.alone_in_a_row >= ALIKE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All datums.
    pub(super) fn datums(&self) -> impl Iterator<Item = &Datum> {
        self.parts.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::SeriesId;
    use super::*;

    fn datums(count: i64) -> Vec<Datum> {
        let datum = |second| Datum {
            series: SeriesId(0),
            second,
            value: 0.0,
        };
        (0..count).map(datum).collect()
    }

    #[test]
    fn one_bad_datum_is_found_and_nothing_else_is_lost() {
        for count in 1..40 {
            for bad in 0..count {
                let mut suspects = Suspects::default();
                let (mut found, mut accepted) = (Vec::new(), Vec::new());
                let mut next = Some(datums(count));
                while let Some(part) = next {
                    if part.iter().any(|datum| datum.second == bad) {
                        if let Rejection::Bad(datum, others) = suspects.reject(part) {
                            found.push(datum.second);
                            assert_eq!(others, []);
                        }
                    } else {
                        suspects.accept();
                        accepted.extend(part);
                    }
                    next = suspects.next();
                }
                assert_eq!(found, [bad]);
                assert_eq!(i64::try_from(accepted.len()), Ok(count - 1));
            }
        }
    }

    #[test]
    fn when_all_are_rejected_a_few_are_given_up_and_the_others_kept() {
        let mut suspects = Suspects::default();
        let mut next = Some(datums(1_000));
        let (mut requests, mut found, mut kept) = (0, 0, Vec::new());
        while let Some(part) = next {
            requests += 1;
            if let Rejection::Bad(_, others) = suspects.reject(part) {
                found += 1;
                kept.extend(others);
            }
            next = suspects.next();
        }
        assert!(suspects.is_everything_rejected());
        assert_eq!((found, kept.len()), (3, 997));
        assert!(requests < 20, "{requests}");
        suspects.accept();
        assert!(!suspects.is_everything_rejected());
    }
}
