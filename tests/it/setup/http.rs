//! HTTP without a library.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};

/// One request by hand: the status and everything after the headers.
pub(crate) fn raw(addr: SocketAddr, head: &str, body: &str) -> Result<(u16, String)> {
    let mut socket = TcpStream::connect(addr)?;
    let length = body.len();
    write!(
        socket,
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((status, body.to_owned()))
}
