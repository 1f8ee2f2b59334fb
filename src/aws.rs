//! AWS: how clients are set up, and what it means if a call fails.
//!
//! What does not live here: what a caller does about a failure. Each matches [`Cause`] without a catch-all,
//! so that a new cause is a decision everywhere.

mod endpoints;
mod trust;

use std::io;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_firehose::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder as HttpClientBuilder, ConnectorBuilder, tls};

use crate::error::root_cause;
use crate::{Exit, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest request, 4 MiB, at 1 MiB/s, twice over.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// For remedies: the ways to give credentials.
pub(crate) const GIVE_CREDENTIALS: &str = "give AWS credentials: a task role, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// A configuration that finds credentials and region as every AWS client does.
pub(crate) fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
}

/// Credentials that the simulator takes, so that trying it needs no account.
#[cfg(feature = "load")]
pub(crate) fn simulated_credentials() -> aws_credential_types::provider::SharedCredentialsProvider {
    let made_up = aws_credential_types::Credentials::new(
        "simulator",
        "simulator",
        None,
        None,
        "hydrant load",
    );
    aws_credential_types::provider::SharedCredentialsProvider::new(made_up)
}

/// Loads what clients are made of, and the region. Without `region`, which is configured by `key`, that of the environment is
/// used. `endpoints` are those that the configuration names for single services. The SDK's own retries are off: callers count
/// attempts, and know when another one helps. Connections that are idle for so long are closed.
///
/// # Errors
/// If there is no region, or what the environment says of certificates and endpoints cannot be used.
pub(crate) async fn load(
    loader: ConfigLoader,
    idle_timeout: Duration,
    region: Option<&str>,
    key: &str,
    endpoints: &[Option<&str>],
) -> Result<(SdkConfig, String), Failure> {
    let loader = loader.http_client(http_client(idle_timeout).await?);
    let mut loader = loader.retry_config(RetryConfig::disabled()).timeout_config(
        TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build(),
    );
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    endpoints::check(&config, endpoints)?;
    match config.region().map(ToString::to_string) {
        Some(region) => Ok((config, region)),
        None => Err(Failure::definite(
            Exit::Config,
            "no AWS region is configured",
            format!("set {key}, or AWS_REGION in the environment"),
        )),
    }
}

/// The SDK's own client, proxies from the environment included, but for how long a connection may
/// be idle (with zero none is used twice), and for the certificates that AWS_CA_BUNDLE names.
///
/// # Errors
/// If those certificates cannot be used.
pub(crate) async fn http_client(idle_timeout: Duration) -> Result<SharedHttpClient, Failure> {
    let context = trust::context().await?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    let client = HttpClientBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(provider.clone())
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(idle_timeout);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    });
    Ok(client)
}

/// Why a call failed, by what can be done about it and by what has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request could not be made: a defect.
    NotBuilt,
    /// There are no credentials, so nothing was sent.
    NoCredentials,
    /// Nothing listens at the endpoint, so nothing was sent.
    Unreachable,
    /// The connection broke. The service may have done what was asked.
    BrokenOff,
    /// No answer in time. The service may have done what was asked.
    NoAnswer,
    /// The service failed, and it is unknown what it has done (HTTP 5xx).
    Failed,
    /// The service has too much to do, and has done nothing.
    Unavailable,
    /// There are too many calls.
    Throttled,
    /// The credentials are good and do not allow it.
    Denied,
    /// STS does not let the credentials take on the role.
    RoleDenied,
    /// The credentials were good once.
    Expired,
    /// AWS does not know the credentials.
    BadCredentials,
    /// The signature is wrong, or its time is: the secret key or this machine's clock.
    BadSignature,
    /// What the call is about is not there.
    Gone,
    /// The KMS key of what the call is about cannot be used.
    BadKey,
    /// A parameter is not valid.
    Invalid,
    /// The service does not know the operation, cannot read the request, or answers in another protocol: it is another
    /// service.
    NotUnderstood,
    /// Any other code of an answer.
    Other,
}

impl Cause {
    /// The cause that an error's code names, if the service did not fail (HTTP 5xx) in a way of its own.
    ///
    /// Source: "Common Error Types" of each service's API reference, and the errors of its calls. Query and JSON protocols write the
    /// same code with and without `Exception`. `ThrottlingException` is in no documentation of Firehose.
    pub(crate) fn of_code(code: &str) -> Self {
        match code.strip_suffix("Exception").unwrap_or(code) {
            "Throttling" | "TooManyRequests" | "RequestLimitExceeded" | "SlowDown" => {
                Self::Throttled
            }
            "ServiceUnavailable"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "TemporaryRedirect" => Self::Unavailable,
            "RequestTimeout" | "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch" => {
                Self::BrokenOff
            }
            "AccessDenied" | "UnauthorizedOperation" => Self::Denied,
            "ExpiredToken" | "ExpiredTokenId" | "RequestExpired" => Self::Expired,
            "UnrecognizedClient"
            | "InvalidClientTokenId"
            | "InvalidToken"
            | "InvalidAccessKeyId"
            | "MissingAuthenticationToken" => Self::BadCredentials,
            "SignatureDoesNotMatch"
            | "InvalidSignature"
            | "IncompleteSignature"
            | "RequestTimeTooSkewed" => Self::BadSignature,
            "ResourceNotFound" | "ClusterNotFound" | "NoSuchBucket" => Self::Gone,
            "InvalidKMSResource"
            | "KMS.Disabled"
            | "KMS.NotFound"
            | "KMS.InvalidState"
            | "KMS.KMSInvalidState"
            | "KMS.InvalidKeyUsage" => Self::BadKey,
            "InvalidArgument"
            | "InvalidSource"
            | "InvalidParameterValue"
            | "InvalidParameterCombination"
            | "MissingParameter"
            | "MissingRequiredParameter"
            | "Validation"
            | "ValidationError"
            | "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "InvalidStorageClass"
            | "InvalidTag"
            | "KeyTooLongError"
            | "RequestEntityTooLarge" => Self::Invalid,
            "Serialization" | "UnknownOperation" | "NotImplemented" => Self::NotUnderstood,
            _ => Self::Other,
        }
    }

    /// Whether credentials are the cause.
    pub(crate) fn is_about_credentials(self) -> bool {
        match self {
            Self::NoCredentials
            | Self::Denied
            | Self::RoleDenied
            | Self::Expired
            | Self::BadCredentials
            | Self::BadSignature => true,
            Self::NotBuilt
            | Self::Unreachable
            | Self::BrokenOff
            | Self::NoAnswer
            | Self::Failed
            | Self::Unavailable
            | Self::Throttled
            | Self::Gone
            | Self::BadKey
            | Self::Invalid
            | Self::NotUnderstood
            | Self::Other => false,
        }
    }

    /// The exit code and the remedy of a cause that has nothing to do with what is called, if it will not pass by itself.
    pub(crate) fn refusal(self) -> Option<(Exit, &'static str)> {
        Some(match self {
            Self::NoCredentials => (Exit::Permission, GIVE_CREDENTIALS),
            Self::RoleDenied => (
                Exit::Permission,
                "allow sts:AssumeRole on the role, and let the role's trust policy name these credentials and the external id",
            ),
            Self::Expired => (
                Exit::Permission,
                "renew the AWS credentials, or use a role, whose credentials are renewed by themselves",
            ),
            Self::BadCredentials => (
                Exit::Permission,
                "check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN, and that they are for this region's partition",
            ),
            Self::BadSignature => (
                Exit::Permission,
                "check AWS_SECRET_ACCESS_KEY, and this machine's clock: a signature counts for five minutes",
            ),
            Self::NotUnderstood => (
                Exit::Config,
                "check that the endpoint is the service's own, without a path, and no proxy; an emulator must speak the protocol of \
                 the AWS SDKs of 2026 (CBOR for CloudWatch)",
            ),
            Self::NotBuilt => (
                Exit::Config,
                "check the endpoint and the region; otherwise report this, it is a defect of hydrant",
            ),
            Self::Denied
            | Self::Unreachable
            | Self::BrokenOff
            | Self::NoAnswer
            | Self::Failed
            | Self::Unavailable
            | Self::Throttled
            | Self::Gone
            | Self::BadKey
            | Self::Invalid
            | Self::Other => return None,
        })
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) cause: Cause,
    /// For people: the code and message of the service, or what went wrong before.
    pub(crate) what: String,
}

impl<E> From<&SdkError<E, HttpResponse>> for CallError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: &SdkError<E, HttpResponse>) -> Self {
        let (cause, what) = match error {
            SdkError::ServiceError(service) => {
                let (error, status) = (service.err(), service.raw().status());
                match error.code() {
                    Some(code) => {
                        let cause = match Cause::of_code(code) {
                            Cause::Other if status.is_server_error() => Cause::Failed,
                            cause => cause,
                        };
                        (cause, with_message(code, error.message()))
                    }
                    None => without_code(status.as_u16()),
                }
            }
            SdkError::TimeoutError(_) => (Cause::NoAnswer, "no answer in time".to_owned()),
            SdkError::ResponseError(response) => of_answer(response.raw()),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => of_connection(error),
                None => (
                    Cause::BrokenOff,
                    format!("cannot send: {}", root_cause(error)),
                ),
            },
            // The SDK may add more.
            _ => {
                let what = format!("cannot build a request: {}", root_cause(error));
                (Cause::NotBuilt, what)
            }
        };
        Self { cause, what }
    }
}

fn with_message(code: &str, message: Option<&str>) -> String {
    format!("{code}: {}", message.unwrap_or("no message"))
}

/// An answer without the code that each of AWS's errors has.
fn without_code(status: u16) -> (Cause, String) {
    let cause = match status {
        429 => Cause::Throttled,
        500.. => Cause::Failed,
        _ => Cause::NotUnderstood,
    };
    let what = format!(
        "HTTP {status} without an error code of AWS: a proxy or another service has answered"
    );
    (cause, what)
}

/// An answer that cannot be read.
fn of_answer(answer: &HttpResponse) -> (Cause, String) {
    let status = answer.status().as_u16();
    if status >= 300 {
        return without_code(status);
    }
    let kind = answer.headers().get("content-type").unwrap_or_default();
    if kind.is_empty() || kind.contains("json") || kind.contains("cbor") {
        return (Cause::BrokenOff, "the answer broke off".to_owned());
    }
    let what = format!(
        "an answer of {kind}, which AWS does not give: a proxy or another service has answered"
    );
    (Cause::NotUnderstood, what)
}

/// The cause of a call that got no answer.
fn of_connection(error: &(dyn std::error::Error + 'static)) -> (Cause, String) {
    let chain = || std::iter::successors(Some(error), |cause| cause.source());
    let what = format!("cannot send: {}", root_cause(error));
    if chain().any(<dyn std::error::Error>::is::<CredentialsError>) {
        // Of the service that gives credentials, such as STS.
        let refused = chain().find_map(|cause| cause.downcast_ref::<ErrorMetadata>());
        let Some((refused, code)) = refused.and_then(|it| Some((it, it.code()?))) else {
            return (Cause::NoCredentials, what);
        };
        let cause = match Cause::of_code(code) {
            Cause::Denied => Cause::RoleDenied,
            cause if cause.is_about_credentials() => cause,
            _ => Cause::NoCredentials,
        };
        let message = with_message(code, refused.message());
        return (cause, format!("no credentials: {message}"));
    }
    let is_refused = chain().any(|cause| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    let cause = if is_refused {
        Cause::Unreachable
    } else {
        Cause::BrokenOff
    };
    (cause, what)
}

#[cfg(test)]
mod tests {
    use aws_sdk_firehose::error::ConnectorError;
    use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchError;

    use super::*;

    type CallFailure = SdkError<PutRecordBatchError, HttpResponse>;

    fn answer(status: u16) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), "".into())
    }

    fn refused(status: u16, code: &str) -> CallError {
        let metadata = ErrorMetadata::builder().code(code).message("m").build();
        let error = PutRecordBatchError::generic(metadata);
        CallError::from(&CallFailure::service_error(error, answer(status)))
    }

    #[test]
    fn codes_mean_the_same_with_and_without_their_ending() {
        for (codes, cause) in [
            (&["Throttling", "ThrottlingException"][..], Cause::Throttled),
            (
                &["ServiceUnavailable", "ServiceUnavailableException"],
                Cause::Unavailable,
            ),
            (&["AccessDenied", "AccessDeniedException"], Cause::Denied),
            (&["ExpiredToken", "ExpiredTokenException"], Cause::Expired),
            (
                &["UnrecognizedClientException", "InvalidClientTokenId"],
                Cause::BadCredentials,
            ),
            (
                &["SignatureDoesNotMatch", "InvalidSignatureException"],
                Cause::BadSignature,
            ),
            (
                &["ResourceNotFoundException", "ClusterNotFoundException"],
                Cause::Gone,
            ),
            (&["InvalidKMSResourceException"], Cause::BadKey),
            (&["ValidationError", "ValidationException"], Cause::Invalid),
            (&["SerializationException"], Cause::NotUnderstood),
            (&["", "Exception", "AccessDeniedForNow"], Cause::Other),
        ] {
            for code in codes {
                assert_eq!(Cause::of_code(code), cause, "{code}");
            }
        }
    }

    #[test]
    fn a_failure_of_the_service_is_no_refusal() {
        for (status, code, cause) in [
            (400, "AccessDeniedException", Cause::Denied),
            (503, "ServiceUnavailableException", Cause::Unavailable),
            (500, "InternalFailure", Cause::Failed),
            (400, "SomethingNew", Cause::Other),
        ] {
            let error = refused(status, code);
            assert_eq!((error.cause, error.what), (cause, format!("{code}: m")));
        }
    }

    #[test]
    fn an_answer_without_a_code_is_told_by_its_status_and_kind() {
        for (status, cause) in [
            (404, Cause::NotUnderstood),
            (403, Cause::NotUnderstood),
            (429, Cause::Throttled),
            (503, Cause::Failed),
        ] {
            let error = PutRecordBatchError::generic(ErrorMetadata::builder().build());
            let error = CallError::from(&CallFailure::service_error(error, answer(status)));
            assert_eq!(error.cause, cause);
            assert!(error.what.starts_with(&format!("HTTP {status} ")));
        }
        let mut page = answer(200);
        page.headers_mut().insert("content-type", "text/html");
        let error = CallError::from(&CallFailure::response_error("no CBOR", page));
        assert_eq!(error.cause, Cause::NotUnderstood);
        assert!(error.what.contains("text/html"), "{}", error.what);
    }

    #[test]
    fn a_role_that_sts_refuses_is_told_without_the_library_s_own_words() {
        let metadata = ErrorMetadata::builder();
        let metadata = metadata.code("AccessDenied").message("not you").build();
        let refused = PutRecordBatchError::generic(metadata);
        let refused = CallFailure::service_error(refused, answer(403));
        let error = CredentialsError::provider_error(refused);
        let error = CallFailure::dispatch_failure(ConnectorError::other(error.into(), None));
        let error = CallError::from(&error);
        assert_eq!(error.cause, Cause::RoleDenied);
        assert_eq!(error.what, "no credentials: AccessDenied: not you");
    }

    #[test]
    fn what_may_have_arrived_is_told_from_what_did_not_leave() {
        let io = |kind: io::ErrorKind| ConnectorError::io(io::Error::from(kind).into());
        let unsigned = CredentialsError::not_loaded("no provider");
        for (error, cause) in [
            (io(io::ErrorKind::ConnectionRefused), Cause::Unreachable),
            (io(io::ErrorKind::ConnectionReset), Cause::BrokenOff),
            (
                ConnectorError::other(unsigned.into(), None),
                Cause::NoCredentials,
            ),
        ] {
            let error = CallError::from(&CallFailure::dispatch_failure(error));
            assert_eq!(error.cause, cause);
            assert!(error.what.starts_with("cannot send: "), "{}", error.what);
        }
        for (error, cause) in [
            (CallFailure::timeout_error("late"), Cause::NoAnswer),
            (
                CallFailure::response_error("cut", answer(200)),
                Cause::BrokenOff,
            ),
            (CallFailure::construction_failure("no"), Cause::NotBuilt),
        ] {
            assert_eq!(CallError::from(&error).cause, cause);
        }
    }
}
