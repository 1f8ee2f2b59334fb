//! A connection to a server that is cut off or frozen at a chosen moment of the conversation.
//!
//! A conversation is counted in turns: one begins with each connection, and with each message of the client.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends.
    Cut,
    /// It stays, and nothing comes any more.
    Freeze,
}

#[derive(Debug, Default)]
struct State {
    server_port: u16,
    /// What happens, in which turn (or whichever it is), after how many bytes of the server's answer.
    armed: Option<(Fault, Option<u32>, usize)>,
    /// Whether each connection is cut off when it asks for the binlog.
    cuts_dumps: bool,
    turn: u32,
    /// Bytes of the answer in this turn, or since it was armed if the turn does not matter.
    answered: usize,
    connections: u32,
    open: Vec<TcpStream>,
}

/// Listens on a port of its own, for as long as the process lives.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub(crate) fn to(server_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State {
            server_port,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away is a connection that ends.
                let _ = serve(client, &shared);
            }
        });
        Ok(Self { port, state })
    }

    /// `mysql://USER@127.0.0.1:PORT`.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}", self.port)
    }

    /// From now on another server is at its address.
    pub(crate) fn lead_to(&self, server_port: u16) {
        lock(&self.state).server_port = server_port;
        self.cut_all();
    }

    /// From now on turns are counted from 1; in this one, after so many bytes of the answer, it happens, once.
    pub(crate) fn arm(&self, fault: Fault, turn: u32, after: usize) {
        self.arm_in(fault, Some(turn), after);
    }

    /// After so many bytes of all answers from now on it happens to the connection that has the next one, once.
    pub(crate) fn arm_in_any_turn(&self, fault: Fault, after: usize) {
        self.arm_in(fault, None, after);
    }

    fn arm_in(&self, fault: Fault, turn: Option<u32>, after: usize) {
        let mut state = lock(&self.state);
        state.armed = Some((fault, turn, after));
        state.turn = 0;
        state.answered = 0;
    }

    /// Whether it has not happened.
    pub(crate) fn is_armed(&self) -> bool {
        lock(&self.state).armed.is_some()
    }

    pub(crate) fn disarm(&self) {
        lock(&self.state).armed = None;
    }

    /// From now on, whoever asks for the binlog is cut off, or nobody is any more.
    pub(crate) fn cut_dumps(&self, cut: bool) {
        lock(&self.state).cuts_dumps = cut;
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> u32 {
        lock(&self.state).connections
    }

    /// Ends all connections.
    pub(crate) fn cut_all(&self) {
        for socket in lock(&self.state).open.drain(..) {
            // It may have ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: TcpStream, shared: &Arc<Mutex<State>>) -> Result<()> {
    let server_port = lock(shared).server_port;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port))?;
    {
        let mut state = lock(shared);
        state.connections += 1;
        state
            .open
            .extend([client.try_clone()?, server.try_clone()?]);
        begin_turn(&mut state);
    }
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let state = Arc::clone(shared);
    thread::spawn(move || ask(from, to, &state));
    let state = Arc::clone(shared);
    thread::spawn(move || answer(server, client, &state));
    Ok(())
}

fn begin_turn(state: &mut State) {
    state.turn += 1;
    if !matches!(state.armed, Some((_, None, _))) {
        state.answered = 0;
    }
}

fn ask(mut client: TcpStream, mut server: TcpStream, shared: &Mutex<State>) {
    const DUMPS: [u8; 2] = [0x12, 0x1e];
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        let cut = {
            let mut state = lock(shared);
            begin_turn(&mut state);
            // Four bytes of length and number, and the command.
            state.cuts_dumps && buffer[..len].get(4).is_some_and(|it| DUMPS.contains(it))
        };
        if cut || server.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

fn answer(mut server: TcpStream, mut client: TcpStream, shared: &Mutex<State>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = server.read(&mut buffer) {
        let (passed, fault) = {
            let mut state = lock(shared);
            let due = state.armed.filter(|(_, turn, after)| {
                turn.is_none_or(|turn| state.turn == turn) && state.answered + len > *after
            });
            let passed = due.map_or(len, |(_, _, after)| after.saturating_sub(state.answered));
            state.answered += passed;
            if due.is_some() {
                state.armed = None;
            }
            (passed, due.map(|(fault, ..)| fault))
        };
        if client.write_all(&buffer[..passed]).is_err() || fault == Some(Fault::Cut) {
            break;
        }
        if fault == Some(Fault::Freeze) {
            // The other handles keep both sockets open.
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
