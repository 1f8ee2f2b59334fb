//! The status server: a command's own numbers for Prometheus, over HTTP.
//!
//! What lives here: the listener, and the requests that it has for the command's loop. `http` answers connections, `families`
//! has the shapes of metrics and their text. What does not: which metrics there are, which the command says that is asked
//! ([`crate::ecs`]).
//!
//! ```text
//! connection ─ StatusRequest ─► the command's loop
//!      text ◄─ families ◄────────────┘
//! ```

pub(crate) mod families;
mod http;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use crate::{Exit, Failure};

use families::Family;

/// Connections at once; others wait until one of them is closed.
const MOST_CONNECTIONS: usize = 128;
/// How long open connections may take at the end.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// Somebody asks how it goes.
#[derive(Debug)]
pub(crate) struct StatusRequest(oneshot::Sender<Vec<Family>>);

impl StatusRequest {
    /// Answers it.
    pub(crate) fn answer(self, families: Vec<Family>) {
        // Who asked may have gone.
        let _ = self.0.send(families);
    }
}

/// A server that listens until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct StatusServer {
    requests: mpsc::Receiver<StatusRequest>,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl StatusServer {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub(crate) async fn start(listen: SocketAddr) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => {
                    "end what listens there, another hydrant perhaps, or set another port in status.listen"
                }
                ErrorKind::PermissionDenied => "set a port of 1024 or more in status.listen",
                _ => "set an address of this machine in status.listen, like 127.0.0.1:9187",
            };
            let what = format!("cannot listen on {listen} (status.listen): {error}");
            Failure::definite(Exit::Config, what, remedy)
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        info!("metrics for Prometheus are at http://{address}/metrics");
        // A connection has one request at a time.
        let (asking, requests) = mpsc::channel(MOST_CONNECTIONS);
        let (stopping, stopped) = watch::channel(false);
        let serving = tokio::spawn(http::serve(listener, asking, stopped));
        Ok(Self {
            requests,
            stopping,
            serving,
        })
    }

    /// The next request; none ever comes of no server.
    pub(crate) async fn next(server: Option<&mut Self>) -> StatusRequest {
        if let Some(server) = server {
            while let Some(request) = server.requests.recv().await {
                // Who asked may have given up meanwhile.
                if !request.0.is_closed() {
                    return request;
                }
            }
        }
        std::future::pending().await
    }

    /// Stops to listen. Answers on their way have a second.
    pub(crate) async fn stop(mut self) {
        self.requests.close();
        let _ = self.stopping.send(true);
        // Connections that are still open then are broken off.
        let _ = timeout(STOP_DEADLINE, &mut self.serving).await;
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
