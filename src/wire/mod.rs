//! The connection that the binlog comes over.
//!
//! What lives here: as much of MySQL's client protocol as a reader of binlogs needs: login (`login`),
//! TLS (`tls`), statements without a result, and packets without a copy or, when they are huge,
//! piece by piece (`frames`). What does not: questions with answers, which mysql_async asks on
//! connections of its own, and what an event means (see [`crate::binlog`]).
//!
//! Source: MySQL's "Client/Server Protocol" pages.

mod frames;
mod login;
mod tls;

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use mysql_async::{Error, IoError, ServerError};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::ErrPacket;
use mysql_common::proto::MySerialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) use frames::{FrameError, Frames, Packet};

use crate::config::Source;

const COM_QUERY: u8 = 3;
/// What a packet begins with that refuses.
const ERROR: u8 = 0xff;

enum Transport {
    Plain(TcpStream),
    /// It is being encrypted, or that failed.
    Closed,
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that is logged in.
///
/// Contract: statements first, then one [`Wire::request`] whose packets come through
/// [`Wire::frames`]; when that says that it has none, wait for more bytes with [`Wire::fill`].
pub(crate) struct Wire {
    transport: Transport,
    frames: Frames,
    /// Whether nothing stands between the columns of an answer and its rows (`CLIENT_DEPRECATE_EOF`).
    has_no_eof: bool,
}

impl Wire {
    /// Connects and logs in.
    ///
    /// # Errors
    /// As mysql_async's own connections.
    pub(crate) async fn connect(source: &Source) -> Result<Self, Error> {
        let address = (source.host.trim_matches(['[', ']']), source.port);
        let socket = TcpStream::connect(address).await.map_err(io_error)?;
        socket.set_nodelay(true).map_err(io_error)?;
        keep_watch(&socket).map_err(io_error)?;
        let mut wire = Self {
            transport: Transport::Plain(socket),
            frames: Frames::new(),
            has_no_eof: false,
        };
        login::login(&mut wire, source).await?;
        Ok(wire)
    }

    /// Runs a statement that has no result.
    ///
    /// # Errors
    /// If the server refuses it or the connection breaks.
    pub(crate) async fn statement(&mut self, text: &str) -> Result<(), Error> {
        self.command(&[&[COM_QUERY], text.as_bytes()].concat())
            .await?;
        self.answer().await
    }

    /// Runs a statement that answers with rows, which [`Wire::row`] gives one by one. No other command may be sent
    /// before the last of them.
    ///
    /// # Errors
    /// As for [`Wire::statement`].
    pub(crate) async fn query(&mut self, text: &str) -> Result<(), Error> {
        self.command(&[&[COM_QUERY], text.as_bytes()].concat())
            .await?;
        let mut definitions = match self.packet().await? {
            // No answer has more columns than a table can.
            [count @ 1..=250] => usize::from(*count),
            [0xfc, low, high] => usize::from(u16::from_le_bytes([*low, *high])),
            packet => return Err(refusal(packet)),
        };
        if !self.has_no_eof {
            definitions += 1;
        }
        for _ in 0..definitions {
            if let packet @ [ERROR, ..] = self.packet().await? {
                return Err(refusal(packet));
            }
        }
        Ok(())
    }

    /// The next row of an answer, in the protocol's text form; `None` behind the last one.
    ///
    /// # Errors
    /// If the server breaks off, or the connection breaks.
    pub(crate) async fn row(&mut self) -> Result<Option<&[u8]>, Error> {
        const END: u8 = 0xfe;
        // A cell whose length takes as many bytes as that of such a packet would be longer than it.
        const LONGEST_END: usize = 0xff_ffff;
        match self.packet().await? {
            packet @ [ERROR, ..] => Err(refusal(packet)),
            [END, rest @ ..] if rest.len() < LONGEST_END => Ok(None),
            row => Ok(Some(row)),
        }
    }

    /// Sends a command that is answered with OK.
    ///
    /// # Errors
    /// As for [`Wire::statement`].
    pub(crate) async fn tell(&mut self, command: &impl MySerialize) -> Result<(), Error> {
        self.request(command).await?;
        self.answer().await
    }

    /// Sends a command, and leaves its answer to the caller.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn request(&mut self, command: &impl MySerialize) -> Result<(), Error> {
        let mut bytes = Vec::new();
        command.serialize(&mut bytes);
        self.command(&bytes).await
    }

    /// The packets that have arrived.
    pub(crate) fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Waits for more bytes. May be dropped and called again.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn fill(&mut self) -> Result<(), Error> {
        let space = self.frames.space();
        let read = match &mut self.transport {
            Transport::Plain(socket) => socket.read(space).await,
            Transport::Closed => Ok(0),
            Transport::Tls(stream) => stream.read(space).await,
        };
        match read.map_err(io_error)? {
            0 => Err(io_error(io::ErrorKind::UnexpectedEof.into())),
            len => {
                self.frames.filled(len);
                Ok(())
            }
        }
    }

    /// Takes bytes that have arrived already, if there are any.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) fn fill_now(&mut self) -> Option<Result<(), Error>> {
        self.fill().now_or_never()
    }

    async fn command(&mut self, command: &[u8]) -> Result<(), Error> {
        self.frames.restart();
        self.send(command).await
    }

    /// Sends one packet, which is the next one of the conversation.
    async fn send(&mut self, packet: &[u8]) -> Result<(), Error> {
        let bytes = self.frames.wrap(packet).ok_or_else(unexpected)?;
        let sent = async {
            match &mut self.transport {
                Transport::Plain(socket) => socket.write_all(&bytes).await,
                Transport::Closed => Err(io::ErrorKind::NotConnected.into()),
                Transport::Tls(stream) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                }
            }
        };
        sent.await.map_err(io_error)
    }

    /// The next packet of the conversation.
    async fn packet(&mut self) -> Result<&[u8], Error> {
        loop {
            match self.frames.next().map_err(|_| unexpected())? {
                Some(Packet::Whole) => break,
                Some(Packet::Pieces) => return Err(unexpected()),
                None => self.fill().await?,
            }
        }
        Ok(self.frames.bytes())
    }

    /// Whether the server said OK.
    async fn answer(&mut self) -> Result<(), Error> {
        match self.packet().await? {
            [0, ..] => Ok(()),
            packet => Err(refusal(packet)),
        }
    }
}

/// Lets the system detect that the peer is gone, even if the connection is idle.
fn keep_watch(socket: &TcpStream) -> io::Result<()> {
    const SILENT: Duration = Duration::from_secs(10);
    const UNANSWERED: Duration = Duration::from_mins(1);
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(SILENT);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNANSWERED))?;
    Ok(())
}

/// What a packet other than the expected one says.
pub(crate) fn refusal(packet: &[u8]) -> Error {
    // Before the login is done there is no state in it, and the parser looks for its mark.
    let capabilities = match packet {
        [255, _, _, b'#', ..] => CapabilityFlags::CLIENT_PROTOCOL_41,
        _ => CapabilityFlags::empty(),
    };
    match ParseBuf(packet).parse::<ErrPacket<'_>>(capabilities) {
        Ok(ErrPacket::Error(error)) => Error::Server(ServerError {
            code: error.error_code(),
            message: error.message_str().into_owned(),
            state: error
                .sql_state_ref()
                .map(|state| state.as_str().into_owned())
                .unwrap_or_default(),
        }),
        Ok(ErrPacket::Progress(_)) | Err(_) => unexpected(),
    }
}

fn io_error(error: io::Error) -> Error {
    Error::Io(IoError::Io(error))
}

/// The connection says something that is not in the protocol.
fn unexpected() -> Error {
    io_error(io::Error::other("an unexpected packet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keepalive is not sent while the system waits for an answer to what it has sent.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_sent_to_nobody_ends_the_connection() -> io::Result<()> {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let socket = TcpStream::connect(server.local_addr()?).await?;
        keep_watch(&socket)?;
        let limit = SockRef::from(&socket).tcp_user_timeout()?;
        assert_eq!(limit, Some(Duration::from_mins(1)));
        Ok(())
    }
}

#[cfg(test)]
mod heartbeat_tests;
#[cfg(test)]
mod login_tests;
