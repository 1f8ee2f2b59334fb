//! HTTP: requests in, answers out.
//!
//! What lives here: routes, headers and statuses. What does not: what a request means
//! ([`super::firehose`]).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use uuid::Uuid;

use super::account::Accounts;
use super::firehose::Firehose;
use super::wire::{ApiError, Code};

/// Most bytes of a body. The largest valid one is 4 MiB in base64 and JSON, about 5.7 MiB; the
/// rest lets what is somewhat too large get the error that AWS gives it.
const MAX_BODY_BYTES: usize = 16 << 20;

const AMZ_JSON: &str = "application/x-amz-json-1.1";

/// The routes: the API at `POST /`, and for people and container engines `GET /health` and
/// `GET /account`.
pub(super) fn router(firehose: Arc<Firehose>) -> Router {
    Router::new()
        .route("/", post(call))
        .route("/health", get(async || "ok"))
        .route("/account", get(account))
        .with_state(firehose)
}

async fn account(State(firehose): State<Arc<Firehose>>) -> Json<Accounts> {
    Json(firehose.accounts())
}

async fn call(State(firehose): State<Arc<Firehose>>, headers: HeaderMap, body: Body) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let is_signed = headers.contains_key(AUTHORIZATION);
    let answer = if let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await {
        firehose.answer(target.unwrap_or_default(), is_signed, &body)
    } else {
        let message = format!("The body is larger than {MAX_BODY_BYTES} bytes");
        let error = ApiError::new(Code::RequestEntityTooLarge, message);
        firehose.count(&error);
        Err(error)
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.code.status());
            (
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                error.body(),
            )
        }
    };
    let request_id = Uuid::new_v4().to_string();
    let headers = [
        (CONTENT_TYPE.as_str(), AMZ_JSON),
        ("x-amzn-requestid", &request_id),
    ];
    (status, headers, body).into_response()
}
