//! What is looked at in a bucket before there is a row, and what its requests cost.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};
use tracing::warn;

use crate::aws::{CallError, Cause};
use crate::error::Fault;
use crate::{Exit, Failure};

use super::super::staged::S3Place;
use super::place::LEAST_ABORT_DAYS;

/// US dollars for a request that writes. Source: the S3 pricing page for us-east-1, November 2026.
const USD_PER_REQUEST: f64 = 0.005 / 1_000.0;
/// CreateMultipartUpload, UploadPart, CompleteMultipartUpload.
const REQUESTS_PER_OBJECT: f64 = 3.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// How often the endpoint is tried when the program starts.
const START_ATTEMPTS: u32 = 3;

/// What the requests of so many tables cost, if each has rows all the time and its objects end by age.
#[expect(clippy::cast_precision_loss, reason = "a count of tables")]
pub(super) fn usd_per_day(tables: usize, flush_interval: Duration) -> f64 {
    let objects = SECONDS_PER_DAY / flush_interval.as_secs_f64().max(0.001) * tables as f64;
    objects * REQUESTS_PER_OBJECT * USD_PER_REQUEST
}

/// Looks for the bucket, and for its rule about uploads that nobody completes.
///
/// # Errors
/// If it is not there, or aborts uploads too early.
pub(super) async fn check(client: &Client, place: &S3Place, prefix: &str) -> Result<(), Failure> {
    let mut attempt = 1;
    let rules = loop {
        let asked = client
            .get_bucket_lifecycle_configuration()
            .bucket(&place.bucket);
        match asked.send().await {
            Ok(answer) => break answer.rules.unwrap_or_default(),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => break Vec::new(),
            Err(error) => {
                let error = CallError::from(&error);
                // A courtesy; putting objects may still be allowed.
                if error.cause == Cause::Denied {
                    warn!(
                        "not allowed to read the lifecycle rules of {place} (s3:GetLifecycleConfiguration): uploads must \
                         be kept for at least {LEAST_ABORT_DAYS} days there"
                    );
                    return Ok(());
                }
                let failure = place.failure("the bucket", &error);
                if failure.fault == Fault::Definite || attempt == START_ATTEMPTS {
                    return Err(failure);
                }
                warn!("sink: {failure}; trying again");
                tokio::time::sleep(Duration::from_secs(attempt.into())).await;
                attempt += 1;
            }
        }
    };
    match abort_days(&rules, prefix) {
        Some(days) if days < LEAST_ABORT_DAYS => Err(Failure::definite(
            Exit::Config,
            format!(
                "{place} aborts uploads after {days} days, which may be committed rows that wait for an agent"
            ),
            format!(
                "set AbortIncompleteMultipartUpload to at least {LEAST_ABORT_DAYS} days for sink.prefix"
            ),
        )),
        Some(_) => Ok(()),
        None => {
            warn!(
                "{place} keeps uploads that are never completed, which cost storage: give sink.prefix a lifecycle rule with \
                 AbortIncompleteMultipartUpload after {LEAST_ABORT_DAYS} days or more"
            );
            Ok(())
        }
    }
}

/// The names of the folders below the prefix.
///
/// # Errors
/// If the bucket cannot be listed for another reason than a missing permission, which is warned of.
pub(super) async fn folders(
    client: &Client,
    place: &S3Place,
    prefix: &str,
) -> Result<BTreeSet<String>, Failure> {
    let below = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let list = client
        .list_objects_v2()
        .bucket(&place.bucket)
        .prefix(&below)
        .delimiter("/");
    let mut pages = list.into_paginator().send();
    let mut folders = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let error = CallError::from(&error);
                if error.cause != Cause::Denied {
                    return Err(place.failure("the list of objects", &error));
                }
                warn!(
                    "not allowed to list {place} (s3:ListBucket), so that nobody can tell whether it has rows already"
                );
                return Ok(folders);
            }
        };
        for folder in page.common_prefixes().iter().filter_map(|it| it.prefix()) {
            let name = folder.strip_prefix(&below).unwrap_or(folder);
            folders.insert(name.trim_end_matches('/').to_owned());
        }
    }
    Ok(folders)
}

/// The fewest days after which a rule aborts uploads below the prefix.
fn abort_days(rules: &[LifecycleRule], prefix: &str) -> Option<i32> {
    let is_meant = |rule: &&LifecycleRule| {
        #[expect(deprecated, reason = "old rules have it")]
        let whole = rule.prefix();
        let filter = rule.filter();
        let of_filter = filter.and_then(|filter| {
            let all = filter.and().and_then(|and| and.prefix());
            filter.prefix().or(all)
        });
        let below = of_filter.or(whole).unwrap_or_default();
        *rule.status() == ExpirationStatus::Enabled
            && (prefix.starts_with(below) || below.starts_with(prefix))
    };
    let rules = rules.iter().filter(is_meant);
    let days = rules.filter_map(|rule| {
        rule.abort_incomplete_multipart_upload()?
            .days_after_initiation()
    });
    days.min()
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{AbortIncompleteMultipartUpload, LifecycleRuleFilter};

    use super::*;

    fn rule(prefix: &str, days: i32, status: ExpirationStatus) -> LifecycleRule {
        LifecycleRule::builder()
            .status(status)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .abort_incomplete_multipart_upload(
                AbortIncompleteMultipartUpload::builder()
                    .days_after_initiation(days)
                    .build(),
            )
            .build()
            .unwrap()
    }

    #[test]
    fn the_earliest_rule_that_concerns_the_prefix_counts() {
        let rules = [
            rule("", 30, ExpirationStatus::Enabled),
            rule("raw/", 8, ExpirationStatus::Enabled),
            rule("raw/shop/t", 7, ExpirationStatus::Enabled),
            rule("raw/shop", 1, ExpirationStatus::Disabled),
            rule("other/", 2, ExpirationStatus::Enabled),
        ];
        assert_eq!(abort_days(&rules, "raw/shop"), Some(7));
        assert_eq!(abort_days(&rules, "raw/mine"), Some(8));
        assert_eq!(abort_days(&rules, "mine"), Some(30));
        assert_eq!(abort_days(&rules[4..], "mine"), None);
    }

    #[test]
    fn an_object_costs_three_requests() {
        let usd = usd_per_day(2, Duration::from_mins(1));
        assert!((usd - 2.0 * 1_440.0 * 3.0 * 0.000_005).abs() < 1e-9);
    }
}
