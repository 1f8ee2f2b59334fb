//! Endpoints of the environment that no request could ever reach, refused before the first one.
//!
//! Source: "Service-specific endpoints" in the AWS SDKs and Tools Reference Guide.

use aws_config::SdkConfig;
use url::Url;

use crate::{Exit, Failure};

const PREFIX: &str = "AWS_ENDPOINT_URL";

/// Looks at the endpoints that the environment, the profile and the configuration (`own`) name.
///
/// # Errors
/// If one is no URL, or FIPS endpoints are asked for beside it.
pub(super) fn check(config: &SdkConfig, own: &[Option<&str>]) -> Result<(), Failure> {
    let is_ignored = std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    let mut endpoints = Vec::new();
    if !is_ignored {
        let named = std::env::vars().filter(|(name, value)| {
            let service = name.strip_prefix(PREFIX);
            service.is_some_and(|it| it.is_empty() || it.starts_with('_')) && !value.is_empty()
        });
        endpoints.extend(named);
    }
    let own = own.iter().copied().chain([config.endpoint_url()]).flatten();
    endpoints.extend(own.map(|url| ("the endpoint".to_owned(), url.to_owned())));
    check_each(&endpoints, config.use_fips() == Some(true))
}

fn check_each(endpoints: &[(String, String)], use_fips: bool) -> Result<(), Failure> {
    for (name, text) in endpoints {
        let url = Url::parse(text).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(Failure::definite(
                Exit::Config,
                format!("{name} is {text:?}, which is not a URL"),
                "write it like http://127.0.0.1:4573",
            ));
        }
        if use_fips {
            return Err(Failure::definite(
                Exit::Config,
                format!("FIPS endpoints are asked for, and {name} is {text}"),
                "unset AWS_USE_FIPS_ENDPOINT (use_fips_endpoint in the AWS profile), or name no endpoint",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_reached_is_refused_by_its_name() {
        let of = |text: &str, use_fips| {
            check_each(
                &[("AWS_ENDPOINT_URL_ECS".to_owned(), text.to_owned())],
                use_fips,
            )
        };
        for good in ["http://127.0.0.1:1", "https://vpce-1.ecs.amazonaws.com/x"] {
            assert_eq!(of(good, false), Ok(()));
        }
        for wrong in ["localhost:1", "127.0.0.1:4573", "ftp://x", "http://", "/x"] {
            let failure = of(wrong, false).unwrap_err();
            assert_eq!(failure.exit, Exit::Config);
            assert!(failure.what.contains("AWS_ENDPOINT_URL_ECS"), "{failure}");
        }
        let failure = of("http://127.0.0.1:1", true).unwrap_err();
        assert!(failure.what.contains("FIPS"), "{failure}");
        assert_eq!(check_each(&[], true), Ok(()));
    }
}
