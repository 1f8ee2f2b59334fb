//! HTTP between agents and a service of AWS, where requests and answers are seen, held, lost and refused.
//!
//! What is held goes on or is lost when the test says so, also if the client has gone since: like what is under way in a
//! network. An upload that was completed is none any more, as AWS says; emulators answer 200 again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How long the answer to a completion is kept back until somebody has taken the object.
const LOADERS_PATIENCE: Duration = Duration::from_secs(2);

/// What is asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    CreateUpload,
    UploadPart,
    Complete,
    ReadCheckpoint,
    WriteCheckpoint,
    PutRecords,
    Other,
}

impl Call {
    fn of(request: &Parts) -> Self {
        let query = request.uri.query().unwrap_or_default();
        let has = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        let target = request.headers.get("x-amz-target");
        let target = target.and_then(|it| it.to_str().ok()).unwrap_or_default();
        match (
            &request.method,
            request.uri.path().ends_with("/checkpoint.json"),
        ) {
            (&Method::GET, true) => Self::ReadCheckpoint,
            (&Method::PUT, true) => Self::WriteCheckpoint,
            (&Method::POST, _) if has("uploads") => Self::CreateUpload,
            (&Method::POST, _) if has("uploadId") => Self::Complete,
            (&Method::PUT, _) if has("partNumber") => Self::UploadPart,
            _ if target.ends_with(".PutRecordBatch") => Self::PutRecords,
            _ => Self::Other,
        }
    }

    /// Whether clients repeat it until they know what has become of it.
    fn is_repeated(self) -> bool {
        use Call::{Complete, CreateUpload, UploadPart, WriteCheckpoint};
        matches!(self, CreateUpload | UploadPart | Complete | WriteCheckpoint)
    }
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The service does not have the request yet; it is held.
    Asked,
    /// The service has done it; the answer is held.
    Done,
    /// The client is about to have the answer; nothing is held.
    Answered,
}

/// The call of a kind at which something is to happen, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trap {
    pub(crate) call: Call,
    pub(crate) number: u32,
    pub(crate) step: Step,
}

/// What calls of a kind are answered, instead of being carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) call: Call,
    /// So many are carried out before.
    pub(crate) after: u32,
    pub(crate) times: u32,
    pub(crate) status: u16,
    pub(crate) body: &'static str,
}

/// What becomes of a call.
enum Fate {
    Pass,
    Answered(StatusCode, &'static str),
    Trapped(Step),
    /// The connection breaks, before the service has the request or after.
    LostRequest,
    LostAnswer,
    Refused,
}

#[derive(Debug)]
struct State {
    /// HOST:PORT.
    service: String,
    rng: StdRng,
    trap: Option<Trap>,
    answered: Option<Answered>,
    is_sprung: bool,
    held: Vec<oneshot::Sender<()>>,
    /// The completions that were answered with 200.
    completed: HashSet<String>,
    /// The share of calls that are lost or refused.
    losses: f64,
    is_away: bool,
}

struct Shared {
    state: Mutex<State>,
    /// How often a loader has taken everything away.
    loads: Arc<AtomicU64>,
}

/// Listens on a port of its own, for as long as it is not dropped.
pub(crate) struct Front {
    // Dropped with all that is under way.
    runtime: Runtime,
    url: String,
    shared: Arc<Shared>,
}

impl Front {
    /// In front of the service at this URL. `loads` grows with each round of a loader.
    pub(crate) fn of(service: &str, seed: u64, loads: Arc<AtomicU64>) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                service: address(service)?,
                rng: StdRng::seed_from_u64(seed),
                trap: None,
                answered: None,
                is_sprung: false,
                held: Vec::new(),
                completed: HashSet::new(),
                losses: 0.0,
                is_away: false,
            }),
            loads,
        });
        let served = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    let pass = |request| pass(Arc::clone(&served), request);
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(client), service_fn(pass));
                    // It ends when the client hangs up, or with a call that is lost.
                    let _ = connection.await;
                });
            }
        });
        Ok(Self {
            runtime,
            url,
            shared,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on another service is behind it.
    pub(crate) fn lead_to(&self, service: &str) -> Result<()> {
        self.shared.state().service = address(service)?;
        Ok(())
    }

    /// Waits for a call, once.
    pub(crate) fn arm(&self, trap: Trap) {
        let mut state = self.shared.state();
        state.trap = Some(trap);
        state.is_sprung = false;
    }

    /// Answers calls itself.
    pub(crate) fn answer(&self, answered: Answered) {
        self.shared.state().answered = Some(answered);
    }

    /// How many it will still answer.
    pub(crate) fn unanswered(&self) -> u32 {
        let state = self.shared.state();
        state.answered.map_or(0, |answered| answered.times)
    }

    pub(crate) fn disarm(&self) {
        self.shared.state().trap = None;
    }

    /// Whether the call has come.
    pub(crate) fn is_sprung(&self) -> bool {
        self.shared.state().is_sprung
    }

    /// What is held goes on after a while, or is lost.
    pub(crate) fn release(&self, after: Option<Duration>) {
        let held = std::mem::take(&mut self.shared.state().held);
        let Some(after) = after else {
            return;
        };
        self.runtime.spawn(async move {
            tokio::time::sleep(after).await;
            for it in held {
                // Its task may have ended with the connection.
                let _ = it.send(());
            }
        });
    }

    /// From now on this share of calls that are repeated is lost, before or after the service has them, or refused.
    pub(crate) fn lose(&self, share: f64) {
        self.shared.state().losses = share;
    }

    /// From now on the service cannot be reached, or it can be again.
    pub(crate) fn go_away(&self, is_away: bool) {
        self.shared.state().is_away = is_away;
    }
}

/// HOST:PORT of a URL.
fn address(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("not http://")?;
    Ok(rest.trim_end_matches('/').to_owned())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, call: Call) -> Fate {
        let mut state = self.state();
        if state.is_away {
            return Fate::LostRequest;
        }
        if let Some(answered) = &mut state.answered
            && answered.call == call
            && answered.times > 0
        {
            if answered.after == 0 {
                answered.times -= 1;
                let status = StatusCode::from_u16(answered.status);
                return Fate::Answered(status.unwrap_or_default(), answered.body);
            }
            answered.after -= 1;
        }
        if let Some(trap) = &mut state.trap
            && trap.call == call
        {
            trap.number = trap.number.saturating_sub(1);
            if trap.number == 0 {
                let step = trap.step;
                state.trap = None;
                return Fate::Trapped(step);
            }
        }
        let losses = state.losses;
        if !call.is_repeated() || !state.rng.random_bool(losses) {
            return Fate::Pass;
        }
        match state.rng.random_range(0..3) {
            0 => Fate::LostRequest,
            1 => Fate::LostAnswer,
            _ => Fate::Refused,
        }
    }

    /// Waits until it is released.
    async fn hold(&self) -> Result<(), Lost> {
        let (sender, released) = oneshot::channel();
        {
            let mut state = self.state();
            state.held.push(sender);
            state.is_sprung = true;
        }
        released.await.map_err(|_| Lost)
    }

    /// Waits until a loader has seen all that is there now.
    async fn loaded(&self) {
        let deadline = Instant::now() + LOADERS_PATIENCE;
        let loads = self.loads.load(Ordering::Relaxed);
        while self.loads.load(Ordering::Relaxed) < loads + 2 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn forward(
        &self,
        call: Call,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>> {
        const NO_SUCH_UPLOAD: &str = "<Error><Code>NoSuchUpload</Code></Error>";
        let place = request.uri().to_string();
        if self.state().completed.contains(&place) {
            return Ok(canned(StatusCode::NOT_FOUND, NO_SUCH_UPLOAD));
        }
        let service = self.state().service.clone();
        let socket = TcpStream::connect(service).await?;
        let (mut service, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let answer = service.send_request(request).await?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if call == Call::Complete && head.status.is_success() {
            self.state().completed.insert(place);
        }
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONNECTION);
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

fn canned(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    if !body.is_empty() {
        let xml = header::HeaderValue::from_static("application/xml");
        answer.headers_mut().insert(header::CONTENT_TYPE, xml);
    }
    answer
}

/// A call whose client hears no more of it.
#[derive(Debug, thiserror::Error)]
#[error("lost")]
struct Lost;

async fn pass(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.remove(header::CONNECTION);
    let call = Call::of(&head);
    let request = Request::from_parts(head, Full::new(body));
    // A task of its own, which goes on if the client goes.
    let passing = tokio::spawn(async move {
        let fate = shared.fate(call);
        match fate {
            Fate::LostRequest => return Err(Lost),
            Fate::Refused => return Ok(canned(StatusCode::SERVICE_UNAVAILABLE, "")),
            Fate::Answered(status, body) => return Ok(canned(status, body)),
            Fate::Trapped(Step::Asked) => shared.hold().await?,
            Fate::Pass | Fate::LostAnswer | Fate::Trapped(_) => {}
        }
        let answer = shared.forward(call, request).await.map_err(|_| Lost)?;
        match fate {
            Fate::Trapped(Step::Done) => shared.hold().await?,
            Fate::Trapped(Step::Answered) => shared.state().is_sprung = true,
            Fate::LostAnswer => {
                if call == Call::Complete {
                    shared.loaded().await;
                }
                return Err(Lost);
            }
            Fate::Pass
            | Fate::Answered(..)
            | Fate::LostRequest
            | Fate::Refused
            | Fate::Trapped(Step::Asked) => {}
        }
        Ok(answer)
    });
    passing.await.map_err(|_| Lost)?
}
