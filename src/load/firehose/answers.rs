//! PURE. The three answers: how many rows a second, what breaks first, what a month costs.

use bytesize::ByteSize;

use crate::batch::BatchLimits;

use crate::load::measure::knee::{Broke, Knee};
use crate::load::measure::price::{MONTH_S, usd as dollars};
use crate::load::measure::record::Totals;
use crate::load::measure::verdict::{Limit, Quotas, Resource, packed_row_bytes};
use crate::load::report::Answer;
use crate::load::report::text::{count, ms, percent, usd};

/// What the answers are made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The stream's quotas.
    pub quotas: &'a Quotas,
    /// How rows are packed.
    pub limits: &'a BatchLimits,
    /// Bytes of a row, on average.
    pub row_bytes: f64,
    /// Sums over the planned seconds.
    pub totals: &'a Totals,
    /// Acknowledged rows a second in the best five seconds.
    pub best_rate: f64,
    /// The whole run's 99th percentile, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Who was the limit.
    pub limit: &'a Limit,
    /// The knee, if it was looked for.
    pub knee: Option<&'a Knee>,
    /// Whether this is a stream that AWS bills, or the play of one.
    pub is_firehose: bool,
}

impl Facts<'_> {
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
        let achieved = count(self.best_rate);
        match self.limit {
            Limit::Nothing => format!(
                "At least {achieved} ({rows}): it took all that was planned, p99 {}.{by_quota}",
                self.p99_ms.map_or_else(|| "unknown".to_owned(), ms)
            ),
            Limit::Target(why) => format!(
                "{achieved} ({rows}), its best five seconds; of what was planned beyond, {why}.{by_quota}"
            ),
            Limit::Harness(why) => format!(
                "{achieved} ({rows}) or more: the harness was the limit here, because {why}.{by_quota}"
            ),
        }
    }

    fn weakest(&self) -> String {
        let used = self.quotas.used(self.totals);
        let shares: Vec<String> = used
            .iter()
            .map(|(resource, share)| format!("{} of its {}", percent(*share), resource.name()))
            .collect();
        let used_text = if shares.is_empty() {
            String::new()
        } else {
            format!(" This run used {} on average.", shares.join(", "))
        };
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
                (Some(_), None) => format!("The target, before any quota that is known ({why})."),
            };
        }
        let first = match (
            self.limit,
            self.quotas.capacity(self.row_bytes, self.limits),
        ) {
            (Limit::Harness(_), _) => {
                "This machine, before the target: the target alone takes more.".to_owned()
            }
            (_, Some((_, resource))) => format!("{}.", self.quota_text(resource)),
            (_, None) => "No quota is known, and nothing broke.".to_owned(),
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
        // A search has no rate of its own, so that what it found is told alone.
        let found = self.knee.and_then(|knee| knee.held);
        let capacity = self.quotas.capacity(self.row_bytes, self.limits);
        let most = found.or(capacity.map(|(rows, _)| rows));
        let measured = self.totals.rows_per_second();
        let mut rates = Vec::new();
        if self.knee.is_none() {
            let seconds = f64::from(self.totals.seconds.max(1));
            let billed = self.totals.wire.billed_bytes as f64 / seconds;
            let month = usd(dollars(billed * MONTH_S));
            rates.push(format!(
                "{month} at {} rows a second, as measured",
                count(measured)
            ));
        }
        if let Some(most) = most {
            let packed = packed_row_bytes(self.row_bytes, self.limits);
            let month = usd(dollars(packed * most * MONTH_S));
            rates.push(format!(
                "{month} at {} rows a second all the time",
                count(most)
            ));
        }
        let alone = BatchLimits {
            record_bytes: 1,
            ..*self.limits
        };
        let rate = found.unwrap_or(measured);
        let alone = dollars(packed_row_bytes(self.row_bytes, &alone) * rate * MONTH_S);
        format!(
            "{}. With a record for each row, {} a second would cost {}.",
            rates.join("; "),
            count(rate),
            usd(alone)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::record::Wire;

    const LIMITS: BatchLimits = BatchLimits {
        row_bytes: 1_024_000,
        record_bytes: 61_440,
        records: 500,
        bytes: 4 * 61_440,
        step_bytes: 5_120,
    };
    const QUOTAS: Quotas = Quotas {
        requests: Some(2_000.0),
        records: Some(500_000.0),
        bytes: Some(5_242_880.0),
    };

    fn answers(limit: &Limit, knee: Option<&Knee>) -> Vec<String> {
        let totals = Totals {
            seconds: 10,
            acknowledged_rows: 10_000,
            acknowledged_bytes: 1_200_000,
            wire: Wire {
                requests: 10,
                records: 20,
                bytes: 1_200_000,
                billed_bytes: 1_228_800,
                ..Wire::default()
            },
            ..Totals::default()
        };
        let facts = Facts {
            quotas: &QUOTAS,
            limits: &LIMITS,
            row_bytes: 120.0,
            totals: &totals,
            best_rate: 1_000.0,
            p99_ms: Some(900.0),
            limit,
            knee,
            is_firehose: true,
        };
        facts
            .answers()
            .into_iter()
            .map(|answer| answer.answer)
            .collect()
    }

    #[test]
    fn a_run_without_a_limit_tells_what_the_quotas_allow() {
        let [rate, weakest, price] = &answers(&Limit::Nothing, None)[..] else {
            panic!()
        };
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
        let [rate, weakest, price] = &answers(&Limit::Nothing, Some(&knee))[..] else {
            panic!()
        };
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
