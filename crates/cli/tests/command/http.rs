//! Asks a running process over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// The body of what is served under `path`; empty while nobody answers.
pub(crate) fn get(address: &str, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// The sum of a metric over its labels.
pub(crate) fn metric(address: &str, name: &str) -> u64 {
    let metrics = get(address, "/metrics");
    let rows = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    rows.filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
