//! HTTP: requests in, answers out.
//!
//! What lives here: routes, headers and statuses. What does not: what a request means
//! ([`super::services`]).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use uuid::Uuid;

use super::account::Accounts;
use super::cloudwatch::{self, Encoding, Protocol};
use super::services::{Reply, Services};

/// Most bytes of a body. The largest valid one is 4 MiB in base64 and JSON, about 5.7 MiB; the
/// rest lets what is somewhat too large get the error that AWS gives it.
pub(super) const MAX_BODY_BYTES: usize = 16 << 20;

/// The header of Smithy's RPC v2 protocols, in requests and answers, and its value for CBOR.
const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
const RPC_V2_CBOR: HeaderValue = HeaderValue::from_static("rpc-v2-cbor");

/// The routes: all JSON APIs at `POST /`, CloudWatch's CBOR below `/service`, and for people and container
/// engines `GET /health` and `GET /account`.
pub(super) fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/", post(call))
        .route(cloudwatch::PATH, post(call_cbor))
        .route("/health", get(async || "ok"))
        .route("/account", get(account))
        .with_state(services)
}

async fn account(State(services): State<Arc<Services>>) -> Json<Accounts> {
    Json(services.accounts())
}

async fn call(State(services): State<Arc<Services>>, headers: HeaderMap, body: Body) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default();
    let is_signed = headers.contains_key(AUTHORIZATION);
    let encoding = encoding(&headers);
    let body = to_bytes(body, MAX_BODY_BYTES).await.ok();
    response(services.answer_target(target, is_signed, encoding, body.as_deref()))
}

async fn call_cbor(
    State(services): State<Arc<Services>>,
    Path(operation): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let is_signed = headers.contains_key(AUTHORIZATION);
    let encoding = encoding(&headers);
    if headers.get(SMITHY_PROTOCOL) != Some(&RPC_V2_CBOR) {
        return response(services.answer_other_protocol(&operation));
    }
    let body = to_bytes(body, MAX_BODY_BYTES).await.ok();
    response(services.answer_cloudwatch(
        Protocol::Cbor,
        &operation,
        is_signed,
        encoding,
        body.as_deref(),
    ))
}

fn encoding(headers: &HeaderMap) -> Encoding {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Encoding::Identity,
        Some(b"gzip") => Encoding::Gzip,
        Some(_) => Encoding::Unknown,
    }
}

fn response(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    let status = StatusCode::from_u16(reply.status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = reply.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if reply.is_cbor {
        headers.insert(SMITHY_PROTOCOL, RPC_V2_CBOR);
    }
    let mut insert = |name: &'static str, value: String| {
        // Names of errors and ids are valid header values.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    if let Some(error) = reply.query_error {
        // All errors here are the client's doing. Source: Smithy, `awsQueryCompatible`.
        insert("x-amzn-query-error", format!("{error};Sender"));
    }
    insert("x-amzn-requestid", Uuid::new_v4().to_string());
    response
}
