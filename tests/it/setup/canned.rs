//! A service that gives the same answer to every request: a proxy, an emulator of another time, an account that refuses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// Listens on a port of its own, for as long as the process lives.
pub(crate) struct Canned {
    url: String,
    requests: Arc<AtomicU64>,
}

impl Canned {
    /// Answers with this status and its reason, kind of content, and body.
    pub(crate) fn start(status: &str, kind: &str, body: &[u8]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}");
        let protocol = if kind.contains("cbor") {
            "\r\nsmithy-protocol: rpc-v2-cbor"
        } else {
            ""
        };
        let mut answer = format!("{head}{protocol}\r\n\r\n").into_bytes();
        answer.extend_from_slice(body);
        let answer: Arc<[u8]> = answer.into();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                // The client may hang up whenever it likes.
                thread::spawn(move || serve(socket, &answer, &counted));
            }
        });
        Ok(Self { url, requests })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many there were.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(mut socket: TcpStream, answer: &[u8], counted: &AtomicU64) -> Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    while read_request(&mut reader)? {
        counted.fetch_add(1, Ordering::Relaxed);
        socket.write_all(answer)?;
    }
    Ok(())
}

/// Reads a request to its end; `false` if the client has hung up instead.
pub(crate) fn read_request(reader: &mut BufReader<TcpStream>) -> Result<bool> {
    let mut length = 0;
    let mut line = String::new();
    while line.trim_end() != "" || length == 0 {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok(true)
}
