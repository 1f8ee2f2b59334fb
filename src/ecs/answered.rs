//! Whether it was CloudWatch that answered a PutMetricData.
//!
//! The SDK takes any answer with a good status for success, a proxy's page too, because the answer has no body to read.
//! What does not live here: what an answer that is refused means ([`crate::aws`]).

use aws_sdk_cloudwatch::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudwatch::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatch::error::BoxError;

/// Each answer has one of them. Source of the first: "Smithy RPC v2 CBOR", responses; of the second: "Common response headers".
const HEADERS: [&str; 2] = ["smithy-protocol", "x-amzn-requestid"];

/// Refuses good answers that CloudWatch did not give.
#[derive(Debug)]
pub(super) struct OnlyCloudWatch;

impl Intercept for OnlyCloudWatch {
    fn name(&self) -> &'static str {
        "OnlyCloudWatch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let has = |name: &&str| response.headers().contains_key(*name);
        if response.status().is_success() && !HEADERS.iter().any(has) {
            return Err("the answer is not CloudWatch's".into());
        }
        Ok(())
    }
}
