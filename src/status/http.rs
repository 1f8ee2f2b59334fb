//! Connections to the status server, and what they get.
//!
//! What lives here: `GET /metrics`, `GET /healthz`, and the bounds of time and number. What does not: the numbers
//! ([`super::families`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::families::{TEXT_FORMAT, text};
use super::{MOST_CONNECTIONS, StatusRequest};

/// How long the head of a request may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// How long the loop may take to answer. Prometheus waits for ten seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may take as a whole.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const MOST_HEAD_BYTES: usize = 16 * 1024;
/// After an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_secs(1);

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Accepts connections until it is told to stop, and then waits for those that are open.
pub(super) async fn serve(
    listener: TcpListener,
    asking: mpsc::Sender<StatusRequest>,
    stopping: watch::Receiver<bool>,
) {
    let admitted = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&admitted).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, asking.clone(), stopping.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!("the status server cannot accept a connection: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    let mut stopped = stopping.clone();
    tokio::select! {
        () = accepting => {}
        // Told to stop, or nobody is left to tell.
        _ = stopped.wait_for(|is_stopping| *is_stopping) => {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection with one request.
async fn connection(
    stream: TcpStream,
    asking: mpsc::Sender<StatusRequest>,
    mut stopping: watch::Receiver<bool>,
) {
    let answer = service_fn(move |request| answer(request, asking.clone()));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MOST_HEAD_BYTES)
        .keep_alive(false);
    let serving = builder.serve_connection(TokioIo::new(stream), answer);
    let mut serving = std::pin::pin!(serving);
    let serving = async {
        tokio::select! {
            // A client that breaks off, or sends no HTTP, is its own trouble.
            _ = &mut serving => return,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
        }
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    };
    let _ = timeout(CONNECTION_DEADLINE, serving).await;
}

async fn answer(
    request: Request<Incoming>,
    asking: mpsc::Sender<StatusRequest>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_get = request.method() == Method::GET;
    let path = request.uri().path();
    if !is_get || !["/metrics", "/healthz"].contains(&path) {
        let known = "GET /metrics or GET /healthz\n".to_owned();
        return Ok(response(StatusCode::NOT_FOUND, PLAIN_TEXT, known));
    }
    let (sender, answered) = oneshot::channel();
    let asked = asking.try_send(StatusRequest(sender)).is_ok();
    let families = match timeout(ANSWER_DEADLINE, answered).await {
        Ok(Ok(families)) if asked => families,
        _ => {
            let why = "hydrant is starting, stopping, or held up\n".to_owned();
            return Ok(response(StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, why));
        }
    };
    if path == "/healthz" {
        return Ok(response(StatusCode::OK, PLAIN_TEXT, "ok\n".to_owned()));
    }
    Ok(match text(families) {
        Ok(text) => response(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            warn!("the metrics for Prometheus cannot be written: {error}");
            let why = "the metrics cannot be written\n".to_owned();
            response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN_TEXT, why)
        }
    })
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
