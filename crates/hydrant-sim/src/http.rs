//! HTTP: requests in, answers out.
//!
//! What lives here: routes, headers and statuses, and those faults that are about whether and when
//! an answer comes. What does not: what a request means ([`super::services`]).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::account::Accounts;
use super::cloudwatch::{self, Encoding};
use super::faults::{End, Start};
use super::services::{Api, MAX_BODY_BYTES, Reply, Request, Services};
use super::socket::Reset;

/// The header of Smithy's RPC v2 protocols, in requests and answers, and its value for CBOR.
const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
const RPC_V2_CBOR: HeaderValue = HeaderValue::from_static("rpc-v2-cbor");

/// What every handler has.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Who answers.
    pub services: Arc<Services>,
    /// True, or gone, as soon as the simulator stops: open requests end then.
    pub stopping: watch::Receiver<bool>,
}

/// The routes: all JSON APIs at `POST /`, CloudWatch's CBOR below `/service`, and for people and container
/// engines `GET /health` and `GET /account`.
pub(super) fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/", post(call))
        .route(cloudwatch::PATH, post(call_cbor))
        .route("/health", get(async || "ok"))
        .route("/account", get(account))
        .with_state(endpoint)
}

async fn account(State(endpoint): State<Endpoint>) -> Json<Accounts> {
    Json(endpoint.services.accounts())
}

async fn call(
    State(endpoint): State<Endpoint>,
    ConnectInfo(reset): ConnectInfo<Reset>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default();
    endpoint
        .answer(Api::Json { target }, &headers, body, &reset)
        .await
}

async fn call_cbor(
    State(endpoint): State<Endpoint>,
    ConnectInfo(reset): ConnectInfo<Reset>,
    Path(operation): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let operation = operation.as_str();
    let api = if headers.get(SMITHY_PROTOCOL) == Some(&RPC_V2_CBOR) {
        Api::Cbor { operation }
    } else {
        Api::OtherProtocol { operation }
    };
    endpoint.answer(api, &headers, body, &reset).await
}

impl Endpoint {
    /// Answers a call, or does what a fault wants instead of that.
    async fn answer(
        mut self,
        api: Api<'_>,
        headers: &HeaderMap,
        body: Body,
        reset: &Reset,
    ) -> Response {
        let body = to_bytes(body, MAX_BODY_BYTES).await.ok();
        let request = Request {
            api,
            is_signed: headers.contains_key(AUTHORIZATION),
            encoding: encoding(headers),
            body: body.as_deref(),
        };
        let plan = self.services.plan(&request);
        if plan.start == Start::Reset {
            self.services.drop_call(&request);
            self.wait(plan.delay).await;
            return broken(reset);
        }
        let pending = self.services.answer(&request, &plan);
        self.wait(plan.delay).await;
        match plan.end {
            End::Answer | End::WrongLength(_) | End::Error(_) => {
                pending.finish().map_or_else(|| broken(reset), response)
            }
            End::Reset => broken(reset),
            End::Silence(most) => {
                // Counted now, because it is certain.
                drop(pending);
                self.wait(most).await;
                broken(reset)
            }
        }
    }

    /// Waits, but not longer than the simulator runs.
    async fn wait(&mut self, time: Duration) {
        if !time.is_zero() {
            // Elapsed, told to stop, or nobody is left to tell: each ends the waiting.
            let _ = timeout(time, self.stopping.wait_for(|is_stopping| *is_stopping)).await;
        }
    }
}

/// What is never sent, because the connection breaks instead.
fn broken(reset: &Reset) -> Response {
    reset.now();
    Response::default()
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
        // Whose doing it is. Source: Smithy, `awsQueryCompatible`.
        let side = if reply.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        insert("x-amzn-query-error", format!("{error};{side}"));
    }
    insert("x-amzn-requestid", Uuid::new_v4().to_string());
    response
}
