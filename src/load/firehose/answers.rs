//! PURE. The three answers: how many rows a second, what breaks first, what a month costs.

use bytesize::ByteSize;

use crate::batch::BatchLimits;

use crate::load::measure::knee::{Broke, Knee};
use crate::load::measure::price::{MONTH_S, usd as dollars};
use crate::load::measure::record::{Latency, Second, Totals};
use crate::load::measure::verdict::{
    Limit, MissedRows, Quotas, Resource, best_rate, packed_row_bytes,
};
use crate::load::report::text::{count, ms, percent, usd};
use crate::load::report::{Answer, Headline};

/// What the answers are made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The stream's quotas.
    pub quotas: &'a Quotas,
    /// How rows are packed.
    pub limits: &'a BatchLimits,
    /// Bytes of a row, on average.
    pub row_bytes: f64,
    /// All seconds of the run.
    pub seconds: &'a [Second],
    /// How many of them are of the plan.
    pub planned: usize,
    /// Planned rows without an acknowledgement.
    pub missed: MissedRows,
    /// The whole run's latencies.
    pub latency: &'a Latency,
    /// Who was the limit.
    pub limit: &'a Limit,
    /// The knee, if it was looked for.
    pub knee: Option<&'a Knee>,
    /// Whether this is a stream that AWS bills, or the play of one.
    pub is_firehose: bool,
}

impl Facts<'_> {
    /// The one number of the run.
    #[must_use]
    pub fn headline(&self) -> Headline {
        let (value, note) = match self.knee {
            Some(Knee { held: None, .. }) => (0.0, "no rate that was tried held".to_owned()),
            Some(Knee {
                held: Some(held),
                broke: Some(broke),
                ..
            }) => (
                *held,
                format!("is the highest rate that held; {} did not", count(*broke)),
            ),
            Some(Knee {
                held: Some(held), ..
            }) => (
                *held,
                "held, and no rate that was tried broke it".to_owned(),
            ),
            None => (best_rate(self.planned_seconds()), self.taken()),
        };
        Headline {
            value,
            unit: "rows a second".to_owned(),
            note,
        }
    }

    /// The three answers.
    #[must_use]
    pub fn answers(&self) -> Vec<Answer> {
        let questions = [
            ("How many rows a second does it take?", self.rate()),
            ("What breaks first?", self.weakest()),
            ("What does it cost a month?", self.price()),
        ];
        let answer = |(question, answer): (&str, String)| Answer {
            question: question.to_owned(),
            answer,
        };
        questions.into_iter().map(answer).collect()
    }

    fn planned_seconds(&self) -> &[Second] {
        &self.seconds[..self.planned.min(self.seconds.len())]
    }

    /// How many of the rows were taken, and within what time.
    fn taken(&self) -> String {
        let all = Totals::of(self.seconds);
        let rows = all.offered_rows + all.left_out_rows + self.missed.never_made;
        let p99 = self.latency.at(99.0).map_or_else(
            || "unknown".to_owned(),
            |p99| {
                // The percentile is the age of a row that has waited in vain.
                let is_age = self.missed.unacknowledged.saturating_mul(100) > self.latency.count;
                format!("{}{}", if is_age { "at least " } else { "" }, ms(p99))
            },
        );
        if all.acknowledged_rows == rows {
            return format!("it took all that was planned, p99 {p99}");
        }
        format!(
            "it took {} of {} rows, p99 {p99}",
            count(all.acknowledged_rows as f64),
            count(rows as f64)
        )
    }

    fn rate(&self) -> String {
        let rows = format!("rows of {} bytes", count(self.row_bytes.round()));
        let by_quota = match self.quotas.capacity(self.row_bytes, self.limits) {
            Some((capacity, _)) => format!(" Its quotas allow {} at most.", count(capacity)),
            None => String::new(),
        };
        if let Some(knee) = self.knee {
            return match (knee.held, knee.broke) {
                (Some(held), Some(broke)) => format!(
                    "{} a second ({rows}): that rate held, and {} did not.{by_quota}",
                    count(held),
                    count(broke)
                ),
                (Some(held), None) => format!(
                    "{} a second ({rows}) or more: no rate that was tried broke it.{by_quota}",
                    count(held)
                ),
                (None, _) => format!("None: no rate that was tried held ({rows}).{by_quota}"),
            };
        }
        let achieved = count(best_rate(self.planned_seconds()));
        let taken = self.taken();
        match self.limit {
            Limit::Nothing => format!("At least {achieved} ({rows}): {taken}.{by_quota}"),
            Limit::Target(why) => {
                format!("{achieved} ({rows}) in its best five seconds: {taken}; {why}.{by_quota}")
            }
            Limit::Harness(why) => format!(
                "{achieved} ({rows}) or more: {taken}; the harness was the limit here, because {why}.{by_quota}"
            ),
        }
    }

    fn weakest(&self) -> String {
        if let Some(knee) = self.knee {
            let why: Vec<&str> = knee.why.iter().map(|broke| broke.name()).collect();
            let why = why.join(", ");
            return match (knee.why.first(), knee.resource) {
                (None, _) => "Nothing broke at the rates that were tried.".to_owned(),
                (Some(Broke::Harness), _) => format!(
                    "The processor of this machine, before the target ({why}): the target alone takes more."
                ),
                (Some(_), Some(resource)) => {
                    format!("{} ({why}).", self.quota_text(resource))
                }
                (Some(_), None) => format!("The target, below every quota that is known ({why})."),
            };
        }
        let planned = self.planned_seconds();
        let used = self.quotas.used(&Totals::of(planned));
        let shares: Vec<String> = used
            .iter()
            .map(|(resource, share)| format!("{} of its {}", percent(*share), resource.name()))
            .collect();
        let used_text = if shares.is_empty() {
            String::new()
        } else {
            format!(" This run used {} on average.", shares.join(", "))
        };
        let capacity = self.quotas.capacity(self.row_bytes, self.limits);
        let first = match (self.limit, self.quotas.used_up(planned), capacity) {
            (Limit::Harness(why), ..) => {
                format!("This machine, before the target ({why}): the target alone takes more.")
            }
            (Limit::Target(why), Some(resource), _) => {
                format!("{}: {why}.", self.quota_text(resource))
            }
            (Limit::Target(why), None, _) => {
                format!("The target, below every quota that is known: {why}.")
            }
            (Limit::Nothing, _, Some((_, resource))) => format!("{}.", self.quota_text(resource)),
            (Limit::Nothing, _, None) => "No quota is known, and nothing broke.".to_owned(),
        };
        format!("{first}{used_text}")
    }

    fn quota_text(&self, resource: Resource) -> String {
        let quota = self
            .quotas
            .each()
            .into_iter()
            .find(|(which, _)| *which == resource);
        let quota = quota.and_then(|(_, quota)| quota).unwrap_or_default();
        match resource {
            Resource::Bytes => format!("Its quota of {} a second", ByteSize(quota as u64)),
            resource => format!("Its quota of {} {} a second", count(quota), resource.name()),
        }
    }

    fn price(&self) -> String {
        if !self.is_firehose {
            return "Nothing: no Firehose took part.".to_owned();
        }
        let alone = BatchLimits {
            record_bytes: 1,
            ..*self.limits
        };
        let month = |rate: f64, limits: &BatchLimits| {
            usd(dollars(
                packed_row_bytes(self.row_bytes, limits) * rate * MONTH_S,
            ))
        };
        // A search has no rate of its own, so that what it found is told alone.
        let rate = match self.knee {
            Some(Knee { held: None, .. }) => {
                return "Unknown: no rate that was tried held.".to_owned();
            }
            Some(Knee {
                held: Some(held), ..
            }) => *held,
            None => Totals::of(self.planned_seconds()).rows_per_second(),
        };
        if rate <= 0.0 {
            return "Unknown: no row was taken.".to_owned();
        }
        let mut rates = Vec::new();
        if self.knee.is_some() {
            rates.push(format!(
                "{} at {} rows a second all the time",
                month(rate, self.limits),
                count(rate)
            ));
        } else {
            let totals = Totals::of(self.planned_seconds());
            let billed = totals.wire.billed_bytes as f64 / f64::from(totals.seconds.max(1));
            let measured = usd(dollars(billed * MONTH_S));
            rates.push(format!(
                "{measured} at {} rows a second, as measured",
                count(rate)
            ));
            if let Some((most, _)) = self.quotas.capacity(self.row_bytes, self.limits) {
                rates.push(format!(
                    "{} at {}, if its quotas were used to the full",
                    month(most, self.limits),
                    count(most)
                ));
            }
        }
        format!(
            "{}. With a record for each row, {} a second would cost {}.",
            rates.join("; "),
            count(rate),
            month(rate, &alone)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::measure::record::{Wire, add_latency, latency_histogram};
    use crate::load::measure::us_east_1::{LIMITS, QUOTAS};

    /// Ten seconds of a thousand rows each; `adjust` makes them different.
    fn seconds(adjust: impl Fn(&mut Second)) -> Vec<Second> {
        let second = |index| {
            let mut second = Second {
                second: index,
                intended_rows: 1_000,
                offered_rows: 1_000,
                acknowledged_rows: 1_000,
                acknowledged_bytes: 120_000,
                wire: Wire {
                    requests: 1,
                    records: 2,
                    accepted_records: 2,
                    bytes: 120_000,
                    accepted_bytes: 120_000,
                    billed_bytes: 122_880,
                    ..Wire::default()
                },
                ..Second::default()
            };
            adjust(&mut second);
            second
        };
        (0..10).map(second).collect()
    }

    fn told(
        seconds: &[Second],
        unacknowledged: u64,
        limit: &Limit,
        knee: Option<&Knee>,
    ) -> [String; 3] {
        let mut histogram = latency_histogram();
        let taken: u64 = seconds.iter().map(|it| it.acknowledged_rows).sum();
        add_latency(&mut histogram, Duration::from_millis(900), taken);
        add_latency(&mut histogram, Duration::from_secs(38), unacknowledged);
        let facts = Facts {
            quotas: &QUOTAS,
            limits: &LIMITS,
            row_bytes: 120.0,
            seconds,
            planned: 10,
            missed: MissedRows {
                never_made: 0,
                unacknowledged,
            },
            latency: &Latency::of("rows", &histogram),
            limit,
            knee,
            is_firehose: true,
        };
        let answers = facts.answers();
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.answer).collect();
        answers.try_into().unwrap()
    }

    fn answers(limit: &Limit, knee: Option<&Knee>) -> [String; 3] {
        told(&seconds(|_| {}), 0, limit, knee)
    }

    #[test]
    fn a_target_that_dies_has_not_taken_all() {
        let dead = seconds(|second| {
            if second.second >= 4 {
                (second.acknowledged_rows, second.is_silent) = (0, true);
                second.wire = Wire::default();
            }
        });
        let missed = MissedRows {
            never_made: 0,
            unacknowledged: 6_000,
        };
        let limit = Limit::of(&dead, 10, 2.0, missed);
        let [rate, weakest, _] = told(&dead, 6_000, &limit, None);
        let why = "6,000 rows were never acknowledged; nothing was acknowledged for at least 6 s, from second 4 on to the end";
        assert_eq!(
            rate,
            format!(
                "800 (rows of 120 bytes) in its best five seconds: it took 4,000 of 10,000 rows, \
                 p99 at least 38.01 s; {why}. Its quotas allow 43,691 at most."
            )
        );
        assert!(
            weakest.starts_with(&format!(
                "The target, below every quota that is known: {why}."
            )),
            "{weakest}"
        );
    }

    #[test]
    fn a_quota_is_named_only_if_it_was_used_up() {
        let refused = |accepted_bytes: u64| {
            let seconds = seconds(|second| {
                second.wire.bytes = 50_000_000;
                second.wire.accepted_bytes = accepted_bytes;
                second.wire.refused_records = 900;
            });
            let limit = Limit::of(&seconds, 10, 2.0, MissedRows::default());
            let [_, weakest, _] = told(&seconds, 0, &limit, None);
            weakest
        };
        let full = refused(5_000_000);
        assert!(
            full.starts_with("Its quota of 5.0 MiB a second: "),
            "{full}"
        );
        let faulty = refused(0);
        assert!(
            faulty.starts_with("The target, below every quota that is known: "),
            "{faulty}"
        );
    }

    #[test]
    fn a_rate_that_did_not_hold_has_no_price() {
        let knee = Knee {
            held: None,
            broke: Some(8_000.0),
            resource: None,
            why: vec![Broke::Unacknowledged],
        };
        let [rate, weakest, price] = answers(&Limit::Nothing, Some(&knee));
        assert!(
            rate.starts_with("None: no rate that was tried held"),
            "{rate}"
        );
        assert_eq!(
            weakest,
            "The target, below every quota that is known (rows were not acknowledged)."
        );
        assert_eq!(price, "Unknown: no rate that was tried held.");
    }

    #[test]
    fn a_run_without_a_limit_tells_what_the_quotas_allow() {
        let [rate, weakest, price] = answers(&Limit::Nothing, None);
        assert!(
            rate.starts_with("At least 1,000 (rows of 120 bytes)"),
            "{rate}"
        );
        assert!(
            rate.contains("p99 900 ms") && rate.contains("allow 43,691 at most"),
            "{rate}"
        );
        assert!(
            weakest.starts_with("Its quota of 5.0 MiB a second."),
            "{weakest}"
        );
        assert!(weakest.contains("2.3 % of its bytes"), "{weakest}");
        assert!(price.starts_with("$8.60 at 1,000 rows a second"), "{price}");
        assert!(
            price.contains("; $367") && price.ends_with("would cost $358.43."),
            "{price}"
        );
    }

    #[test]
    fn a_knee_and_a_harness_that_is_the_limit_are_told() {
        let knee = Knee {
            held: Some(41_000.0),
            broke: Some(43_000.0),
            resource: Some(Resource::Bytes),
            why: vec![Broke::LagGrowth],
        };
        let [rate, weakest, price] = answers(&Limit::Nothing, Some(&knee));
        assert!(
            rate.starts_with("41,000 a second") && rate.contains("43,000 did not"),
            "{rate}"
        );
        assert_eq!(
            weakest,
            "Its quota of 5.0 MiB a second (rows waited longer and longer)."
        );
        assert!(
            price.contains("at 41,000 rows a second all the time") && !price.contains("measured"),
            "{price}"
        );
        let harness = answers(&Limit::Harness("it was late".to_owned()), None);
        assert!(harness[0].contains("the harness was the limit here, because it was late"));
        assert!(harness[1].starts_with("This machine"), "{}", harness[1]);
    }
}
