//! A TCP proxy between the workers and the broker, which can lose, delay and double what passes, or be gone.
//!
//! It reads the frames of Kafka's protocol, as far as it must: the size in front of each, the key of a request and the
//! correlation id that ties an answer to it. So it can tell the answer to `EndTxn`, the one that says whether a
//! transaction is committed, from all others.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const END_TXN: i16 = 26;
const FRAME_BYTES_MAX: usize = 128 << 20;
const TICK: Duration = Duration::from_millis(5);
/// A stalled direction or a held request is looked at this often.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Requests,
    Answers,
}

/// What happens to what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Pass,
    /// Nothing listens, and no connection lives: as if the name could not be resolved or the broker were gone.
    Gone,
    Delay(Duration),
    Stall(Direction),
    EndTxn(EndTxn),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndTxn {
    LoseAnswer,
    DelayAnswer(Duration),
    DoubleAnswer,
    /// The request itself arrives late, also when its sender has given up by then.
    HoldRequest(Duration),
}

#[derive(Default)]
struct State {
    mode: Mutex<Mode>,
    connections: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    /// `EndTxn` frames that were lost, delayed, doubled or held.
    touched: AtomicU64,
    accepted: AtomicU64,
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        for connection in self.connections().drain(..) {
            // The other side may have closed it already.
            let _closed_already = connection.shutdown(Shutdown::Both);
        }
    }
}

pub(crate) struct Proxy {
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(port: u16, broker: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let listener = listen(port).unwrap_or_else(|error| panic!("port {port}: {error}"));
        let accepting = std::thread::spawn(move || accept(&shared, listener, port, broker));
        Self { state, accepting: Some(accepting) }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
        if mode == Mode::Gone {
            self.state.cut();
        }
    }

    pub(crate) fn cut(&self) {
        self.state.cut();
    }

    /// Connections so far, and `EndTxn` frames that something was done to.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.state.accepted.load(Ordering::Relaxed), self.state.touched.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        self.state.cut();
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn accept(state: &Arc<State>, listener: TcpListener, port: u16, broker: SocketAddr) {
    let mut listener = Some(listener);
    while !state.stopped.load(Ordering::Relaxed) {
        match (state.mode(), &listener) {
            (Mode::Gone, _) => listener = None,
            // The port may take a moment to be free again.
            (_, None) => listener = listen(port).ok(),
            (_, Some(open)) => {
                if let Ok((client, _)) = open.accept() {
                    serve(state, client, broker);
                    continue;
                }
            }
        }
        std::thread::sleep(TICK);
    }
}

fn serve(state: &Arc<State>, client: TcpStream, broker: SocketAddr) {
    let connected = TcpStream::connect_timeout(&broker, CONNECT_TIMEOUT);
    let Ok(server) = connected else { return };
    let prepared = client.set_nonblocking(false).and_then(|()| client.set_nodelay(true)).and(server.set_nodelay(true));
    let copies = prepared.and_then(|()| Ok([client.try_clone()?, server.try_clone()?]));
    let (Ok(copies), Ok(pair)) = (copies, client.try_clone().and_then(|one| Ok((one, server.try_clone()?)))) else {
        return;
    };
    state.accepted.fetch_add(1, Ordering::Relaxed);
    state.connections().extend(copies);
    let pending: Arc<Mutex<HashSet<i32>>> = Arc::default();
    for (direction, from, to) in [(Direction::Requests, client, pair.1), (Direction::Answers, server, pair.0)] {
        let pump = Pump { state: Arc::clone(state), direction, pending: Arc::clone(&pending) };
        std::thread::spawn(move || {
            let mut streams = (from, to);
            // Either side may go at any time; then both do.
            let _ended = pump.run(&mut streams.0, &mut streams.1);
            let _closed_already = (streams.0.shutdown(Shutdown::Both), streams.1.shutdown(Shutdown::Both));
        });
    }
}

/// One direction of one connection.
struct Pump {
    state: Arc<State>,
    direction: Direction,
    /// Correlation ids of `EndTxn` requests without an answer.
    pending: Arc<Mutex<HashSet<i32>>>,
}

impl Pump {
    fn run(&self, from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
        loop {
            let frame = read_frame(from)?;
            let mode = self.state.mode();
            if let Mode::Delay(time) = mode {
                std::thread::sleep(time);
            }
            self.wait_while_stalled();
            if self.is_end_txn(&frame) {
                self.forward_end_txn(mode, &frame, to)?;
            } else {
                to.write_all(&frame)?;
            }
        }
    }

    fn wait_while_stalled(&self) {
        while self.state.mode() == Mode::Stall(self.direction) && !self.state.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
        }
    }

    fn is_end_txn(&self, frame: &[u8]) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match self.direction {
            Direction::Requests if api_key(frame) == Some(END_TXN) => {
                correlation_id(frame, 8).is_some_and(|id| pending.insert(id))
            }
            Direction::Requests => false,
            Direction::Answers => correlation_id(frame, 4).is_some_and(|id| pending.remove(&id)),
        }
    }

    fn forward_end_txn(&self, mode: Mode, frame: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        let Mode::EndTxn(fault) = mode else { return to.write_all(frame) };
        let times = match (fault, self.direction) {
            (EndTxn::LoseAnswer, Direction::Answers) => 0,
            (EndTxn::DoubleAnswer, Direction::Answers) => 2,
            (EndTxn::DelayAnswer(time), Direction::Answers) | (EndTxn::HoldRequest(time), Direction::Requests) => {
                self.sleep(time);
                1
            }
            _ => return to.write_all(frame),
        };
        self.state.touched.fetch_add(1, Ordering::Relaxed);
        (0..times).try_for_each(|_| to.write_all(frame))
    }

    fn sleep(&self, time: Duration) {
        let started_at = Instant::now();
        while started_at.elapsed() < time && !self.state.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
        }
    }
}

/// A whole frame, its size included.
fn read_frame(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let length = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(std::io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; 4 + length];
    frame[..4].copy_from_slice(&size);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn api_key(frame: &[u8]) -> Option<i16> {
    Some(i16::from_be_bytes(frame.get(4..6)?.try_into().ok()?))
}

fn correlation_id(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every request with its correlation id.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
        let address = listener.local_addr().expect("is bound");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    while let Ok(frame) = read_frame(&mut stream) {
                        let answer = [&[0, 0, 0, 4], &frame[8..12]].concat();
                        if stream.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn request(key: i16, id: i32) -> Vec<u8> {
        [&8_i32.to_be_bytes()[..], &key.to_be_bytes(), &[0, 0], &id.to_be_bytes()].concat()
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").expect("any port").local_addr().expect("is bound").port()
    }

    /// Ids of the answers that come within a moment.
    fn answers(stream: &mut TcpStream) -> Vec<i32> {
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
        let mut ids = Vec::new();
        while let Ok(frame) = read_frame(stream) {
            ids.extend(correlation_id(&frame, 4));
        }
        ids
    }

    #[test]
    fn answers_to_end_txn_are_lost_and_doubled_and_others_are_not() {
        let port = free_port();
        let proxy = Proxy::start(port, echo());
        let cases = [
            (Mode::Pass, vec![1, 2, 3]),
            (Mode::EndTxn(EndTxn::LoseAnswer), vec![1, 3]),
            (Mode::EndTxn(EndTxn::DoubleAnswer), vec![1, 2, 2, 3]),
            (Mode::EndTxn(EndTxn::HoldRequest(Duration::from_millis(20))), vec![1, 2, 3]),
            (Mode::Stall(Direction::Answers), vec![]),
        ];
        for (mode, expected) in cases {
            proxy.set(mode);
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
            for (key, id) in [(0, 1), (END_TXN, 2), (3, 3)] {
                stream.write_all(&request(key, id)).expect("is taken");
            }
            assert_eq!(answers(&mut stream), expected, "{mode:?}");
        }
        assert_eq!(proxy.figures(), (5, 3));
    }

    #[test]
    fn what_is_gone_refuses_and_comes_back() {
        let port = free_port();
        let proxy = Proxy::start(port, echo());
        let connects = || TcpStream::connect(("127.0.0.1", port));
        let mut before = connects().expect("the proxy listens");
        proxy.set(Mode::Gone);
        let started_at = Instant::now();
        while connects().is_ok() {
            assert!(started_at.elapsed() < Duration::from_secs(10), "it still listens");
        }
        assert_eq!(before.read(&mut [0]).unwrap_or(0), 0, "the connection lives");
        proxy.set(Mode::Pass);
        while connects().is_err() {
            assert!(started_at.elapsed() < Duration::from_secs(10), "it does not listen again");
        }
    }
}
