//! AWS: how clients are set up, and what it means if a call fails.
//!
//! What does not live here: what a caller does about a failure. Each matches [`Cause`] without a catch-all,
//! so that a new cause is a decision everywhere.

use std::io;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
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
/// used. The SDK's own retries are off: callers count attempts, and know when another one helps.
///
/// # Errors
/// If there is no region.
pub(crate) async fn load(
    loader: ConfigLoader,
    region: Option<&str>,
    key: &str,
) -> Result<(SdkConfig, String), Failure> {
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
/// be idle; with zero none is used twice.
pub(crate) fn http_client(idle_timeout: Duration) -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    HttpClientBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(provider.clone())
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(idle_timeout);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
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
    /// The credentials were good once.
    Expired,
    /// AWS does not know the credentials, or the signature is wrong.
    BadCredentials,
    /// What the call is about is not there.
    Gone,
    /// The KMS key of what the call is about cannot be used.
    BadKey,
    /// A parameter is not valid.
    Invalid,
    /// The service does not know the operation or cannot read the request: it is another service.
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
            "Throttling" | "TooManyRequests" | "RequestLimitExceeded" => Self::Throttled,
            "ServiceUnavailable" => Self::Unavailable,
            "AccessDenied" | "UnauthorizedOperation" => Self::Denied,
            "ExpiredToken" | "RequestExpired" => Self::Expired,
            "UnrecognizedClient"
            | "InvalidSignature"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken" => Self::BadCredentials,
            "ResourceNotFound" | "ClusterNotFound" => Self::Gone,
            "InvalidKMSResource" => Self::BadKey,
            "InvalidArgument"
            | "InvalidSource"
            | "InvalidParameterValue"
            | "InvalidParameterCombination"
            | "MissingParameter"
            | "MissingRequiredParameter"
            | "Validation"
            | "ValidationError"
            | "RequestEntityTooLarge" => Self::Invalid,
            "Serialization" | "UnknownOperation" => Self::NotUnderstood,
            _ => Self::Other,
        }
    }

    /// Whether credentials are the cause.
    pub(crate) fn is_about_credentials(self) -> bool {
        match self {
            Self::NoCredentials | Self::Denied | Self::Expired | Self::BadCredentials => true,
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
                let code = error.code().unwrap_or("unknown error");
                let cause = match Cause::of_code(code) {
                    Cause::Other if status.is_server_error() => Cause::Failed,
                    cause => cause,
                };
                let message = error.message().unwrap_or("no message");
                (cause, format!("{code}: {message}"))
            }
            SdkError::TimeoutError(_) => (Cause::NoAnswer, "no answer in time".to_owned()),
            SdkError::ResponseError(_) => (Cause::BrokenOff, "the answer broke off".to_owned()),
            SdkError::DispatchFailure(failure) => {
                let cause = match failure.as_connector_error() {
                    Some(error) => of_connection(error),
                    None => Cause::BrokenOff,
                };
                (cause, format!("cannot send: {}", root_cause(error)))
            }
            // The SDK may add more.
            _ => {
                let what = format!("cannot build a request: {}", root_cause(error));
                (Cause::NotBuilt, what)
            }
        };
        Self { cause, what }
    }
}

/// The cause of a call that got no answer.
fn of_connection(error: &(dyn std::error::Error + 'static)) -> Cause {
    for cause in std::iter::successors(Some(error), |cause| cause.source()) {
        if cause.is::<CredentialsError>() {
            return Cause::NoCredentials;
        }
        let error = cause.downcast_ref::<io::Error>();
        if error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return Cause::Unreachable;
        }
    }
    Cause::BrokenOff
}

#[cfg(test)]
mod tests {
    use aws_sdk_firehose::error::{ConnectorError, ErrorMetadata};
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
