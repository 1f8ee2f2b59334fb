//! Where a bucket is, and how an upload there becomes an object.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tokio::sync::Mutex;
use tracing::debug;

use crate::aws::{self, CallError, Cause};
use crate::{Exit, Failure};

use super::super::staged::{S3Part, S3Place, StagedObject};

/// The metadata that tells objects of one key apart.
pub(super) const ID: &str = "hydrant-id";

/// A connection that was idle for longer is not used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// A part at 512 KiB/s, twice over.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Uploads must be kept for so many days, because a sealed one may have to wait for an agent.
pub(super) const LEAST_ABORT_DAYS: i32 = 7;
/// From this age on an upload may have been aborted by the bucket's rule.
const OLD_S: i64 = (LEAST_ABORT_DAYS as i64 - 1) * 86_400;

/// A client of a bucket whose region may be that of the environment, which `key` would replace. An answer is waited for as long
/// as `timeout`, at most for what the largest request may take.
///
/// # Errors
/// If there is no region.
pub(crate) async fn connect(
    mut place: S3Place,
    region: Option<&str>,
    key: &str,
    timeout: Option<Duration>,
) -> Result<(Client, S3Place), Failure> {
    let (client, region) = client(&place, region, key, timeout).await?;
    place.region = region;
    Ok((client, place))
}

async fn client(
    place: &S3Place,
    region: Option<&str>,
    key: &str,
    timeout: Option<Duration>,
) -> Result<(Client, String), Failure> {
    let mut loader = aws::loader();
    if let Some(endpoint) = &place.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let (settings, region) = aws::load(loader, IDLE_TIMEOUT, region, key, &[]).await?;
    let timeouts = settings.timeout_config().map(TimeoutConfig::to_builder);
    let timeouts = timeouts
        .unwrap_or_default()
        .operation_attempt_timeout(timeout.unwrap_or(ATTEMPT_TIMEOUT).min(ATTEMPT_TIMEOUT));
    let config = aws_sdk_s3::config::Builder::from(&settings)
        .force_path_style(place.path_style)
        .timeout_config(timeouts.build())
        .build();
    Ok((Client::from_conf(config), region))
}

/// Clients of the buckets that uploads are in, made when they are needed. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::sink) struct S3Clients(Arc<Mutex<HashMap<S3Place, Client>>>);

impl S3Clients {
    async fn of(&self, place: &S3Place) -> Result<Client, Failure> {
        let mut clients = self.0.lock().await;
        if let Some(client) = clients.get(place) {
            return Ok(client.clone());
        }
        let (client, _) = client(place, Some(&place.region), "sink.region", None).await?;
        clients.insert(place.clone(), client.clone());
        Ok(client)
    }
}

/// Makes an upload an object, unless it is one. With `is_first` nobody can have done that before.
///
/// # Errors
/// If the key is another object's, or the upload was lost; or if S3 does not answer for now.
pub(in crate::sink) async fn complete(
    clients: &S3Clients,
    object: &StagedObject,
    (place, upload, parts): (&S3Place, &str, &[S3Part]),
    (is_first, staged_at): (bool, i64),
) -> Result<(), Failure> {
    let client = clients.of(place).await?;
    let mut number = 0;
    let part = |part: &S3Part| {
        number += 1;
        CompletedPart::builder()
            .part_number(number)
            .e_tag(&part.etag)
            .set_checksum_crc32(part.crc32.clone())
            .build()
    };
    let parts = parts.iter().map(part).collect();
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    let request = client
        .complete_multipart_upload()
        .bucket(&place.bucket)
        .key(&object.key)
        .upload_id(upload)
        .multipart_upload(parts)
        .if_none_match("*");
    let Err(error) = request.send().await else {
        return Ok(());
    };
    let age = jiff::Timestamp::now().as_second() - staged_at;
    match error.code() {
        // It was completed before, whether the object is still there or somebody has taken it.
        Some("NoSuchUpload") if !is_first && age < OLD_S => Ok(()),
        Some("NoSuchUpload" | "PreconditionFailed") => {
            let is_gone = error.code() == Some("NoSuchUpload");
            match of_key(&client, place, object).await? {
                Key::Own => Ok(()),
                Key::Free if !is_gone => Err(Failure::transient(
                    Exit::Unavailable,
                    format!("{} in {place} was there and is not", object.key),
                    "if this goes on, look at who writes to the bucket",
                )),
                Key::Free => Err(lost(place, object)),
                Key::Others => Err(taken(place, object)),
            }
        }
        _ => {
            debug!("{}: {error:?}", object.key);
            Err(place.failure(&object.key, &call_error(&error)))
        }
    }
}

/// Why a call failed. S3 says 200 to a completion before it is done, and in the body that it has failed. Its answers are XML, and one
/// that cannot be read has broken off.
pub(crate) fn call_error<E>(error: &SdkError<E, HttpResponse>) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let mut why = CallError::from(error);
    if let Some(answer) = error.raw_response()
        && answer.status().is_success()
    {
        let kind = answer.headers().get("content-type").unwrap_or_default();
        let is_page = !kind.is_empty() && !kind.contains("xml");
        match why.cause {
            Cause::Other => why.cause = Cause::Failed,
            Cause::NotUnderstood if !is_page => {
                why.cause = Cause::BrokenOff;
                "the answer broke off".clone_into(&mut why.what);
            }
            _ => {}
        }
    }
    why
}

/// What is under a key.
enum Key {
    Own,
    Others,
    Free,
}

async fn of_key(client: &Client, place: &S3Place, object: &StagedObject) -> Result<Key, Failure> {
    let head = client.head_object().bucket(&place.bucket).key(&object.key);
    match head.send().await {
        Ok(found) => {
            let id = found.metadata().and_then(|metadata| metadata.get(ID));
            Ok(
                if *id.unwrap_or(&String::new()) == object.id.simple().to_string() {
                    Key::Own
                } else {
                    Key::Others
                },
            )
        }
        Err(error)
            if error
                .as_service_error()
                .is_some_and(HeadObjectError::is_not_found) =>
        {
            Ok(Key::Free)
        }
        Err(error) => {
            let mut why = call_error(&error);
            // An answer to HEAD has no body that could say so.
            if error
                .raw_response()
                .is_some_and(|it| it.status().as_u16() == 403)
            {
                why.cause = Cause::Denied;
            }
            Err(place.failure(&object.key, &why))
        }
    }
}

fn taken(place: &S3Place, object: &StagedObject) -> Failure {
    Failure::definite(
        Exit::Data,
        format!(
            "{} in {place} is there already, and is no object of this agent",
            object.key
        ),
        "nothing is ever overwritten. Another agent, an earlier run, or another history of the server wrote it: move it \
         away, or choose another sink.prefix for new objects, and start again: the upload is kept",
    )
}

fn lost(place: &S3Place, object: &StagedObject) -> Failure {
    Failure::definite(
        Exit::Data,
        format!(
            "the upload of {} in {place}, {} rows, was aborted before it was published",
            object.key, object.rows
        ),
        "let nobody abort uploads of sink.prefix, and no rule before seven days. The rows are committed and exist nowhere \
         else: write them again by hydrant replay, from the binlog files at the checkpoint's position on",
    )
}

impl S3Place {
    /// An answer has no ETag, which S3 always gives.
    pub(crate) fn no_etag(&self, key: &str) -> Failure {
        Failure::definite(
            Exit::Config,
            format!("{self} has answered for {key} without an ETag"),
            "check that the endpoint is S3's, and no proxy",
        )
    }

    /// What to do about a failed call.
    pub(crate) fn failure(&self, key: &str, error: &CallError) -> Failure {
        const DEFECT: &str = "report this; it is a defect of hydrant";
        let what = format!("{key} in {self}: {}", error.what);
        let (exit, remedy) = match error.cause {
            Cause::Unreachable
            | Cause::BrokenOff
            | Cause::NoAnswer
            | Cause::Failed
            | Cause::Unavailable
            | Cause::Throttled => {
                let remedy = "check that the endpoint is up and can be reached from here";
                return Failure::transient(Exit::Unavailable, what, remedy);
            }
            Cause::Other => {
                let remedy = "look the code up in the list of S3's error codes; rows wait until S3 takes them";
                return Failure::uncertain(Exit::Unavailable, what, remedy);
            }
            Cause::Gone => (
                Exit::Config,
                "create the bucket, or correct its name, the region and the account",
            ),
            Cause::Invalid => (
                Exit::Config,
                "check that sink.region is the bucket's, and sink.storage_class, sink.kms_key and sink.tags",
            ),
            Cause::BadKey => (
                Exit::Config,
                "enable the KMS key, or name one that exists in sink.kms_key",
            ),
            Cause::Denied => (
                Exit::Permission,
                "allow s3:PutObject and s3:GetObject on the key, s3:ListBucket on the bucket, without which S3 does not say that an \
                 object is missing, and kms:GenerateDataKey and kms:Decrypt on a KMS key",
            ),
            Cause::NoCredentials
            | Cause::RoleDenied
            | Cause::Expired
            | Cause::BadCredentials
            | Cause::BadSignature
            | Cause::NotUnderstood
            | Cause::NotBuilt => error.cause.refusal().unwrap_or((Exit::Config, DEFECT)),
        };
        Failure::definite(exit, what, remedy)
    }
}
